"""Which tools run and which ask, by what their server says of them; where a name says worse, the name counts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from holdshort.policy.facts import HINTS

__all__ = ["Heap", "Sorted", "sort_tools"]

_DESTROYING: Final = frozenset(
    {
        *("delete", "drop", "purge", "reset", "force", "remove", "destroy", "truncate", "wipe", "erase", "kill", "rm"),
        *("terminate", "revoke", "uninstall", "overwrite", "shutdown", "rollback", "revert", "unlink", "del"),
    }
)
_DOING: Final = frozenset(
    {
        *("write", "create", "update", "insert", "send", "post", "publish", "execute", "exec", "run", "eval", "deploy"),
        *("merge", "push", "add", "set", "put", "patch", "edit", "move", "rename", "upload", "install", "grant", "pay"),
        *("transfer", "refund", "cancel", "close", "archive", "clear", "approve", "start", "stop", "restart", "modify"),
    }
)
"""Verbs only where a name begins with them: `list_push_rules` pushes nothing."""


class Heap(StrEnum):
    """What becomes of a tool, and why."""

    READS = "reads"
    """Says it only reads."""
    DOUBTFUL = "doubtful"
    """Says it only reads, but its name says otherwise."""
    WRITES = "writes"
    """Says it changes something and destroys nothing."""
    DESTRUCTIVE = "destructive"
    """Says it may destroy, does not rule it out, or has a name that says so."""
    SILENT = "silent"
    """Its server says nothing about it."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """One tool, with what its server says of it in a few words, and its description."""

    name: str
    heap: Heap
    said: str
    description: str


def sort_tools(definitions: Iterable[Mapping[str, Any]], *, trusted: bool = True) -> tuple[Sorted, ...]:
    """Sort tools, in the order of their list; `trusted` as in `trust_annotations`."""
    return tuple(_sorted(one, trusted=trusted) for one in definitions)


def _sorted(definition: Mapping[str, Any], *, trusted: bool) -> Sorted:
    name = str(definition["name"])
    annotations = definition.get("annotations")
    given = annotations if isinstance(annotations, Mapping) else {}
    hints = {key: given[key] for key in HINTS if isinstance(given.get(key), bool)} if trusted else {}
    heap, doubt = _heap(name, hints)
    description = definition.get("description")
    said = _said(hints) if trusted else "its server is not trusted to say"
    return Sorted(name, heap, f"{said}{doubt}", description if isinstance(description, str) else "")


def _heap(name: str, hints: Mapping[str, bool]) -> tuple[Heap, str]:
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    worst = next((word for word in words if word in _DESTROYING), None)
    doubt = f", but its name says `{worst}`" if worst else ""
    if hints.get("readOnlyHint"):
        verb = worst or next((word for word in words[:1] if word in _DOING), None)
        return (Heap.DOUBTFUL, f", but its name says `{verb}`") if verb else (Heap.READS, "")
    if hints.get("destructiveHint") is False:
        return (Heap.DESTRUCTIVE, doubt) if worst else (Heap.WRITES, "")
    if "destructiveHint" in hints or "readOnlyHint" in hints:
        return Heap.DESTRUCTIVE, ""
    return (Heap.DESTRUCTIVE, doubt) if worst else (Heap.SILENT, "")


def _said(hints: Mapping[str, bool]) -> str:
    said: list[str] = []
    if "readOnlyHint" in hints:
        said.append("read-only" if hints["readOnlyHint"] else "not read-only")
    if "destructiveHint" in hints and not hints.get("readOnlyHint"):
        said.append("destructive" if hints["destructiveHint"] else "not destructive")
    if hints.get("idempotentHint") and not hints.get("readOnlyHint"):
        said.append("idempotent")
    if hints.get("openWorldHint"):
        said.append("open world")
    return ", ".join(said) or "no annotations"
