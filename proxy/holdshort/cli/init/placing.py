"""Several files at once: all of them are put in place, or none is; what was there is never lost on the way."""

import difflib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from holdshort.errors import HoldshortError

__all__ = ["NewFile", "NotPlaced", "difference", "place"]


class NotPlaced(HoldshortError):
    """Raised when a file cannot be written; nothing was changed then."""

    code = "not_placed"


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written. `private`: only its owner may read it; `ours`: an older one may always be replaced."""

    path: Path
    text: str
    private: bool = False
    ours: bool = False


def difference(new: NewFile) -> str:
    """Return what writing the file would change, as a unified diff; empty if nothing."""
    try:
        old = new.path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        old = []
    before = str(new.path) if old else os.devnull
    return "".join(difflib.unified_diff(old, new.text.splitlines(keepends=True), before, str(new.path)))


def place(files: Sequence[NewFile], *, force: bool) -> None:
    """Write all the files. Without `force`, one that is there already is an error, unless it is `ours`.

    Raises:
        NotPlaced: with the file and the reason; the folder is as it was.
    """
    made: list[Path] = []
    staged: list[tuple[NewFile, Path]] = []
    undo: list[tuple[Path, Path | None]] = []
    at = Path()
    try:
        for new in files:
            at = new.path
            made += _make_folder(new.path.parent)
            staged.append((new, _staged(new)))
        for new, temporary in staged:
            at = new.path
            _put(new, temporary, undo, force=force or new.ours)
    except OSError as error:
        for path, kept in reversed(undo):
            with suppress(OSError):
                path.unlink() if kept is None else kept.replace(path)
        _clear([temporary for _, temporary in staged])
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        reason = "it is there already" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
        raise NotPlaced(f"`{at}` cannot be written: {reason}; nothing was changed") from None
    _clear([kept for _, kept in undo if kept is not None])


def _make_folder(folder: Path) -> list[Path]:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _staged(new: NewFile) -> Path:
    """Write the text beside its place, and put it on disk."""
    handle, name = tempfile.mkstemp(prefix=f".{new.path.name}.", dir=new.path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(new.text)
            file.flush()
            os.fsync(file.fileno())
        if not new.private:
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)


def _put(new: NewFile, temporary: Path, undo: list[tuple[Path, Path | None]], *, force: bool) -> None:
    if force and new.path.is_file():
        handle, name = tempfile.mkstemp(prefix=f".{new.path.name}.was.", dir=new.path.parent)
        os.close(handle)
        kept = Path(name)
        new.path.replace(kept)
        undo.append((new.path, kept))
        temporary.replace(new.path)
        return
    try:
        # Unlike a rename, this never replaces a file that somebody else has just made.
        os.link(temporary, new.path)
    except FileExistsError:
        raise
    except OSError:
        with new.path.open("x", encoding="utf-8", newline="\n") as file:
            undo.append((new.path, None))
            file.write(new.text)
        if new.private:
            new.path.chmod(0o600)
    else:
        undo.append((new.path, None))
    temporary.unlink()


def _clear(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
