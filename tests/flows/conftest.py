"""The fixtures of the stories."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from flows.scene import ASK, Scene
from flows.world import HOLD, LAYER, World
from kit.ports import free_port
from kit.process import running
from kit.proxy import serving
from kit.spy import SpyRecord


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Session-wide, so that a client can outlive a test."""
    return "asyncio"


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    """The one world of all stories; they tell their calls apart by the argument `name`."""
    folder = tmp_path_factory.mktemp("world")
    record = SpyRecord(folder / "http.jsonl")
    port = free_port()
    with running(record.command("--http", str(port))) as spy:
        url = f"http://127.0.0.1:{port}/mcp"
        await spy.until_answers(url)
        async with serving(folder, {"things": {"url": url}}, LAYER, hold=HOLD) as proxy:
            found = World(folder, proxy, record)
            yield found
            await found.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    """A world that a test may break: nobody else uses it."""
    record = SpyRecord(tmp_path / "spy.jsonl")
    port = free_port()
    with running(record.command("--http", str(port))) as spy:
        await spy.until_answers(f"http://127.0.0.1:{port}/mcp")
        servers = {"things": {"url": f"http://127.0.0.1:{port}/mcp"}}
        async with serving(tmp_path / "proxy", servers, ASK, hold="200ms") as proxy:
            yield Scene(proxy, record, tmp_path)
