"""Tasks that wait for work: to start a task for every message costs more than most messages do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from anyio.abc import TaskGroup

__all__ = ["Crew", "Job"]

_MOST_IDLE: Final = 64

Job = Callable[[], Awaitable[Any]]


class Crew:
    """Workers of one task group. There are as many as there are jobs under way; a few stay for the next ones."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._idle: list[asyncio.Future[Job]] = []

    def hand(self, job: Job) -> None:
        """Have somebody do `job`; jobs begin in the order they are handed out."""
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(job)
                return
        self._tasks.start_soon(self._work, job)

    async def _work(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await job()
            if len(self._idle) >= _MOST_IDLE:
                return
            waiting: asyncio.Future[Job] = loop.create_future()
            self._idle.append(waiting)
            # Ends with the next job, or with the task group.
            job = await waiting
