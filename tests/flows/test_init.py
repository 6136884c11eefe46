"""From a client's own file to a proxy with policy, in one command: with the servers that people really have."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from holdshort.config import load_config
from holdshort.policy import Action
from kit.clients import CLIENTS, connected
from kit.missing import require
from kit.node import node_kit
from kit.ports import free_port
from kit.process import Running, running

pytestmark = pytest.mark.timeout(180)

HOLDSHORT = [sys.executable, "-m", "holdshort"]
LEGACY = CLIENTS["python-2.3-legacy"]
PACKS = {"notes": "filesystem", "everything": "everything", "facts": "memory", "repo": "git", "clock": "time"}


def holdshort(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run([*HOLDSHORT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def entry(command: Sequence[str], **more: Any) -> dict[str, Any]:
    return {"command": command[0], "args": list(command[1:]), **more}


@pytest.fixture
def mcp_json(tmp_path: Path) -> Path:
    """A client's file with five servers, as somebody would have it."""
    node = require(node_kit)
    beside = Path(sys.executable).parent
    notes, repository = tmp_path / "notes", tmp_path / "repository"
    notes.mkdir()
    (notes / "today.txt").write_text("water the plants")
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    servers = {
        "notes": entry(node.filesystem(notes)),
        "everything": entry(node.everything(), env={"DEMO_TOKEN": "a-token-of-no-use"}),
        "facts": entry(node.memory(), env={"MEMORY_FILE_PATH": str(tmp_path / "facts.jsonl")}),
        "repo": entry([str(beside / "mcp-server-git"), "--repository", str(repository)]),
        "clock": entry([str(beside / "mcp-server-time"), "--local-timezone", "UTC"]),
    }
    path = tmp_path / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def test_known_servers_get_their_packs_and_everything_that_is_written_passes(mcp_json: Path) -> None:
    folder = mcp_json.parent
    told = holdshort(folder, "init", "--from", ".mcp.json")

    assert "export DEMO_TOKEN=" in told
    text = (folder / "policies" / "starter.yaml").read_text()
    for label, pack in PACKS.items():
        bound = f"  - {pack}\n" if label == pack else f"  - {{pack: {pack}, servers: [{label}]}}\n"
        assert bound in text
    for words in (["check"], ["lint"], ["test", "--min-coverage", "100"]):
        holdshort(folder, "policy", *words, *(["--assume-env"] if words[0] != "test" else []))


def test_written_out_tool_by_tool_everything_passes_too(mcp_json: Path) -> None:
    folder = mcp_json.parent
    holdshort(folder, "init", "--from", ".mcp.json", "--no-packs", "--deny-destructive")

    [layer] = load_config(folder / "holdshort.yaml", {"DEMO_TOKEN": "x"}).policy.layers
    by_id = {rule.id: rule for rule in layer.rules}
    assert "notes__read_text_file" in [pattern.text for pattern in by_id["notes-reads"].tools]
    assert by_id["notes-destructive"].action is Action.DENY
    for words in (["check"], ["lint"], ["test", "--min-coverage", "100"]):
        holdshort(folder, "policy", *words, *(["--assume-env"] if words[0] != "test" else []))


@pytest.mark.parametrize("more", [[], ["--no-packs"]], ids=["packs", "written-out"])
async def test_the_proxy_starts_with_it_a_read_runs_and_a_write_waits_and_runs_once(
    mcp_json: Path, more: list[str]
) -> None:
    folder = mcp_json.parent
    holdshort(folder, "init", "--from", ".mcp.json", *more)
    port = free_port()
    serve = [*HOLDSHORT, "serve", "--listen", f"127.0.0.1:{port}", "--state-dir", "state"]
    target = folder / "notes" / "tomorrow.txt"
    write = {"path": str(target), "content": "buy bread"}

    with running(serve, env={"DEMO_TOKEN": "a-token-of-no-use"}, cwd=folder) as proxy:
        await proxy.until_answers(f"http://127.0.0.1:{port}/readyz")
        async with connected(LEGACY, url=f"http://127.0.0.1:{port}/mcp") as agent:
            assert {name.partition("__")[0] for name in await agent.tools()} == PACKS.keys()
            read = await agent.call("notes__read_text_file", {"path": str(folder / "notes" / "today.txt")})
            parked = await agent.call("notes__write_file", write)
            assert not read.is_error, said(proxy, read.text)
            assert "water the plants" in read.text
            assert parked.state == "pending", said(proxy, parked.text)
            assert not target.exists()
            assert parked.interruption is not None
            holdshort(folder, "approvals", "approve", parked.interruption["id"], "--yes", "--state-dir", "state")
            settled = await agent.call_until_settled("notes__write_file", write)

    assert not settled.is_error, settled.text
    assert target.read_text() == "buy bread"


def said(proxy: Running, text: str) -> str:
    return f"{text}\n{proxy.told()}"
