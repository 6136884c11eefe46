"""A run that is killed anywhere, and gone on with by another process: each call runs once and is answered once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from kit.responses_server import ResponsesServer
from runner.crash_nest import Nest, Person, Tale, asked_model, person_at
from runner.crash_program import ledger
from runner.stage import Stage

pytestmark = pytest.mark.timeout(240)

GATED = ("c1", "c3", "c4")
FREE = "c2"
STEPS = (2, 3, 4)
ALWAYS = ("save ended", "POST /v1/responses", "tool")
SELDOM = ("mcp initialize", "mcp notifications", "mcp tools/list", "mcp DELETE", "GET /v1/interruptions/* sent")
"""What every process does, and what changes nothing: once is enough."""


@pytest.fixture
async def model() -> AsyncGenerator[ResponsesServer]:
    async with asked_model() as one:
        yield one


@pytest.fixture
async def person(stage: Stage) -> AsyncGenerator[Person]:
    async with person_at(stage.proxy.base) as one:
        yield one


class Troupe:
    """Many runs of one plan at once, and what must be true of each when it is over."""

    def __init__(self, stage: Stage, nest: Nest, person: Person, model: ResponsesServer, folder: Path) -> None:
        self.stage, self.nest, self.person, self.model, self.folder = stage, nest, person, model, folder
        self.tales: list[Tale] = []

    def tale(self, plan: str, streamed: bool) -> Tale:
        where = {"proxy": self.stage.proxy.base, "model": self.model.url}
        tale = Tale.begin(self.nest, self.person, self.folder, plan, streamed=streamed, **where)
        self.tales.append(tale)
        return tale

    async def wrong(self) -> list[str]:
        """What is not as it must be, of all runs that were told."""
        ran = Counter(record["arguments"].get("name") for record in self.stage.spy.lines("executed"))
        asked = Counter(one.body["input"][0]["content"].split()[1] for one in self.model.asked)
        refused = [one.text for one in self.model.asked if one.status not in (None, 0, 200)]
        found = [f"the model's service refused {text}" for text in refused]
        for tale in self.tales:
            counts = ran + Counter(ledger(tale.folder))
            problems = await self._wrong_with(tale, counts)
            kills = sum(each.killed_at is not None for each in tale.ends)
            if asked[tale.run_id] > 3 + kills:
                problems.append(f"the model was asked {asked[tale.run_id]} times")
            found += [f"{tale.told()}: {problem}" for problem in problems]
        return found

    async def _wrong_with(self, tale: Tale, counts: Counter[str]) -> list[str]:
        outputs = await tale.outputs()
        records = {each["requested_by"]["call_id"]: each for each in await self.person.calls(tale.run_id)}
        states = {call: record["state"] for call, record in records.items()}
        problems: list[str] = []
        if len(await self.person.calls(tale.run_id)) != len(GATED) or set(states) != set(GATED):
            problems.append(f"asked about {states}")
        for call in (*GATED, FREE):
            times, output = counts[tale.name(call)], outputs[call]
            unknown = "OUTCOME UNKNOWN" in output.upper()
            # Nobody but the process itself runs its own tools, and what is free is kept nowhere: the end of the
            # process may leave both in the dark. What the proxy runs is known to it.
            may_be_unknown = call == FREE or tale.orders["kind"] == "function"
            if unknown:
                if not may_be_unknown or times > 1 or states.get(call, "unknown") != "unknown":
                    problems.append(f"{call} is unknown ({times} times, {states.get(call)}): {output}")
            elif times != 1 or tale.name(call) not in output:
                problems.append(f"{call} ran {times} times: {output}")
            elif call != FREE and states.get(call) != "executed":
                problems.append(f"{call} is {states.get(call)}: {output}")
        return problems


@pytest.fixture
def troupe(stage: Stage, nest: Nest, person: Person, model: ResponsesServer, tmp_path: Path) -> Troupe:
    return Troupe(stage, nest, person, model, tmp_path)


async def counted(troupe: Troupe, plan: str, streamed: bool) -> list[tuple[int, int]]:
    """The moments of a run that nobody kills: the process, and the number in it."""
    quiet = troupe.tale(plan, streamed)
    await quiet.to_the_end()
    assert [each.status for each in quiet.ends] == [0, 0, 0]
    return [
        (process, number)
        for process, ended in enumerate(quiet.ends)
        for number, name in enumerate(ended.said["moments"], 1)
        # What is the same for every process, or in both ways of running, is done once.
        if name.startswith(ALWAYS) or (not streamed and (process == 0 or not name.startswith(SELDOM)))
    ]


@pytest.mark.parametrize("plan", ["mcp", "function"])
async def test_killed_at_any_one_moment_a_run_ends_as_if_it_had_not_been(troupe: Troupe, plan: str) -> None:
    moments = {streamed: await counted(troupe, plan, streamed) for streamed in (False, True)}

    async def killed(streamed: bool, process: int, number: int) -> None:
        await troupe.tale(plan, streamed).to_the_end(lambda now: number if now == process else None)

    async with anyio.create_task_group() as tasks:
        # Claims are lost in the second process, and take the longest to be over.
        for process in (1, 0, 2):
            for streamed, some in moments.items():
                for number in (number for which, number in some if which == process):
                    tasks.start_soon(killed, streamed, process, number)
    killed_at = [each.killed_at for tale in troupe.tales for each in tale.ends if each.killed_at]

    assert await troupe.wrong() == []
    assert {"save began 1", "save ended 1", "POST /v1/responses sent 1", "POST /v1/responses read 1"} <= set(killed_at)
    assert len(killed_at) == sum(map(len, moments.values())) > 80


async def test_a_run_of_which_every_process_is_killed_a_step_further_ends_all_the_same(troupe: Troupe) -> None:
    async def killed(tale: Tale, step: int) -> None:
        await tale.to_the_end(lambda number: f"save ended {step}", most=40)

    tales = [(troupe.tale(plan, way), step) for plan in ("mcp", "function") for way in (False, True) for step in STEPS]
    async with anyio.create_task_group() as tasks:
        for tale, step in tales:
            tasks.start_soon(killed, tale, step)

    assert await troupe.wrong() == []
    for tale, _ in tales:
        assert sum(each.killed_at is not None for each in tale.ends) >= 4, tale.told()
