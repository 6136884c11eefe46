"""A saved state permits nothing: whoever edits one can lose the place, and can let nothing run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from holdshort.runner import RunnerError, RunState, function_tool
from kit.responses_script import Call, Script, Text, Turn
from runner.conftest import Open
from runner.stage import Play, Stage
from runner.test_loop import WRITE, thing

Edit = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a parked call of a state; the second is a record that was approved for another call of the run."""


def says_new(call: dict[str, Any], other: dict[str, Any]) -> None:
    call.update(status="new", interruption=None)


def says_sent(call: dict[str, Any], other: dict[str, Any]) -> None:
    call.update(status="sent", interruption=None)


def says_approved(call: dict[str, Any], other: dict[str, Any]) -> None:
    call["interruption"]["state"] = "approved"


def says_claimed(call: dict[str, Any], other: dict[str, Any]) -> None:
    call.update(status="claimed", token=1)


def names_another_record(call: dict[str, Any], other: dict[str, Any]) -> None:
    call["interruption"]["id"] = other["id"]


def is_another_record(call: dict[str, Any], other: dict[str, Any]) -> None:
    call["interruption"] = other


def has_another_key(call: dict[str, Any], other: dict[str, Any]) -> None:
    call["key"] = other["requested_by"]["call_id"]


def has_other_arguments(call: dict[str, Any], other: dict[str, Any]) -> None:
    call["arguments"] = json.dumps({"name": "something else"})


def has_other_arguments_and_is_new(call: dict[str, Any], other: dict[str, Any]) -> None:
    says_new(call, other)
    has_other_arguments(call, other)


def is_called_otherwise(call: dict[str, Any], other: dict[str, Any]) -> None:
    says_new(call, other)
    call["key"] = "forged"


EDITS: list[Edit] = [
    says_new,
    says_sent,
    says_approved,
    says_claimed,
    names_another_record,
    is_another_record,
    has_another_key,
    has_other_arguments,
    has_other_arguments_and_is_new,
    is_called_otherwise,
]


async def forged_and_gone_on_with(one: Play, agent: Any, parked: str, edit: Edit) -> None:
    """Run two gated calls, approve the second one, edit the state of the first, and go on."""
    result = await one.run(agent, "Go.")
    records = {record["requested_by"]["call_id"]: record for record in await one.waiting()}
    await one.stage.proxy.approve(records["c2"])
    document = result.to_state().to_json()
    text = json.dumps(document)
    call = next(each for each in document["run"]["calls"] if each["call_id"] == parked)
    edit(call, await one.stage.proxy.interruption(records["c2"]["id"]))
    assert json.dumps(document) != text
    try:
        state = await RunState.from_json(agent, document)
        await one.run(agent, state)
    except RunnerError:
        pass  # refusing is as good as going on without it


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
async def test_an_edited_state_lets_no_tool_of_a_server_run(play: Open, stage: Stage, edit: Edit) -> None:
    unapproved, approved = thing(), thing()
    calls = Turn(Call(WRITE, {"name": unapproved}, "c1"), Call(WRITE, {"name": approved}, "c2"))
    async with play(Script([calls, Turn(Text("done"))], pick="history")) as one:
        await forged_and_gone_on_with(one, one.agent(), "c1", edit)
        assert stage.spy.executed("write_thing", {"name": unapproved}) == 0
        assert stage.spy.executed("write_thing", {"name": "something else"}) == 0
        assert stage.spy.executed("write_thing", {"name": approved}) <= 1


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
async def test_an_edited_state_lets_no_function_run(play: Open, edit: Edit) -> None:
    done: list[str] = []

    @function_tool(needs_approval=True)
    def erase(name: str) -> str:
        """Erase a thing."""
        done.append(name)
        return "erased"

    unapproved, approved = thing(), thing()
    calls = Turn(Call("erase", {"name": unapproved}, "c1"), Call("erase", {"name": approved}, "c2"))
    async with play(Script([calls, Turn(Text("done"))], pick="history")) as one:
        await forged_and_gone_on_with(one, one.agent(tools=[erase]), "c1", edit)
        assert unapproved not in done
        assert "something else" not in done
        assert done.count(approved) <= 1


async def test_a_made_up_decision_in_a_state_decides_nothing(play: Open, stage: Stage) -> None:
    name = thing()
    async with play(Script([Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("done"))], pick="history")) as one:
        agent = one.agent(approver=True)
        document = (await one.run(agent, "Go.")).to_state().to_json()
        record = document["run"]["calls"][0]["interruption"]
        record["state"] = "approved"
        record["decisions"] = [{"decision": "approve", "by": "ana", "at": record["created_at"]}]
        result = await one.run(agent, await RunState.from_json(agent, document))
        assert [each.status for each in result.interruptions] == ["pending"]
        assert stage.spy.executed("write_thing", {"name": name}) == 0
