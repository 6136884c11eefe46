"""Being told what a run does, as it does it. `RunHooks` hear of every agent of a run, `AgentHooks` of one.

A hook that raises ends the run with what it raised. It undoes nothing: a hook that comes after something is called once
that is kept in the state, so going on from there does not do it again. Hooks are not repeated for what lies before the
point that a run is gone on from; `on_agent_start` is not either.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdshort.runner.errors import UserError
from holdshort.runner.tools import RunContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.data import Item

__all__ = ["AgentHooks", "Hooks", "RunHooks"]

TContext = TypeVar("TContext")


class RunHooks(Generic[TContext]):
    """Give one to `Runner.run(hooks=...)`; override what you want to hear of."""

    async def on_agent_start(self, context: RunContext[TContext], agent: Agent[Any]) -> None:
        """`agent` gets the turn: at the beginning, and after a handoff."""

    async def on_agent_end(self, context: RunContext[TContext], agent: Agent[Any], output: Any) -> None:
        """The run ends with this final output of `agent`."""

    async def on_llm_start(
        self, context: RunContext[TContext], agent: Agent[Any], system_prompt: str | None, input_items: list[Item]
    ) -> None:
        """The model is about to be asked."""

    async def on_llm_end(self, context: RunContext[TContext], agent: Agent[Any], response: Any) -> None:
        """The model has answered with `response`, and the state keeps that."""

    async def on_tool_start(self, context: RunContext[TContext], agent: Agent[Any], tool: Any) -> None:
        """`tool` is about to be called, and waits for nobody. `context` is the call's `ToolContext`."""

    async def on_tool_end(self, context: RunContext[TContext], agent: Agent[Any], tool: Any, result: Any) -> None:
        """`tool` was called, and the state keeps `result`: what the model will read."""

    async def on_handoff(self, context: RunContext[TContext], from_agent: Agent[Any], to_agent: Agent[Any]) -> None:
        """`to_agent` takes over."""


class AgentHooks(Generic[TContext]):
    """Give one to `Agent(hooks=...)`; it hears of that agent only."""

    async def on_start(self, context: RunContext[TContext], agent: Agent[Any]) -> None:
        """The agent gets the turn: at the beginning, and after a handoff."""

    async def on_end(self, context: RunContext[TContext], agent: Agent[Any], output: Any) -> None:
        """The run ends with this final output of the agent."""

    async def on_llm_start(
        self, context: RunContext[TContext], agent: Agent[Any], system_prompt: str | None, input_items: list[Item]
    ) -> None:
        """The model is about to be asked."""

    async def on_llm_end(self, context: RunContext[TContext], agent: Agent[Any], response: Any) -> None:
        """The model has answered with `response`, and the state keeps that."""

    async def on_tool_start(self, context: RunContext[TContext], agent: Agent[Any], tool: Any) -> None:
        """`tool` is about to be called, and waits for nobody. `context` is the call's `ToolContext`."""

    async def on_tool_end(self, context: RunContext[TContext], agent: Agent[Any], tool: Any, result: Any) -> None:
        """`tool` was called, and the state keeps `result`: what the model will read."""

    async def on_handoff(self, context: RunContext[TContext], agent: Agent[Any], source: Agent[Any]) -> None:
        """This agent, `source`, hands off to `agent`.

        As the OpenAI Agents SDK 0.24 does it: the agent that hands off is told, not the one that takes over.
        """


class Hooks:
    """The hooks of a run and of its agents in one. Both are told, the run's first; then the first error is raised.

    Call `llm_end` and `tool_end` only after the state that keeps the answer or output was saved: what they raise ends
    the run, and must not take what was done with it.
    """

    def __init__(self, run: RunHooks[Any] | None = None, *agents: Agent[Any]) -> None:
        """Check the hooks of the run, and of those `agents` that are known by now.

        Raises:
            UserError: something is no hooks object.
        """
        self._run: RunHooks[Any] = RunHooks() if run is None else run
        if problem := _problem(self._run, RunHooks):
            raise UserError(f"the hooks of the run are {problem}; those of one agent go to `Agent(hooks=...)`")
        for agent in agents:
            _of(agent)

    async def agent_start(self, context: RunContext[Any], agent: Agent[Any]) -> None:
        """Tell that `agent` gets the turn."""
        await _told(self._run.on_agent_start, (context, agent), _of(agent).on_start, (context, agent))

    async def agent_end(self, context: RunContext[Any], agent: Agent[Any], output: Any) -> None:
        """Tell the final output."""
        both = (context, agent, output)
        await _told(self._run.on_agent_end, both, _of(agent).on_end, both)

    async def llm_start(
        self, context: RunContext[Any], agent: Agent[Any], system_prompt: str | None, input_items: list[Item]
    ) -> None:
        """Tell that the model is about to be asked."""
        both = (context, agent, system_prompt, input_items)
        await _told(self._run.on_llm_start, both, _of(agent).on_llm_start, both)

    async def llm_end(self, context: RunContext[Any], agent: Agent[Any], response: Any) -> None:
        """Tell what the model answered."""
        both = (context, agent, response)
        await _told(self._run.on_llm_end, both, _of(agent).on_llm_end, both)

    async def tool_start(self, context: RunContext[Any], agent: Agent[Any], tool: Any) -> None:
        """Tell that `tool` is about to be called."""
        both = (context, agent, tool)
        await _told(self._run.on_tool_start, both, _of(agent).on_tool_start, both)

    async def tool_end(self, context: RunContext[Any], agent: Agent[Any], tool: Any, result: Any) -> None:
        """Tell what `tool` gave."""
        both = (context, agent, tool, result)
        await _told(self._run.on_tool_end, both, _of(agent).on_tool_end, both)

    async def handoff(self, context: RunContext[Any], from_agent: Agent[Any], to_agent: Agent[Any]) -> None:
        """Tell of a handoff: the run's hooks, and those of the agent that hands off."""
        theirs = (context, to_agent, from_agent)
        await _told(self._run.on_handoff, (context, from_agent, to_agent), _of(from_agent).on_handoff, theirs)


async def _told(first: Any, told_first: tuple[Any, ...], second: Any, told_second: tuple[Any, ...]) -> None:
    failure: Exception | None = None
    for hook, told in ((first, told_first), (second, told_second)):
        try:
            await _call(hook, told)
        except Exception as error:  # noqa: BLE001  # raised below, once both were told
            failure = failure or error
    if failure is not None:
        raise failure


async def _call(hook: Any, told: tuple[Any, ...]) -> None:
    outcome = hook(*told)
    if inspect.isawaitable(outcome):
        await outcome


def _of(agent: Agent[Any]) -> AgentHooks[Any]:
    hooks: AgentHooks[Any] = AgentHooks() if agent.hooks is None else agent.hooks
    if problem := _problem(hooks, AgentHooks):
        raise UserError(f"the hooks of the agent `{agent.name}` are {problem}; those of a run go to `Runner.run`")
    return hooks


def _problem(hooks: object, kind: type[object]) -> str | None:
    if isinstance(hooks, kind):
        return None
    found = f"the class `{hooks.__name__}`" if isinstance(hooks, type) else f"a `{type(hooks).__name__}`"
    return f"{found}, not an instance of a subclass of `{kind.__name__}`"
