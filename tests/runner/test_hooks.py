"""Hooks: who hears of what, in which order, and that one that raises takes nothing from the other."""

from __future__ import annotations

from typing import Any

import pytest

from holdshort.runner.agent import Agent
from holdshort.runner.errors import UserError
from holdshort.runner.hooks import AgentHooks, Hooks, RunHooks
from holdshort.runner.tools import RunContext

CONTEXT = RunContext(context=None, run_id="run-1")
METHODS = ("agent_start", "agent_end", "llm_start", "llm_end", "tool_start", "tool_end", "handoff")

Heard = list[tuple[Any, ...]]


class Run(RunHooks[None]):
    """Writes down what the run's hooks are told."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    async def on_agent_start(self, context: RunContext[None], agent: Agent[Any]) -> None:
        self.heard.append(("run", "agent_start", agent.name))

    async def on_agent_end(self, context: RunContext[None], agent: Agent[Any], output: Any) -> None:
        self.heard.append(("run", "agent_end", agent.name, output))

    async def on_llm_start(
        self, context: RunContext[None], agent: Agent[Any], system_prompt: str | None, input_items: list[Any]
    ) -> None:
        self.heard.append(("run", "llm_start", agent.name, system_prompt, input_items))

    async def on_llm_end(self, context: RunContext[None], agent: Agent[Any], response: Any) -> None:
        self.heard.append(("run", "llm_end", agent.name, response))

    async def on_tool_start(self, context: RunContext[None], agent: Agent[Any], tool: Any) -> None:
        self.heard.append(("run", "tool_start", agent.name, tool))

    async def on_tool_end(self, context: RunContext[None], agent: Agent[Any], tool: Any, result: Any) -> None:
        self.heard.append(("run", "tool_end", agent.name, tool, result))

    async def on_handoff(self, context: RunContext[None], from_agent: Agent[Any], to_agent: Agent[Any]) -> None:
        self.heard.append(("run", "handoff", from_agent.name, to_agent.name))


class One(AgentHooks[None]):
    """Writes down what one agent's hooks are told."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    async def on_start(self, context: RunContext[None], agent: Agent[Any]) -> None:
        self.heard.append(("agent", "agent_start", agent.name))

    async def on_end(self, context: RunContext[None], agent: Agent[Any], output: Any) -> None:
        self.heard.append(("agent", "agent_end", agent.name, output))

    async def on_llm_start(
        self, context: RunContext[None], agent: Agent[Any], system_prompt: str | None, input_items: list[Any]
    ) -> None:
        self.heard.append(("agent", "llm_start", agent.name, system_prompt, input_items))

    async def on_llm_end(self, context: RunContext[None], agent: Agent[Any], response: Any) -> None:
        self.heard.append(("agent", "llm_end", agent.name, response))

    async def on_tool_start(self, context: RunContext[None], agent: Agent[Any], tool: Any) -> None:
        self.heard.append(("agent", "tool_start", agent.name, tool))

    async def on_tool_end(self, context: RunContext[None], agent: Agent[Any], tool: Any, result: Any) -> None:
        self.heard.append(("agent", "tool_end", agent.name, tool, result))

    async def on_handoff(self, context: RunContext[None], agent: Agent[Any], source: Agent[Any]) -> None:
        self.heard.append(("agent", "handoff", source.name, agent.name))


async def tell_all(hooks: Hooks, agent: Agent[Any], other: Agent[Any]) -> None:
    """Tell everything there is to tell, once."""
    await hooks.agent_start(CONTEXT, agent)
    await hooks.llm_start(CONTEXT, agent, "Be kind.", [{"role": "user"}])
    await hooks.llm_end(CONTEXT, agent, "answer")
    await hooks.tool_start(CONTEXT, agent, "mail")
    await hooks.tool_end(CONTEXT, agent, "mail", "sent")
    await hooks.handoff(CONTEXT, agent, other)
    await hooks.agent_end(CONTEXT, agent, "the end")


