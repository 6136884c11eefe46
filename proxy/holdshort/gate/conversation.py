"""What one client says to one endpoint: which line a request goes to, and what is under way.

A session of the handshake era lasts and has lines of its own; a conversation of the stateless era is one request long
and uses the shared lines. Endpoints work on either.
"""

from contextlib import suppress
from typing import Any, Protocol

import anyio

from holdshort.gate import answers
from holdshort.gate.exchange import Emit, Exchange, Peer, Reply
from holdshort.gate.gate import Gate
from holdshort.gate.line import Line
from holdshort.gate.meta import without_our_keys_in
from holdshort.gate.methods import SERVER_NOTIFICATIONS
from holdshort.gate.upstream import UpstreamError
from holdshort.policy import Caller
from holdshort.wire import Frame, Kind, MalformedMessage, RequestId, error_reply

__all__ = ["Conversation", "Endpoint", "refusal", "refuse"]


class Conversation:
    """One client at one endpoint."""

    def __init__(self, gate: Gate, caller: Caller, peer: Peer) -> None:
        self.gate = gate
        self.caller = caller
        self.peer = peer
        self.under_way: dict[RequestId, list[Exchange]] = {}
        self.staying: dict[RequestId, anyio.Event] = {}

    async def line(self, server: str) -> Line:
        """Return this client's line to a server.

        Raises:
            UpstreamError: there is none to be had now.
        """
        raise NotImplementedError

    async def ask(self, server: str, frame: Frame, emit: Emit, *, prefix: str = "") -> Reply:
        """Take one request to one server through the gate."""
        try:
            line = await self.line(server)
            link = await line.link()
        except UpstreamError as error:
            return Reply(Frame(answers.upstream_failed(frame.value["id"], str(error))))

        async def relay(message: Frame) -> None:
            if not await self.admits(line, message):
                return
            passed = self.from_server(line, message)
            if passed is not None:
                await emit(passed)
            elif message.kind is Kind.REQUEST:
                await refuse(line, message)

        exchange = Exchange(frame, server, link, self.caller, self.peer, relay, renew=line.link, prefix=prefix)
        request = exchange.id
        under_way = self.under_way.setdefault(request, [])
        under_way.append(exchange)
        try:
            return await self.gate.handle(exchange, line.catalog)
        finally:
            under_way.remove(exchange)
            if not under_way:
                self.under_way.pop(request, None)

    async def admits(self, line: Line, frame: Frame) -> bool:
        """Ask policy about what a server says by itself. Only a session can be asked questions, and judges them."""
        if frame.kind is not Kind.NOTIFICATION:
            return True
        return self.gate.access.may_hear(line.server, self.caller, frame)

    def from_server(self, line: Line, frame: Frame) -> Frame | None:
        """Return what the client may see of a server's message; None for what no revision defines."""
        if frame.kind is Kind.NOTIFICATION and frame.value["method"] in SERVER_NOTIFICATIONS:
            try:
                return without_our_keys_in(frame)
            except MalformedMessage:
                return None
        return None

    async def stay(self, request: RequestId) -> bool:
        """Keep a request open that no server answers; True when its client left, False when we are to end."""
        ended = self.staying[request] = anyio.Event()
        # Ended by `leave`, or by `let_go`.
        await ended.wait()
        return self.staying.pop(request, None) is None

    def let_go(self) -> None:
        """We are to end: what only waits for its client to leave is answered now."""
        for ended in self.staying.values():
            ended.set()

    def leave(self, request: RequestId, *, withdrawn: bool) -> list[Exchange]:
        """The client cancelled a request, or cannot be answered any more; return what that was about."""
        if request in self.staying:
            self.staying.pop(request).set()
        exchanges = self.under_way.get(request, [])
        for exchange in exchanges:
            exchange.leave(withdrawn=withdrawn)
        return exchanges


def refusal(question: Frame) -> Frame:
    """Return the answer to a server's question that is none the protocol knows, or none that can be asked now."""
    reply = error_reply(question.value["id"], -32601, f"Method not found: {question.value['method']}")
    return Frame(reply, kind=Kind.RESPONSE)


async def refuse(line: Line, question: Frame) -> None:
    """Tell a server so."""
    with suppress(UpstreamError):  # it has gone, and its question with it
        await line.tell(refusal(question))


class Endpoint(Protocol):
    """What stands behind one URL, or behind standard input: one server, or all of them."""

    @property
    def servers(self) -> tuple[str, ...]:
        """Labels of the servers behind it."""
        ...

    async def initialize(self, conversation: Conversation, frame: Frame) -> Frame:
        """Answer the handshake of a new session."""
        ...

    async def request(self, conversation: Conversation, frame: Frame, emit: Emit) -> Reply:
        """Answer any other request."""
        ...

    def server_of(self, params: dict[str, Any], method: str) -> tuple[str, str] | None:
        """Return the server and its own name of the tool that a `tools/call` names; None if there is none."""
        ...
