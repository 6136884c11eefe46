"""How an MCP endpoint is spoken to: the revisions that are known, and what each request says because of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdshort import __version__
from holdshort.wire import MCP_META_PREFIX

__all__ = ["CLIENT_INFO", "ENVELOPE", "HANDSHAKE", "STATELESS", "UNAGREED", "Terms", "trace_headers"]

HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Revisions that begin with `initialize`; the first is asked for."""
STATELESS: Final = "2026-07-28"
CLIENT_INFO: Final = {"name": "holdshort-runner", "version": __version__}
ENVELOPE: Final[Mapping[str, Any]] = {
    f"{MCP_META_PREFIX}protocolVersion": STATELESS,
    f"{MCP_META_PREFIX}clientCapabilities": {},
    f"{MCP_META_PREFIX}clientInfo": CLIENT_INFO,
}
"""What the `_meta` of every stateless request carries (MCP 2026-07-28, basic: per-request protocol fields)."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What was agreed upon."""

    version: str
    """Empty before anything was."""
    session_id: str | None = None

    @property
    def is_stateless(self) -> bool:
        """Whether there is no session."""
        return self.version == STATELESS

    def headers(self, token: str | None) -> dict[str, str]:
        """Return the headers that every request has under these terms."""
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if self.version:
            headers["mcp-protocol-version"] = self.version
        if self.session_id is not None:
            headers["mcp-session-id"] = self.session_id
        return headers


UNAGREED: Final = Terms("")


def trace_headers(meta: object) -> dict[str, str]:
    """Return the trace context of a call once more, for whatever traces HTTP on the way."""
    told = meta if isinstance(meta, Mapping) else {}
    values = {name: told.get(name) for name in ("traceparent", "tracestate")}
    return {
        name: text for name, text in values.items() if isinstance(text, str) and text.isascii() and text.isprintable()
    }
