"""The calls of a realtime session, each on its own way: settled as in any run, waited for, told of.

A call is in the run's data from before it is begun until the reader is done with its `tool_end`, so that a process that
goes on from any saved state brings every call to its one end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio

from holdshort.runner import texts
from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, Item, RunData, Source
from holdshort.runner.errors import ModelBehaviorError, ProxyError, StateError, UserError
from holdshort.runner.hooks import Hooks
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.items import call_id_of
from holdshort.runner.loop import Loop
from holdshort.runner.parked import Parked, parked_calls
from holdshort.runner.realtime.call import LiveCall, Shown, TellingHooks, last_words, may_have_run, passes, patience
from holdshort.runner.realtime.events import Mailbox, RealtimeToolEnd
from holdshort.runner.realtime.feed import Feed
from holdshort.runner.realtime.telling import Telling
from holdshort.runner.settle import settle_call
from holdshort.runner.settling import Desk
from holdshort.runner.toolbox import Toolbox, handoffs_of, open_toolbox
from holdshort.runner.tools import FunctionTool, RunContext
from holdshort.runner.turn import calls_in
from holdshort.runner.waiting import reread

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.job import Job
    from holdshort.runner.realtime.tasks import Tasks

__all__ = ["Calls"]

_HOPELESS_SECONDS: Final = 30.0
"""Between looks at a call that waits, when only somebody else can mend what is wrong."""
_NO_TOOLS: Final = Toolbox({}, {}, None, None, ())


class _Desk(Desk):
    """The desk of one call: by the time that a handoff comes through, another agent may have the session."""

    __slots__ = ()

    def accept(self, call: CallData) -> bool:
        """Let a handoff count, unless its agent does not have the session any more."""
        return call.agent == self.data.agent and Desk.accept(self, call)


class Calls:
    """Every call that is not through."""

    def __init__(
        self,
        job: Job,
        agents: dict[str, Agent[Any]],
        mailbox: Mailbox,
        tasks: Tasks,
        unkept: Callable[[], bool],
    ) -> None:
        """`unkept` says whether the program failed to keep a state: then nothing may go on."""
        self._job = job
        self._data = job.data
        self._agents = agents
        self._telling = Telling(mailbox, agents)
        self._tasks = tasks
        self._unkept = unkept
        self._feed = Feed(tasks.start, lambda problem: self._telling.error(problem, None))
        self._loop = Loop(job, agents, job.data)
        self._limiter = anyio.CapacityLimiter(job.config.max_parallel_tools or math.inf)
        entries = (entry.item for entry in self._data.history)
        self._used = {call_id_of(item) for item in entries} | {call.call_id for call in self._data.calls}

    # -- from the session

    def add(self, item: Item) -> None:
        """Begin a call of the model's.

        Raises:
            ModelBehaviorError: its id was used before.
            UserError: it needs approval, and nobody could give it.
        """
        call_id, name = str(item["call_id"]), str(item["name"])
        if call_id in self._used:
            raise ModelBehaviorError(f"the call id `{call_id}` was used before in this session; nothing was run")
        agent = self._agents[self._data.agent]
        for tool in agent.tools:
            gated = isinstance(tool, FunctionTool) and tool.name == name and tool.needs_approval is True
            if gated and agent.proxy is None and self._agents[self._data.first_agent].proxy is None:
                raise UserError(
                    f"`{name}` needs approval, and agent `{agent.name}` has no proxy that could give it; "
                    "pass `proxy=ApprovalProxy(...)`"
                )
        self._used.add(call_id)
        self._tasks.start(self._carry, LiveCall(item, agent))

    def go_on(self) -> None:
        """Take up the calls of the state that this session goes on from.

        Raises:
            UserError: one waits at a proxy that no agent has.
        """
        parked_calls(self._data, self._agents, self._job.proxy)
        for call in list(self._data.calls):
            begun = call.status is CallStatus.SENT and call.run is None
            self._tasks.start(self._carry, LiveCall(call.item, self._agents[call.agent], call, repeated=begun))

    def shown(self, which: str | Interruption) -> Shown:
        """Return the call that is meant; see `Telling.shown`."""
        return self._telling.shown(which)

    def ring(self, id: str) -> None:  # noqa: A002  # of a record
        """Look at a record again now."""
        self._feed.ring(id)

    def told(self, event: RealtimeToolEnd) -> None:
        """The reader is done with the end of a call: it becomes history."""
        for call in self._data.calls:
            if call.call_id == event.call_id and call.output is not None:
                self._data.calls.remove(call)
                agent = call.agent
                self._data.history += [Entry(call.item, Source.MODEL, agent), Entry(call.output, Source.TOOL, agent)]
                self._tasks.start(self._job.save)
                return

    # -- one call, in a task of its own

    async def _carry(self, live: LiveCall) -> None:
        """Bring a call to its end, however often it has to wait, and tell that once.

        Raises:
            StateError: the state is another one's, or was changed.
            Exception: what the program's `on_state` raised.
        """
        while live.call is None or live.call.is_open:
            try:
                await self._bring_on(live)
            except Exception as problem:
                if self._unkept() or isinstance(problem, StateError):
                    raise
                await self._survive(live, problem)
        if live.call.accepted:
            await self._hand_over(live.call)
        self._telling.end(live, live.call)

    async def _bring_on(self, live: LiveCall) -> None:
        """Settle it as far as it goes, then wait until it goes further."""
        toolbox = await self._toolbox(live.agent, str(live.item.get("name", "")))
        call = live.call or self._take_up(live, toolbox)
        live.tool = toolbox.of(call)
        if call.status is CallStatus.NEW:
            call.status = CallStatus.SENT
            # From here on a process that finds this state cannot know whether it ran.
            await self._job.save()
        desk = await self._desk(live, call)
        if call.kind is CallKind.HANDOFF:
            if call.agent != self._data.agent:
                await desk.finish(call, texts.another_handoff(call.name))
                return
            for other in self._data.calls:
                # What led here is over: this agent hands on in its turn.
                other.accepted = other.accepted and other.agent == call.agent
        async with self._limiter:
            await settle_call(desk, live.tool, call)
        live.trouble, live.patience = None, patience()
        if call.is_open:
            await self._until_decided(live, call)

    def _take_up(self, live: LiveCall, toolbox: Toolbox) -> CallData:
        alone = RunData(run_id=self._data.run_id, agent=live.agent.name, first_agent=self._data.first_agent)
        [live.call] = calls_in([live.item], alone, toolbox, "")
        self._data.calls.append(live.call)
        return live.call

    async def _toolbox(self, agent: Agent[Any], name: str) -> Toolbox:
        """Return the agent's tools; those of the proxy are only looked up where `name` is none of its own."""
        own = await open_toolbox(agent, None, self._job.context)
        link = await self._job.link(agent)
        return own if name in own.named or link is None else await open_toolbox(agent, link, self._job.context)

    async def _desk(self, live: LiveCall, call: CallData) -> Desk:
        job, agent = self._job, self._agents[call.agent]

        def started(context: RunContext[Any], tool: Any) -> None:
            self._telling.start(live, call, tool, str(getattr(context, "arguments", call.arguments)))

        return _Desk(
            agent=agent,
            data=self._data,
            link=await job.link(agent) or await job.link(job.agent),
            context=job.context,
            config=job.config,
            hooks=TellingHooks(job.hooks, agent, started),
            trace=job.trace,
            run_id=self._data.run_id,
            path=(agent.name,),
            saver=job.save,
            inner=self._loop.run_inside,
            earlier=frozenset({call.key} if live.repeated else ()),
            root_rejections=self._data.rejections,
        )

    async def _until_decided(self, live: LiveCall, call: CallData) -> None:
        """Wait until one of what the call waits for is settled; it, or calls of the run inside it."""
        parked = self._parked(call)
        if not parked:
            raise ProxyError(f"the call `{call.call_id}` is neither through nor does it wait for anybody")
        links = [await self._job.links.to(each.proxy) for each in parked]
        endpoints = [link.endpoint for link in links if link is not None]
        with self._feed.over(endpoints, [each.id for each in parked]) as bell:
            # Ends with the session, when nobody decides.
            while call.is_open:
                changes = await reread(parked, self._data.run_id)
                if changes.settled:
                    break
                for each in parked:
                    self._telling.waiting(live, each)
                await bell.rung()
        record = call.interruption or {}
        if call.kind is CallKind.MCP and record.get("state") == "approved":
            self._telling.start(live, call, live.tool, interruption_of(call, (call.agent,)).arguments)

    def _parked(self, call: CallData) -> Sequence[Parked]:
        data = self._data
        alone = RunData(run_id=data.run_id, agent=data.agent, first_agent=data.first_agent, calls=[call])
        return parked_calls(alone, self._agents, self._job.proxy)

    async def _survive(self, live: LiveCall, problem: Exception) -> None:
        """Tell what went wrong, and try again later, or end the call with words for the model."""
        call, call_id = live.call, str(live.item["call_id"])
        passing = passes(problem)
        trouble = "passing" if passing else repr(problem)
        if trouble != live.trouble:
            self._telling.error(problem, call_id)
        live.trouble = trouble
        if call is not None and not call.is_open:
            return
        live.repeated = live.repeated or (call is not None and may_have_run(live, call, problem))
        if call is not None and (call.status in (CallStatus.PARKED, CallStatus.CLAIMED) or self._parked(call)):
            # A person knows of it: it is never given up here.
            live.patience.budget_seconds = math.inf
            await live.patience.pause(0.0 if passing else _HOPELESS_SECONDS)
            return
        if passing and await live.patience.pause():
            return
        call = call or self._take_up(live, _NO_TOOLS)
        desk = await self._desk(live, call)
        await desk.finish(call, last_words(live, call))

    async def _hand_over(self, call: CallData) -> None:
        """Give the session to the agent that a handoff leads to, once."""
        before = self._agents[call.agent]
        given = next((each for each in handoffs_of(before) if each.tool_name == call.name), None)
        if given is not None and self._data.agent == before.name:
            self._data.agent = given.agent.name
            self._telling.handoff(before, given.agent)
            try:
                hooks = Hooks(self._job.hooks, before, given.agent)
                await hooks.handoff(self._job.context, before, given.agent)
                await hooks.agent_start(self._job.context, given.agent)
            except Exception as problem:  # noqa: BLE001  # the handoff counts all the same
                self._telling.error(problem, call.call_id)
        await self._job.save()
