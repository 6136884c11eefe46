"""The session of one realtime agent, as a program has it: calls go in, events come out, decisions are sent."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import uuid_utils

from holdshort.runner.checks import check_agents, check_config
from holdshort.runner.config import RunConfig
from holdshort.runner.data import CallKind, Item, RunData
from holdshort.runner.errors import ModelBehaviorError, StateDamaged, UserError
from holdshort.runner.graph import agents_of, handoff_target, require_agents
from holdshort.runner.hooks import Hooks
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.job import Job, OnState
from holdshort.runner.plain import checked
from holdshort.runner.realtime.decisions import RealtimeDecisions
from holdshort.runner.realtime.events import Mailbox, RealtimeSessionEvent, RealtimeToolEnd
from holdshort.runner.realtime.life import Life
from holdshort.runner.state import RunState
from holdshort.runner.tool_params import tool_param
from holdshort.runner.toolbox import open_toolbox
from holdshort.runner.tools import AgentTool, FunctionTool, RunContext
from holdshort.runner.tracing import RunTrace

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from holdshort.runner.agent import Agent
    from holdshort.runner.hooks import RunHooks
    from holdshort.runner.realtime.calls import Calls

__all__ = ["RealtimeSession"]

_KINDS: Final = frozenset({CallKind.MCP, CallKind.FUNCTION, CallKind.AGENT, CallKind.HANDOFF})
_UNREAD: Final = 1000


class RealtimeSession(RealtimeDecisions):
    """The calls of one realtime agent, for as long as an `async with` block lasts.

    Enter and leave it in one task; everything else may be called from any task of the same event loop. Iterating over
    it yields its events, to one reader at a time. Leaving the block stops what runs: a tool in this process that is in
    the middle of something ends as unknown at the proxy. What waits there goes on waiting.

    The agent may have function tools, agents as tools, handoffs, and a proxy; other kinds are not for realtime models.
    """

    def __init__(
        self,
        agent: Agent[Any],
        *,
        state: RunState | None = None,
        context: Any = None,
        run_id: str | None = None,
        run_config: RunConfig | None = None,
        hooks: RunHooks[Any] | None = None,
        on_state: OnState | None = None,
        client: AsyncOpenAI | None = None,
        max_unread: int = _UNREAD,
    ) -> None:
        """Check the agent; nothing is sent yet.

        Args:
            agent: The one that begins.
            state: Of an earlier session, to go on from: its calls that are not through are taken up again.
            context: Your own object for tools and hooks; it is never saved.
            run_id: The session's id, else one is made. The proxy knows its calls by it: never use one twice.
            run_config: Its `tool_error_formatter`, `max_parallel_tools` and what it says of tracing are used here, and
                everything by agents inside tools.
            hooks: Told of tools and handoffs.
            on_state: Called with a `RunState` at each durable point, before a call goes on; may be async. What it
                raises ends the session, and is raised at the end of the block.
            client: For agents inside tools.
            max_unread: With so many events unread, `tool_called` refuses more calls.

        Raises:
            UserError: a tool is of a kind that realtime models do not have, or agents and state do not fit together.
        """
        config = RunConfig() if run_config is None else run_config
        check_config(config)
        check_agents(agent)
        self._agents = agents_of(agent)
        for each in _speakers(agent):
            _check_tools(each)
        if state is not None:
            require_agents(state.data, agent)
            if run_id not in (None, state.run_id):
                raise UserError(f"the state is of run `{state.run_id}`, not of `{run_id}`; leave `run_id` out")
            _check_calls(state.data)
        data = state.data if state is not None else _fresh(agent, run_id)
        job = Job(
            agent=agent,
            data=data,
            client=client,
            context=RunContext(context, data.run_id, data.usage),
            config=config,
            hooks=hooks,
            session=None,
            on_state=on_state,
            streaming=False,
            trace=RunTrace(config, data, agent),
            resumed=state,
            proxy=None if state is None else state.proxy,
        )
        Hooks(hooks, *self._agents.values())
        self._data = data
        self._max_unread = max_unread
        self._mailbox = Mailbox()
        self._life = Life(job, self._agents, self._mailbox)
        self._block: AbstractAsyncContextManager[None] | None = None
        self._given: RealtimeSessionEvent | None = None

    def __repr__(self) -> str:
        stands = "not entered" if self._block is None else "closed" if self._life.finished else "open"
        return f"RealtimeSession({self.run_id!r}, {stands})"

    @property
    def run_id(self) -> str:
        """Names the session, here and at the proxy."""
        return self._data.run_id

    @property
    def agent(self) -> Agent[Any]:
        """Who has the session: the first agent, until one hands off."""
        return self._agents[self._data.agent]

    @property
    def interruptions(self) -> list[Interruption]:
        """The calls that wait for a person now, those of agents inside tools included."""
        return [interruption_of(call, path) for call, path in self._data.open_calls()]

    def to_state(self) -> RunState:
        """Return where the session stands, to go on from in another: `RealtimeSession(agent, state=...)`."""
        return self._life.job.state()

    async def tools(self) -> list[Item]:
        """Return the agent's tools as the `tools` of a realtime model's session.

        Raises:
            UserError: two have one name.
            ProxyError: the proxy does not list its own.
        """
        _, job = self._open()
        toolbox = await open_toolbox(self.agent, await job.link(self.agent), job.context)
        # These models do not know `strict`.
        return [{key: value for key, value in tool_param(each).items() if key != "strict"} for each in toolbox.listed]

    # -- calls

    def tool_called(self, call_id: str, name: str, arguments: str) -> None:
        """Pass on a function call of the model's. It returns at once; what comes of it is told by events.

        Args:
            call_id: As the model named the call.
            name: Of the function.
            arguments: The JSON text, to the letter.

        Raises:
            ModelBehaviorError: the id was used before, or the call is no plain text; nothing is run.
            UserError: it needs approval that nobody could give, the session is not open, or nobody reads its events.
        """
        calls, _ = self._open()
        if len(self._mailbox) >= self._max_unread:
            raise UserError(
                f"{len(self._mailbox)} events of this session are unread; read them with `async for event in session`"
            )
        item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        if not call_id or not all(isinstance(each, str) for each in (call_id, name, arguments)):  # pyright: ignore[reportUnnecessaryIsInstance]  # a program without a type checker, passing on parsed arguments
            raise ModelBehaviorError("a call is an id, a name and the text of its arguments; nothing was run")
        try:
            checked(item)
        except StateDamaged as problem:
            raise ModelBehaviorError(f"a call of the model's cannot be kept, so nothing was run: {problem}") from None
        calls.add(item)

    # -- events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RealtimeSessionEvent:
        given, self._given = self._given, None
        if isinstance(given, RealtimeToolEnd) and self._life.calls is not None:
            self._life.calls.told(given)
        event = self._given = await self._mailbox.take()
        if event is None:
            raise StopAsyncIteration
        return event

    # -- from the beginning to the end

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise UserError("a session is entered once; go on from its state with another one")
        self._block = self._life.opened()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None if self._block is None else await self._block.__aexit__(kind, error, trace)

    async def close(self) -> None:
        """Stop, and end the events; the block goes on. What waits at the proxy goes on waiting.

        Raises:
            Exception: what `on_state` raised of the last state.
        """
        await self._life.close()

    def _open(self) -> tuple[Calls, Job]:
        calls = self._life.calls
        if calls is None:
            raise UserError("the session is not entered; use `async with RealtimeSession(agent) as session`")
        if not self._life.is_open:
            raise UserError("the session is closed; go on from its state with another one")
        return calls, self._life.job


def _fresh(agent: Agent[Any], run_id: str | None) -> RunData:
    return RunData(
        run_id=run_id or f"run-{uuid_utils.uuid7()}", agent=agent.name, first_agent=agent.name, max_turns=None
    )


def _speakers(agent: Agent[Any]) -> list[Agent[Any]]:
    """Return the agents that can have the session: the first, and those that it, and they, can hand off to."""
    found = [agent]
    for each in found:
        found += [other for other in map(handoff_target, each.handoffs) if other not in found]
    return found


def _check_tools(agent: Agent[Any]) -> None:
    for tool in agent.tools:
        if not isinstance(tool, FunctionTool | AgentTool):
            raise UserError(
                f"agent `{agent.name}` has the tool `{tool.name}`, which realtime models cannot call; give it function "
                "tools, agents as tools, handoffs and a proxy"
            )


def _check_calls(data: RunData) -> None:
    for call in data.calls:
        if call.kind not in _KINDS:
            raise UserError(
                f"the state has a `{call.kind.value}` call, which no realtime model makes; go on with `Runner.run`"
            )
