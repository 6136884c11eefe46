"""What a proxy holds before anyone calls, and how long from its start to its first answered `initialize`.

python tests/bench/memory.py [--only NAMES] [--json]
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.children import weigh
from bench.lanes import Lane, Row
from bench.place import lane_place
from bench.rows import rows

__all__ = ["main"]

_REPEATS = 3
_SETTLE_SECONDS = 1.0
_LANES = (Lane.HTTP_HTTP, Lane.STDIO_STDIO)
_NOT_PROXIES = frozenset({"direct", "nginx"})


@dataclass(frozen=True, slots=True)
class Idle:
    """One proxy at rest with one initialized session: medians."""

    lane: str
    row: str
    start_seconds: float
    resident_bytes: float


async def measure(only: frozenset[str]) -> list[Idle]:
    """Start every present proxy a few times, one after another."""
    found: list[Idle] = []
    for lane in _LANES:
        for row in rows(only):
            if lane not in row.lanes or row.name in _NOT_PROXIES or row.name.endswith("/mcp"):
                continue
            if row.absent is not None:
                print(f"{row.name}: not measured: {row.absent}", file=sys.stderr)
                continue
            samples = [await _once(lane, row) for _ in range(_REPEATS)]
            found.append(Idle(lane.value, row.name, *(median(column) for column in zip(*samples, strict=True))))
    return found


async def _once(lane: Lane, row: Row) -> tuple[float, float]:
    async with lane_place(lane, 10) as place:
        before = time.perf_counter()
        async with row.open(place) as opened:
            took = time.perf_counter() - before
            await anyio.sleep(_SETTLE_SECONDS)
            return took, float(weigh(opened.pid or 0).resident_bytes)


def main() -> None:
    """Print one line per proxy and lane."""
    parser = argparse.ArgumentParser(description="measure idle memory and start time of proxies")
    parser.add_argument("--only", default="", help="rows, by first word: holdshort,sdk,fastmcp")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    only = frozenset(filter(None, options.only.split(",")))
    found = anyio.run(measure, only, backend_options={"use_uvloop": True})
    if options.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    print("| lane | row | start to first initialize, s | idle, MiB |\n|---|---|---:|---:|")
    for each in found:
        print(f"| {each.lane} | {each.row} | {each.start_seconds:.2f} | {each.resident_bytes / 2**20:.0f} |")


if __name__ == "__main__":
    main()
