"""Streamable HTTP: `/mcp` and `/mcp/{server}`, sessions and stateless requests on the same URL.

A bare ASGI endpoint: no framework object is made for an allowed call. Long requests are looked after by one ticker
(keep-alives, watching for disconnects, idle sessions), so that short ones pay nothing for it.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from holdshort.gate import answers
from holdshort.gate.conversation import Conversation, Endpoint
from holdshort.gate.exchange import Peer
from holdshort.gate.front.body import Receive, Send, check_content_type, read_message, refuse
from holdshort.gate.front.guard import Refusal, header_map
from holdshort.gate.front.listening import stream_to
from holdshort.gate.front.post import Post, send_json, send_status
from holdshort.gate.front.sessions import HttpSession, Sessions
from holdshort.gate.front.wiring import StatelessConversation, Wiring
from holdshort.gate.headers import check_envelope, check_parameters
from holdshort.gate.methods import HANDSHAKE_VERSIONS, MODERN_VERSIONS, Era
from holdshort.gate.session import Session
from holdshort.gate.upstream import UpstreamError
from holdshort.policy import Caller
from holdshort.wire import (
    MCP_META_PREFIX,
    Frame,
    Kind,
    encode,
    error_reply,
)

__all__ = ["HttpFront"]

_TICK_SECONDS: Final = 0.1
_WATCH_AFTER_SECONDS: Final = 0.05
_PRIMING_SINCE: Final = "2025-11-25"

Scope = Mapping[str, Any]


class HttpFront:
    """The ASGI application of the MCP side."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._sessions = Sessions()
        self._posts: set[Post] = set()
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def run(self) -> AsyncGenerator["HttpFront"]:
        """Own sessions and their lines, and the ticker; leaving ends them all."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._tick)
            try:
                yield self
            finally:
                self.close()
                tasks.cancel_scope.cancel()

    def close(self) -> None:
        """End every session, so that open streams do not keep a server that stops."""
        for held in self._sessions:
            self._sessions.end(held)
        for post in self._posts:
            if post.on_close is not None:
                post.on_close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one HTTP request."""
        headers = header_map(scope["headers"])
        if isinstance(headers, Refusal):
            return await refuse(send, headers)
        caller = self._wiring.guard.admit(scope, headers)
        if isinstance(caller, Refusal):
            return await refuse(send, caller)
        endpoint = self._wiring.endpoints.get(scope["path"].removeprefix("/mcp").strip("/"))
        if endpoint is None:
            known = ", ".join(f"/mcp/{name}" if name else "/mcp" for name in self._wiring.endpoints)
            return await refuse(send, Refusal(404, f"there is no such MCP endpoint; there are {known}"))
        match scope["method"]:
            case "POST":
                await self._post(scope, headers, receive, send, endpoint, caller)
            case "GET":
                await self._listen(headers, receive, send, endpoint, caller)
            case "DELETE":
                await self._delete(headers, send, endpoint, caller)
            case _:
                await send_status(send, 405, ((b"allow", b"GET, POST, DELETE"),))
        return None

    # POST

    async def _post(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        endpoint: Endpoint,
        caller: Caller,
    ) -> None:
        refusal = check_content_type(headers)
        if refusal is not None:
            return await refuse(send, refusal)
        accept = headers.get(b"accept", b"*/*").lower()
        streams = b"text/event-stream" in accept or b"*/*" in accept or b"text/*" in accept
        if not streams and b"application/json" not in accept and b"application/*" not in accept:
            return await refuse(send, Refusal(406, "accept `application/json` and `text/event-stream`"))
        frame = await read_message(headers, receive, send, self._wiring.limits)
        if frame is None:
            return None
        version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
        if _speaks_modern(version, frame):
            return await self._stateless(scope, receive, send, endpoint, caller, frame, streams=streams)
        return await self._in_session(headers, version, receive, send, endpoint, caller, frame, streams=streams)

    async def _stateless(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        endpoint: Endpoint,
        caller: Caller,
        frame: Frame,
        *,
        streams: bool,
    ) -> None:
        # RFC 9110 5.5: white space around a value is no part of it.
        lines = [(name.decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in scope["headers"]]
        request = frame.value.get("id") if frame.kind is Kind.REQUEST else None
        if frame.kind is Kind.RESPONSE:
            reason = "this protocol revision has no requests that a client could answer"
            return await send_json(send, 400, encode(error_reply(None, -32600, reason)))
        if frame.kind is Kind.NOTIFICATION:
            # MCP 2026-07-28 defines none over HTTP; a client cancels by closing the stream.
            return await send_status(send, 202)
        rejection = check_envelope(frame.value, lines)
        if rejection is None and not (await self._wiring.eras(endpoint))[1]:
            data = {"supported": list(HANDSHAKE_VERSIONS), "requested": MODERN_VERSIONS[-1]}
            rejection = (-32022, "Unsupported protocol version", data)
        if rejection is None:
            rejection = await self._check_parameters(endpoint, caller, frame, lines)
        if rejection is not None:
            return await send_json(send, 400, encode(error_reply(request, *rejection)))
        meta = frame.value["params"]["_meta"]
        peer = Peer(
            Era.MODERN,
            meta[f"{MCP_META_PREFIX}protocolVersion"],
            _object(meta[f"{MCP_META_PREFIX}clientCapabilities"]),
            can_stream=streams,
        )
        info = _object(meta.get(f"{MCP_META_PREFIX}clientInfo"))
        name, client_version = info.get("name"), info.get("version")
        known = Caller(
            caller.agent,
            caller.groups,
            name[:200] if isinstance(name, str) else None,
            client_version[:200] if isinstance(client_version, str) else None,
        )
        conversation = StatelessConversation(self._wiring.gate, known, peer, self._wiring.modern_lines)
        post = Post(receive, send, _now(), streams=streams)
        return await self._run(post, conversation, endpoint, frame, modern=True)

    async def _check_parameters(
        self, endpoint: Endpoint, caller: Caller, frame: Frame, lines: list[tuple[str, str]]
    ) -> tuple[int, str, Any] | None:
        params = frame.value["params"]
        if frame.value["method"] != "tools/call":
            return None
        arguments = params.get("arguments")
        target = endpoint.server_of(params, "tools/call")
        if target is None or not isinstance(arguments, dict):
            return None
        line = self._wiring.modern_lines.get(target[0])
        if line is None:
            return None
        peer = Peer(Era.MODERN, MODERN_VERSIONS[-1])
        try:
            definition = line.catalog.find(target[1]) or await line.catalog.ensure(target[1], await line.link(), peer)
        except UpstreamError:
            return None  # the call itself meets the same trouble, and words it
        if definition is None or not definition.has_header_parameters or self._wiring.gate.hides(definition, caller):
            return None
        return check_parameters(definition.raw.get("inputSchema"), arguments, lines)

    async def _in_session(
        self,
        headers: Mapping[bytes, bytes],
        version: str,
        receive: Receive,
        send: Send,
        endpoint: Endpoint,
        caller: Caller,
        frame: Frame,
        *,
        streams: bool,
    ) -> None:
        if frame.kind is Kind.REQUEST and frame.value["method"] == "initialize":
            return await self._initialize(send, endpoint, caller, frame)
        held = await self._session(headers, send, endpoint, caller)
        if held is None or held.session is None:
            return None
        session = held.session
        if frame.kind is Kind.NOTIFICATION:
            await session.notified(frame)
            return await send_status(send, 202)
        if frame.kind is Kind.RESPONSE:
            await session.answered(frame)
            return await send_status(send, 202)
        primed = session.peer.version >= _PRIMING_SINCE
        post = Post(
            receive,
            send,
            _now(),
            streams=streams,
            new_stream=lambda: (held.streams.new(), primed),
            headers=((b"mcp-session-id", held.name.encode()),),
        )
        await self._run(post, session, endpoint, frame, modern=False)
        held.last_used = _now()
        return None

    async def _initialize(self, send: Send, endpoint: Endpoint, caller: Caller, frame: Frame) -> None:
        if self._tasks is None:
            raise RuntimeError("the front is not running")
        request = frame.value["id"]
        if not self._sessions.make_room(caller.agent):
            reason = "too many sessions are open; end some or try again later"
            return await send_json(send, 429, encode(error_reply(request, -31_001, reason)))
        if not (await self._wiring.eras(endpoint))[0]:
            data = {"supported": list(MODERN_VERSIONS)}
            return await send_json(
                send, 400, encode(error_reply(request, -32022, "Unsupported protocol version", data))
            )
        held = HttpSession(secrets.token_urlsafe(24), caller.agent, _now(), self._wiring.buffered_events)
        session = Session(
            self._wiring.gate,
            endpoint,
            caller,
            Peer(Era.LEGACY),
            open_link=self._wiring.open_link,
            tasks=self._tasks,
            tell=held.tell,
            make_catalog=self._wiring.make_catalog,
        )
        held.session = session
        try:
            reply = await session.initialize(frame)
        except UpstreamError as error:
            session.close()
            return await send_json(send, 200, encode(answers.upstream_failed(request, str(error))))
        if "error" in reply.value:
            session.close()
            return await send_json(send, 200, reply.raw)
        self._sessions.add(held)
        return await send_json(send, 200, reply.raw, ((b"mcp-session-id", held.name.encode()),))

    async def _run(
        self, post: Post, conversation: Conversation, endpoint: Endpoint, frame: Frame, *, modern: bool
    ) -> None:
        request = frame.value["id"]

        def left() -> None:
            conversation.leave(request, withdrawn=False)

        post.on_disconnect = left
        post.on_close = conversation.let_go
        self._posts.add(post)
        try:
            if isinstance(conversation, Session):
                reply = await conversation.request(frame, post.emit)
            else:
                reply = await endpoint.request(conversation, frame, post.emit)
            taken = False
            try:
                taken = await post.finish(reply.frame, modern=modern)
            finally:
                if reply.settle is not None:
                    await reply.settle(taken)
        finally:
            self._posts.discard(post)
            if post.watcher is not None:
                post.watcher.cancel()

    # GET and DELETE

    async def _listen(
        self, headers: Mapping[bytes, bytes], receive: Receive, send: Send, endpoint: Endpoint, caller: Caller
    ) -> None:
        if b"mcp-session-id" not in headers:
            return await send_status(send, 405, ((b"allow", b"POST"),))
        if b"text/event-stream" not in headers.get(b"accept", b"").lower():
            return await refuse(send, Refusal(406, "accept `text/event-stream`"))
        held = await self._session(headers, send, endpoint, caller)
        if held is None:
            return None
        stream, number = held.standalone, 0
        last = headers.get(b"last-event-id")
        if last is not None:
            found = held.streams.find(last.decode("latin-1"))
            if found is None:
                return await refuse(send, Refusal(400, "that `Last-Event-ID` is not known (any more)"))
            stream, number = found
        if stream is held.standalone:
            if held.listening:
                return await refuse(send, Refusal(409, "this session already listens on another connection"))
            held.listening = True
        try:
            keepalive = self._wiring.keepalive_seconds
            await stream_to(held, stream, number, receive, send, keepalive_seconds=keepalive)
        finally:
            if stream is held.standalone:
                held.listening = False
        return None

    async def _delete(self, headers: Mapping[bytes, bytes], send: Send, endpoint: Endpoint, caller: Caller) -> None:
        held = await self._session(headers, send, endpoint, caller)
        if held is not None:
            self._sessions.end(held)
            await send_status(send, 200)

    async def _session(
        self, headers: Mapping[bytes, bytes], send: Send, endpoint: Endpoint, caller: Caller
    ) -> HttpSession | None:
        name = headers.get(b"mcp-session-id")
        if name is None:
            reason = "Bad Request: the `Mcp-Session-Id` header is missing; start with `initialize`"
            await send_json(send, 400, encode(error_reply(None, -32600, reason)))
            return None
        held = self._sessions.find(name.decode("latin-1"), caller.agent, endpoint)
        if held is None:
            reason = "Session not found; start again with `initialize`"
            await send_json(send, 404, encode(error_reply(None, -32600, reason)))
            return None
        version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
        if version and version not in HANDSHAKE_VERSIONS:
            reason = f"Unsupported protocol version: {version[:40]} (supported: {', '.join(HANDSHAKE_VERSIONS)})"
            await send_json(send, 400, encode(error_reply(None, -32600, reason)))
            return None
        held.last_used = _now()
        return held

    # The ticker

    async def _tick(self) -> None:
        keepalive = self._wiring.keepalive_seconds
        while True:
            # Ends with the front's task group.
            await anyio.sleep(_TICK_SECONDS)
            now = _now()
            for post in list(self._posts):
                if post.watcher is None and now - post.born > _WATCH_AFTER_SECONDS and self._tasks is not None:
                    post.watcher = anyio.CancelScope()
                    self._tasks.start_soon(_watch, post)
                if now - post.last_sent > keepalive and self._tasks is not None:
                    post.last_sent = now
                    self._tasks.start_soon(post.ping)
            self._sessions.end_idle(now)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _watch(post: Post) -> None:
    if post.watcher is None:
        return
    with post.watcher:
        while True:
            # Ends with the request, whose `finally` cancels it.
            message = await post.receive()
            if message["type"] == "http.disconnect":
                post.disconnected = True
                if post.on_disconnect is not None:
                    post.on_disconnect()
                return


def _speaks_modern(version: str, frame: Frame) -> bool:
    """A request of either mark is held to the rules of the stateless era, so that none passes by half."""
    if version in MODERN_VERSIONS:
        return True
    meta = _object(_object(frame.value.get("params")).get("_meta"))
    return f"{MCP_META_PREFIX}protocolVersion" in meta


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
