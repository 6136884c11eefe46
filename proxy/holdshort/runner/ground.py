"""What both halves of a turn stand on: one run, its agents, and what it shares with the runs around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdshort.runner.agent import Agent
from holdshort.runner.data import CallStatus, Entry, RunData, Source
from holdshort.runner.events import RunItemStreamEvent, StreamEvent
from holdshort.runner.hooks import Hooks
from holdshort.runner.items import event_name, handoff_calls, run_item
from holdshort.runner.job import Job
from holdshort.runner.session import add_once
from holdshort.runner.settling import Desk, RunInside
from holdshort.runner.toolbox import Toolbox, handoffs_of, open_toolbox

if TYPE_CHECKING:
    from holdshort.runner.mcp_link import ProxyLink

__all__ = ["Ground", "Stopped"]


class Stopped(Exception):  # it is no error
    """Raised inside when the program wishes the run to stop."""


@dataclass(slots=True, eq=False)
class Ground:
    """One run: the outermost, or one that a tool started."""

    job: Job
    agents: dict[str, Agent[Any]]
    data: RunData
    run_inside: RunInside
    path: tuple[str, ...] = ()
    """Names of the agents around it."""
    outer: str = ""
    """The key of the call that it is inside of."""
    inherited: ProxyLink | None = None
    """Where the agents around it have their calls decided."""
    silent: bool = False
    """Whether the model's last answer was empty, so that nothing in the history shows it."""
    earlier: frozenset[str] = field(init=False)
    """Keys of calls that another process may have begun."""

    def __post_init__(self) -> None:
        sent = (call for call in self.data.calls if call.status is CallStatus.SENT and not call.run)
        self.earlier = frozenset(call.key for call in sent)

    @property
    def agent(self) -> Agent[Any]:
        """Whose turn it is."""
        return self.agents[self.data.agent]

    @property
    def is_outermost(self) -> bool:
        """Whether no other run is around it."""
        return self.data is self.job.data

    def hooks(self) -> Hooks:
        """Return those of the run and of its agents."""
        return Hooks(self.job.hooks, *self.agents.values())

    async def link(self) -> ProxyLink | None:
        """Return where this agent's calls are decided: at its own proxy, or that of the agents around or before it."""
        own = await self.job.link(self.agent)
        job = self.job
        return own or self.inherited or await job.link(job.agent) or await job.links.to(job.proxy)

    async def toolbox(self) -> Toolbox:
        """Return what the agent can call now."""
        return await open_toolbox(self.agent, await self.job.link(self.agent), self.job.context)

    async def desk(self) -> Desk:
        """Return the desk at which calls of the open turn are settled."""
        job = self.job
        return Desk(
            agent=self.agent,
            data=self.data,
            link=await self.link(),
            context=job.context,
            config=job.config,
            hooks=self.hooks(),
            trace=job.trace,
            run_id=job.data.run_id,
            path=(*self.path, self.data.agent),
            saver=job.save,
            inner=self.run_inside,
            earlier=self.earlier,
            root_rejections=job.data.rejections,
        )

    def told(self, entries: Sequence[Entry]) -> list[StreamEvent]:
        """Return the events about what came into the history."""
        names = {each.tool_name for agent in self.agents.values() for each in handoffs_of(agent)}
        handoffs = handoff_calls(self.data.history, names)
        shown = [run_item(entry, handoffs) for entry in entries if entry.source in (Source.MODEL, Source.TOOL)]
        return [RunItemStreamEvent(event_name(item), item) for item in shown]

    async def keep_in_session(self) -> None:
        """Write what is settled into the session, so that no call in it ever lacks its output."""
        session, data = self.job.session, self.data
        if session is None or not self.is_outermost:
            return
        fresh = [entry.item for entry in data.history[data.saved :] if entry.source is not Source.SESSION]
        await add_once(session, fresh, run_id=data.run_id, position=data.written)
        data.saved, data.written = len(data.history), data.written + len(fresh)

    async def watched(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, unless the run is to stop at once.

        Raises:
            Stopped: it is.
        """
        with self.job.cancellation.watched() as scope:
            await work()
        if scope.cancelled_caught:
            raise Stopped

    def stop_if_wished(self) -> None:
        """Raise `Stopped` if the program wishes the run to stop, now or after the turn."""
        if self.job.cancellation.mode is not None:
            raise Stopped
