"""Real processes: started, waited for under a deadline, killed the hard way, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

import anyio
import httpx2

from kit.missing import Missing

__all__ = ["Running", "alive", "descendants", "kit_command", "kit_environment", "running", "until", "until_async"]

T = TypeVar("T")
TESTS = Path(__file__).parents[1]
POLL_SECONDS = 0.02


async def until(condition: Callable[[], T | None], what: str, within: float = 15.0) -> T:
    """Return the first truthy value of `condition`; fail with `what` when none comes in `within` seconds."""

    async def ask() -> T | None:
        return condition()

    return await until_async(ask, what, within)


async def until_async(condition: Callable[[], Awaitable[T | None]], what: str, within: float = 15.0) -> T:
    """The same for a condition that must be awaited."""
    deadline = time.monotonic() + within
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:g} s: {what}")
        await anyio.sleep(POLL_SECONDS)


def kit_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this kit; needs `kit_environment`."""
    return [sys.executable, "-m", module, *arguments]


def kit_environment() -> dict[str, str]:
    """What a child needs to import this kit. Goes into the `env` of an upstream too: a proxy passes little on."""
    return {"PYTHONPATH": str(TESTS)}


class Running:
    """A started process whose output is collected, so that it never blocks on a full pipe."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.command = list(command)
        self.stdout_lines: list[str] = []
        self.stderr_lines: list[str] = []
        self._popen = subprocess.Popen(
            self.command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that `close` can end the whole group, whatever the process left
        )
        self._readers = [
            threading.Thread(target=_collect, args=(stream, lines), daemon=True)
            for stream, lines in ((self._popen.stdout, self.stdout_lines), (self._popen.stderr, self.stderr_lines))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def said(self, pattern: str) -> re.Match[str] | None:
        """The first match of `pattern` in a line of stdout or stderr so far."""
        for line in [*self.stdout_lines, *self.stderr_lines]:
            if found := re.search(pattern, line):
                return found
        return None

    async def until_said(self, pattern: str, within: float = 20.0) -> re.Match[str]:
        """Wait for a line that matches `pattern`; an exit before that is a failure with everything it said."""

        def heard() -> re.Match[str] | None:
            found = self.said(pattern)
            if found is None and self.returncode is not None:
                raise RuntimeError(f"exited with {self.returncode} before it said `{pattern}`:\n{self.told()}")
            return found

        return await until(heard, f"`{pattern}` from {' '.join(self.command)}\n{self.told()}", within)

    async def until_answers(self, url: str, within: float = 20.0) -> None:
        """Wait until a GET of `url` is answered with anything below 500."""
        async with httpx2.AsyncClient(timeout=2.0, trust_env=False) as client:

            async def answered() -> bool:
                if self.returncode is not None:
                    raise RuntimeError(f"exited with {self.returncode} before {url} answered:\n{self.told()}")
                try:
                    return (await client.get(url)).status_code < 500
                except httpx2.TransportError:
                    return False

            await until_async(answered, f"{url} from {' '.join(self.command)}\n{self.told()}", within)

    async def until_exit(self, within: float = 15.0) -> int:
        """Wait for the process to end by itself; its status."""
        await until(lambda: self.returncode is not None, f"the end of {' '.join(self.command)}\n{self.told()}", within)
        status = self.returncode
        assert status is not None
        return status

    def descendants(self) -> set[int]:
        """Every live process below this one, now."""
        return descendants(self.pid)

    async def kill9(self) -> None:
        """End this process, not its children, with no chance to say goodbye, and wait until it is gone."""
        self._popen.send_signal(signal.SIGKILL)
        await self.until_exit()

    async def terminate(self, within: float = 15.0) -> int:
        """Ask it to stop and wait; its status."""
        if self.returncode is None:
            self._popen.send_signal(signal.SIGTERM)
        return await self.until_exit(within)

    def told(self) -> str:
        """All it said, for failure messages."""
        return "\n".join(["--- stdout", *self.stdout_lines[-40:], "--- stderr", *self.stderr_lines[-80:]])

    def close(self) -> None:
        """End it and all of its group, whatever state they are in, and give back the pipes."""
        if self.returncode is None:
            self._popen.terminate()
            try:
                self._popen.wait(5)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # the group outlives its leader when a child is left
        self._popen.wait(10)
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()
        for reader in self._readers:
            reader.join(2)


@contextmanager
def running(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Generator[Running]:
    """A process for as long as the block lasts."""
    process = Running(command, env=env, cwd=cwd)
    try:
        yield process
    finally:
        process.close()


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie, which only waits to be counted, does not."""
    try:
        return _stat(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    """Every live process below `pid`, found by parent in /proc.

    Raises:
        Missing: there is no /proc here.
    """
    if not Path("/proc/self/stat").exists():
        raise Missing("no /proc here, so children cannot be counted")
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = _stat(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state not in "ZX":
                parents[int(entry.name)] = parent
    found: set[int] = set()
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def _stat(pid: int) -> tuple[str, int]:
    text = Path(f"/proc/{pid}/stat").read_text()
    state, parent = text[text.rindex(")") + 2 :].split()[:2]  # the name before it may hold spaces and brackets
    return state, int(parent)


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    with suppress(ValueError):  # closed while we read: the process is gone
        while stream is not None and (line := stream.readline()):
            lines.append(line.rstrip("\n"))
