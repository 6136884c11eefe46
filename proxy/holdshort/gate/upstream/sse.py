"""Server-sent events out of bytes (WHATWG HTML, 9.2.6): incremental, linear, and never more than the cap in memory."""

from typing import Final, NamedTuple

from holdshort.errors import WireError

__all__ = ["Event", "EventParser", "EventTooLarge"]

_BOM: Final = b"\xef\xbb\xbf"
_SLACK: Final = 16
"""The name of the field, and a line end, are no part of the data."""
_LONGEST_ID: Final = 4096
_LONGEST_RETRY_MS: Final = 60_000


class EventTooLarge(WireError):
    """Raised when one event, or one line, has more bytes than are read."""

    code = "too_large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"an event has more than {max_bytes} bytes, which is the most that is read")


class Event(NamedTuple):
    """One event that has data."""

    kind: str
    data: bytes


class EventParser:
    """Feed it chunks as they come. After each event `last_id` and `retry_ms` are those in force."""

    __slots__ = (
        "_data",
        "_data_size",
        "_id",
        "_kind",
        "_line_size",
        "_max_bytes",
        "_parts",
        "_skip_lf",
        "_started",
        "last_id",
        "retry_ms",
    )

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._line_size = 0
        self._data_size = 0
        self._data: list[bytes] = []
        self._kind = b""
        self._id: str | None = None
        self._skip_lf = False
        self._started = False
        self.last_id: str | None = None
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes.

        Raises:
            EventTooLarge: the stream is of no more use.
        """
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\r" in chunk:
            # A CR at the very end may be half of a CRLF: it ends the line now, and a LF that follows is no second end.
            self._skip_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events: list[Event] = []
        for line in lines:
            if self._parts:
                self._parts.append(line)
                line = b"".join(self._parts)
                self._parts.clear()
                self._line_size = 0
            if line:
                self._field(line)
            else:
                self._dispatch(events)
        if rest:
            self._parts.append(rest)
            self._line_size += len(rest)
            self._check()
        return events

    def _field(self, line: bytes) -> None:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._data_size += len(value) + 1
            self._check()
        elif name == b"event":
            self._kind = value[:256]
        elif name == b"id":
            if b"\0" not in value and len(value) <= _LONGEST_ID:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = min(int(value), _LONGEST_RETRY_MS)

    def _dispatch(self, events: list[Event]) -> None:
        self._started = True
        if self._id is not None:
            self.last_id = self._id
            self._id = None
        data = b"\n".join(self._data)
        if data:
            events.append(Event(self._kind.decode("utf-8", "replace") or "message", data))
        self._data.clear()
        self._kind = b""
        self._data_size = 0

    def _check(self) -> None:
        if self._line_size + self._data_size > self._max_bytes + _SLACK:
            raise EventTooLarge(self._max_bytes)
