"""Where a proxy's time goes under load, sampled from outside by py-spy so that what is measured is not slowed down."""

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import anyio

from bench.children import environment
from bench.lanes import Opened, Place
from bench.load import EchoCalls, Load

__all__ = ["ProfilerMissingError", "print_profile", "profile"]

_SECONDS = 5
_SAMPLES_PER_SECOND = 250
_SHOWN = 30
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>.+?)(?::\d+)?\)")


class ProfilerMissingError(Exception):
    """Raised when py-spy is not on the path."""

    def __init__(self) -> None:
        super().__init__("py-spy is not installed; run `uv pip install py-spy`")


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples by function: its own, and with everything it called."""

    samples: int
    own: Counter[str]
    total: Counter[str]


async def profile(place: Place, opened: Opened) -> Profile:
    """Sample the row's process while it takes calls, 32 at once.

    Raises:
        ProfilerMissingError: py-spy is not installed.
    """
    py_spy = shutil.which("py-spy", path=environment()["PATH"])
    if py_spy is None:
        raise ProfilerMissingError
    output = place.folder / "profile.txt"
    command = [py_spy, "record", "--pid", str(opened.pid), "--duration", str(_SECONDS), "--format", "raw"]
    command += ["--rate", str(_SAMPLES_PER_SECOND), "--function", "--output", str(output)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.run_process, command)
        await opened.target.measure(EchoCalls(opened.tool), Load(32, 10_000_000, _SECONDS + 1.0))
    return _sum_up(output)


def _sum_up(output: Path) -> Profile:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in output.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_named(frame) for frame in stack.split(";")]
        samples += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    return Profile(samples, own, total)


def _named(frame: str) -> str:
    found = _FRAME.fullmatch(frame)
    if found is None:
        return frame
    parts = Path(found["file"]).parts
    where = "/".join(parts[-2:])
    return f"{found['function']} ({where})"


def print_profile(title: str, found: Profile) -> None:
    """Print the functions with the most samples, own and in total."""
    for name, counted in (("own time", found.own), ("with callees", found.total)):
        print(f"\n{title}: {name}, {found.samples} samples\n")
        for function, count in counted.most_common(_SHOWN):
            print(f"  {count / max(1, found.samples):6.1%}  {function}")
