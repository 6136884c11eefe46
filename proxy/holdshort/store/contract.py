"""What a store promises, whatever holds the rows. One test suite runs against this contract.

A store writes what `interruption.advance` says and decides nothing. Every state it writes has its row in the decision
log in the same commit, and that commit is on disk before the call returns. Whoever is not able to write refuses: every
method raises `StateError` rather than answer from something it could not keep.

Cancellation: a write under way is finished and its answer returned; the cancellation arrives at the next wait.
Whoever claims must therefore settle the claim (`Finish`, `NotRun`, `Lose`) in a shielded `finally`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from holdshort.errors import HoldshortError
from holdshort.interruption import Event, Interruption, State
from holdshort.policy import Because
from holdshort.store.granting import GrantStore
from holdshort.store.pinning import PinStore
from holdshort.store.recording import NewRecording, RecordingStore

__all__ = [
    "ANYTHING",
    "ANY_ROW",
    "Change",
    "Changes",
    "EntryKind",
    "InterruptionNotFound",
    "Json",
    "LogEntry",
    "LogFilter",
    "NewEntry",
    "Page",
    "Query",
    "QuotaExceeded",
    "Quotas",
    "Store",
    "Verification",
]

Json = Any


class EntryKind(StrEnum):
    """What a row of the decision log speaks about."""

    VERDICT = "verdict"
    """A call was judged and not parked. Committed before the call's bytes leave."""
    PARKED = "parked"
    DECISION = "decision"
    REFUSED = "refused"
    """A decision or a claim that was not accepted; nothing changed."""
    INTENT = "intent"
    """A claimed call is about to be sent; on disk before the first byte leaves."""
    OUTCOME = "outcome"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    DELIVERED = "delivered"
    PURGED = "purged"
    GRANT = "grant"
    """A standing grant was made, revoked, or its scope erased; a call that one let through is a `verdict`."""
    STARTED = "started"
    STOPPED = "stopped"
    NOTE = "note"
    PIN = "pin"
    """A tool's definition was seen first, changed, was accepted or forgotten."""
    POLICY = "policy"
    """Which policy is in force, from a start or a reload on; or that one was refused. There before it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """A row to append to the decision log. It holds names and digests, never arguments or results."""

    kind: EntryKind
    at: datetime
    server: str | None = None
    tool: str | None = None
    agent: str | None = None
    action: str | None = None
    because: tuple[Because, ...] = ()
    interruption: str | None = None
    fingerprint: str | None = None
    detail: Mapping[str, Json] | None = None
    recording: NewRecording | None = None
    """Kept beside the log, in the same commit; the row gets its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A row of the decision log as read: `body` is the exact text that `hash` seals, chained to the row before."""

    sequence: int
    body: str
    hash: str
    fields: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which rows; what is empty does not restrict."""

    kinds: frozenset[EntryKind] = frozenset()
    server: str | None = None
    agent: str | None = None
    interruption: str | None = None


ANY_ROW: Final = LogFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What checking the whole chain found. `problem` names the first row that is not as it was written."""

    rows: int
    problem: str | None = None
    first_bad: int | None = None
    head: str | None = None
    """Hash of the last row: compare it with one noted elsewhere to see a log cut short."""

    @property
    def ok(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which interruptions, newest first; what is empty does not restrict."""

    states: frozenset[State] = frozenset()
    server: str | None = None
    agent: str | None = None
    run_id: str | None = None
    limit: int = 50
    cursor: str | None = None
    """`next_cursor` of the page before."""


ANYTHING: Final = Query()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    items: Sequence[Interruption]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An interruption as it stands after a commit. Sequences grow; between two looks only the latest stand is shown."""

    sequence: int
    interruption: Interruption


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How many calls may be pending at once."""

    per_agent: int = 100
    per_server: int = 1_000
    total: int = 20_000


class InterruptionNotFound(HoldshortError):
    """Raised for an id that names no interruption."""

    code = "not_found"

    def __init__(self, interruption_id: str) -> None:
        super().__init__(f"there is no interruption `{interruption_id}`")
        self.interruption_id = interruption_id


class QuotaExceeded(HoldshortError):
    """Raised when too many calls are pending already; nothing was parked."""

    code = "quota_exceeded"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} has {limit} calls pending already; decide or withdraw some first")
        self.limit = limit


Changes = AbstractAsyncContextManager[AsyncIterator[Change]]
"""A subscription: enter it, then iterate."""


