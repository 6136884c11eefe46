"""Programs and the proxy killed at any moment, and people who decide as they like: what holds in the end."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from kit.process import until_async
from kit.proxy import HOLDSHORT, ProxyKit, serving
from kit.responses_server import ResponsesServer
from runner.crash_nest import Nest, Person, Tale, asked_model, person_at
from runner.crash_program import ledger
from runner.stage import LAYER, Stage

pytestmark = pytest.mark.timeout(240)

STORM_SECONDS = 12.0
RUNS_AT_ONCE = 4
SEEDS = (1,)
DECISIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("approve", {}),
    ("approve", {}),
    ("approve", {}),
    ("reject", {"message": "no"}),
    ("respond", {"content": "somebody did it"}),
)


@pytest.fixture
async def model() -> AsyncGenerator[ResponsesServer]:
    async with asked_model() as one:
        yield one


@dataclass(slots=True)
class Storm:
    """One seed's weather. Only what is drawn is the same each time; when it hits, the machine decides."""

    proxy: ProxyKit
    nest: Nest
    person: Person
    model: ResponsesServer
    folder: Path
    chance: random.Random
    tales: list[Tale] = field(default_factory=list[Tale])
    errors: Counter[str] = field(default_factory=Counter[str])
    kills: Counter[str] = field(default_factory=Counter[str])
    over: bool = False

    async def one_run(self, plan: str) -> None:
        """A run from its beginning to its end, whatever comes down on it."""
        where = {"proxy": self.proxy.base, "model": self.model.url, "streamed": self.chance.random() < 0.5}
        tale = Tale.begin(self.nest, self.person, self.folder, plan, **where)
        self.tales.append(tale)
        for _ in range(60):
            ended = await self._process(tale)
            self.errors[ended.said.get("error", "none")] += 1
            if ended.is_done:
                return
            await self._decide(tale)
        raise AssertionError(f"not done: {tale.told()} {tale.ends[-1]}")

    async def _process(self, tale: Tale) -> Any:
        doomed = not self.over and self.chance.random() < 0.6
        after = self.chance.uniform(0.0, 0.4)
        async with self.nest.program(tale.orders) as program:
            pid = await program.until_said("pid")
            with anyio.move_on_after(after if doomed else 60):
                ended = await program.until_ended()
                tale.ends.append(ended)
                return ended
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills["program"] += 1
            ended = await program.until_ended()
            tale.ends.append(ended)
            return ended

    async def _decide(self, tale: Tale) -> None:
        with suppress(httpx2.TransportError, httpx2.HTTPStatusError):
            if self.over:
                await self.person.until_settled(tale.run_id)
            for record in await self.person.calls(tale.run_id, state="pending"):
                if self.over or self.chance.random() < 0.7:
                    decision, more = self.chance.choice(DECISIONS)
                    await self.person.decide(record, decision, **more)

    async def runs(self) -> None:
        """One run after the other until it is over."""
        while not self.over:
            await self.one_run(self.chance.choice(["mcp", "mcp", "function"]))

    async def strike(self) -> None:
        """Kill the proxy now and then."""
        end = anyio.current_time() + STORM_SECONDS
        while anyio.current_time() < end:
            await anyio.sleep(self.chance.uniform(0.5, 3.0))
            await self.proxy.kill9()
            self.kills["proxy"] += 1
            await self.proxy.start()
        self.over = True


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_is_killed_whenever_no_call_runs_twice_and_each_is_answered_once(
    stage: Stage, nest: Nest, model: ResponsesServer, tmp_path: Path, seed: int
) -> None:
    servers = stage.proxy.config["mcpServers"]
    limits = {"decisions_per_minute": 6000}
    async with (
        serving(tmp_path / "proxy", servers, LAYER, hold="200ms", limits=limits) as proxy,
        person_at(proxy.base) as person,
    ):
        storm = Storm(proxy, nest, person, model, tmp_path, random.Random(seed))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(storm.strike)
            for _ in range(RUNS_AT_ONCE):
                tasks.start_soon(storm.runs)

        async def verified() -> bool:
            done = await anyio.run_process([*HOLDSHORT, "log", "verify", "--state-dir", str(proxy.state)], check=False)
            return done.returncode == 0

        ran = Counter(record["arguments"].get("name") for record in stage.spy.lines("executed"))
        wrong = [problem for tale in storm.tales for problem in await wrong_with(tale, person, ran)]

        assert wrong == []
        assert set(storm.errors) <= {"none", "ProxyUnreachable"}, storm.errors
        assert not [one.text for one in model.asked if one.status not in (None, 0, 200)]
        assert storm.kills["program"] > 5
        assert storm.kills["proxy"] > 2
        await until_async(verified, "the log to be whole")


async def wrong_with(tale: Tale, person: Person, ran: Counter[str]) -> list[str]:
    """What is not as it must be in the end of one run."""
    outputs = await tale.outputs()
    counts = ran + Counter(ledger(tale.folder))
    records = {each["requested_by"]["call_id"]: each["state"] for each in await person.calls(tale.run_id)}
    found: list[str] = []
    for call, output in outputs.items():
        times, state = counts[tale.name(call)], records.get(call)
        unknown = "OUTCOME UNKNOWN" in output.upper()
        # What nobody decides about has no record.
        possible = {"executed": {1}, "rejected": {0}, "answered": {0}, "unknown": {0, 1}, None: {0, 1}}
        if times not in possible.get(state, set()):
            found.append(f"{tale.run_id} {call} is {state} and ran {times} times: {output}")
        if unknown != (state == "unknown") if state is not None else times != 1 and not unknown:
            found.append(f"{tale.run_id} {call} is {state}, ran {times} times, and the model was told: {output}")
    return found
