"""The HTTP with SSE transport of 2024-11-05: one stream down, one URL to post to.

`GET /sse/{server}` opens a session and names the URL; everything the client is told comes on that stream.
"""

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import anyio
from anyio.abc import TaskGroup

from holdshort.gate import answers
from holdshort.gate.exchange import Peer
from holdshort.gate.front.body import Receive, Send, check_content_type, read_message, refuse
from holdshort.gate.front.guard import Refusal, header_map
from holdshort.gate.front.post import send_status
from holdshort.gate.front.sessions import SESSIONS_PER_AGENT
from holdshort.gate.front.streams import PING, SSE_HEADERS, event
from holdshort.gate.front.wiring import Wiring
from holdshort.gate.methods import Era
from holdshort.gate.session import Session
from holdshort.gate.upstream import UpstreamError
from holdshort.policy import Caller
from holdshort.wire import Frame, Kind

__all__ = ["LegacySseFront"]


class _SseSession:
    """A session and the messages on their way down its stream."""

    def __init__(self, name: str, agent: str, server: str, *, max_waiting: int, keepalive_seconds: float) -> None:
        self.name = name
        self.server = server
        self._max_waiting = max_waiting
        self._keepalive_seconds = keepalive_seconds
        self.agent = agent
        self.gone = False
        self.session: Session | None = None
        self._waiting: list[bytes] = []
        self._ready = anyio.Event()
        self._room = anyio.Event()

    async def tell(self, frame: Frame) -> None:
        """Queue a message; a client that does not read makes us wait."""
        while len(self._waiting) >= self._max_waiting and not self.gone:
            self._room = anyio.Event()
            # Ends when the stream is read, or is gone.
            await self._room.wait()
        self._waiting.append(event(frame.raw))
        self._ready.set()

    async def next_batch(self) -> bytes:
        """Return what is to be sent next, a keep-alive if nothing came for a while."""
        if not self._waiting:
            self._ready = anyio.Event()
            with anyio.move_on_after(self._keepalive_seconds):
                await self._ready.wait()
        batch, self._waiting = self._waiting, []
        self._room.set()
        return b"".join(batch) or PING

    def end(self) -> None:
        """Nobody reads any more."""
        self.gone = True
        self._ready.set()
        self._room.set()
        if self.session is not None:
            self.session.close()


class LegacySseFront:
    """The ASGI application under `/sse/`."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._sessions: dict[str, _SseSession] = {}
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def run(self) -> AsyncGenerator["LegacySseFront"]:
        """Own the sessions and the requests under way in them."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield self
            finally:
                self.close()
                tasks.cancel_scope.cancel()

    def close(self) -> None:
        """End every session."""
        for held in list(self._sessions.values()):
            held.end()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Take one HTTP request."""
        headers = header_map(scope["headers"])
        if isinstance(headers, Refusal):
            return await refuse(send, headers)
        caller = self._wiring.guard.admit(scope, headers)
        if isinstance(caller, Refusal):
            return await refuse(send, caller)
        server, _, rest = scope["path"].removeprefix("/sse/").partition("/")
        if server not in self._wiring.endpoints or not server:
            return await refuse(send, Refusal(404, "there is no such server"))
        if scope["method"] == "GET" and rest == "":
            return await self._stream(server, caller, receive, send)
        if scope["method"] == "POST" and rest == "messages":
            return await self._post(scope, headers, server, caller, receive, send)
        return await send_status(send, 405, ((b"allow", b"GET" if rest == "" else b"POST"),))

    async def _stream(self, server: str, caller: Caller, receive: Receive, send: Send) -> None:
        if self._tasks is None:
            raise RuntimeError("the front is not running")
        if sum(held.agent == caller.agent for held in self._sessions.values()) >= SESSIONS_PER_AGENT:
            return await refuse(send, Refusal(429, "too many sessions are open; end some or try again later"))
        held = _SseSession(
            secrets.token_urlsafe(24),
            caller.agent,
            server,
            max_waiting=self._wiring.buffered_events,
            keepalive_seconds=self._wiring.keepalive_seconds,
        )
        held.session = Session(
            self._wiring.gate,
            self._wiring.endpoints[server],
            caller,
            Peer(Era.LEGACY),
            open_link=self._wiring.open_link,
            tasks=self._tasks,
            tell=held.tell,
            make_catalog=self._wiring.make_catalog,
        )
        self._sessions[held.name] = held
        await send({"type": "http.response.start", "status": 200, "headers": list(SSE_HEADERS)})
        where = f"event: endpoint\ndata: /sse/{server}/messages?session_id={held.name}\n\n".encode()
        await send({"type": "http.response.body", "body": where, "more_body": True})
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_end_on_disconnect, receive, held)
                # Ends when the client closes the stream, or the server stops.
                while not held.gone:
                    await send({"type": "http.response.body", "body": await held.next_batch(), "more_body": True})
                tasks.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._sessions.pop(held.name, None)
            held.end()
        return None

    async def _post(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        server: str,
        caller: Caller,
        receive: Receive,
        send: Send,
    ) -> None:
        name = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0]
        held = self._sessions.get(name)
        own = held is not None and held.agent == caller.agent and held.server == server
        if held is None or not own or held.session is None or self._tasks is None:
            return await refuse(send, Refusal(404, "there is no such session; open the event stream again"))
        refusal = check_content_type(headers)
        if refusal is not None:
            return await refuse(send, refusal)
        frame = await read_message(headers, receive, send, self._wiring.limits)
        if frame is None:
            return None
        if frame.kind is Kind.REQUEST:
            self._tasks.start_soon(_answer, held, held.session, frame)
        elif frame.kind is Kind.NOTIFICATION:
            await held.session.notified(frame)
        else:
            await held.session.answered(frame)
        return await send_status(send, 202)


async def _answer(held: _SseSession, session: Session, frame: Frame) -> None:
    if frame.value["method"] == "initialize":
        try:
            await held.tell(await session.initialize(frame))
        except UpstreamError as error:
            await held.tell(Frame(answers.upstream_failed(frame.value["id"], str(error))))
        return
    reply = await session.request(frame, held.tell)
    if reply.frame is not None and not held.gone:
        await held.tell(reply.frame)
    if reply.settle is not None:
        await reply.settle(reply.frame is not None and not held.gone)


async def _end_on_disconnect(receive: Receive, held: _SseSession) -> None:
    while True:
        # Ends with the stream it watches.
        if (await receive())["type"] == "http.disconnect":
            held.end()
            return
