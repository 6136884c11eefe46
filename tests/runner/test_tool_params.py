"""Each kind of tool as the model's service takes it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from holdshort.runner.agent import Agent, ModelSettings, handoff
from holdshort.runner.mcp_link import McpTool
from holdshort.runner.tool_params import tool_param
from holdshort.runner.tools import ApplyPatchTool, FunctionTool, HostedMCPTool, RawTool, ShellTool
from kit.responses_script import Text, Turn
from runner.model_room import ask, asking, hear

CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


async def nothing(*_: Any) -> str:
    return ""


class Reason(BaseModel):
    """Why."""

    why: str = "because"


def mcp_tool(schema: dict[str, Any], description: str = "Find things.") -> McpTool:
    names: dict[str, Any] = {"name": "docs__find", "server": "docs", "tool": "find", "wire_name": "docs__find"}
    return McpTool(**names, description=description, input_schema=schema)


HELPER: Agent[Any] = Agent("Helper", handoff_description="Knows things.")
PAY = FunctionTool(name="pay", description="Pay.", params_json_schema=CLOSED, on_invoke_tool=nothing)
LOOSE = FunctionTool(
    name="loose",
    description="",
    params_json_schema={"type": "object"},
    on_invoke_tool=nothing,
    strict_json_schema=False,
)
HOSTED = HostedMCPTool(tool_config={"server_label": "docs", "server_url": "https://docs.test"})
CASES: list[tuple[Any, dict[str, Any]]] = [
    (PAY, {"type": "function", "name": "pay", "description": "Pay.", "parameters": CLOSED, "strict": True}),
    (LOOSE, {"type": "function", "name": "loose", "parameters": {"type": "object"}, "strict": False}),
    (
        HELPER.as_tool("ask_helper", "Ask."),
        {
            "type": "function",
            "name": "ask_helper",
            "description": "Ask.",
            "parameters": {**CLOSED, "properties": {"input": {"type": "string"}}, "required": ["input"]},
            "strict": True,
        },
    ),
    (
        handoff(HELPER),
        {
            "type": "function",
            "name": "transfer_to_helper",
            "description": "Hand the conversation over to the agent Helper. Knows things.",
            "parameters": CLOSED,
            "strict": True,
        },
    ),
    (
        handoff(HELPER, tool_name_override="over", tool_description_override="Over.", input_type=Reason),
        {
            "type": "function",
            "name": "over",
            "description": "Over.",
            "parameters": Reason.model_json_schema(),
            "strict": False,
        },
    ),
    (HOSTED, {"type": "mcp", "server_label": "docs", "server_url": "https://docs.test"}),
    (ShellTool(executor=nothing), {"type": "shell", "environment": {"type": "local"}}),
    (ApplyPatchTool(editor=nothing), {"type": "apply_patch"}),
    (RawTool(tool_config={"type": "web_search", "filters": None}), {"type": "web_search", "filters": None}),
    (
        mcp_tool({"type": "object", "properties": {"q": {"type": "string"}}}),
        {
            "type": "function",
            "name": "docs__find",
            "description": "Find things.",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
            "strict": False,
        },
    ),
    (
        mcp_tool({"type": "object"}, ""),
        {"type": "function", "name": "docs__find", "parameters": {"type": "object", "properties": {}}, "strict": False},
    ),
]
IDS = [f"{number}-{type(tool).__name__}" for number, (tool, _) in enumerate(CASES)]


@pytest.mark.parametrize(("tool", "param"), CASES, ids=IDS)
def test_each_kind_has_its_form(tool: Any, param: dict[str, Any]) -> None:
    assert tool_param(tool) == param


async def test_the_service_takes_them_all() -> None:
    tools = [tool_param(tool) for tool, _ in CASES[:-1]]
    async with asking(Turn(Text("hi"))) as (server, client):
        await hear(client, ask(tools=tools, settings=ModelSettings(tool_choice="over")))

    assert server.asked[0].body["tools"] == tools


def test_what_is_made_shares_nothing_with_the_tool() -> None:
    made = tool_param(PAY)
    made["parameters"]["properties"] = {"more": {}}
    tool_param(HOSTED)["server_label"] = "other"

    assert PAY.params_json_schema == CLOSED
    assert HOSTED.tool_config["server_label"] == "docs"