class Store(Protocol):
    """Interruptions and the decision log. See the module for what every method promises."""

    owner: str
    """This process's name in claims and holds; recognisably dead as soon as the process is."""

    @property
    def grants(self) -> GrantStore:
        """Standing grants. They are made by `apply`, in the transaction of the approval."""
        ...

    @property
    def pins(self) -> PinStore:
        """The definitions that tools are pinned to."""
        ...

    @property
    def recordings(self) -> RecordingStore:
        """What calls were made with, where that is recorded. Written by whatever writes their row in the log."""
        ...

    # The decision log.

    async def record(self, entry: NewEntry) -> int:
        """Append a row, return its sequence: committed by then (a crash of ours keeps it), on disk within 100 ms."""
        ...

    def entries(
        self, *, after: int = 0, limit: int | None = None, where: LogFilter = ANY_ROW
    ) -> AsyncIterator[LogEntry]:
        """Yield rows with a sequence greater than `after`, oldest first."""
        ...

    async def verify(self) -> Verification:
        """Recompute the whole chain and compare it with what the interruptions and checkpoints say about it."""
        ...

    # Parked calls.

    async def park(
        self, interruption: Interruption, *, holder: str | None = None, recording: NewRecording | None = None
    ) -> Interruption:
        """Keep a new pending interruption; `holder` is the request in flight that waits for it.

        Raises:
            QuotaExceeded: too many are pending; nothing was kept.
        """
        ...

    async def attach(
        self, agent: str, requested_fingerprint: str, holder: str, *, now: datetime
    ) -> Interruption | None:
        """Take over the newest interruption of `agent` for these requested arguments that nobody live holds.

        One that was delivered, withdrawn, superseded, purged, or ended longer ago than results are kept is not taken,
        and neither is one that is found by its ids (`keyed`);
        one whose time is up is returned as expired. None: park anew. Of several callers exactly one gets it.
        """
        ...

    async def has_parked(self, agent: str) -> bool:
        """Say whether `attach` could find anything at all of this agent.

        Cheap enough to be asked at every call: what another process parked may be missing for 50 ms.
        """
        ...

    async def detach(self, interruption_id: str, holder: str) -> None:
        """Let go: the request in flight ended without delivering. Nothing happens if `holder` does not hold it."""
        ...

    async def apply(self, interruption_id: str, event: Event) -> Interruption:
        """Advance one interruption in one transaction and return it, unchanged if the event repeats what is recorded.

        A `Claim` gets its owner and fencing token here. When time was up the expiry is kept and `Expired` raised. An
        event is never taken to be earlier than what was last written about that interruption.

        Raises:
            InterruptionError: as the machine says; a refused decision or claim leaves a row in the log.
            InterruptionNotFound: no such id.
        """
        ...

    async def get(self, interruption_id: str) -> Interruption:
        """Raises:
        InterruptionNotFound: no such id.
        """
        ...

    async def list(self, query: Query = ANYTHING) -> Page: ...

    async def counts(self) -> Mapping[State, int]:
        """Return how many interruptions are in each state; states without any are left out."""
        ...

    # Waiting. Commits of every process on the same state are seen within 100 ms.

    async def wait_change(self, interruption_id: str, after_revision: int) -> Interruption:
        """Return the interruption once its revision is greater than `after_revision`. The caller sets the deadline.

        Raises:
            InterruptionNotFound: no such id.
        """
        ...

    def subscribe(self, *, after: int | None = None) -> Changes:
        """Follow changes after sequence `after` (None: from now on), each interruption as it stands when seen."""
        ...

    async def changes_since(self, sequence: int, limit: int = 100) -> Sequence[Change]: ...

    async def sequence(self) -> int:
        """Return the sequence of the latest change; `subscribe(after=it)` misses nothing from here on."""
        ...

    # Housekeeping. The store sweeps by itself; these are for whoever wants it now.

    async def spend(self, nonce: str, until: datetime) -> bool:
        """Use up `nonce`; True the first time only. It is remembered at least until `until`."""
        ...

    async def expire_due(self, now: datetime) -> Sequence[Interruption]:
        """End everything whose time is up and return it: what waited expires, what an agent took to run is unknown."""
        ...

    async def recover(self, now: datetime) -> Sequence[Interruption]:
        """Turn what dead processes were executing into `unknown`, free what they held, and return the former."""
        ...

    async def purge(self, before: datetime, *, now: datetime) -> int:
        """Erase arguments and results of ended interruptions last changed before `before`; return how many."""
        ...
