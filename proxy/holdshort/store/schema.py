"""The tables, as numbered migrations. A migration, once released, is never edited: add the next one.

All missing migrations run in one transaction with the version number, so that a file is either as it was or up to date.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from holdshort.store import grants, pins, recordings
from holdshort.store.connection import DatabaseError, open_reader, translated
from holdshort.store.faults import fault

__all__ = ["APPLICATION_ID", "MIGRATIONS", "check_integrity", "migrate", "open_current", "require_current"]

APPLICATION_ID: Final = 0x484F4C44
"""`HOLD`: tells our files from any other SQLite database."""

_THOROUGH_PAGES: Final = 65_536
"""Up to 256 MiB are checked row against index at every start (0.2 s there); larger files row by row only."""

_CALLS_AND_LOG: Final = (
    """CREATE TABLE log (
            sequence INTEGER PRIMARY KEY,
            body TEXT NOT NULL,
            hash BLOB NOT NULL CHECK (length(hash) = 32),
            interruption TEXT
        ) STRICT""",
    "CREATE INDEX log_by_interruption ON log (interruption) WHERE interruption IS NOT NULL",
    """CREATE TRIGGER log_keeps_rows BEFORE DELETE ON log
            BEGIN SELECT RAISE(ABORT, 'the decision log is append-only'); END""",
    """CREATE TRIGGER log_keeps_text BEFORE UPDATE ON log
            BEGIN SELECT RAISE(ABORT, 'the decision log is append-only'); END""",
    # One row: how far the log was known to be on disk. A log cut short before it is found out.
    """CREATE TABLE checkpoint (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            sequence INTEGER NOT NULL,
            hash BLOB NOT NULL
        ) STRICT""",
    "INSERT INTO checkpoint VALUES (1, 0, zeroblob(32))",
    # The columns beside `body` are what queries look for; `body` is the whole record. Times are microseconds.
    """CREATE TABLE interruption (
            position INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            state TEXT NOT NULL,
            revision INTEGER NOT NULL,
            agent TEXT NOT NULL,
            server TEXT NOT NULL,
            run_id TEXT,
            requested_fingerprint TEXT NOT NULL,
            created INTEGER NOT NULL,
            due INTEGER,
            attachable INTEGER NOT NULL,
            executor TEXT,
            purged INTEGER NOT NULL,
            changed INTEGER NOT NULL,
            changed_at INTEGER NOT NULL,
            body TEXT NOT NULL
        ) STRICT""",
    "CREATE INDEX interruption_by_change ON interruption (changed)",
    "CREATE INDEX interruption_by_state ON interruption (state, position)",
    "CREATE INDEX interruption_by_agent ON interruption (agent, position)",
    "CREATE INDEX interruption_due ON interruption (due) WHERE due IS NOT NULL",
    """CREATE INDEX interruption_attachable ON interruption (agent, requested_fingerprint, position)
            WHERE attachable = 1""",
    "CREATE INDEX interruption_executor ON interruption (executor) WHERE executor IS NOT NULL",
    "CREATE INDEX interruption_unpurged ON interruption (changed_at) WHERE purged = 0",
    # How many are pending, by agent, by server and in all: counting them anew would cost more than parking one.
    """CREATE TABLE pending (
            scope TEXT NOT NULL,
            name TEXT NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (scope, name)
        ) STRICT, WITHOUT ROWID""",
    """CREATE TRIGGER pending_grows AFTER INSERT ON interruption WHEN new.state = 'pending' BEGIN
            INSERT INTO pending VALUES ('agent', new.agent, 1), ('server', new.server, 1), ('total', '', 1)
                ON CONFLICT DO UPDATE SET number = number + 1;
        END""",
    """CREATE TRIGGER pending_shrinks AFTER UPDATE OF state ON interruption
            WHEN old.state = 'pending' AND new.state <> 'pending' BEGIN
            UPDATE pending SET number = number - 1
                WHERE (scope, name) IN (VALUES ('agent', new.agent), ('server', new.server), ('total', ''));
        END""",
    """CREATE TABLE hold (
            interruption TEXT PRIMARY KEY,
            holder TEXT NOT NULL,
            owner TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX hold_by_owner ON hold (owner)",
    "CREATE TABLE nonce (nonce TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX nonce_by_until ON nonce (until)",
    # One row: the last fencing token given out.
    "CREATE TABLE token (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL) STRICT",
    "INSERT INTO token VALUES (1, 0)",
)

MIGRATIONS: Final[Sequence[Sequence[str]]] = (_CALLS_AND_LOG, pins.TABLES, grants.TABLES, recordings.TABLES)


def migrate(connection: apsw.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the database up to date, or leave it as it was.

    Raises:
        DatabaseError: it is not ours, newer than we know, or a step failed.
    """
    with translated():
        # Looked at before anything is touched: the write-ahead log is a property of the file.
        _known_version(connection, migrations)
        mode = connection.execute("PRAGMA journal_mode=WAL").get
        if mode != "wal":
            raise DatabaseError(f"the database cannot keep a write-ahead log (it stays in mode `{mode}`)")
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _known_version(connection, migrations)
            for number, statements in enumerate(migrations[version:], start=version + 1):
                for statement in statements:
                    connection.execute(statement)
                fault("migrate.step")
                connection.execute(f"PRAGMA user_version={number}")
            if version == 0:
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def require_current(connection: apsw.Connection) -> None:
    """Check, without writing, that this database is ours and exactly as new as we know.

    Raises:
        DatabaseError: it is not.
    """
    with translated():
        version = _known_version(connection, MIGRATIONS)
    if version < len(MIGRATIONS):
        raise DatabaseError("the database was written by an older holdshort", "start `holdshort serve` once to update")


@contextmanager
def open_current(database: Path) -> Generator[apsw.Connection]:
    """Read the database of a state folder, whether or not a proxy runs on it.

    Raises:
        StateError: it cannot be read, is not ours, or is older or newer than this program.
    """
    connection = open_reader(database)
    try:
        require_current(connection)
        yield connection
    finally:
        connection.close()


def check_integrity(connection: apsw.Connection) -> None:
    """Raises:
    DatabaseError: the file is damaged.
    """
    with translated():
        pages = int(connection.execute("PRAGMA page_count").get)
        check = "integrity_check" if pages <= _THOROUGH_PAGES else "quick_check"
        found = connection.execute(f"PRAGMA {check}(1)").get
    if found != "ok":
        raise DatabaseError(
            f"the database is damaged ({found})", "stop every holdshort and restore a backup, or move it away"
        )


def _known_version(connection: apsw.Connection, migrations: Sequence[Sequence[str]]) -> int:
    version = int(connection.execute("PRAGMA user_version").get)
    application = int(connection.execute("PRAGMA application_id").get)
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if application != APPLICATION_ID and not (empty and version == 0 and application == 0):
        raise DatabaseError("the file is a database of another program", "choose another state folder")
    if version > len(migrations):
        raise DatabaseError(
            f"the database has schema {version}, this holdshort knows {len(migrations)}", "use the newer holdshort"
        )
    return version
