"""A streamable HTTP server inside the test, told by the test what to do; it remembers everything that reached it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

__all__ = ["Drop", "Incoming", "RpcError", "Scripted", "scripted", "text", "tool"]

Json = dict[str, Any]
VERSION = "io.modelcontextprotocol/protocolVersion"


def tool(name: str, *, read_only: bool = False, more: Json | None = None, **fields: Any) -> Json:
    """A tool's definition."""
    annotations = {"readOnlyHint": read_only}
    return {
        "name": name,
        "description": name,
        "inputSchema": {"type": "object"},
        "annotations": annotations,
        **fields,
        **(more or {}),
    }


def text(words: str, **more: Any) -> Json:
    """A tool's result."""
    return {"content": [{"type": "text", "text": words}], **more}


class RpcError(Exception):
    """Answer with a JSON-RPC error."""

    def __init__(self, code: int, message: str, *, status: int = 200) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}
        self.status = status


class Drop(Exception):
    """Close the connection instead of an answer."""


@dataclass(repr=False)
class Incoming:
    """One request at the server."""

    server: Scripted
    message: Json
    headers: dict[str, str]
    tell: Callable[[Json], Awaitable[None]]
    """Send a message on the stream of this request, before its response."""
    raw_result: bytes | None = None
    """Set it to answer with exactly these bytes as the result."""

    @property
    def params(self) -> Json:
        found: Json = self.message.get("params") or {}
        return found

    @property
    def arguments(self) -> Json:
        found: Json = self.params.get("arguments") or {}
        return found

    @property
    def modern(self) -> bool:
        return VERSION in (self.params.get("_meta") or {})

    async def ask(self, method: str, number: Any, params: Json | None = None) -> Json:
        """Ask the client something in the middle of the call, and wait for its answer (legacy era)."""
        await self.tell({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return await self.server.answer_to(number)


Handler = Callable[[Incoming], Awaitable[Json]]


@dataclass(repr=False)
class Scripted:
    """The server. Change `tools`, `handlers` and `others` while it runs."""

    label: str = "spy"
    eras: set[str] = field(default_factory=lambda: {"legacy", "modern"})
    tools: list[Json] = field(default_factory=lambda: [tool("read", read_only=True), tool("write"), tool("destroy")])
    handlers: dict[str, Handler] = field(default_factory=dict)
    """By tool name; a tool without one answers `done`."""
    others: dict[str, Handler] = field(default_factory=dict)
    """By method; what is not here and not `initialize` and the like is -32601."""
    page: int | None = None
    """Tools on one page; None for all."""
    capabilities: Json = field(default_factory=lambda: {"tools": {"listChanged": True}})
    received: list[tuple[Json, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """The same messages as bytes."""
    executed: list[tuple[str, Json]] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    instructions: str | None = None
    port: int = 0
    deaf: bool = False
    """Accept connections, read requests, and never answer any."""
    _streams: dict[str, Callable[[Json], Awaitable[None]]] = field(default_factory=dict)
    _answers: dict[Any, Json] = field(default_factory=dict)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _gone: set[str] = field(default_factory=set)
    aborted: list[Any] = field(default_factory=list)
    """Ids of requests whose connection was closed before they were answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def config(self) -> Json:
        """Its entry in `mcpServers`."""
        return {"url": self.url, "headers": {"X-Upstream-Key": "the-proxy's-own"}}

    def messages(self, method: str) -> list[Json]:
        """Every message with that method, as it came."""
        return [message for message, _ in self.received if message.get("method") == method]

    def runs(self, name: str) -> int:
        """How often a tool ran."""
        return sum(ran == name for ran, _ in self.executed)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something that reached the server made `condition` true."""
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()

    async def answer_to(self, number: Any) -> Json:
        await self.until(lambda: number in self._answers)
        return self._answers.pop(number)

    async def push(self, message: Json) -> None:
        """Send something on every session's own stream."""
        await self.until(lambda: self._streams)
        for send in list(self._streams.values()):
            await send(message)

    def forget_sessions(self) -> None:
        """As after a restart: every session is unknown."""
        self._gone.update(self.sessions)

    def wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- HTTP, as little of it as our own client needs

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._http(head[0].split()[0], headers, body, reader, writer):
                    break
                await writer.drain()
        writer.close()

    async def _http(
        self, verb: str, headers: dict[str, str], body: bytes, reader: asyncio.StreamReader, out: asyncio.StreamWriter
    ) -> bool:
        message: Json = json.loads(body) if body else {"method": verb}
        self.received.append((message, headers))
        self.bodies.append(body)
        self.wake()
        if self.deaf:
            await reader.read()
            return False
        session = headers.get("mcp-session-id", "")
        if session in self._gone:
            out.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        if verb == "GET":
            return await self._stream(session, reader, out)
        if verb == "DELETE" or "id" not in message or "method" not in message:
            if "id" in message and "method" not in message:
                self._answers[message["id"]] = message
                self.wake()
            out.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            return True
        return await self._request(message, headers, reader, out)

    async def _stream(self, session: str, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> bool:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def send(value: Json) -> None:
            out.write(_event(value))
            await out.drain()

        self._streams[session] = send
        self.wake()
        try:
            await reader.read()
        finally:
            self._streams.pop(session, None)
        return False

    async def _request(
        self, message: Json, headers: dict[str, str], reader: asyncio.StreamReader, out: asyncio.StreamWriter
    ) -> bool:
        streaming = False

        async def tell(value: Json) -> None:
            nonlocal streaming
            if not streaming:
                streaming = True
                out.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            out.write(_event(value))
            await out.drain()

        incoming = Incoming(self, message, headers, tell)
        status, extra = "200 OK", ""
        answered = False
        response: Json | None = None

        async def work() -> None:
            nonlocal status, extra, answered, response
            try:
                result = await self._result(incoming)
                if incoming.modern:
                    result = {"resultType": "complete", **result}
                response = {"jsonrpc": "2.0", "id": message["id"], "result": result}
                if message["method"] == "initialize":
                    extra = f"Mcp-Session-Id: {self.sessions[-1]}\r\n"
            except (Drop, OSError):
                return  # on purpose, or whoever asked has gone
            except RpcError as error:
                response = {"jsonrpc": "2.0", "id": message["id"], "error": error.error}
                status = f"{error.status} X"
            answered = True

        # Whoever closes the connection while the call runs has given it up.
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                more = b""
                with suppress(OSError):
                    more = await reader.read(1)
                if not more:
                    self.aborted.append(message["id"])
                    self.wake()
                    tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await work()
            tasks.cancel_scope.cancel()
        if not answered:
            return False
        raw = json.dumps(response).encode()
        if incoming.raw_result is not None:
            begin = json.dumps({"jsonrpc": "2.0", "id": message["id"]}).encode()[:-1]
            raw = begin + b', "result": ' + incoming.raw_result + b"}"
        if streaming:
            out.write(_chunk(b"data: " + raw + b"\n\n") + b"0\r\n\r\n")
        else:
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(raw)}\r\n\r\n"
            out.write(head.encode() + raw)
        return True

    async def _result(self, incoming: Incoming) -> Json:
        method, params = incoming.message["method"], incoming.params
        era = "modern" if incoming.modern else "legacy"
        if era not in self.eras or (method == "server/discover" and era == "legacy"):
            raise RpcError(-32022 if era == "modern" else -32601, "Unsupported protocol version", status=400)
        if method in self.others:
            return await self.others[method](incoming)
        match method:
            case "initialize":
                self.sessions.append(f"session-{len(self.sessions) + 1}")
                more = {"instructions": self.instructions} if self.instructions else {}
                return {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": self.capabilities,
                    "serverInfo": {"name": self.label, "version": "1"},
                    **more,
                }
            case "server/discover":
                more = {"instructions": self.instructions} if self.instructions else {}
                return {"supportedVersions": ["2026-07-28"], "capabilities": self.capabilities, **more}
            case "ping":
                return {}
            case "tools/list":
                return self._list(params)
            case "tools/call":
                return await self._call(incoming)
            case _:
                raise RpcError(-32601, f"Method not found: {method}", status=404 if incoming.modern else 200)

    def _list(self, params: Json) -> Json:
        begin = int(params.get("cursor", 0))
        size = self.page or len(self.tools) or 1
        more = {"nextCursor": str(begin + size)} if begin + size < len(self.tools) else {}
        return {"tools": self.tools[begin : begin + size], "ttlMs": 60_000, "cacheScope": "public", **more}

    async def _call(self, incoming: Incoming) -> Json:
        name = incoming.params["name"]
        if not any(known["name"] == name for known in self.tools):
            raise RpcError(-32602, f"Unknown tool: {name}")
        self.executed.append((name, incoming.arguments))
        self.wake()
        handler = self.handlers.get(name)
        return await handler(incoming) if handler is not None else text(f"{name} done")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(value: Json) -> bytes:
    return _chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


@asynccontextmanager
async def scripted(**given: Any) -> AsyncGenerator[Scripted]:
    """A running scripted server."""
    made = Scripted(**given)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await made.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        while serving:
            await anyio.lowlevel.checkpoint()
        await server.wait_closed()
