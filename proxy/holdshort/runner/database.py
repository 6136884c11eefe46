"""One SQLite file of the program's own, from tasks and from processes: one writer at a time, whole transactions only.

The work is done in worker threads with Python's own `sqlite3`. Where that is older than 3.51.3, the file keeps a
rollback journal instead of a write-ahead log, because a log that several connections reset can corrupt the file there
(sqlite.org/wal.html, "the WAL-reset bug"). Either way a commit is on the disk when it returns.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, TypeVar

from anyio import to_thread

from holdshort.runner.errors import StorageError, UserError

__all__ = ["Database"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_MEMORY: Final = ":memory:"
_LOG_IS_SAFE: Final = sqlite3.sqlite_version_info >= (3, 51, 3)
_PATIENCE_S: Final = 30.0
"""How long another process may keep the file busy."""


class Database:
    """A file, or `:memory:`. It is opened when first used; a new file can be read by its owner only."""

    def __init__(self, path: str | os.PathLike[str], tables: Sequence[str]) -> None:
        """Take `tables`, statements that create what is not there yet."""
        self.path = os.fspath(path)
        self._tables = tables
        self._connection: sqlite3.Connection | None = None
        self._opened_by = 0
        self._closed = False
        self._turn = threading.Lock()

    async def read(self, work: Work[T]) -> T:
        """Return what `work` reads.

        Raises:
            StorageError: the file cannot be read.
        """
        return await to_thread.run_sync(partial(self._do, work))

    async def write(self, work: Work[T]) -> T:
        """Do `work` in one transaction: all of it is on the disk when this returns, or nothing is when it raises.

        A cancellation is heard after the transaction.

        Raises:
            StorageError: the file cannot be written.
        """
        return await to_thread.run_sync(partial(self._do, partial(_in_transaction, work)))

    def close(self) -> None:
        """Close the file for good; what was in memory is gone."""
        with self._turn:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None and self._opened_by == os.getpid():
                connection.close()

    def _do(self, work: Work[T]) -> T:
        with self._turn, self._translated():
            return work(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise UserError(f"{self.path} was closed; make a new object for it")
        if self._connection is not None and self._opened_by == os.getpid():
            return self._connection
        if self._connection is not None and self.path == _MEMORY:
            raise UserError("a database in memory cannot be used on both sides of a fork; use a file")
        # SQLite's locks do not survive a fork: the child leaves the parent's connection alone and opens its own.
        self._connection = _opened(self.path)
        self._opened_by = os.getpid()
        _in_transaction(self._create, self._connection)
        return self._connection

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in self._tables:
            connection.execute(statement)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{self.path} cannot be used ({error})") from error
        except OSError as error:
            raise StorageError(f"{self.path} cannot be used ({error.strerror})") from error


def _opened(path: str) -> sqlite3.Connection:
    if path != _MEMORY:
        # What is said in conversations is for nobody else on this machine.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA trusted_schema=OFF")
    with suppress(sqlite3.OperationalError):  # somebody else is in the file: it stays in the mode that it has
        connection.execute(f"PRAGMA journal_mode={'WAL' if _LOG_IS_SAFE else 'DELETE'}").fetchone()
    return connection


def _in_transaction(work: Work[T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcome = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcome
