"""A process of its own on a file of sessions or saved runs, for tests that race processes: `python -m runner.keeping`.

It says `ready`, and then does what each line on stdin says (deed, file, name) and tells how it went as one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.streams.text import TextReceiveStream

from holdshort.runner.data import RunData
from holdshort.runner.errors import RunnerError, StateSuperseded
from holdshort.runner.run_store import SQLiteRunStore
from holdshort.runner.sqlite_session import SQLiteSession
from kit.process import kit_command, kit_environment

__all__ = ["BATCHES", "NAMES", "PAIR", "Keepers", "SavedState", "ready_keepers"]

BATCHES: Final = 25
NAMES: Final = ("a", "b", "c")
PAIR: Final = 2
_PATIENCE: Final = 60


class SavedState:
    """As much of a `RunState` as a store looks at."""

    def __init__(self, data: RunData, note: str = "") -> None:
        self.data = data
        self.note = note

    @property
    def run_id(self) -> str:
        return self.data.run_id

    @property
    def revision(self) -> int:
        return self.data.revision

    def to_string(self, *, secret: Any = None) -> str:
        return json.dumps([self.data.run_id, self.data.revision, self.data.lineage, self.note])


async def add(path: str, name: str) -> Any:
    """Append many pairs to one session."""
    session = SQLiteSession("shared", path)
    for number in range(BATCHES):
        call = {"type": "function_call", "call_id": f"{name}-{number}", "name": "rm", "arguments": "{}"}
        done = {"type": "function_call_output", "call_id": f"{name}-{number}", "output": "gone"}
        await session.add_items([call, done])
    session.close()
    return name


async def repeat(path: str, name: str) -> Any:
    """Append the same turn of the same run as everybody else."""
    session = SQLiteSession("shared", path)
    await session.add_items_once([{"role": "user", "content": str(n)} for n in range(5)], run_id="run-1", position=3)
    session.close()
    return name


async def diverge(path: str, name: str) -> Any:
    """Append a turn that is our own, where everybody else appends theirs."""
    session = SQLiteSession("shared", path)
    try:
        await session.add_items_once([{"role": "assistant", "content": name}], run_id="run-1", position=3)
    except StateSuperseded:
        return "superseded"
    finally:
        session.close()
    return "added"


async def go_on(path: str, name: str) -> Any:
    """Go on from revision 5 of one run, and save every step of it."""
    store = SQLiteRunStore(path)
    data = RunData(run_id="run-1", agent="Ops", first_agent="Ops", revision=5, lineage=["0:first", f"5:{name}"])
    saved = 0
    try:
        for _ in range(BATCHES):
            data.revision += 1
            await store.save(SavedState(data))
            saved += 1
    except StateSuperseded:
        pass
    finally:
        store.close()
    return saved


DEEDS: Final[dict[str, Callable[[str, str], Awaitable[Any]]]] = {
    each.__name__: each for each in (add, repeat, diverge, go_on)
}


class Keepers:
    """Several processes that are ready, and do what they are told at once."""

    def __init__(self) -> None:
        self._ready: list[tuple[anyio.abc.Process, AsyncGenerator[str]]] = []

    async def start(self, stack: AsyncExitStack, count: int) -> None:
        """Start them, and wait until all are ready."""
        command = kit_command("runner.keeping")
        env = {**os.environ, **kit_environment()}
        for _ in range(count):
            process = await stack.enter_async_context(await anyio.open_process(command, env=env, stderr=None))
            assert process.stdout is not None
            self._ready.append((process, _lines(TextReceiveStream(process.stdout))))
        with anyio.fail_after(_PATIENCE):
            assert {await anext(lines) for _, lines in self._ready} == {"ready"}

    def stop(self) -> None:
        """End them."""
        for process, _ in self._ready:
            process.kill()

    async def race(self, deed: str, path: Path) -> list[Any]:
        """Let all do the same deed as nearly at once as can be, each under a name; return what each says."""
        with anyio.fail_after(_PATIENCE):
            for name, (process, _) in zip(NAMES, self._ready, strict=True):
                assert process.stdin is not None
                await process.stdin.send(f"{json.dumps([deed, str(path), name])}\n".encode())
            told = [json.loads(await anext(lines)) for _, lines in self._ready]
        assert [each for each in told if "failed" in each] == []
        return [each["said"] for each in told]


@asynccontextmanager
async def ready_keepers() -> AsyncGenerator[Keepers]:
    """Processes for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        keepers = Keepers()
        await keepers.start(stack, len(NAMES))
        yield keepers
        keepers.stop()


async def _lines(stream: TextReceiveStream) -> AsyncGenerator[str]:
    rest = ""
    async for text in stream:
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield line


async def done(deed: str, path: str, name: str) -> dict[str, Any]:
    """Do it, and return how it went."""
    try:
        return {"said": await DEEDS[deed](path, name)}
    except RunnerError as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Do what is told, one line each, until stdin ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(anyio.run(done, *json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
