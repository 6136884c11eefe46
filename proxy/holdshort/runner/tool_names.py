"""A tool behind the proxy, and the name the model gets for it.

Models take names of at most 64 letters, digits, `_` and `-`; MCP takes more. A name that fits stays as it is; any
other is cleaned and ends in a digest of itself. A name depends on the tool's own name alone, so it is the same in every
process and in any order of the list, and the digest keeps two tools from sharing one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["McpTool", "model_names", "split_name"]

_LONGEST: Final = 64
_FITS = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LIKE_OURS = re.compile(r".*_[0-9a-f]{10}", re.DOTALL)
"""A name that looks like a cleaned one is treated like one: otherwise it could be chosen to stand for another tool."""
_DIGITS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTool:
    """One tool that can be called through the proxy."""

    name: str
    """As the model sees it."""
    server: str
    """The server's label at the proxy, as rules and records name it."""
    tool: str
    """The server's own name for it."""
    wire_name: str
    """What `tools/call` gets."""
    description: str = ""
    input_schema: dict[str, Any] = field(default_factory=dict[str, Any])
    output_schema: dict[str, Any] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The server's own word about the tool; nothing is decided by it here."""
    title: str | None = None


def split_name(wire_name: str, server: str | None) -> tuple[str, str] | None:
    """Return the server's label and its own name of the tool; None where there is no telling.

    Where one endpoint shows every server, names are `server__name`. A label has no `__`: the first one is the border.
    """
    if server is not None:
        return server, wire_name
    label, border, tool = wire_name.partition("__")
    return (label, tool) if label and border and tool else None


def model_names(wire_names: Iterable[str]) -> dict[str, str]:
    """Return the model's name for each wire name."""
    wanted = sorted(set(wire_names))
    names = {each: _name(each, _DIGITS) for each in wanted}
    digits = _DIGITS
    while len(set(names.values())) < len(names) and digits < _LONGEST:
        # Somebody searched for two names with the same digest; those two get more of it, whatever the order.
        digits += 10
        shared = {name for name, times in Counter(names.values()).items() if times > 1}
        names = {each: _name(each, digits) if name in shared else name for each, name in names.items()}
    return names


def _name(wire_name: str, digits: int) -> str:
    if _FITS.fullmatch(wire_name) and not _LIKE_OURS.fullmatch(wire_name):
        return wire_name
    digest = hashlib.sha256(wire_name.encode("utf-8", "surrogatepass")).hexdigest()[: min(digits, _LONGEST - 4)]
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", wire_name)[: _LONGEST - 1 - len(digest)]
    return f"{clean}_{digest}"
