"""Standing grants on SQLite: those with uses left are kept in memory, and looked at anew when anybody committed.

There is no timer: whoever asks compares SQLite's own change counter first, which costs microseconds and is never late.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import apsw

from holdshort.policy import Grant
from holdshort.store import grant_tables, grants, queries, tables
from holdshort.store.contract import NewEntry
from holdshort.store.granting import EVERY_GRANT, GrantPage, GrantQuery, Use
from holdshort.store.writer import Writer, Written

__all__ = ["SQLiteGrants"]

T = TypeVar("T")

_Key = tuple[str, str, str]


class _InWorker(Protocol):
    def __call__(self, read: Callable[[apsw.Connection], T]) -> Awaitable[T]: ...


class SQLiteGrants:
    """Implements `granting.GrantStore`; `reader` belongs to the event loop."""

    def __init__(
        self,
        writer: Writer,
        reader: apsw.Connection,
        in_worker: _InWorker,
        *,
        owner: str,
        is_alive: Callable[[str], bool],
        retention: timedelta,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._in_worker = in_worker
        self._owner = owner
        self._is_alive = is_alive
        self._retention = retention
        self._version = -1
        self._seen = 0
        self._kept: dict[_Key, dict[str, Grant]] = {}

    async def candidates(self, agent: str, server: str, tool: str) -> Sequence[Grant]:
        self._look()
        return tuple(self._kept.get((agent, server, tool), {}).values())

    async def use(self, grant: Grant, entry: NewEntry, *, now: datetime, interruption: str | None = None) -> Use:
        def work(connection: apsw.Connection) -> Written[Use]:
            if interruption is not None:
                if tables.was_decided(connection, interruption):
                    return Written(Use.ANSWERED)
            elif tables.has_answer_to_fetch(
                connection,
                entry.agent or "",
                entry.fingerprint or "",
                now=now,
                retention=self._retention,
                owner=self._owner,
                is_alive=self._is_alive,
            ):
                return Written(Use.ANSWERED)
            return grant_tables.use(connection, grant, entry, now)

        return await self._writer.run(work)

    async def revoke(self, grant_id: str, *, by: str, now: datetime) -> Grant:
        return await self._writer.run(lambda c: grant_tables.revoke(c, grant_id, by, now))

    async def get(self, grant_id: str) -> Grant:
        return grants.get(self._reader, grant_id)

    async def list(self, query: GrantQuery = EVERY_GRANT, *, now: datetime) -> GrantPage:
        return await self._in_worker(partial(grants.page, query=query, now=now))

    async def erase(self, before: datetime, *, now: datetime) -> int:
        erased = 0
        while some := await self._writer.run(lambda c: grant_tables.erase(c, before, now)):
            erased += some
        return erased

    async def settle(self, now: datetime) -> None:
        """Erase what has ended for long enough; writes only where there is something to do."""
        if grants.has_erasable(self._reader, now - self._retention):
            await self.erase(now - self._retention, now=now)

    def _look(self) -> None:
        version = queries.version(self._reader)
        if version == self._version:
            return
        latest = grants.latest_change(self._reader)
        if latest != self._seen:
            for grant in grants.changed_since(self._reader, self._seen):
                self._keep(grant)
            self._seen = latest
        self._version = version

    def _keep(self, grant: Grant) -> None:
        key = (grant.agent, grant.server, grant.tool)
        over = grant.scope is None or grant.revoked_at is not None or grant.uses >= grant.max_uses
        if not over:
            self._kept.setdefault(key, {})[grant.id] = grant
            return
        siblings = self._kept.get(key, {})
        siblings.pop(grant.id, None)
        if not siblings:
            self._kept.pop(key, None)
