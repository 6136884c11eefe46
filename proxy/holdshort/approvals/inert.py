"""Text from strangers, made safe to look at: what cannot be seen is shown, what could mislead is named.

Both the page and the terminal draw from `pieces`; neither ever prints a piece's raw text where it is not plain.
Imports nothing but the standard library, so that a terminal needs no web framework for it.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

__all__ = ["Kind", "Piece", "ascii_json", "findings", "pieces", "plain", "pretty_json", "strings_in"]


class Kind(StrEnum):
    """What a stretch of text is. Everything but `plain` and `blank` deserves a warning."""

    PLAIN = "plain"
    BLANK = "blank"
    """Tabs, and so much empty space that it could push something out of sight."""
    CONTROL = "control"
    """Control characters, the start of terminal sequences among them."""
    BIDI = "bidi"
    """Changes the order in which text is shown."""
    INVISIBLE = "invisible"
    SPACE = "space"
    """A space that is not the space."""
    ODD = "odd"
    """A letter of another script inside a word, which may pass for the usual one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one kind. `label` stands for text that must not be shown as it is; empty where it may be."""

    kind: Kind
    text: str
    label: str = ""


_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Letters and marks by category, nothing to see by design.
_BLANK_LETTERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS: Final = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_LOOK: Final = re.compile(r"[ \n]{24,}|\n{6,}|[^ -~\n]+")
_WORD: Final = re.compile(r"[^\W\d_]+")
_LOOKALIKE_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"})
_DRESSED_UP: Final = frozenset({"FULLWIDTH", "MATHEMATICAL"})
_EMOJI: Final = frozenset({"So", "Sk", "Sm"})
_NAMES: Final = {0x07: "BEL", 0x08: "BS", 0x09: "TAB", 0x0D: "CR", 0x1B: "ESC", 0x7F: "DEL"}


@lru_cache(maxsize=8192)
def _kind(character: str) -> Kind:
    if character == "\t":
        return Kind.BLANK
    if character in _BIDI:
        return Kind.BIDI
    category = unicodedata.category(character)
    if category == "Cc":
        return Kind.CONTROL
    if category == "Zs":
        return Kind.SPACE
    if category in ("Cf", "Cs", "Co", "Cn", "Zl", "Zp") or character in _BLANK_LETTERS or _SELECTORS.match(character):
        return Kind.INVISIBLE
    return Kind.PLAIN


def pieces(text: str) -> Iterator[Piece]:
    """Yield `text` in order, as stretches that may be shown and stretches that must be named instead."""
    at = 0
    for match in _LOOK.finditer(text):
        if match.start() > at:
            yield Piece(Kind.PLAIN, text[at : match.start()])
        at = match.end()
        found = match.group()
        if found[0] in " \n":
            yield Piece(Kind.BLANK, found, _blank_label(found))
        else:
            yield from _beyond_ascii(found, text, match.start())
    if at < len(text):
        yield Piece(Kind.PLAIN, text[at:])


def _beyond_ascii(found: str, text: str, start: int) -> Iterator[Piece]:
    odd = _odd_letters(text, start, start + len(found))
    kinds = [Kind.ODD if start + n in odd else _kind(character) for n, character in enumerate(found)]
    for n, character in enumerate(found):
        # The one selector that asks for the colourful form of a symbol is in half of all emoji: not worth a warning.
        if character == "\ufe0f" and n and unicodedata.category(found[n - 1]) in _EMOJI:
            kinds[n] = Kind.PLAIN
    at = 0
    for kind, group in groupby(kinds):
        length = sum(1 for _ in group)
        stretch = found[at : at + length]
        at += length
        yield Piece(kind, stretch, "" if kind is Kind.PLAIN else _label(stretch))


def _odd_letters(text: str, start: int, end: int) -> frozenset[int]:
    """Return where, from `start` to `end`, letters of one script sit in words of another."""
    while start and text[start - 1].isalpha():
        start -= 1
    while end < len(text) and text[end].isalpha():
        end += 1
    odd: set[int] = set()
    for word in _WORD.finditer(text, start, end):
        scripts = [_script(character) for character in word.group()]
        known = Counter(script for script in scripts if script in _LOOKALIKE_SCRIPTS)
        usual = "LATIN" if "LATIN" in known else next(iter(known), None)
        for n, script in enumerate(scripts):
            if script in _DRESSED_UP or (len(known) > 1 and script in known and script != usual):
                odd.add(word.start() + n)
    return frozenset(odd)


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    return unicodedata.name(character, "?").split(" ", 1)[0]


def _label(stretch: str) -> str:
    parts: list[str] = []
    for character, group in groupby(stretch):
        count = sum(1 for _ in group)
        name = _NAMES.get(ord(character))
        label = f"U+{ord(character):04X}" + (f" {name}" if name else "")
        parts.append(label if count == 1 else f"{label} \u00d7{count:,}")
    return " ".join(parts)


def _blank_label(found: str) -> str:
    spaces, lines = found.count(" "), found.count("\n")
    words = [f"{lines:,} line breaks"] if lines else []
    return " and ".join([*words, f"{spaces:,} spaces"] if spaces else words)


def plain(text: str) -> str:
    """Return `text` for a terminal or a log line: every character that is not plain is spelled `<U+202E>`."""
    return "".join(
        piece.text if piece.kind is Kind.PLAIN else f"{piece.text if piece.kind is Kind.ODD else ''}<{piece.label}>"
        for piece in pieces(text)
    )


def findings(texts: Iterable[str]) -> Mapping[Kind, int]:
    """Return how many characters of each worrying kind there are."""
    found: Counter[Kind] = Counter()
    for text in texts:
        if text.isascii() and text.isprintable():
            continue
        for piece in pieces(text):
            if piece.kind not in (Kind.PLAIN, Kind.BLANK):
                found[piece.kind] += len(piece.text)
    return found


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, keys included."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def pretty_json(value: Any) -> str:
    """Return `value` as JSON for people, in the order it came; still to be drawn by `pieces`."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)


def ascii_json(value: Any) -> str:
    """Return `value` as JSON for a text field: nothing in it is invisible, because nothing in it is beyond ASCII.

    Letters and everything else that shows itself stay as they are.
    """
    text = pretty_json(value)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        piece.text if piece.kind is Kind.PLAIN else "".join(_escaped(character) for character in piece.text)
        for piece in pieces(text)
        if piece.text
    )


def _escaped(character: str) -> str:
    # Blank stretches of the layout itself; inside strings JSON has escaped line breaks already.
    if character in " \n":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
