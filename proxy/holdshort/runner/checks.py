"""What a run is put together from is looked at once, before it begins: a mistake has a name, and nothing has happened.

Python takes any object anywhere. A function that is not made a tool yet, a server in the place of an agent's tools or
a misspelt `needs_approval` would else be found in the middle of a run, or by a person who was not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdshort.runner.agent import Agent, ModelSettings
from holdshort.runner.config import RunConfig
from holdshort.runner.errors import UserError
from holdshort.runner.guardrails import InputGuardrail, OutputGuardrail
from holdshort.runner.proxy import ApprovalProxy
from holdshort.runner.tools import (
    AgentTool,
    ApplyPatchTool,
    FunctionTool,
    Handoff,
    HostedMCPTool,
    RawTool,
    ShellTool,
)

__all__ = ["check_agents", "check_config", "check_max_turns"]

_TOOLS = (FunctionTool, AgentTool, HostedMCPTool, ShellTool, ApplyPatchTool, RawTool)
_GATED = (FunctionTool, AgentTool, ShellTool, ApplyPatchTool, Handoff)


def check_agents(first: object) -> None:
    """Look at an agent and at all that it can reach.

    Raises:
        UserError: something is not what its place asks for; the message names agent and place.
    """
    waiting: list[object] = [first]
    seen: set[int] = set()
    while waiting:
        agent = waiting.pop(0)
        if not isinstance(agent, Agent):
            raise UserError(f"a `{type(agent).__name__}` stands where an `Agent` is wanted")
        if id(agent) in seen:
            continue
        seen.add(id(agent))
        for problem in _problems(agent):
            raise UserError(f"agent `{agent.name}`: {problem}")
        waiting += [each.agent if isinstance(each, Handoff) else each for each in agent.handoffs]
        waiting += [tool.agent for tool in agent.tools if isinstance(tool, AgentTool)]


def check_config(config: object) -> None:
    """Look at what goes for a whole run.

    Raises:
        UserError: it is no `RunConfig`, or has something else in it than it should.
    """
    if not isinstance(config, RunConfig):
        raise UserError(f"`run_config` is a `{type(config).__name__}`; make a `RunConfig`")
    for problem in (
        *_unless(config.model, str, "`run_config.model`", "the name of a model"),
        *_unless(config.model_settings, ModelSettings, "`run_config.model_settings`", "a `ModelSettings`"),
        *_guardrails(config),
    ):
        raise UserError(problem)


def check_max_turns(value: object) -> None:
    """Look at how often a model may be asked.

    Raises:
        UserError: it is neither a whole number from 1 on nor None.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UserError(f"`max_turns` is {value!r}; give a whole number from 1 on, or None for no limit")


def _problems(agent: Agent[Any]) -> Iterator[str]:
    given: Any = agent
    if not isinstance(given.name, str) or not given.name:
        yield "its name is no text with something in it"
    if given.instructions is not None and not isinstance(given.instructions, str) and not callable(given.instructions):
        yield f"`instructions` is a `{type(given.instructions).__name__}`; give a text, or a function that makes one"
    yield from _unless(given.model or None, str, "`model`", "the name of a model (and `client=` to `Runner.run`)")
    if not isinstance(given.model_settings, ModelSettings):
        yield f"`model_settings` is a `{type(given.model_settings).__name__}`; make a `ModelSettings`"
    yield from _unless(given.proxy, ApprovalProxy, "`proxy`", "an `ApprovalProxy`")
    for tool in given.tools:
        yield from _tool(tool)
    for other in given.handoffs:
        if not isinstance(other, Agent | Handoff):
            yield f"a `{type(other).__name__}` is among its handoffs; give agents, or `handoff(agent, ...)`"
    for gated in (*given.tools, *given.handoffs):
        if isinstance(gated, _GATED) and not _is_rule(gated.needs_approval):
            name = gated.tool_name if isinstance(gated, Handoff) else gated.name
            yield f"`needs_approval` of `{name}` is {gated.needs_approval!r}; give True, False or a function"
    yield from _guardrails(given)


def _tool(tool: object) -> Iterator[str]:
    if isinstance(tool, _TOOLS):
        return
    what = f"a `{type(tool).__name__}` is among its tools"
    if isinstance(tool, Agent):
        yield f"{what}; give `agent.as_tool(...)`, or name it in `handoffs`"
    elif isinstance(tool, Handoff):
        yield f"{what}; name it in `handoffs`"
    elif isinstance(tool, ApprovalProxy):
        yield f"{what}; give it as `proxy=`"
    elif isinstance(tool, dict):
        yield f"{what}; give `RawTool(...)` of it"
    elif callable(tool):
        yield f"{what}; make it a tool with `function_tool`"
    else:
        yield f"{what}; see `holdshort.runner.Tool` for what can be"


def _guardrails(given: Agent[Any] | RunConfig) -> Iterator[str]:
    for place, kind in (("input_guardrails", InputGuardrail), ("output_guardrails", OutputGuardrail)):
        for each in getattr(given, place):
            if not isinstance(each, kind):
                yield f"a `{type(each).__name__}` is among `{place}`; decorate it with `@{place.removesuffix('s')}`"


def _unless(value: object, kind: type, place: str, wanted: str) -> Iterator[str]:
    if value is not None and not isinstance(value, kind):
        yield f"{place} is a `{type(value).__name__}`; give {wanted}"


def _is_rule(value: object) -> bool:
    return isinstance(value, bool) or callable(value)
