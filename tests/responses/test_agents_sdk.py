"""The OpenAI Agents SDK, unmodified, has its loop and its approvals against the offline service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.missing import require
from kit.process import running
from kit.responses_faults import Gone
from kit.responses_script import Call, Reasoning, Script, Text, Turn
from kit.responses_server import serving_responses
from kit.venvs import OPENAI_AGENTS, side_python

PROGRAM = Path(__file__).with_name("agents_program.py")
TURNS = [
    Turn(
        Reasoning("Two payments."), Call("pay", {"to": "ana", "amount": 150}), Call("pay", {"to": "ben", "amount": 20})
    ),
    Turn(Call("pay", {"to": "eva", "amount": 500})),
    Turn(Text("all paid")),
]


@pytest.mark.parametrize("how", ["plain", "stream", "chained", "stream+chained", "conversation", "session"])
async def test_an_agent_stops_is_approved_and_goes_on(how: str) -> None:
    async with serving_responses(Script(TURNS)) as model:
        python = require(lambda: side_python(OPENAI_AGENTS))
        with running([str(python), str(PROGRAM), model.url, how]) as agent:
            assert await agent.until_exit(60) == 0, agent.told()
        said: Any = json.loads(agent.stdout_lines[-1])

    assert (said["said"], said["stops"]) == ("all paid", 2), agent.told()
    assert sorted(said["paid"]) == [["ana", 150], ["ben", 20], ["eva", 500]]
    assert [one.status for one in model.asked] == [200, 200, 200]
    second = model.asked[1].body
    outputs = [item["output"] for item in second["input"] if item.get("type") == "function_call_output"]
    assert sorted(outputs) == ["ana got 150", "ben got 20"]
    whole = [item.get("type", "message") for item in second["input"]]
    kept_by_the_service = "chained" in how or how == "conversation"
    assert ("function_call" in whole) is not kept_by_the_service
    if "chained" in how:
        assert second["previous_response_id"] == model.asked[0].response_id
    if how == "session":
        assert said["kept"].count("function_call") == said["kept"].count("function_call_output") == 3


async def test_a_chain_that_is_gone_ends_the_run_with_the_client_s_exception() -> None:
    async with serving_responses(Script(TURNS), [None, Gone()]) as model:
        python = require(lambda: side_python(OPENAI_AGENTS))
        with running([str(python), str(PROGRAM), model.url, "chained"]) as agent:
            assert await agent.until_exit(60) == 1, agent.told()

    gone = f"Previous response with id '{model.asked[0].response_id}' not found."
    assert agent.said(f"^openai.BadRequestError: Error code: 400 - {gone}"), agent.told()
