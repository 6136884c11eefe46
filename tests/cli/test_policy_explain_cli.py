"""`holdshort policy explain` about calls that happened, what is no tool, and tools as they are listed or pinned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner, Result

from gate.scripted import scripted, tool
from gate.world import world
from holdshort.cli.policy import app
from holdshort.server.clock import utc_now
from holdshort.store import Sighting, open_store
from kit.spy import SpyRecord

LAYER: dict[str, Any] = {
    "version": 1,
    "rules": [
        {"id": "reads", "when": "tool.read_only", "action": "allow"},
        {"id": "big", "tools": "spy__write", "when": "args.amount > 100", "action": "ask"},
        {"id": "etc", "resources": "spy__file:///etc/*", "action": "deny"},
        {"id": "no-sampling", "server_requests": "*__sampling/createMessage", "action": "hide"},
    ],
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def run(folder: Path, *words: str) -> Result:
    given = ["explain", *words, "-c", str(folder / "holdshort.yaml"), "--state-dir", str(folder / "s")]
    return CliRunner().invoke(app, given)


async def test_a_call_that_was_parked_is_explained_as_it_came(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER, hold={"default": "20ms"}) as proxy:
        client = await proxy.connect()
        await client.call("write", {"amount": 150})
        (record,) = await proxy.pending()

        told = run(tmp_path, "--interruption", record.id)
        rows = [json.loads(row.body) async for row in proxy.core.store.entries()]
        number = next(place for place, row in enumerate(rows, start=1) if row["kind"] == "parked")
        by_row = run(tmp_path, "--from-log", str(number))

    assert told.exit_code == 0
    assert told.stdout.startswith("ask: spy__write called by ")
    assert "args.amount > 100: true (args.amount is 150)" in told.stdout
    assert "(as it is pinned)" in told.stdout
    assert told.stdout.splitlines()[-1] == "then: it was parked (policy.yaml: big), and is pending"
    assert by_row.stdout == told.stdout


async def test_another_policy_than_then_is_said(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER, hold={"default": "20ms"}) as proxy:
        await (await proxy.connect()).call("write", {"amount": 150})
        (record,) = await proxy.pending()
    (tmp_path / "policy.yaml").write_text("rules: [{id: all, action: allow}]")

    told = run(tmp_path, "--interruption", record.id)

    assert told.stdout.startswith("allow: ")
    assert "the policy was another one then" in told.stdout


async def test_the_row_of_a_call_that_ran_says_which_policy_judged_it(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        assert (await (await proxy.connect()).call("read")).text == "read done"
        policy = proxy.core.in_force.policy()
        rows = [json.loads(row.body) async for row in proxy.core.store.entries()]
    number, row = next((place, row) for place, row in enumerate(rows, start=1) if row["kind"] == "verdict")
    same = run(tmp_path, "--from-log", str(number), "--agent", "bot")
    (tmp_path / "policy.yaml").write_text("rules: [{id: all, action: deny}]")
    other = run(tmp_path, "--from-log", str(number), "--agent", "bot")

    assert row["detail"] == {"policy": policy.digest[:12]}
    assert "the policy was another one" not in same.stdout
    assert f"the policy was another one then ({policy.digest[:12]}; it is " in other.stdout


async def test_a_pinned_tool_brings_its_facts_and_a_changed_one_asks(tmp_path: Path) -> None:
    async with scripted(tools=[tool("read", read_only=True)]) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        await (await proxy.connect()).call("read")
        before = run(tmp_path, "spy", "read", "--agent", "bot")
        spy.tools = [tool("read", read_only=True, description="now other words")]
        await (await proxy.connect()).request("tools/list")
        after = run(tmp_path, "spy", "read", "--agent", "bot")

    assert before.stdout.startswith("allow: ")
    assert "read-only" in before.stdout
    assert "(as it is pinned)" in before.stdout
    assert after.stdout.startswith("ask: ")
    assert "the definition differs from its pin" in after.stdout


def test_live_facts_come_from_the_server_itself(tmp_path: Path) -> None:
    command, *arguments = SpyRecord(tmp_path / "spy.jsonl").command()
    config = {"mcpServers": {"spy": {"command": command, "args": arguments}}, "policy": "policy.yaml"}
    (tmp_path / "holdshort.yaml").write_text(json.dumps(config))
    (tmp_path / "policy.yaml").write_text(json.dumps(LAYER))

    unknown = run(tmp_path, "spy", "read_thing")
    live = run(tmp_path, "spy", "read_thing", "--live")
    none = run(tmp_path, "spy", "reed_thing", "--live")

    assert unknown.stdout.startswith("ask: ")
    assert "MCP's careful defaults" in unknown.stdout
    assert live.stdout.startswith("allow: ")
    assert "(as its server lists it now)" in live.stdout
    assert "lists no such tool" in none.stdout


def test_a_tool_that_its_server_lists_otherwise_than_it_is_pinned_asks(tmp_path: Path) -> None:
    command, *arguments = SpyRecord(tmp_path / "spy.jsonl").command()
    config = {"mcpServers": {"spy": {"command": command, "args": arguments}}, "policy": "policy.yaml"}
    (tmp_path / "holdshort.yaml").write_text(json.dumps(config))
    (tmp_path / "policy.yaml").write_text(json.dumps(LAYER))
    other = Sighting("0" * 64, {"definition": {"name": "read_thing"}, "server": "x"})

    async def pin() -> None:
        async with open_store(tmp_path / "s", clock=utc_now, sweep=False) as store:
            await store.pins.see("spy", {"read_thing": other}, at=utc_now(), accept_new=True)

    anyio.run(pin)
    changed = run(tmp_path, "spy", "read_thing", "--live")
    (tmp_path / "policy.yaml").write_text(json.dumps({**LAYER, "pins": "strict"}))
    new = run(tmp_path, "spy", "write_thing", "--live")

    assert changed.stdout.startswith("ask: ")
    assert "(as its server lists it now, which is not as it is pinned)" in changed.stdout
    assert new.stdout.startswith("hide: ")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "holdshort.yaml").write_text("mcpServers: {spy: {command: x}}\npolicy: policy.yaml\n")
    (tmp_path / "policy.yaml").write_text(json.dumps(LAYER))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["--resource", "file:///etc/../etc/passwd"], "deny: spy__file:///etc/../etc/passwd read by local"),
        (["--prompt", "sum"], "allow: spy__sum used by local"),
        (
            ["--server-request", "sampling/createMessage"],
            "hide: spy__sampling/createMessage asked of a client by local",
        ),
    ],
)
def test_resources_prompts_and_requests_of_servers_are_explained(files: Path, words: list[str], first: str) -> None:
    told = run(files, "spy", *words)

    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, first)


def test_annotations_time_client_and_groups_can_be_given(files: Path) -> None:
    words = [
        "--annotations",
        '{"readOnlyHint": true}',
        "--client",
        "cursor",
        "--client-version",
        "1.2",
        "--group",
        "ops",
    ]
    told = run(files, "spy", "x", *words, "--now", "2026-01-05T14:00:00+02:00", "--json")

    answer = json.loads(told.stdout)
    assert (answer["verdict"], answer["client"], answer["client_version"]) == ("allow", "cursor", "1.2")
    assert (answer["groups"], answer["now"]) == (["ops"], "2026-01-05T12:00:00Z")
    assert answer["facts_from"] == "as the command line says"


def test_a_tool_may_be_looked_at_as_if_it_had_changed(files: Path) -> None:
    assert run(files, "spy", "x", "--read-only", "--unpinned").stdout.startswith("ask: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say which server and tool"),
        (["spy"], "say which tool"),
        (["spy", "x", "--prompt", "y"], "ask about one thing"),
        (["spy", "x", "--now", "noon"], "is no time with a time zone"),
        (["spy", "x", "--annotations", '{"readOnly": true}'], "did you mean `readOnlyHint`?"),
        (["spy", "x", "--annotations", '{"readOnlyHint": 1}'], "is `true` or `false`"),
        (["--interruption", "i-1"], "there is no state in"),
        (["--interruption", "i-1", "--from-log", "1"], "not both"),
        (["spyy", "x"], "did you mean `spy`?"),
        (["spyy", "--prompt", "x"], "did you mean `spy`?"),
    ],
)
def test_a_question_without_sense_exits_2_and_says_why(files: Path, words: list[str], message: str) -> None:
    told = run(files, *words)

    assert (told.exit_code, told.stdout) == (2, "")
    assert message in told.stderr
