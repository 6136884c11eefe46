"""Replays from end to end: a real proxy records what real clients do, and another policy is asked about it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.keyed import AGAIN, NOW, keyed
from flows.scene import ERAS, Scene
from kit.clients import CLIENTS, connected
from kit.ports import free_port
from kit.process import running, until, until_async
from kit.proxy import AGENT_TOKEN, HOLDSHORT, OTHER_AGENT_TOKEN, serving
from kit.spy import SpyRecord

pytestmark = pytest.mark.timeout(120)

SECRET = "tell-nobody-4711"
READS = {"id": "reads", "tools": "*__read_thing", "action": "allow"}
WRITES = {"id": "writes", "tools": "*__write_thing", "action": "ask"}
DESTROY = {"id": "no-destroy", "tools": "*__destroy_thing", "action": "deny"}
ECHO = {"id": "echo", "tools": "*__echo", "action": "allow"}


def layer(*rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": 1, "default": "ask", "rules": list(rules)}


POLICY = layer(READS, WRITES, DESTROY, ECHO)


@pytest.fixture(scope="session")
async def past(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Scene]:
    """A proxy that recorded `traffic`; for tests that only look."""
    async with made(tmp_path_factory.mktemp("past"), {"keep": "1h", "redact": ["password"]}) as found:
        await traffic(found)
        yield found


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    """A proxy that records, of a test's own."""
    async with made(tmp_path, {"keep": "1h", "redact": ["password"]}) as found:
        yield found


@asynccontextmanager
async def made(folder: Path, record: Any) -> AsyncGenerator[Scene]:
    spy = SpyRecord(folder / "spy.jsonl")
    port = free_port()
    with running(spy.command("--http", str(port))) as server:
        url = f"http://127.0.0.1:{port}/mcp"
        await server.until_answers(url)
        more = {} if record is None else {"record": record}
        async with serving(folder / "proxy", {"things": {"url": url}}, POLICY, hold="200ms", **more) as proxy:
            yield Scene(proxy, spy, folder)


def command(scene: Scene, *words: str) -> subprocess.CompletedProcess[str]:
    """One command of ours, as a person would type it."""
    return subprocess.run(
        [*HOLDSHORT, *words], cwd=scene.proxy.folder, capture_output=True, text=True, timeout=60, check=False
    )


def replayed(scene: Scene, new: Mapping[str, Any], *words: str, log: str = "state") -> dict[str, Any]:
    """Ask another policy about what was recorded."""
    (scene.proxy.folder / "new.yaml").write_text(json.dumps(new))
    done = command(scene, "policy", "replay", log, "--against", "new.yaml", "--json", *words)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == bool(found["changed"])
    return found


def changes(found: Mapping[str, Any]) -> list[tuple[str, str, str, int, list[str]]]:
    """Turn, old and new action of each group, of how many calls, and what they are about."""
    return [
        (
            group["turn"],
            group["was"]["action"],
            group["now"]["action"] if group["now"] else "?",
            group["count"],
            sorted({call["target"] for call in group["calls"]}),
        )
        for group in found["groups"]
    ]


async def traffic(scene: Scene) -> None:
    """Reads, a write that is approved and remembered, one that a grant lets through, one that waits, and a refusal."""
    async with scene.agent() as agent:
        for name in ("a", "b", "b"):
            assert not (await agent.call("read_thing", {"name": name})).is_error
        assert not (await agent.call("echo", {"password": SECRET, "amount": 150})).is_error
        assert (await agent.call("destroy_thing", {"name": "a"})).is_error
    record = await scene.leave_pending("write_thing", {"name": "letter"})
    decided = await scene.proxy.decide(record, "approve", remember={"for": "1h", "max_uses": 5})
    assert decided.status_code == 200, decided.text
    assert not (await scene.call("write_thing", {"name": "letter"})).is_error
    assert not (await scene.call("write_thing", {"name": "letter"})).is_error
    async with connected(CLIENTS[ERAS[1]], url=scene.proxy.server_url("things"), token=OTHER_AGENT_TOKEN) as other:
        assert (await other.call("write_thing", {"name": "other"})).state == "pending"
    assert scene.spy.executed("write_thing", {"name": "letter"}) == 2


async def test_a_policy_that_says_the_same_changes_no_call(past: Scene) -> None:
    found = replayed(past, POLICY)

    assert (found["calls"], found["changed"], found["cannot_be_told"], found["unchanged"]) == (8, 0, 0, 8)
    assert (found["agents"], found["servers"]) == (["ci-bot", "other-bot"], ["things"])


