"""Seeing changes: our own at once, those of other processes by asking SQLite every few milliseconds.

Nobody is handed a change by the one who made it. Whatever the wake-up call, the answer is read from the table in the
order of the log, so every listener in every process sees one order; and while nobody listens, nothing is asked.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Final

import anyio
import apsw

from holdshort.errors import HoldshortError
from holdshort.interruption import Interruption
from holdshort.store import queries
from holdshort.store.contract import Change

__all__ = ["POLL_SECONDS", "Watch"]

POLL_SECONDS: Final = 0.025
"""A quarter of the time within which another process's commit must be seen."""

_AT_ONCE: Final = 200

_Waiter = tuple[int, "asyncio.Future[Interruption]"]


class Watch:
    """Who waits for what, on one event loop; `connection` reads, on this loop only."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[str, list[_Waiter]] = {}
        self._listening = 0
        self._begun = anyio.Event()
        self._moved = anyio.Event()
        self._seen = 0
        self._version = -1

    async def poll(self) -> None:
        """Look out for other processes for as long as the store is open."""
        while True:
            await self._begun.wait()
            while self._listening:
                await anyio.sleep(POLL_SECONDS)
                self._look()

    def wake(self) -> None:
        """Say that this process just committed a change."""
        if self._listening:
            self._pull()

    async def wait(self, interruption_id: str, after_revision: int) -> Interruption:
        """Return the interruption once its revision is greater.

        Raises:
            InterruptionNotFound: no such id.
        """
        with self._listen():
            # First the number from which changes are seen, then the look: what happens in between is not missed.
            current = queries.get(self._connection, interruption_id)
            if current.revision > after_revision:
                return current
            changed: asyncio.Future[Interruption] = self._loop.create_future()
            waiter = (after_revision, changed)
            self._waiters.setdefault(interruption_id, []).append(waiter)
            try:
                return await changed
            finally:
                self._forget(interruption_id, waiter)

    async def follow(self, after: int) -> AsyncGenerator[Change]:
        """Yield later changes for ever; a slow reader is shown fewer stands in between, never an old one."""
        with self._listen():
            while True:
                moved = self._moved
                found = queries.changes(self._connection, after, _AT_ONCE)
                for change in found:
                    yield change
                    after = change.sequence
                if not found:
                    await moved.wait()

    @contextmanager
    def _listen(self) -> Generator[None]:
        if not self._listening:
            self._seen = queries.latest_change(self._connection)
            self._begun.set()
        self._listening += 1
        try:
            yield
        finally:
            self._listening -= 1
            if not self._listening:
                self._begun = anyio.Event()

    def _look(self) -> None:
        try:
            version = queries.version(self._connection)
        except HoldshortError as error:
            self._fail(error)
            return
        if version != self._version:
            self._version = version
            self._pull()

    def _pull(self) -> None:
        try:
            moved = False
            while found := queries.changes(self._connection, self._seen, _AT_ONCE):
                moved = True
                self._seen = found[-1].sequence
                for change in found:
                    self._tell(change.interruption)
        except HoldshortError as error:
            self._fail(error)
            return
        if moved:
            self._rouse()

    def _tell(self, interruption: Interruption) -> None:
        for after_revision, changed in self._waiters.get(interruption.id, ()):
            if interruption.revision > after_revision and not changed.done():
                changed.set_result(interruption)

    def _fail(self, error: HoldshortError) -> None:
        """Whoever waits for a database that cannot be read must hear of it."""
        for waiters in self._waiters.values():
            for _, changed in waiters:
                if not changed.done():
                    changed.set_exception(error)
        self._rouse()

    def _rouse(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    def _forget(self, interruption_id: str, waiter: _Waiter) -> None:
        waiters = self._waiters[interruption_id]
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[interruption_id]
