"""Tools that the model's provider calls: always asked about, answered with yes or no, and reported when heard of."""

from __future__ import annotations

from typing import Any

import pytest

from holdshort.runner import Agent, HostedMCPTool, ModelError, RunState, UserError
from kit.responses_faults import Lost, Refuse
from kit.responses_script import Approval, McpCall, McpTools, Text, Turn
from runner.conftest import Open
from runner.deciding import decided_all, record_of, records_of
from runner.stage import Play

TOOLS = McpTools(
    "mail",
    [{"name": "send", "description": "Send a mail.", "input_schema": {"type": "object"}, "annotations": None}],
)


def agent_of(play: Play, **more: Any) -> Agent[Any]:
    config = {
        "type": "mcp",
        "server_label": "mail",
        "server_url": "https://mail.example/mcp",
        "require_approval": "always",
    }
    given: dict[str, Any] = {"proxy": play.stage.approval_proxy(), "tools": [HostedMCPTool(tool_config=config)], **more}
    return Agent("Boss", "boss", **given)


def answered(play: Play) -> list[dict[str, Any]]:
    return [item for item in play.inputs()[-1] if item.get("type") == "mcp_approval_response"]


def asking(*after: Any) -> list[Turn]:
    return [Turn(TOOLS, Approval("mail", "send", {"to": "ana"})), Turn(*after)]


def request_of(play: Play) -> str:
    """The id that the service gave its request."""
    history = play.inputs()[-1]
    return str(next(item["id"] for item in history if item.get("type") == "mcp_approval_request"))


async def test_an_approved_call_is_answered_with_yes_and_its_outcome_is_reported(play: Open) -> None:
    call = McpCall("mail", "send", {"to": "ana"}, "sent")
    async with play(asking(call, Text("done"))) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        [waiting] = result.interruptions
        assert (waiting.kind, waiting.server, waiting.tool_name) == ("hosted_mcp", "mail", "send")
        assert waiting.parsed_arguments == {"to": "ana"}
        [record] = await decided_all(one)
        assert record["definition"]["description"] == "Send a mail."
        done = await one.again(agent, result)

        assert done.final_output == "done"
        request = request_of(one)
        assert answered(one) == [{"type": "mcp_approval_response", "approval_request_id": request, "approve": True}]
        kept = await record_of(one, request)
        assert (kept["state"], kept["outcome"]["result"]) == ("executed", {"output": "sent"})


async def test_a_rejected_call_is_answered_with_no_and_the_reason(play: Open) -> None:
    async with play(asking(Text("done"))) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one, "reject", message="not on a Friday")
        done = await one.again(agent, result)

        assert done.final_output == "done"
        [answer] = answered(one)
        assert answer["approve"] is False
        assert "not on a Friday" in answer["reason"]


@pytest.mark.parametrize(
    ("decision", "more", "told"),
    [
        ("edit", {"arguments": {"to": "ben"}}, '{"to": "ben"}'),
        ("respond", {"content": "I sent it by hand"}, "I sent it by hand"),
    ],
)
async def test_what_the_provider_cannot_be_told_is_answered_with_no(
    play: Open, decision: str, more: Any, told: str
) -> None:
    async with play(asking(Text("done"))) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one, decision, **more)
        await one.again(agent, result)

        [answer] = answered(one)
        assert (answer["approve"], told in answer["reason"]) == (False, True)
        [record] = await records_of(one)
        assert record["state"] == ("failed" if decision == "edit" else "answered")


async def test_a_call_that_the_provider_never_speaks_of_again_is_unknown_when_the_run_ends(play: Open) -> None:
    async with play(asking(Text("done"))) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one)
        done = await one.again(agent, result)

        assert done.final_output == "done"
        [record] = await records_of(one)
        assert record["state"] == "unknown"


class Failed(McpCall):
    """A call that failed at the server."""

    def made(self) -> dict[str, Any]:
        return {
            **McpCall.made(self),
            "output": None,
            "error": {"type": "mcp_tool_execution_error", "content": "no box"},
        }


async def test_a_call_that_failed_at_the_server_is_on_record_as_that(play: Open) -> None:
    async with play(asking(Failed("mail", "send", {"to": "ana"}), Text("done"))) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one)
        done = await one.again(agent, result)

        assert done.final_output == "done"
        [record] = await records_of(one)
        assert record["state"] == "executed"
        kept = await record_of(one, request_of(one))
        assert (kept["outcome"]["kind"], kept["outcome"]["error"]["content"]) == ("tool_error", "no box")


async def test_without_a_proxy_nothing_is_approved(play: Open) -> None:
    async with play(asking(Text("done"))) as one:
        with pytest.raises(UserError, match="proxy"):
            await one.run(agent_of(one, proxy=None), "Go.")
        assert len(one.model.asked) == 1


async def test_a_snapshot_that_is_gone_on_from_twice_says_yes_once(play: Open) -> None:
    call = McpCall("mail", "send", {"to": "ana"}, "sent")
    async with play([*asking(call, Text("done")), Turn(Text("again"))]) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one)
        await one.again(agent, result)
        await one.again(agent, result)

        [answer] = answered(one)
        assert answer["approve"] is False


async def test_an_approval_whose_answer_was_lost_is_taken_back_never_said_twice(play: Open) -> None:
    turns = asking(McpCall("mail", "send", {"to": "ana"}, "sent"), Text("nobody hears this"))
    async with play([*turns, Turn(Text("done"))], faults=(None, Lost())) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one)
        with pytest.raises(ModelError) as raised:
            await one.again(agent, result)
        assert raised.value.state is not None
        assert [answer["approve"] for answer in answered(one)] == [True]
        done = await one.run(agent, await RunState.from_string(agent, raised.value.state.to_string()))

        assert done.final_output == "done"
        [answer] = answered(one)
        assert answer["approve"] is False
        assert "OUTCOME UNKNOWN" in answer["reason"]
        assert (await record_of(one, request_of(one)))["state"] == "unknown"
        assert len(one.model.asked) == 3


async def test_an_approval_that_surely_did_not_arrive_is_said_again(play: Open) -> None:
    call = McpCall("mail", "send", {"to": "ana"}, "sent")
    async with play(asking(call, Text("done")), faults=(None, Refuse(401))) as one:
        agent = agent_of(one)
        result = await one.run(agent, "Go.")
        await decided_all(one)
        with pytest.raises(ModelError) as raised:
            await one.again(agent, result)
        assert raised.value.state is not None
        done = await one.run(agent, await RunState.from_string(agent, one.saved[-1]))

        assert done.final_output == "done"
        assert [answer["approve"] for answer in answered(one)] == [True]
        assert (await record_of(one, request_of(one)))["state"] == "executed"
