"""Calls whose rule says `execute: on_decision`: approved, they run at once, whoever is or is not there to wait.

The result is kept for the agent to fetch. A request that is held open is given a moment to run its call itself, since
its client can see the progress of it; after that any process that has the very server of the call runs it, on a link
of its own. Which process it is, the claim decides.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from holdshort.gate.catalog import Catalog, envelope
from holdshort.gate.exchange import Exchange, Peer
from holdshort.gate.gate import Gate
from holdshort.gate.methods import Era
from holdshort.gate.upstream import Link, Log, Upstream, UpstreamError
from holdshort.gate.visit import refusing, visit
from holdshort.interruption import Interruption, State
from holdshort.policy import Caller
from holdshort.store import Query, Store
from holdshort.wire import Frame

__all__ = ["OnDecision"]

_HEAD_START_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 5.0


class OnDecision:
    """Runs them, for as long as `run()` is entered."""

    def __init__(
        self,
        gate: Gate,
        store: Store,
        upstreams: Mapping[str, Upstream],
        *,
        make_catalog: Callable[[str], Catalog],
        groups_of: Callable[[str], frozenset[str]],
        log: Log,
    ) -> None:
        self._gate = gate
        self._store = store
        self._upstreams = upstreams
        self._make_catalog = make_catalog
        self._groups_of = groups_of
        self._log = log
        self._taken: set[str] = set()

    @asynccontextmanager
    async def run(self) -> AsyncGenerator["OnDecision"]:
        """Follow the decisions; also those that were made while nobody was here to run them."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._follow)
            yield self
            tasks.cancel_scope.cancel()

    async def _follow(self, *, task_status: TaskStatus[None]) -> None:
        sequence = await self._store.sequence()
        async with anyio.create_task_group() as tasks, self._store.subscribe(after=sequence) as changes:
            task_status.started()
            cursor: str | None = None
            while True:
                page = await self._store.list(Query(states=frozenset({State.APPROVED}), cursor=cursor))
                for record in page.items:
                    self._consider(record, tasks)
                cursor = page.next_cursor
                if cursor is None:
                    break
            # Ends with the process.
            async for change in changes:
                self._consider(change.interruption, tasks)

    def _consider(self, record: Interruption, tasks: TaskGroup) -> None:
        wanted = record.state is State.APPROVED and record.execute == "on_decision" and not record.is_own
        if wanted and record.server in self._upstreams and record.id not in self._taken:
            self._taken.add(record.id)
            tasks.start_soon(self._take, record)

    async def _take(self, record: Interruption) -> None:
        try:
            await anyio.sleep(_HEAD_START_SECONDS)
            # Until it is not approved any more: run by somebody, withdrawn, or out of time.
            while (record := await self._store.get(record.id)).state is State.APPROVED:
                try:
                    await self._run(record)
                    return
                except UpstreamError as error:
                    self._log.warning("on_decision.waits", interruption=record.id, why=error.reason)
                    await anyio.sleep(_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001
            # It stays approved, and runs when its agent comes back for it.
            self._log.warning("on_decision.failed", interruption=record.id, error=type(error).__name__)
        finally:
            self._taken.discard(record.id)

    async def _run(self, record: Interruption) -> None:
        async with visit(self._upstreams[record.server]) as visited:
            await self._run_on(visited.link, record, visited.peer)

    async def _run_on(self, link: Link, record: Interruption, peer: Peer) -> None:
        asked = record.requested_by
        caller = Caller(asked.agent, self._groups_of(asked.agent), asked.client, asked.client_version)
        params: dict[str, Any] = {"_meta": envelope()} if peer.era is Era.MODERN else {}
        body = {"jsonrpc": "2.0", "id": record.id, "method": "tools/call", "params": params}
        exchange = Exchange(Frame(body), record.server, link, caller, peer, refusing(link), left=True)
        await self._gate.run_alone(exchange, self._make_catalog(record.server), record)
