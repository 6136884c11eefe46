"""Measure Holdshort against doing without it, and against what one would use instead.

    python tests/bench/run.py [--quick] [--share SHARE] [--only NAMES] [--lane LANE] [--json | --profile]

One table per lane. All rows of a lane run against the same upstream in one go, turn by turn, so that what disturbs the
machine disturbs them all; each figure is the median of its repeats. Ratios within a table are worth more than figures.
"""

import argparse
import json
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import holdshort_rows
from bench.children import weigh
from bench.lanes import Lane, Opened, Place, Row
from bench.load import EchoCalls, ListCalls, Load, Measured, Workload
from bench.place import lane_place
from bench.profiling import print_profile, profile
from bench.rows import rows
from bench.table import Figures, print_lane

__all__ = ["main"]

_FEW_TOOLS = 10
_MANY_TOOLS = 500
_RATE = "rate"


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long; every load ends by count or by clock."""

    repeats: int
    share: float
    """Of the full loads."""

    def load(self, in_flight: int, calls: int, seconds: float) -> Load:
        """Return a load cut to this plan's share."""
        return Load(in_flight, max(in_flight, int(calls * self.share)), seconds * self.share)

    def loads(self, tool: str) -> dict[str, tuple[Workload, Load]]:
        """Return what is measured of a server with few tools, by the name of the figure."""
        return {
            "one": (EchoCalls(tool), self.load(1, 5_000, 1.5)),
            _RATE: (EchoCalls(tool), self.load(32, 100_000, 2.0)),
            "crowd": (EchoCalls(tool), self.load(128, 20_000, 2.0)),
            "kib64": (EchoCalls(tool, 64 * 1024), self.load(1, 500, 1.0)),
            "mib1": (EchoCalls(tool, 1024 * 1024), self.load(1, 60, 1.0)),
        }


FULL = Plan(repeats=3, share=1.0)
QUICK = Plan(repeats=1, share=0.1)


@dataclass(slots=True)
class Measuring:
    """One row being measured: its runs by figure, its CPU seconds per call, or why it stopped."""

    row: Row
    opened: Opened | None = None
    failed: str | None = None
    runs: dict[str, list[Measured]] = field(default_factory=dict[str, list[Measured]])
    cpu: list[float] = field(default_factory=list[float])

    async def open(self, place: Place, stack: AsyncExitStack) -> None:
        """Start the row; one that does not start is a line of the table, not the end of the run."""
        try:
            self.opened = await stack.enter_async_context(self.row.open(place))
        except Exception as error:  # noqa: BLE001 (whatever a stranger's proxy does)
            self.failed = f"{type(error).__name__}: {error}"

    async def run(self, figure: str, workload: Workload, load: Load) -> None:
        """Make one run of this row."""
        if self.opened is None or self.failed is not None:
            return
        before = weigh(self.opened.pid) if self.opened.pid and figure == _RATE else None
        try:
            measured = await self.opened.target.measure(workload, load)
        except Exception as error:  # noqa: BLE001
            self.failed = f"{type(error).__name__}: {error}"
            return
        self.runs.setdefault(figure, []).append(measured)
        if before is not None and self.opened.pid and measured.calls:
            spent = weigh(self.opened.pid).cpu_seconds - before.cpu_seconds
            self.cpu.append(spent / measured.calls)

    def figures(self) -> Figures:
        """Sum the runs up."""
        return Figures(
            row=self.row.name,
            absent=self.row.absent or self.failed,
            p50=self._median("one", "p50"),
            p99=self._median("one", "p99"),
            rate=self._median(_RATE, "rate"),
            cpu=median(self.cpu) if self.cpu else None,
            failures=sum(each.failures for runs in self.runs.values() for each in runs),
            kib64=self._median("kib64", "p50"),
            mib1=self._median("mib1", "p50"),
            listing=self._median("listing", "p50"),
        )

    def _median(self, figure: str, attribute: str) -> float | None:
        values: list[float] = [getattr(each, attribute) for each in self.runs.get(figure, ())]
        return median(values) if values else None


async def measure_lane(lane: Lane, chosen: list[Row], plan: Plan) -> list[Figures]:
    """Measure every row of one lane, in turns."""
    measuring = [Measuring(row) for row in chosen if lane in row.lanes]
    present = [each for each in measuring if each.row.absent is None]
    async with lane_place(lane, _FEW_TOOLS) as place, AsyncExitStack() as stack:
        for each in present:
            await each.open(place, stack)
        for each in present:
            await _warm_up(each)
        for _ in range(plan.repeats):
            for each in present:
                for figure, (workload, load) in plan.loads(each.opened.tool if each.opened else "").items():
                    await each.run(figure, workload, load)
    async with lane_place(lane, _MANY_TOOLS) as place, AsyncExitStack() as stack:
        for each in present:
            if each.failed is None:
                await each.open(place, stack)
        for _ in range(plan.repeats):
            for each in present:
                await each.run("listing", ListCalls(_MANY_TOOLS), plan.load(1, 300, 1.0))
    return [each.figures() for each in measuring]


async def _warm_up(each: Measuring) -> None:
    tool = each.opened.tool if each.opened else ""
    for load in (Load(1, 50, 0.5), Load(128, 512, 1.0)):
        await each.run("warm up", EchoCalls(tool), load)
    each.runs.pop("warm up", None)


async def _profile(lanes: list[Lane]) -> bool:
    for lane in lanes:
        async with lane_place(lane, _FEW_TOOLS) as place:
            output = place.folder / "samples.txt"
            sampled = holdshort_rows.rows((sys.executable, str(Path(__file__).with_name("sampled.py")), str(output)))
            for row in sampled:
                if lane in row.lanes and row.absent is None:
                    print_profile(f"{lane.arrow}, {row.name}", await profile(row, place, output))
    return True


async def _measure(lanes: list[Lane], only: frozenset[str], plan: Plan, *, as_json: bool) -> bool:
    chosen = rows(only)
    found: dict[str, list[Figures]] = {}
    for lane in lanes:
        found[lane.value] = await measure_lane(lane, chosen, plan)
        if not as_json:
            print_lane(lane.arrow, found[lane.value])
    if as_json:
        print(json.dumps({lane: [asdict(each) for each in figures] for lane, figures in found.items()}, indent=2))
    return not any(each.failures for figures in found.values() for each in figures)


def main() -> None:
    """Run the measurement. Exit code 1: some call of a measured row failed."""
    parser = argparse.ArgumentParser(description="measure Holdshort beside direct calls and other proxies")
    parser.add_argument("--quick", action="store_true", help="one repeat of a tenth of the load")
    parser.add_argument("--share", type=float, help="this share of the full load instead")
    parser.add_argument("--only", default="", help="rows, by first word: direct,nginx,holdshort,sdk,fastmcp")
    parser.add_argument("--lane", action="append", choices=list(Lane), help="a lane (repeatable); default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--profile", action="store_true", help="say where Holdshort's CPU time goes instead")
    options = parser.parse_args()
    only = frozenset(filter(None, options.only.split(",")))
    lanes = [Lane(each) for each in options.lane or list(Lane)]

    plan = QUICK if options.quick else FULL
    if options.share is not None:
        plan = replace(plan, share=options.share)

    async def measure() -> bool:
        if options.profile:
            return await _profile(lanes)
        return await _measure(lanes, only, plan, as_json=options.json)

    with suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(0 if anyio.run(measure, backend_options={"use_uvloop": True}) else 1)
    sys.exit(130)


if __name__ == "__main__":
    main()
