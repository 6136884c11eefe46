"""The measuring command works: no figure is judged here, only that there is one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.echo_upstream import Echo
from bench.load import EchoCalls, ListCalls, message
from bench.table import Figures, print_lane

RUN = Path(__file__).with_name("run.py")


def run(*options: str) -> str:
    """Run the command as its user would, on the two rows that need nothing installed."""
    command = [sys.executable, str(RUN), "--quick", "--share", "0.01", "--only", "direct,holdshort", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_command_prints_a_table_with_a_line_for_every_row_that_is_there() -> None:
    printed = run("--lane", "http-http")

    assert "HTTP → HTTP" in printed
    assert "| direct " in printed
    assert "| holdshort " in printed or "holdshort: not measured:" in printed


def test_the_command_prints_json_with_a_figure_for_everything_it_measures() -> None:
    figures: list[dict[str, Any]] = json.loads(run("--lane", "stdio-stdio", "--json"))["stdio-stdio"]

    direct = next(row for row in figures if row["row"] == "direct")
    unmeasured = {name for name, figure in direct.items() if figure is None}
    assert direct["failures"] == 0
    assert unmeasured == {"absent", "cpu"}


def test_the_runner_is_measured_beside_the_agents_sdk() -> None:
    command = [sys.executable, str(RUN.with_name("runner.py")), "--turns", "2", "--runs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr + done.stdout
    rows = done.stdout.splitlines()[-3:]
    assert [row[:18].rstrip() for row in rows] == ["openai-agents 0.24", "ours", "ours, every point"]


@pytest.mark.parametrize("workload", [EchoCalls(), EchoCalls(size=5_000), ListCalls(7)])
def test_a_reply_holds_for_its_own_request_only(workload: EchoCalls | ListCalls) -> None:
    raw, _ = Echo(tools=7).answer(workload.request(3))

    reply = message(raw or b"")
    assert workload.holds(3, reply)
    assert not workload.holds(4, reply)
    assert not workload.holds(3, {**reply, "result": {}})


def test_a_row_that_cannot_be_measured_says_why_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_lane(
        "HTTP → HTTP", [Figures("direct", p50=0.001, rate=100.0), Figures("nginx", absent="it is not installed")]
    )

    printed = capsys.readouterr().out
    assert "| direct |  1.000 |" in printed
    assert printed.endswith("nginx: not measured: it is not installed\n")


def test_the_replay_of_a_long_log_is_measured() -> None:
    command = [sys.executable, str(RUN.with_name("replay.py")), "--rows", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert "500 calls in " in done.stdout
