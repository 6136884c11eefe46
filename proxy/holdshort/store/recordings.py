"""What recorded calls were made with, kept in SQLite beside the decision log so that it can be erased.

A recording belongs to one row of the log, by its sequence, and the row holds its digest. Erasing it takes nothing from
the chain: the row stays, and the digest, of a text with a random salt in it, says nothing about what was there.
"""

from datetime import datetime
from typing import Final

import apsw

from holdshort.store.connection import translated
from holdshort.store.rows import microseconds
from holdshort.store.writer import Written

__all__ = ["INSERT_BOTH", "TABLES", "count", "erase", "has_due", "read"]

TABLES: Final = (
    """CREATE TABLE recording (
        sequence INTEGER PRIMARY KEY,
        until INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX recording_by_end ON recording (until)",
    # Only written to: one statement, and so one commit, for a row of the log and its recording.
    """CREATE VIEW recorded_row AS
        SELECT log.sequence, log.body, hash, interruption, until, recording.body AS recording
        FROM log JOIN recording USING (sequence)""",
    """CREATE TRIGGER recorded_row_is_two INSTEAD OF INSERT ON recorded_row BEGIN
            INSERT INTO log (sequence, body, hash, interruption)
                VALUES (new.sequence, new.body, new.hash, new.interruption);
            INSERT INTO recording (sequence, until, body) VALUES (new.sequence, new.until, new.recording);
        END""",
)

INSERT_BOTH: Final = (
    "INSERT INTO recorded_row (sequence, body, hash, interruption, until, recording) VALUES (?, ?, ?, ?, ?, ?)"
)
_AT_ONCE: Final = 500


def read(connection: apsw.Connection, sequence: int) -> str | None:
    """Return the recording of a row; None when there is none, or none any more."""
    with translated():
        found = connection.execute("SELECT body FROM recording WHERE sequence = ?", (sequence,)).get
    return None if found is None else str(found)


def count(connection: apsw.Connection) -> int:
    """Return how many recordings there are."""
    with translated():
        return int(connection.execute("SELECT count(*) FROM recording").get)


def has_due(connection: apsw.Connection, now: datetime) -> bool:
    """Say whether the time of some recording is up."""
    with translated():
        found = connection.execute("SELECT 1 FROM recording WHERE until <= ? LIMIT 1", (microseconds(now),)).get
    return found is not None


def erase(connection: apsw.Connection, until: datetime) -> Written[int]:
    """Erase some recordings that are kept until then or less, and overwrite the bytes that they took in the file."""
    connection.execute("PRAGMA secure_delete=ON")
    try:
        connection.execute(
            "DELETE FROM recording WHERE sequence IN (SELECT sequence FROM recording WHERE until <= ? LIMIT ?)",
            (microseconds(until), _AT_ONCE),
        )
        return Written(connection.changes())
    finally:
        connection.execute("PRAGMA secure_delete=OFF")
