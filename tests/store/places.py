"""Where the contract suite keeps its state: one factory per kind of store, so that another kind can join."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import anyio

from holdshort.interruption import Approve, Claim, Interruption
from holdshort.store import EntryKind, NewEntry, Quotas, Store, open_store
from interruption.samples import NOW

__all__ = ["Clock", "Place", "SQLitePlace", "approval", "claim", "row", "until"]

DEFAULT_QUOTAS: Final = Quotas()


@dataclass
class Clock:
    """Time that passes when told to."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)


class Place(Protocol):
    """Somewhere that several stores can be opened on, one after another or side by side."""

    clock: Clock

    def open(
        self, *, clock: Callable[[], datetime] | None = None, quotas: Quotas = DEFAULT_QUOTAS, sweep: bool = False
    ) -> AbstractAsyncContextManager[Store]: ...


@dataclass
class SQLitePlace:
    folder: Path
    clock: Clock = field(default_factory=Clock)

    def open(
        self, *, clock: Callable[[], datetime] | None = None, quotas: Quotas = DEFAULT_QUOTAS, sweep: bool = False
    ) -> AbstractAsyncContextManager[Store]:
        return open_store(self.folder, clock=clock or self.clock, quotas=quotas, sweep=sweep)


def approval(call: Interruption, by: str = "ana", *, at: datetime = NOW) -> Approve:
    return Approve(at=at, by=by, fingerprint=call.fingerprint)


def claim(call: Interruption, *, at: datetime = NOW) -> Claim:
    return Claim(
        at=at,
        agent=call.requested_by.agent,
        fingerprint=call.fingerprint,
        definition_digest=call.definition_digest,
        policy_digest=call.policy_digest,
    )


def row(tool: str = "read", *, at: datetime | None = None) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT, at=at or datetime.now(UTC), server="files", tool=tool, agent="local", action="allow"
    )


async def until(condition: Callable[[], bool], patience: float = 20) -> None:
    """Wait for what nobody announces, such as a row that another connection writes."""
    with anyio.fail_after(patience):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.005)
