"""Starting a command apart from us: its own session, none of our files, only the environment it is meant to see.

Not through the event loop's own `subprocess_exec`: uvloop's leaves open what was inheritable, ends of pipes included.
"""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdshort.gate.upstream.link import UpstreamUnreachable

__all__ = ["INHERITED", "Command", "child_environment", "spawn", "watch"]

INHERITED: Final = frozenset({"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR"})
"""Variables of ours that a child sees (MCP SDKs pass the first six), besides `LC_*`. All others may be secrets."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is started, and how."""

    label: str
    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment; see `child_environment`."""
    cwd: Path | None


def child_environment(ours: Mapping[str, str], configured: Mapping[str, str]) -> dict[str, str]:
    """Return what a child sees of our environment, and all that its configuration says.

    Exported shell functions, which old shells run on start, are no values.
    """
    env = {
        name: value
        for name, value in ours.items()
        if (name in INHERITED or name.startswith("LC_")) and not value.startswith("()")
    }
    env.update(configured)
    return env


def spawn(command: Command) -> subprocess.Popen[bytes]:
    """Start the command, with pipes to it.

    Raises:
        UpstreamUnreachable: it does not start.
    """
    label, name = command.label, command.command
    # A path that is relative is so to the folder that the child runs in.
    found = str(command.cwd / name) if command.cwd is not None and os.sep in name else name
    path = shutil.which(found, path=command.env.get("PATH"))
    if path is None and command.cwd is not None and not command.cwd.is_dir():
        raise UpstreamUnreachable(label, "cannot start: its folder `cwd` does not exist")
    if path is None:
        raise UpstreamUnreachable(label, f"cannot start: command `{name}` was not found; check `command` and `PATH`")
    try:
        return subprocess.Popen(  # noqa: S603  (from the configuration file alone; nothing on the network names commands)
            [path, *command.args],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(command.env),
            cwd=command.cwd,
            close_fds=True,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        if command.cwd is not None and not command.cwd.is_dir():
            why = "its folder `cwd` does not exist"
        else:
            why = (error.strerror or "it cannot be run").lower() if isinstance(error, OSError) else "it has a NUL byte"
        raise UpstreamUnreachable(label, f"cannot start: command `{name}`: {why}") from None


def watch(process: subprocess.Popen[bytes], on_exit: Callable[[], None]) -> None:
    """Call `on_exit` in the running event loop once the process has exited and was reaped."""
    loop = asyncio.get_running_loop()
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # No such thing here (macOS): a thread waits. It ends with the process, and never keeps ours from ending.
        def wait() -> None:
            process.wait()
            if not loop.is_closed():
                loop.call_soon_threadsafe(on_exit)

        threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
        return

    def exited() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        process.wait()
        on_exit()

    loop.add_reader(fd, exited)
