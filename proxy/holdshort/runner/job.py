"""What the runs inside one `Runner.run` share: the program's objects, the open links, and the one way to save."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio

from holdshort.runner.data import RunData
from holdshort.runner.errors import UserError
from holdshort.runner.state import RunState

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from holdshort.runner.agent import Agent
    from holdshort.runner.config import RunConfig
    from holdshort.runner.error_handlers import RunErrorHandlers
    from holdshort.runner.hooks import RunHooks
    from holdshort.runner.mcp_link import ProxyLink
    from holdshort.runner.proxy import ApprovalProxy
    from holdshort.runner.session import Session
    from holdshort.runner.tools import RunContext
    from holdshort.runner.tracing import RunTrace

__all__ = ["Cancellation", "Job", "Links", "OnState"]

OnState = Callable[[RunState], Awaitable[object] | object]


class Cancellation:
    """A wish to stop: at once, or when the turn is over."""

    def __init__(self) -> None:
        self.mode: Literal["immediate", "after_turn"] | None = None
        self._scopes: set[anyio.CancelScope] = set()

    def ask(self, mode: Literal["immediate", "after_turn"]) -> None:
        """Stop. A wish to stop at once is not taken back by one to stop later."""
        if self.mode != "immediate":
            self.mode = mode
        if self.mode == "immediate":
            for scope in self._scopes:
                scope.cancel()

    @contextmanager
    def watched(self) -> Generator[anyio.CancelScope]:
        """A scope that is cancelled when the run is to stop at once. Runs inside of runs have theirs beside it."""
        scope = anyio.CancelScope()
        if self.mode == "immediate":
            scope.cancel()
        self._scopes.add(scope)
        try:
            with scope:
                yield scope
        finally:
            self._scopes.discard(scope)


class Links:
    """The connections to proxies that this run opened; one for each `ApprovalProxy`."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[ApprovalProxy, ProxyLink]] = {}  # the proxy too, so that its id stays its own

    async def to(self, proxy: ApprovalProxy | None) -> ProxyLink | None:
        """Return the link to a proxy; it is opened when first needed."""
        if proxy is None:
            return None
        known = self._open.get(id(proxy))
        if known is None:
            known = self._open[id(proxy)] = (proxy, await proxy.open())
        return known[1]

    async def close(self) -> None:
        """Close what was opened here; a link that the program shares between runs stays open."""
        with anyio.CancelScope(shield=True):
            while self._open:
                _, (_, link) = self._open.popitem()
                await link.close()


@dataclass(slots=True, eq=False)
class Job:
    """One `Runner.run`, pauses before it not included."""

    agent: Agent[Any]
    data: RunData
    client: AsyncOpenAI | None
    context: RunContext[Any]
    config: RunConfig
    hooks: RunHooks[Any] | None
    session: Session | None
    on_state: OnState | None
    streaming: bool
    trace: RunTrace
    error_handlers: RunErrorHandlers = field(default_factory=dict)  # type: ignore[assignment]
    proxy: ApprovalProxy | None = None
    """In place of the agents' own."""
    resumed: RunState | None = None
    """The state that is gone on from."""
    links: Links = field(default_factory=Links)
    cancellation: Cancellation = field(default_factory=Cancellation)
    _holds: bool = False
    _saving: anyio.Lock = field(default_factory=anyio.Lock)

    def running(self, now: bool) -> None:
        """Note that the run goes on, or does not any more.

        Raises:
            UserError: the same state is being gone on from already.
        """
        if self.resumed is None or now is self._holds:
            return
        if now and self.resumed.is_running:
            raise UserError("this state is being gone on from already; load it once more to do so twice")
        self.resumed.is_running = self._holds = now

    def state(self) -> RunState:
        """Return where the run stands, as a state of its own."""
        return RunState(self.agent, copy.deepcopy(self.data), proxy=self.proxy)

    async def link(self, agent: Agent[Any]) -> ProxyLink | None:
        """Return the link to an agent's own proxy; None if it has none."""
        return None if agent.proxy is None else await self.links.to(self.proxy or agent.proxy)

    async def save(self) -> None:
        """Count a durable point and tell the program, which may keep the state; what it raises ends the run."""
        async with self._saving:
            self.data.revision += 1
            if self.on_state is not None:
                said = self.on_state(self.state())
                if inspect.isawaitable(said):
                    await said
