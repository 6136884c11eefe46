"""What a streamed run tells: each thing once, each pause, always an end; and how it is stopped."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from holdshort.runner import ModelError, Runner, RunResultStreaming, RunState, UserError
from kit.responses_faults import Cut, Refuse
from kit.responses_script import Call, Reasoning, Text, Turn
from runner.conftest import Open
from runner.stage import Play, Stage
from runner.test_loop import READ, WRITE, thing


def streamed(one: Play, agent: Any, given: Any, **more: Any) -> RunResultStreaming:
    if not isinstance(given, RunState):
        more["run_id"] = one.run_id
    return Runner.run_streamed(agent, given, client=one.client, on_state=one.keep, **more)


async def told(result: RunResultStreaming) -> list[Any]:
    return [event async for event in result.stream_events()]


def names(events: list[Any]) -> list[str]:
    return [event.name if event.type == "run_item_stream_event" else event.type for event in events]


async def test_each_item_is_told_once_and_the_end_last(play: Open) -> None:
    turns = [
        Turn(Reasoning("hm"), Call(READ, {"name": thing()}, "c1"), Call(READ, {"name": thing()}, "c2")),
        Turn(Text("done")),
    ]
    async with play(turns) as one:
        events = await told(streamed(one, one.agent(), "Go."))

        without_raw = [name for name in names(events) if name != "raw_response_event"]
        assert without_raw == [
            "agent_updated_stream_event",
            "reasoning_item_created",
            "tool_called",
            "tool_called",
            "tool_output",
            "tool_output",
            "message_output_created",
            "run_ended",
        ]
        calls = Counter(event.item.call_id for event in events if names([event]) == ["tool_output"])
        assert calls == {"c1": 1, "c2": 1}
        kinds = [event.data.type for event in events if event.type == "raw_response_event"]
        assert kinds.count("response.completed") == 2
        assert "response.output_text.delta" in kinds


async def test_a_pause_is_told_with_the_interruption_at_each_pause(play: Open) -> None:
    turns = [Turn(Call(WRITE, {"name": thing()}, "c1"), Call(WRITE, {"name": thing()}, "c2")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        first = streamed(one, agent, "Go.")
        events = await told(first)
        asked = [event.interruption for event in events if event.type == "tool_approval_required"]
        assert [each.call_id for each in asked] == ["c1", "c2"]
        assert [each.id for each in asked] == [each.id for each in first.interruptions]
        assert names(events)[-1] == "run_ended"
        assert events[-1].status == "waiting"

        await one.stage.proxy.approve((await one.waiting())[0])
        second = streamed(one, agent, first.to_state())
        events = await told(second)
        assert names(events) == ["agent_updated_stream_event", "tool_approval_required", "run_ended"]

        await one.approve_all()
        third = streamed(one, agent, second.to_state())
        events = await told(third)
        without_raw = [name for name in names(events) if name != "raw_response_event"]
        assert without_raw == [
            "agent_updated_stream_event",
            "tool_output",
            "tool_output",
            "message_output_created",
            "run_ended",
        ]
        assert third.final_output == "done"
        assert third.is_complete


async def test_an_error_comes_after_the_end_and_leaves_a_state(play: Open) -> None:
    async with play([Turn(Text("done"))], faults=(Refuse(401),)) as one:
        result = streamed(one, one.agent(), "Go.")
        seen: list[str] = []

        async def read() -> None:
            async for event in result.stream_events():
                seen.append(event.type)  # noqa: PERF401  # what came before the error is wanted

        with pytest.raises(ModelError) as raised:
            await read()
        assert seen[-1] == "run_ended"
        assert raised.value.state is not None
        done = await told(streamed(one, one.agent(), raised.value.state))
        assert done[-1].status == "done"


async def test_a_stream_of_the_model_that_is_cut_is_an_error_never_half_an_answer(play: Open, stage: Stage) -> None:
    name = thing()
    async with play([Turn(Call(READ, {"name": name}, "c1")), Turn(Text("done"))], faults=(Cut(5),)) as one:
        result = streamed(one, one.agent(), "Go.")
        with pytest.raises(ModelError):
            await told(result)
        assert result.new_items == []
        assert stage.spy.executed("read_thing", {"name": name}) == 0


async def test_a_stream_that_is_left_can_be_gone_on_from(play: Open, stage: Stage) -> None:
    name = thing()
    turns = [Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        async for event in streamed(one, agent, "Go.").stream_events():
            if event.type == "run_item_stream_event":
                break
        state = await RunState.from_string(agent, one.saved[-1])
        result = await one.run(agent, state)
        assert [each.call_id for each in result.interruptions] == ["c1"]
        await one.approve_all()
        assert (await one.again(agent, result)).final_output == "done"
        assert stage.spy.executed("write_thing", {"name": name}) == 1
        assert len(one.model.asked) == 2


async def test_events_are_read_once(play: Open) -> None:
    async with play([Turn(Text("done"))]) as one:
        result = streamed(one, one.agent(), "Go.")
        await told(result)
        with pytest.raises(UserError, match="read once"):
            await told(result)


async def test_a_soft_stop_lets_the_turn_end(play: Open, stage: Stage) -> None:
    name = thing()
    turns = [Turn(Call(READ, {"name": name}, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        result = streamed(one, agent, "Go.")
        seen: list[Any] = []
        async for event in result.stream_events():
            seen.append(event)
            if event.type == "run_item_stream_event":
                result.cancel(mode="after_turn")
        assert "tool_output" in names(seen)
        assert seen[-1].status == "cancelled"
        assert result.cancelled
        assert len(one.model.asked) == 1

        done = await one.again(agent, result)
        assert done.final_output == "done"
        assert stage.spy.executed("read_thing", {"name": name}) == 1


async def test_a_hard_stop_ends_in_the_middle_of_an_answer(play: Open) -> None:
    async with play([Turn(Text("a long story")), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = streamed(one, agent, "Go.")
        seen: list[Any] = []
        async for event in result.stream_events():
            seen.append(event)
            if event.type == "raw_response_event":
                result.cancel()
        assert seen[-1].status == "cancelled"
        assert "message_output_created" not in names(seen)
        assert (await one.again(agent, result)).final_output == "done"


async def test_a_hard_stop_while_a_call_runs_never_runs_it_again(play: Open, stage: Stage, tmp_path: Any) -> None:

    name = thing()
    until = tmp_path / "go"
    arguments = {"name": name, "until": str(until)}
    turns = [Turn(Call("things__slow", arguments, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        first = await one.run(agent, "Go.")
        await one.approve_all()
        result = streamed(one, agent, first.to_state())

        async def stop_when_it_runs() -> None:
            await stage.spy.until_executed("slow")
            result.cancel()

        events: list[Any] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_it_runs)
            events += await told(result)
        assert events[-1].status == "cancelled"
        until.touch()
        done = await one.again(agent, result)
        assert done.final_output == "done"
        assert stage.spy.executed("slow", arguments) == 1
        assert one.last_outputs()["c1"] == f"slow done: {name}"
