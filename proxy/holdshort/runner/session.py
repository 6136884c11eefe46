"""A conversation kept between runs. Anything with these four methods will do, those of the OpenAI Agents SDK included.

A run reads a session when it begins, and writes to it only what is settled: a call goes in together with its output.
So whoever reads it in the meantime finds a history that the service takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from holdshort.runner.data import Item
from holdshort.runner.errors import UserError
from holdshort.runner.pairing import without_orphans

__all__ = ["OnceSession", "Session", "SessionSettings", "add_once", "checked_session", "settled_items"]


@runtime_checkable
class Session(Protocol):
    """The items of one conversation, oldest first."""

    session_id: str

    async def get_items(self, limit: int | None = None) -> list[Item]:
        """Return all items, or at most the latest `limit`, in order."""
        ...

    async def add_items(self, items: list[Item]) -> None:
        """Append `items`."""
        ...

    async def pop_item(self) -> Item | None:
        """Take away the latest item and return it; None if there is none."""
        ...

    async def clear_session(self) -> None:
        """Take away all items."""
        ...


@runtime_checkable
class OnceSession(Session, Protocol):
    """A session that knows what it has of a run, so that a crash between writing to it and saving the state is no harm.

    With a session that is none, the items of one turn may be there twice after such a crash.
    """

    async def add_items_once(self, items: list[Item], *, run_id: str, position: int) -> None:
        """Append those of `items` that are not in yet; the first of them is number `position` of the run.

        Raises:
            StateSuperseded: other items of the run are there in their place: another process went on from the state.
        """
        ...


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session is read."""

    limit: int | None = None
    """At most so many of the latest items are read; None is all."""


def checked_session(given: Any) -> Session | None:
    """Return `given` if it is a session, or None.

    Raises:
        UserError: it is something else.
    """
    if given is None or isinstance(given, Session):
        return given
    lacking = [
        name
        for name in ("session_id", "get_items", "add_items", "pop_item", "clear_session")
        if not hasattr(given, name)
    ]
    raise UserError(f"session= is a `{type(given).__name__}` without `{lacking[0]}`; pass a `SQLiteSession`, say")


async def settled_items(session: Session, settings: SessionSettings | None = None) -> list[Item]:
    """Return what a new run starts with: the items of the session, without calls that never got an output.

    Other programs leave such calls when they stop in the middle, and outputs without their call when they cut a history
    short. The service would refuse both.
    """
    limit = None if settings is None else settings.limit
    items = await (session.get_items() if limit is None else session.get_items(limit))
    return without_orphans(items)


async def add_once(session: Session, items: Sequence[Item], *, run_id: str, position: int) -> None:
    """Append `items` of a run; once, where the session can tell.

    Raises:
        StateSuperseded: another process went on from the same state.
    """
    if isinstance(session, OnceSession):
        await session.add_items_once(list(items), run_id=run_id, position=position)
    else:
        await session.add_items(list(items))
