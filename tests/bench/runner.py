"""What a turn of a run costs: our runner, with and without saving each durable point, beside the OpenAI Agents SDK.

Run it: `python tests/bench/runner.py [--turns 40] [--runs 5]`. One run is that many turns of one allowed MCP call each,
through the same proxy, on a model that answers at once. The numbers are printed, never asserted: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from kit.ports import free_port  # noqa: E402
from kit.process import running  # noqa: E402
from kit.proxy import allow_everything, kit_upstream, serving  # noqa: E402
from kit.spy import SpyRecord  # noqa: E402
from kit.venvs import OPENAI_AGENTS, side_python  # noqa: E402

__all__ = ["main"]

PROGRAM = Path(__file__).with_name("runner_program.py")


async def main(turns: int, runs: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call = [{"call": "things__echo", "arguments": {"n": n}, "call_id": f"c{n}"} for n in range(turns)]
        script = {"pick": "history", "turns": [*({"items": [each]} for each in call), {"items": [{"text": "done"}]}]}
        (folder / "script.json").write_text(json.dumps(script))
        port = free_port()
        words = ["-m", "kit.responses_server", "--script", str(folder / "script.json"), "--port", str(port)]
        servers = {"things": kit_upstream(SpyRecord(folder / "spy.jsonl").command("--stdio"))}
        with running([sys.executable, *words], cwd=TESTS) as model:
            await model.until_said("listening")
            async with serving(folder / "proxy", servers, allow_everything(), agents=[]) as proxy:
                url = f"http://127.0.0.1:{port}/v1"
                found = {
                    "openai-agents 0.24": _seconds(str(side_python(OPENAI_AGENTS)), "sdk", url, proxy.base, runs),
                    "ours": _seconds(sys.executable, "ours", url, proxy.base, runs),
                    "ours, every point saved": _seconds(sys.executable, "ours-saved", url, proxy.base, runs),
                }
    beside = statistics.median(found["openai-agents 0.24"])
    print(f"{turns} turns, {runs} runs; the model and the proxy are part of each turn")
    print(f"{'runner':26} {'ms a turn, median':>18} {'worst':>8} {'beside':>8}")
    for who, seconds in found.items():
        median = statistics.median(seconds)
        print(f"{who:26} {1000 * median / turns:18.2f} {1000 * max(seconds) / turns:8.2f} {median / beside:7.2f}x")


def _seconds(python: str, who: str, model: str, proxy: str, runs: int) -> list[float]:
    command = [python, str(PROGRAM), who, model, proxy, str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{who}: {done.stderr}")
    return [float(line) for line in done.stdout.split()]


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--turns", type=int, default=40)
    given.add_argument("--runs", type=int, default=5)
    chosen = given.parse_args()
    asyncio.run(main(chosen.turns, chosen.runs))
