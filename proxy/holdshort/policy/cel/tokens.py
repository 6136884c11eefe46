"""The words of a condition: literals decoded, names and operators cut, each with the offset where it starts.

The lexical rules are those of the CEL specification (`langdef.md`, "Syntax"), with nothing guessed: an escape that it
does not define, or a number that does not fit, is refused at its place.
"""

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

from holdshort.errors import HoldshortError

__all__ = ["INT_MAX", "INT_MIN", "MAX_TEXT", "RESERVED", "UINT_MAX", "BadCondition", "Token", "TokenKind", "tokenize"]

MAX_TEXT: Final = 4_000
"""Characters of one condition."""

INT_MIN: Final = -(2**63)
RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while"}
)
"""Names that CEL keeps for itself."""
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1

TokenKind = Literal["name", "int", "uint", "double", "string", "bytes", "operator", "end"]


class BadCondition(HoldshortError):
    """Raised when a text is no condition; `offset` is the character, from 0, where the mistake is."""

    code = "condition"

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Token:
    """One word. `value` is the decoded literal; of an `int` it is not yet checked to fit, as a minus may precede it."""

    kind: TokenKind
    text: str
    offset: int
    value: int | float | str | bytes = 0


_SKIP: Final = re.compile(r"(?:[ \t\n\r\f]+|//[^\n]*)+")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOUBLE: Final = re.compile(r"[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)|\.[0-9]+(?:[eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([uU]?)")
_QUOTED: Final = re.compile(r"""([rR]|[bB][rR]?|)('''|\"""|'|")""")
_OPERATOR: Final = re.compile(r"&&|\|\||==|!=|<=|>=|[<>!+\-*/%?:.,()\[\]{}]")
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))"
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INSTEAD: Final = {
    "=": "`=` does not compare; write `==`",
    "&": "`&` is no operator; write `&&`",
    "|": "`|` is no operator; write `||`",
    "`": 'a name in backticks is not supported; write `x["some name"]`',
    ";": "a condition is one expression; there is no `;`",
}


def tokenize(text: str) -> list[Token]:
    """Cut `text` into words; the last one is of the kind `end`.

    Raises:
        BadCondition: something in it is no word of CEL, or it is too long.
    """
    if len(text) > MAX_TEXT:
        raise BadCondition(f"the condition has {len(text)} characters; at most {MAX_TEXT} are read", MAX_TEXT)
    tokens: list[Token] = []
    at = 0
    while True:
        skipped = _SKIP.match(text, at)
        if skipped:
            at = skipped.end()
        if at >= len(text):
            tokens.append(Token("end", "", len(text)))
            return tokens
        token, at = _token(text, at)
        tokens.append(token)


def _token(text: str, at: int) -> tuple[Token, int]:
    quoted = _QUOTED.match(text, at)
    if quoted:
        return _literal(text, at, quoted)
    name = _NAME.match(text, at)
    if name:
        return Token("name", name.group(), at), name.end()
    number = _DOUBLE.match(text, at)
    if number:
        value = float(number.group())
        if not math.isfinite(value):
            raise BadCondition(f"`{number.group()[:40]}` is too large for a double", at)
        _ends_here(text, number.end())
        return Token("double", number.group(), at, value), number.end()
    whole = _INTEGER.match(text, at)
    if whole:
        digits, suffix = whole.groups()
        _ends_here(text, whole.end())
        value = int(digits, 16) if digits[:2] in {"0x", "0X"} else int(digits)
        if value > (UINT_MAX if suffix else INT_MAX + 1):
            raise BadCondition(f"`{whole.group()[:40]}` does not fit into 64 bits", at)
        return Token("uint" if suffix else "int", whole.group(), at, value), whole.end()
    operator = _OPERATOR.match(text, at)
    if operator:
        return Token("operator", operator.group(), at), operator.end()
    character = text[at]
    message = _INSTEAD.get(character)
    if message is None:
        shown = character if character.isprintable() else f"U+{ord(character):04X}"
        message = f"`{shown}` has no meaning here"
    raise BadCondition(message, at)


def _ends_here(text: str, at: int) -> None:
    if _NAME.match(text, at):
        raise BadCondition("a number ends here; something is missing between it and the name that follows", at)


def _literal(text: str, start: int, opening: re.Match[str]) -> tuple[Token, int]:
    prefix, quote = opening.groups()
    raw, is_bytes = "r" in prefix.lower(), "b" in prefix.lower()
    parts: list[bytes] = []
    at = opening.end()
    while True:
        if at >= len(text):
            raise BadCondition("this string has no closing quote", start)
        character = text[at]
        if text.startswith(quote, at):
            break
        if character in "\n\r" and len(quote) == 1:
            raise BadCondition("this string has no closing quote on its line; three quotes span lines", start)
        if character == "\\" and not raw:
            decoded, at = _escape(text, at, is_bytes=is_bytes)
            parts.append(decoded)
            continue
        if character == "\\" and at + 1 < len(text) and text[at + 1] in "'\"":
            # CEL: in a raw string a backslash stays, and the quote after it closes; other readers differ here.
            raise BadCondition("a quote after a backslash in a raw string reads two ways; use the other quote", at)
        if 0xD800 <= ord(character) <= 0xDFFF:
            raise BadCondition("a lone surrogate is no character", at)
        parts.append(character.encode())
        at += 1
    end = at + len(quote)
    joined = b"".join(parts)
    if is_bytes:
        return Token("bytes", text[start:end], start, joined), end
    return Token("string", text[start:end], start, joined.decode()), end


def _escape(text: str, at: int, *, is_bytes: bool) -> tuple[bytes, int]:
    found = _ESCAPE.match(text, at)
    if found is None:
        shown = text[at : at + 2]
        raise BadCondition(f'`{shown}` is no escape; write `\\\\` for a backslash, or r"..." for a pattern', at)
    simple, byte, short, long, octal = found.groups()
    if simple is not None:
        return _SIMPLE.get(simple, simple).encode(), found.end()
    if is_bytes and (short or long):
        raise BadCondition("bytes have no `\\u`; write `\\x`", at)
    code = int(octal, 8) if octal else int(byte or short or long, 16)
    if is_bytes:
        return bytes([code]), found.end()
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise BadCondition(f"`{found.group()}` is no character", at)
    return chr(code).encode(), found.end()
