"""The processes of a measurement: each in its own process group, each gone when its block ends, each weighed.

Weights are read from /proc, so they are Linux's; elsewhere they are zero.
"""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL

import anyio

__all__ = ["Child", "Weight", "environment", "free_port", "last_words", "started", "weigh"]

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.01
_NOT_THE_PROXY = b"echo_upstream.py"


class ChildError(Exception):
    """Raised when a process does not start listening; it carries the process's last words."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process that accepts connections."""

    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class Weight:
    """What a process and its children, the upstream left out, hold and have used."""

    resident_bytes: int = 0
    cpu_seconds: float = 0.0


def environment() -> dict[str, str]:
    """Return our environment, with this checkout's packages and this interpreter's commands first."""
    root = Path(__file__).resolve().parents[2]
    path = os.environ.get("PATH", os.defpath)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root / "proxy"), str(root / "tests")]),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}",
        "PYTHONDONTWRITEBYTECODE": "",
    }


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def started(
    command: Sequence[str], port: int, log: Path, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Child]:
    """Run a server for as long as the block, from the moment it accepts connections on `port`."""
    with log.open("ab") as output:
        process = await anyio.open_process(
            command,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment() if environ is None else environ),
            start_new_session=True,
        )
    try:
        with anyio.move_on_after(_START_SECONDS):
            while process.returncode is None and not _accepts(port):  # noqa: ASYNC110 (no event tells)
                await anyio.sleep(_POLL_SECONDS)
        if process.returncode is not None or not _accepts(port):
            raise ChildError(f"`{' '.join(command[:4])}` does not listen: {last_words(log)}")
        yield Child(process.pid, port)
    finally:
        await _stop(process)


def last_words(log: Path) -> str:
    """Return the last lines a process wrote."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return " / ".join(text.strip().splitlines()[-3:])[-400:] or "it said nothing"


def weigh(pid: int) -> Weight:
    """Return the weight of process `pid` and of its descendants."""
    resident, nanoseconds = 0, 0
    for each in _tree(pid):
        with suppress(OSError, ValueError, IndexError):
            resident += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for thread in Path(f"/proc/{each}/task").iterdir():
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return Weight(resident, nanoseconds / 1e9)


def _tree(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything; what follows the last one is state and parent.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if _NOT_THE_PROXY not in (entry / "cmdline").read_bytes() or int(entry.name) == pid:
                parents.setdefault(parent, []).append(int(entry.name))
    found, front = [pid], [pid]
    while front:
        front = [child for one in front for child in parents.get(one, ())]
        found += front
    return found


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _stop(process: anyio.abc.Process) -> None:
    """Ask the whole group to leave, then insist."""
    with anyio.CancelScope(shield=True):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with anyio.move_on_after(_STOP_SECONDS):
                await process.wait()
                return
