"""Every example does what its README says, by the commands of its README."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.terminals import EXAMPLES, Example
from kit.missing import require
from kit.node import node_kit
from kit.process import kit_environment
from kit.venvs import OPENAI_AGENTS, side_python

pytestmark = pytest.mark.timeout(120)

Open = Callable[[str], Example]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def example(tmp_path: Path) -> Open:
    """Opens a copy of an example."""
    return lambda name: Example(name, tmp_path)


def log_kinds(said: str) -> list[str]:
    return [json.loads(line)["kind"] for line in said.splitlines()]


async def test_01_a_wrapped_server_reads_at_once_and_writes_when_approved(example: Open) -> None:
    wrap = example("01-wrap-one-server")
    node = require(node_kit)
    # npx takes a package that is installed here, rather than downloading it.
    (wrap.folder / "node_modules").symlink_to(node.modules)
    wrap.in_front_of(node.node.parent)
    run_agent, approve, reject = wrap.blocks
    written = wrap.folder / "notes" / "tomorrow.txt"

    with wrap.started(run_agent) as agent:
        first = await wrap.asked(agent)
        assert agent.said("^read:  water the plants"), agent.told()
        assert not written.exists()
        seen = await wrap.at_a_terminal(approve, "y\n", ID=first)
        assert await agent.until_exit() == 0, agent.told()
    assert seen.count(first) >= 2
    assert "buy bread" in seen
    assert agent.said("Successfully wrote")
    assert written.read_text() == "buy bread\n"
    log = await wrap.run("holdshort log tail --json --interruption $ID", ID=first)
    assert log_kinds(log).count("intent") == 1

    written.unlink()
    with wrap.started(run_agent) as agent:
        second = await wrap.asked(agent)
        await wrap.run(reject, ID=second)
        assert await agent.until_exit() == 0, agent.told()
    assert second != first
    assert agent.said("REJECTED: .*tomorrow is a holiday")
    assert not written.exists()


async def test_02_a_commit_runs_once_after_two_maintainers(example: Open) -> None:
    team = example("02-serve-with-policy")
    prepare, serve, run_agent, approve, look = team.blocks
    explained = await team.run(prepare)
    assert "ask" in explained
    assert "commits" in explained

    with team.started(serve) as proxy:
        await proxy.until_answers(f"{team.base}/readyz")
        with team.started(run_agent) as agent:
            parked = await team.asked(agent)
            assert agent.said("^tools: .*git__git_commit")
            assert not agent.said("git_reset")
            assert agent.said("new file: +hello.txt")
            assert agent.said('"timezone": "UTC"')
            own = '. ./tokens; HOLDSHORT_APPROVER_TOKEN=$CI_BOT_TOKEN holdshort approvals approve "$ID" --yes'
            refused = await team.run(own, 1, ID=parked, HOLDSHORT_URL=team.base)
            assert "approver" in refused
            seen = await team.at_a_terminal(approve, "y\ny\n", ID=parked)
            assert await agent.until_exit() == 0, agent.told()
    assert re.search(r"recorded; 2 approvals are needed.*approved by ana.*approved: ", seen, re.DOTALL), seen
    assert agent.said("Changes committed successfully")
    assert len((await team.run(look)).splitlines()) == 1


async def test_03_a_program_of_thirty_lines_decides(example: Open) -> None:
    bot = example("03-approve-over-http")
    serve, run_bot, ask_twice = bot.blocks

    with bot.started(serve) as proxy:
        await proxy.until_answers(f"{bot.base}/readyz")
        with bot.typing(run_bot) as terminal, bot.started(ask_twice) as agents:
            await terminal.until_said('local wants clock.get_current_time with {"timezone": "Europe/Madrid"}')
            await terminal.until_said("yes, or a reason against it: ")
            terminal.type("yes\n")
            await terminal.until_said('{"timezone": "Asia/Tokyo"}')
            await terminal.until_said("yes, or a reason against it: ")
            terminal.type("it is late there\n")
            assert await agents.until_exit() == 0, agents.told()

    told = "\n".join(agents.stdout_lines)
    assert '"timezone": "Europe/Madrid"' in told
    assert "REJECTED" in told
    assert "it is late there" in told


async def test_04_the_openai_agents_sdk_over_http_and_stdio(example: Open, tmp_path: Path) -> None:
    sdk = example("04-openai-agents-sdk")
    serve, run_agent, approve = sdk.blocks
    # `python` is the one of an environment that has the SDK; `holdshort` stays ours.
    commands = tmp_path / "commands"
    commands.mkdir()
    python = require(lambda: side_python(OPENAI_AGENTS))
    (commands / "python").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (commands / "python").chmod(0o755)
    sdk.in_front_of(commands)

    with sdk.started(serve) as proxy:
        await proxy.until_answers(f"{sdk.base}/readyz")
        with sdk.started(run_agent) as agent:
            served = (await agent.until_said(r"^served noon: .*interruption (i-\S+?)\)", 40))[1]
            await sdk.at_a_terminal(approve, "y\n", ID=served)
            wrapped = (await agent.until_said(r"^wrapped noon: .*interruption (i-\S+?)\)", 40))[1]
            await sdk.at_a_terminal(approve, "y\n", ID=wrapped)
            assert await agent.until_exit() == 0, agent.told()

    told = "\n".join(agent.stdout_lines)
    assert served != wrapped
    assert told.count('"time_difference": ') == 2
    assert "served now:" in told
    assert "wrapped now:" in told


async def test_05_the_typescript_client(example: Open) -> None:
    client = example("05-typescript-client")
    install, serve, run_agent, approve = client.blocks
    node = require(node_kit)
    (client.folder / "node_modules").symlink_to(node.modules)  # what `npm install` would have put there
    client.in_front_of(node.node.parent)
    wanted = json.loads((client.folder / "package.json").read_text())["dependencies"]
    ours = json.loads((Path(kit_environment()["PYTHONPATH"]) / "kit" / "package.json").read_text())["dependencies"]
    assert install == "npm install\n"
    assert wanted.items() <= ours.items()

    with client.started(serve) as proxy:
        await proxy.until_answers(f"{client.base}/readyz")
        with client.started(run_agent) as agent:
            parked = await client.asked(agent)
            await client.at_a_terminal(approve, "y\n", ID=parked)
            assert await agent.until_exit() == 0, agent.told()

    assert agent.said('"timezone": "Europe/Madrid"')


async def test_06_a_changed_row_is_found_in_an_export(example: Open) -> None:
    log = example("06-verify-the-log")
    make, export, change = log.blocks

    made = await log.run(make)
    verified = await log.run(export)
    found = await log.run(change, 1)

    assert "NOT EXECUTED YET: `convert_time`" in made
    assert made.count('"timezone": ') == 2
    rows = (log.folder / "log.jsonl").read_text().splitlines()
    assert f"whole: {len(rows)} rows" in verified
    changed = next(json.loads(row)["sequence"] for row in rows if '"allow"' in row)
    assert re.search(rf"\brow {changed}\b", found)


async def test_07_a_case_catches_a_rule_that_became_milder(example: Open) -> None:
    policy = example("07-test-a-policy")
    start, add, look, loosen = policy.blocks

    started = await policy.run(start)
    added = await policy.run(add)
    explained = await policy.run(look)
    caught = await policy.run(loosen, 1)

    assert "written: policies/starter.yaml" in started
    assert "0 failed" in started
    assert "sound: " in added
    assert "0 problems" in added
    assert "team.cases.yaml: 6 of 6 cases passed" in added
    assert "policies/starter.yaml: says ask <- decides" in explained
    assert "it permits more" in caught
    assert re.search(r"FAILED milder.cases.yaml:\d+:5: a release branch is not for agents", caught)


def test_every_example_is_in_the_list_and_has_a_test() -> None:
    folders = sorted(entry.name for entry in EXAMPLES.iterdir() if entry.is_dir() and entry.name[0].isdigit())
    listed = re.findall(r"^\| \[(\d\d-[a-z-]+)\]\(\1/README\.md\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE)

    assert listed == folders
    tests = [path.read_text() for path in sorted(Path(__file__).parent.glob("test_*examples.py"))]
    tested = re.findall(r"^async def test_(\d\d)_", "".join(tests), re.MULTILINE)
    assert tested == [folder[:2] for folder in folders]
