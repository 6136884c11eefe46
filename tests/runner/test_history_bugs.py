"""What goes wrong elsewhere when runs stop and go on, and does not here: histories, lost approvals, leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

import pytest

from holdshort.runner import (
    Agent,
    Always,
    ApplyPatchTool,
    GuardrailFunctionOutput,
    InputGuardrail,
    ModelError,
    Runner,
    RunnerError,
    RunState,
    ShellTool,
    SQLiteSession,
    function_tool,
)
from holdshort.runner.data import Item
from holdshort.runner.tools import FunctionTool
from kit.responses_faults import Refuse
from kit.responses_script import Call, Patch, Shell, Text, Turn
from runner.conftest import Open
from runner.stage import Play, Stage
from runner.test_kinds_agents import said_by
from runner.test_kinds_hosted import agent_of as agent_with_hosted
from runner.test_kinds_hosted import answered, asking
from runner.test_loop import BOTH_WAYS, READ, WRITE, thing


def writes(*names: str) -> list[Call]:
    return [Call(WRITE, {"name": name}, f"c-{name}") for name in names]


def mailer(sent: list[str], name: str = "send_mail", about: str = "Send a mail.", **more: Any) -> FunctionTool:
    said: dict[str, Any] = {"name_override": name, "description_override": about, "needs_approval": True, **more}

    @function_tool(**said)
    def send(to: str) -> dict[str, Any]:
        sent.append(to)
        return {"sent": to, "copies": [1, 2]}

    return send


def is_whole(items: Sequence[Item]) -> bool:
    """Whether each call is there once, each output once, and after its call."""
    seen = [(str(item.get("type")), item["call_id"]) for item in items if "call_id" in item]
    calls = [name for kind, name in seen if kind == "function_call"]
    outputs = [name for kind, name in seen if kind == "function_call_output"]
    in_order = all(seen.index(("function_call", name)) < seen.index(("function_call_output", name)) for name in outputs)
    return in_order and Counter(calls) == Counter(outputs) and max(Counter(calls).values(), default=1) == 1


async def approved_one_by_one(one: Play, agent: Agent[Any], result: Any, **more: Any) -> Any:
    """Somebody approves one call at a time, and each time a process goes on from what is saved."""
    while result.interruptions:
        await one.stage.proxy.approve((await one.waiting())[0])
        result = await one.again(agent, result, **more)
    return result


# -- histories


@BOTH_WAYS
async def test_outputs_of_a_mixed_turn_are_not_lost_where_the_service_keeps_the_rest(
    play: Open, streamed: bool
) -> None:
    first, second, third = thing(), thing(), thing()
    calls = [*writes(first), Call(READ, {"name": second}, "c-read"), *writes(third)]
    async with play([Turn(*calls), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", auto_previous_response_id=True, streamed=streamed)
        result = await approved_one_by_one(one, agent, result, streamed=streamed)

        assert result.final_output == "done"
        assert [item["call_id"] for item in one.inputs()[1]] == [f"c-{first}", "c-read", f"c-{third}"]
        assert len(one.inputs()) == 2


@BOTH_WAYS
async def test_a_second_and_a_third_pause_send_no_output_again_where_the_service_keeps_the_rest(
    play: Open, streamed: bool
) -> None:
    names = [thing(), thing(), thing()]
    async with play([*(Turn(*writes(name)) for name in names), Turn(Text("done"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", auto_previous_response_id=True, streamed=streamed)
        result = await approved_one_by_one(one, agent, result, streamed=streamed)

        assert result.final_output == "done"
        assert [[item["call_id"] for item in given] for given in one.inputs()[1:]] == [[f"c-{name}"] for name in names]


@BOTH_WAYS
async def test_no_call_is_sent_twice_and_none_goes_missing_however_often_a_run_is_gone_on_with(
    play: Open, streamed: bool
) -> None:
    turns = [Turn(*writes(thing(), thing())), Turn(Call(READ, {"name": thing()}, "c-read"), *writes(thing()))]
    async with play([*turns, Turn(Text("done")), Turn(Text("and more"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", streamed=streamed)
        result = await one.again(agent, result, streamed=streamed)
        result = await approved_one_by_one(one, agent, result, streamed=streamed)
        more = [*result.to_input_list(), {"role": "user", "content": "And now?"}]
        await one.run(agent, more, run_id=f"{one.run_id}-2", streamed=streamed)

        assert [is_whole(given) for given in one.inputs()] == [True] * 4
        calls = [sum(item.get("type") == "function_call" for item in given) for given in one.inputs()]
        assert calls == [0, 2, 4, 4]


async def test_what_was_approved_is_told_once_by_the_stream_that_goes_on(play: Open) -> None:
    sent, name = list[str](), thing()
    turn = Turn(*writes(name), Call("send_mail", {"to": "ana"}, "c-mail"))
    async with play([turn, Turn(Text("done"))]) as one:
        agent = one.agent(tools=[mailer(sent)])
        result = await one.run(agent, "Go.", streamed=True)
        result = await approved_one_by_one(one, agent, result, streamed=True)

        outputs = [item.call_id for item in result.new_items if item.type == "tool_call_output_item"]
        assert outputs == list(one.last_outputs()) == [f"c-{name}", "c-mail"]


async def test_what_a_tool_returned_before_a_pause_is_the_same_json_after_it(play: Open) -> None:
    sent, name = list[str](), thing()
    turn = Turn(Call("send_mail", {"to": "ana"}, "c-mail"), *writes(name))
    async with play([turn, Turn(Text("done"))]) as one:
        agent = one.agent(tools=[mailer(sent, needs_approval=False)])
        await approved_one_by_one(one, agent, await one.run(agent, "Go."))

        assert one.last_outputs()["c-mail"] == '{"sent":"ana","copies":[1,2]}'
        assert sent == ["ana"]


class Forgetful:
    """A session of somebody's own, whose disk is full once."""

    session_id = "somebody's"

    def __init__(self, fails_at: int) -> None:
        self.items = list[Item]()
        self.left = fails_at

    async def get_items(self, limit: int | None = None) -> list[Item]:
        return list(self.items if limit is None else self.items[-limit:])

    async def add_items(self, items: list[Item]) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError("the disk is full")
        self.items += items

    async def pop_item(self) -> Item | None:
        return self.items.pop() if self.items else None

    async def clear_session(self) -> None:
        self.items.clear()


