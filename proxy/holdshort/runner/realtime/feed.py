"""When to look again: one event stream for each proxy, and a bell for every call that waits there.

A stream only says that something changed. Whoever is rung reads the record again, and reads it now and then anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from holdshort.runner.errors import RunnerError

if TYPE_CHECKING:
    from holdshort.runner.endpoint import Endpoint

__all__ = ["Bell", "Feed"]

_LOOK_SECONDS: Final = 30.0
"""How long a stream may tell nothing before the records are read again: expiry is noticed by looking."""
_WITHOUT_SECONDS: Final = 3.0
"""The same, where the proxy refuses the stream."""


class Bell:
    """Rings for one call. A ring that nobody waited for is heard at the next wait."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._event = anyio.Event()

    def ring(self) -> None:
        """It is worth looking."""
        self._event.set()

    async def rung(self) -> None:
        """Wait until it is worth looking, or has been long enough."""
        with anyio.move_on_after(self._seconds()):
            await self._event.wait()
        self._event = anyio.Event()


class Feed:
    """The streams of one session."""

    def __init__(
        self, start: Callable[[Callable[..., Any], Endpoint], object], failed: Callable[[RunnerError], None]
    ) -> None:
        """`start` runs a function in a task of the session; `failed` hears of a stream that is refused, once each."""
        self._start = start
        self._failed = failed
        self._followed: dict[int, Endpoint] = {}
        self._refused = False
        self._bells: dict[str, list[Bell]] = {}

    @contextmanager
    def over(self, endpoints: Iterable[Endpoint], ids: Iterable[str]) -> Generator[Bell]:
        """Return a bell that rings when something happens to a record of `ids`, for as long as the block lasts."""
        for endpoint in endpoints:
            if id(endpoint) not in self._followed:
                self._followed[id(endpoint)] = endpoint
                self._start(self._follow, endpoint)
        bell = Bell(lambda: _WITHOUT_SECONDS if self._refused else _LOOK_SECONDS)
        mine = list(ids)
        for each in mine:
            self._bells.setdefault(each, []).append(bell)
        try:
            yield bell
        finally:
            for each in mine:
                self._bells[each].remove(bell)
                if not self._bells[each]:
                    del self._bells[each]

    def ring(self, id: str | None = None) -> None:  # noqa: A002  # of a record
        """Ring for one record, or for all."""
        for bells in self._bells.values() if id is None else [self._bells.get(id, [])]:
            for bell in bells:
                bell.ring()

    async def _follow(self, endpoint: Endpoint) -> None:
        try:
            # Ended by the session; a proxy that goes away and comes back is waited for inside.
            async with aclosing(endpoint.events()) as events:
                async for event in events:
                    self.ring(None if event.record is None else str(event.record.get("id")))
        except RunnerError as problem:
            self._refused = True
            self.ring()
            self._failed(problem)
