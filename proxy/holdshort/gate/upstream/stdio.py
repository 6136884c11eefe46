"""A link over the pipes of a child of its own. Noise between messages is skipped; only death ends the link."""

from collections.abc import Callable, Mapping

import anyio

from holdshort.gate.upstream.exchanges import Switchboard, answered_ids
from holdshort.gate.upstream.lines import Overlong
from holdshort.gate.upstream.link import (
    NO_HEADERS,
    Emit,
    Era,
    Log,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
)
from holdshort.gate.upstream.noise import Noise
from holdshort.gate.upstream.process import Child
from holdshort.gate.upstream.reading import read_message
from holdshort.wire import Frame, MalformedMessage, encode

__all__ = ["StdioLink", "cancelled", "line_of"]


class StdioLink:
    """One child, one conversation. With `raw`, progress is nobody's in particular: every frame goes to the pump."""

    def __init__(
        self, label: str, *, log: Log, limits: UpstreamLimits, monotonic: Callable[[], float], raw: bool
    ) -> None:
        self.label = label
        self.closed = anyio.Event()
        self.failure: UpstreamError | None = None
        self._era: Era | None = None
        self._limits = limits
        self._noise = Noise(label, log=log, monotonic=monotonic)
        self._child: Child | None = None
        self._board = Switchboard(label, raw=raw, limit=limits.buffered_frames, hold=self._hold, release=self._release)

    def attach(self, child: Child) -> None:
        """Take the child, whose lines go to `on_line` and whose death to `on_death`."""
        self._child = child

    @property
    def era(self) -> Era:
        """What is spoken here, once the first request decided it."""
        return self._era or "legacy"

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid if self._child is not None else None

    async def request(self, frame: Frame, emit: Emit, *, headers: Mapping[str, str] = NO_HEADERS) -> Frame:
        """Run one exchange; see `Link.request`. Headers mean nothing to a child."""
        child = self._alive()
        if self._era is None:
            # As servers do: the first request decides what is spoken on these pipes.
            self._era = "legacy" if frame.value["method"] == "initialize" else "modern"
        exchange = self._board.begin(frame)
        try:
            if child.full:
                await child.room()
                self._alive()
            exchange.sent = True
            child.write(line_of(frame))
            return await self._board.outcome(exchange, emit)
        finally:
            if self._board.end(exchange) and exchange.method != "initialize" and not child.full:
                child.write(cancelled(exchange.request_id))

    async def send(self, frame: Frame) -> None:
        """Send a notification or a response to the child."""
        child = self._alive()
        if child.full:
            await child.room()
            self._alive()
        child.write(line_of(frame))

    async def pump(self, on_frame: Emit) -> None:
        """Pass the frames that belong to no exchange on, for as long as the link lives."""
        await self._board.pump(on_frame)

    async def close(self) -> None:
        """Stop the child and everything it started."""
        self._end(None)
        if self._child is not None:
            await self._child.stop()

    def on_line(self, line: bytes | Overlong) -> bool:
        """Take one line of the child's output; False when it was of no use."""
        if isinstance(line, Overlong):
            self._too_long(line)
            return False
        if not line or line == b"\r":
            return False
        try:
            frame = read_message(line, self._limits.message)
        except MalformedMessage as error:
            self._malformed(line, error)
            return False
        if not self._board.deliver(frame):
            self._noise.report("answers no request that waits", line)
            return False
        return True

    def on_death(self, how: str) -> None:
        """Fail everything that waits: the child is gone."""
        self._end(UpstreamLost(self.label, how))

    def _alive(self) -> Child:
        if self._child is None or self.closed.is_set():
            raise self.failure.again(sent=False) if self.failure else UpstreamLost(self.label, "is closed", sent=False)
        return self._child

    def _end(self, failure: UpstreamError | None) -> None:
        if self.closed.is_set():
            return
        self.failure = failure
        self.closed.set()
        self._board.fail_all(failure or UpstreamLost(self.label, "was closed before it answered"))

    def _malformed(self, line: bytes, error: MalformedMessage) -> None:
        self._noise.report(error.reason, line)
        unusable = UpstreamProtocol(self.label, f"sent an unusable answer: {error.reason}")
        for request_id in answered_ids(line, error):
            self._board.fail(request_id, unusable)

    def _too_long(self, line: Overlong) -> None:
        self._noise.report(f"a line of {line.size} bytes", line.head)
        failure = UpstreamProtocol(
            self.label, f"sent an answer of {line.size} bytes; at most {self._limits.message.max_bytes} are read"
        )
        ids = answered_ids(line)
        if not ids:
            # Whose answer it was cannot be told, and that one must not wait for ever.
            self._board.fail_all(failure)
        for request_id in ids:
            self._board.fail(request_id, failure)

    def _hold(self) -> None:
        if self._child is not None:
            self._child.hold()

    def _release(self) -> None:
        if self._child is not None:
            self._child.release()


def line_of(frame: Frame) -> bytes:
    """Return the frame as one line: JSON may hold line ends between its tokens, a line may not."""
    raw = frame.raw
    if b"\n" in raw or b"\r" in raw:
        raw = encode(frame.value)
    return raw + b"\n"


def cancelled(request_id: str | int) -> bytes:
    """Return the line that tells a server that nobody waits for this request any more."""
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
    return encode(message) + b"\n"