@pytest.mark.parametrize("fails_at", [1, 2, 3], ids=["first turn", "second turn", "last words"])
async def test_a_session_that_could_not_be_written_is_whole_when_the_run_has_gone_on(
    play: Open, stage: Stage, fails_at: int
) -> None:
    first, second = thing(), thing()
    session = Forgetful(fails_at)
    async with play([Turn(*writes(first)), Turn(*writes(second)), Turn(Text("done"))]) as one:
        agent, given, failed = one.agent(), "Go.", 0
        state: RunState | str = given
        while True:
            try:
                result = await one.run(agent, state, session=session)
            except OSError:
                failed += 1
            else:
                if not result.interruptions:
                    break
                assert is_whole(session.items)
                await one.approve_all()
            state = await RunState.from_string(agent, one.saved[-1])

        assert (result.final_output, failed) == ("done", 1)
        assert is_whole(session.items)
        assert [item.get("type", item.get("role")) for item in session.items] == [
            "user",
            *["function_call", "function_call_output"] * 2,
            "message",
        ]
        assert [stage.spy.executed("write_thing", {"name": name}) for name in (first, second)] == [1, 1]
        assert len(one.model.asked) == 3


async def test_a_prompt_is_in_its_session_once_though_a_run_paused_three_times(play: Open) -> None:
    async with play([*(Turn(*writes(thing())) for _ in range(3)), Turn(Text("done"))]) as one:
        agent = one.agent()
        with closing(SQLiteSession("chat")) as session:
            await session.add_items([{"role": "user", "content": "Before."}])
            result = await one.run(agent, "Go.", session=session)
            await approved_one_by_one(one, agent, result, session=session)
            kept = await session.get_items()

        said = [item["content"] for item in kept if item.get("role") == "user"]
        assert said == ["Before.", "Go."]
        prompts = [[item["content"] for item in given if item.get("role") == "user"] for given in one.inputs()]
        assert prompts == [["Before.", "Go."]] * 4


