"""The load client over HTTP: kept-alive connections, one call at a time on each, no HTTP library on the fast path.

A reply that arrives whole in one segment, with its length declared, is cut by hand; anything else (chunks, event
streams, big bodies) goes through httptools.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import httptools
import orjson

from bench.load import (
    INITIALIZE,
    INITIALIZED,
    PROTOCOL_VERSION,
    Load,
    Measured,
    Run,
    TargetError,
    Workload,
    is_initialized,
    message,
)

__all__ = ["HttpTarget", "Rest"]

_CONTENT_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_EVENT_STREAM: Final = b"text/event-stream"
_CONNECT_SECONDS: Final = 5.0
_EXCHANGE_SECONDS: Final = 20.0

OnReply = Callable[["_Connection", int, bytes, bytes], None]
"""Called with the status, the head's session id (or nothing) and the JSON body of each whole reply."""


class _Connection(asyncio.Protocol):
    """One connection; `on_reply` is set anew by whoever uses it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.on_reply: OnReply | None = None
        self.on_lost: Callable[[], None] | None = None
        self.lost = False
        self._parser: Any = None
        self._body: list[bytes] = []
        self._type = b""
        self._session = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            body = _whole_json_body(data)
            if body is not None:
                self._deliver(200, body)
                return
            self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"content-type":
            self._type = value
        elif lowered == b"mcp-session-id":
            self._session = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status: int = self._parser.get_status_code()
        body = b"".join(self._body)
        if self._type.startswith(_EVENT_STREAM):
            body = _response_event(body)
        self._parser, self._body, self._type = None, [], b""
        self._deliver(status, body)

    def _deliver(self, status: int, body: bytes) -> None:
        if self.on_reply is not None:
            self.on_reply(self, status, self._session, body)


def _whole_json_body(data: bytes) -> bytes | None:
    """Return the body of a reply that is all here, plainly framed and JSON; None leaves it to the parser."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0 or not data.startswith(b"HTTP/1.1 200"):
        return None
    length = _CONTENT_LENGTH.search(data, 0, head_end)
    start = head_end + 4
    if length is None or len(data) - start != int(length[1]):
        return None
    if data.find(b"mcp-session-id", 0, head_end) >= 0 or data.find(_EVENT_STREAM, 0, head_end) >= 0:
        return None
    return data[start:]


def _response_event(stream: bytes) -> bytes:
    """Return the data of the event that answers the request; the others are notifications."""
    for event in stream.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].lstrip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if data and b'"method"' not in data[:200]:
            return data
    return b""


