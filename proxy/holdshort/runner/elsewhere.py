"""Names of the OpenAI Agents SDK that are not here, and what does the same: for who ports a script by its imports."""

from __future__ import annotations

from typing import Final

__all__ = ["not_here"]

_ITEMS: Final = "all items are `RunItem`; look at `item.type`"
_SERVERS: Final = "MCP servers are named in the proxy's configuration, and `proxy=ApprovalProxy(url)` has their tools"
_TRACES: Final = "spans go to OpenTelemetry; `RunConfig` has `workflow_name`, `group_id` and `tracing_disabled`"
_HOSTED: Final = "give the service's own object: `RawTool({'type': ...})`"
_CLIENT: Final = "give `client=AsyncOpenAI(...)` to `Runner.run`"

_INSTEAD: Final = {
    "AgentOutputSchema": "`OutputSchema(type, strict=...)`",
    "AgentsException": "`RunnerError`",
    "HandoffInputData": "an `input_filter` gets the list of items, and returns one",
    "ToolApprovalItem": "`Interruption`",
    "ToolTimeoutError": "the model is told; the call's outcome counts as unknown",
    **dict.fromkeys(
        [
            *("HandoffCallItem", "HandoffOutputItem", "MCPApprovalRequestItem", "MCPApprovalResponseItem"),
            *("MCPListToolsItem", "MessageOutputItem", "ReasoningItem", "ToolCallItem", "ToolCallOutputItem"),
        ],
        _ITEMS,
    ),
    **dict.fromkeys(["MCPServerSse", "MCPServerStdio", "MCPServerStreamableHttp"], _SERVERS),
    **dict.fromkeys(
        ["add_trace_processor", "custom_span", "gen_trace_id", "set_tracing_disabled", "set_tracing_export_api_key"],
        _TRACES,
    ),
    "trace": _TRACES,
    **dict.fromkeys(["CodeInterpreterTool", "FileSearchTool", "ImageGenerationTool", "WebSearchTool"], _HOSTED),
    **dict.fromkeys(["set_default_openai_api", "set_default_openai_client", "set_default_openai_key"], _CLIENT),
}


def not_here(module: str, name: str) -> Exception:
    """Return what to raise for a name that a module does not have: with what to use instead, where that is known.

    For a known one it is an `ImportError`, because `from ... import` shows no other error's words.
    """
    if (instead := _INSTEAD.get(name)) is not None:
        return ImportError(f"`{name}` is not in `{module}`: {instead}", name=module)
    return AttributeError(f"module `{module}` has no attribute `{name}`")
