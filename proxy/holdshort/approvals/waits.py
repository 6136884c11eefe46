"""Requests that wait until a call is decided, for clients without an event stream."""

from collections import Counter
from typing import Final

import anyio

from holdshort.approvals.access import Visit
from holdshort.approvals.problems import Refused
from holdshort.interruption import Interruption, State

__all__ = ["LONGEST_WAIT_SECONDS", "Waits"]

LONGEST_WAIT_SECONDS: Final = 60


class Waits:
    """The waiting requests of this process; as many for each caller as it may have event streams."""

    def __init__(self) -> None:
        self._open: Counter[tuple[str, str]] = Counter()
        self._scopes: set[anyio.CancelScope] = set()
        self._closed = False

    def close(self) -> None:
        """Answer them all now, and every later one at once: a server that stops must not wait for them."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()

    async def decided(self, visit: Visit, record: Interruption, seconds: float) -> Interruption:
        """Return the call once it is not pending any more, or as it is after so long.

        Raises:
            Refused: `rate_limited`, too many of this caller wait.
        """
        if seconds <= 0 or self._closed or record.state is not State.PENDING:
            return record
        key = (visit.principal.kind.value, visit.principal.name)
        if self._open[key] >= visit.deps.limits.streams_per_principal:
            raise Refused("rate_limited", "too many requests wait already", headers={"retry-after": "5"})
        self._open[key] += 1
        with anyio.move_on_after(seconds) as scope:
            self._scopes.add(scope)
            try:
                while record.state is State.PENDING:
                    record = await visit.deps.store.wait_change(record.id, record.revision)
            finally:
                self._scopes.discard(scope)
                self._open[key] -= 1
        return record
