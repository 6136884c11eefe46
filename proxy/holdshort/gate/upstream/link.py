"""What every way to a server has in common: an exchange goes in, one response or one named failure comes out."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import anyio

from holdshort.config import LimitsConfig
from holdshort.errors import HoldshortError
from holdshort.wire import Frame, Kind, Limits

__all__ = [
    "NO_HEADERS",
    "Emit",
    "Era",
    "Eras",
    "Health",
    "Link",
    "Log",
    "SessionGone",
    "StatusFrame",
    "UpstreamBackoff",
    "UpstreamError",
    "UpstreamLimits",
    "UpstreamLost",
    "UpstreamProtocol",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]

Emit = Callable[[Frame], Awaitable[None]]
"""Takes one frame from a server, in order. It may wait for a slow reader, never for an answer to the frame."""

Era = Literal["legacy", "modern"]
"""`legacy`: `initialize` and sessions, up to 2025-11-25. `modern`: one exchange at a time, from 2026-07-28 on."""

NO_HEADERS: Final[Mapping[str, str]] = {}


class UpstreamError(HoldshortError):
    """Raised when an exchange with a server has no response. The message is fit for an agent: no secret is in it.

    `sent` is False only where no byte of the request can have reached the server, so that it certainly did not run.
    """

    code = "upstream"
    sent_unless_told = True

    def __init__(self, label: str, reason: str, *, sent: bool | None = None) -> None:
        super().__init__(f"server `{label}` {reason}")
        self.label = label
        self.reason = reason
        self.sent = self.sent_unless_told if sent is None else sent

    def again(self, *, sent: bool) -> "UpstreamError":
        """Return the same failure as another exchange sees it."""
        return type(self)(self.label, self.reason, sent=sent)


class UpstreamUnreachable(UpstreamError):
    """Raised when there is no server to talk to: the command does not start, or nothing accepts the connection."""

    code = "upstream_unreachable"
    sent_unless_told = False


class UpstreamLost(UpstreamError):
    """Raised when the server went away before it answered. Whether a sent request ran is not known."""

    code = "upstream_lost"


class UpstreamTimeout(UpstreamError):
    """Raised when a deadline passed first (ours own only where a peer stalls in the middle of a message)."""

    code = "upstream_timeout"


class UpstreamProtocol(UpstreamError):
    """Raised when the server answered with something that is no response to the request.

    `status` is the HTTP status where that was the answer.
    """

    code = "upstream_protocol"

    def __init__(self, label: str, reason: str, *, sent: bool | None = None, status: int | None = None) -> None:
        super().__init__(label, reason, sent=sent)
        self.status = status


class UpstreamBackoff(UpstreamError):
    """Raised while a server that keeps dying is not started again yet."""

    code = "upstream_backoff"
    sent_unless_told = False


class SessionGone(UpstreamError):
    """Raised when the server no longer knows the session (404): a new link must start with `initialize`."""

    code = "upstream_session_gone"
    sent_unless_told = False


class StatusFrame(Frame):
    """A JSON-RPC error that came with an HTTP error status: the front may mirror the status."""

    __slots__ = ("frame_status",)

    def __init__(
        self, value: dict[str, Any], raw: bytes | None = None, kind: Kind | None = None, *, frame_status: int
    ) -> None:
        super().__init__(value, raw, kind)
        self.frame_status = frame_status


class Link(Protocol):
    """One conversation with one server."""

    @property
    def era(self) -> Era: ...

    @property
    def closed(self) -> anyio.Event:
        """Set when no exchange can work on this link any more; `failure` then says why, if it was not `close`."""
        ...

    @property
    def failure(self) -> UpstreamError | None: ...

    async def request(self, frame: Frame, emit: Emit, *, headers: Mapping[str, str] = NO_HEADERS) -> Frame:
        """Run one exchange: send `frame`, pass what belongs to it to `emit` in order, return the response.

        The response has the request's own id. Cancelling the calling scope aborts the exchange and tells the server
        so; the caller must not send `notifications/cancelled` for it a second time. There is no deadline in here.

        Raises:
            UpstreamError: one of its subclasses; see `sent`.
        """
        ...

    async def send(self, frame: Frame) -> None:
        """Send a notification, or the response to a request of the server.

        Raises:
            UpstreamError: it could not be sent, or was refused.
        """
        ...

    async def close(self) -> None:
        """End the conversation. Exchanges that still wait fail with `UpstreamLost`. Closing twice is fine."""
        ...


@dataclass(frozen=True, slots=True)
class Eras:
    """What a server was found to speak."""

    legacy: bool
    """Takes sessions: it answered `initialize`, or it is modern and was not asked (see `probe`)."""
    modern: bool
    versions: tuple[str, ...]
    """Protocol revisions, newest first: those `server/discover` names, and the one `initialize` negotiated."""
    discovered: Mapping[str, Any] | None = None
    """The result of `server/discover`, as it came."""
    initialized: Mapping[str, Any] | None = None
    """The result of the probe's `initialize`, as it came."""


@dataclass(frozen=True, slots=True)
class Health:
    """One line about a server for operators."""

    label: str
    transport: str
    state: Literal["idle", "up", "backoff", "down"]
    last_error: str | None
    restarts: int
    pid: int | None
    links: int


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What one server may cost us."""

    message: Limits = field(
        default_factory=lambda: Limits(max_bytes=16 * 1024 * 1024, max_string_bytes=16 * 1024 * 1024)
    )
    connect_seconds: float = 5.0
    headers_seconds: float = 10.0
    """From the first byte of an answer to the end of its headers; and for whole answers we only wait for out of
    courtesy (DELETE, notifications)."""
    header_bytes: int = 64 * 1024
    connections: int = 128
    """Connections in exchanges at once; one more waits for its turn."""
    streams: int = 1024
    """Connections that only listen (GET streams, `subscriptions/listen`)."""
    idle_seconds: float = 4.0
    """How long an unused connection is kept: below the 5 seconds after which common servers close it."""
    buffered_frames: int = 256
    """Frames held for a slow reader before the server is made to wait."""
    stop_seconds: float = 2.0
    """Patience at each step of stopping a child: end of input, SIGTERM, SIGKILL."""
    probe_seconds: float = 60.0
    """A first start may download the server."""
    restart_seconds: float = 1.0
    """The first pause before a dead child is started again; doubles up to `restart_max_seconds`."""
    restart_max_seconds: float = 60.0
    stderr_line_bytes: int = 64 * 1024
    stderr_lines_per_second: int = 100

    @classmethod
    def of(cls, limits: LimitsConfig, *, stop_seconds: float = 2.0) -> "UpstreamLimits":
        """Return what the configuration says; the rest stays at its default."""
        return cls(
            message=Limits(
                max_bytes=limits.response_bytes,
                max_depth=limits.json_depth,
                # Bytes that pass through are not judged, so no string in them is refused for its length alone.
                max_string_bytes=limits.response_bytes,
            ),
            connect_seconds=limits.connect_timeout,
            headers_seconds=limits.header_timeout,
            buffered_frames=limits.event_buffer,
            restart_seconds=limits.restart_backoff,
            restart_max_seconds=limits.restart_backoff_max,
            stop_seconds=stop_seconds,
        )


class Log(Protocol):
    """Where facts about servers go: any structlog logger."""

    def debug(self, event: str, /, **facts: Any) -> object: ...
    def info(self, event: str, /, **facts: Any) -> object: ...
    def warning(self, event: str, /, **facts: Any) -> object: ...
    def error(self, event: str, /, **facts: Any) -> object: ...
