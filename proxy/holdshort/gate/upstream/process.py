"""A child process that talks in lines, and that is stopped together with everything it started."""

import asyncio
import signal
from collections.abc import Callable
from typing import Final, cast

import anyio

from holdshort.gate.upstream.lines import Intake, LineReader, Overlong
from holdshort.gate.upstream.link import UpstreamLimits
from holdshort.gate.upstream.process_group import group_alive, signal_group
from holdshort.gate.upstream.spawn import Command, spawn, watch
from holdshort.gate.upstream.stderr import Stderr

__all__ = ["Child"]

_POLL_SECONDS: Final = 0.005
_LONGEST_POLL_SECONDS: Final = 0.1
_EOF_GRACE_SECONDS: Final = 0.5


class Child:
    """One child. `on_line` says whether a line was of use; `on_death` comes once, after the last line."""

    def __init__(
        self,
        command: Command,
        *,
        limits: UpstreamLimits,
        stderr: Stderr,
        on_line: Callable[[bytes | Overlong], bool],
        on_death: Callable[[str], None],
    ) -> None:
        self._command = command
        self._limits = limits
        self._stderr = stderr
        self._on_death = on_death
        self._intake = Intake(on_line, pause=self._pause, resume=self._resume)
        self._input = _Input()
        self._output = _Output(LineReader(limits.message.max_bytes), self._intake, self._output_ended)
        self._errors = _Errors(stderr)
        self._exited = asyncio.Event()
        self._stopped = asyncio.Event()
        self._returncode: int | None = None
        self._eof_timer: asyncio.TimerHandle | None = None
        self.stopping = False
        """Whether its end was asked for."""
        self.dead = False
        """Whether no line can come any more."""
        self.pid = 0

    async def start(self) -> None:
        """Start the command.

        Raises:
            UpstreamUnreachable: it does not start.
        """
        process = spawn(self._command)
        self.pid = process.pid

        def exited() -> None:
            self._returncode = process.returncode
            self._exited.set()
            # What it wrote last may still be in the pipe, and a grandchild may hold the pipe open for ever.
            self._die_soon()

        watch(process, exited)
        loop = asyncio.get_running_loop()
        # Shielded: a start given up half way would leave a process that nobody stops.
        with anyio.CancelScope(shield=True):
            await loop.connect_write_pipe(lambda: self._input, process.stdin)
            await loop.connect_read_pipe(lambda: self._output, process.stdout)
            await loop.connect_read_pipe(lambda: self._errors, process.stderr)

    @property
    def full(self) -> bool:
        """Whether the child has not read enough of its input yet to be given more."""
        return not self._input.room.is_set()

    async def room(self) -> None:
        """Wait until the child may be given more, or died."""
        while self.full and not self.dead:
            await self._input.room.wait()

    def write(self, line: bytes) -> None:
        """Give the child one line (its end included)."""
        self._input.write(line)

    def hold(self) -> None:
        """Let the child wait: what it said is not read yet."""
        self._intake.hold()

    def release(self) -> None:
        """Read on."""
        self._intake.release()

    async def stop(self) -> None:
        """End the child's input, then its process group, politely first. Nobody of the group is left afterwards."""
        if self.stopping:
            await self._stopped.wait()
            return
        self.stopping = True
        with anyio.CancelScope(shield=True):
            try:
                await self._stop()
            finally:
                self._stopped.set()

    async def _stop(self) -> None:
        patience = self._limits.stop_seconds
        self._input.close()
        with anyio.move_on_after(patience):
            await self._exited.wait()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._alive():
                break
            signal_group(self.pid, number)
            with anyio.move_on_after(patience):
                await self._exited.wait()
                pause = _POLL_SECONDS
                while self._alive():
                    await anyio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_POLL_SECONDS)
        self._die()
        self._intake.close()
        self._output.close()
        self._errors.close()

    def _alive(self) -> bool:
        return not self._exited.is_set() or group_alive(self.pid)

    def _output_ended(self) -> None:
        # The exit status, which makes the better message, often follows at once.
        self._die_soon()

    def _die_soon(self) -> None:
        if self._output.ended and self._exited.is_set():
            self._die()
        elif self._eof_timer is None and not self.dead:
            self._eof_timer = asyncio.get_running_loop().call_later(_EOF_GRACE_SECONDS, self._die)

    def _die(self) -> None:
        if self.dead:
            return
        self._intake.drain()
        self.dead = True
        self._input.room.set()
        if self._eof_timer is not None:
            self._eof_timer.cancel()
        self._on_death(self._obituary())

    def _obituary(self) -> str:
        if self.stopping:
            return "was stopped"
        code = self._returncode
        if code is None:
            return "closed its output"
        how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
        last = next((line for line in reversed(self._stderr.last) if line.strip()), "")
        return f"{how}; its last words: {last[:300]}" if last else how

    def _pause(self) -> None:
        self._output.read(False)

    def _resume(self) -> None:
        self._output.read(True)


# Transports are cast, not checked: uvloop's are no subclasses of asyncio's.


class _Input(asyncio.BaseProtocol):
    """The child's standard input."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def write(self, line: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line)

    def close(self) -> None:
        if self._transport is None:
            return
        # Where input is stuck, `close` would wait for the child to read it.
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()


class _Output(asyncio.Protocol):
    """The child's standard output."""

    def __init__(self, reader: LineReader, intake: Intake, on_end: Callable[[], None]) -> None:
        self._reader = reader
        self._intake = intake
        self._on_end = on_end
        self._transport: asyncio.ReadTransport | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        lines = self._reader.feed(data)
        if lines:
            self._intake.push(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._on_end()

    def read(self, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Errors(asyncio.Protocol):
    """The child's standard error."""

    def __init__(self, stderr: Stderr) -> None:
        self._stderr = stderr
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._stderr.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stderr.end()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
