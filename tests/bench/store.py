"""Measure the store alone: rows of the decision log, and the life of a parked call.

    python tests/bench/store.py [--folder FOLDER]

`record` is what an allowed call costs here: committed on return, on disk a moment later. `park`, `decide` and `claim`
are on disk when they return, so their times are mostly the disk's. Put FOLDER on the disk you mean to measure.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio.lowlevel

# In place of this folder, where `store` is this file.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import anyio

from holdshort.store import Quotas, Store
from interruption.samples import parked
from store.places import SQLitePlace, approval, claim, row

__all__ = ["main"]

ROWS = 20_000
CALLS = 500
MANY = 32


async def measure(store: Store, callers: int, count: int, deed: Callable[[int], Awaitable[object]]) -> list[float]:
    """Do the deed `count` times from `callers` tasks; return each one's seconds, then the seconds of it all."""
    times: list[float] = []

    async def some(first: int) -> None:
        for number in range(first, count, callers):
            begun = time.perf_counter()
            await deed(number)
            times.append(time.perf_counter() - begun)
            # Let the others have their turn: a row written inline never waits, and so never yields.
            await anyio.lowlevel.checkpoint()

    begun = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for first in range(callers):
            tasks.start_soon(some, first)
    return [*sorted(times), time.perf_counter() - begun]


async def _measure_all(folder: Path) -> None:
    print(f"| {'what':<8} | callers | {'per second':>10} | {'p50 ms':>8} | {'p99 ms':>8} | {'max ms':>8} |")
    print(f"|{'-' * 10}|--------:|-----------:|---------:|---------:|---------:|")
    quotas = Quotas(per_agent=10**6, per_server=10**6, total=10**6)
    async with SQLitePlace(folder).open(quotas=quotas, sweep=True) as store:
        entry = row()
        for callers in (1, MANY):
            base = callers * 10_000

            async def record(_: int) -> None:
                await store.record(entry)

            async def park(number: int, base: int = base) -> None:
                await store.park(parked(base + number))

            async def decide(number: int, base: int = base) -> None:
                call = parked(base + number)
                await store.apply(call.id, approval(call))

            async def take(number: int, base: int = base) -> None:
                call = parked(base + number)
                await store.apply(call.id, claim(call))

            for name, count, deed in (
                ("record", ROWS, record),
                ("park", CALLS, park),
                ("decide", CALLS, decide),
                ("claim", CALLS, take),
            ):
                _print(name, callers, await measure(store, callers, count, deed))
        begun = time.perf_counter()
        verified = await store.verify()
        print(f"\nverify: {verified.rows} rows in {time.perf_counter() - begun:.2f} s, whole: {verified.ok}")


def _print(name: str, callers: int, measured: list[float]) -> None:
    *times, whole = measured
    count = len(times)
    p50, p99, worst = (times[int(count * share)] * 1e3 for share in (0.5, 0.99, 1 - 1 / count))
    print(f"| {name:<8} | {callers:>7} | {count / whole:>10,.0f} | {p50:>8.3f} | {p99:>8.3f} | {worst:>8.3f} |")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description="Measure the store alone.")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    given: Path | None = parser.parse_args().folder
    with tempfile.TemporaryDirectory(dir=given) as folder:
        print(f"{datetime.now(UTC):%Y-%m-%d}, in {given or tempfile.gettempdir()}\n")
        anyio.run(_measure_all, Path(folder) / "state")


if __name__ == "__main__":
    main()
