"""What recorded calls were made with, kept in SQLite beside the decision log so that it can be erased."""

from typing import Final

__all__ = ["TABLES"]

TABLES: Final = (
    """CREATE TABLE recording (
        sequence INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX recording_by_time ON recording (at)",
)
