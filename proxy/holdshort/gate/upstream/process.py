"""A child process that talks in lines: started apart from us, and stopped together with everything it started."""

import asyncio
import errno
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from typing import Final, cast

import anyio

from holdshort.gate.upstream.lines import Intake, LineReader, Overlong
from holdshort.gate.upstream.link import UpstreamLimits, UpstreamUnreachable
from holdshort.gate.upstream.stderr import Stderr

__all__ = ["Child", "child_environment", "start"]

INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR")
"""Variables of ours that a child sees (MCP SDKs pass the first six), besides `LC_*`. All others may be secrets."""

_POLL_SECONDS: Final = 0.02
_EOF_GRACE_SECONDS: Final = 0.5


class Child(asyncio.SubprocessProtocol):
    """One running child. `on_line` says whether a line was of use; `on_death` comes once, after the last line."""

    def __init__(
        self,
        *,
        limits: UpstreamLimits,
        stderr: Stderr,
        on_line: Callable[[bytes | Overlong], bool],
        on_death: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._stderr = stderr
        self._on_death = on_death
        self._reader = LineReader(limits.message.max_bytes)
        self._intake = Intake(on_line, pause=self._pause, resume=self._resume)
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._stdout: asyncio.ReadTransport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._exited = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._dead = False
        self._eof_timer: asyncio.TimerHandle | None = None
        self.pid = 0

    # What the event loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self._stdout = cast("asyncio.ReadTransport", self._transport.get_pipe_transport(1))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            lines = self._reader.feed(data)
            if lines:
                self._intake.push(lines)
        else:
            self._stderr.feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            if self._exited.is_set():
                self._die()
            elif not self._dead:
                # The exit status, which makes the better message, often follows at once.
                self._die_soon()
        elif fd == 2:
            self._stderr.end()
        else:
            self._room.set()

    def process_exited(self) -> None:
        self._exited.set()
        self._room.set()
        # What the child wrote last may still be in the pipe; a grandchild may hold the pipe open for ever.
        self._die_soon()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    # What the link does.

    @property
    def dead(self) -> bool:
        """Whether no line can come any more."""
        return self._dead

    @property
    def stopping(self) -> bool:
        """Whether its end was asked for."""
        return self._stopping

    @property
    def full(self) -> bool:
        """Whether the child has not read enough of its input yet to be given more."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until the child may be given more, or died."""
        while self.full and not self._dead:
            await self._room.wait()

    def write(self, line: bytes) -> None:
        """Give the child one line (its end included)."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(line)

    def hold(self) -> None:
        """Let the child wait: what it said is not read yet."""
        self._intake.hold()

    def release(self) -> None:
        """Read on."""
        self._intake.release()

    async def stop(self) -> None:
        """End the child's input, then its process group, politely first. Nobody of the group is left afterwards."""
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        with anyio.CancelScope(shield=True):
            try:
                await self._stop()
            finally:
                self._stopped.set()

    async def _stop(self) -> None:
        patience = self._limits.stop_seconds
        if self._stdin is not None:
            # `abort` where unread input is stuck: `close` would wait for the child to read it.
            if self._stdin.get_write_buffer_size():
                self._stdin.abort()
            else:
                self._stdin.close()
        with anyio.move_on_after(patience):
            await self._exited.wait()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._group_alive():
                break
            self._signal_group(number)
            with anyio.move_on_after(patience):
                await self._exited.wait()
                while self._group_alive():  # noqa: ASYNC110  (no event tells when a group is empty)
                    await anyio.sleep(_POLL_SECONDS)
        self._die()
        self._intake.close()
        if self._transport is not None:
            self._transport.close()

    def _group_alive(self) -> bool:
        if not self._exited.is_set():
            return True
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # macOS says so of a group that only has zombies left.
            return False
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _die_soon(self) -> None:
        if self._eof_timer is None and not self._dead:
            self._eof_timer = asyncio.get_running_loop().call_later(_EOF_GRACE_SECONDS, self._die)

    def _die(self) -> None:
        if self._dead:
            return
        self._intake.drain()
        self._dead = True
        self._room.set()
        if self._eof_timer is not None:
            self._eof_timer.cancel()
        self._on_death(self._obituary())

    def _obituary(self) -> str:
        code = self._transport.get_returncode() if self._transport is not None else None
        if self._stopping:
            return "was stopped"
        if code is None:
            return "closed its output"
        how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
        last = next((line for line in reversed(self._stderr.last) if line.strip()), "")
        return f"{how}; its last words: {last[:300]}" if last else how

    def _pause(self) -> None:
        if self._stdout is not None and not self._stdout.is_closing():
            self._stdout.pause_reading()

    def _resume(self) -> None:
        if self._stdout is not None and not self._stdout.is_closing():
            self._stdout.resume_reading()


async def start(
    label: str,
    command: str,
    args: tuple[str, ...],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    make: Callable[[], Child],
) -> Child:
    """Start a child in a session and process group of its own, with none of our files.

    Raises:
        UpstreamUnreachable: the command does not start.
    """
    path = shutil.which(command, path=env.get("PATH"))
    if path is None:
        raise UpstreamUnreachable(label, f"cannot start: command `{command}` was not found; check `command` and `PATH`")
    loop = asyncio.get_running_loop()
    try:
        # Shielded: a start given up half way would leave a process that nobody stops.
        with anyio.CancelScope(shield=True):
            return (
                await loop.subprocess_exec(
                    make, path, *args, env=dict(env), cwd=cwd, start_new_session=True, close_fds=True
                )
            )[1]
    except OSError as error:
        reason = "its folder `cwd` does not exist" if _no_such_folder(error, cwd) else (error.strerror or "").lower()
        raise UpstreamUnreachable(label, f"cannot start: command `{command}`: {reason}") from None


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


def _no_such_folder(error: OSError, cwd: str | None) -> bool:
    return error.errno in (errno.ENOENT, errno.ENOTDIR) and cwd is not None and not os.path.isdir(cwd)  # noqa: PTH112
