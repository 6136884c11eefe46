"""The agents of a run by name: the first one, all it can hand off to, those it calls as tools, and so on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdshort.runner.agent import Agent
from holdshort.runner.data import RunData
from holdshort.runner.errors import UserError
from holdshort.runner.tools import AgentTool, Handoff

__all__ = ["agents_of", "handoff_target", "require_agents"]


def agents_of(agent: Agent[Any]) -> dict[str, Agent[Any]]:
    """Return every agent that a run which begins with `agent` can reach, by name, `agent` first.

    Raises:
        UserError: two of them have one name, so that a saved state could not tell them apart.
    """
    found: dict[str, Agent[Any]] = {}
    waiting = [agent]
    while waiting:
        each = waiting.pop(0)
        known = found.setdefault(each.name, each)
        if known is not each:
            raise UserError(f"two agents are called `{each.name}`; give every agent of a run a name of its own")
        waiting.extend(other for other in _next(each) if found.get(other.name) is not other)
    return found


def require_agents(data: RunData, agent: Agent[Any]) -> None:
    """Check that a saved run is one of `agent`, and that all agents are there that it needs to go on.

    Raises:
        UserError: it is not, or one is missing.
    """
    if data.first_agent != agent.name:
        raise UserError(f"the state is of a run that began with agent `{data.first_agent}`, not `{agent.name}`")
    agents = agents_of(agent)
    for name in _needed(data):
        if name not in agents:
            raise UserError(f"the state needs agent `{name}`, which `{agent.name}` cannot reach")


def handoff_target(given: Agent[Any] | Handoff) -> Agent[Any]:
    """Return the agent that a handoff leads to."""
    return given.agent if isinstance(given, Handoff) else given


def _needed(data: RunData) -> Iterator[str]:
    yield data.agent
    for call in data.calls:
        yield call.agent
        if call.run is not None:
            yield from _needed(call.run)


def _next(agent: Agent[Any]) -> Iterator[Agent[Any]]:
    yield from map(handoff_target, agent.handoffs)
    yield from (tool.agent for tool in agent.tools if isinstance(tool, AgentTool))
