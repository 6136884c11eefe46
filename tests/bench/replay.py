"""Measure a replay: rows of a long decision log judged again, by second, and the memory that it takes.

    python tests/bench/replay.py [--rows N] [--folder FOLDER]

Rows are allowed calls of forty tools by four agents, with recordings of some 200 bytes, over a policy of 20 rules, five
with conditions. The log is written first, which is not measured here; `tests/bench/store.py` does that.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# In place of this folder, where `store` is this file.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import anyio

from holdshort.gate.recording import Recorder
from holdshort.policy import Action, Because, Call, Caller, ToolFacts, compile_policy
from holdshort.store import EntryKind, NewEntry
from interruption.samples import NOW
from store.places import SQLitePlace

__all__ = ["main", "measure"]

RULES = [
    *({"id": f"t{at}", "tools": f"*__tool{at}", "action": "allow"} for at in range(14)),
    *(
        {
            "id": f"c{at}",
            "tools": f"*__tool{20 + at}",
            "when": f"args.amount > {at} && args.path != ''",
            "action": "ask",
        }
        for at in range(5)
    ),
    {"id": "rest", "tools": "*", "action": "allow"},
]


async def write(folder: Path, rows: int) -> None:
    """Write a log of so many rows, each with its recording."""
    policy = compile_policy([])
    recorder = Recorder(lambda: policy, timedelta(days=7))
    async with SQLitePlace(folder).open(sweep=False) as store:
        for number in range(rows):
            arguments = {"path": f"/data/reports/{number}.txt", "amount": number % 7, "text": "x" * 60}
            caller = Caller(f"agent{number % 4}", frozenset({"ci"}), "ide", "1.0")
            call = Call(ToolFacts("things", f"tool{number % 40}"), arguments, caller, NOW)
            entry = NewEntry(
                kind=EntryKind.VERDICT,
                at=NOW,
                server="things",
                tool=call.tool.name,
                agent=caller.agent,
                action=Action.ALLOW,
                because=(Because("team.yaml", "rest"),),
                recording=recorder.call(call),
            )
            await store.record(entry)


def measure(folder: Path) -> tuple[int, float, float]:
    """Replay the log in `folder` against the rules; return calls, seconds, and the peak of memory grown by, in MiB."""
    from holdshort.cli.policy.replay import tally_of
    from holdshort.cli.policy.traffic import Knowing, open_folder
    from holdshort.config import load_layer
    from holdshort.store.folder import DATABASE

    file = folder.parent / "new.yaml"
    file.write_text(json.dumps({"version": 1, "default": "ask", "rules": RULES}))
    policy, _ = load_layer(file, {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    with open_folder(folder / DATABASE) as source:
        tally = tally_of(source, policy, None, Knowing({}, {}))
    seconds = time.perf_counter() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return tally.calls, seconds, grown


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description="Measure a replay of a long decision log.")
    parser.add_argument("--rows", type=int, default=100_000, help="how long the log is")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place) / "state"
        anyio.run(write, folder, given.rows)
        calls, seconds, grown = measure(folder)
    print(f"{datetime.now(UTC):%Y-%m-%d}: {calls:,} calls in {seconds:.1f} s, {calls / seconds:,.0f} by second")
    print(f"memory grew by {grown:.0f} MiB")


if __name__ == "__main__":
    main()
