"""Notices that files changed, by looking at them several times a second.

Looking works where notifications of the system do not: on network file systems, in containers where a folder is mounted
and its symbolic links are turned (`..data` of a Kubernetes ConfigMap), after a file is replaced whole. There are a
handful of files; a look costs some ten microseconds, beside the event loop, and no dependency.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from holdshort.config.reading import Stamp, stamp_of

__all__ = ["LOOK_SECONDS", "FileWatch", "Stamps"]

LOOK_SECONDS: Final = 0.3
"""A change is taken up when two looks in a row find the files the same: an editor may write twice, or take a moment."""

Stamps = Mapping[Path, Stamp | None]


class FileWatch:
    """Compares files with how they were when they were last read."""

    def __init__(self, read: Stamps) -> None:
        self._read = dict(read)
        self._last = self._read
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Do not wait for a change: somebody says that there is one."""
        self._asked.set()

    def was_read(self, read: Stamps) -> None:
        """From now on these are the files, and how they were; none: the same files, as they were last seen."""
        self._read = dict(read) or self._last
        self._last = self._read

    async def changed(self) -> bool:
        """Wait until files have changed and rest, or somebody asked; say whether somebody did."""
        # Ends with a change.
        while True:
            with anyio.move_on_after(LOOK_SECONDS):
                await self._asked.wait()
                self._asked = anyio.Event()
                return True
            # A file system that hangs must not keep this process from ending.
            found = await anyio.to_thread.run_sync(_look, tuple(self._read), abandon_on_cancel=True)
            rests, self._last = found == self._last, found
            if rests and found != self._read:
                return False


def _look(files: Iterable[Path]) -> dict[Path, Stamp | None]:
    return {path: stamp_of(path) for path in files}
