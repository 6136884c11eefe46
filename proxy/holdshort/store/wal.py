"""The write-ahead log: bringing it to disk, and moving what it holds into the database before it grows too long."""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import apsw

from holdshort.errors import HoldshortError
from holdshort.store.connection import open_database

__all__ = ["WriteAheadLog"]

_STEP_PAGES: Final = 4_000
"""Moved whenever it grew by so much (16 MiB)."""

_URGENT_PAGES: Final = 16_000

_log = logging.getLogger(__name__)


class WriteAheadLog:
    """The log beside one database. Everything but `grew` belongs to the writer thread."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        """`connection` is the one that writes."""
        self._path = path
        self._connection = connection
        self._pages = 0
        self._moved_pages = 0

    def grew(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        """Called by SQLite after every commit of the connection."""
        self._pages = pages
        return apsw.SQLITE_OK

    def sync(self) -> None:
        """Wait until everything committed so far is on disk.

        Not through SQLite, which would keep everybody from writing meanwhile. Its locks are on the other two files:
        closing this one lets none of them go.

        Raises:
            OSError: the disk failed.
        """
        descriptor = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def shrink(self, alone: Callable[[], AbstractContextManager[None]]) -> None:
        """Move it into the database if it grew, mostly without keeping anybody from writing; `alone` does that."""
        pages = self._pages
        if pages < self._moved_pages:
            # It began again from its start.
            self._moved_pages = 0
        if pages - self._moved_pages < _STEP_PAGES:
            return
        try:
            mover = open_database(self._path)
            try:
                mover.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                mover.close()
            if pages >= _URGENT_PAGES:
                # It begins again only when all of it was moved, which under constant load never happens by itself.
                with alone():
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.Error, HoldshortError) as error:
            _log.warning("the write-ahead log could not be moved into the database: %s", error)
        self._moved_pages = pages
