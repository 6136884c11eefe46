"""The state folder: which one it is, and that nobody else can look into it."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs

from holdshort.errors import StateError

__all__ = ["DATABASE", "StateFolderError", "choose_folder", "create_private_file", "prepare_folder"]

DATABASE: Final = "holdshort.db"
_VARIABLE: Final = "HOLDSHORT_STATE_DIR"


class StateFolderError(StateError):
    """Raised when the state folder cannot be used, or cannot be kept private."""

    code = "state_folder"

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"state folder `{folder}`: {problem}")
        self.folder = folder


def choose_folder(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the state folder.

    1. What was given (`--state-dir`, or the configuration).
    2. `HOLDSHORT_STATE_DIR`, unless it is empty.
    3. The user's state directory of this system.
    """
    if given is not None:
        return given.expanduser()
    named = environ.get(_VARIABLE)
    if named:
        return Path(named).expanduser()
    return platformdirs.user_state_path("holdshort", appauthor=False)


def prepare_folder(folder: Path) -> Path:
    """Create `folder` with mode 0700 where it is missing and return it.

    A folder that is empty or already ours is closed to others. Any other is left as it is: tightening a folder that
    somebody shares on purpose would break more than it protects.

    Raises:
        StateFolderError: it cannot be made, is not ours, or is open to others and not ours to close.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise StateFolderError(folder, "belongs to another user; choose one of your own with `--state-dir`")
        if stat.S_IMODE(found.st_mode) & 0o077:
            if any(folder.iterdir()) and not (folder / DATABASE).exists():
                raise StateFolderError(
                    folder, "others can enter it and it holds other files; run `chmod 700` on it or choose another"
                )
            folder.chmod(0o700)
    except OSError as error:
        raise StateFolderError(folder, f"cannot be used: {error.strerror}") from error
    return folder


def create_private_file(path: Path) -> None:
    """Create `path` with mode 0600 unless it exists, and close an existing one to others.

    SQLite gives its `-wal` and `-shm` files the mode of the database, so this covers them too.

    Raises:
        StateFolderError: the system refuses.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateFolderError(path.parent, f"`{path.name}` cannot be used: {error.strerror}") from error
