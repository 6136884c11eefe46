"""Agents as tools and handoffs: whose turn it is, what waits inside, and that nothing begins twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from holdshort.runner import Agent, RunState, UserError, function_tool, handoff
from holdshort.runner.tools import FunctionTool, ToolContext
from kit.responses_script import Asked, Call, Script, Text, Turn
from runner.conftest import Open
from runner.deciding import decide, decided_all, record_of, records_of
from runner.stage import Play


def mail(sent: list[str], *, needs_approval: bool = True) -> FunctionTool:
    @function_tool(name_override="send_mail", needs_approval=needs_approval)
    def send(to: str) -> str:
        sent.append(to)
        return f"sent to {to}"

    return send


def said_by(scripts: dict[str, list[Turn]]) -> Script:
    """A model that answers by the instructions it gets, each agent with turns of its own."""
    left = {name: list(turns) for name, turns in scripts.items()}

    def turn(asked: Asked) -> Turn:
        return left[str(asked.body["instructions"])].pop(0)

    return Script(turn)


def inner(**more: Any) -> Agent[Any]:
    return Agent("Clerk", "clerk", **more)


def boss(play: Play, **more: Any) -> Agent[Any]:
    return Agent("Boss", "boss", proxy=play.stage.approval_proxy(), **more)


OUTER = [Turn(Call("clerk", {"input": "write to ana"}, "o1")), Turn(Text("all done"))]
CLERK = [Turn(Call("send_mail", {"to": "ana"}, "i1")), Turn(Text("it is sent"))]


async def test_what_waits_inside_an_agent_is_decided_outside(play: Open) -> None:
    sent = list[str]()
    async with play(said_by({"boss": OUTER, "clerk": CLERK})) as one:
        agent = boss(one, tools=[inner(tools=[mail(sent)]).as_tool()])
        result = await one.run(agent, "Go.")

        [waiting] = result.interruptions
        assert (waiting.name, waiting.call_id, waiting.agent_path) == ("send_mail", "i1", ("Boss", "Clerk"))
        assert len(one.model.asked) == 2
        await decided_all(one)
        done = await one.again(agent, result)

        assert (done.final_output, sent) == ("all done", ["ana"])
        assert one.last_outputs() == {"o1": "it is sent"}
        assert len(one.model.asked) == 4
        assert done.usage.requests == 4
        [record] = await records_of(one)
        assert record["requested_by"]["call_id"] == "o1/i1"


async def test_starting_an_agent_may_need_an_approval_of_its_own(play: Open) -> None:
    sent = list[str]()
    async with play(said_by({"boss": OUTER, "clerk": CLERK})) as one:
        tool = inner(tools=[mail(sent)]).as_tool(needs_approval=True)
        agent = boss(one, tools=[tool])
        result = await one.run(agent, "Go.")
        [starting] = result.interruptions
        assert (starting.kind, starting.tool_name, len(one.model.asked)) == ("agent", "clerk", 1)
        [record] = await one.waiting()
        await decide(one, record, "edit", arguments={"input": "write to ben"})
        result = await one.again(agent, result)

        [inside] = result.interruptions
        assert inside.name == "send_mail"
        assert one.inputs()[1] == [{"role": "user", "content": "write to ben"}]
        assert (await record_of(one, "o1"))["state"] == "executed"
        await decided_all(one)
        done = await one.again(agent, result)

        assert (done.final_output, sent) == ("all done", ["ana"])
        told = one.last_outputs()["o1"]
        assert told.startswith("EDITED BEFORE IT RAN")
        assert told.endswith("it is sent")


async def test_an_approved_agent_that_never_waits_is_on_record_with_its_answer(play: Open) -> None:
    sent = list[str]()
    async with play(said_by({"boss": OUTER, "clerk": CLERK})) as one:
        tool = inner(tools=[mail(sent, needs_approval=False)]).as_tool(needs_approval=True)
        agent = boss(one, tools=[tool])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        done = await one.again(agent, result)

        assert (done.final_output, sent) == ("all done", ["ana"])
        record = await record_of(one, "o1")
        assert (record["state"], record["outcome"]["result"]) == ("executed", {"output": "it is sent"})


async def test_a_state_with_an_invented_inner_run_does_not_start_the_agent(play: Open) -> None:
    sent = list[str]()
    async with play(said_by({"boss": OUTER, "clerk": CLERK})) as one:
        tool = inner(tools=[mail(sent, needs_approval=False)]).as_tool(needs_approval=True)
        agent = boss(one, tools=[tool])
        result = await one.run(agent, "Go.")
        forged = json.loads(result.to_state().to_string())
        [call] = forged["run"]["calls"]
        whole = json.loads(json.dumps(forged["run"]))
        call["run"] = {**whole, "agent": "Clerk", "first_agent": "Clerk", "calls": [], "status": "running"}
        call["status"], call["interruption"] = "sent", None
        state = await RunState.from_string(agent, json.dumps(forged))
        again = await one.run(agent, state)

        # Neither gone on with nor begun anew: what such a run did already must not be done once more.
        assert again.interruptions == []
        assert "OUTCOME UNKNOWN" in one.last_outputs()["o1"]
        assert sent == []


async def test_an_agent_in_an_agent_in_an_agent(play: Open) -> None:
    sent = list[str]()
    scripts = {
        "boss": OUTER,
        "clerk": [Turn(Call("typist", {"input": "type"}, "m1")), Turn(Text("typed"))],
        "typist": [Turn(Call("send_mail", {"to": "ana"}, "i1")), Turn(Text("sent"))],
    }
    async with play(said_by(scripts)) as one:
        typist: Agent[Any] = Agent("Typist", "typist", tools=[mail(sent)])
        agent = boss(one, tools=[inner(tools=[typist.as_tool()]).as_tool()])
        result = await one.run(agent, "Go.")
        [waiting] = result.interruptions
        assert waiting.agent_path == ("Boss", "Clerk", "Typist")
        await decided_all(one)
        done = await one.again(agent, result)

        assert (done.final_output, sent) == ("all done", ["ana"])
        [record] = await records_of(one)
        assert record["requested_by"]["call_id"] == "o1/m1/i1"


async def test_an_agent_that_does_not_end_gives_its_caller_words(play: Open) -> None:
    sent = list[str]()
    again = [Turn(Call("send_mail", {"to": "ana"}, f"i{number}")) for number in range(3)]
    async with play(said_by({"boss": OUTER, "clerk": again})) as one:
        tool = inner(tools=[mail(sent, needs_approval=False)]).as_tool(max_turns=2)
        done = await one.run(boss(one, tools=[tool]), "Go.")

        assert (done.final_output, sent) == ("all done", ["ana", "ana"])
        assert one.last_outputs()["o1"].startswith("`clerk` gave no answer: the model was asked 2 times")


class Reply(BaseModel):
    words: str
    count: int


@pytest.mark.parametrize(
    ("extractor", "read"),
    [(None, '{"words":"hi","count":2}'), (lambda reply: reply.words, "hi"), (lambda reply: 1 / 0, "ZeroDivisionError")],
)
async def test_the_caller_reads_the_final_output_or_what_is_taken_from_it(
    play: Open, extractor: Any, read: str
) -> None:
    clerk = [Turn(Text('{"words": "hi", "count": 2}'))]
    async with play(said_by({"boss": OUTER, "clerk": clerk})) as one:
        tool = inner(output_type=Reply).as_tool(custom_output_extractor=extractor)
        await one.run(boss(one, tools=[tool]), "Go.")
        assert read in one.last_outputs()["o1"]


@pytest.mark.parametrize("arguments", ["{}", '{"input": 5}', '{"input": "a", "more": 1}', "{"])
async def test_an_agent_is_not_started_with_bad_arguments(play: Open, arguments: str) -> None:
    turns = [Turn(Call("clerk", arguments, "o1")), Turn(Text("all done"))]
    async with play(said_by({"boss": turns})) as one:
        await one.run(boss(one, tools=[inner().as_tool(needs_approval=True)]), "Go.")
        assert one.last_outputs()["o1"].startswith("NOT EXECUTED: the arguments of `clerk`")
        assert await records_of(one) == []


# -- handoffs

GIVE = Turn(Call("transfer_to_clerk", {}, "h1"))


async def test_a_handoff_gives_the_turn_to_the_other_agent(play: Open) -> None:
    async with play(said_by({"boss": [GIVE], "clerk": [Turn(Text("I am the clerk"))]})) as one:
        done = await one.run(boss(one, handoffs=[inner()]), "Go.")

        assert (done.final_output, done.last_agent.name) == ("I am the clerk", "Clerk")
        assert one.last_outputs() == {"h1": '{"assistant": "Clerk"}'}


async def test_a_handoff_may_need_approval_and_what_it_calls_gets_the_input(play: Open) -> None:
    seen = list[Any]()

    async def heard(context: ToolContext[Any], given: Reply) -> None:
        seen.append((given, context.call_id))

    turns = {
        "boss": [Turn(Call("transfer_to_clerk", {"words": "hi", "count": 1}, "h1"))],
        "clerk": [Turn(Text("I am the clerk"))],
    }
    async with play(said_by(turns)) as one:
        given = handoff(inner(), on_handoff=heard, input_type=Reply, needs_approval=True)
        agent = boss(one, handoffs=[given])
        result = await one.run(agent, "Go.")
        assert [each.kind for each in result.interruptions] == ["handoff"]
        assert seen == []
        await decided_all(one, "edit", arguments={"words": "hello", "count": 1})
        done = await one.again(agent, result)

        assert (done.final_output, seen) == ("I am the clerk", [(Reply(words="hello", count=1), "h1")])
        assert one.last_outputs()["h1"].endswith('{"assistant": "Clerk"}')
        assert (await record_of(one, "h1"))["state"] == "executed"


async def test_a_rejected_handoff_leaves_the_turn_where_it_is(play: Open) -> None:
    async with play(said_by({"boss": [GIVE, Turn(Text("then I do it"))]})) as one:
        agent = boss(one, handoffs=[handoff(inner(), needs_approval=True)])
        result = await one.run(agent, "Go.")
        await decided_all(one, "reject", message="stay")
        done = await one.again(agent, result)

        assert (done.final_output, done.last_agent.name) == ("then I do it", "Boss")
        assert "stay" in one.last_outputs()["h1"]


async def test_of_several_handoffs_one_counts_and_the_others_are_told(play: Open) -> None:
    turn = Turn(Call("transfer_to_clerk", {}, "h1"), Call("transfer_to_cook", {}, "h2"))
    async with play(said_by({"boss": [turn], "clerk": [Turn(Text("the clerk"))]})) as one:
        agent = boss(one, handoffs=[inner(), Agent("Cook", "cook")])
        done = await one.run(agent, "Go.")

        assert done.final_output == "the clerk"
        outputs = one.last_outputs()
        assert outputs["h1"] == '{"assistant": "Clerk"}'
        assert "another handoff" in outputs["h2"]


async def test_a_handoff_that_waits_steps_aside_for_one_that_does_not(play: Open) -> None:
    turn = Turn(Call("transfer_to_clerk", {}, "h1"), Call("transfer_to_cook", {}, "h2"))
    async with play(said_by({"boss": [turn], "cook": [Turn(Text("the cook"))]})) as one:
        cook: Agent[Any] = Agent("Cook", "cook")
        agent = boss(one, handoffs=[handoff(inner(), needs_approval=True), cook])
        done = await one.run(agent, "Go.")

        assert done.final_output == "the cook"
        assert await one.waiting() == []
        assert "another handoff" in one.last_outputs()["h1"]


async def test_of_two_handoffs_that_wait_the_approved_one_counts_and_the_other_is_taken_back(play: Open) -> None:
    turn = Turn(Call("transfer_to_clerk", {}, "h1"), Call("transfer_to_cook", {}, "h2"))
    async with play(said_by({"boss": [turn], "cook": [Turn(Text("the cook"))]})) as one:
        both = [handoff(inner(), needs_approval=True), handoff(Agent("Cook", "cook"), needs_approval=True)]
        agent = boss(one, handoffs=both)
        result = await one.run(agent, "Go.")
        await decide(one, await record_of(one, "h2"))
        done = await one.again(agent, result)

        assert (done.final_output, done.last_agent.name) == ("the cook", "Cook")
        assert (await record_of(one, "h1"))["state"] == "withdrawn"
        assert "another handoff" in one.last_outputs()["h1"]


async def test_a_handoff_whose_function_fails_does_not_count(play: Open) -> None:
    def broken(context: Any) -> None:
        raise ValueError("nobody home")

    async with play(said_by({"boss": [GIVE, Turn(Text("then I do it"))]})) as one:
        agent = boss(one, handoffs=[handoff(inner(), on_handoff=broken)])
        done = await one.run(agent, "Go.")

        assert (done.final_output, done.last_agent.name) == ("then I do it", "Boss")
        assert "nobody home" in one.last_outputs()["h1"]


async def test_a_handoff_with_input_that_is_not_of_its_type_does_not_count(play: Open) -> None:
    turn = Turn(Call("transfer_to_clerk", {"words": 5}, "h1"))
    async with play(said_by({"boss": [turn, Turn(Text("then I do it"))]})) as one:
        given = handoff(inner(), on_handoff=lambda context, reply: None, input_type=Reply, needs_approval=True)
        done = await one.run(boss(one, handoffs=[given]), "Go.")

        assert done.final_output == "then I do it"
        assert "`words`: Input should be a valid string" in one.last_outputs()["h1"]
        assert await records_of(one) == []


async def test_a_filter_says_what_the_next_agent_sees(play: Open) -> None:
    def only_users(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in items if item.get("role") == "user"]

    async with play(said_by({"boss": [GIVE], "clerk": [Turn(Text("the clerk"))]})) as one:
        given = handoff(inner(), input_filter=only_users)
        done = await one.run(boss(one, handoffs=[given]), "Go.")

        assert done.final_output == "the clerk"
        assert one.inputs()[-1] == [{"role": "user", "content": "Go."}]


async def test_a_filter_that_parts_a_call_from_its_output_is_an_error(play: Open) -> None:
    def without_outputs(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in items if item.get("type") != "function_call_output"]

    async with play(said_by({"boss": [GIVE], "clerk": [Turn(Text("the clerk"))]})) as one:
        given = handoff(inner(), input_filter=without_outputs)
        with pytest.raises(UserError, match="h1"):
            await one.run(boss(one, handoffs=[given]), "Go.")
        assert len(one.model.asked) == 1
