"""What the fronts are given, and the one request that a conversation of the stateless era is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from holdshort.gate.catalog import Catalog
from holdshort.gate.conversation import Conversation, Endpoint
from holdshort.gate.exchange import Emit, Peer
from holdshort.gate.front.guard import Guard
from holdshort.gate.gate import Gate
from holdshort.gate.line import Line, ModernLine
from holdshort.gate.upstream import Link
from holdshort.policy import Caller
from holdshort.wire import Limits

__all__ = ["StatelessConversation", "Wiring"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the front needs from the one place that constructs things."""

    gate: Gate
    guard: Guard
    endpoints: Mapping[str, Endpoint]
    """By the last part of the path; `""` is `/mcp` itself."""
    modern_lines: Mapping[str, ModernLine]
    open_link: Callable[[str, Emit], AbstractAsyncContextManager[Link]]
    make_catalog: Callable[[str], Catalog]
    """An empty catalog for a new link to the server with this label."""
    eras: Callable[[Endpoint], Any]
    """Async: which eras an endpoint offers, as (legacy, modern)."""
    limits: Limits
    keepalive_seconds: float
    """A stream is never silent for longer than this."""
    buffered_events: int
    """Messages kept for a stream that nobody reads, or that may be resumed."""


class StatelessConversation(Conversation):
    """One request of the stateless era."""

    def __init__(self, gate: Gate, caller: Caller, peer: Peer, lines: Mapping[str, ModernLine]) -> None:
        super().__init__(gate, caller, peer)
        self._shared = lines

    async def line(self, server: str) -> Line:
        return self._shared[server]
