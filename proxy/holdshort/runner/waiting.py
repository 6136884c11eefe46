"""Waiting for people: how the calls of a run stand at the proxy, read again and again until it is worth going on.

What is believed is only ever what a GET answers. The event stream, and a GET that waits, say when to look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from holdshort.runner.connection import Patience
from holdshort.runner.errors import ProxyError, RunnerError
from holdshort.runner.interruption import Interruption
from holdshort.runner.parked import Parked, endpoints, is_passing, take

if TYPE_CHECKING:
    from holdshort.runner.endpoint import Endpoint

__all__ = ["Changes", "Need", "Via", "changes_of", "reread", "wait_for"]

Need = Literal["any", "all"]
Via = Literal["sse", "poll"]

_AT_ONCE: Final = 8
"""Requests to one proxy at once."""
_POLLS: Final = 4
"""Of them, requests that wait."""
_POLL_SECONDS: Final = 25
_SHORT_POLL_SECONDS: Final = 5
"""Where more calls wait than are polled at once: their turn has to come."""
_LOOK_SECONDS: Final = 30.0
"""How long the stream may tell nothing before the calls are read again: expiry is noticed by looking."""
_ELSEWHERE_SECONDS: Final = 1.0
"""How often a call that runs elsewhere is looked at."""
_LONGEST_PAUSE_SECONDS: Final = 5.0

_STILL: Final = {"pending": "still_pending", "executing": "executing", "expired": "expired"}
_TAKEN_BACK: Final = ("withdrawn", "superseded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How the calls that wait stand, each in one of the first five. `updated` are those that were found changed."""

    decided: Sequence[Interruption] = ()
    """Approved, rejected or answered; also those that ran already, or of which nobody knows whether they did."""
    still_pending: Sequence[Interruption] = ()
    executing: Sequence[Interruption] = ()
    """The proxy, or another process, runs them at this moment."""
    expired: Sequence[Interruption] = ()
    taken_back: Sequence[Interruption] = ()
    """Withdrawn, or superseded because the tool or the policy changed; a superseded one is asked about anew."""
    updated: Sequence[Interruption] = ()

    @property
    def settled(self) -> Sequence[Interruption]:
        """Those that the run can go on with."""
        return (*self.decided, *self.expired, *self.taken_back)

    def enough(self, need: Need) -> bool:
        """Whether there is something to go on with: `any` of them settled, or `all`. Always, where nothing waits."""
        left = len(self.still_pending) + len(self.executing)
        return left == 0 or (need == "any" and bool(self.settled))


def changes_of(parked: Sequence[Parked], updated: Sequence[str] = ()) -> Changes:
    """Return how calls stand by their records as they are kept; `updated` are ids of records that changed."""
    groups: dict[str, list[Interruption]] = {}
    shown = [each.shown() for each in parked]
    for each in shown:
        group = "taken_back" if each.status in _TAKEN_BACK else _STILL.get(each.status, "decided")
        groups.setdefault(group, []).append(each)
    found = {name: tuple(each) for name, each in groups.items()}
    return Changes(**found, updated=tuple(each for each in shown if each.id in updated))


async def reread(parked: Sequence[Parked], run_id: str) -> Changes:
    """Read the record of every call again, several at once.

    All are tried, whatever becomes of one; what was read is kept.

    Raises:
        ProxyError: a record could not be read; the others are notes on the first that went wrong.
        StateDamaged: a record is not about the call that names it.
    """
    async with endpoints(each.proxy for each in parked) as open_ones:
        return await _look(parked, run_id, open_ones)


async def wait_for(parked: Sequence[Parked], run_id: str, *, timeout: float | None, need: Need, via: Via) -> Changes:
    """Return once enough of the calls are settled, or after `timeout` seconds; see `RunState.wait`."""
    async with endpoints(each.proxy for each in parked) as open_ones:
        # Not under this deadline but under that of a request, so that there is always an answer.
        found = await _look(parked, run_id, open_ones)
        if found.enough(need):
            return found
        watch = _Watch(parked, run_id, open_ones, found)
        # Without a timeout, the caller ends it by cancelling: a person may take days.
        with anyio.move_on_after(timeout):
            await (watch.by_events(need) if via == "sse" else watch.by_polls(need))
        return watch.found


