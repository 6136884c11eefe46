"""What in a tool's definition a person may not see, or may take for something else.

Only what is certain is named: characters that do not show or that rearrange text, letters of two alphabets in one word,
and names that differ in nothing an eye can hold on to. A flag allows nothing and forbids nothing; it is for whoever
decides about a definition.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Flag", "NameIndex", "flags_among", "flags_in", "index_of", "look_alike", "note_name", "skeletons"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing to know about a definition; `words` hold no character that is not plain."""

    kind: str
    """`hidden`, `direction`, `control`, `mixed`, `look-alike`, or `long` for what was not read to its end."""
    where: str
    """JSON pointer into the definition; empty for all of it."""
    words: str


NameIndex = Mapping[str, AbstractSet[str]]
"""Names by skeleton."""

_PLAIN: Final = re.compile(r"[\x20-\x7e\n\t]*")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_WORD: Final = re.compile(r"[^\W\d_]+")
_DIRECTION: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Letters, marks and symbols by category, with nothing to see by design.
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS: Final = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_HIDDEN_CATEGORIES: Final = frozenset({"Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SYMBOLS: Final = frozenset({"So", "Sk", "Sm"})
_LOOKALIKE_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"})
_WORDS: Final = {
    "hidden": "that cannot be seen",
    "direction": "changing the direction of text",
    "control": "controlling a terminal",
    "mixed": "of another alphabet inside a word",
}
_NAMED: Final = 4
_MOST_READ: Final = 32_768
"""Characters beyond plain ones that are looked at in one definition (50 ms); 64 plain ones count as one."""
_MOST_FLAGS: Final = 100
_LONGEST_KEY: Final = 200
_MOST_ALIKE: Final = 20
"""Names that are kept for one skeleton: a thousand that all look alike would make a million flags."""


def flags_in(definition: Any) -> tuple[Flag, ...]:
    """Return what is odd about the text of a definition (an object), or of a server's instructions (a text)."""
    found: list[Flag] = []
    left = _MOST_READ
    for pointer, text in _texts(definition):
        plain = _PLAIN.fullmatch(text) is not None
        left -= 1 + (len(text) // 64 if plain else len(text))
        if not plain:
            found += _flags_of(pointer, text if left >= 0 else text[:left])
        if left < 0 or len(found) > _MOST_FLAGS:
            return (*found[:_MOST_FLAGS], Flag("long", "", "more of it than is looked at here"))
    return tuple(found)


def skeletons(name: str) -> frozenset[str]:
    """Return what is left of a name for a quick eye. Two names look alike when they share one of these."""
    spoken = re.sub(r"[-._ ]+", "_", unicodedata.normalize("NFKC", name).casefold())
    drawn = name.replace("I", "l").replace("1", "l").replace("|", "l").replace("0", "o").replace("O", "o")
    drawn = drawn.replace("rn", "m").replace("vv", "w")
    return frozenset({spoken, re.sub(r"[-._ ]+", "_", drawn.casefold())})


def index_of(names: Iterable[str]) -> NameIndex:
    """Return names by what is left of them, to be compared with."""
    found: dict[str, set[str]] = {}
    for name in names:
        note_name(found, name)
    return found


def note_name(names: dict[str, set[str]], name: str) -> None:
    """Add a name to an index, unless enough are there that look like it."""
    for skeleton in skeletons(name):
        alike = names.setdefault(skeleton, set())
        if len(alike) < _MOST_ALIKE:
            alike.add(name)


def look_alike(name: str, title: str | None, others: NameIndex, *, among: str = "") -> Iterator[Flag]:
    """Yield a flag for every other name that `name` or `title` may be taken for.

    A name does not look like itself. `among` says where the others are.
    """
    own = _sharing(name, others) - {name}
    titled = _sharing(title, others) - own - {name} if title else set[str]()
    for other in sorted(own):
        yield Flag("look-alike", "/name", f"the name looks like `{other}`{among}")
    for other in sorted(titled):
        yield Flag("look-alike", "/title", f"the title reads like the name `{other}`{among}")


def flags_among(definitions: Iterable[tuple[str, str, Any]]) -> Mapping[tuple[str, str], tuple[Flag, ...]]:
    """Return what is odd about each of these (server, tool, definition), by itself and beside the others.

    A tool without a name stands for the server's instructions.
    """
    everything = list(definitions)
    names: dict[str, list[str]] = {}
    for server, tool, _ in everything:
        names.setdefault(server, []).append(tool)
    indexes = {server: index_of(filter(None, each)) for server, each in names.items()}
    found: dict[tuple[str, str], tuple[Flag, ...]] = {}
    for server, tool, words in everything:
        flags = list(flags_in(words))
        title = words.get("title") if isinstance(words, Mapping) else None
        for other, index in indexes.items() if tool else ():
            among = "" if other == server else f" of server `{other}`"
            flags += look_alike(tool, title if isinstance(title, str) else None, index, among=among)
        found[server, tool] = tuple(flags)
    return found


def _sharing(text: str, others: NameIndex) -> set[str]:
    return {other for skeleton in skeletons(text) for other in others.get(skeleton, ())}


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        pointer, item = stack.pop()
        if isinstance(item, str):
            yield pointer, item
        elif isinstance(item, dict):
            for key, each in item.items():
                shown = (
                    key if _PLAIN.fullmatch(key) else key[:_LONGEST_KEY].encode("ascii", "backslashreplace").decode()
                )
                below = f"{pointer}/{shown.replace('~', '~0').replace('/', '~1')}"
                yield below, key
                stack.append((below, each))
        elif isinstance(item, list):
            stack.extend((f"{pointer}/{number}", each) for number, each in enumerate(item))


def _flags_of(pointer: str, text: str) -> Iterator[Flag]:
    found: dict[str, Counter[str]] = {}
    for position, character in enumerate(text):
        kind = _kind(text, position, character)
        if kind is not None:
            found.setdefault(kind, Counter())[character] += 1
    if _NOT_ASCII.search(text):
        for character in _mixed(text):
            found.setdefault("mixed", Counter())[character] += 1
    for kind, characters in found.items():
        number = characters.total()
        names = [f"U+{ord(character):04X}" for character in list(characters)[:_NAMED]]
        more = " and others" if len(characters) > _NAMED else ""
        words = f"{number} character{'' if number == 1 else 's'} {_WORDS[kind]} ({', '.join(names)}{more})"
        yield Flag(kind, pointer, words)


def _kind(text: str, position: int, character: str) -> str | None:
    if "\x20" <= character <= "\x7e" or character in "\n\t":
        return None
    if character == "\r" and text[position + 1 : position + 2] == "\n":
        return None
    if character in _DIRECTION:
        return "direction"
    category = unicodedata.category(character)
    if category == "Cc":
        return "control"
    if character in "\ufe0f\u200d" and position and _is_symbol(text[position - 1]):
        return None  # parts of emoji, in half of all of them
    hidden = category in _HIDDEN_CATEGORIES or character in _BLANK or _SELECTORS.match(character) is not None
    return "hidden" if hidden else None


def _is_symbol(character: str) -> bool:
    return character == "\ufe0f" or unicodedata.category(character) in _SYMBOLS


def _mixed(text: str) -> Iterator[str]:
    for word in _WORD.finditer(text):
        letters = word.group()
        if letters.isascii():
            continue
        scripts = [unicodedata.name(letter, "?").split(" ", 1)[0] for letter in letters]
        known = [script for script in scripts if script in _LOOKALIKE_SCRIPTS]
        usual = "LATIN" if "LATIN" in known else next(iter(known), None)
        for letter, script in zip(letters, scripts, strict=True):
            if script in _LOOKALIKE_SCRIPTS and script != usual:
                yield letter
