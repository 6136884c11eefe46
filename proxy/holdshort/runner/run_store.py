"""Saved runs in a SQLite file, so that of two processes which go on from one state, exactly one does.

What is saved has to follow from what is there: a later revision by the same process, or by one that went on from what
is there. `RunData.lineage` says so. Anything else is refused as superseded, before the run that it comes from has asked
the model or anybody else.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from holdshort.runner.data import RunStatus
from holdshort.runner.database import Database
from holdshort.runner.errors import StateMissing, StateSuperseded, StorageError

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.data import RunData
    from holdshort.runner.proxy import ApprovalProxy
    from holdshort.runner.signing import Secret
    from holdshort.runner.state import RunState

__all__ = ["SQLiteRunStore", "Saveable", "SavedRun", "follows"]

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS holdshort_run (
        run_id TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        lineage TEXT NOT NULL, -- the entries, each with a line of its own
        status TEXT NOT NULL,
        state TEXT NOT NULL,
        saved_at TEXT NOT NULL -- RFC 3339, UTC
    ) STRICT, WITHOUT ROWID""",
)
_PUT: Final = "INSERT OR REPLACE INTO holdshort_run VALUES (?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"


class Saveable(Protocol):
    """What the store needs of a `RunState`."""

    @property
    def run_id(self) -> str:
        """Names the run."""
        ...

    @property
    def revision(self) -> int:
        """Grows with every durable point."""
        ...

    @property
    def data(self) -> RunData:
        """The run; its `status` and `lineage` are looked at."""
        ...

    def to_string(self, *, secret: Secret | None = None) -> str:
        """Return the state as text, signed if there is a secret."""
        ...


@dataclass(frozen=True, slots=True)
class SavedRun:
    """What the list of saved runs says of one."""

    run_id: str
    status: RunStatus
    revision: int
    saved_at: str
    """RFC 3339, UTC."""


class SQLiteRunStore:
    """Runs by their id, the latest state of each; `Runner.run(..., on_state=store.save)` keeps it current.

    With a `secret`, states are signed, and only signed ones are loaded. The file is not encrypted.
    """

    def __init__(self, path: str | os.PathLike[str], *, secret: Secret | None = None) -> None:
        self._database = Database(path, _TABLES)
        self._secret = secret

    async def save(self, state: Saveable) -> None:
        """Save a state that follows from the one that is there. The same state again changes nothing.

        Raises:
            StateSuperseded: it does not follow: another process went on from the state that this one comes from.
            StorageError: the file cannot be written.
            StateDamaged: the state cannot be written as JSON.
        """
        text = state.to_string(secret=self._secret)
        lineage = tuple(state.data.lineage)
        row = (state.run_id, state.revision, "\n".join(lineage), state.data.status.value, text)
        await self._database.write(partial(_save, row, lineage))

    async def load(self, agent: Agent[Any], run_id: str, *, proxy: ApprovalProxy | None = None) -> RunState:
        """Return the latest state of a run, for the agent that it began with.

        Raises:
            StateMissing: none is saved.
            StateVersionError, StateTampered, StateDamaged: it cannot be used.
            StorageError: the file cannot be read.
            UserError: it is another agent's state.
        """
        from holdshort.runner.state import RunState

        row = await self._database.read(partial(_load, run_id))
        if row is None:
            raise StateMissing(f"no state of the run `{run_id}` is saved in {self._database.path}")
        return await RunState.from_string(agent, row, secret=self._secret, proxy=proxy)

    async def delete(self, run_id: str) -> bool:
        """Forget a run; whether there was one. A process that still has a state of it can save that as new.

        Raises:
            StorageError: the file cannot be written.
        """
        return await self._database.write(partial(_delete, run_id))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    async def list(self, *, status: RunStatus | None = None) -> Sequence[SavedRun]:
        """Return what is saved, or what has this status, the run that was saved last first.

        Raises:
            StorageError: the file cannot be read.
        """
        rows = await self._database.read(partial(_list, status))
        try:
            return [SavedRun(run_id, RunStatus(said), revision, at) for run_id, said, revision, at in rows]
        except ValueError as error:
            raise StorageError(f"{self._database.path} has a run with an unknown status ({error})") from error


def follows(revision: int, lineage: Sequence[str], known: int, known_lineage: Sequence[str]) -> bool:
    """Whether a state comes after the one that is known, with nothing left out that was saved in between."""
    if list(lineage[: len(known_lineage)]) != list(known_lineage) or revision <= known:
        return False
    if len(lineage) == len(known_lineage):
        return True
    went_on_from = int(lineage[len(known_lineage)].partition(":")[0])
    return went_on_from >= known


def _save(row: tuple[str, int, str, str, str], lineage: Sequence[str], connection: sqlite3.Connection) -> None:
    run_id, revision, _, _, text = row
    query = "SELECT revision, lineage, state FROM holdshort_run WHERE run_id = ?"
    found: tuple[int, str, str] | None = connection.execute(query, (run_id,)).fetchone()
    if found is not None:
        known, known_lineage, known_text = found
        if known == revision and known_text == text:
            return
        if not follows(revision, lineage, known, known_lineage.splitlines()):
            raise StateSuperseded(
                f"revision {revision} of the run `{run_id}` does not follow from revision {known}, which is saved: "
                "another process went on; load the run and go on from there"
            )
    connection.execute(_PUT, row)


def _load(run_id: str, connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT state FROM holdshort_run WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else str(row[0])


def _delete(run_id: str, connection: sqlite3.Connection) -> bool:
    return connection.execute("DELETE FROM holdshort_run WHERE run_id = ?", (run_id,)).rowcount > 0


def _list(status: RunStatus | None, connection: sqlite3.Connection) -> list[tuple[str, str, int, str]]:
    query = "SELECT run_id, status, revision, saved_at FROM holdshort_run"
    if status is None:
        return connection.execute(f"{query} ORDER BY saved_at DESC, run_id").fetchall()
    return connection.execute(f"{query} WHERE status = ? ORDER BY saved_at DESC, run_id", (status.value,)).fetchall()
