"""A realtime session from its first saved state to its last event: what is opened for it is closed again."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import uuid_utils

from holdshort.runner.data import RunStatus
from holdshort.runner.hooks import Hooks
from holdshort.runner.interruption import interruption_of
from holdshort.runner.realtime.calls import Calls
from holdshort.runner.realtime.events import Mailbox, RealtimeSessionEnded
from holdshort.runner.realtime.tasks import Tasks

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.job import Job
    from holdshort.runner.proxy import ApprovalProxy
    from holdshort.runner.state import RunState

__all__ = ["Life"]

_GRACE_SECONDS: Final = 10.0
"""How long what must be said at the end may take."""


class Life:
    """The tasks and connections of one session."""

    def __init__(self, job: Job, agents: dict[str, Agent[Any]], mailbox: Mailbox) -> None:
        self.job = job
        self.calls: Calls | None = None
        """None until it has begun."""
        self.finished = False
        self._agents = agents
        self._mailbox = mailbox
        self._tasks: Tasks | None = None
        self._finishing = anyio.Lock()
        self._unkept: Exception | None = None
        self._on_state = job.on_state
        if job.on_state is not None:
            job.on_state = self._keep

    @property
    def is_open(self) -> bool:
        """Whether calls are taken."""
        return self.calls is not None and self._tasks is not None and not self._tasks.stopped

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Begin, and end whatever was begun.

        Raises:
            Exception: what the block raised, as it is; or what ended the session from inside.
        """
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

    async def close(self) -> None:
        """End it within the block.

        Raises:
            Exception: what the program's `on_state` raised.
        """
        if self._tasks is not None:
            self._tasks.stop()
            await self._tasks.ended()
        await self._finish(None)

    async def _begin(self, tasks: Tasks) -> None:
        """Claim the session where it is gone on with, send what was decided, and take up its calls."""
        job, data = self.job, self.job.data
        job.running(True)
        job.trace.begin()
        calls = Calls(job, self._agents, self._mailbox, tasks, lambda: self._unkept is not None)
        data.status = RunStatus.RUNNING
        data.lineage.append(f"{data.revision}:{uuid_utils.uuid7()}")
        # Whoever went on from this state before us has saved a later one, and the program says so here.
        await job.save()
        if job.resumed is not None:
            await job.resumed.submit()
        if not data.started:
            data.started = True
            first = self._agents[data.agent]
            await Hooks(job.hooks, first).agent_start(job.context, first)
        self.calls = calls
        calls.go_on()

    async def _finish(self, problem: Exception | None) -> None:
        """Save for the last time, and end the events; once."""
        async with self._finishing:
            if self.finished:
                return
            self.finished = True
            job, data = self.job, self.job.data
            data.status = RunStatus.WAITING if data.calls else RunStatus.DONE
            try:
                if self._unkept is None and self.calls is not None:
                    await job.save()
            except Exception as raised:
                problem = problem or raised
                raise
            finally:
                job.running(False)
                job.trace.end("failed" if problem else "waiting" if data.calls else "done", problem)
                await job.links.close()
                waiting = tuple(interruption_of(call, path) for call, path in data.open_calls())
                status: Literal["closed", "failed"] = "closed" if problem is None else "failed"
                self._mailbox.close(RealtimeSessionEnded(status=status, interruptions=waiting))

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

    def _proxies(self) -> list[ApprovalProxy]:
        given = self.job.proxy
        proxies = [agent.proxy for agent in self._agents.values()] if given is None else [given]
        return list({id(each): each for each in proxies if each is not None}.values())


def _only(group: BaseExceptionGroup[BaseException]) -> Exception:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            return _only(each)
        if isinstance(each, Exception):
            return each
    raise group
