"""One HTTP/1.1 connection: one request at a time, every byte of the answer counted before it is kept."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import httptools

from holdshort.gate.upstream.link import UpstreamError, UpstreamLimits, UpstreamLost, UpstreamProtocol, UpstreamTimeout

__all__ = ["Connection"]

_HIGH_WATER: Final = 1024 * 1024
_LOW_WATER: Final = 256 * 1024
_DISCARD_BYTES: Final = 64 * 1024
_DISCARD_SECONDS: Final = 1.0


class Connection(asyncio.Protocol):
    """Made for one upstream's pool. `on_idle` gets it back when it can be used again, `on_gone` when it cannot."""

    _transport: asyncio.Transport

    def __init__(
        self,
        label: str,
        limits: UpstreamLimits,
        *,
        on_idle: "Callable[[Connection], None]",
        on_gone: "Callable[[Connection], None]",
    ) -> None:
        self._label = label
        self._limits = limits
        self._on_idle = on_idle
        self._on_gone = on_gone
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._error: UpstreamError | None = None
        self._wake: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._open = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.heard = False
        """Whether any byte of the answer came."""
        self._head_done = False
        self._head_bytes = 0
        self._unread_head = 0
        self._interim = False
        self._sized = False
        self._done = False
        self._keep = False
        self._extra = False
        self._discarding = -1
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False

    # What the event loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # Nobody asked: whatever this is, it must not become the answer to the next request.
            self.abort()
            return
        self.heard = True
        counting = not self._head_done
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamProtocol(self._label, "wants to change the protocol of the connection"))
        except httptools.HttpParserError:
            self._fail(UpstreamProtocol(self._label, "sent an answer that is not HTTP/1.1"))
        if self._error is not None:
            return
        if self._extra and not self._busy:
            # It came in one piece with the end of an answer, after which the connection went back to the pool.
            self.abort()
            return
        if counting and not self._head_done:
            self._unread_head += len(data)
            if self._unread_head > self._limits.header_bytes:
                self._too_many_headers()
            elif self._timer is None:
                self._start_timer(self._limits.headers_seconds)
        elif self._discarding >= 0 and not self._done:
            self._discarding -= len(data)
            if self._discarding < 0:
                self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._stop_timer()
        if self._busy and not self._done:
            if self._head_done and not self._sized and exc is None:
                # No length was promised: the end of the connection is the end of the body.
                self._done = True
                self._rouse()
            else:
                when = "in the middle of its answer" if self.heard else "before it answered"
                self._fail(UpstreamLost(self._label, f"closed the connection {when}"))
        self._on_gone(self)

    # What the parser tells us. Nothing may be raised in here.

    def on_message_begin(self) -> None:
        if self._done:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._limits.header_bytes:
            self._extra = True
        elif not self._head_done:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._done:
            return
        if self._extra:
            self._too_many_headers()
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            self.headers.clear()
            return
        self.status = status
        self._sized = status in (204, 304)
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._fail(UpstreamProtocol(self._label, "sent an answer in a transfer coding that was not asked for"))
                return
            self._sized = self._sized or name in (b"content-length", b"transfer-encoding")
        self._head_done = True
        self._stop_timer()
        self._rouse()

    def on_body(self, body: bytes) -> None:
        if self._interim or self._done or self._discarding >= 0 or self._error is not None:
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._rouse()

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self._done = True
        self._keep = self._parser.should_keep_alive()
        if self._discarding >= 0:
            self._settle()
        else:
            self._rouse()

    # What the client does.

    @property
    def usable(self) -> bool:
        """Whether the peer has not closed it yet, as far as the event loop knows."""
        return self._open and not self._busy and not self._transport.is_closing()

    @property
    def fd(self) -> int:
        """The socket's file descriptor, -1 where there is none."""
        sock = self._transport.get_extra_info("socket")
        return int(sock.fileno()) if sock is not None else -1

    def send(self, *parts: bytes) -> None:
        """Write a request; the answer is awaited with `head`."""
        self._reset()
        self._busy = True
        self._transport.writelines(parts)

    async def head(self, seconds: float | None) -> None:
        """Wait for status and headers; `seconds` is the deadline where the caller has none."""
        if seconds is not None:
            self._start_timer(seconds)
        while not self._head_done:
            await self._wait()

    async def chunk(self) -> bytes:
        """Return the next piece of the body, empty at its end."""
        while not self._chunks:
            if self._done:
                return b""
            await self._wait()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._paused and self._buffered < _LOW_WATER:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return chunk

    def release(self) -> None:
        """Be done with the answer: back to the pool, at once or when the little that is left of it came."""
        if self._busy and self._open and self._error is None:
            if self._done:
                self._settle()
                return
            if self._head_done and not self._paused:
                self._chunks.clear()
                self._discarding = _DISCARD_BYTES
                self._start_timer(_DISCARD_SECONDS)
                return
        self.abort()

    def abort(self) -> None:
        """Close at once; the peer sees its answer is not wanted."""
        self._busy = False
        self._stop_timer()
        if self._open:
            self._transport.abort()

    def _settle(self) -> None:
        self._stop_timer()
        if self._keep and not self._extra and not self._transport.is_closing() and self._whole():
            self._busy = False
            self._on_idle(self)
        else:
            self.abort()

    def _whole(self) -> bool:
        """Whether the request was written to its end: an early answer leaves a connection no one can use."""
        return self._transport.get_write_buffer_size() == 0

    def _too_many_headers(self) -> None:
        self._fail(UpstreamProtocol(self._label, f"sent more than {self._limits.header_bytes} bytes of headers"))

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
            self._rouse()
        if self._open:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake
        if self._error is not None:
            raise self._error

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._discarding >= 0:
            self.abort()
        else:
            self._fail(UpstreamTimeout(self._label, "took too long to send the headers of its answer"))
