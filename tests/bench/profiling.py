"""Where Holdshort's CPU time goes under load, from the stacks that `sampled` saw."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.lanes import Place, Row
from bench.load import EchoCalls, Load

__all__ = ["print_profile", "profile"]

_SECONDS = 8.0
_SHOWN = 30
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>.+)\)")
_OURS = "/holdshort/"
_STARTING = "importlib._bootstrap"


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples by where they were taken; `ours` counts a function with everything it called."""

    samples: int
    main_share: float
    """The main thread's part of the process's CPU time; the samples are of that thread only."""
    files: Counter[str]
    own: Counter[str]
    ours: Counter[str]


async def profile(row: Row, place: Place, output: Path) -> Profile:
    """Let the row, which samples itself into `output`, take calls, 32 at once."""
    async with row.open(place) as opened:
        await opened.target.measure(EchoCalls(opened.tool), Load(32, 10_000_000, _SECONDS))
    return _sum_up(output)


def _sum_up(output: Path) -> Profile:
    files: Counter[str] = Counter()
    own: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    share, *lines = output.read_text().splitlines()
    for line in lines:
        if _STARTING in line:
            continue
        stack, _, times = line.rpartition(" ")
        count = int(times)
        frames = [_FRAME.fullmatch(frame) for frame in stack.split(";")]
        found = [(match["function"], match["file"]) for match in frames if match is not None]
        files[_short(found[-1][1])] += count
        own[_named(*found[-1])] += count
        for each in {_named(*frame) for frame in found if _OURS in frame[1]}:
            ours[each] += count
    return Profile(own.total(), float(share), files, own, ours)


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


def _named(function: str, file: str) -> str:
    return f"{function} ({_short(file)})"


def print_profile(title: str, found: Profile) -> None:
    """Print the files and functions with the most samples."""
    print(f"\n{title}: {found.samples} samples; the main thread used {found.main_share:.0%} of the process's CPU time")
    columns = {"by file": found.files, "own time": found.own, "ours, with callees": found.ours}
    for name, counted in columns.items():
        print(f"\n{title}: {name}\n")
        for entry, count in counted.most_common(_SHOWN):
            print(f"  {count / max(1, found.samples):6.1%}  {entry}")
