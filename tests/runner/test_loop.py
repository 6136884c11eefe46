"""The loop: what runs at once, what waits, what the model is told, and that nothing is said or done twice."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from holdshort.runner import (
    ItemHelpers,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelError,
    ModelSettings,
    RunErrorHandlerResult,
    Runner,
    RunState,
    UserError,
)
from kit.responses_faults import Hold, Refuse
from kit.responses_script import Call, Reasoning, Text, Turn
from runner.conftest import Open
from runner.stage import Stage

READ, WRITE = "things__read_thing", "things__write_thing"
BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


def thing() -> str:
    """A name that no other test uses."""
    return f"thing-{uuid4().hex[:8]}"


@BOTH_WAYS
async def test_an_allowed_call_runs_once_and_its_result_goes_to_the_model(
    play: Open, stage: Stage, streamed: bool
) -> None:
    name = thing()
    async with play([Turn(Call(READ, {"name": name}, "c1")), Turn(Text("read"))]) as one:
        result = await one.run(one.agent(), "Read it.", streamed=streamed)

        assert result.final_output == "read"
        assert result.interruptions == []
        assert stage.spy.executed("read_thing", {"name": name}) == 1
        assert one.last_outputs() == {"c1": f"read_thing done: {name}"}


@BOTH_WAYS
async def test_a_gated_call_stops_the_run_and_runs_once_after_approval(
    play: Open, stage: Stage, streamed: bool
) -> None:
    name = thing()
    async with play([Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("written"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Write it.", streamed=streamed)

        [waiting] = result.interruptions
        assert (waiting.server, waiting.tool_name, waiting.name) == ("things", "write_thing", WRITE)
        assert (waiting.call_id, waiting.parsed_arguments) == ("c1", {"name": name})
        assert waiting.agent_path == ("Ops",)
        assert waiting.status == "pending"
        assert result.final_output is None
        assert stage.spy.executed("write_thing", {"name": name}) == 0

        [record] = await one.approve_all()
        assert record["id"] == waiting.id
        done = await one.again(agent, result, streamed=streamed)

        assert done.final_output == "written"
        assert stage.spy.executed("write_thing", {"name": name}) == 1
        assert one.last_outputs() == {"c1": f"write_thing done: {name}"}
        assert len(one.model.asked) == 2


async def test_after_a_pause_a_streamed_run_sends_the_same_bytes_as_a_plain_one(play: Open) -> None:
    name, bodies = thing(), list[list[str]]()
    for streamed in (False, True):
        turns = [
            Turn(Reasoning("hm"), Call(WRITE, {"name": name}, "c1"), Call(READ, {"name": name}, "c2")),
            Turn(Call(WRITE, {"name": name}, "c3")),
            Turn(Text("done")),
        ]
        async with play(turns) as one:
            agent = one.agent()
            result = await one.run(agent, "Go.", streamed=streamed)
            while result.interruptions:
                await one.approve_all()
                result = await one.again(agent, result, streamed=streamed)
            bodies.append([_without_ids(received.text) for received in one.model.asked])

    plain, streamed_bodies = bodies
    assert [text.replace(',"stream":true', "") for text in streamed_bodies] == plain
    assert len(plain) == 3


def _without_ids(text: str) -> str:
    body = json.loads(text)
    for item in body["input"]:
        item.pop("id", None)
    return json.dumps(body, separators=(",", ":"))


async def test_siblings_are_settled_side_by_side_and_the_model_waits_for_the_last(play: Open, stage: Stage) -> None:
    names = {call: thing() for call in ("c1", "c2", "c3", "c4", "c5")}
    calls = [
        Call(WRITE, {"name": names["c1"]}, "c1"),
        Call(READ, {"name": names["c2"]}, "c2"),
        Call(WRITE, {"name": names["c3"]}, "c3"),
        Call(WRITE, {"name": names["c4"]}, "c4"),
        Call(WRITE, {"name": names["c5"]}, "c5"),
    ]
    async with play([Turn(*calls), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        assert [each.call_id for each in result.interruptions] == ["c1", "c3", "c4", "c5"]
        assert stage.spy.executed("read_thing", {"name": names["c2"]}) == 1
        by_name = {record["arguments"]["name"]: record for record in await one.waiting()}

        await stage.proxy.approve(by_name[names["c3"]])
        await stage.proxy.reject(by_name[names["c4"]], "not that one")
        result = await one.again(agent, result)
        assert [each.call_id for each in result.interruptions] == ["c1", "c5"]
        assert stage.spy.executed("write_thing", {"name": names["c3"]}) == 1
        assert len(one.model.asked) == 1

        edited = thing()
        await stage.proxy.decide(by_name[names["c1"]], "edit", arguments={"name": edited})
        await stage.proxy.decide(by_name[names["c5"]], "respond", content="it is there already")
        result = await one.again(agent, result)

        assert result.final_output == "done"
        outputs = one.last_outputs()
        assert list(outputs) == ["c1", "c2", "c3", "c4", "c5"]
        assert "EDITED BEFORE IT RAN" in outputs["c1"]
        assert edited in outputs["c1"]
        assert outputs["c2"] == f"read_thing done: {names['c2']}"
        assert outputs["c3"] == f"write_thing done: {names['c3']}"
        assert "REJECTED" in outputs["c4"]
        assert "not that one" in outputs["c4"]
        assert "it is there already" in outputs["c5"]
        counts = {call: stage.spy.executed("write_thing", {"name": names[call]}) for call in ("c1", "c3", "c4", "c5")}
        assert counts == {"c1": 0, "c3": 1, "c4": 0, "c5": 0}
        assert stage.spy.executed("write_thing", {"name": edited}) == 1
        assert stage.spy.executed("read_thing", {"name": names["c2"]}) == 1


async def test_resuming_before_anybody_decided_changes_nothing_and_does_not_ask_the_model(play: Open) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        first = result.interruptions
        for _ in range(3):
            result = await one.again(agent, result)
            assert [each.id for each in result.interruptions] == [each.id for each in first]
        assert len(one.model.asked) == 1
        assert len(await one.waiting()) == 1


async def test_two_pauses_in_a_row_keep_one_history(play: Open, stage: Stage) -> None:
    first, second = thing(), thing()
    turns = [Turn(Call(WRITE, {"name": first}, "c1")), Turn(Call(WRITE, {"name": second}, "c2")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        for _ in range(2):
            assert len(result.interruptions) == 1
            await one.approve_all()
            result = await one.again(agent, result)
        assert result.final_output == "done"
        kinds = [[item.get("type", "message") for item in given] for given in one.inputs()]
        pair = ["function_call", "function_call_output"]
        assert kinds == [["message"], ["message", *pair], ["message", *pair, *pair]]
        assert [stage.spy.executed("write_thing", {"name": name}) for name in (first, second)] == [1, 1]


async def test_turns_are_counted_across_pauses(play: Open) -> None:
    turns = [Turn(Call(WRITE, {"name": thing()}, f"c{number}")) for number in range(3)] + [Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", max_turns=2)
        await one.approve_all()
        result = await one.again(agent, result)
        await one.approve_all()
        with pytest.raises(MaxTurnsExceeded) as raised:
            await one.again(agent, result)
        assert raised.value.state is not None
        assert len(one.model.asked) == 2

        result = await one.run(agent, raised.value.state, max_turns=9)
        await one.approve_all()
        result = await one.again(agent, result)
        assert result.final_output == "done"


async def test_a_handler_can_turn_too_many_turns_into_an_answer(play: Open) -> None:
    turns = [Turn(Call(READ, {"name": thing()}, f"c{number}")) for number in range(3)]

    async def give_up(about: Any) -> RunErrorHandlerResult:
        return RunErrorHandlerResult(final_output=f"gave up after {len(about.run_data.history)} items")

    async with play(turns) as one:
        result = await one.run(one.agent(), "Go.", max_turns=2, error_handlers={"max_turns": give_up})
        assert result.final_output == "gave up after 5 items"
        assert (await one.again(one.agent(), result)).final_output == result.final_output
        assert len(one.model.asked) == 2


async def test_a_call_id_for_two_calls_runs_neither(play: Open, stage: Stage) -> None:
    one_thing, other = thing(), thing()
    turn = Turn(Call(READ, {"name": one_thing}, "c1"), Call(READ, {"name": other}, "c1"))
    async with play([turn]) as one:
        with pytest.raises(ModelBehaviorError, match="`c1` for two different calls") as raised:
            await one.run(one.agent(), "Go.")
        assert raised.value.state is not None
        assert [stage.spy.executed("read_thing", {"name": name}) for name in (one_thing, other)] == [0, 0]


async def test_a_call_that_is_there_twice_to_the_letter_runs_once(play: Open, stage: Stage) -> None:
    name = thing()
    turn = Turn(Call(READ, {"name": name}, "c1"), Call(READ, {"name": name}, "c1"))
    async with play([turn, Turn(Text("done"))]) as one:
        result = await one.run(one.agent(), "Go.")
        assert result.final_output == "done"
        assert stage.spy.executed("read_thing", {"name": name}) == 1
        assert [item["type"] for item in one.inputs()[-1][1:]] == ["function_call", "function_call_output"]


async def test_a_call_id_of_an_earlier_turn_is_refused(play: Open, stage: Stage) -> None:
    name = thing()
    turns = [Turn(Call(READ, {"name": name}, "c1")), Turn(Call(READ, {"name": name}, "c1"))]
    async with play(turns) as one:
        with pytest.raises(ModelBehaviorError, match="of an earlier call"):
            await one.run(one.agent(), "Go.")
        assert stage.spy.executed("read_thing", {"name": name}) == 1


async def test_a_tool_that_does_not_exist_is_told_to_the_model(play: Open) -> None:
    async with play([Turn(Call("things__gone", {}, "c1")), Turn(Text("oh"))]) as one:
        result = await one.run(one.agent(), "Go.")
        assert result.final_output == "oh"
        assert "there is no tool `things__gone`" in one.last_outputs()["c1"]


@pytest.mark.parametrize("arguments", ["{not json", '{"name": 1, "name": 2}', "[1]", '{"name": NaN}'])
async def test_arguments_that_cannot_be_read_are_told_to_the_model_and_sent_nowhere(play: Open, arguments: str) -> None:
    async with play([Turn(Call(WRITE, arguments, "c1")), Turn(Text("sorry"))]) as one:
        result = await one.run(one.agent(), "Go.")
        assert result.final_output == "sorry"
        assert "NOT EXECUTED" in one.last_outputs()["c1"]
        assert await one.waiting() == []


async def test_policy_that_denies_is_told_to_the_model(play: Open, stage: Stage) -> None:
    name = thing()
    async with play([Turn(Call("things__crash", {"name": name}, "c1")), Turn(Text("ok"))]) as one:
        result = await one.run(one.agent(), "Go.")
        assert result.final_output == "ok"
        assert "policy" in one.last_outputs()["c1"].lower()
        assert stage.spy.executed("crash", {"name": name}) == 0


async def test_reasoning_goes_back_to_the_letter_beside_its_call(play: Open) -> None:
    turns = [Turn(Reasoning("let me see"), Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        made = [item.raw_item for item in result.new_items]
        await one.approve_all()
        await one.again(agent, result)
        given = one.inputs()[-1]
        assert [item.get("type", "message") for item in given] == [
            "message",
            "reasoning",
            "function_call",
            "function_call_output",
        ]
        assert given[1]["summary"] == made[0]["summary"]
        assert given[1]["id"] == made[0]["id"]


async def test_usage_adds_up_over_pauses(play: Open) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        before = result.usage.total_tokens
        assert (result.usage.requests, before > 0) == (1, True)
        await one.approve_all()
        done = await one.again(agent, result)
        assert done.usage.requests == 2
        assert done.usage.total_tokens > before


async def test_tool_choice_is_for_the_first_request_only_also_after_a_pause(play: Open) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(model_settings=ModelSettings(tool_choice="required"))
        result = await one.run(agent, "Go.")
        await one.approve_all()
        await one.again(agent, result)
        assert [one_asked.body.get("tool_choice") for one_asked in one.model.asked] == ["required", None]


async def test_input_that_comes_while_a_call_waits_goes_in_after_its_output(play: Open) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent()
        state = (await one.run(agent, "Go.")).to_state()
        state.add_input("And hurry.")
        await one.approve_all()
        result = await one.run(agent, await RunState.from_string(agent, state.to_string()))
        assert result.final_output == "done"
        assert one.inputs()[-1][-2]["type"] == "function_call_output"
        assert one.inputs()[-1][-1] == {"role": "user", "content": "And hurry."}


async def test_a_finished_run_is_finished_whoever_goes_on_with_it(play: Open, stage: Stage) -> None:
    name = thing()
    async with play([Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        await one.approve_all()
        done = await one.again(agent, result)
        for _ in range(2):
            again = await one.again(agent, done)
            assert again.final_output == "done"
        assert len(one.model.asked) == 2
        assert stage.spy.executed("write_thing", {"name": name}) == 1


async def test_the_input_list_never_holds_a_call_without_its_output(play: Open) -> None:
    turns = [
        Turn(Call(READ, {"name": thing()}, "c1")),
        Turn(Reasoning("hm"), Call(WRITE, {"name": thing()}, "c2")),
        Turn(Text("done")),
    ]
    async with play(turns) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        kinds = [item.get("type", "message") for item in result.to_input_list()]
        assert kinds == ["message", "function_call", "function_call_output"]
        await one.approve_all()
        done = await one.again(agent, result)
        assert len(done.to_input_list()) == 7


async def test_a_state_of_another_agent_is_refused_before_anything_happens(play: Open) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1"))]) as one:
        result = await one.run(one.agent(), "Go.")
        with pytest.raises(UserError, match="began with agent `Ops`"):
            await one.run(one.agent("Other"), result.to_state())


async def test_one_state_object_is_gone_on_from_once_at_a_time(play: Open) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent()
        state = (await one.run(agent, "Go.")).to_state()
        await one.approve_all()
        one.model.faults.append(Hold(0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: one.run(agent, state))
            await one.model.until_asked(2)
            with pytest.raises(UserError, match="already"):
                await one.run(agent, state)
            one.model.release()
        assert state.data.final_output == "done"


async def test_run_sync_runs_where_no_loop_is_running_and_again(
    play: Open, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, told = thing(), list[Any]()
    async with play([Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("done"))]) as one:
        monkeypatch.setenv("OPENAI_BASE_URL", one.model.url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        agent, parked, approved = one.agent(), anyio.Event(), threading.Event()

        def program() -> None:
            result = Runner.run_sync(agent, "Go.", run_id=one.run_id)
            told.append(len(result.interruptions))
            anyio.from_thread.run_sync(parked.set, token=token)
            approved.wait(30)
            told.append(Runner.run_sync(agent, result.to_state()).final_output)

        token = anyio.lowlevel.current_token()
        thread = threading.Thread(target=program)
        thread.start()
        with anyio.fail_after(30):
            await parked.wait()
        await one.approve_all()
        approved.set()
        await anyio.to_thread.run_sync(thread.join)
        assert told == [1, "done"]
        assert stage.spy.executed("write_thing", {"name": name}) == 1


async def test_run_sync_refuses_where_a_loop_is_running(play: Open) -> None:
    async with play([]) as one:
        with pytest.raises(UserError, match=r"await Runner\.run"):
            Runner.run_sync(one.agent(), "Go.")


async def test_a_model_that_fails_leaves_a_state_to_go_on_from(play: Open, stage: Stage) -> None:
    name = thing()
    turns = [Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("done"))]
    async with play(turns, faults=(None, Refuse(401))) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.")
        await one.approve_all()
        with pytest.raises(ModelError) as raised:
            await one.again(agent, result)
        assert raised.value.state is not None
        done = await one.run(agent, await RunState.from_string(agent, raised.value.state.to_string()))
        assert done.final_output == "done"
        assert stage.spy.executed("write_thing", {"name": name}) == 1


async def test_last_words_that_were_saved_are_not_asked_for_again(play: Open) -> None:
    async with play([Turn(Text("done")), Turn(Text("twice"))]) as one:
        agent = one.agent()
        await one.run(agent, "Go.")
        # As saved right after the model's answer: what a process that dies there leaves behind.
        [saved] = [text for text in one.saved if '"status":"running"' in text and '"turn":1' in text]
        result = await one.run(agent, await RunState.from_string(agent, saved))
        assert result.final_output == "done"
        assert len(one.model.asked) == 1
        assert len(result.to_input_list()) == 2


async def test_something_more_can_be_said_after_the_last_words_of_a_run_that_failed(play: Open) -> None:
    turns = [Turn(Call(READ, {"name": thing()}, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        with pytest.raises(MaxTurnsExceeded) as raised:
            await one.run(agent, "Go.", max_turns=1)
        assert raised.value.state is not None
        raised.value.state.add_input("Be quick.")
        result = await one.run(agent, raised.value.state, max_turns=5)
        assert result.final_output == "done"
        assert one.inputs()[-1][-1] == {"role": "user", "content": "Be quick."}


async def test_the_readers_of_items_find_what_was_said(play: Open) -> None:
    async with play([Turn(Text("let me see"), Call(READ, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        result = await one.run(one.agent(), "Go.")
        messages = [item for item in result.new_items if item.type == "message_output_item"]
        assert [ItemHelpers.text_message_output(item) for item in messages] == ["let me see", "done"]
        assert ItemHelpers.text_message_outputs(result.new_items) == "let me seedone"
        assert ItemHelpers.input_to_new_input_list("Go.") == [{"role": "user", "content": "Go."}]
