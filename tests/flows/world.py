"""One proxy, one spy upstream and one client at a time, kept for as long as the tests want the same ones."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from kit.clients import Agent, ClientKind, connected
from kit.process import until_async
from kit.proxy import AGENT_TOKEN, ProxyKit, Record
from kit.spy import SpyRecord
from kit.together import together

__all__ = ["HOLD", "LAYER", "World"]

T = TypeVar("T")

LAYER: Mapping[str, Any] = {
    "version": 1,
    "default": "ask",
    "rules": [
        {"id": "hidden", "tools": "*__crash", "action": "hide"},
        {"id": "denied", "tools": "*__destroy_thing", "action": "deny"},
        {"id": "impatient", "tools": "*__slow", "action": "ask", "expires_after": "1500ms"},
        {"id": "reads", "tools": "*__read_thing", "action": "allow"},
    ],
}
"""One rule for each thing that can happen to a call; the spy's tools are named in `kit/spy_server.py`."""

HOLD = "400ms"
"""Shorter than any client's patience, so that the ways after the hold are walked too."""


class World:
    """A proxy before a spy over HTTP, and clients of every kind, over HTTP or through `holdshort wrap`."""

    def __init__(self, folder: Path, proxy: ProxyKit, http_record: SpyRecord) -> None:
        self.proxy = proxy
        self.spy = http_record
        """What reached the spy behind the client that was asked for last."""
        self._folder = folder
        self._http_record = http_record
        self._open = AsyncExitStack()
        self._current: tuple[str, str] | None = None
        self._agent: Agent | None = None
        self._wrap_file = folder / "wrap.yaml"
        config = {"version": 1, "listen": "127.0.0.1:0", "hold": {"default": HOLD}, "policy": ["policy.yaml"]}
        self._wrap_file.write_text(json.dumps(config))

    async def agent(self, kind: ClientKind, how: str) -> Agent:
        """A connected client of this kind: the one from the test before, when that was the same and still lives."""
        if self._current != (kind.name, how) or self._agent is None or not self._agent.alive:
            await self.close()
            agent = await self._open.enter_async_context(self._connect(kind, how))
            self._agent, self._current = agent, (kind.name, how)
            return agent
        return self._agent

    def _connect(self, kind: ClientKind, how: str) -> AbstractAsyncContextManager[Agent]:
        if how == "http":
            self.spy = self._http_record
            return connected(kind, url=self.proxy.server_url("things"), token=AGENT_TOKEN)
        self.spy = SpyRecord(self._folder / f"{kind.name}.jsonl")
        command = self.proxy.wrap(self.spy.command("--stdio"), "-c", str(self._wrap_file))
        return connected(kind, command=command)

    async def close(self) -> None:
        """Say goodbye to the client."""
        self._agent = self._current = None
        await self._open.aclose()

    async def pending(self, name: str) -> Record:
        """Wait until the call with the argument `name` is pending."""

        async def parked() -> Record | None:
            waiting = await self.proxy.interruptions(state="pending")
            return next((record for record in waiting if record["arguments"].get("name") == name), None)

        said = self._agent.said() if self._agent is not None else ""
        return await until_async(parked, f"the call `{name}` to be pending\n{self.proxy.process.told()}\n{said}")

    async def settled(self, name: str, call: Awaitable[T], decide: Callable[[Record], Awaitable[None]]) -> T:
        """Let `call` wait, decide about it when it is pending, and return what the client got in the end."""

        async def decided() -> None:
            await decide(await self.pending(name))

        return (await together(call, decided()))[0]
