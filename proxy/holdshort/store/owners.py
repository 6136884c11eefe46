"""Who is alive. Every open store holds a lock on a file of its own; the system lets go when the process dies.

A kill -9 is known at once and for certain, without heartbeats and without trusting process ids, which come back.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from holdshort.store.folder import StateFolderError

__all__ = ["forget_dead", "hold_lock", "is_alive"]

_FOLDER: Final = "owners"


@contextmanager
def hold_lock(state_dir: Path, owner: str) -> Generator[None]:
    """Be known as alive under this name until the block ends or the process does."""
    folder = state_dir / _FOLDER
    path = folder / owner
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # Locked first, named afterwards: under its final name it is never seen unlocked while we live.
        nameless = folder / f".{owner}"
        descriptor = os.open(nameless, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        nameless.rename(path)
    except OSError as error:
        raise StateFolderError(state_dir, f"cannot be locked: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_alive(state_dir: Path, owner: str) -> bool:
    """Say whether the process that goes by this name still runs. In doubt it does: nothing is taken from the living."""
    try:
        descriptor = os.open(state_dir / _FOLDER / owner, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def forget_dead(state_dir: Path) -> None:
    """Remove the files that dead processes left behind."""
    with suppress(OSError):
        for path in (state_dir / _FOLDER).iterdir():
            # A name with a dot is a store that is just being opened.
            if not path.name.startswith(".") and not is_alive(state_dir, path.name):
                path.unlink(missing_ok=True)
