"""The load client over pipes: one child process, calls told apart by id, replies in any order."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from bench.load import INITIALIZE, INITIALIZED, Load, Measured, Run, TargetError, Workload, is_initialized, message

__all__ = ["StdioTarget"]

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0


class _Pipes(asyncio.SubprocessProtocol):
    """Cuts the child's output into lines; `on_lines` is set anew by whoever uses it."""

    def __init__(self) -> None:
        self.transport: asyncio.SubprocessTransport
        self.stdin: asyncio.WriteTransport
        self.on_lines: Callable[[list[bytes]], None] | None = None
        self.exited = asyncio.Event()
        self._rest: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.SubprocessTransport, transport)
        self.stdin = cast(asyncio.WriteTransport, self.transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        # Pieces of one long line are joined once, at its end.
        if b"\n" not in data:
            self._rest.append(data)
            return
        *lines, rest = (b"".join(self._rest) + data).split(b"\n")
        self._rest = [rest] if rest else []
        if self.on_lines is not None:
            self.on_lines(lines)

    def process_exited(self) -> None:
        self.exited.set()


class StdioTarget:
    """An initialized server behind a child process's standard input and output."""

    def __init__(self, pipes: _Pipes) -> None:
        self._pipes = pipes
        self._numbers = 1
        self.pid: int = pipes.transport.get_pid() or 0

    @classmethod
    async def open(cls, command: Sequence[str], environ: Mapping[str, str], stderr: Path) -> Self:
        """Start the command, initialize, and return the target ready for calls."""
        loop = asyncio.get_running_loop()
        with stderr.open("ab") as errors:
            _, pipes = await loop.subprocess_exec(
                _Pipes, *command, stderr=errors, env=dict(environ), start_new_session=True
            )
        target = cls(pipes)
        try:
            if not is_initialized(await target.request(INITIALIZE)):
                raise TargetError(f"`{command[0]}` did not answer initialize as a server does")
        except BaseException:
            await target.aclose()
            raise
        pipes.stdin.write(INITIALIZED + b"\n")
        return target

    async def request(self, body: bytes) -> dict[str, Any]:
        """Make one exchange, bounded in time."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await self.ask(body)
        except TimeoutError:
            raise TargetError(f"no reply within {_START_SECONDS:.0f} s to {body[:80]!r}") from None

    def ask(self, body: bytes) -> asyncio.Future[dict[str, Any]]:
        """Send one message; the first response that comes is its reply."""
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def read(lines: list[bytes]) -> None:
            for line in lines:
                reply = message(line)
                if reply and not done.done() and "method" not in reply:
                    done.set_result(reply)

        self._pipes.on_lines = read
        self._pipes.stdin.write(body + b"\n")
        return done

    async def measure(self, workload: Workload, load: Load) -> Measured:
        """Run `load` with that many ids outstanding."""
        run = Run(workload, load, self._numbers)
        self._numbers += load.calls
        lanes = _Lanes(run, self._pipes.stdin)
        self._pipes.on_lines = lanes.read
        lanes.send(load.in_flight)
        measured = await run.finish()
        self._pipes.on_lines = None
        return measured

    async def aclose(self) -> None:
        """Close the child's input, wait for it to leave, kill it if it does not."""
        self._pipes.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._pipes.exited.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self._pipes.exited.wait()
        self._pipes.transport.close()


class _Lanes:
    """Calls outstanding by id; as many new ones go out together as replies came in together."""

    def __init__(self, run: Run, stdin: asyncio.WriteTransport) -> None:
        self._run = run
        self._stdin = stdin
        self._sent_at: dict[int, int] = {}

    def send(self, count: int) -> None:
        numbers = [number for _ in range(count) if (number := self._run.take()) is not None]
        if not numbers:
            return
        data = b"".join([self._run.workload.request(number) + b"\n" for number in numbers])
        now = time.perf_counter_ns()
        self._sent_at.update(dict.fromkeys(numbers, now))
        self._stdin.write(data)

    def read(self, lines: list[bytes]) -> None:
        now = time.perf_counter_ns()
        settled = 0
        for line in lines:
            reply = message(line)
            number = reply.get("id")
            if not isinstance(number, int):
                continue
            sent_at = self._sent_at.pop(number, None)
            if sent_at is not None:
                self._run.settle(number, now - sent_at, reply)
                settled += 1
        self.send(settled)
