"""Opening SQLite the way the store needs it, and saying in our words what went wrong.

The SQLite is apsw's own, not the system's: versions before 3.51.3 can corrupt a database when a write-ahead log is
reset (sqlite.org/wal.html, "the WAL-reset bug").
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from holdshort.errors import StateError

__all__ = ["DatabaseError", "open_database", "open_reader", "translated"]

_OLDEST: Final = 3_051_003
_READER_PATIENCE_MS: Final = 2_000


class DatabaseError(StateError):
    """Raised when the database cannot be read or written. Whatever needed it is refused."""

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem if advice is None else f"{problem}; {advice}")


_WORDS: Final[tuple[tuple[type[apsw.Error], str, str], ...]] = (
    (apsw.FullError, "the disk is full", "free some space"),
    (apsw.ReadOnlyError, "the database is read-only", "check the permissions of the state folder"),
    (apsw.CorruptError, "the database is damaged", "stop every holdshort and restore a backup, or move it away"),
    (apsw.NotADBError, "the file is no database of ours", "choose another state folder"),
    (apsw.BusyError, "another process kept the database busy too long", "look for one that hangs"),
    (apsw.CantOpenError, "the database cannot be opened", "check the permissions of the state folder"),
    (apsw.IOError, "the disk failed", "check the disk under the state folder"),
)


@contextmanager
def translated() -> Generator[None]:
    """Turn what SQLite or the system says into a `DatabaseError`."""
    try:
        yield
    except apsw.Error as error:
        for kind, problem, advice in _WORDS:
            if isinstance(error, kind):
                raise DatabaseError(f"{problem} ({error})", advice) from error
        raise DatabaseError(f"the database refused ({error})") from error
    except OSError as error:
        raise DatabaseError(f"the disk failed ({error.strerror})", "check the disk under the state folder") from error


def open_database(path: Path) -> apsw.Connection:
    """Return a connection that can write, every commit synced until told otherwise. Nothing is changed yet.

    Raises:
        DatabaseError: it cannot be opened.
    """
    if apsw.SQLITE_VERSION_NUMBER < _OLDEST:
        raise DatabaseError(f"SQLite {apsw.sqlite_lib_version()} can corrupt databases", "install a newer `apsw`")
    with translated():
        connection = apsw.Connection(str(path), statementcachesize=200)
        connection.set_busy_timeout(_READER_PATIENCE_MS)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Return a connection that cannot write; it never waits for writers, nor they for it.

    Raises:
        DatabaseError: there is no such database, or it cannot be opened.
    """
    with translated():
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=100)
        connection.set_busy_timeout(_READER_PATIENCE_MS)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
    return connection
