"""A client session of the handshake era: its own lines, what its servers ask of it, and what waits to be told.

A server's message that belongs to no exchange (a log line, a question) goes out beside a request that is under way,
where a client that never opened the standalone stream can see it; news about lists go to the standalone stream.
"""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final

from anyio.abc import TaskGroup

from holdshort.gate.audience import changed_lists, news
from holdshort.gate.catalog import Catalog
from holdshort.gate.conversation import Conversation, Endpoint, refuse
from holdshort.gate.exchange import Emit, Exchange, Peer, Reply
from holdshort.gate.execution import shifted
from holdshort.gate.gate import Gate
from holdshort.gate.line import Line, SessionLine
from holdshort.gate.meta import without_our_keys_in
from holdshort.gate.methods import CLIENT_NOTIFICATIONS, SERVER_NOTIFICATIONS, SERVER_REQUESTS, Era
from holdshort.gate.upstream import Link, UpstreamError
from holdshort.policy import Caller, Policy
from holdshort.wire import Frame, Kind, MalformedMessage, RequestId, error_reply

__all__ = ["OpenLink", "Session", "StatelessOnPipes", "as_client", "peer_of"]

OpenLink = Callable[[str, Emit], AbstractAsyncContextManager[Link]]
"""Opens a link of the session's own to the server with this label."""

MAX_QUESTIONS: Final = 256
"""Open questions of servers to one client; the oldest is given up beyond that."""

_STANDALONE: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/elicitation/complete",
        "notifications/tasks/status",
    }
)


