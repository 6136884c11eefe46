"""The tools of one agent at one time, by the names that its model knows them by."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from holdshort.runner.agent import Agent, handoff
from holdshort.runner.data import CallData, CallKind
from holdshort.runner.errors import UserError
from holdshort.runner.mcp_link import McpTool, ProxyLink
from holdshort.runner.tools import (
    AgentTool,
    ApplyPatchTool,
    FunctionTool,
    Handoff,
    HostedMCPTool,
    RawTool,
    RunContext,
    ShellTool,
    Tool,
)

__all__ = ["AnyTool", "Toolbox", "handoffs_of", "open_toolbox"]

AnyTool = Tool | Handoff | McpTool


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What can be called by name, what is called by its kind, and the order in which the model is told."""

    named: dict[str, FunctionTool | AgentTool | Handoff | McpTool]
    hosted: dict[str, HostedMCPTool]
    shell: ShellTool | None
    patch: ApplyPatchTool | None
    listed: tuple[AnyTool, ...]

    def of(self, call: CallData) -> AnyTool | None:
        """Return the tool of a call that was made earlier; None if it is not there any more.

        It is the very one that the proxy is asked about: a name may stand for another tool by now, and a state that was
        tampered with could have one approved and another run.
        """
        found: AnyTool | None
        match call.kind:
            case CallKind.SHELL:
                found = self.shell
            case CallKind.APPLY_PATCH:
                found = self.patch
            case CallKind.HOSTED_MCP:
                return self.hosted.get(call.server)
            case _:
                found = self.named.get(call.name)
        return found if found is not None and _names(found) == (call.kind, call.server, call.tool) else None


def handoffs_of(agent: Agent[Any]) -> list[Handoff]:
    """Return an agent's handoffs, those given as bare agents made into ones."""
    return [each if isinstance(each, Handoff) else handoff(each) for each in agent.handoffs]


async def open_toolbox(agent: Agent[Any], link: ProxyLink | None, context: RunContext[Any]) -> Toolbox:
    """Return the tools of an agent that are enabled now. `link` is its own proxy's, if it has one.

    Raises:
        UserError: two tools have one name.
        ProxyError: the proxy does not list its tools.
    """
    listed: list[AnyTool] = []
    named: dict[str, FunctionTool | AgentTool | Handoff | McpTool] = {}
    hosted: dict[str, HostedMCPTool] = {}
    shell: ShellTool | None = None
    patch: ApplyPatchTool | None = None
    mcp: Iterable[McpTool] = () if link is None else await link.tools()
    for tool in [*agent.tools, *mcp, *handoffs_of(agent)]:
        if isinstance(tool, FunctionTool | AgentTool | Handoff) and not await _enabled(tool, agent, context):
            continue
        listed.append(tool)
        match tool:
            case ShellTool():
                shell = _only(agent, shell, tool)
            case ApplyPatchTool():
                patch = _only(agent, patch, tool)
            case HostedMCPTool():
                _add(agent, hosted, tool.name, tool)
            case RawTool():
                pass
            case Handoff():
                _add(agent, named, tool.tool_name, tool)
            case _:
                _add(agent, named, tool.name, tool)
    return Toolbox(named, hosted, shell, patch, tuple(listed))


async def _enabled(tool: FunctionTool | AgentTool | Handoff, agent: Agent[Any], context: RunContext[Any]) -> bool:
    if isinstance(tool.is_enabled, bool):
        return tool.is_enabled
    said = tool.is_enabled(context, agent)
    return bool(await said if inspect.isawaitable(said) else said)


def _names(tool: AnyTool) -> tuple[CallKind, str, str] | None:
    """Return what a call of a tool is at the proxy: its kind, its server and its name there."""
    match tool:
        case McpTool():
            return CallKind.MCP, tool.server, tool.tool
        case FunctionTool():
            return CallKind.FUNCTION, "local", tool.name
        case AgentTool():
            return CallKind.AGENT, "local", tool.name
        case Handoff():
            return CallKind.HANDOFF, "local", tool.tool_name
        case ShellTool():
            return CallKind.SHELL, "local", CallKind.SHELL.value
        case ApplyPatchTool():
            return CallKind.APPLY_PATCH, "local", CallKind.APPLY_PATCH.value
        case _:
            return None


def _add(agent: Agent[Any], known: dict[str, Any], name: str, tool: AnyTool) -> None:
    if name in known:
        raise UserError(f"agent `{agent.name}` has two tools named `{name}`; give one of them another name")
    known[name] = tool


def _only(agent: Agent[Any], before: Any, tool: Any) -> Any:
    if before is not None:
        raise UserError(f"agent `{agent.name}` has two tools of the kind `{tool.name}`; one is all a model can have")
    return tool