class HttpTarget:
    """An initialized session at one URL."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        lines = [
            f"POST {parts.path} HTTP/1.1",
            f"host: {self._host}:{self._port}",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._head = "\r\n".join(lines).encode()
        self._connections: list[_Connection] = []
        self._numbers = 1

    @classmethod
    async def open(cls, url: str, headers: dict[str, str] | None = None) -> Self:
        """Connect, initialize, and return the target ready for calls."""
        target = cls(url, headers or {})
        connection = await target._connection()
        status, session, body = await exchange(connection, target._request(INITIALIZE))
        if status != 200 or not is_initialized(message(body)):
            raise TargetError(f"initialize was answered with {status}: {body[:300]!r}")
        if session:
            target._head += b"\r\nmcp-session-id: " + session
        target._head += f"\r\nmcp-protocol-version: {PROTOCOL_VERSION}".encode()
        status, _, body = await exchange(connection, target._request(INITIALIZED))
        if status not in (200, 202, 204):
            raise TargetError(f"notifications/initialized was answered with {status}: {body[:300]!r}")
        target._connections.append(connection)
        return target

    async def measure(self, workload: Workload, load: Load) -> Measured:
        """Run `load` over as many connections as it has calls in flight."""
        self._connections = [one for one in self._connections if not one.lost]
        while len(self._connections) < load.in_flight:
            self._connections.append(await self._connection())
        run = Run(workload, load, self._numbers)
        self._numbers += load.calls
        lanes = [_Lane(one, run, self._request) for one in self._connections[: load.in_flight]]
        for lane in lanes:
            lane.send()
        measured = await run.finish()
        for lane in lanes:
            lane.leave()
        return measured

    async def ask(self, body: bytes) -> asyncio.Future[tuple[int, bytes, bytes]]:
        """Send one message on a connection of its own, which stays open; the reply comes with the future."""
        connection = await self._connection()
        self._connections.append(connection)
        return ask(connection, self._request(body))

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.transport.close()

    def _request(self, body: bytes) -> bytes:
        return b"%b\r\ncontent-length: %d\r\n\r\n%b" % (self._head, len(body), body)

    async def _connection(self) -> _Connection:
        return await connect(self._host, self._port)


class _Lane:
    """One call after another on one connection."""

    def __init__(self, connection: _Connection, run: Run, frame: Callable[[bytes], bytes]) -> None:
        self._connection = connection
        self._run = run
        self._frame = frame
        self._number: int | None = None
        self._sent_at = 0
        connection.on_reply = self._replied
        connection.on_lost = run.lose_lane

    def send(self) -> None:
        self._number = self._run.take()
        if self._number is None:
            return
        request = self._frame(self._run.workload.request(self._number))
        self._sent_at = time.perf_counter_ns()
        self._connection.transport.write(request)

    def leave(self) -> None:
        self._connection.on_reply = self._connection.on_lost = None
        if self._number is not None:
            # Still unanswered: a late reply must not be taken for the next run's.
            self._connection.transport.abort()

    def _replied(self, connection: _Connection, status: int, session: bytes, body: bytes) -> None:
        took = time.perf_counter_ns() - self._sent_at
        if self._number is not None:
            self._run.settle(self._number, took, message(body))
        self.send()


def ask(connection: _Connection, request: bytes) -> asyncio.Future[tuple[int, bytes, bytes]]:
    """Send one request; the reply's status, session id and body come with the future."""
    done: asyncio.Future[tuple[int, bytes, bytes]] = asyncio.get_running_loop().create_future()

    def replied(_: _Connection, status: int, session: bytes, body: bytes) -> None:
        if not done.done():
            done.set_result((status, session, body))

    def lost() -> None:
        if not done.done():
            done.set_exception(TargetError("the connection was closed before the reply"))

    connection.on_reply, connection.on_lost = replied, lost
    connection.transport.write(request)
    return done


async def exchange(connection: _Connection, request: bytes) -> tuple[int, bytes, bytes]:
    """Send one request and return its reply's status, session id and body."""
    async with asyncio.timeout(_EXCHANGE_SECONDS):
        return await ask(connection, request)


class Rest:
    """The approval side of a server over one connection, as a number of approvers who take turns."""

    def __init__(self, port: int, tokens: Sequence[str], connection: _Connection) -> None:
        self._connection = connection
        heads = [
            f" HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n".encode() for token in tokens
        ]
        self._head = cycle(heads)

    @classmethod
    async def open(cls, port: int, tokens: Sequence[str]) -> Self:
        """Connect to the server on `port`."""
        return cls(port, tokens, await connect("127.0.0.1", port))

    async def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at `path`."""
        return await self._exchange(b"GET " + path.encode() + next(self._head) + b"\r\n")

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON object that answers `body`."""
        raw = orjson.dumps(body)
        fields = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(raw)
        return await self._exchange(b"POST " + path.encode() + next(self._head) + fields + raw)

    def close(self) -> None:
        """Close the connection."""
        self._connection.transport.close()

    async def _exchange(self, request: bytes) -> dict[str, Any]:
        status, _, body = await exchange(self._connection, request)
        if status != 200:
            raise TargetError(f"{request[:60]!r} was answered with {status}: {body[:300]!r}")
        return message(body)


async def connect(host: str, port: int) -> _Connection:
    """Return a new connection."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_CONNECT_SECONDS):
        _, connection = await loop.create_connection(_Connection, host, port)
    return connection