async def test_what_guardrails_said_is_kept_over_two_pauses(play: Open) -> None:
    asked = list[object]()

    def polite(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        asked.append(given)
        return GuardrailFunctionOutput(output_info={"polite": True}, tripwire_triggered=False)

    async with play([Turn(*writes(thing())), Turn(*writes(thing())), Turn(Text("done"))]) as one:
        agent = one.agent(input_guardrails=[InputGuardrail(guardrail_function=polite)])
        first = await one.run(agent, "Go.")
        result = await approved_one_by_one(one, agent, first)

        assert len(asked) == 1
        assert result.input_guardrail_results == first.input_guardrail_results
        assert "polite" in str(result.input_guardrail_results)


async def test_what_a_program_holds_of_a_run_that_waits_stays_as_it_is_when_the_run_goes_on(play: Open) -> None:
    async with play([Turn(*writes(thing())), Turn(Text("done"))]) as one:
        agent, states = one.agent(approver=True), list[RunState]()
        first = await one.run(agent, "Go.", on_state=states.append)
        kept = [state.to_string() for state in states]
        state = first.to_state()
        state.approve(first.interruptions[0])
        second = await one.run(agent, state)

        assert (second.usage.requests, first.usage.requests) == (2, 1)
        assert (len(first.interruptions), first.final_output, second.final_output) == (1, None, "done")
        assert [state.to_string() for state in states] == kept


async def test_a_stream_ends_though_nothing_of_the_run_could_be_saved(play: Open) -> None:
    def full(state: RunState) -> None:
        raise OSError("the disk is full")

    async with play([Turn(Text("done"))]) as one:
        seen = list[str]()

        async def listen() -> None:
            async for event in Runner.run_streamed(
                one.agent(), "Go.", client=one.client, on_state=full
            ).stream_events():
                seen.append(event.type)

        with pytest.raises(OSError, match="the disk is full"):
            await listen()

        assert seen[-1] == "run_ended"
        assert one.model.asked == []


# -- approvals that are not applied


@BOTH_WAYS
async def test_an_approval_counts_though_another_context_is_passed_when_going_on(play: Open, streamed: bool) -> None:
    sent = list[str]()
    async with play([Turn(Call("send_mail", {"to": "ana"}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(approver=True, tools=[mailer(sent)])
        result = await one.run(agent, "Go.", context={"user": "ana"}, streamed=streamed)
        state = result.to_state()
        state.approve(result.interruptions[0])
        done = await one.run(agent, state, context={"user": "ben"}, streamed=streamed)

        assert (done.final_output, done.interruptions, sent) == ("done", [], ["ana"])


async def test_a_call_in_an_agent_in_an_agent_is_asked_about_once_over_any_number_of_files(play: Open) -> None:
    sent = list[str]()
    turns = {
        "boss": [Turn(Call("lead", {"input": "x"}, "same")), Turn(Text("all done"))],
        "lead": [Turn(Call("clerk", {"input": "x"}, "same")), Turn(Text("passed on"))],
        "clerk": [Turn(Call("send_mail", {"to": "ana"}, "same")), Turn(Text("sent"))],
    }
    async with play(said_by(turns)) as one:
        clerk = Agent[Any]("Clerk", "clerk", tools=[mailer(sent)])
        lead = Agent[Any]("Lead", "lead", tools=[clerk.as_tool()])
        agent = Agent[Any]("Boss", "boss", tools=[lead.as_tool()], proxy=one.stage.approval_proxy())
        result = await one.run(agent, "Go.")
        [waiting] = result.interruptions
        for _ in range(3):
            result = await one.again(agent, result)
            assert [each.id for each in result.interruptions] == [waiting.id]
        await one.approve_all()
        result = await one.again(agent, result)

        assert (result.final_output, result.interruptions, sent) == ("all done", [], ["ana"])
        assert len(one.model.asked) == 6


async def test_of_two_agents_inside_that_ask_for_the_same_only_the_approved_one_goes_on(play: Open) -> None:
    """The same tool, the same arguments and the same call id, in two runs at once."""
    sent = {"east": list[str](), "west": list[str]()}
    turns = {
        "boss": [Turn(Call("east", {"input": "x"}, "o1"), Call("west", {"input": "x"}, "o2")), Turn(Text("all done"))],
        "east": [Turn(Call("send_mail", {"to": "ana"}, "i1")), Turn(Text("east is done"))],
        "west": [Turn(Call("send_mail", {"to": "ana"}, "i1")), Turn(Text("west is done"))],
    }
    async with play(said_by(turns)) as one:
        inside = [Agent[Any](name.title(), name, tools=[mailer(sent[name])]) for name in sent]
        agent = Agent[Any](
            "Boss",
            "boss",
            tools=[each.as_tool() for each in inside],
            proxy=one.stage.approval_proxy(approver=True),
        )
        result = await one.run(agent, "Go.")
        state = await RunState.from_string(agent, result.to_state().to_string())
        by_path = {each.agent_path[-1]: each for each in state.get_interruptions()}
        assert len({each.id for each in by_path.values()}) == 2
        await state.approve(by_path["West"])
        result = await one.run(agent, state)

        assert [each.agent_path for each in result.interruptions] == [("Boss", "East")]
        assert (sent["east"], sent["west"]) == ([], ["ana"])
        await one.approve_all()
        result = await one.again(agent, result)
        assert (sent["east"], sent["west"]) == (["ana"], ["ana"])
        assert one.last_outputs() == {"o1": "east is done", "o2": "west is done"}


@BOTH_WAYS
async def test_the_answer_to_a_hosted_call_survives_the_file(play: Open, streamed: bool) -> None:
    async with play(asking(Text("done"))) as one:
        agent = agent_with_hosted(one)
        result = await one.run(agent, "Go.", streamed=streamed)
        result = await one.again(agent, result, streamed=streamed)
        await one.approve_all()
        result = await one.again(agent, result, streamed=streamed)

        assert result.final_output == "done"
        assert [item["approve"] for item in answered(one)] == [True]


async def test_a_stream_asks_before_every_kind_of_call_that_needs_it(play: Open, stage: Stage) -> None:
    done, name = list[str](), thing()
    turn = Turn(
        Call("send_mail", {"to": "ana"}, "c1"),
        *writes(name),
        Shell(["rm -r /"], "c2"),
        Patch({"type": "delete_file", "path": "a.txt"}, "c3"),
    )
    async with play([turn]) as one:
        tools = [
            mailer(done),
            ShellTool(executor=lambda context, action: done.append("shell")),
            ApplyPatchTool(editor=lambda context, operation: done.append("patch")),
        ]
        result = await one.run(one.agent(tools=tools), "Go.", streamed=True)

        assert [each.kind for each in result.interruptions] == ["function", "mcp", "shell", "apply_patch"]
        assert done == []
        assert stage.spy.executed("write_thing", {"name": name}) == 0


# -- which call an approval is for


async def test_an_approved_call_does_not_run_with_arguments_that_came_later(play: Open, stage: Stage) -> None:
    approved, later, sent = thing(), thing(), list[str]()
    turn = Turn(Call(WRITE, {"name": approved}, "c1"), Call("send_mail", {"to": approved}, "c2"))
    async with play([turn, Turn(Text("done"))]) as one:
        agent = one.agent(tools=[mailer(sent)])
        result = await one.run(agent, "Go.")
        await one.approve_all()
        text = result.to_state().to_string().replace(approved, later)
        assert text.count(later) > 3
        with suppress(RunnerError):  # refusing is as good as running what was approved
            await one.run(agent, await RunState.from_string(agent, text))
        assert stage.spy.executed("write_thing", {"name": later}) == 0
        assert later not in sent

        await one.again(agent, result)
        assert (stage.spy.executed("write_thing", {"name": approved}), sent) == (1, [approved])


async def test_a_program_that_was_asked_once_whether_approval_is_needed_is_not_asked_again(play: Open) -> None:
    sent, asked = list[str](), list[str]()

    def first_time(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        asked.append(call_id)
        return len(asked) == 1

    async with play([Turn(Call("send_mail", {"to": "ana"}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(tools=[mailer(sent, needs_approval=first_time)])
        result = await one.run(agent, "Go.")
        for _ in range(2):
            result = await one.again(agent, result)
            assert (len(result.interruptions), sent) == (1, [])
        await one.stage.proxy.reject((await one.waiting())[0], "no")
        result = await one.again(agent, result)

        assert (result.final_output, asked, sent) == ("done", ["c1"], [])


async def test_a_decision_about_one_call_goes_before_one_about_all_calls_like_it(play: Open) -> None:
    sent, name = list[str](), thing()
    calls = [Call("send_mail", {"to": name}, f"c{number}") for number in range(3)]
    async with play([Turn(*calls), Turn(Text("done"))]) as one:
        agent = one.agent(approver=True, tools=[mailer(sent)])
        state = (await one.run(agent, "Go.")).to_state()
        first, second, third = state.get_interruptions()
        await state.approve(first, always=True)
        await state.reject(second, message="not twice")
        await state.approve(third)
        result = await one.run(agent, state)

        assert (result.final_output, sent) == ("done", [name, name])
        assert "not twice" in one.last_outputs()["c1"]


# -- approvals that leak


async def test_always_for_a_function_is_not_for_a_servers_tool_of_that_name(play: Open, stage: Stage) -> None:
    sent, name = list[str](), thing()
    local = mailer(sent, "write_thing", "Write a thing.")
    turns = [
        Turn(Call("write_thing", {"to": name}, "c1")),
        Turn(Call("write_thing", {"to": name}, "c2"), *writes(name)),
    ]
    async with play([*turns, Turn(Text("done"))]) as one:
        agent = one.agent(approver=True, tools=[local])
        state = (await one.run(agent, "Go.")).to_state()
        await state.approve(state.get_interruptions()[0], always=True)
        result = await one.run(agent, state)

        assert [(each.kind, each.tool_name) for each in result.interruptions] == [("mcp", "write_thing")]
        assert sent == [name, name]
        assert stage.spy.executed("write_thing", {"name": name}) == 0


async def test_always_is_for_these_arguments_and_no_others(play: Open) -> None:
    sent, name, other = list[str](), thing(), thing()
    turns = [
        Turn(Call("send_mail", {"to": name}, "c1")),
        Turn(Call("send_mail", {"to": name}, "c2"), Call("send_mail", {"to": other}, "c3")),
    ]
    async with play(turns) as one:
        agent = one.agent(approver=True, tools=[mailer(sent)])
        state = (await one.run(agent, "Go.")).to_state()
        state.approve(state.get_interruptions()[0], always_approve=True)
        result = await one.run(agent, state)

        assert [each.call_id for each in result.interruptions] == ["c3"]
        assert sent == [name, name]


async def test_always_for_one_agents_tool_is_not_for_another_tool_of_that_name(play: Open) -> None:
    clerks, bosses, name = list[str](), list[str](), thing()
    turns = {
        "boss": [
            Turn(Call("clerk", {"input": "x"}, "o1")),
            Turn(Call("send_mail", {"to": name}, "o2")),
            Turn(Text("all done")),
        ],
        "clerk": [Turn(Call("send_mail", {"to": name}, "i1")), Turn(Text("sent"))],
    }
    async with play(said_by(turns)) as one:
        clerk = Agent[Any]("Clerk", "clerk", tools=[mailer(clerks, about="Send a mail within the house.")])
        agent = Agent[Any](
            "Boss",
            "boss",
            tools=[clerk.as_tool(), mailer(bosses, about="Send a mail to anybody.")],
            proxy=one.stage.approval_proxy(approver=True),
        )
        state = (await one.run(agent, "Go.")).to_state()
        [inside] = state.get_interruptions()
        await state.approve(inside, always=True)
        result = await one.run(agent, state)

        assert [(each.agent_path, each.call_id) for each in result.interruptions] == [(("Boss",), "o2")]
        assert (clerks, bosses) == ([name], [])


async def test_what_is_rejected_for_a_whole_run_is_rejected_nowhere_else(play: Open) -> None:
    sent, name = list[str](), thing()
    for always, calls in ((True, 0), (None, 1)):
        turns = [Turn(Call("send_mail", {"to": name}, "c1")), Turn(Call("send_mail", {"to": name}, "c2"))]
        async with play([*turns, Turn(Text("done"))]) as one:
            agent = one.agent(approver=True, tools=[mailer(sent)])
            state = (await one.run(agent, "Go.")).to_state()
            # The second run is asked about the call that the first one rejected for good.
            [waiting] = state.get_interruptions()
            await state.reject(waiting, always=Always(arguments="any") if always else None)
            result = await one.run(agent, state)
            assert len(result.interruptions) == calls
    assert sent == []


async def test_an_approved_patch_is_no_approval_of_another_patch_or_a_shell(play: Open) -> None:
    done = list[str]()
    change = {"type": "update_file", "path": "a.txt", "diff": "+one"}
    turn = Turn(Patch(change, "c1"), Patch({**change, "diff": "+two"}, "c2"), Shell(["echo one > a.txt"], "c3"))
    async with play([turn]) as one:
        tools = [
            ShellTool(executor=lambda context, action: done.append("shell")),
            ApplyPatchTool(editor=lambda context, operation: done.append(str(operation.diff))),
        ]
        agent = one.agent(approver=True, tools=tools)
        state = (await one.run(agent, "Go.")).to_state()
        [first, _, _] = state.get_interruptions()
        await state.approve(first, always=True)
        result = await one.run(agent, state)

        assert [each.call_id for each in result.interruptions] == ["c2", "c3"]
        assert done == ["+one"]


async def test_whether_a_call_needs_approval_is_asked_for_agents_inside_as_well(play: Open) -> None:
    sent, asked = list[str](), list[object]()

    async def to_strangers(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        asked.append((context.context, arguments, call_id))
        return bool(arguments["to"] != "ana")

    turns = {
        "boss": [Turn(Call("clerk", {"input": "x"}, "o1"))],
        "clerk": [Turn(Call("send_mail", {"to": "ana"}, "i1"), Call("send_mail", {"to": "eve"}, "i2"))],
    }
    async with play(said_by(turns)) as one:
        clerk = Agent[Any]("Clerk", "clerk", tools=[mailer(sent, needs_approval=to_strangers)])
        agent = Agent[Any]("Boss", "boss", tools=[clerk.as_tool()], proxy=one.stage.approval_proxy())
        result = await one.run(agent, "Go.", context="mine")

        assert [each.call_id for each in result.interruptions] == ["i2"]
        assert sent == ["ana"]
        assert sorted(asked, key=str) == [("mine", {"to": "ana"}, "i1"), ("mine", {"to": "eve"}, "i2")]


# -- after the call


async def test_a_run_that_fails_after_an_approved_call_ran_does_not_run_it_again(play: Open, stage: Stage) -> None:
    name, sent = thing(), list[str]()
    turn = Turn(*writes(name), Call("send_mail", {"to": name}, "c-mail"))
    async with play([turn, Turn(Text("done"))], faults=(None, Refuse(401))) as one:
        agent = one.agent(tools=[mailer(sent)])
        result = await one.run(agent, "Go.")
        await one.approve_all()
        with pytest.raises(ModelError) as raised:
            await one.again(agent, result)
        assert raised.value.state is not None
        text = raised.value.state.to_string()
        done = await one.run(agent, await RunState.from_string(agent, text))

        assert done.final_output == "done"
        assert (stage.spy.executed("write_thing", {"name": name}), sent) == (1, [name])