class Session(Conversation):
    """One client that made a handshake."""

    def __init__(
        self,
        gate: Gate,
        endpoint: Endpoint,
        caller: Caller,
        peer: Peer,
        *,
        open_link: OpenLink,
        tasks: TaskGroup,
        tell: Callable[[Frame], Awaitable[None]],
        make_catalog: Callable[[str], Catalog],
    ) -> None:
        super().__init__(gate, caller, peer)
        self.endpoint = endpoint
        self.closed = False
        self._open_link = open_link
        self._tasks = tasks
        self._tell = tell
        self._make_catalog = make_catalog
        self._lines: dict[str, SessionLine] = {}
        self._questions: dict[RequestId, tuple[SessionLine, Link | None, RequestId]] = {}
        self._asked: deque[RequestId] = deque()
        self._counter = 0
        self._hello: Frame | None = None
        self._greeted = False
        self._offers: frozenset[str] = frozenset()
        gate.audience.add(self)

    async def line(self, server: str) -> Line:
        line = self._lines.get(server)
        if line is None:
            # Where several servers stand behind one handshake, each is greeted when it is first needed.
            line = self._lines[server] = SessionLine(
                server,
                lambda on_frame: self._open_link(server, on_frame),
                self._from_line,
                self._tasks,
                self._make_catalog(server),
                hello=self._hello,
                greeted=self._greeted,
            )
            if self.closed:
                line.hang_up()
        return line

    async def initialize(self, frame: Frame) -> Frame:
        """Answer the handshake.

        Raises:
            UpstreamError: the server behind a single endpoint cannot be reached.
        """
        reply = await self.endpoint.initialize(self, frame)
        if "result" in reply.value:
            params = frame.value.get("params") or {}
            result = reply.value["result"]
            self.peer = peer_of(params, version=str(result.get("protocolVersion", "")), era=Era.LEGACY)
            self._hello = Frame({**frame.value, "params": {**params, "protocolVersion": self.peer.version}})
            self.caller = as_client(self.caller, params.get("clientInfo"))
            self._offers = frozenset(result.get("capabilities") or ())
        return reply

    async def request(self, frame: Frame, emit: Emit, conversation: Conversation | None = None) -> Reply:
        """Answer any other request of the client; `conversation` stands in where it brings an envelope of its own."""
        request: RequestId = frame.value["id"]
        if request in self.under_way:
            reason = f"the id {request!r} is in use by a request under way; use a new id"
            return Reply(Frame(error_reply(request, -32600, reason)))
        return await self.endpoint.request(conversation or self, frame, emit)

    async def notified(self, frame: Frame) -> None:
        """Take a notification of the client to whom it concerns; what no revision defines goes nowhere."""
        method = frame.value["method"]
        params = frame.value.get("params") or {}
        if method not in CLIENT_NOTIFICATIONS:
            return
        if method == "notifications/cancelled":
            # Every exchange tells its own server; a parked one has no server to tell.
            request = params.get("requestId")
            if isinstance(request, str | int):
                self.leave(request, withdrawn=True)
            return
        if method == "notifications/initialized":
            self._greeted = True
        frame = without_our_keys_in(frame)
        for line in self._concerned(method, params):
            try:
                if method == "notifications/initialized":
                    await line.initialized(frame)
                else:
                    await line.tell(frame)
            except UpstreamError:
                continue  # its next request finds out, and is told

    async def answered(self, frame: Frame) -> bool:
        """Take the client's response to the server that asked; False when nobody did."""
        question = self._questions.pop(frame.value["id"], None)
        if question is None:
            return False
        line, asked_on, original = question
        if asked_on is not line.current:
            return False  # whoever asked is gone, and nobody else did
        answer = without_our_keys_in(frame)
        try:
            await line.tell(Frame({**answer.value, "id": original}, kind=Kind.RESPONSE))
        except UpstreamError:
            return False
        return True

    def close(self) -> None:
        """End the session: nobody can be answered, and its lines hang up."""
        self.closed = True
        self.gate.audience.remove(self)
        self.let_go()
        for exchanges in list(self.under_way.values()):
            for exchange in exchanges:
                exchange.leave(withdrawn=False)
        for line in self._lines.values():
            line.hang_up()

    def changed_lists(self, before: Policy, after: Policy) -> Iterable[str]:
        """Return which of the lists that it was offered are others now; a client without a handshake has none."""
        catalogs = [line.catalog for line in self._lines.values()]
        return [kind for kind in changed_lists(catalogs, self.caller, before, after) if kind in self._offers]

    async def tell_changed(self, kind: str) -> None:
        """Tell the client that a list changed."""
        await self._tell(news(kind))

    async def admits(self, line: Line, frame: Frame) -> bool:
        if frame.kind is not Kind.REQUEST:
            return await super().admits(line, frame)
        refused = await self.gate.access.question(line.server, self.caller, frame)
        if refused is not None:
            with suppress(UpstreamError):  # it has gone, and its question with it
                await line.tell(refused)
        return refused is None

    def from_server(self, line: Line, frame: Frame) -> Frame | None:
        try:
            frame = without_our_keys_in(frame)
        except MalformedMessage:
            return None
        method = frame.value.get("method")
        if frame.kind is Kind.REQUEST:
            return self._question(line, frame) if method in SERVER_REQUESTS else None
        if method == "notifications/cancelled":
            return self._cancelled_question(line, frame)
        return frame if method in SERVER_NOTIFICATIONS else None

    async def _from_line(self, line: SessionLine, frame: Frame) -> None:
        if frame.kind is Kind.REQUEST and frame.value["method"] not in SERVER_REQUESTS:
            await refuse(line, frame)
            return
        if line.current is not None:
            self.gate.heard_from(line.current)
        frame = self._shifted(line, frame)
        beside = None if frame.value.get("method") in _STANDALONE else self._latest(line)
        if beside is not None:
            await beside.emit(frame)
            return
        if not await self.admits(line, frame):
            return
        passed = self.from_server(line, frame)
        if passed is not None:
            await self._tell(passed)

    def _shifted(self, line: Line, frame: Frame) -> Frame:
        """Return progress so that it goes on from the heartbeats that its own exchange had from us."""
        if frame.value.get("method") != "notifications/progress":
            return frame
        token = (frame.value.get("params") or {}).get("progressToken")
        for exchanges in self.under_way.values():
            for exchange in exchanges:
                if exchange.server == line.server and exchange.heartbeats and exchange.progress_token == token:
                    return shifted(frame, exchange.heartbeats)
        return frame

    def _latest(self, line: Line) -> Exchange | None:
        """The newest request under way at this server whose client still listens."""
        for exchanges in reversed(self.under_way.values()):
            for exchange in exchanges:
                if exchange.server == line.server and not exchange.left and exchange.peer.can_stream:
                    return exchange
        return None

    def _question(self, line: Line, frame: Frame) -> Frame:
        """Give a server's request an id that no other server's has, and remember whose it is."""
        if not isinstance(line, SessionLine):
            raise TypeError("only a session can be asked")
        self._counter += 1
        fresh = self._counter
        value = json.loads(frame.raw)  # read anew: the fast reader rounds large integers
        self._questions[fresh] = (line, line.current, frame.value["id"])
        self._asked.append(fresh)
        while len(self._asked) > MAX_QUESTIONS:
            self._questions.pop(self._asked.popleft(), None)
        return Frame({**value, "id": fresh}, kind=Kind.REQUEST)

    def _cancelled_question(self, line: Line, frame: Frame) -> Frame | None:
        params = frame.value.get("params") or {}
        for ours, (asker, _, original) in self._questions.items():
            if asker is line and original == params.get("requestId"):
                return Frame({**frame.value, "params": {**params, "requestId": ours}}, kind=frame.kind)
        return None

    def _concerned(self, method: str, params: dict[str, Any]) -> list[SessionLine]:
        if method == "notifications/progress":
            asking = {id(line): line for line, *_ in self._questions.values()}
            return list(asking.values())
        return list(self._lines.values())


class StatelessOnPipes(Conversation):
    """One request of the stateless era on pipes: its own envelope, the lines of the session that the pipes are."""

    def __init__(self, session: Session, caller: Caller, peer: Peer) -> None:
        super().__init__(session.gate, caller, peer)
        self._session = session
        self.under_way, self.staying = session.under_way, session.staying

    async def line(self, server: str) -> Line:
        return await self._session.line(server)


def peer_of(params: dict[str, Any], *, version: str, era: Era) -> Peer:
    """Return what a client said of itself in its handshake."""
    capabilities = params.get("capabilities")
    return Peer(era, version, capabilities if isinstance(capabilities, dict) else {})


def as_client(caller: Caller, info: object) -> Caller:
    """Return the caller with what its client says of itself (`clientInfo`)."""
    name = info.get("name") if isinstance(info, dict) else None
    version = info.get("version") if isinstance(info, dict) else None
    return Caller(
        caller.agent,
        caller.groups,
        name[:200] if isinstance(name, str) else None,
        version[:200] if isinstance(version, str) else None,
    )
