"""What SIGHUP means to a process that has files: read them again. Once its terminal has gone, it means: stop."""

import os
import signal

import anyio

from holdshort.server.reloading import Reloader

__all__ = ["CAN_HANG_UP", "reload_on_hangup"]

CAN_HANG_UP = hasattr(signal, "SIGHUP")
"""Windows has no such signal."""


async def reload_on_hangup(reloader: Reloader) -> None:
    """Read the files again at each SIGHUP; pass on as SIGTERM the one that says that our terminal was closed."""
    if not CAN_HANG_UP:
        return
    had_terminal = _has_terminal()
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        # Ends with the process.
        async for _ in signals:
            if had_terminal and not _has_terminal():
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                reloader.reload()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
