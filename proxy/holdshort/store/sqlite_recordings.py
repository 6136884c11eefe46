"""Recordings on SQLite. They are written by the log (`log.py`), in the statement that writes their row."""

from datetime import datetime

import apsw

from holdshort.store import recordings
from holdshort.store.writer import Writer

__all__ = ["SQLiteRecordings"]


class SQLiteRecordings:
    """Implements `recording.RecordingStore`; `reader` belongs to the event loop."""

    def __init__(self, writer: Writer, reader: apsw.Connection) -> None:
        self._writer = writer
        self._reader = reader

    async def get(self, sequence: int) -> str | None:
        return recordings.read(self._reader, sequence)

    async def erase(self, until: datetime) -> int:
        erased = 0
        while some := await self._writer.run(lambda c: recordings.erase(c, until)):
            erased += some
        return erased

    async def settle(self, now: datetime) -> None:
        """Erase what is due; writes only where there is something to do."""
        if recordings.has_due(self._reader, now):
            await self.erase(now)
