"""One exchange: a request, the messages that belong to it, one response. The whole gate is written in this unit.

Sessions, streams and pipes belong to the edges; below them there are only exchanges.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from holdshort.gate.keyed import CallKey
from holdshort.gate.methods import TASKS_EXTENSION, Era
from holdshort.gate.upstream import Link
from holdshort.policy import Caller
from holdshort.wire import Frame, RequestId

__all__ = ["Emit", "Exchange", "Peer", "Reply"]

Emit = Callable[[Frame], Awaitable[None]]
"""Sends one message to the client on the channel of the exchange (or of the session)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a client has said of itself; it chooses how a parked call is answered, never whether it is parked."""

    era: Era
    version: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    can_stream: bool = True
    """False where the client takes a plain JSON answer only: nothing can be sent before the response."""

    def supports_tasks(self) -> bool:
        """Whether this request declared the tasks extension (tasks extension 2026-07-28, capability negotiation)."""
        extensions = self.capabilities.get("extensions")
        return self.era is Era.MODERN and isinstance(extensions, Mapping) and TASKS_EXTENSION in extensions

    def comes_back(self) -> bool:
        """Whether an `input_required` answer can be expected to be taken up.

        A client without any handler for input often has no loop either: the Python SDK's plain session raises on such
        an answer, and the model would never learn that its call waits.
        """
        return self.era is Era.MODERN and isinstance(self.capabilities.get("elicitation"), Mapping)

    def opens_urls(self) -> bool:
        """Whether url elicitation was declared, so the review page may be offered."""
        elicitation = self.capabilities.get("elicitation")
        return isinstance(elicitation, Mapping) and isinstance(elicitation.get("url"), Mapping)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way through the gate, with everything needed to judge, forward and answer it."""

    frame: Frame
    server: str
    """Label of the upstream that this exchange is for."""
    link: Link
    caller: Caller
    peer: Peer
    emit: Emit
    renew: Callable[[], Awaitable[Link]] | None = None
    """Gets a new link when the server forgot the session; nothing of the request has been sent then."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """`Mcp-Param-*` headers to send with it, checked against the body already."""
    prefix: str = ""
    """What stands before this server's names for the client (`server__` where several servers share an endpoint)."""
    ends_with_client: bool = False
    """Whether a closed connection ends the exchange (MCP 2026-07-28: disconnect is cancellation; before: it is not)."""
    left: bool = False
    """Nobody can take the answer any more."""
    withdrawn: bool = False
    """The client cancelled on purpose."""
    scope: anyio.CancelScope | None = None
    """What is cancelled when the client leaves; set by the gate around what may be cut short."""
    silent_until: float = 0.0
    """When the server has said nothing for too long, on the event loop's clock; the gate's own watch cancels then."""
    heartbeats: int = 0
    """Progress notifications of ours so far; the upstream's own values are shifted by as many."""
    key: CallKey | None = None
    """The ids that a call is found by; set by the gate, None for one that is found by its arguments."""

    def leave(self, *, withdrawn: bool) -> None:
        """The client has gone, or has cancelled the request."""
        self.left = True
        self.withdrawn = self.withdrawn or withdrawn
        if self.scope is not None and (withdrawn or self.ends_with_client):
            self.scope.cancel()

    @property
    def id(self) -> RequestId:
        """The request's id, type included."""
        found: RequestId = self.frame.value["id"]
        return found

    @property
    def params(self) -> dict[str, Any]:
        """The request's params; empty when it has none."""
        found: dict[str, Any] = self.frame.value.get("params") or {}
        return found

    @property
    def meta(self) -> Mapping[str, Any]:
        """The request's `_meta`; empty when it has none."""
        found = self.params.get("_meta")
        return found if isinstance(found, Mapping) else {}

    @property
    def progress_token(self) -> RequestId | None:
        """The token the client wants progress under, if it asked for progress."""
        token = self.meta.get("progressToken")
        return token if isinstance(token, str | int) and not isinstance(token, bool) else None


@dataclass(slots=True)
class Reply:
    """The response to an exchange; None where none is owed (the client cancelled).

    `settle(True)` is awaited by the edge once the response is written, `settle(False)` when nobody took it: only then
    is a parked call's outcome counted as delivered.
    """

    frame: Frame | None
    settle: Callable[[bool], Awaitable[None]] | None = None
