"""HTTP as we run it: uvicorn, with deadlines for what a client sends, on sockets we bound ourselves."""

import asyncio
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdshort.config import LimitsConfig

__all__ = ["WebServer"]

_LOOK_EVERY: Final = 2
"""Ticks of uvicorn, a tenth of a second each."""

_TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 34\r\n"
    b"connection: close\r\n\r\nthe request did not arrive in time"
)


_HEAD_BYTES: Final = 64 * 1024
_TOO_MUCH: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _ImpatientProtocol(HttpToolsProtocol):
    """A connection that knows until when the rest of a request must be there, and how long its head may grow; uvicorn
    itself waits for ever, and keeps what comes.

    The server looks at all connections now and then: a timer for each request would cost every request.
    """

    def __init__(self, *args: Any, header_seconds: float, body_seconds: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._header_seconds = header_seconds
        self._body_seconds = body_seconds
        self._due = math.inf
        self._in_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_MUCH)
            self.transport.close()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._due = self.loop.time() + self._header_seconds

    def on_message_begin(self) -> None:
        self._due = self.loop.time() + self._header_seconds
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._due = self.loop.time() + self._body_seconds
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._due = math.inf
        self._in_head = True
        super().on_message_complete()

    def look(self, now: float) -> None:
        """Close the connection if what was to come has not."""
        if now < self._due or self.transport.is_closing():
            return
        if self.flow.read_paused:
            # It is we who do not read.
            self._due = now + self._body_seconds
            return
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


class WebServer(uvicorn.Server):
    """A server that leaves signals to the process that owns it."""

    def __init__(self, app: Any, limits: LimitsConfig, *, close_streams: Callable[[], None] | None = None) -> None:
        self.close_streams = close_streams or _nothing
        protocol: Any = partial(
            _ImpatientProtocol, header_seconds=limits.header_timeout, body_seconds=limits.body_timeout
        )
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                loop="none",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=3,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """Look at the connections beside what uvicorn does."""
        if counter % _LOOK_EVERY == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, _ImpatientProtocol):
                    connection.look(now)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals are taken by the command that runs us."""
        yield


def _nothing() -> None:
    """An application without streams has none to close."""
