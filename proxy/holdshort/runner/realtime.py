"""A realtime agent behind approval: your program keeps the connection to the model, the session keeps its calls.

    async with RealtimeSession(agent) as session:
        connection.session.update({"tools": await session.tools(), ...})
        # in one task:    session.tool_called(item.call_id, item.name, item.arguments)
        # in another:
        async for event in session:
            if event.type == "tool_approval_required":
                show(event.interruption)                       # decided here, on the page, in a chat, ...
            elif event.type == "tool_end":
                await connection.conversation.item.create(item=event.item)

Calls are settled as `Runner` settles them: the proxy decides, remembers, and lets each run once.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import anyio
import uuid_utils

from holdshort.runner.config import RunConfig
from holdshort.runner.data import Item, RunData, RunStatus
from holdshort.runner.errors import ModelBehaviorError, StateDamaged, UserError
from holdshort.runner.graph import agents_of, handoff_target, require_agents
from holdshort.runner.hooks import Hooks
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.job import Job, OnState
from holdshort.runner.plain import checked
from holdshort.runner.realtime_calls import Calls
from holdshort.runner.realtime_decisions import RealtimeDecisions
from holdshort.runner.realtime_events import Mailbox, RealtimeSessionEnded, RealtimeSessionEvent, RealtimeToolEnd
from holdshort.runner.realtime_tasks import Tasks
from holdshort.runner.state import RunState
from holdshort.runner.tool_params import tool_param
from holdshort.runner.toolbox import open_toolbox
from holdshort.runner.tools import AgentTool, FunctionTool, RunContext
from holdshort.runner.tracing import RunTrace

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from holdshort.runner.agent import Agent
    from holdshort.runner.hooks import RunHooks

__all__ = ["RealtimeSession"]

_GRACE_SECONDS: Final = 10.0
"""How long what must be said at the end may take."""
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
        self._agents = agents_of(agent)
        for each in _speakers(agent):
            _check_tools(each)
        if state is not None:
            require_agents(state.data, agent)
            if run_id not in (None, state.run_id):
                raise UserError(f"the state is of run `{state.run_id}`, not of `{run_id}`; leave `run_id` out")
        self._first = agent
        self._state = state
        self._data = state.data if state is not None else _fresh(agent, run_id)
        self._config = run_config or RunConfig()
        self._context = RunContext(context, self._data.run_id, self._data.usage)
        self._hooks = hooks
        self._on_state = on_state
        self._client = client
        self._max_unread = max_unread
        self._unkept: Exception | None = None
        self._mailbox = Mailbox()
        self._given: RealtimeSessionEvent | None = None
        self._job: Job | None = None
        self._calls: Calls | None = None
        self._tasks: Tasks | None = None
        self._finishing = anyio.Lock()
        self._finished = False
        self._block: Any = None

    def __repr__(self) -> str:
        stands = "not entered" if self._calls is None else "closed" if self._finished else "open"
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
        return self._open_job().state()

    async def tools(self) -> list[Item]:
        """Return the agent's tools as the `tools` of a realtime model's session.

        Raises:
            UserError: two have one name.
            ProxyError: the proxy does not list its own.
        """
        job = self._open_job()
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
        if isinstance(given, RealtimeToolEnd) and self._calls is not None:
            self._calls.told(given)
        event = self._given = await self._mailbox.take()
        if event is None:
            raise StopAsyncIteration
        return event

    # -- from the beginning to the end

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise UserError("a session is entered once; go on from its state with another one")
        self._block = self._opened()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        done: bool | None = await self._block.__aexit__(kind, error, trace)
        return done

    async def close(self) -> None:
        """Stop, and end the events; the block goes on. What waits at the proxy goes on waiting."""
        if self._tasks is not None:
            self._tasks.stop()
            await self._tasks.ended()
        await self._finish(None)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        """Everything that has to be ended: connections, tasks, and the events themselves."""
        problem: Exception | None = None
        stack = AsyncExitStack()
        try:
            for proxy in self._proxies():
                await stack.enter_async_context(proxy)
            async with anyio.create_task_group() as group:
                tasks = self._tasks = Tasks(group)
                try:
                    await self._begin(tasks)
                    yield
                except Exception as raised:  # noqa: BLE001  # raised below: the group would wrap it
                    problem = raised
                finally:
                    tasks.stop()
        except BaseExceptionGroup as failed:
            # One task fails the session, by `on_state` or a state that was changed; others were only stopped.
            problem = _only(failed)
        finally:
            if self._tasks is not None:
                self._tasks.over()
            with anyio.move_on_after(_GRACE_SECONDS, shield=True):
                try:
                    await self._finish(problem)
                except Exception as raised:  # noqa: BLE001
                    problem = problem or raised
                finally:
                    await stack.aclose()
        if problem is not None:
            raise problem

    async def _begin(self, tasks: Tasks) -> None:
        """Claim the session where it is gone on with, send what was decided, and take up its calls."""
        data = self._data
        job = self._job = Job(
            agent=self._first,
            data=data,
            client=self._client,
            context=self._context,
            config=self._config,
            hooks=self._hooks,
            session=None,
            on_state=None if self._on_state is None else self._keep,
            streaming=False,
            trace=RunTrace(self._config, data, self._first),
            resumed=self._state,
            proxy=None if self._state is None else self._state.proxy,
        )
        hooks = Hooks(self._hooks, *self._agents.values())
        job.running(True)
        calls = Calls(job, self._agents, self._mailbox, tasks, lambda: self._unkept is not None)
        job.trace.begin()
        data.status = RunStatus.RUNNING
        data.lineage.append(f"{data.revision}:{uuid_utils.uuid7()}")
        # Whoever went on from this state before us has saved a later one, and the program says so here.
        await job.save()
        if self._state is not None:
            await self._state.submit()
        if not data.started:
            data.started = True
            await hooks.agent_start(self._context, self.agent)
        self._calls = calls
        calls.go_on()

    async def _finish(self, problem: Exception | None) -> None:
        """Save for the last time, and end the events."""
        async with self._finishing:
            if self._finished:
                return
            self._finished = True
            job, data = self._job, self._data
            failed: Exception | None = problem
            if job is not None:
                data.status = RunStatus.WAITING if data.calls else RunStatus.DONE
                try:
                    if self._unkept is None and self._calls is not None:
                        await job.save()
                except Exception as raised:
                    failed = failed or raised
                    raise
                finally:
                    job.running(False)
                    job.trace.end("failed" if failed else "waiting" if data.calls else "done", failed)
                    await job.links.close()
                    self._end_events(failed)
            else:
                self._end_events(failed)

    def _end_events(self, problem: Exception | None) -> None:
        status: Literal["closed", "failed"] = "closed" if problem is None else "failed"
        self._mailbox.close(RealtimeSessionEnded(status=status, interruptions=tuple(self.interruptions)))

    async def _keep(self, state: RunState) -> None:
        if self._on_state is None:
            return
        try:
            said = self._on_state(state)
            if inspect.isawaitable(said):
                await said
        except Exception as problem:
            self._unkept = problem
            raise

    def _proxies(self) -> list[Any]:
        given = None if self._state is None else self._state.proxy
        proxies = [given] if given is not None else [agent.proxy for agent in self._agents.values()]
        return list({id(each): each for each in proxies if each is not None}.values())

    def _open_job(self) -> Job:
        if self._job is None:
            raise UserError("the session is not entered; use `async with RealtimeSession(agent) as session`")
        return self._job

    def _open(self) -> tuple[Calls, Job]:
        job = self._open_job()
        if self._calls is None or self._tasks is None or self._tasks.stopped:
            raise UserError("the session is closed; go on from its state with another one")
        return self._calls, job


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


def _only(group: BaseExceptionGroup[BaseException]) -> Exception:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            return _only(each)
        if isinstance(each, Exception):
            return each
    raise group
