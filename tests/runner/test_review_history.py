"""Histories at their seams: handoffs that filter, sessions that fail, states that say more than is so."""

from __future__ import annotations

from typing import Any

import pytest

from holdshort.runner import (
    Agent,
    Always,
    Runner,
    RunState,
    SQLiteSession,
    StorageError,
    UserError,
    function_tool,
    handoff,
)
from holdshort.runner.data import Item
from kit.responses_script import Call, Script, Text, Turn
from runner.conftest import Open
from runner.deciding import decided_all, record_of
from runner.stage import Play
from runner.test_loop import WRITE, thing


def only_the_user(items: list[Item]) -> list[Item]:
    return [item for item in items if item.get("role") == "user"]


@function_tool
def look_up(name: str) -> str:
    """Look something up."""
    return f"{name} is fine"


def team(play: Play) -> Agent[Any]:
    """An agent that hands over to one that sees the user's words only, and has a tool."""
    expert = play.agent("Expert", tools=[look_up])
    return play.agent("Desk", handoffs=[handoff(expert, tool_name_override="to_expert", input_filter=only_the_user)])


HANDED_OVER = [
    Turn(Call("look_up", {"name": "x"}, "c0"), Call("to_expert", {}, "c1")),
    Turn(Call("look_up", {"name": "ana"}, "c2")),
    Turn(Text("done")),
]


async def test_a_session_gets_what_was_said_after_a_handoff_that_filters(play: Open) -> None:
    turns = [Turn(Call("to_expert", {}, "c1")), *HANDED_OVER[1:]]
    async with play(turns) as one:
        session = SQLiteSession("s")
        result = await one.run(team(one), "Go.", session=session)
        assert result.final_output == "done"
        kinds = [item.get("type", item.get("role")) for item in await session.get_items()]
        pair = ["function_call", "function_call_output"]
        assert kinds == ["user", *pair, *pair, "message"]
        session.close()


async def test_a_stream_tells_of_a_handoff_that_filters(play: Open) -> None:
    async with play([Turn(Call("to_expert", {}, "c1")), *HANDED_OVER[1:]]) as one:
        result = Runner.run_streamed(team(one), "Go.", client=one.client)
        names = [event.name async for event in result.stream_events() if event.type == "run_item_stream_event"]
        assert names.count("handoff_requested") == names.count("handoff_occurred") == 1


class FailsOnce(SQLiteSession):
    """A session whose disk is full once."""

    failures = 1

    async def add_items_once(self, items: Any, *, run_id: str, position: int) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageError("the disk is full")
        await super().add_items_once(items, run_id=run_id, position=position)


async def test_a_handoff_is_not_lost_with_a_session_that_fails(play: Open) -> None:
    async with play([Turn(Call("to_expert", {}, "c1")), *HANDED_OVER[1:]]) as one:
        session = FailsOnce("s")
        agent = team(one)
        streamed = Runner.run_streamed(agent, "Go.", client=one.client, session=session)
        with pytest.raises(StorageError):
            async for _ in streamed.stream_events():
                pass
        result = await Runner.run(agent, streamed.to_state(), client=one.client, session=session)
        assert (result.final_output, result.last_agent.name) == ("done", "Expert")
        kinds = [item.get("type", item.get("role")) for item in await session.get_items()]
        pair = ["function_call", "function_call_output"]
        assert kinds == ["user", *pair, *pair, "message"]
        session.close()


async def test_a_filter_that_fails_leaves_the_handoff_to_be_made(play: Open) -> None:
    def broken(items: list[Item]) -> list[Item]:
        raise ValueError("broken")

    async with play([Turn(Call("to_expert", {}, "c1")), Turn(Text("done"))]) as one:
        expert = one.agent("Expert")

        def desk(chosen: Any) -> Agent[Any]:
            return one.agent("Desk", handoffs=[handoff(expert, tool_name_override="to_expert", input_filter=chosen)])

        streamed = Runner.run_streamed(desk(broken), "Go.", client=one.client)
        with pytest.raises(ValueError, match="broken"):
            async for _ in streamed.stream_events():
                pass
        result = await one.run(desk(only_the_user), streamed.to_state())
        assert (result.final_output, result.last_agent.name) == ("done", "Expert")
        assert one.inputs()[-1] == [{"role": "user", "content": "Go."}]


