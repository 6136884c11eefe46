"""Standing grants, kept in SQLite."""

from typing import Final

__all__ = ["TABLES"]

TABLES: Final = (
    """CREATE TABLE standing_grant (
        id TEXT PRIMARY KEY,
        agent TEXT NOT NULL,
        server TEXT NOT NULL,
        tool TEXT NOT NULL,
        expires INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        max_uses INTEGER NOT NULL,
        revoked INTEGER,
        body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX grant_by_call ON standing_grant (agent, server, tool)",
)
