"""Built once, by whichever process comes first, and never seen half built.

Everything the tests install lives in one folder: `.cache/` beside `tests/`, or `HOLDSHORT_TEST_CACHE`. An entry is
built in a folder of its own and renamed into place, under a lock, so that parallel test processes build it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["build_once", "cache_folder", "digest"]


def cache_folder() -> Path:
    """The folder of everything the tests install; made when absent."""
    named = os.environ.get("HOLDSHORT_TEST_CACHE")
    folder = Path(named) if named else Path(__file__).parents[2] / ".cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(*parts: str) -> str:
    """A short name for exactly these parts: another pin is another entry."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def build_once(name: str, build: Callable[[Path], None], *, in_place: bool = False) -> Path:
    """Return the folder `name` of the cache, built by `build(folder)` when it is not there yet.

    `in_place` is for things that remember where they were made (virtual environments): they are built under their
    final name and marked when complete.
    """
    target = cache_folder() / name
    marker = target / ".complete"
    if marker.exists():
        return target
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the process that holds it builds; the others wait here, then find the marker
        if marker.exists():
            return target
        shutil.rmtree(target, ignore_errors=True)
        if in_place:
            target.mkdir(parents=True)
            build(target)
            marker.touch()
            return target
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f"{name}.") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            build(made)
            (made / ".complete").touch()
            made.rename(target)
    return target
