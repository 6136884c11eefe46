"""The clients themselves, without a proxy: each speaks its era to the spy, over HTTP and over stdio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kit.clients import CLIENTS, Agent, ClientKind, connected
from kit.ports import free_port
from kit.process import running
from kit.spy import SpyRecord

pytestmark = pytest.mark.timeout(180)  # the first use may install a client


@pytest.mark.parametrize("how", ["http", "stdio"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_speaks_its_era_and_its_calls_are_counted(client: str, how: str, tmp_path: Path) -> None:
    kind, spy = CLIENTS[client], SpyRecord(tmp_path / "spy.jsonl")
    async with _direct(kind, how, spy) as agent:
        listed = await agent.tools()
        answer = await agent.call("write_thing", {"name": client})
        absent = await agent.call("no_such_thing")

    assert {"read_thing", "write_thing", "destroy_thing"} <= set(listed)
    assert answer.text == f"write_thing done: {client}"
    assert not answer.is_error
    assert absent.error is not None
    assert absent.error["code"] == -32602
    assert spy.executed("write_thing", {"name": client}) == 1
    assert bool(spy.received("initialize")) == (kind.era == "legacy")


@asynccontextmanager
async def _direct(kind: ClientKind, how: str, spy: SpyRecord) -> AsyncGenerator[Agent]:
    if how == "stdio":
        async with connected(kind, command=spy.command("--stdio")) as agent:
            yield agent
        return
    port = free_port()
    with running(spy.command("--http", str(port))) as server:
        url = f"http://127.0.0.1:{port}/mcp"
        await server.until_answers(url)
        async with connected(kind, url=url) as agent:
            yield agent
