"""Server-sent events out of bytes, as they arrive (WHATWG HTML 9.2.6), with a cap on what one event may hold.

The runner has a reader of its own: it imports nothing of the proxy, which is another program, maybe another release.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from holdshort.errors import WireError

__all__ = ["MAX_BYTES", "EventReader", "EventTooLarge", "ServerEvent"]

MAX_BYTES: Final = 64 * 1024 * 1024
"""The most that is read of one message; four times what a proxy lets through unless it is told otherwise."""
_LONGEST_ID: Final = 4096


class EventTooLarge(WireError):
    """Raised when one event is over the cap; the stream is of no more use."""

    code = "too_large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"an event of the proxy has more than {max_bytes} bytes, which is the most that is read")


class ServerEvent(NamedTuple):
    """One event that has data, with the id that is in force after it."""

    kind: str
    data: bytes
    id: str | None


class EventReader:
    """Takes chunks, gives events. `last_id` is that of the last event that is complete, for `Last-Event-ID`."""

    __slots__ = ("_after_cr", "_data", "_id", "_kind", "_line", "_max_bytes", "_size", "last_id")

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._kind = b""
        self._after_cr = False
        self._id: str | None = None
        self.last_id: str | None = None

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that `chunk` completes.

        Raises:
            EventTooLarge: an event is over the cap.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            # A CR at the end may be half a line end: it counts now, and a LF that follows does not count again.
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = chunk.split(b"\n")
        events: list[ServerEvent] = []
        for piece in whole:
            line = piece
            if self._line:
                line = bytes(self._line) + piece
                self._line.clear()
            if line:
                self._take(line)
            else:
                self._finish(events)
        self._line += rest
        if self._size + len(self._line) > self._max_bytes:
            raise EventTooLarge(self._max_bytes)
        return events

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._max_bytes:
                raise EventTooLarge(self._max_bytes)
        elif name == b"event":
            self._kind = value[:256]
        elif name == b"id" and b"\0" not in value and len(value) <= _LONGEST_ID:
            self._id = value.decode("utf-8", "replace")

    def _finish(self, events: list[ServerEvent]) -> None:
        if self._id is not None:
            # Not before: whoever comes back with the id of half an event would never get the rest of it.
            self.last_id, self._id = self._id, None
        data = b"\n".join(self._data)
        if data:
            events.append(ServerEvent(self._kind.decode("utf-8", "replace") or "message", data, self.last_id))
        self._data.clear()
        self._size = 0
        self._kind = b""