async def test_a_tighter_policy_changes_exactly_the_calls_that_it_is_about(past: Scene) -> None:
    some = {"id": "b-asks", "tools": "*__read_thing", "when": "args.name == 'b'", "action": "ask"}
    never = {"id": "never", "tools": "*__write_thing", "agents": "other-bot", "action": "deny"}
    found = replayed(past, layer(some, never, READS, WRITES, DESTROY, ECHO))

    assert changes(found) == [
        ("stricter", "allow", "ask", 2, ["things__read_thing"]),
        ("stricter", "ask", "deny", 1, ["things__write_thing"]),
    ]
    asks = found["groups"][0]
    assert asks["was"]["because"] == [{"layer": "policy.yaml", "rule": "reads", "place": None}]
    assert asks["now"]["because"] == [{"layer": "new.yaml", "rule": "b-asks", "place": "new.yaml:1:44"}]
    told = command(
        past, "policy", "explain", "--from-log", str(asks["sequences"][0]), "-c", "new.yaml", "--state-dir", "state"
    )
    assert told.stdout.startswith("ask: things__read_thing called by ci-bot")
    assert 'args.name == "b": true (args.name is "b")' in told.stdout
    assert "(as was recorded)" in told.stdout


async def test_a_looser_policy_is_told_first_and_grants_count_as_asking(past: Scene) -> None:
    loose = {"id": "all-writes", "tools": "*__write_thing", "action": "allow"}
    found = replayed(past, layer(READS, loose, DESTROY, {"id": "no-echo", "tools": "*__echo", "action": "hide"}))
    (past.proxy.folder / "new.yaml").write_text(json.dumps(layer(READS, {**WRITES, "grants": False}, DESTROY, ECHO)))
    without = command(past, "policy", "replay", "state", "--against", "new.yaml")

    assert changes(found) == [
        ("looser", "ask", "allow", 2, ["things__write_thing"]),
        ("looser", "ask", "allow", 1, ["things__write_thing"]),
        ("stricter", "allow", "hide", 1, ["things__echo"]),
    ]
    assert [group["was"]["because"][0]["layer"] for group in found["groups"][:2]] == ["policy.yaml", "grant"]
    assert without.returncode == 1
    assert "and no grant may answer; was ran by a standing grant" in without.stdout


