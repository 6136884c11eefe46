"""What a docstring says of a function and of its arguments, in the three ways in which people write that down.

Google's `Args:`, NumPy's underlined `Parameters` and Sphinx's `:param name:` are told apart line by line, so nobody
says which style is meant. The description is everything before the first of such sections.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Documented", "read_docstring"]

ARGUMENTS = frozenset({"args", "arguments", "params", "parameters", "other parameters", "keyword args"})
OTHERS = frozenset({"returns", "return", "yields", "yield", "raises", "raise", "warns", "receives", "attributes"})
"""Sections that are not for the model; what they say is left out."""

GOOGLE_ITEM = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\((?P<type>[^)]*(?:\([^)]*\)[^)]*)*)\))?\s*:\s*(?P<text>.*)")
NUMPY_ITEM = re.compile(r"(?P<names>\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
SPHINX_FIELD = re.compile(r":(?P<word>\w+)(?P<rest>(?:\s+[^:]*?)?):(?:\s+(?P<text>.*)|)$")
SPHINX_ARGUMENTS = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})
SPHINX_OTHERS = frozenset({"type", "return", "returns", "rtype", "raise", "raises", "except", "exception", "yields"})


@dataclass(slots=True)
class Documented:
    """A docstring, read."""

    description: str = ""
    arguments: dict[str, str] = field(default_factory=dict[str, str])
    """What is said of each argument, on one line."""


def read_docstring(text: str | None) -> Documented:
    """Return what `text` says; what it does not say is empty."""
    found = Documented()
    lines = inspect.cleandoc(text).splitlines() if text else []
    if len(lines) > 1 and lines[0].lower() in {f"{word}:" for word in ARGUMENTS} and lines[1][:1].strip():
        # With nothing before the section, what is indented under it counts as the margin.
        lines[1:] = [f"    {line}" for line in lines[1:]]
    before: list[str] = []
    at, in_sections = 0, False
    while at < len(lines):
        header, size = _section(lines, at)
        field_ = SPHINX_FIELD.match(lines[at])
        if header is not None:
            in_sections = True
            body = _body(lines, at + size, underlined=size == 2)
            if header in ARGUMENTS:
                items = _numpy_items(body) if size == 2 else _google_items(body)
                found.arguments.update({name: said for name, said in items if said})
            at += size + len(body)
        elif field_ is not None and field_["word"] in SPHINX_ARGUMENTS | SPHINX_OTHERS:
            in_sections = True
            body = _indented(lines[at + 1 :])
            words = (field_["rest"] or "").split()
            if field_["word"] in SPHINX_ARGUMENTS and words:
                said = _joined([field_["text"] or "", *body])
                if said:
                    found.arguments[words[-1].lstrip("*")] = said
            at += 1 + len(body)
        else:
            if not in_sections:
                before.append(lines[at])
            at += 1
    found.description = "\n".join(before).strip()
    return found


def _section(lines: Sequence[str], at: int) -> tuple[str | None, int]:
    """Return the section that begins at a line, in lower case, and how many lines its header takes."""
    line = lines[at]
    following = lines[at + 1] if at + 1 < len(lines) else ""
    word = line.strip().lower()
    if word in ARGUMENTS | OTHERS and line[:1] != " " and re.fullmatch(r"\s*-{3,}\s*", following):
        return word, 2
    name = word.removesuffix(":")
    if name != word and name in ARGUMENTS | OTHERS and line[:1] != " " and (following[:1] in {" ", "\t"}):
        return name, 1
    return None, 0


def _body(lines: Sequence[str], start: int, *, underlined: bool) -> list[str]:
    """Return the lines of the section whose header ends before `start`."""
    if not underlined:
        return _indented(lines[start:])
    end = start
    while end < len(lines) and _section(lines, end)[0] is None and not _underlined(lines, end):
        end += 1
    return list(lines[start:end])


def _underlined(lines: Sequence[str], at: int) -> bool:
    """Whether a line is the header of any NumPy section, known or not."""
    following = lines[at + 1] if at + 1 < len(lines) else ""
    return bool(lines[at].strip()) and re.fullmatch(r"-{3,}\s*", following) is not None


def _indented(lines: Sequence[str]) -> list[str]:
    """Return the first lines up to one that begins at the margin."""
    taken: list[str] = []
    for line in lines:
        if line.strip() and line[:1] not in {" ", "\t"}:
            break
        taken.append(line)
    return taken


def _google_items(body: Sequence[str]) -> list[tuple[str, str]]:
    margin = min((_indent(line) for line in body if line.strip()), default=0)
    items: list[tuple[str, list[str]]] = []
    for line in body:
        matched = GOOGLE_ITEM.match(line.strip()) if _indent(line) == margin else None
        if matched is not None:
            items.append((matched["name"], [matched["text"]]))
        elif items:
            items[-1][1].append(line)
    return [(name, _joined(said)) for name, said in items]


def _numpy_items(body: Sequence[str]) -> list[tuple[str, str]]:
    items: list[tuple[list[str], list[str]]] = []
    for line in body:
        matched = NUMPY_ITEM.fullmatch(line.rstrip()) if _indent(line) == 0 else None
        if matched is not None:
            items.append(([name.strip().lstrip("*") for name in matched["names"].split(",")], []))
        elif items:
            items[-1][1].append(line)
    return [(name, _joined(said)) for names, said in items for name in names]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: Sequence[str]) -> str:
    return " ".join(part for line in lines if (part := line.strip()))
