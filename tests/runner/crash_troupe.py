"""Many runs of one plan that are killed, and what must be true of each when it is over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio

from kit.responses_server import ResponsesServer
from runner.crash_nest import Nest, Person, Tale
from runner.crash_program import ledger
from runner.stage import Stage

__all__ = ["Troupe", "killed_once_at_each_moment"]

GATED = ("c1", "c3", "c4")
FREE = "c2"
ALWAYS = ("save ended", "POST /v1/responses", "tool")
SELDOM = ("mcp initialize", "mcp notifications", "mcp tools/list", "mcp DELETE", "GET /v1/interruptions/* sent")
"""What every process does, and what changes nothing: once is enough."""


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


async def killed_once_at_each_moment(troupe: Troupe, plan: str) -> None:
    """Kill one run at each moment that there is, and look at all of them."""
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
