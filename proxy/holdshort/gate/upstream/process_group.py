"""A process group: who is left of it, and how to signal it."""

import os
import signal
from pathlib import Path
from typing import Final

__all__ = ["group_alive", "signal_group"]

_PROC: Final = Path("/proc")


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal every process of the group, if there is one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def group_alive(group: int) -> bool:
    """Whether a process of the group still runs. One that only waits to be reaped does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so of a group in which nobody runs any more.
        return False
    # In a container nobody may reap orphans: the kernel then keeps the group, though nothing runs.
    return not _PROC.is_dir() or any(_runs(entry, group) for entry in _PROC.iterdir() if entry.name.isdigit())


def _runs(entry: Path, group: int) -> bool:
    try:
        # proc(5): the name of the command, in brackets, may hold anything; state, parent and group follow it.
        state, _, found = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(found) == group and state not in ("Z", "X")
