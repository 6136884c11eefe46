"""What is different between two texts, or two definitions of a tool, as lines for people.

Nothing here is made harmless: whoever shows a line draws it as text from a stranger.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, Final

__all__ = ["DIFF_CELLS", "ChangedLine", "DiffLine", "definition_changes", "diff_lines", "text_of"]

DIFF_CELLS: Final = 4_000_000
"""Beyond so many pairs of lines a comparison would take minutes; whole blocks are then said to be replaced."""

_QUICK_CELLS: Final = 250_000
"""The same for what is compared while others wait: some tens of milliseconds."""

_AROUND: Final = 3
_FIRST: Final = ("server", "name", "title", "description", "instructions", "inputSchema", "outputSchema", "annotations")
_LONG_LINE: Final = 120
_SENTENCE: Final = re.compile(r"(?<=[.!?;:>])(?=\s)")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a comparison; `sign` is `+`, `-`, a space, or `~` for lines that are left out as they are equal."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class ChangedLine:
    """One line about a field of a definition."""

    field: str
    sign: str
    text: str


def diff_lines(old: str, new: str, *, cells: int = DIFF_CELLS) -> list[DiffLine]:
    """Return a line by line comparison, whole: what did not change is there too."""
    return _compared(old.split("\n"), new.split("\n"), cells)


def definition_changes(old: Any, new: Any, *, same_server: bool = True) -> Sequence[ChangedLine]:
    """Return what differs between two definitions (objects, or instructions as text), field by field.

    `old` is None where there is none: then every field is new. With `same_server` false, the command or the URL of the
    server is another one. Equal lines are there only around those that differ.
    """
    return _changes(_fields_text(old), _fields_text(new), same_server)


def text_of(value: Any) -> str:
    """Return a field of a definition as text: text as it is, anything else as JSON in the order it came."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _fields_text(words: Any) -> str:
    """The definition as one text, so that the same comparison is not made twice."""
    if words is None:
        fields: Mapping[str, Any] = {}
    else:
        fields = words if isinstance(words, Mapping) else {"instructions": words}
    return json.dumps(dict(fields), ensure_ascii=False)


@lru_cache(maxsize=32)
def _changes(old_text: str, new_text: str, same_server: bool) -> Sequence[ChangedLine]:
    old, new = json.loads(old_text), json.loads(new_text)
    found: list[ChangedLine] = []
    if not same_server:
        found.append(ChangedLine("server", "-", "the command or URL that was pinned"))
        found.append(ChangedLine("server", "+", "another command or URL"))
    for field in sorted({*old, *new}, key=_rank):
        if field in old and field in new and _exactly(old[field]) == _exactly(new[field]):
            continue
        before = _lines(old[field]) if field in old else []
        after = _lines(new[field]) if field in new else []
        found += [ChangedLine(field, line.sign, line.text) for line in _folded(_compared(before, after, _QUICK_CELLS))]
    return tuple(found)


def _rank(field: str) -> tuple[int, str]:
    return (_FIRST.index(field) if field in _FIRST else len(_FIRST), field)


def _exactly(value: Any) -> str:
    # Not `==`: it takes 1 for true and 1.0 for 1.
    return json.dumps(value, sort_keys=True)


def _lines(value: Any) -> list[str]:
    lines = text_of(value).split("\n")
    if not isinstance(value, str):
        return lines
    # Descriptions are mostly one long line; by sentence, an insertion is seen as what it is.
    return [part for line in lines for part in (_SENTENCE.split(line) if len(line) > _LONG_LINE else [line])]


def _folded(lines: Sequence[DiffLine]) -> Iterator[DiffLine]:
    near = [False] * len(lines)
    for n, line in enumerate(lines):
        if line.sign != " ":
            for close in range(max(0, n - _AROUND), min(len(lines), n + _AROUND + 1)):
                near[close] = True
    skipped = 0
    for n, line in enumerate(lines):
        if near[n]:
            if skipped:
                yield _left_out(skipped)
            skipped = 0
            yield line
        else:
            skipped += 1
    if skipped:
        yield _left_out(skipped)


def _left_out(number: int) -> DiffLine:
    return DiffLine("~", f"{number} line{'' if number == 1 else 's'} as before")


def _compared(before: list[str], after: list[str], cells: int) -> list[DiffLine]:
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    top, bottom = before[:start], before[len(before) - end :]
    before, after = before[start : len(before) - end], after[start : len(after) - end]
    found = [DiffLine(" ", line) for line in top]
    if len(before) * len(after) > cells:
        found += [DiffLine("-", line) for line in before] + [DiffLine("+", line) for line in after]
    else:
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if tag == "equal":
                found += [DiffLine(" ", line) for line in before[i1:i2]]
            else:
                found += [DiffLine("-", line) for line in before[i1:i2]]
                found += [DiffLine("+", line) for line in after[j1:j2]]
    return found + [DiffLine(" ", line) for line in bottom]
