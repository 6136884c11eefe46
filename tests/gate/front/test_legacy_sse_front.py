"""The transport of 2024-11-05: a stream down, a URL to post to, and the same gate behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gate.world import LEGACY, OTHER, Agent, Live, World, world
from holdshort.interruption import State


class Stream:
    """A client of that transport."""

    def __init__(self, agent: Agent, live: Live, where: str) -> None:
        self.agent = agent
        self.live = live
        self.path, _, self.query = where.partition("?")

    async def post(self, message: Any, **more: Any) -> int:
        given = {"path": self.path, "query": self.query, **more}
        return (await self.agent.http(message, **given)).status

    async def ask(self, method: str, number: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        await self.post({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return await self.reply_to(number)

    async def reply_to(self, number: Any) -> dict[str, Any]:
        seen = await self.live.until(lambda answer: any(each.get("id") == number for each in messages(answer.body)))
        return next(each for each in messages(seen.body) if each.get("id") == number)


def messages(body: bytes) -> list[dict[str, Any]]:
    return [
        json.loads(block.partition("data: ")[2])
        for block in body.decode().split("\n\n")
        if block.startswith("event: message")
    ]


@asynccontextmanager
async def streaming(proxy: World, **more: Any) -> AsyncGenerator[Stream]:
    agent = proxy.agent(**more)
    live = agent.start(verb="GET", path="/sse/spy")
    first = await live.until(lambda answer: b"\n\n" in answer.body)
    stream = Stream(agent, live, first.body.decode().partition("data: ")[2].split("\n")[0])
    info = {"name": "test", "version": "1"}
    await stream.ask("initialize", 0, {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info})
    await stream.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    yield stream
    live.hang_up()
    await live.answer()


async def test_calls_are_allowed_denied_hidden_and_parked_as_everywhere(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy, streaming(proxy) as stream:
        allowed = await stream.ask("tools/call", 1, {"name": "read"})
        denied = await stream.ask("tools/call", 2, {"name": "destroy"})
        absent = await stream.ask("tools/call", 3, {"name": "hidden"})
        await stream.post({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "write"}})
        (record,) = await proxy.pending()
        await proxy.approve(record)
        approved = await stream.reply_to(4)

        assert allowed["result"]["content"][0]["text"] == "read done"
        assert "Refused by policy" in denied["result"]["content"][0]["text"]
        assert absent["error"]["code"] == -32602
        assert approved["result"]["content"][0]["text"] == "write done"
        assert proxy.spy.executed == [("read", {}), ("write", {})]


async def test_a_session_is_its_agents_and_its_servers(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy, streaming(proxy) as stream:
        ping = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
        thief = proxy.agent(token=OTHER)
        stolen = await thief.http(ping, path=stream.path, query=stream.query)
        unknown = await thief.http(ping, path=stream.path, query="session_id=x")

        assert (stolen.status, stolen.body) == (404, unknown.body)
        assert await stream.post(ping, path="/sse/other/messages") == 404
        assert await stream.post(ping, query="") == 404
        assert (await stream.ask("ping", 10))["result"] == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"jsonrpc":"2.0","id":null,"method":"ping"}'])
async def test_a_body_that_is_no_message_is_refused(tmp_path: Path, body: bytes) -> None:
    async with world(tmp_path) as proxy, streaming(proxy) as stream:
        assert await stream.post(body) == 400
        assert (await stream.ask("ping", 10))["result"] == {}


@pytest.mark.parametrize(
    ("verb", "path", "status"), [("POST", "/sse/spy", 405), ("GET", "/sse/nobody", 404), ("GET", "/sse/", 404)]
)
async def test_what_leads_nowhere(tmp_path: Path, verb: str, path: str, status: int) -> None:
    async with world(tmp_path) as proxy:
        assert (await proxy.agent().http({} if verb == "POST" else None, verb=verb, path=path)).status == status


async def test_a_stream_that_ends_leaves_its_waiting_call_for_the_next(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        async with streaming(proxy) as stream:
            await stream.post({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "write"}})
            (record,) = await proxy.pending()
        await proxy.nobody_holds()
        await proxy.approve(record)
        answer = await (await proxy.connect(LEGACY)).call("write")

        assert answer.text == "write done"
        assert (await proxy.reaches(record.id, State.EXECUTED)).id == record.id


async def test_an_agent_may_only_open_so_many_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.gate.front.legacy_sse.SESSIONS_PER_AGENT", 1)
    async with world(tmp_path) as proxy, streaming(proxy):
        assert (await proxy.agent().http(verb="GET", path="/sse/spy")).status == 429
        async with streaming(proxy, token=OTHER) as other:
            assert (await other.ask("ping", 1))["result"] == {}
