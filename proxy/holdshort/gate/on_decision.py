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

from holdshort import __version__
from holdshort.gate.catalog import Catalog, envelope
from holdshort.gate.conversation import refusal
from holdshort.gate.exchange import Exchange, Peer
from holdshort.gate.gate import Gate
from holdshort.gate.methods import HANDSHAKE_VERSIONS, MODERN_VERSIONS, Era
from holdshort.gate.upstream import Link, Log, Upstream, UpstreamError, UpstreamProtocol
from holdshort.interruption import Interruption, State
from holdshort.policy import Caller
from holdshort.store import Query, Store
from holdshort.wire import Frame, Kind

__all__ = ["OnDecision"]

_HEAD_START_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 5.0
_HANDSHAKE_SECONDS: Final = 60.0


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
        wanted = record.state is State.APPROVED and record.execute == "on_decision" and record.kind == "mcp"
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
        upstream = self._upstreams[record.server]
        if (await upstream.eras()).modern:
            await self._run_on(upstream.shared(), record, Peer(Era.MODERN, MODERN_VERSIONS[-1]))
            return
        links: list[Link] = []

        async def on_frame(frame: Frame) -> None:
            if links:
                await _refuse(links[0], frame)

        async with upstream.open(on_frame) as link:
            links.append(link)
            version = await _shake_hands(record.server, link)
            await self._run_on(link, record, Peer(Era.LEGACY, version))

    async def _run_on(self, link: Link, record: Interruption, peer: Peer) -> None:
        asked = record.requested_by
        caller = Caller(asked.agent, self._groups_of(asked.agent), asked.client, asked.client_version)
        params: dict[str, Any] = {"_meta": envelope()} if peer.era is Era.MODERN else {}
        body = {"jsonrpc": "2.0", "id": record.id, "method": "tools/call", "params": params}

        async def emit(frame: Frame) -> None:
            await _refuse(link, frame)

        exchange = Exchange(Frame(body), record.server, link, caller, peer, emit, left=True)
        await self._gate.run_alone(exchange, self._make_catalog(record.server), record)


async def _refuse(link: Link, frame: Frame) -> None:
    """Nobody is here to be asked anything, and the handshake said so."""
    if frame.kind is Kind.REQUEST:
        await link.send(refusal(frame))


async def _shake_hands(server: str, link: Link) -> str:
    info = {"name": "holdshort", "version": __version__}
    params = {"protocolVersion": HANDSHAKE_VERSIONS[-1], "capabilities": {}, "clientInfo": info}
    hello = Frame({"jsonrpc": "2.0", "id": "holdshort-initialize", "method": "initialize", "params": params})
    try:
        with anyio.fail_after(_HANDSHAKE_SECONDS):
            reply = await link.request(hello, _ignore)
    except TimeoutError:
        raise UpstreamProtocol(server, "did not answer `initialize`", sent=False) from None
    if "error" in reply.value:
        raise UpstreamProtocol(server, f"refused a session: {reply.value['error']['message']}", sent=False)
    await link.send(Frame({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    return str(reply.value["result"].get("protocolVersion", ""))


async def _ignore(_: Frame) -> None:
    """Nobody waits for what a server says on the way."""
