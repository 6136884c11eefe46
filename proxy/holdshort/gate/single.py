"""The endpoint of one server: everything goes to it, names untouched."""

from typing import Any

from holdshort.gate.conversation import Conversation
from holdshort.gate.exchange import Emit, Reply
from holdshort.gate.line import SessionLine
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
        return await line.initialize(frame)

    async def request(self, conversation: Conversation, frame: Frame, emit: Emit) -> Reply:
        """Take the request to the server."""
        return await conversation.ask(self._server, frame, emit)

    def server_of(self, params: dict[str, Any], method: str) -> tuple[str, str] | None:
        """Return the server and the tool's name, which is the name as the client wrote it."""
        name = params.get("name")
        return (self._server, name) if isinstance(name, str) else None
