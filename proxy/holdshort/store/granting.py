"""What a store promises about standing grants, whatever holds the rows. `contract.py` has the rest.

A grant is made in the transaction of the approval that asks for it (`Store.apply`), and nowhere else. Every change of
one has its row in the decision log in the same commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from holdshort.errors import HoldshortError
from holdshort.policy import Grant, GrantState

if TYPE_CHECKING:
    from holdshort.store.contract import NewEntry

__all__ = ["EVERY_GRANT", "GrantNotFound", "GrantPage", "GrantQuery", "GrantStore", "Use"]


class GrantNotFound(HoldshortError):
    """Raised for an id that names no grant."""

    code = "not_found"

    def __init__(self, grant_id: str) -> None:
        super().__init__(f"there is no grant `{grant_id}`")
        self.grant_id = grant_id


class Use(StrEnum):
    """How an attempt to use a grant ended. Only after `taken` may anything be sent."""

    TAKEN = "taken"
    """One use less is left, and the call's row is in the log, on disk."""
    ENDED = "ended"
    """It is revoked, used up or expired by now; nothing was written."""
    ANSWERED = "answered"
    """The same agent asked for the same call before, and what came of that is still to be fetched; nothing was written.
    To run it beside that could be to run it twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantQuery:
    """Which grants, newest first; what is empty does not restrict."""

    states: frozenset[GrantState] = frozenset()
    agent: str | None = None
    server: str | None = None
    tool: str | None = None
    limit: int = 50
    cursor: str | None = None
    """`next_cursor` of the page before."""


EVERY_GRANT: Final = GrantQuery()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantPage:
    items: Sequence[Grant]
    next_cursor: str | None = None


class GrantStore(Protocol):
    """The grants of a state folder. Every method raises `StateError` rather than answer from what it could not keep."""

    async def candidates(self, agent: str, server: str, tool: str) -> Sequence[Grant]:
        """Return the grants for this agent and tool that may have uses left, oldest first.

        From memory, no older than 100 ms: whether there is a use left, `use` says.
        """
        ...

    async def use(self, grant: Grant, entry: "NewEntry", *, now: datetime, interruption: str | None = None) -> Use:
        """Take one use of `grant` for the call that `entry` is the row of; both or neither is written.

        Of several callers for the last use exactly one is told `taken`. Once told, it is on disk. `entry` must name the
        call's agent and the fingerprint of its arguments. A call that is found by its ids has `interruption`, the one
        that it is or would be: that one, and nothing of the same arguments, is what may be still to be fetched.
        """
        ...

    async def revoke(self, grant_id: str, *, by: str, now: datetime) -> Grant:
        """End a grant, and return it; one that is revoked already is returned as it is.

        Raises:
            GrantNotFound: no such id.
        """
        ...

    async def get(self, grant_id: str) -> Grant:
        """Raises:
        GrantNotFound: no such id.
        """
        ...

    async def list(self, query: GrantQuery = EVERY_GRANT, *, now: datetime) -> GrantPage: ...

    async def erase(self, before: datetime, *, now: datetime) -> int:
        """Erase the scopes of grants that ended before `before`; return how many. The store does it by itself."""
        ...
