"""Holdshort as it is measured: twenty rules, five of them about single tools, and the decision log on.

The rule that lets `echo` pass is the last one, so every rule before it has been asked.
"""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.children import environment, free_port
from bench.lanes import Lane, Opened, Place, Row, over_http, over_stdio

__all__ = ["APPROVER_TOKENS", "COMMAND", "LABEL", "options", "rows", "write_config"]

COMMAND: Final = (sys.executable, "-m", "holdshort")
LABEL: Final = "bench"
APPROVER_TOKENS: Final = tuple(f"bench-approver-{number:02d}-0123456789abcdef" for number in range(20))
"""As many as it takes to decide a few hundred calls in a row: one approver alone would be slowed down."""

_GLOBS: Final = {
    "*__purge*": "hide",
    "*__admin_*": "hide",
    "*__drop_*": "deny",
    "*__delete_*": "ask",
    "*__send_*": "ask",
    "*__create_*": "ask",
    "*__update_*": "ask",
    "*__merge_*": "ask",
    "*__push_*": "ask",
    "*__write_*": "ask",
    "*__pay_*": "ask",
    "*__refund_*": "ask",
    "*__publish_*": "ask",
    "*__list_*": "allow",
}


def policy_rules() -> list[dict[str, Any]]:
    """Return the measured policy's rules, in the shape of a policy file."""
    globs = [
        {"id": f"glob-{number}", "tools": [glob], "action": action}
        for number, (glob, action) in enumerate(_GLOBS.items())
    ]
    single = [
        {"id": f"one-{number}", "tools": [f"*__other_{number:03d}"], "action": "ask", "expires_after": "30m"}
        for number in range(1, 6)
    ]
    return [*globs, *single, {"id": "echo", "tools": ["*__echo"], "action": "allow"}]


def write_config(
    folder: Path, server: dict[str, Any], *, port: int, rules: list[dict[str, Any]] | None = None, **more: Any
) -> Path:
    """Write a configuration with one server and one policy file; JSON is YAML too."""
    folder.mkdir(parents=True, exist_ok=True)
    policy = {"version": 1, "default": "ask", "rules": policy_rules() if rules is None else rules}
    (folder / "policy.yaml").write_text(json.dumps(policy, indent=1))
    config = {
        "version": 1,
        "listen": f"127.0.0.1:{port}",
        "mcpServers": {LABEL: server},
        "approvers": [{"name": token[:17], "token": token} for token in APPROVER_TOKENS],
        "policy": ["policy.yaml"],
        **more,
    }
    path = folder / "holdshort.yaml"
    path.write_text(json.dumps(config, indent=1))
    return path


def options(config: Path) -> list[str]:
    """Return the options that run a command on a written configuration, with its state beside it."""
    return ["-c", str(config), "--state-dir", str(config.parent / "state")]


def rows(command: Sequence[str] = COMMAND) -> list[Row]:
    """Return our rows: `/mcp/{server}`, where names stay, and `/mcp`, where they carry the server's."""
    absent = _absent()
    return [
        Row("holdshort", partial(_named, command), absent=absent),
        Row("holdshort /mcp", partial(_prefixed, command), frozenset({Lane.HTTP_HTTP, Lane.HTTP_STDIO}), absent),
    ]


def _absent() -> str | None:
    try:
        done = subprocess.run(
            [*COMMAND, "serve", "--help"], env=environment(), capture_output=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return "`holdshort serve --help` does not come back"
    return None if done.returncode == 0 else "`holdshort serve` does not start"


@asynccontextmanager
async def _named(command: Sequence[str], place: Place) -> AsyncGenerator[Opened]:
    if place.lane is Lane.STDIO_STDIO:
        folder = place.folder / "holdshort-wrap"
        config = write_config(folder, {"command": place.upstream_command[0]}, port=free_port())
        wrapped = [*command, "wrap", *options(config), "--", *place.upstream_command]
        async with over_stdio(wrapped, folder / "output.log") as opened:
            yield opened
        return
    async with _serve(command, place, f"/mcp/{LABEL}", "echo") as opened:
        yield opened


@asynccontextmanager
async def _prefixed(command: Sequence[str], place: Place) -> AsyncGenerator[Opened]:
    async with _serve(command, place, "/mcp", f"{LABEL}__echo") as opened:
        yield opened


@asynccontextmanager
async def _serve(command: Sequence[str], place: Place, path: str, tool: str) -> AsyncGenerator[Opened]:
    port = free_port()
    folder = place.folder / f"holdshort{path.replace('/', '-')}"
    server: dict[str, Any] = {"url": place.upstream_url}
    if place.lane is Lane.HTTP_STDIO:
        server = {"command": place.upstream_command[0], "args": place.upstream_command[1:]}
    config = write_config(folder, server, port=port)
    async with over_http([*command, "serve", *options(config)], port, folder / "output.log", path, tool) as opened:
        yield opened