async def test_what_is_redacted_is_nowhere_and_is_not_guessed(past: Scene) -> None:
    weak = {"id": "weak", "tools": "*__echo", "when": "size(args.password) < 10", "action": "deny"}
    big = {"id": "big", "tools": "*__echo", "when": "args.amount > 100", "action": "deny"}
    unknown = replayed(past, layer(weak, READS, WRITES, DESTROY, ECHO))
    known = replayed(past, layer(big, READS, WRITES, DESTROY, ECHO))

    assert changes(unknown) == [("cannot_be_told", "allow", "?", 1, ["things__echo"])]
    assert unknown["groups"][0]["missing"] == ["redacted"]
    assert [each["rule"] for each in unknown["groups"][0]["needed_by"]] == ["weak"]
    assert changes(known) == [("stricter", "allow", "deny", 1, ["things__echo"])]
    kept = b"".join(path.read_bytes() for path in past.proxy.state.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept
    assert b'"amount":150' in kept


async def test_with_recording_off_no_argument_is_kept_but_those_of_parked_calls(tmp_path: Path) -> None:
    async with made(tmp_path, None) as scene:
        await traffic(scene)
        kept = b"".join(path.read_bytes() for path in scene.proxy.state.rglob("*") if path.is_file())
        some = {"id": "b-asks", "tools": "*__read_thing", "when": "args.name == 'b'", "action": "ask"}
        letters = {"id": "letters", "tools": "*__write_thing", "when": "args.name == 'other'", "action": "deny"}
        found = replayed(scene, layer(some, letters, READS, WRITES, DESTROY, ECHO))

        assert SECRET.encode() not in kept
        assert b'"amount":150' not in kept
        assert b"letter" in kept
        assert changes(found) == [
            ("stricter", "ask", "deny", 1, ["things__write_thing"]),
            ("cannot_be_told", "allow", "?", 3, ["things__read_thing"]),
            ("cannot_be_told", "ask", "?", 1, ["things__write_thing"]),
        ]
        assert {tuple(group["missing"]) for group in found["groups"][1:]} == {("arguments",)}


async def test_an_export_replays_like_the_folder_it_is_from(past: Scene) -> None:
    new = layer(
        {"id": "b", "tools": "*__read_thing", "when": "args.name == 'b'", "action": "deny"}, READS, WRITES, ECHO
    )
    folder = replayed(past, new)
    exported = command(past, "log", "export", "--state-dir", "state", "--recordings", "recordings.jsonl")
    (past.proxy.folder / "log.jsonl").write_text(exported.stdout)
    again = command(past, "log", "export", "--state-dir", "state", "--recordings", "recordings.jsonl")

    found = replayed(past, new, "--recordings", "recordings.jsonl", log="log.jsonl")
    alone = replayed(past, new, log="log.jsonl")

    assert found == folder
    assert alone["cannot_be_told"] > 0
    assert (past.proxy.folder / "recordings.jsonl").stat().st_mode & 0o777 == 0o600
    assert (again.returncode, "cannot be created" in again.stderr) == (2, True)
    # A recording that was tampered with is found out, and so is a row.
    recordings = past.proxy.folder / "recordings.jsonl"
    recordings.write_text(recordings.read_text().replace('\\"b\\"', '\\"c\\"', 1))
    forged = command(past, "policy", "replay", "log.jsonl", "--recordings", "recordings.jsonl", "--against", "new.yaml")
    log = past.proxy.folder / "log.jsonl"
    log.write_text(log.read_text().replace('"action":"deny"', '"action":"ask"', 1))
    broken = command(past, "policy", "replay", "log.jsonl", "--against", "new.yaml")
    assert (forged.returncode, forged.stdout) == (2, "")
    assert "the recording of row" in forged.stderr
    assert (broken.returncode, broken.stdout) == (2, "")
    assert "not as it was written" in broken.stderr


async def test_a_proxy_that_dies_leaves_a_row_with_its_recording_or_neither(scene: Scene) -> None:
    async with scene.agent() as agent:
        for number in range(20):
            await agent.call("read_thing", {"name": f"n{number}"})
    await scene.proxy.kill9()

    found = replayed(scene, layer({"id": "n7", "when": "args.name == 'n7'", "action": "deny"}, READS))
    verified = command(scene, "log", "verify", "--state-dir", "state")

    assert changes(found) == [("stricter", "allow", "deny", 1, ["things__read_thing"])]
    assert verified.returncode == 0


async def test_recordings_are_erased_when_their_time_is_up_and_on_demand(tmp_path: Path) -> None:
    async with made(tmp_path, "1s") as scene:
        async with scene.agent() as agent:
            await agent.call("read_thing", {"name": SECRET})
        database = scene.proxy.state

        def erased() -> bool:
            return "0 recordings" in command(scene, "log", "forget", "--dry-run", "--state-dir", "state").stdout

        await until(erased, "the recordings to be erased")
        found = replayed(scene, layer({"id": "x", "when": "args.name == 'x'", "action": "deny"}, READS))
        await scene.proxy.process.terminate()

        assert [(group["turn"], group["missing"]) for group in found["groups"]] == [("cannot_be_told", ["erased"])]
        assert command(scene, "log", "verify", "--state-dir", "state").returncode == 0
        kept = b"".join(path.read_bytes() for path in database.rglob("*") if path.is_file())
        assert SECRET.encode() not in kept


async def test_what_a_replay_foretells_happens_once_the_policy_is_in_force(scene: Scene) -> None:
    async with scene.agent() as agent:
        await agent.call("read_thing", {"name": "b"})
    b = {"id": "b", "tools": "*__read_thing", "when": "args.name == 'b'", "action": "deny"}
    tighter = layer(b, READS, WRITES, DESTROY, ECHO)
    assert changes(replayed(scene, tighter)) == [("stricter", "allow", "deny", 1, ["things__read_thing"])]

    scene.proxy.set_policy(tighter)

    async def bites() -> bool:
        async with scene.agent() as agent:
            return bool((await agent.call("read_thing", {"name": "b"})).is_error)

    await until_async(bites, "the new policy to be in force")
    after = replayed(scene, tighter, "--with", "policy.yaml")
    assert (after["changed"], after["cannot_be_told"]) == (0, 0)


async def test_what_an_agents_program_says_of_its_calls_is_no_policy_that_changed(scene: Scene) -> None:
    """Asked about for its sake, let through by a grant, sent again, or with the ids of another call."""
    allow_reads = layer(READS, {"id": "own", "tools": "function:*__read_*", "action": "allow"})
    scene.proxy.set_policy(allow_reads)
    await scene.proxy.restart()
    own = {"kind": "function", "tool": "read_mail", "arguments": {"n": 1}, "needs_approval": True}
    asked = (await scene.proxy.ask("POST", "/v1/calls", own, token=AGENT_TOKEN)).json()["interruption"]
    decided = await scene.proxy.decide(asked, "approve", remember={"for": "1h"})
    path = f"/v1/interruptions/{asked['id']}"
    taken = (await scene.proxy.ask("POST", f"{path}/claim", {}, token=AGENT_TOKEN)).json()
    await scene.proxy.ask("POST", f"{path}/outcome", {"token": taken["token"], "kind": "ok"}, token=AGENT_TOKEN)
    granted = (await scene.proxy.ask("POST", "/v1/calls", own, token=AGENT_TOKEN)).json()
    again = await keyed(scene.proxy, tool="read_thing", **AGAIN)
    waits = await keyed(scene.proxy, "call-2", **AGAIN, **NOW)
    reused = await keyed(scene.proxy, "call-2", arguments={"name": "other"})
    found = replayed(scene, allow_reads)

    assert decided.status_code == 200, decided.text
    assert (granted["verdict"], again["_meta"]) == ("allow", {"holdshort/outcome": "unknown"})
    assert waits["_meta"]["holdshort/interruption"]["state"] == "pending"
    assert reused["_meta"] == {"holdshort/error": "call_id_reused"}
    assert changes(found) == []
