"""A proxy of a test's own before a spy over HTTP. The spy outlives every proxy, as a hosted server would."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kit.clients import CLIENTS, Agent, Answer, connected
from kit.proxy import AGENT_TOKEN, ProxyKit, Record
from kit.spy import SpyRecord

__all__ = ["ASK", "ERAS", "Scene"]

ASK: Mapping[str, Any] = {"version": 1, "default": "ask", "rules": []}
ERAS = ("python-2.3-legacy", "python-2.3-modern")


class Scene:
    """What one story needs."""

    def __init__(self, proxy: ProxyKit, spy: SpyRecord, folder: Path) -> None:
        self.proxy = proxy
        self.spy = spy
        self.folder = folder

    @asynccontextmanager
    async def agent(self, client: str = ERAS[0], token: str = AGENT_TOKEN) -> AsyncGenerator[Agent]:
        """A connected client."""
        async with connected(CLIENTS[client], url=self.proxy.server_url("things"), token=token) as agent:
            yield agent

    async def call(self, tool: str, arguments: Mapping[str, Any], client: str = ERAS[0]) -> Answer:
        """One call of a client that comes, asks and goes."""
        async with self.agent(client) as agent:
            return await agent.call_until_settled(tool, arguments)

    async def leave_pending(self, tool: str, arguments: Mapping[str, Any], client: str = ERAS[0]) -> Record:
        """Park a call and go: its client got the pending answer and left."""
        async with self.agent(client) as agent:
            answer = await agent.call(tool, arguments)
            assert answer.state == "pending", answer
        return (await self.proxy.pending())[0]
