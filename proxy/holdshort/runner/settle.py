"""From a call to the module that settles its kind, inside a span of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdshort.runner import texts
from holdshort.runner.data import CallData, CallKind
from holdshort.runner.kinds import agents, function, handoff, hosted, mcp, patch, shell
from holdshort.runner.kinds.rejections import rejected_before
from holdshort.runner.mcp_link import McpTool
from holdshort.runner.settling import Desk
from holdshort.runner.tools import AgentTool, ApplyPatchTool, FunctionTool, Handoff, HostedMCPTool, ShellTool

if TYPE_CHECKING:
    from holdshort.runner.toolbox import AnyTool

__all__ = ["settle_call"]


async def settle_call(desk: Desk, tool: AnyTool | None, call: CallData) -> None:
    """Bring a call as far as it goes now: to its output, or to where it waits.

    Raises:
        RunnerError: it cannot be settled now; the call is as open as before.
    """
    span = desk.trace.tool_started(desk.agent.name, call)
    try:
        await _settle(desk, tool, call)
    except Exception as problem:
        span.failed(problem)
        raise
    finally:
        span.settled(call)


async def _settle(desk: Desk, tool: AnyTool | None, call: CallData) -> None:
    if await rejected_before(desk, call):
        return
    match tool:
        case FunctionTool():
            await function.settle(desk, tool, call)
        case AgentTool():
            await agents.settle(desk, tool, call)
        case Handoff():
            await handoff.settle(desk, tool, call)
        case ShellTool():
            await shell.settle(desk, tool, call)
        case ApplyPatchTool():
            await patch.settle(desk, tool, call)
        case HostedMCPTool():
            await hosted.settle(desk, tool, call)
        case McpTool():
            await mcp.settle(desk, tool, call)
        case _:
            if call.kind is CallKind.MCP and desk.link is not None:
                # Not listed any more; whether it ran, the proxy knows.
                await mcp.settle(desk, desk.link.unlisted(call.server, call.tool), call)
            else:
                await desk.finish(call, texts.unknown_tool(call.name))
