"""The store on SQLite: one writer thread, one reading connection for the event loop, one for pages read in workers.

Holds are not waited for on disk: they die with their process anyway.
"""

import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread
import apsw
from uuid_utils import uuid7

from holdshort.errors import HoldshortError
from holdshort.interruption import Deliver, Event, Interruption, State
from holdshort.store import log, queries, tables
from holdshort.store.connection import open_database, open_reader
from holdshort.store.contract import (
    ANY_ROW,
    ANYTHING,
    Change,
    Changes,
    LogEntry,
    LogFilter,
    NewEntry,
    Page,
    Query,
    Quotas,
    Verification,
)
from holdshort.store.folder import DATABASE, create_private_file, prepare_folder
from holdshort.store.owners import forget_dead, hold_lock, is_alive
from holdshort.store.pins import SQLitePins
from holdshort.store.recording import NewRecording
from holdshort.store.schema import check_integrity, migrate
from holdshort.store.sqlite_grants import SQLiteGrants
from holdshort.store.sqlite_recordings import SQLiteRecordings
from holdshort.store.watch import Watch
from holdshort.store.writer import Writer, Written

__all__ = ["DEFAULT_RETENTION", "SQLiteStore", "open_store"]

T = TypeVar("T")

DEFAULT_RETENTION: Final = timedelta(hours=24)
"""How long arguments and results of an ended call are kept, and can be fetched again."""

_PARKED_SECONDS: Final = 0.05
_SWEEP_SECONDS: Final = 1.0
_ENTRIES_AT_ONCE: Final = 500


class SQLiteStore:
    """Implements `contract.Store`; made by `open_store`."""

    def __init__(
        self,
        folder: Path,
        owner: str,
        writer: Writer,
        reader: apsw.Connection,
        archive: apsw.Connection,
        watch: Watch,
        *,
        quotas: Quotas,
        retention: timedelta,
    ) -> None:
        self.owner = owner
        self.pins = SQLitePins(writer, reader)
        self.recordings = SQLiteRecordings(writer, reader)
        self._writer = writer
        self._reader = reader
        self._archive = archive
        self._reading_archive = threading.Lock()
        self._watch = watch
        self._quotas = quotas
        self._retention = retention
        self._is_alive = partial(is_alive, folder)
        self._folder = folder
        self.grants = SQLiteGrants(
            writer, reader, self._in_worker, owner=owner, is_alive=self._is_alive, retention=retention
        )
        self._parked: dict[str, bool] = {}
        """Agents, and whether they have something parked, as last seen."""
        self._parked_until = 0.0
        self._log_head: log.Head | None = None
        """The log's last row as we last wrote it; whether it still is the last, the next insert finds out."""

    async def record(self, entry: NewEntry) -> int:
        try:
            head = self._writer.try_inline(lambda connection: log.append_to(connection, self._log_head, entry))
        except log.HeadMoved:
            head = None
        self._log_head = head
        if head is not None:
            return head[0]

        def work(connection: apsw.Connection) -> Written[int]:
            return Written(log.append(connection, entry))

        return await self._writer.run(work, durable=False)

    async def entries(
        self, *, after: int = 0, limit: int | None = None, where: LogFilter = ANY_ROW
    ) -> AsyncIterator[LogEntry]:
        remaining = limit
        while remaining is None or remaining > 0:
            size = _ENTRIES_AT_ONCE if remaining is None else min(remaining, _ENTRIES_AT_ONCE)
            found = await self._at_leisure(partial(_entries, after=after, limit=size, where=where))
            for entry in found:
                yield entry
            if len(found) < size:
                return
            after = found[-1].sequence
            remaining = None if remaining is None else remaining - len(found)

    async def verify(self) -> Verification:
        return await self._at_leisure(log.verify)

    async def park(
        self, interruption: Interruption, *, holder: str | None = None, recording: NewRecording | None = None
    ) -> Interruption:
        kept = await self._writer.run(
            lambda c: tables.park(c, interruption, holder, self.owner, self._quotas, recording)
        )
        self._parked[kept.requested_by.agent] = True
        return kept

    async def attach(
        self, agent: str, requested_fingerprint: str, holder: str, *, now: datetime
    ) -> Interruption | None:
        if not queries.has_attachable(self._reader, agent, requested_fingerprint):
            return None
        return await self._writer.run(
            lambda c: tables.attach(
                c,
                agent,
                requested_fingerprint,
                holder,
                now=now,
                retention=self._retention,
                owner=self.owner,
                is_alive=self._is_alive,
            ),
            durable=False,
        )

    async def has_parked(self, agent: str) -> bool:
        now = time.monotonic()
        if now >= self._parked_until:
            self._parked.clear()
            self._parked_until = now + _PARKED_SECONDS
        found = self._parked.get(agent)
        if found is None:
            found = self._parked[agent] = queries.has_parked(self._reader, agent)
        return found

    async def detach(self, interruption_id: str, holder: str) -> None:
        await self._writer.run(lambda c: tables.detach(c, interruption_id, holder), durable=False)

    async def apply(self, interruption_id: str, event: Event) -> Interruption:
        # A delivery that the disk forgets is delivered again; anything else must be there before anyone is told.
        durable = not isinstance(event, Deliver)
        return await self._writer.run(lambda c: tables.apply(c, interruption_id, event, self.owner), durable=durable)

    async def get(self, interruption_id: str) -> Interruption:
        return queries.get(self._reader, interruption_id)

    async def list(self, query: Query = ANYTHING) -> Page:
        return await self._in_worker(lambda c: queries.page(c, query))

    async def counts(self) -> Mapping[State, int]:
        return await self._in_worker(queries.counts)

    async def wait_change(self, interruption_id: str, after_revision: int) -> Interruption:
        return await self._watch.wait(interruption_id, after_revision)

    def subscribe(self, *, after: int | None = None) -> Changes:
        return self._subscription(after)

    async def changes_since(self, sequence: int, limit: int = 100) -> Sequence[Change]:
        return await self._in_worker(lambda c: queries.changes(c, sequence, limit))

    async def sequence(self) -> int:
        return queries.latest_change(self._reader)

    async def spend(self, nonce: str, until: datetime) -> bool:
        return await self._writer.run(lambda c: tables.spend(c, nonce, until))

    async def expire_due(self, now: datetime) -> Sequence[Interruption]:
        return await self._writer.run(lambda c: tables.expire_due(c, now))

    async def recover(self, now: datetime) -> Sequence[Interruption]:
        lost = await self._writer.run(lambda c: tables.recover(c, now, self._is_alive))
        await anyio.to_thread.run_sync(forget_dead, self._folder)
        return lost

    async def purge(self, before: datetime, *, now: datetime) -> int:
        erased = 0
        while some := await self._writer.run(lambda c: tables.purge(c, before, now)):
            erased += some
        return erased

    async def sweep(self, clock: Callable[[], datetime]) -> None:
        """Settle what is due for as long as the store is open."""
        while True:
            await anyio.sleep(_SWEEP_SECONDS)
            # Every caller that needs the disk is told by its own call; the next sweep tries again.
            with suppress(HoldshortError):
                await self.settle(clock())

    async def settle(self, now: datetime) -> None:
        """Expire, recover and purge; writes only where there is something to do."""
        if queries.has_due(self._reader, now):
            await self.expire_due(now)
        if queries.has_dead_weight(self._reader, self.owner):
            await self.recover(now)
        if queries.has_purgeable(self._reader, now - self._retention):
            await self.purge(now - self._retention, now=now)
        await self.grants.settle(now)
        await self.recordings.settle(now)

    @asynccontextmanager
    async def _subscription(self, after: int | None) -> AsyncGenerator[AsyncIterator[Change]]:
        # Now means now, not when the first change is asked for.
        changes = self._watch.follow(queries.latest_change(self._reader) if after is None else after)
        try:
            yield changes
        finally:
            await changes.aclose()

    async def _at_leisure(self, read: Callable[[apsw.Connection], T]) -> T:
        """Read something long on a connection of its own, so that no page of the queue waits for it."""

        def alone() -> T:
            connection = open_reader(self._folder / DATABASE)
            try:
                return read(connection)
            finally:
                connection.close()

        return await anyio.to_thread.run_sync(alone)

    async def _in_worker(self, read: Callable[[apsw.Connection], T]) -> T:
        def alone() -> T:
            with self._reading_archive:
                return read(self._archive)

        return await anyio.to_thread.run_sync(alone)


