"""The fixtures of the runner's tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from kit.ports import free_port
from kit.process import running
from kit.proxy import serving
from kit.spy import SpyRecord
from runner.crash_nest import Nest, asked_model, person_at, ready_nest
from runner.crash_troupe import Troupe
from runner.keeping import Keepers, ready_keepers
from runner.stage import LAYER, Play, Stage, opened_play

Open = Callable[..., AbstractAsyncContextManager[Play]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    """The one proxy of all plays, before one spy."""
    folder = tmp_path_factory.mktemp("stage")
    record = SpyRecord(folder / "spy.jsonl")
    port = free_port()
    with running(record.command("--http", str(port))) as spy:
        url = f"http://127.0.0.1:{port}/mcp"
        await spy.until_answers(url)
        async with serving(
            folder / "proxy", {"things": {"url": url}}, LAYER, hold="200ms", limits={"decisions_per_minute": 6000}
        ) as proxy:
            yield Stage(folder, proxy, record)


@pytest.fixture
def play(stage: Stage) -> Open:
    """Opens a run with a model that tells these turns."""
    return partial(opened_play, stage)


@pytest.fixture(scope="session")
async def keepers() -> AsyncGenerator[Keepers]:
    """Processes that use one file of sessions or saved runs at once."""
    async with ready_keepers() as them:
        yield them


@pytest.fixture(scope="session")
async def nest() -> AsyncGenerator[Nest]:
    """Programs that are killed and started again."""
    async with ready_nest() as one:
        yield one


@pytest.fixture
async def troupe(stage: Stage, nest: Nest, tmp_path: Path) -> AsyncGenerator[Troupe]:
    """Many runs of one plan, with a model and a person of their own."""
    async with asked_model() as model, person_at(stage.proxy.base) as person:
        yield Troupe(stage, nest, person, model, tmp_path)
