"""`holdshort demo` tells the truth: a read runs, a commit waits, a person decides, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

import holdshort
from kit.process import Running, alive, running, until

DEMO = [sys.executable, "-m", "holdshort", "demo"]
WAITS = r"in a terminal:\s+(?P<command>\S.*approvals approve (?P<id>\S+) --state-dir (?P<state>\S+))$"
COMMITS = re.compile(r"commits in the repository: (\d+)")
# The command as it is, but with Ctrl-C the moment its folder is on the disk.
INTERRUPTED_WHILE_MAKING = """
import os, signal
from holdshort.cli import main

mkdir = os.mkdir
def make_and_interrupt(path, *words, **named):
    mkdir(path, *words, **named)
    if os.path.basename(path).startswith("holdshort-demo-"):
        os.kill(os.getpid(), signal.SIGINT)
os.mkdir = make_and_interrupt
main()
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Place:
    """Where demos run: a temporary folder of their own."""

    temporary: Path

    def environ(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.temporary), "NO_COLOR": "1"}

    def left(self) -> list[Path]:
        """What is there now."""
        return list(self.temporary.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def in_another_terminal(command: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    with anyio.fail_after(30):
        return await anyio.run_process([*shlex.split(command), *more], check=False, stdin=subprocess.DEVNULL)


def story(demo: Running) -> str:
    return "\n".join(demo.stdout_lines)


def counts(demo: Running) -> list[int]:
    """How many commits the demo found, before and after."""
    return [int(number) for number in COMMITS.findall(story(demo))]


async def test_yes_shows_a_read_that_runs_and_a_commit_that_waits_and_runs_once(place: Place) -> None:
    with running([*DEMO, "--yes"], env=place.environ()) as demo:
        status = await demo.until_exit(40)

    read, parked, _, outcome, _ = re.split(r"^== ", story(demo), flags=re.MULTILINE)[1:]
    assert status == 0, demo.told()
    assert "new file:   greeting.txt" in read
    assert "NOT EXECUTED YET: `git_commit` needs a person's approval" in parked
    assert "Changes committed successfully" in outcome
    assert counts(demo) == [1, 2]
    assert demo.stderr_lines == []
    assert place.left() == []


async def test_the_printed_command_approves_from_another_process(place: Place) -> None:
    with running(DEMO, env=place.environ()) as demo:
        waits = await demo.until_said(WAITS, 40)
        repository = Path(waits["state"]).with_name("repository")
        before = await anyio.run_process(["git", "rev-list", "--count", "HEAD"], cwd=repository)
        approved = await in_another_terminal(waits["command"], "--yes")
        status = await demo.until_exit()

    assert approved.returncode == 0, approved.stderr.decode()
    assert before.stdout.strip() == b"1"
    assert status == 0, demo.told()
    assert counts(demo) == [1, 2]
    assert place.left() == []


async def test_rejecting_ends_with_the_reason_and_no_commit(place: Place) -> None:
    with running(DEMO, env=place.environ()) as demo:
        waits = await demo.until_said(WAITS, 40)
        reject = waits["command"].replace(" approve ", " reject ")
        rejected = await in_another_terminal(reject, "-m", "not on a Friday")
        status = await demo.until_exit()

    assert rejected.returncode == 0, rejected.stderr.decode()
    assert status == 1
    assert "REJECTED" in story(demo)
    assert "not on a Friday" in story(demo)
    assert counts(demo) == [1, 1]
    assert place.left() == []


async def test_ctrl_c_while_it_waits_leaves_no_process_and_no_folder(place: Place) -> None:
    with running(DEMO, env=place.environ()) as demo:
        await demo.until_said(WAITS, 40)
        family = demo.descendants()
        os.kill(demo.pid, signal.SIGINT)
        status = await demo.until_exit()
        await until(lambda: not any(map(alive, family)), "the end of the git server")

    assert len(family) >= 1
    assert status == 1
    assert "Stopped before anybody decided: nothing was committed" in story(demo)
    assert demo.stderr_lines == []
    assert place.left() == []


async def test_ctrl_c_before_anything_is_up_leaves_no_process_and_no_folder(place: Place) -> None:
    with running(DEMO, env=place.environ()) as demo:
        await until(place.left, "the demo's folder", 40)
        os.kill(demo.pid, signal.SIGINT)
        status = await demo.until_exit()
        left = demo.descendants()

    # The interpreter may end itself by the signal that it got while it was importing: a shell says 130 of both.
    assert status in (1, 130, -signal.SIGINT)
    assert "Traceback" not in demo.told()
    assert left == set()
    assert place.left() == []


async def test_ctrl_c_in_the_moment_the_folder_is_made_leaves_no_folder(place: Place) -> None:
    with running([sys.executable, "-c", INTERRUPTED_WHILE_MAKING, "demo"], env=place.environ()) as demo:
        status = await demo.until_exit(40)

    assert status in (1, 130, -signal.SIGINT)
    assert "Traceback" not in demo.told()
    assert place.left() == []


async def test_without_the_git_server_it_says_what_to_install(place: Place) -> None:
    # An interpreter that has everything this one has, but that package.
    packages = place.temporary / "packages"
    packages.mkdir()
    for folder in (Path(one) for one in sys.path if Path(one).name in ("site-packages", "dist-packages")):
        for entry in folder.iterdir():
            if not entry.name.startswith("mcp_server_git") and entry.suffix != ".pth":
                (packages / entry.name).symlink_to(entry)
    paths = os.pathsep.join([str(Path(holdshort.__file__).parents[1]), str(packages)])
    command = [sys.executable, "-S", *DEMO[1:]]

    with running(command, env={**place.environ(), "PYTHONPATH": paths}) as demo:
        status = await demo.until_exit(40)

    assert status == 2
    assert demo.stderr_lines == [
        "holdshort: the demo needs the official git server; install it with `pip install 'holdshort[demo]'`"
    ]
    assert place.left() == [packages]


async def test_without_git_it_says_so(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    nothing = tmp_path_factory.mktemp("path")
    assert shutil.which("git", path=str(nothing)) is None

    with running(DEMO, env={**place.environ(), "PATH": str(nothing)}) as demo:
        status = await demo.until_exit(40)

    assert status == 2
    assert demo.stderr_lines == ["holdshort: the demo needs `git`; install it and try again"]
    assert place.left() == []
