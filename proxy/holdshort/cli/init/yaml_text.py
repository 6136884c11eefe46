"""Text for YAML files that people edit: scalars that mean what they were, comments that nothing can break out of."""

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from holdshort.approvals.inert import plain
from holdshort.config.document import Value

__all__ = ["COLUMNS", "comment", "flow", "inert", "scalar", "with_notes"]

COLUMNS: Final = 120

_PLAIN: Final = re.compile(r"(?:--?[A-Za-z]|[A-Za-z_/]|\.\.?/)[A-Za-z0-9_./@+=-]*(?: [A-Za-z0-9_./@+=;'()-]+)*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
# Editors take orders from comments: vim near either end of a file, emacs on the first line and near the last.
_ORDERS: Final = re.compile(r"\b(vim?|ex)(?=[\d<=>]*:)|-(?=\*-)|(?<=Local Variables)(?=:)", re.IGNORECASE)
_NOTES_FROM: Final = 56
"""The column up to which notes at the ends of lines are lined up."""


def scalar(text: str) -> str:
    """Return a string as YAML, plain where every reader takes it for a string."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return "".join(_escaped(character) for character in json.dumps(text, ensure_ascii=False))


def flow(value: Any) -> str:
    """Return a JSON value, or a `Value` of a file, as YAML on one line."""
    if isinstance(value, Value):
        if value.kind == "map":
            return "{" + ", ".join(f"{scalar(entry.key)}: {flow(entry.value)}" for entry in value.entries) + "}"
        if value.kind == "list":
            return "[" + ", ".join(map(flow, value.items)) + "]"
        return scalar(value.raw) if value.kind == "string" else value.raw or "null"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(key))}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value) if isinstance(value, str) else json.dumps(value)


def inert(text: str, room: int = 200) -> str:
    """Return a stranger's text on one line, with nothing in it that is invisible, ends a comment or orders about."""
    shown = plain(" ".join(text[: 4 * room].split()))
    shown = _ORDERS.sub(lambda found: f"{found.group()} ", shown)
    return shown if len(shown) <= room else shown[: max(0, room - 1)].rstrip() + "…"


def comment(text: str, indent: int = 0) -> list[str]:
    """Return our own text as lines of comment."""
    start = " " * indent + "# "
    return textwrap.wrap(
        text, COLUMNS, initial_indent=start, subsequent_indent=start, break_on_hyphens=False, break_long_words=False
    )


def with_notes(lines: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return lines with a note and a quotation at the end of each, notes below each other."""
    column = max((len(line) for line, _, _ in lines if len(line) <= _NOTES_FROM), default=0)
    written: list[str] = []
    for line, note, quotation in lines:
        start = f"{line:<{column}}  # {note}"
        quoted = inert(quotation, max(24, COLUMNS - len(start) - 4)).replace('"', "'") if quotation.strip() else ""
        written.append(f'{start}: "{quoted}"' if quoted else start)
    return written


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
