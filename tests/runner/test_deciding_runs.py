"""Deciding on a state and going on from it, all the way: through the proxy, to the tool, and back to the model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from holdshort.runner import Always, DecisionConflict, RunState, StateDamaged
from kit.process import until_async
from kit.responses_script import Call, Text, Turn
from runner.conftest import Open
from runner.stage import Play, Stage
from runner.test_loop import WRITE, thing


@asynccontextmanager
async def stopped(play: Open, *turns: Turn) -> AsyncGenerator[tuple[Play, Any, RunState]]:
    """A run that waits, as text in another process would find it: the play, the agent, the state."""
    async with play([*turns, Turn(Text("done"))]) as one:
        agent = one.agent(approver=True)
        result = await one.run(agent, "Do it.")
        yield one, agent, await RunState.from_string(agent, result.to_state().to_string())


async def test_what_is_approved_on_a_state_runs_once(play: Open, stage: Stage) -> None:
    name = thing()
    async with stopped(play, Turn(Call(WRITE, {"name": name}, "c1"))) as (one, agent, state):
        [waiting] = state.get_interruptions()
        assert (waiting.kind, waiting.server, waiting.tool_name) == ("mcp", "things", "write_thing")
        assert waiting.parsed_arguments == {"name": name}
        await state.approve(waiting)
        result = await one.run(agent, state)
        assert result.final_output == "done"
        assert stage.spy.executed("write_thing", {"name": name}) == 1
        with pytest.raises(DecisionConflict):
            await state.reject(waiting)


async def test_going_on_sends_what_was_decided_and_not_awaited(play: Open, stage: Stage) -> None:
    names = [thing() for _ in range(4)]
    calls = [Call(WRITE, {"name": name}, f"c{n}") for n, name in enumerate(names)]
    async with stopped(play, Turn(*calls)) as (one, agent, state):
        approved, edited, rejected, answered = state.get_interruptions()
        other = thing()
        state.approve(approved)
        state.edit(edited, {"name": other})
        state.reject(rejected, message="not this one")
        state.respond(answered, "it is written already")
        result = await one.run(agent, state)
        assert result.final_output == "done"
        outputs = one.last_outputs()
        assert [stage.spy.executed("write_thing", {"name": name}) for name in [*names, other]] == [1, 0, 0, 0, 1]
        assert other in outputs["c1"]
        assert "not this one" in outputs["c2"]
        assert "it is written already" in outputs["c3"]


async def test_what_somebody_else_rejected_is_not_run_and_the_program_is_told(play: Open, stage: Stage) -> None:
    name = thing()
    async with stopped(play, Turn(Call(WRITE, {"name": name}, "c1"))) as (one, agent, state):
        state.approve(state.get_interruptions()[0])
        await stage.proxy.reject((await one.waiting())[0], "no")
        with pytest.raises(DecisionConflict):
            await one.run(agent, state)
        # The refused decision is gone; the run goes on by what was decided.
        assert (await one.run(agent, state)).final_output == "done"
        assert stage.spy.executed("write_thing", {"name": name}) == 0


async def test_a_rejection_for_the_whole_run_is_kept_over_pauses(play: Open, stage: Stage) -> None:
    first, second, other = thing(), thing(), thing()
    turns = [
        Turn(Call(WRITE, {"name": first}, "c1"), Call("things__destroy_thing", {"name": other}, "c2")),
        Turn(Call(WRITE, {"name": second}, "c3")),
    ]
    async with stopped(play, *turns) as (one, agent, state):
        write, destroy = state.get_interruptions()
        await state.reject(write, message="no writing", always=Always(arguments="any"))
        state = await RunState.from_string(agent, state.to_string())
        state.approve(destroy)
        result = await one.run(agent, state)
        assert result.interruptions == []
        assert result.final_output == "done"
        assert "no writing" in one.last_outputs()["c3"]
        assert [stage.spy.executed("write_thing", {"name": name}) for name in (first, second)] == [0, 0]


async def test_waiting_and_going_on_is_a_loop(play: Open, stage: Stage) -> None:
    names = [thing(), thing()]
    turns = [Turn(Call(WRITE, {"name": name}, f"c{n}")) for n, name in enumerate(names)]
    async with stopped(play, *turns) as (one, agent, state):

        async def person() -> None:
            for _ in names:
                await until_async(one.approve_all, "a call that waits")

        result: Any = None
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(person)
                while state.get_interruptions():
                    await state.wait(60)
                    result = await one.run(agent, state)
                    state = result.to_state()
        assert result.final_output == "done"
        assert [stage.spy.executed("write_thing", {"name": name}) for name in names] == [1, 1]


async def test_a_call_that_is_shown_as_another_cannot_be_approved(play: Open, stage: Stage) -> None:
    """A forged state shows harmless arguments for a call that waits; the same for a harmless tool."""
    name = thing()
    async with stopped(play, Turn(Call(WRITE, {"name": name}, "c1"))) as (_, agent, state):
        for field, value in (("arguments", {"name": "harmless"}), ("tool", "read_thing"), ("server", "elsewhere")):
            document = state.to_json()
            record = document["run"]["calls"][0]["interruption"]
            record[field] = value
            if field != "arguments":
                document["run"]["calls"][0][field] = value
            forged = await RunState.from_json(agent, document)
            with pytest.raises(StateDamaged):
                forged.approve(forged.get_interruptions()[0])
        assert stage.spy.executed("write_thing", {"name": name}) == 0