class _Watch:
    """Looks again whenever something says that it is worth it."""

    def __init__(
        self, parked: Sequence[Parked], run_id: str, open_ones: Mapping[int, Endpoint], found: Changes
    ) -> None:
        self._parked = parked
        self._run_id = run_id
        self._endpoints = open_ones
        self._updated: dict[str, None] = dict.fromkeys(each.id for each in found.updated)
        self.found = found

    async def by_events(self, need: Need) -> None:
        """Look at every event about one of the calls, and at every new beginning of a stream."""
        bell = _Bell()
        problem: RunnerError | None = None
        async with anyio.create_task_group() as group:
            for key, endpoint in self._endpoints.items():
                ids = {each.id for each in self._parked if id(each.proxy) == key}
                group.start_soon(_listen, endpoint, ids, bell)
            try:
                while not self.found.enough(need):
                    with anyio.move_on_after(_LOOK_SECONDS):
                        await bell.rung()
                    if bell.problem is not None:
                        raise bell.problem
                    await self._look_again()
            except RunnerError as error:
                problem = error  # raised outside of the group, which would wrap it
            group.cancel_scope.cancel()
        if problem is not None:
            raise problem

    async def by_polls(self, need: Need) -> None:
        """Look when a request that waits for a decision is answered."""
        patience = _endless()
        turn = 0
        while not self.found.enough(need):
            waiting = [each for each in self._parked if _state(each) == "pending"]
            if not waiting:
                await anyio.sleep(_ELSEWHERE_SECONDS)
            else:
                some = [waiting[(turn + step) % len(waiting)] for step in range(min(_POLLS, len(waiting)))]
                turn = (turn + len(some)) % len(waiting)
                seconds = _POLL_SECONDS if len(some) == len(waiting) else _SHORT_POLL_SECONDS
                if await self._poll(some, seconds):
                    patience.reset()
                else:
                    await patience.pause()
            await self._look_again()

    async def _poll(self, some: Sequence[Parked], seconds: int) -> bool:
        """Wait until one of a few calls is decided, or for so long. False if it ended for no such reason."""
        decided = False
        began = anyio.current_time()

        async def one(each: Parked) -> None:
            nonlocal decided
            try:
                record = await self._endpoints[id(each.proxy)].get(each.id, wait=seconds)
            except ProxyError as problem:
                if not is_passing(problem):
                    group.cancel_scope.cancel()  # looking again says what is wrong
                return
            if record.get("state") != "pending":
                decided = True
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for each in some:
                group.start_soon(one, each)
        # A proxy that stops answers at once: asked again at once, it would do nothing else.
        return decided or anyio.current_time() - began > seconds / 2

    async def _look_again(self) -> None:
        patience = _endless()
        while True:
            try:
                found = await _look(self._parked, self._run_id, self._endpoints)
            except ProxyError as problem:
                if not is_passing(problem):
                    raise
                # A proxy that restarts comes back; whoever waits has set the deadline.
                await patience.pause()
            else:
                self._updated |= dict.fromkeys(each.id for each in found.updated)
                self.found = changes_of(self._parked, tuple(self._updated))
                return


class _Bell:
    """Rings when it is worth looking; rings that nobody waited for are one."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self.problem: RunnerError | None = None

    def ring(self) -> None:
        self._event.set()

    async def rung(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


async def _listen(endpoint: Endpoint, ids: set[str], bell: _Bell) -> None:
    try:
        # Ended by the task group around it.
        async with aclosing(endpoint.events()) as events:
            async for event in events:
                if event.record is None or event.record.get("id") in ids:
                    bell.ring()
    except RunnerError as problem:
        bell.problem = problem
        bell.ring()


async def _look(parked: Sequence[Parked], run_id: str, open_ones: Mapping[int, Endpoint]) -> Changes:
    updated: list[str] = []
    failed: list[RunnerError] = []
    limit = anyio.CapacityLimiter(_AT_ONCE)

    async def one(each: Parked) -> None:
        async with limit:
            try:
                if take(each, await open_ones[id(each.proxy)].get(each.id), run_id):
                    updated.append(each.id)
            except RunnerError as problem:
                failed.append(problem)

    async with anyio.create_task_group() as group:
        for each in parked:
            group.start_soon(one, each)
    if failed:
        # One that waiting would not mend comes first: it must not hide behind a proxy that restarts.
        first, *others = sorted(failed, key=is_passing)
        for other in others:
            first.add_note(f"also: {other}")
        raise first
    return changes_of(parked, updated)


def _state(parked: Parked) -> Any:
    return (parked.call.interruption or {}).get("state")


def _endless() -> Patience:
    return Patience(longest_seconds=_LONGEST_PAUSE_SECONDS, budget_seconds=math.inf)
