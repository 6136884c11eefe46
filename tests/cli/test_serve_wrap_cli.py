"""`serve` and `wrap` as commands: words in, exit codes out, and nothing but MCP on the standard output of `wrap`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kit.spy import SpyRecord

HOLDSHORT = [sys.executable, "-m", "holdshort"]


def run(*words: str, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*HOLDSHORT, *words], cwd=cwd, input=stdin, capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize("command", ["serve", "wrap"])
def test_help_has_an_example(tmp_path: Path, command: str) -> None:
    done = run(command, "--help", cwd=tmp_path)

    assert done.returncode == 0
    assert f"holdshort {command}" in done.stdout.decode()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "holdshort.yaml"),
        ("{", "holdshort.yaml"),
        ("mcpServers: {}", "mcpServers"),
        ("mcpServers: {a: {command: cat}}\npolicy: [gone.yaml]", "gone.yaml"),
        ("mcpServers: {a: {command: cat}}\nlisten: 0.0.0.0:7411", "agents"),
    ],
)
def test_a_configuration_that_cannot_be_used_starts_nothing(tmp_path: Path, text: str | None, word: str) -> None:
    if text is not None:
        (tmp_path / "holdshort.yaml").write_text(text)
    done = run("serve", "--state-dir", "state", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stdout == b""
    assert word in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "listen", ["nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "0.0.0.0:0", "192.0.2.1:0"]
)
def test_an_address_that_cannot_be_listened_on_is_refused(tmp_path: Path, listen: str) -> None:
    (tmp_path / "holdshort.yaml").write_text("mcpServers: {a: {command: cat}}")
    done = run("serve", "--listen", listen, "--state-dir", "state", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, b"")
    assert "Traceback" not in done.stderr.decode()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "holdshort.yaml").write_text("mcpServers: {a: {command: cat}}")
        done = run("serve", "--listen", f"127.0.0.1:{port}", "--state-dir", "state", cwd=tmp_path)

    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr.decode()


def talk(tmp_path: Path, messages: Sequence[Any], *options: str) -> tuple[list[dict[str, Any]], SpyRecord]:
    """Have a conversation with a wrapped spy: each request waits for its response."""
    record = SpyRecord(tmp_path / "spy.jsonl")
    command = [*HOLDSHORT, "wrap", "--state-dir", str(tmp_path / "state"), "-c", str(config(tmp_path)), *options]
    replies: list[dict[str, Any]] = []
    with subprocess.Popen(
        [*command, "--", *record.command("--stdio")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            if "id" in message:
                replies.append(json.loads(process.stdout.readline()))
        rest, _ = process.communicate(timeout=20)
        assert rest == b""
        assert process.returncode == 0
    return replies, record


def config(folder: Path) -> Path:
    path = folder / "holdshort.yaml"
    path.write_text(json.dumps({"version": 1, "hold": {"default": "50ms"}, "approvals": {"listen": "127.0.0.1:0"}}))
    return path


HELLO = [
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]


def call(number: int, name: str) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": name, "arguments": {"name": "x"}},
    }


def test_a_wrapped_server_reads_at_once_and_asks_before_it_writes(tmp_path: Path) -> None:
    replies, record = talk(tmp_path, [*HELLO, call(1, "read_thing"), call(2, "write_thing")])

    assert [reply["id"] for reply in replies] == [0, 1, 2]
    assert replies[1]["result"]["content"][0]["text"] == "read_thing done: x"
    assert "NOT EXECUTED YET" in replies[2]["result"]["content"][0]["text"]
    assert (record.executed("read_thing"), record.executed("write_thing")) == (1, 0)


def test_a_strict_wrap_asks_about_reading_too(tmp_path: Path) -> None:
    replies, record = talk(tmp_path, [*HELLO, call(1, "read_thing")], "--strict")

    assert "NOT EXECUTED YET" in replies[1]["result"]["content"][0]["text"]
    assert record.executed("read_thing") == 0


def test_a_wrapped_server_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    options = ["wrap", "--state-dir", str(tmp_path / "state"), "-c", str(config(tmp_path))]
    done = run(*options, "--", "no-such-command-anywhere", cwd=tmp_path, stdin=json.dumps(HELLO[0]).encode() + b"\n")

    assert done.returncode == 0
    for line in done.stdout.splitlines():
        assert json.loads(line)["error"]["code"] == -31_000


def test_wrapping_nothing_is_a_usage_error(tmp_path: Path) -> None:
    done = run("wrap", "--", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, b"")
