"""What stands between a runner and a real proxy, or in its place: wires that break, servers that talk rubbish."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio

__all__ = ["Heard", "Relay", "Rough", "answer", "relaying", "rough", "rpc"]


class Relay:
    """Passes bytes on to a real proxy, until it is told to cut."""

    def __init__(self, target: int, port: int) -> None:
        self.target = target
        self.port = port
        self.requests: list[bytes] = []
        """The first line of each request, in order of arrival."""
        self._answered = bytearray()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection; new ones are taken."""
        for writer in list(self._writers):
            writer.transport.abort()

    def count(self, verb: str) -> int:
        """How many requests began with this verb."""
        return sum(line.startswith(verb.encode()) for line in self.requests)

    def said(self, words: bytes) -> bool:
        """Whether the proxy has said this."""
        return words in self._answered

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        out_reader, out_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, out_writer}
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pump, reader, out_writer, tasks.cancel_scope, True)
                tasks.start_soon(self._pump, out_reader, writer, tasks.cancel_scope, False)
        finally:
            self._writers -= {writer, out_writer}
            for each in (writer, out_writer):
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scope: anyio.CancelScope, listen: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                if listen and chunk[:4] in (b"POST", b"GET ", b"DELE"):
                    self.requests.append(chunk.partition(b"\r\n")[0])
                if not listen:
                    self._answered += chunk
                writer.write(chunk)
                await writer.drain()
        scope.cancel()


@asynccontextmanager
async def relaying(target: int, port: int) -> AsyncGenerator[Relay]:
    """A relay at `port` to the proxy at the port `target`."""
    relay = Relay(target, port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", port)
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await server.wait_closed()


@dataclass(frozen=True, slots=True)
class Heard:
    """One request that came in."""

    verb: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Answerer = Callable[[Heard], bytes | None]
"""Returns all bytes of the answer; None hangs up without one."""


@dataclass(slots=True)
class Rough:
    """A server whose every byte the test writes."""

    answers: Answerer
    url: str = ""
    heard: list[Heard] = field(default_factory=list[Heard])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request after the other."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                verb, path, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                heard = Heard(verb, path, headers, body)
                self.heard.append(heard)
                said = self.answers(heard)
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def rough(answers: Answerer, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Rough]:
    """A server that answers exactly what `answers` says."""
    found = Rough(answers)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    found.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()


def answer(status: int, body: bytes | str | dict[str, Any] = b"", **headers: str) -> bytes:
    """One whole HTTP answer; a dict is sent as JSON. Names of headers have `_` for `-`."""
    kind = {"content_type": "application/json"} if not isinstance(body, bytes) else {}
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = {**kind, **headers, "content_length": str(len(raw))}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + raw


def rpc(heard: Heard, **fields: Any) -> bytes:
    """A JSON-RPC response to a request: `result=` or `error=`."""
    return answer(200, {"jsonrpc": "2.0", "id": heard.message["id"], **fields})
