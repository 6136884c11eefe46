"""The figures of a lane and their table, in Markdown, so that it reads the same in a terminal and in a page."""

import math
from dataclasses import dataclass

__all__ = ["Figures", "print_lane"]


@dataclass(frozen=True, slots=True)
class Figures:
    """One row's medians: times in seconds, `rate` in calls per second, `cpu` in the proxy's seconds per call."""

    row: str
    absent: str | None = None
    p50: float | None = None
    p99: float | None = None
    rate: float | None = None
    cpu: float | None = None
    failures: int = 0
    kib64: float | None = None
    mib1: float | None = None
    listing: float | None = None


_HEAD = (
    "row",
    "p50 ms",
    "added",
    "p99 ms",
    "calls/s",
    "of direct",
    "CPU µs/call",
    "failed",
    "64 KiB ms",
    "1 MiB ms",
    "list 500 ms",
)


def print_lane(title: str, figures: list[Figures]) -> None:
    """Print one lane's table; ratios are to its `direct` row."""
    direct = next((each for each in figures if each.row == "direct"), Figures("direct"))
    lines = [_HEAD, *(_cells(each, direct) for each in figures if not each.absent)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    print(f"\n{title}  (p50 at 1 in flight, calls/s at 32, failed of all calls, up to 128 in flight)\n")
    for number, line in enumerate(lines):
        first, *others = [
            (str.ljust if not column else str.rjust)(cell, widths[column]) for column, cell in enumerate(line)
        ]
        print("| " + " | ".join([first, *others]) + " |")
        if number == 0:
            print("|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|")
    for each in figures:
        if each.absent:
            print(f"{each.row}: not measured: {each.absent}")


def _cells(each: Figures, direct: Figures) -> tuple[str, ...]:
    return (
        each.row,
        _milliseconds(each.p50),
        _milliseconds(_minus(each.p50, direct.p50)) if each is not direct else "",
        _milliseconds(each.p99),
        f"{each.rate:,.0f}" if each.rate is not None else "",
        _ratio(each.rate, direct.rate) if each is not direct else "",
        f"{each.cpu * 1e6:,.0f}" if each.cpu is not None else "",
        str(each.failures),
        _milliseconds(each.kib64),
        _milliseconds(each.mib1),
        _milliseconds(each.listing),
    )


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _milliseconds(seconds: float | None) -> str:
    if seconds is None or math.isnan(seconds):
        return ""
    return f"{seconds * 1e3:.3f}" if seconds < 0.01 else f"{seconds * 1e3:.1f}"


def _ratio(one: float | None, other: float | None) -> str:
    return "" if not one or not other else f"1/{other / one:.1f}"
