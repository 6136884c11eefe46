"""The endpoint of one server: everything goes to it, names untouched."""

import json
from typing import Any

from holdshort.gate.audience import declaring
from holdshort.gate.conversation import Conversation
from holdshort.gate.exchange import Emit, Reply
from holdshort.gate.line import SessionLine
from holdshort.gate.methods import Era
from holdshort.gate.pins import admitted
from holdshort.gate.subscription import Subscription
from holdshort.wire import Frame

__all__ = ["SingleEndpoint"]


class SingleEndpoint:
    """`/mcp/{server}`, and what `wrap` serves."""

    def __init__(self, server: str) -> None:
        self.servers: tuple[str, ...] = (server,)
        self._server = server

    async def initialize(self, conversation: Conversation, frame: Frame) -> Frame:
        """Pass the handshake on: version, capabilities and instructions are the server's own."""
        line = await conversation.line(self._server)
        if not isinstance(line, SessionLine):
            raise TypeError("a handshake needs a session")
        return _declared(conversation, await admitted(line.catalog.pins, await line.initialize(frame)))

    async def request(self, conversation: Conversation, frame: Frame, emit: Emit) -> Reply:
        """Take the request to the server."""
        method = frame.value["method"]
        if method == "subscriptions/listen" and conversation.peer.era is Era.MODERN:
            return await Subscription(conversation, self.servers, frame, emit).run()
        reply = await conversation.ask(self._server, frame, emit)
        if method == "server/discover" and reply.frame is not None:
            reply.frame = _declared(conversation, reply.frame)
        return reply

    def server_of(self, params: dict[str, Any], method: str) -> tuple[str, str] | None:
        """Return the server and the tool's name, which is the name as the client wrote it."""
        name = params.get("name")
        return (self._server, name) if isinstance(name, str) else None


def _declared(conversation: Conversation, reply: Frame) -> Frame:
    """Return the server's word of itself, and that its lists may change where our policy may change them."""
    if not conversation.gate.audience.active or "result" not in reply.value:
        return reply
    value = json.loads(reply.raw)  # read anew: the fast reader rounds large integers
    return Frame({**value, "result": declaring(value["result"])}, kind=reply.kind)