def _entries(connection: apsw.Connection, *, after: int, limit: int, where: LogFilter) -> Sequence[LogEntry]:
    return tuple(log.read(connection, after=after, limit=limit, where=where))


@asynccontextmanager
async def open_store(
    state_dir: Path,
    *,
    clock: Callable[[], datetime],
    quotas: Quotas = Quotas(),  # noqa: B008 (frozen)
    retention: timedelta = DEFAULT_RETENTION,
    sweep: bool = True,
) -> AsyncGenerator[SQLiteStore]:
    """Open the state folder, creating or updating it, settle what dead processes left, and serve until the block ends.

    Raises:
        StateError: the folder or the database cannot be used, is damaged, or is newer than this program.
    """
    async with AsyncExitStack() as stack:
        folder = prepare_folder(state_dir)
        path = folder / DATABASE
        create_private_file(path)
        owner = str(uuid7())
        stack.enter_context(hold_lock(folder, owner))
        connection = open_database(path)
        stack.callback(connection.close)
        migrate(connection)
        check_integrity(connection)
        reader, archive = open_reader(path), open_reader(path)
        stack.callback(reader.close)
        stack.callback(archive.close)
        watch = Watch(reader)
        writer = Writer(path, connection, checkpoint=log.note_checkpoint, on_change=watch.wake)
        writer.start()
        stack.push_async_callback(writer.close)
        store = SQLiteStore(folder, owner, writer, reader, archive, watch, quotas=quotas, retention=retention)
        await store.settle(clock())
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.poll)
            if sweep:
                tasks.start_soon(store.sweep, clock)
            try:
                yield store
            except Exception as error:  # noqa: BLE001
                # Carried out of the task group by hand: nobody wants it wrapped in a group of one.
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
