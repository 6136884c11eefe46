"""Which tools of a server's list there are: whole ones, in the server's order, while there is room.

What is left out does not exist for an agent: it is not listed, it cannot be called, and the log names it. Nothing is
ever cut short, because half a description is another description.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdshort.config import LimitsConfig
from holdshort.gate.upstream import Log
from holdshort.wire import encode

__all__ = ["LeftOut", "ListLimits", "Listing"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
"""MCP 2025-11-25, tools: the characters of a name. Others could look like another name to whoever approves."""

_NAMES_SHOWN: Final = 20
_CHARS_SHOWN: Final = 200
_MOST_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class ListLimits:
    """How much one server may list."""

    name_chars: int = 128
    tools: int = 1_000
    description_bytes: int = 16 * 1024
    list_bytes: int = 8 * 1024 * 1024
    """All definitions together, as compact JSON."""

    @classmethod
    def of(cls, limits: LimitsConfig) -> "ListLimits":
        """Return what the configuration says."""
        return cls(limits.tool_name_chars, limits.tools_per_server, limits.description_bytes, limits.list_bytes)


class Listing:
    """One server's list while it is read, page by page. `full`: what comes after is left out too."""

    def __init__(self, limits: ListLimits) -> None:
        self.full = False
        self.left_out: dict[str, list[str]] = {}
        """Names by the reason why."""
        self._limits = limits
        self._kept: dict[str, Mapping[str, Any]] = {}
        self._raw_bytes = 0
        self._bytes = 0
        self._unmeasured: list[dict[str, Any]] = []

    def take(self, tools: object, page_bytes: int) -> list[dict[str, Any]]:
        """Return the definitions on a page that are kept. `page_bytes` is what the page took on the wire."""
        self._raw_bytes += page_bytes
        # On the wire, JSON is never shorter than it needs to be: most lists are within all limits by that alone.
        measure = self._raw_bytes > self._limits.list_bytes
        describe = page_bytes > self._limits.description_bytes
        found: list[dict[str, Any]] = []
        here: set[str] = set()
        for raw in tools if isinstance(tools, list) else ():
            if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
                continue
            name = raw["name"]
            reason = self._objection(raw, name, here, describe=describe) or self._no_room(raw, name, measure=measure)
            if reason is None:
                here.add(name)
                self._kept[name] = raw
                found.append(raw)
            else:
                self.left_out.setdefault(reason, []).append(name[:_CHARS_SHOWN])
        return found

    def _objection(self, raw: Mapping[str, Any], name: str, here: set[str], *, describe: bool) -> str | None:
        limits = self._limits
        if len(name) > limits.name_chars:
            return f"a name has at most {limits.name_chars} characters"
        if _NAME.fullmatch(name) is None:
            return "a name has only letters, digits and `_.-`"
        before = self._kept.get(name, raw)
        if name in here or (before is not raw and encode(before) != encode(raw)):
            # Also over two pages: an agent would read both, and only one of them is judged and pinned.
            return "the list has that name twice"
        description = raw.get("description")
        if describe and isinstance(description, str):
            size = len(description.encode("utf-8", "surrogatepass"))
            if size > limits.description_bytes:
                return f"a description has at most {limits.description_bytes} bytes"
        return None

    def _no_room(self, raw: dict[str, Any], name: str, *, measure: bool) -> str | None:
        if name in self._kept:
            return None  # a page that is asked for again
        if self.full or len(self._kept) >= self._limits.tools:
            self.full = True
            return f"a server has at most {self._limits.tools} tools, and {self._limits.list_bytes} bytes for them all"
        self._unmeasured.append(raw)
        if measure:
            self._bytes += sum(len(encode(each)) for each in self._unmeasured)
            self._unmeasured.clear()
            if self._bytes > self._limits.list_bytes:
                self.full = True
                return self._no_room(raw, name, measure=False)
        return None


class LeftOut:
    """Tells the log what is left out, once, however many clients ask for the list."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: set[int] = set()

    def __call__(self, server: str, left_out: Mapping[str, list[str]]) -> None:
        """Name the tools of `server` that are left out, by reason."""
        for reason, names in left_out.items():
            news = hash((server, reason, tuple(names)))  # not the names themselves: there can be any number
            if news in self._told:
                continue
            if len(self._told) >= _MOST_REMEMBERED:
                self._told.clear()
            self._told.add(news)
            shown = names[:_NAMES_SHOWN]
            self._log.warning(
                "tools are left out of a list", server=server, reason=reason, tools=shown, number=len(names)
            )
