"""From a tool's definition, as its server sent it, to what policy may know of the tool."""

from collections.abc import Mapping
from typing import Any, Final

from holdshort.policy.model import ToolFacts

__all__ = ["HINTS", "facts_of"]

HINTS: Final = {
    "readOnlyHint": ("read_only", False),
    "destructiveHint": ("destructive", True),
    "idempotentHint": ("idempotent", False),
    "openWorldHint": ("open_world", True),
}
"""MCP 2025-11-25, ToolAnnotations: policy's word for a hint, and what holds when it is not declared."""


def facts_of(server: str, definition: Mapping[str, Any], *, trusted: bool = True, pinned: bool = True) -> ToolFacts:
    """Return what policy may know of a tool so defined; its annotations count only where its server is trusted."""
    annotations = definition.get("annotations") if trusted else None
    hints = annotations if isinstance(annotations, Mapping) else {}
    declared = {
        field: hints[key] if isinstance(hints.get(key), bool) else missing for key, (field, missing) in HINTS.items()
    }
    title = definition.get("title") or hints.get("title")
    return ToolFacts(
        server=server,
        name=definition["name"],
        title=title if isinstance(title, str) else None,
        pinned=pinned,
        **declared,
    )
