"""The answer to one POST: plain JSON if the response is all there is to say, an event stream as soon as it is not."""

from collections.abc import Callable
from typing import Any, Final

import anyio

from holdshort.gate.front.streams import PING, SSE_HEADERS, Stream, event
from holdshort.gate.upstream import StatusFrame
from holdshort.wire import Frame

__all__ = ["HTTP_STATUS", "Post", "send_json", "send_status"]

Send = Callable[[dict[str, Any]], Any]

HTTP_STATUS: Final = {
    -32700: 400,
    -32600: 400,
    -32602: 400,
    -32601: 404,
    -32020: 400,
    -32021: 400,
    -32022: 400,
}
"""The HTTP status that goes with a JSON-RPC error of the stateless era (MCP 2026-07-28, transports)."""

_JSON: Final = (b"content-type", b"application/json")


async def send_json(send: Send, status: int, raw: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Send one complete JSON answer."""
    lines = [_JSON, (b"content-length", str(len(raw)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": raw})


async def send_status(send: Send, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Send an answer without a body."""
    lines = [(b"content-length", b"0"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": b""})


class Post:
    """One POST under way. `new_stream` makes the resumable stream of a session; None where streams cannot resume."""

    __slots__ = (
        "_new_stream",
        "_send",
        "_stream",
        "_writing",
        "born",
        "disconnected",
        "finished",
        "headers",
        "last_sent",
        "on_close",
        "on_disconnect",
        "receive",
        "started",
        "streams",
        "watcher",
    )

    def __init__(
        self,
        receive: Callable[[], Any],
        send: Send,
        now: float,
        *,
        streams: bool,
        new_stream: Callable[[], tuple[Stream, bool]] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.receive = receive
        self._send = send
        self.born = self.last_sent = now
        self.streams = streams
        self._new_stream = new_stream
        self._stream: Stream | None = None
        self._writing: anyio.Lock | None = None
        self.headers = headers
        self.started = False
        self.disconnected = False
        self.finished = False
        self.watcher: anyio.CancelScope | None = None
        self.on_disconnect: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        """Called when the server stops."""

    async def emit(self, frame: Frame) -> None:
        """Send a message that belongs to the request, before its response."""
        if not self.streams or self.finished:
            return
        await self._begin()
        await self._write(self._stream.add(frame.raw) if self._stream is not None else event(frame.raw))

    async def ping(self) -> None:
        """Show that the connection is alive; begins the stream if the response is not there yet."""
        if self.streams and not self.disconnected and not self.finished:
            await self._begin()
            await self._write(PING)

    async def finish(self, frame: Frame | None, *, modern: bool) -> bool:
        """Send the response and end the answer; say whether it went to somebody."""
        # From here on nothing else may be sent: a keep-alive after the answer would be the end of the server.
        self.finished = True
        if not self.started:
            if frame is None:
                await send_status(self._send, 202, self.headers)
                return False
            await send_json(self._send, _status(frame, modern=modern), frame.raw, self.headers)
            return not self.disconnected
        if frame is not None:
            await self._write(self._stream.add(frame.raw) if self._stream is not None else event(frame.raw))
        if self._stream is not None:
            self._stream.finish()
        await self._send({"type": "http.response.body", "body": b""})
        return frame is not None and not self.disconnected

    async def _begin(self) -> None:
        if self._writing is None:
            self._writing = anyio.Lock()
        async with self._writing:
            if self.started:
                return
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS, *self.headers]})
            if self._new_stream is not None:
                self._stream, primed = self._new_stream()
                if primed:
                    await self._send_body(self._stream.priming())

    async def _write(self, data: bytes) -> None:
        if self._writing is None:
            self._writing = anyio.Lock()
        async with self._writing:
            await self._send_body(data)

    async def _send_body(self, data: bytes) -> None:
        if not self.disconnected:
            self.last_sent = anyio.current_time()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})


def _status(frame: Frame, *, modern: bool) -> int:
    if isinstance(frame, StatusFrame):
        return frame.frame_status if modern else 200
    error = frame.value.get("error")
    if error is None or not modern:
        return 200
    return HTTP_STATUS.get(error["code"], 200)
