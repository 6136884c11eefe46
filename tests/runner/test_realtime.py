"""Calls of realtime sessions: one that waits holds up nothing, is decided anywhere, and runs and ends once."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdshort.runner import (
    Agent,
    Always,
    DecisionConflict,
    ModelBehaviorError,
    RunConfig,
    RunContext,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailData,
    ToolOutputImage,
    UserError,
    function_tool,
    handoff,
    tool_input_guardrail,
)
from holdshort.runner.realtime import RealtimeSession
from kit.process import until
from kit.proxy import APPROVER_TOKEN
from kit.responses_script import Call, Text, Turn
from runner.conftest import Open
from runner.realtime_room import READ, WRITE, opened, thing, voice
from runner.stage import Stage


async def test_an_allowed_call_runs_at_once_and_ends_with_its_output(stage: Stage) -> None:
    name = thing()
    async with opened(voice(stage)) as room:
        room.call(READ, "c1", name=name)
        end = await room.heard("tool_end", "c1")

    assert room.kinds() == [("tool_start", "c1"), ("tool_end", "c1"), ("session_ended", None)]
    assert end.item == {"type": "function_call_output", "call_id": "c1", "output": f"read_thing done: {name}"}
    assert end.call_item == {"type": "function_call", "call_id": "c1", "name": READ, "arguments": end.arguments}
    assert (end.tool.tool, end.agent.name, end.interruption) == ("read_thing", "Voice", None)
    assert stage.spy.executed("read_thing", {"name": name}) == 1


async def test_a_gated_call_waits_while_others_go_on_and_runs_once_it_is_approved(stage: Stage) -> None:
    name, other = thing(), thing()
    async with opened(voice(stage, approver=True)) as room:
        room.call(WRITE, "c1", name=name)
        shown = await room.waits("c1")
        room.call(READ, "c2", name=other)
        assert await room.output("c2") == f"read_thing done: {other}"

        assert (shown.parsed_arguments, shown.status, shown.agent_path) == ({"name": name}, "pending", ("Voice",))
        assert [each.id for each in room.session.interruptions] == [shown.id]
        assert stage.spy.executed("write_thing", {"name": name}) == 0

        then = await room.session.approve_tool_call("c1", message="go on")
        end = await room.heard("tool_end", "c1")

        assert then.id == shown.id
        assert end.output == f"write_thing done: {name}"
        assert end.interruption.status == "executed"
        assert room.session.interruptions == []
    record = await stage.proxy.interruption(shown.id)
    assert record["requested_by"]["run_id"] == room.session.run_id
    assert [vote["by"] for vote in record["decisions"]] == ["ana"]
    kinds = [kind for kind, call_id in room.kinds() if call_id == "c1"]
    assert kinds == ["tool_approval_required", "tool_start", "tool_end"]
    assert stage.spy.executed("write_thing", {"name": name}) == 1


async def test_two_calls_at_once_go_on_each_when_it_is_decided_elsewhere(stage: Stage) -> None:
    names = {"c1": thing(), "c2": thing()}
    async with opened(voice(stage)) as room:
        for call_id, name in names.items():
            room.call(WRITE, call_id, name=name)
        shown = {call_id: await room.waits(call_id) for call_id in names}

        await stage.proxy.approve(await stage.proxy.interruption(shown["c2"].id))
        assert await room.output("c2") == f"write_thing done: {names['c2']}"
        assert room.told("tool_end", "c1") == []
        assert stage.spy.executed("write_thing", {"name": names["c1"]}) == 0

        await stage.proxy.reject(await stage.proxy.interruption(shown["c1"].id), "not that one")
        output = await room.output("c1")

    assert "REJECTED" in output
    assert "not that one" in output
    assert room.told("tool_start", "c1") == []
    assert {name: stage.spy.executed("write_thing", {"name": name}) for name in names.values()} == {
        names["c1"]: 0,
        names["c2"]: 1,
    }


async def test_a_call_goes_on_when_it_is_approved_at_a_terminal(stage: Stage, tmp_path: Path) -> None:
    name, token = thing(), tmp_path / "token"
    token.write_text(APPROVER_TOKEN)
    token.chmod(0o600)
    async with opened(voice(stage)) as room:
        room.call(WRITE, "c1", name=name)
        shown = await room.waits("c1")
        command = [sys.executable, "-m", "holdshort", "approvals", "approve", shown.id, "--yes"]
        command += ["--url", stage.proxy.base, "--token-file", str(token)]
        done = await anyio.run_process(command, stdout=subprocess.PIPE, check=False)

        assert done.returncode == 0, done.stderr
        assert await room.output("c1") == f"write_thing done: {name}"
    assert stage.spy.executed("write_thing", {"name": name}) == 1


async def test_what_an_approver_says_in_the_session_reaches_the_model(stage: Stage) -> None:
    names = {call_id: thing() for call_id in ("c1", "c2", "c3")}
    edited = thing()
    async with opened(voice(stage, approver=True)) as room:
        for call_id, name in names.items():
            room.call(WRITE, call_id, name=name)
        shown = {call_id: await room.waits(call_id) for call_id in names}

        await room.session.reject_tool_call("c1", rejection_message="ask Ben first")
        await room.session.edit_tool_call(shown["c2"], {"name": edited}, note="that one")
        await room.session.respond_tool_call(shown["c3"].id, "it is there already")
        outputs = {call_id: await room.output(call_id) for call_id in names}

    assert "ask Ben first" in outputs["c1"]
    assert edited in outputs["c2"]
    assert "it is there already" in outputs["c3"]
    [start] = room.told("tool_start")
    assert (start.call_id, start.arguments) == ("c2", f'{{"name": "{edited}"}}')
    assert [stage.spy.executed("write_thing", {"name": name}) for name in (*names.values(), edited)] == [0, 0, 0, 1]


@function_tool(name_override="write_thing", needs_approval=True)
def write_here(name: str) -> str:
    """Writes here what has the name of another tool."""
    return f"here: {name}"


async def test_an_approval_for_always_is_for_one_tool_of_one_server(stage: Stage) -> None:
    name = thing()
    async with opened(voice(stage, approver=True, tools=[write_here])) as room:
        room.call(WRITE, "c1", name=name)
        await room.waits("c1")
        await room.session.approve_tool_call("c1", always=True)
        await room.output("c1")

        room.call(WRITE, "c2", name=name)
        assert await room.output("c2") == f"write_thing done: {name}"
        assert room.told("tool_approval_required", "c2") == []

        room.call("write_thing", "c3", name=name)
        room.call(WRITE, "c4", name=thing())
        await room.waits("c3")
        await room.waits("c4")
    assert stage.spy.executed("write_thing", {"name": name}) == 2


async def test_a_rejection_for_always_is_for_one_tool_of_one_server(stage: Stage) -> None:
    name = thing()
    async with opened(voice(stage, approver=True, tools=[write_here])) as room:
        room.call(WRITE, "c1", name=name)
        await room.waits("c1")
        await room.session.reject_tool_call("c1", always=Always(arguments="any"), rejection_message="hands off")
        await room.output("c1")

        room.call(WRITE, "c2", name=thing())
        assert "hands off" in await room.output("c2")
        assert room.told("tool_approval_required", "c2") == []

        room.call("write_thing", "c3", name=name)
        await room.waits("c3")
        await room.session.approve_tool_call("c3")
        assert await room.output("c3") == f"here: {name}"
    assert stage.spy.executed("write_thing", {"name": name}) == 0


async def test_a_decision_that_comes_second_is_told_which_came_first(stage: Stage) -> None:
    async with opened(voice(stage, approver=True)) as room:
        room.call(WRITE, "c1", name=thing())
        shown = await room.waits("c1")
        await stage.proxy.reject(await stage.proxy.interruption(shown.id), "no")
        await room.output("c1")

        with pytest.raises(DecisionConflict) as caught:
            await room.session.approve_tool_call("c1")
        assert caught.value.interruption is not None
        assert caught.value.interruption["state"] == "rejected"


async def test_only_an_approver_decides_and_only_about_calls_of_the_session(stage: Stage) -> None:
    async with opened(voice(stage)) as room:
        room.call(WRITE, "c1", name=thing())
        await room.waits("c1")
        with pytest.raises(UserError, match="approver's token"):
            await room.session.approve_tool_call("c1")
        with pytest.raises(UserError, match="no call `c2` of this session waits"):
            await room.session.reject_tool_call("c2")
        assert [each.call_id for each in room.session.interruptions] == ["c1"]


@function_tool
def stretch(name: str) -> str:
    """Fails."""
    raise OSError(f"{name} does not stretch")


@function_tool
def paint(name: str) -> Any:
    """Returns what a realtime model cannot see."""
    return [name, ToolOutputImage(image_url="https://example.com/a.png")]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("things__crash", '{"name": "a"}', "policy"),
        ("no_such_tool", "{}", "no tool"),
        (READ, '{"name": "a", "name": "b"}', "NOT EXECUTED"),
        ("stretch", '{"name": "it"}', "it does not stretch"),
        ("stretch", '{"nam": "it"}', "NOT EXECUTED"),
    ],
    ids=["denied", "unknown", "unreadable", "failing", "wrong-arguments"],
)
async def test_a_call_that_comes_to_nothing_has_one_end_that_says_so(
    stage: Stage, name: str, arguments: str, expected: str
) -> None:
    async with opened(voice(stage, tools=[stretch])) as room:
        room.session.tool_called("c1", name, arguments)
        end = await room.heard("tool_end", "c1")

    assert expected in end.output
    assert end.item["output"] == end.output
    assert room.told("error") == []
    assert len(room.told("tool_end")) == 1


async def test_what_a_realtime_model_cannot_take_is_named_in_its_text(stage: Stage) -> None:
    async with opened(voice(stage, tools=[paint])) as room:
        room.call("paint", "c1", name="a cat")
        end = await room.heard("tool_end", "c1")

    assert [part["type"] for part in end.output] == ["input_text", "input_image"]
    assert end.item["output"] == "a cat\n[left out: input_image, no text]"


async def test_a_call_id_is_one_call_for_the_whole_session(stage: Stage) -> None:
    name = thing()
    async with opened(voice(stage)) as room:
        room.call(READ, "c1", name=name)
        with pytest.raises(ModelBehaviorError, match="used before"):
            room.call(READ, "c1", name=name)
        await room.output("c1")
        with pytest.raises(ModelBehaviorError, match="used before"):
            room.call(WRITE, "c1", name=name)
        with pytest.raises(ModelBehaviorError, match="cannot be kept"):
            room.session.tool_called("c2", READ, '{"name": "\ud800"}')
    assert stage.spy.executed("read_thing", {"name": name}) == 1


@function_tool(needs_approval=True)
def delete_here(name: str) -> str:
    """Deletes."""
    return name


async def _always(context: RunContext[Any], arguments: dict[str, Any], call_id: str) -> bool:
    return True


@function_tool(needs_approval=_always)
def wipe_here(name: str) -> str:
    """Deletes more."""
    return name


async def test_without_a_proxy_nothing_that_needs_approval_runs() -> None:
    async with opened(Agent("Voice", tools=[delete_here, wipe_here])) as room:
        with pytest.raises(UserError, match="has no proxy that could give it"):
            room.call("delete_here", "c1", name="a")
        room.call("wipe_here", "c2", name="a")
        assert "NOT EXECUTED" in await room.output("c2")

    [error] = room.told("error")
    assert isinstance(error.error, UserError)
    assert room.told("tool_start") == []


async def test_a_gated_function_runs_once_with_what_was_approved(stage: Stage) -> None:
    ran: list[str] = []

    @function_tool(needs_approval=True)
    def note_down(text: str) -> str:
        """Notes it."""
        ran.append(text)
        return f"noted: {text}"

    async with opened(voice(stage, approver=True, tools=[note_down])) as room:
        room.call("note_down", "c1", text="buy it")
        shown = await room.waits("c1")
        assert (shown.kind, shown.server, shown.tool_name) == ("function", "local", "note_down")
        assert ran == []
        await room.session.edit_tool_call("c1", {"text": "look at it"})
        output = await room.output("c1")

    assert "noted: look at it" in output
    assert ran == ["look at it"]
    assert [start.arguments for start in room.told("tool_start")] == ['{"text": "look at it"}']
    record = await stage.proxy.interruption(shown.id)
    assert record["state"] == "executed"


async def test_a_guardrail_that_trips_ends_the_call_and_not_the_session(stage: Stage) -> None:
    @tool_input_guardrail
    def no_names(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception("a name")

    @function_tool(tool_input_guardrails=[no_names])
    def greet(name: str) -> str:
        """Greets."""
        raise AssertionError(name)

    async with opened(voice(stage, tools=[greet])) as room:
        room.call("greet", "c1", name="Ana")
        assert "NOT EXECUTED" in await room.output("c1")
        room.call(READ, "c2", name=thing())
        await room.output("c2")

    [tripped] = room.told("guardrail_tripped")
    assert tripped.call_id == "c1"
    assert [result.output.output_info for result in tripped.guardrail_results] == ["a name"]


async def test_calls_of_an_agent_inside_a_tool_are_decided_outside(stage: Stage, play: Open) -> None:
    name = thing()
    async with play([Turn(Call(WRITE, {"name": name}, "i1")), Turn(Text("written"))]) as one:
        helper: Agent[Any] = Agent("Helper", "Help.", proxy=stage.approval_proxy(approver=True))
        agent: Agent[Any] = Agent("Voice", tools=[helper.as_tool("ask_helper", "Asks.")])
        async with opened(agent, client=one.client) as room:
            room.call("ask_helper", "c1", input="Write it.")
            shown = await room.waits("i1")
            assert shown.agent_path == ("Voice", "Helper")
            assert stage.spy.executed("write_thing", {"name": name}) == 0

            then = await room.session.approve_tool_call("i1")
            assert then.agent_path == ("Voice", "Helper")
            assert await room.output("c1") == "written"

    assert stage.spy.executed("write_thing", {"name": name}) == 1
    assert one.last_outputs() == {"i1": f"write_thing done: {name}"}


async def test_a_handoff_gives_the_session_to_another_agent_once(stage: Stage) -> None:
    name = thing()
    clerk = voice(stage).clone(name="Clerk")
    other: Agent[Any] = Agent("Other")
    agent: Agent[Any] = Agent("Voice", handoffs=[clerk, other])
    async with opened(agent) as room:
        assert [tool["name"] for tool in await room.session.tools()] == ["transfer_to_clerk", "transfer_to_other"]
        room.call("transfer_to_clerk", "c1")
        await room.output("c1")
        assert room.session.agent is clerk
        tools = await room.session.tools()
        assert READ in [tool["name"] for tool in tools]
        assert all(set(tool) <= {"type", "name", "description", "parameters"} for tool in tools)

        room.call(READ, "c2", name=name)
        end = await room.heard("tool_end", "c2")
        assert end.agent is clerk

    [event] = room.told("handoff")
    assert (event.from_agent, event.to_agent) == (agent, clerk)
    assert room.session.to_state().current_agent is clerk


async def test_of_two_handoffs_at_once_one_counts(stage: Stage) -> None:
    agent = voice(stage).clone(handoffs=[Agent("Clerk"), Agent("Other")])
    async with opened(agent) as room:
        room.call("transfer_to_clerk", "c1")
        room.call("transfer_to_other", "c2")
        outputs = [await room.output("c1"), await room.output("c2")]

    [event] = room.told("handoff")
    assert room.session.agent is event.to_agent
    assert sum("another handoff" in output for output in outputs) == 1


def has_it(session: RealtimeSession, name: str) -> bool:
    """Whether the agent of this name has the session."""
    return session.agent.name.lower() == name


async def test_a_later_handoff_goes_on_from_the_agent_that_has_the_session(stage: Stage) -> None:
    last: Agent[Any] = Agent("Last")
    agent = voice(stage).clone(handoffs=[Agent("Clerk", handoffs=[last])])
    async with RealtimeSession(agent) as session:
        for call_id, to in (("c1", "clerk"), ("c2", "last")):
            session.tool_called(call_id, f"transfer_to_{to}", "{}")
            await until(partial(has_it, session, to), f"the handoff to {to}")  # nobody reads yet
        assert session.agent is last


async def test_a_handoff_that_comes_through_after_another_does_not_count(stage: Stage) -> None:
    clerk: Agent[Any] = Agent("Clerk")
    other = handoff(Agent("Other"), needs_approval=True)
    agent = voice(stage, approver=True).clone(handoffs=[clerk, other])
    async with opened(agent) as room:
        room.call("transfer_to_other", "c1")
        shown = await room.waits("c1")
        room.call("transfer_to_clerk", "c2")
        assert "another handoff" in await room.output("c1")
        await room.output("c2")
    assert room.session.agent is clerk
    assert (await stage.proxy.interruption(shown.id))["state"] == "withdrawn"


async def test_the_program_words_rejections_and_limits_what_runs_at_once(stage: Stage) -> None:
    running, most = 0, 0

    @function_tool
    async def look_slowly(name: str) -> str:
        """Looks."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        return name

    config = RunConfig(tool_error_formatter=lambda said: f"Sorry, no {said.tool_name}.", max_parallel_tools=1)
    async with opened(voice(stage, approver=True, tools=[look_slowly]), run_config=config) as room:
        room.call(WRITE, "c1", name=thing())
        await room.waits("c1")
        for number in range(5):
            room.call("look_slowly", f"l{number}", name=str(number))
        for number in range(5):
            assert await room.output(f"l{number}") == str(number)
        await room.session.reject_tool_call("c1")
        assert await room.output("c1") == f"Sorry, no {WRITE}."
    assert most == 1
