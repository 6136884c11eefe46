"""Server-sent events to one client, kept for a while so that a dropped connection can be resumed.

MCP 2025-11-25, transports: an event id is unique in its session and names its stream; a client that comes back with
`Last-Event-ID` gets what that stream said since.
"""

from collections import OrderedDict, deque
from typing import Final

import anyio

__all__ = ["PING", "SSE_HEADERS", "Stream", "Streams", "event"]

PING: Final = b": ping\n\n"

SSE_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_STREAMS: Final = 64


def event(raw: bytes, event_id: str | None = None) -> bytes:
    """Return one `message` event; `raw` is JSON on one line."""
    head = f"id: {event_id}\n".encode() if event_id is not None else b""
    return b"event: message\n" + head + b"data: " + raw + b"\n\n"


class Stream:
    """One stream's events, numbered from 1; number 0 is the priming event that lets a client resume from the start."""

    def __init__(self, name: str, max_events: int) -> None:
        self.name = name
        self._max_events = max_events
        self.finished = False
        self.grown = anyio.Event()
        self._events: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._next = 1

    def priming(self) -> bytes:
        """Return the event that only carries an id."""
        return f"id: {self.name}.0\ndata: \n\n".encode()

    def add(self, raw: bytes) -> bytes:
        """Keep a message and return its event."""
        number = self._next
        self._next += 1
        self._events.append((number, raw))
        self._bytes += len(raw)
        while len(self._events) > self._max_events or (self._bytes > _MAX_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.popleft()[1])
        self._wake()
        return event(raw, f"{self.name}.{number}")

    def finish(self) -> None:
        """Nothing more will come."""
        self.finished = True
        self._wake()

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """Return the kept messages after `number`, as (number, event)."""
        return [(n, event(raw, f"{self.name}.{n}")) for n, raw in self._events if n > number]

    def _wake(self) -> None:
        self.grown.set()
        self.grown = anyio.Event()


class Streams:
    """The streams of one session; the oldest are forgotten first."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._next = 0

    def new(self) -> Stream:
        """Begin a stream."""
        self._next += 1
        stream = Stream(str(self._next), self._max_events)
        self._streams[stream.name] = stream
        while len(self._streams) > _MAX_STREAMS:
            # The standalone stream is the first of a session and lives as long as it does.
            oldest = next(name for name in self._streams if name != "1")
            self._streams.pop(oldest).finish()
        return stream

    def find(self, event_id: str) -> tuple[Stream, int] | None:
        """Return the stream and the number that an event id names; None for one that is forgotten or foreign."""
        name, _, number = event_id.partition(".")
        stream = self._streams.get(name)
        if stream is None or not number.isascii() or not number.isdigit():
            return None
        return stream, int(number)
