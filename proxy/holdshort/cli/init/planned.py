"""What is going to be written about one server, and the names and verdicts that all the files share."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdshort.cli.init.packs import PackMatch
from holdshort.cli.init.sorting import Heap, Sorted
from holdshort.cli.init.yaml_text import scalar

__all__ = ["SCHEMAS", "Planned", "action_of", "heaps", "rule_id", "tool_key"]

SCHEMAS: Final = ".holdshort"
"""The folder of the schemas, beside holdshort.yaml."""

_ID_CHARS: Final = 44
_ORDER: Final = (Heap.READS, Heap.DOUBTFUL, Heap.WRITES, Heap.DESTRUCTIVE, Heap.SILENT)


@dataclass(frozen=True, slots=True)
class Planned:
    """One server: how it is written down, and what is known of its tools."""

    label: str
    block: Mapping[str, Any]
    tools: tuple[Sorted, ...] = ()
    about: str = ""
    """What it calls itself."""
    left_out: tuple[str, ...] = ()
    """Names of tools that the proxy leaves out of its lists."""
    pack: PackMatch | None = None
    error: str | None = None
    """Why nothing is known."""


def heaps(server: Planned) -> dict[Heap, list[Sorted]]:
    """Return the tools that rules are written for, by heap."""
    if server.pack is not None:
        return {}
    sorted_out = {heap: [tool for tool in server.tools if tool.heap is heap] for heap in _ORDER}
    return {heap: tools for heap, tools in sorted_out.items() if tools}


def action_of(heap: Heap, *, deny_destructive: bool) -> str:
    """Return the action of the rule for a heap."""
    if heap is Heap.READS:
        return "allow"
    return "deny" if heap is Heap.DESTRUCTIVE and deny_destructive else "ask"


def tool_key(server: Planned, name: str) -> str:
    """Return the key of a tool as YAML."""
    return scalar(f"{server.label}__{name}")


def rule_id(server: Planned, what: str) -> str:
    """Return the id of a rule; a label is short enough for it, or is cut with a number that tells it from others."""
    short = re.sub(r"^[^A-Za-z0-9]+", "", server.label)
    if len(short) > _ID_CHARS or short != server.label:
        short = f"{short[:_ID_CHARS].rstrip('-_.')}-{zlib.crc32(server.label.encode()) % 10_000}"
    return f"{short}-{what}"
