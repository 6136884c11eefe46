"""Tasks that can be stopped without stopping the block that they run beside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

__all__ = ["Tasks"]


class Tasks:
    """Tasks of one group, each in a scope of its own. The group waits for them, as always."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._scopes: set[anyio.CancelScope] = set()
        self._under_way = 0
        self._idle = anyio.Event()
        self.stopped = False

    def start(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run it beside the block; not at all, once they are stopped."""
        if not self.stopped:
            self._under_way += 1
            self._group.start_soon(self._run, function, arguments)

    def stop(self) -> None:
        """Cancel all of them, and begin no more."""
        self.stopped = True
        for scope in self._scopes:
            scope.cancel()

    async def ended(self) -> None:
        """Wait until all that were stopped have ended. Each ends within the seconds that it is given to clean up."""
        while self._under_way:
            await self._idle.wait()

    def over(self) -> None:
        """Note that the group has ended: those that it never began have too."""
        self._under_way = 0
        self._idle.set()

    async def _run(self, function: Callable[..., Awaitable[object]], arguments: tuple[Any, ...]) -> None:
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                if self.stopped:
                    scope.cancel()
                await function(*arguments)
        finally:
            self._scopes.discard(scope)
            self._under_way -= 1
            if self.stopped and not self._under_way:
                self._idle.set()
