"""The definitions that tools are pinned to, kept in SQLite."""

from typing import Final

__all__ = ["TABLES"]

TABLES: Final = (
    """CREATE TABLE pin (
        server TEXT NOT NULL,
        tool TEXT NOT NULL,
        digest TEXT,
        definition TEXT,
        pinned_at INTEGER,
        pinned_by TEXT,
        seen_digest TEXT NOT NULL,
        seen_definition TEXT NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (server, tool)
    ) STRICT, WITHOUT ROWID""",
)
