"""The README of the runner shows a loop in under 30 lines, and the loop does what the README says."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import indent

import httpx2
import pytest

from docs.pages import ROOT, blocks
from examples.models import telling
from examples.terminals import Example
from kit.process import until_async

pytestmark = pytest.mark.timeout(120)

README = ROOT / "proxy" / "holdshort" / "runner" / "README.md"
[LOOP] = blocks(README.read_text(), "python")
[SHORT] = blocks((ROOT / "README.md").read_text(), "python")
NOON = {"source_timezone": "Europe/Madrid", "time": "12:00", "target_timezone": "Asia/Tokyo"}
TURNS = ([{"call": "clock__convert_time", "arguments": NOON, "call_id": "call_1"}], [{"text": "It is 19:00 in Tokyo."}])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def loop(tmp_path: Path) -> Example:
    """The loop as a program, beside a clock that asks."""
    beside = Example("08-runner-terminal", tmp_path)
    (beside.folder / "loop.py").write_text(re.sub(r"\b7411\b", str(beside.port), LOOP))
    return beside


async def parked_at(loop: Example) -> str:
    """The id of the call that waits, once there is one."""
    token = (loop.folder / "state" / "approver-token").read_text().strip()
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:

        async def one() -> str | None:
            found = (await client.get(f"{loop.base}/v1/interruptions?state=pending")).json()["interruptions"]
            return found[0]["id"] if found else None

        return await until_async(one, "a call that waits")


def test_the_loop_is_under_thirty_lines() -> None:
    assert len([line for line in LOOP.splitlines() if line.strip()]) < 30
    ast.parse(LOOP)


async def test_the_loop_waits_is_approved_and_finishes(loop: Example) -> None:
    async with telling(loop, *TURNS) as model:
        with loop.started(loop.blocks[0]) as proxy:
            await proxy.until_answers(f"{loop.base}/readyz")
            with loop.started("python loop.py") as program:
                parked = (await program.until_said(r"^waiting: clock__convert_time .*/review/(i-\S+)$"))[1]
                await loop.run("holdshort approvals approve $ID --yes --state-dir state", ID=parked)
                assert await program.until_exit() == 0, program.told()
        told = await model.outputs()

    assert program.stdout_lines[-1] == "It is 19:00 in Tokyo."
    assert '"timezone": "Asia/Tokyo"' in told["call_1"]
    assert not (loop.folder / "run.json").exists()


async def test_the_few_lines_of_the_first_page_do_the_same(loop: Example) -> None:
    names = "Agent, ApprovalProxy, Runner"
    program = f"import asyncio\nfrom holdshort.runner import {names}\nasync def main():\n{indent(SHORT, '    ')}"
    program += "    print(result.final_output)\nasyncio.run(main())\n"
    (loop.folder / "short.py").write_text(re.sub(r"\b7411\b", str(loop.port), program))

    async with telling(loop, *TURNS):
        with loop.started(loop.blocks[0]) as proxy:
            await proxy.until_answers(f"{loop.base}/readyz")
            with loop.started("python short.py") as running:
                await loop.run("holdshort approvals approve $ID --yes --state-dir state", ID=await parked_at(loop))
                assert await running.until_exit() == 0, running.told()

    assert running.stdout_lines == ["It is 19:00 in Tokyo."]


async def test_the_loop_may_be_killed_while_it_waits_and_started_again(loop: Example) -> None:
    async with telling(loop, *TURNS, pick="history") as model:
        with loop.started(loop.blocks[0]) as proxy:
            await proxy.until_answers(f"{loop.base}/readyz")
            with loop.started("exec python loop.py") as program:
                parked = (await program.until_said(r"^waiting: clock__convert_time .*/review/(i-\S+)$"))[1]
                await program.kill9()
            await loop.run("holdshort approvals approve $ID --yes --state-dir state", ID=parked)
            said = await loop.run("python loop.py")
            log = await loop.run("holdshort log tail --json --interruption $ID --state-dir state", ID=parked)
        asked = await model.asked()

    assert said == "It is 19:00 in Tokyo.\n"
    assert len(asked) == 2
    assert log.count('"intent"') == 1


def test_the_readme_says_how_it_is_installed() -> None:
    assert blocks(README.read_text(), "sh") == ["pip install 'holdshort[runner]'\n"]
