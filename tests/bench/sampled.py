"""Runs `holdshort` with a sampler of its own CPU time: a timer that ticks only while the process works.

An outside sampler has to stop the process, which happens at system calls first and makes those look dear. Here a tick
is taken between two bytecodes, so what C functions cost shows at the Python function that called them.

    python sampled.py OUTPUT serve|wrap ARG...
"""

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from holdshort.cli import main as run_holdshort

__all__ = ["main"]

_INTERVAL_SECONDS = 0.001


def main() -> None:
    """Run the command to its end, then write every stack seen and how often, innermost function last."""
    output = Path(sys.argv.pop(1))
    stacks: Counter[tuple[tuple[str, str], ...]] = Counter()

    def tick(_: int, frame: FrameType | None) -> None:
        stack: list[tuple[str, str]] = []
        while frame is not None:
            stack.append((frame.f_code.co_qualname, frame.f_code.co_filename))
            frame = frame.f_back
        stacks[tuple(reversed(stack))] += 1

    signal.signal(signal.SIGPROF, tick)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)
    try:
        run_holdshort()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        lines = [f"{';'.join(f'{name} ({file})' for name, file in stack)} {count}" for stack, count in stacks.items()]
        # Ticks count every thread's time but see this one only; the share says how far to believe them.
        output.write_text("\n".join([f"{time.thread_time() / time.process_time():.4f}", *lines]))


if __name__ == "__main__":
    main()
