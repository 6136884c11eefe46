"""`holdshort policy replay` and `log forget`: what is no tool, terms, pins, and commands that make no sense."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner, Result

from gate.scripted import Incoming, scripted, tool
from gate.world import world
from holdshort.cli import app
from holdshort.store import EntryKind, NewEntry
from holdshort.store.folder import DATABASE
from interruption.samples import NOW

LAYER: dict[str, Any] = {
    "version": 1,
    "default": "ask",
    "rules": [
        {"id": "reads", "tools": "*__read*", "action": "allow"},
        {"id": "writes", "tools": "*__write", "action": "ask", "required_approvals": 2},
    ],
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def replayed(folder: Path, new: Any, *words: str) -> dict[str, Any]:
    file = folder / "new.yaml"
    file.write_text(new if isinstance(new, str) else json.dumps(new))
    done = run("policy", "replay", str(folder / "s"), "--against", str(file), "--json", *words)
    assert done.exit_code in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(found: dict[str, Any]) -> list[tuple[str, str, int, list[str]]]:
    return [
        (group["turn"], "/".join(group["possible"]), group["count"], [call["target"] for call in group["calls"]])
        for group in found["groups"]
    ]


async def read(call: Incoming) -> Any:
    return {"contents": [{"uri": call.params["uri"], "text": "x"}]}


async def prompted(call: Incoming) -> Any:
    return {"messages": [], "description": call.params["name"]}


@pytest.mark.parametrize("record", [None, {"redact": ["token"]}], ids=["off", "on"])
async def test_resources_and_prompts_are_replayed_and_a_query_is_only_known_where_it_was_recorded(
    tmp_path: Path, record: Any
) -> None:
    others = {"resources/read": read, "prompts/get": prompted}
    more = {} if record is None else {"record": record}
    async with scripted(others=others) as spy, world(tmp_path, spy, layer=LAYER, **more) as proxy:
        client = await proxy.connect()
        for uri in ("file:///a", "file:///b?x=1", "file:///b?token=secret-4711"):
            assert "result" in (await client.request("resources/read", {"uri": uri})).reply
        await client.request("prompts/get", {"name": "sum", "arguments": {"of": "all"}})
        new = {
            "version": 1,
            "rules": [
                {"id": "b", "resources": "spy__file:///b[?]x=1".replace("[?]", "?"), "action": "deny"},
                {"id": "all", "prompts": "*", "when": "args.of == 'all'", "action": "hide"},
            ],
        }
        found = replayed(tmp_path, new)
        kept = b"".join(path.read_bytes() for path in (tmp_path / "s").glob("*") if path.is_file())

    assert b"secret-4711" not in kept
    if record is None:
        assert told(found) == [
            ("cannot_be_told", "allow/deny", 2, ["spy__file:///b?"]),
            ("cannot_be_told", "allow/hide", 1, ["spy__sum"]),
        ]
        assert [group["missing"] for group in found["groups"]] == [["uri"], ["arguments"]]
    else:
        assert told(found) == [
            ("stricter", "deny", 1, ["spy__file:///b?x=1"]),
            ("stricter", "hide", 1, ["spy__sum"]),
            ("cannot_be_told", "allow/deny", 1, ["spy__file:///b?"]),
        ]


async def test_other_terms_are_a_change_and_are_named(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER, hold={"default": "20ms"}) as proxy:
        await (await proxy.connect()).call("write", {"x": 1})
        rules = [{"id": "writes", "tools": "*__write", "action": "ask", "approvers": ["finance"]}]
        new = tmp_path / "new.yaml"
        new.write_text(json.dumps({"version": 1, "rules": rules}))
        done = run("policy", "replay", str(tmp_path / "s"), "--against", str(new))

    assert done.exit_code == 1
    assert "other terms: 1 call would ask as before, on other terms" in done.stdout
    assert "approvers anybody -> one of finance, required_approvals 2 -> 1" in done.stdout


async def test_a_tool_that_changed_asks_because_of_its_pin_under_any_policy(tmp_path: Path) -> None:
    changed = tool("read", read_only=True, description="other words")
    tools = [tool("read", read_only=True)]
    async with scripted(tools=tools) as spy, world(tmp_path, spy, layer=LAYER, record="1h") as proxy:
        await (await proxy.connect()).call("read")
        spy.tools = [changed]
        later = await proxy.connect()
        later.begin("tools/call", {"name": "read", "arguments": {}})
        await proxy.pending()
        same = replayed(tmp_path, LAYER)
        strict = replayed(tmp_path, {**LAYER, "pins": "strict"})
        off = replayed(tmp_path, {**LAYER, "pins": "off"})

    assert same["changed"] == 0
    assert told(strict) == [("stricter", "hide", 1, ["spy__read"])]
    assert told(off) == [("looser", "allow", 1, ["spy__read"])]


async def test_calls_from_before_pins_counted_are_taken_for_pinned_and_that_is_said(tmp_path: Path) -> None:
    layer = {**LAYER, "pins": "off"}
    async with scripted() as spy, world(tmp_path, spy, layer=layer, record="1h") as proxy:
        await (await proxy.connect()).call("read")
        found = replayed(tmp_path, {**LAYER, "pins": "strict"})
        done = run("policy", "replay", str(tmp_path / "s"), "--against", str(tmp_path / "new.yaml"))

    assert (found["changed"], found["taken_as_pinned"]) == (0, 1)
    assert "note: pins did not count when 1 call came" in done.stdout


async def test_groups_and_trust_are_those_of_the_new_file(tmp_path: Path) -> None:
    layer: dict[str, Any] = {
        "version": 1,
        "default": "ask",
        "rules": [{"id": "r", "when": "tool.read_only", "action": "allow"}],
    }
    tools = [tool("read", read_only=True)]
    async with scripted(tools=tools) as spy, world(tmp_path, spy, layer=layer, record="1h") as proxy:
        await (await proxy.connect()).call("read")
    config = json.loads((tmp_path / "holdshort.yaml").read_text())
    config["mcpServers"]["spy"]["trust_annotations"] = False
    distrust = replayed(tmp_path, config)
    config["mcpServers"]["spy"]["trust_annotations"] = True
    config["agents"] = [{**agent, "groups": ["late"]} for agent in config["agents"]]
    (tmp_path / "policy.yaml").write_text(
        json.dumps({**layer, "rules": [{"id": "late", "agents": "late", "action": "deny"}, *layer["rules"]]})
    )
    grouped = replayed(tmp_path, config)

    assert told(distrust) == [("stricter", "ask", 1, ["spy__read"])]
    assert told(grouped) == [("stricter", "deny", 1, ["spy__read"])]


async def test_a_recording_that_was_changed_is_found_out(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER, record="1h") as proxy:
        await (await proxy.connect()).call("read", {"x": "good"})
    with closing(sqlite3.connect(tmp_path / "s" / DATABASE)) as connection, connection:
        connection.execute("UPDATE recording SET body = replace(body, 'good', 'evil')")
    (tmp_path / "new.yaml").write_text(json.dumps(LAYER))

    replay = run("policy", "replay", str(tmp_path / "s"), "--against", str(tmp_path / "new.yaml"))
    rows = [json.loads(line) for line in run("log", "export", "--state-dir", str(tmp_path / "s")).stdout.splitlines()]
    (number,) = [row["sequence"] for row in rows if row["kind"] == "verdict"]
    explain = run(
        *("policy", "explain", "--from-log", str(number), "-c", str(tmp_path / "new.yaml")),
        *("--state-dir", str(tmp_path / "s")),
    )

    assert (replay.exit_code, replay.stdout) == (2, "")
    assert "the recording of row" in replay.stderr
    assert "nothing is replayed from it" in replay.stderr
    assert explain.exit_code == 2
    verified = run("log", "verify", "--state-dir", str(tmp_path / "s"))
    assert verified.exit_code == 1
    assert verified.stdout == f"not as it was written: the recording of row {number} is not as it was written\n"


async def test_times_agents_and_servers_choose_calls(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER, record="1h") as proxy:
        await (await proxy.connect()).call("read")
        old = NewEntry(kind=EntryKind.VERDICT, at=NOW, server="other", tool="x", agent="old-bot", action="allow")
        await proxy.core.store.record(old)

    def count(*words: str) -> int:
        found: int = replayed(tmp_path, LAYER, *words)["calls"]
        return found

    assert count() == 2
    assert (count("--since", "1h"), count("--until", "1h")) == (1, 1)
    assert (count("--server", "other"), count("--agent", "old-bot"), count("--agent", "nobody")) == (1, 1, 0)
    assert count("--until", "2026-11-20T10:00:00Z") == 1


async def test_what_cannot_be_told_is_a_finding_on_request(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        await (await proxy.connect()).call("read", {"x": 1})
    new = tmp_path / "new.yaml"
    new.write_text(
        json.dumps({"version": 1, "rules": [{"id": "x", "when": "args.x == 1", "action": "deny"}, *LAYER["rules"]]})
    )
    words = ("policy", "replay", str(tmp_path / "s"), "--against", str(new))

    plain, strict, short = run(*words), run(*words, "--strict"), run(*words, "--changed-only")

    assert (plain.exit_code, strict.exit_code) == (0, 1)
    assert "which depends on `x`" in plain.stdout
    assert "its arguments were not recorded" in plain.stdout
    assert "depends" not in short.stdout


async def test_recordings_are_erased_on_demand_and_the_log_stays_whole(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER, record="1h") as proxy:
        client = await proxy.connect()
        await client.call("read", {"x": "erase-me"})
        where = ("--state-dir", str(tmp_path / "s"))
        # As in a process of its own, beside the proxy that runs.
        rehearsed, erased, again = [
            await anyio.to_thread.run_sync(partial(run, "log", "forget", *option, *where))
            for option in (["--dry-run"], ["--json"], list[str]())
        ]
        await client.call("read", {"x": "after"})
    kept = b"".join(path.read_bytes() for path in (tmp_path / "s").glob("*") if path.is_file())

    assert rehearsed.stdout == "1 recording would be erased\n"
    assert json.loads(erased.stdout) == {"recordings": 1, "erased": True}
    assert again.stdout == "0 recordings erased\n"
    assert run("log", "verify", *where).exit_code == 0
    assert b"erase-me" not in kept
    assert b'"x":"after"' in kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say which policy to ask: --against FILE"),
        (["--against", "none.yaml"], "there is no file `none.yaml`"),
        (["--against", "new.yaml", "--since", "soon"], "--since: `soon` is no time"),
        (["--against", "new.yaml"], "there is no decision log in"),
        (["log.jsonl", "--against", "new.yaml"], "`log.jsonl` is no exported log"),
        (["empty", "--against", "new.yaml", "--recordings", "r.jsonl"], "--recordings goes with an exported log"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDSHORT_STATE_DIR", str(tmp_path / "nothing"))
    (tmp_path / "new.yaml").write_text(json.dumps(LAYER))
    (tmp_path / "log.jsonl").write_text("no log\n")
    (tmp_path / "empty").mkdir()

    done = run("policy", "replay", *words)

    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("record", "missing"),
    [({"arguments": False}, "arguments"), ({"max_bytes": "1KiB"}, "too_large")],
    ids=["switched off", "too large"],
)
async def test_without_its_arguments_a_call_is_judged_by_what_else_was_recorded(
    tmp_path: Path, record: dict[str, Any], missing: str
) -> None:
    async with (
        scripted(tools=[tool("read", read_only=True)]) as spy,
        world(tmp_path, spy, layer=LAYER, record=record) as p,
    ):
        await (await p.connect()).call("read", {"x": "only-here " * 200})
        facts = replayed(tmp_path, {"version": 1, "rules": [{"id": "r", "when": "tool.read_only", "action": "deny"}]})
        needed = replayed(tmp_path, {"version": 1, "rules": [{"id": "r", "when": "has(args.x)", "action": "deny"}]})
    kept = b"".join(path.read_bytes() for path in (tmp_path / "s").glob("*") if path.is_file())

    assert told(facts) == [("stricter", "deny", 1, ["spy__read"])]
    assert told(needed) == [("stricter", "ask/deny", 1, ["spy__read"])]
    assert needed["groups"][0]["missing"] == [missing]
    assert b"only-here" not in kept
