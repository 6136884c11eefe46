"""How each kind of tool is told to the model: the `tools` of a request.

The model's service has one form for functions, which MCP tools, agents and handoffs take too, and forms of its own for
what it knows by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from holdshort.runner.tools import AgentTool, ApplyPatchTool, FunctionTool, Handoff, HostedMCPTool, RawTool, ShellTool

if TYPE_CHECKING:
    from holdshort.runner.mcp_link import McpTool

__all__ = ["AGENT_INPUT", "tool_param"]

NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
AGENT_INPUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""What an agent is called with when it is a tool."""


def tool_param(
    tool: FunctionTool | AgentTool | Handoff | HostedMCPTool | ShellTool | ApplyPatchTool | RawTool | McpTool,
) -> dict[str, Any]:
    """Return the tool as one entry of `tools`."""
    match tool:
        case FunctionTool():
            return _function(tool.name, tool.description, tool.params_json_schema, strict=tool.strict_json_schema)
        case AgentTool():
            return _function(tool.name, tool.description, AGENT_INPUT, strict=True)
        case Handoff(input_type=None):
            return _function(tool.tool_name, tool.tool_description, NOTHING, strict=True)
        case Handoff():
            wanted: Any = tool.input_type
            schema = TypeAdapter(wanted).json_schema()
            return _function(tool.tool_name, tool.tool_description, schema, strict=False)
        case HostedMCPTool():
            return {**tool.tool_config, "type": "mcp"}
        case ShellTool():
            # Without an environment the service would run the commands in a container of its own.
            return {"type": "shell", "environment": {"type": "local"}}
        case ApplyPatchTool():
            return {"type": "apply_patch"}
        case RawTool():
            return dict(tool.tool_config)
        case _:
            # A server's schema is nobody's promise to be closed and complete, as `strict` demands. The service refuses
            # an object without `properties`.
            schema = {"type": "object", "properties": {}, **tool.input_schema}
            return _function(tool.name, tool.description, schema, strict=False)


def _function(name: str, description: str | None, schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {"type": "function", "name": name, **about, "parameters": dict(schema), "strict": strict}
