"""States that were edited around an approval: it is good for the call that it was given for, to the letter."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from holdshort.runner import RunnerError, RunState, function_tool
from holdshort.runner.tools import FunctionTool
from kit.responses_script import Call, Script, Text, Turn
from runner.conftest import Open
from runner.deciding import decided_all
from runner.stage import Play

Edit = Callable[[dict[str, Any]], None]
"""Changes a parked call of a state, `send(to="ana")`, that is approved at the proxy."""


def has_other_arguments(call: dict[str, Any]) -> None:
    call["arguments"] = json.dumps({"to": "mallory"})
    call["item"]["arguments"] = call["arguments"]


def shows_other_arguments(call: dict[str, Any]) -> None:
    has_other_arguments(call)
    call["interruption"]["requested_arguments"] = call["interruption"]["arguments"] = {"to": "mallory"}


def is_of_another_tool(call: dict[str, Any]) -> None:
    call["name"] = call["tool"] = call["item"]["name"] = "wipe"


def is_of_another_tool_under_its_name(call: dict[str, Any]) -> None:
    call["name"] = call["item"]["name"] = "wipe"


def was_sent_for_another_tool_under_its_name(call: dict[str, Any]) -> None:
    call.update(status="sent", interruption=None, name="wipe")


EDITS: list[Edit] = [
    has_other_arguments,
    shows_other_arguments,
    is_of_another_tool,
    is_of_another_tool_under_its_name,
    was_sent_for_another_tool_under_its_name,
]


def recording(done: list[tuple[str, str]], name: str, needs_approval: bool = True) -> FunctionTool:
    @function_tool(name_override=name, needs_approval=needs_approval)
    def act(to: str) -> str:
        """Do it."""
        done.append((name, to))
        return "done"

    return act


async def gone_on_from(one: Play, agent: Any, document: dict[str, Any]) -> None:
    with suppress(RunnerError):  # refusing is as good as going on without it
        await one.run(agent, await RunState.from_json(agent, document))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
async def test_an_approval_is_for_the_tool_and_the_arguments_that_were_shown(play: Open, edit: Edit) -> None:
    done: list[tuple[str, str]] = []
    calls = Turn(Call("send", {"to": "ana"}, "c1"))
    async with play(Script([calls, Turn(Text("done"))], pick="history")) as one:
        agent = one.agent(tools=[recording(done, "send"), recording(done, "wipe")])
        document = (await one.run(agent, "Go.")).to_state().to_json()
        await decided_all(one)
        edit(document["run"]["calls"][0])
        await gone_on_from(one, agent, document)
        assert set(done) <= {("send", "ana")}


async def test_a_call_cannot_be_asked_about_under_the_name_of_a_harmless_tool(play: Open) -> None:
    done: list[tuple[str, str]] = []
    calls = Turn(Call("forbidden_wipe", {"to": "ana"}, "c1"), Call("send", {"to": "bea"}, "c2"))
    async with play(Script([calls, Turn(Text("done"))], pick="history")) as one:
        tools = [recording(done, "forbidden_wipe"), recording(done, "send")]
        agent = one.agent(tools=tools)
        document = (await one.run(agent, "Go.")).to_state().to_json()
        call = document["run"]["calls"][0]
        assert call["status"] == "done"
        call.update(status="new", output=None, interruption=None, tool="look_at", key="forged")
        await gone_on_from(one, agent, document)
        await decided_all(one)
        await gone_on_from(one, agent, document)
        assert ("forbidden_wipe", "ana") not in done


async def test_a_tool_cannot_be_asked_about_as_one_of_another_kind(play: Open) -> None:
    done: list[tuple[str, str]] = []
    async with play(Script([Turn(Call("ask_freely", {"to": "ana"}, "c1")), Turn(Text("done"))], pick="history")) as one:
        agent = one.agent(tools=[recording(done, "ask_freely", needs_approval=False)], proxy=_all(one))
        document = (await one.run(agent, "Go.")).to_state().to_json()
        call = document["run"]["calls"][0]
        assert call["status"] == "parked"
        call.update(kind="agent", status="new", interruption=None, key="forged")
        await gone_on_from(one, agent, document)
        assert done == []


def _all(one: Play) -> Any:
    return one.stage.approval_proxy(ask_about="all")