async def test_the_runs_hooks_and_the_agents_own_are_told_the_same_the_runs_first() -> None:
    heard: Heard = []
    agent, other = Agent[Any]("Ops", hooks=One(heard)), Agent[Any]("Sales")

    await tell_all(Hooks(Run(heard), agent, other), agent, other)

    assert heard[::2] == [("run", *told) for _, *told in heard[1::2]]
    assert heard[1::2] == [
        ("agent", "agent_start", "Ops"),
        ("agent", "llm_start", "Ops", "Be kind.", [{"role": "user"}]),
        ("agent", "llm_end", "Ops", "answer"),
        ("agent", "tool_start", "Ops", "mail"),
        ("agent", "tool_end", "Ops", "mail", "sent"),
        ("agent", "handoff", "Ops", "Sales"),
        ("agent", "agent_end", "Ops", "the end"),
    ]


async def test_an_agents_hooks_hear_of_no_other_agent() -> None:
    heard: Heard = []
    agent, other = Agent[Any]("Ops"), Agent[Any]("Sales", hooks=One(heard))

    await tell_all(Hooks(None, agent, other), agent, other)

    assert heard == []


async def test_hooks_that_override_nothing_may_be_told_everything() -> None:
    agent = Agent[Any]("Ops", hooks=AgentHooks())

    await tell_all(Hooks(RunHooks(), agent), agent, agent)


class Breaks(RunHooks[None]):
    """Raises at the end of a tool."""

    async def on_tool_end(self, context: RunContext[None], agent: Agent[Any], tool: Any, result: Any) -> None:
        raise LookupError("the run's")


class BreaksToo(AgentHooks[None]):
    """The same for an agent."""

    async def on_tool_end(self, context: RunContext[None], agent: Agent[Any], tool: Any, result: Any) -> None:
        raise KeyError("the agent's")


async def test_a_hook_that_raises_keeps_the_other_from_nothing_and_the_first_error_is_raised() -> None:
    heard: Heard = []
    one = Agent[Any]("Ops", hooks=One(heard))

    with pytest.raises(LookupError, match="the run's"):
        await Hooks(Breaks(), one).tool_end(CONTEXT, one, "mail", "sent")
    assert heard == [("agent", "tool_end", "Ops", "mail", "sent")]

    both = Agent[Any]("Ops", hooks=BreaksToo())
    with pytest.raises(LookupError, match="the run's"):
        await Hooks(Breaks(), both).tool_end(CONTEXT, both, "mail", "sent")
    with pytest.raises(KeyError, match="the agent's"):
        await Hooks(None, both).tool_end(CONTEXT, both, "mail", "sent")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (AgentHooks(), "a `AgentHooks`, not an instance of a subclass of `RunHooks`"),
        (RunHooks, "the class `RunHooks`, not an instance"),
        ([], "a `list`, not an instance"),
        (lambda: None, "a `function`, not an instance"),
    ],
    ids=["agent hooks", "class", "list", "function"],
)
def test_what_is_no_hooks_object_is_refused_before_the_run(given: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Hooks(given)


def test_the_hooks_of_every_agent_are_looked_at_before_the_run() -> None:
    wrong: Any = RunHooks()

    with pytest.raises(UserError, match=r"the hooks of the agent `Sales` are a `RunHooks`.*go to `Runner.run`"):
        Hooks(None, Agent[Any]("Ops"), Agent[Any]("Sales", hooks=wrong))


def test_every_hook_has_its_counterpart_for_one_agent() -> None:
    run = {name.removeprefix("on_").removeprefix("agent_") for name in vars(RunHooks) if name.startswith("on_")}
    one = {name.removeprefix("on_") for name in vars(AgentHooks) if name.startswith("on_")}

    assert run == one
    assert {name.removeprefix("agent_") for name in METHODS} == run
    assert all(hasattr(Hooks, name) for name in METHODS)
