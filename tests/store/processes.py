"""Starting `worker.py` in processes of their own, and hearing how it went."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

__all__ = ["Worker", "worker"]

_WORKER: Final = Path(__file__).parent / "worker.py"
_PATIENCE: Final = 60


@dataclass
class Worker:
    """One process with its store open, waiting for the word."""

    process: Process
    lines: "_Lines"

    async def go(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(b"go\n")

    async def told(self) -> dict[str, Any]:
        with anyio.fail_after(_PATIENCE):
            told: dict[str, Any] = json.loads(await self.lines.next())
            return told

    async def died(self) -> int:
        with anyio.fail_after(_PATIENCE):
            return await self.process.wait()

    def kill(self) -> None:
        self.process.kill()


class _Lines:
    def __init__(self, stream: TextReceiveStream) -> None:
        self._stream = stream
        self._rest = ""

    async def next(self) -> str:
        while "\n" not in self._rest:
            self._rest += await self._stream.receive()
        line, _, self._rest = self._rest.partition("\n")
        return line


@asynccontextmanager
async def worker(folder: Path, deed: str, *, environ: Mapping[str, str] | None = None) -> AsyncGenerator[Worker]:
    """Start a worker and wait until its store is open; it is gone when the block ends."""
    tests = str(_WORKER.parents[1])
    path = os.pathsep.join([tests, str(_WORKER.parents[2] / "proxy"), os.environ.get("PYTHONPATH", "")])
    process = await anyio.open_process(
        [sys.executable, str(_WORKER), str(folder), deed],
        env={**os.environ, "PYTHONPATH": path, **(environ or {})},
        stderr=subprocess.DEVNULL if environ else None,
    )
    try:
        assert process.stdout is not None
        lines = _Lines(TextReceiveStream(process.stdout))
        with anyio.fail_after(_PATIENCE):
            assert await lines.next() == "ready"
        yield Worker(process, lines)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()
