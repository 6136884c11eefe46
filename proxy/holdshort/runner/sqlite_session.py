"""Sessions in a SQLite file, many of them in one, for tasks and processes at once."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from holdshort.runner.data import Item
from holdshort.runner.database import Database
from holdshort.runner.errors import StateSuperseded, StorageError, UserError
from holdshort.runner.pairing import whole_from
from holdshort.runner.session import SessionSettings

__all__ = ["SQLiteSession"]

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS holdshort_session_item (
        place INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that order is the order of adding
        session_id TEXT NOT NULL,
        item TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS holdshort_session_item_by_session ON holdshort_session_item (session_id, place)",
    # What a run has written, by its own count. It outlives the items: what was popped or cleared does not come back.
    """CREATE TABLE IF NOT EXISTS holdshort_session_written (
        session_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (session_id, run_id, position)
    ) STRICT, WITHOUT ROWID""",
)
_ADD: Final = "INSERT INTO holdshort_session_item (session_id, item) VALUES (?, ?)"


class SQLiteSession:
    """One conversation. `db_path` is a file that many sessions can share; in memory, each has its own."""

    def __init__(
        self,
        session_id: str,
        db_path: str | os.PathLike[str] = ":memory:",
        *,
        session_settings: SessionSettings | None = None,
    ) -> None:
        self.session_id = session_id
        self.session_settings = session_settings
        self._database = Database(db_path, _TABLES)

    async def get_items(self, limit: int | None = None) -> list[Item]:
        """Return the items in order: all, or the latest `limit` at most (by default what the settings say).

        Nothing is cut apart: where the oldest of those would be the output of a call, or come of reasoning, that is
        not among them, they begin later. So there may be fewer than `limit`, never more.

        Raises:
            StorageError: the file cannot be read, or an item in it is damaged.
            UserError: `limit` is negative.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        if limit is not None and limit < 0:
            raise UserError(f"limit is {limit}; it counts items")
        rows = await self._database.read(partial(_rows, self.session_id))
        items = [self._item(place, text) for place, text in rows]
        return items if limit is None else items[whole_from(items, len(items) - limit) :]

    async def add_items(self, items: Sequence[Item]) -> None:
        """Append all of `items`, or none.

        Raises:
            StorageError: the file cannot be written.
            UserError: an item is no JSON object.
        """
        written = [(self.session_id, _text(item)) for item in items]
        if written:
            await self._database.write(lambda connection: connection.executemany(_ADD, written).close())

    async def add_items_once(self, items: Sequence[Item], *, run_id: str, position: int) -> None:
        """Append those of `items` that are not in yet, all or none; the first of them is number `position` of the run.

        What the run has written and somebody took away since does not come back.

        Raises:
            StateSuperseded: other items are there in their place: another process went on from the same state.
            StorageError: the file cannot be written.
            UserError: an item is no JSON object.
        """
        texts = [_text(item) for item in items]
        if texts:
            await self._database.write(partial(_add_once, self.session_id, run_id, position, texts))

    async def pop_item(self) -> Item | None:
        """Take away the latest item and return it; None if there is none. It may leave a call without its output.

        Raises:
            StorageError: the file cannot be written, or the item is damaged.
        """
        row = await self._database.write(partial(_pop, self.session_id))
        return None if row is None else self._item(*row)

    async def clear_session(self) -> None:
        """Take away all items of this session.

        Raises:
            StorageError: the file cannot be written.
        """
        await self._database.write(partial(_clear, self.session_id))

    def close(self) -> None:
        """Close the file; the items stay, unless they are in memory."""
        self._database.close()

    def _item(self, place: int, text: str) -> Item:
        try:
            item: Any = json.loads(text)
        except ValueError as error:
            raise StorageError(
                f"item {place} of session `{self.session_id}` is damaged in {self._database.path}"
            ) from error
        if not isinstance(item, dict):
            raise StorageError(f"item {place} of session `{self.session_id}` is no object in {self._database.path}")
        return item


def _text(item: Item) -> str:
    """Return the item as JSON, its keys in their order: requests built from it are the same to the byte."""
    given = cast("object", item)
    if not isinstance(given, dict):
        raise UserError(f"an item for a session is a `{type(given).__name__}`, not a dict")
    try:
        return json.dumps(item, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"an item for a session is no JSON ({error})") from error


def _rows(session_id: str, connection: sqlite3.Connection) -> list[tuple[int, str]]:
    query = "SELECT place, item FROM holdshort_session_item WHERE session_id = ? ORDER BY place"
    return connection.execute(query, (session_id,)).fetchall()


def _add_once(
    session_id: str, run_id: str, position: int, texts: Sequence[str], connection: sqlite3.Connection
) -> None:
    query = (
        "SELECT position, digest FROM holdshort_session_written WHERE session_id = ? AND run_id = ? AND position >= ?"
    )
    known = dict(connection.execute(query, (session_id, run_id, position)).fetchall())
    for place, text in enumerate(texts, start=position):
        digest = hashlib.sha256(text.encode()).hexdigest()
        if place not in known:
            connection.execute(_ADD, (session_id, text))
            mark = "INSERT INTO holdshort_session_written VALUES (?, ?, ?, ?)"
            connection.execute(mark, (session_id, run_id, place, digest))
        elif known[place] != digest:
            raise StateSuperseded(
                f"the session `{session_id}` has another item in place {place} of the run `{run_id}`: another process "
                "went on from the same state; go on from the one that it saved"
            )


def _pop(session_id: str, connection: sqlite3.Connection) -> tuple[int, str] | None:
    query = "SELECT place, item FROM holdshort_session_item WHERE session_id = ? ORDER BY place DESC LIMIT 1"
    row: tuple[int, str] | None = connection.execute(query, (session_id,)).fetchone()
    if row is not None:
        connection.execute("DELETE FROM holdshort_session_item WHERE place = ?", (row[0],))
    return row


def _clear(session_id: str, connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM holdshort_session_item WHERE session_id = ?", (session_id,))
