"""Whose pins a wrapped command has: real processes on one state folder, one after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.process import TESTS

SPY = str(TESTS / "kit" / "spy_server.py")


def message(method: str, number: int | None = None, **params: Any) -> bytes:
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(body if number is None else {**body, "id": number}).encode() + b"\n"


def listed(folder: Path, *options: str, record: str) -> list[str]:
    """Wrap a server, ask it for its tools as a client does, and let it go."""
    command = [sys.executable, "-m", "holdshort", "wrap", "--state-dir", "state", "--name", "notes", *options]
    command += ["--", sys.executable, SPY, "--record", str(folder / record), "--stdio"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    ) as wrap:
        assert wrap.stdin is not None
        assert wrap.stdout is not None
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        wrap.stdin.write(message("initialize", 1, **hello) + message("notifications/initialized"))
        wrap.stdin.write(message("tools/list", 2))
        wrap.stdin.flush()
        for line in wrap.stdout:
            reply = json.loads(line)
            if reply.get("id") == 2:
                wrap.stdin.close()
                wrap.wait(20)
                return [each["name"] for each in reply["result"]["tools"]]
    raise AssertionError("the wrap ended without an answer")


def pins(folder: Path) -> dict[str, set[str]]:
    """The states of every scope's pins."""
    words = [sys.executable, "-m", "holdshort", "policy", "pin", "list", "--json", "--state-dir", "state"]
    done = subprocess.run(words, cwd=folder, capture_output=True, timeout=30, check=True)
    found: dict[str, set[str]] = {}
    for each in json.loads(done.stdout)["pins"]:
        found.setdefault(each["server"], set()).add(each["state"])
    return found


@pytest.fixture
def configured(tmp_path: Path) -> tuple[str, str]:
    """Options that name a configuration with an entry for the label."""
    entry = {"mcpServers": {"notes": {"command": "anything"}}, "policy": ["policy.yaml"]}
    (tmp_path / "holdshort.yaml").write_text(json.dumps(entry))
    (tmp_path / "policy.yaml").write_text(json.dumps({"version": 1, "default": "ask"}))
    return "-c", "holdshort.yaml"


def test_two_commands_that_come_to_the_same_label_leave_each_others_pins_alone(tmp_path: Path) -> None:
    for record in ("a", "b", "a", "b"):
        assert listed(tmp_path, record=record)

    scopes = pins(tmp_path)
    assert len(scopes) == 2
    assert all(scope.startswith("notes@") for scope in scopes)
    assert set.union(*scopes.values()) == {"pinned"}


def test_another_command_behind_a_label_that_a_file_names_is_a_change(
    tmp_path: Path, configured: tuple[str, str]
) -> None:
    assert listed(tmp_path, *configured, record="a")
    before = pins(tmp_path)
    assert listed(tmp_path, *configured, record="b")

    assert before == {"notes": {"pinned"}}
    assert pins(tmp_path) == {"notes": {"changed"}}


def test_a_strict_wrap_offers_nothing_until_it_is_accepted(tmp_path: Path, configured: tuple[str, str]) -> None:
    (tmp_path / "policy.yaml").write_text(json.dumps({"version": 1, "default": "allow", "pins": "strict"}))
    first = listed(tmp_path, *configured, record="a")
    words = [sys.executable, "-m", "holdshort", "policy", "pin", "accept", "notes", "read_thing", "--yes"]
    subprocess.run([*words, "--state-dir", "state"], cwd=tmp_path, capture_output=True, timeout=30, check=True)

    assert first == []
    assert listed(tmp_path, *configured, record="a") == ["read_thing"]