async def test_a_session_cannot_join_a_run_that_the_service_keeps(play: Open) -> None:
    turns = [Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", auto_previous_response_id=True)
        with pytest.raises(UserError, match="session"):
            await one.again(agent, result, session=SQLiteSession("s"))


async def test_saying_more_to_a_run_that_is_done_is_refused(play: Open) -> None:
    async with play([Turn(Text("done"))]) as one:
        agent = one.agent()
        state = (await one.run(agent, "Go.")).to_state()
        with pytest.raises(UserError, match="to_input_list"):
            state.add_input("And now?")


async def test_a_rejection_for_the_run_does_not_deny_a_call_that_somebody_approved(play: Open) -> None:
    done: list[str] = []

    @function_tool(needs_approval=True)
    def send(to: str) -> str:
        """Send."""
        done.append(to)
        return "sent"

    turns = [Turn(Call("send", {"to": "ana"}, "c1"), Call("send", {"to": "bea"}, "c2")), Turn(Text("done"))]
    async with play(Script(turns, pick="history")) as one:
        agent = one.agent(approver=True, tools=[send])
        result = await one.run(agent, "Go.")
        first, second = result.interruptions
        state = result.to_state()
        await state.approve(first)
        await state.reject(second, always=Always(arguments="any"))
        result = await one.run(agent, state)
        assert (result.final_output, done) == ("done", ["ana"])
        assert "sent" in one.last_outputs()["c1"]


async def test_a_rejection_for_the_run_takes_back_what_still_waits(play: Open) -> None:
    calls = [Call(WRITE, {"name": thing()}, "c1"), Call(WRITE, {"name": thing()}, "c2")]
    async with play(Script([Turn(*calls), Turn(Text("done"))], pick="history")) as one:
        agent = one.agent(approver=True)
        state = (await one.run(agent, "Go.")).to_state()
        await state.reject(state.get_interruptions()[1], always=Always(arguments="any"))
        result = await one.run(agent, state)
        assert result.final_output == "done"
        assert "REJECTED" in one.last_outputs()["c1"]
        assert (await record_of(one, "c1"))["state"] == "withdrawn"


async def test_an_answer_of_nothing_is_the_end(play: Open) -> None:
    async with play([Turn(), Turn(Text("more"))]) as one:
        result = await one.run(one.agent(), "Go.")
        assert result.final_output == ""
        assert len(one.model.asked) == 1


async def test_what_a_filter_leaves_can_be_gone_on_from_after_a_pause(play: Open) -> None:
    turns = [Turn(Call("to_expert", {}, "c1")), Turn(Call(WRITE, {"name": thing()}, "c2")), Turn(Text("done"))]
    async with play(turns) as one:
        agent = team(one)
        session = SQLiteSession("s")
        result = await one.run(agent, "Go.", session=session)
        await decided_all(one)
        state = await RunState.from_string(agent, result.to_state().to_string())
        assert (await one.run(agent, state, session=session)).final_output == "done"
        pair = ["function_call", "function_call_output"]
        kinds = [item.get("type", item.get("role")) for item in await session.get_items()]
        assert kinds == ["user", *pair, *pair, "message"]
        session.close()


async def test_a_state_brings_its_own_proxy_where_the_agent_has_none(play: Open) -> None:
    done: list[str] = []

    @function_tool(needs_approval=True)
    def send(to: str) -> str:
        """Send."""
        done.append(to)
        return "sent"

    async with play([Turn(Call("send", {"to": "ana"}, "c1")), Turn(Text("done"))]) as one:
        result = await one.run(one.agent(tools=[send]), "Go.")
        bare = one.agent(tools=[send], proxy=None)
        text = result.to_state().to_string()
        state = await RunState.from_string(bare, text, proxy=one.stage.approval_proxy(approver=True))
        await state.approve(state.get_interruptions()[0])
        assert (await one.run(bare, state)).final_output == "done"
        assert done == ["ana"]
