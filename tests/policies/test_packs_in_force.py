"""A pack in front of its real server: what it allows runs, what it asks about waits under the pack's own rule."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from kit.clients import CLIENTS, connected
from kit.missing import require
from kit.node import node_kit
from kit.proxy import AGENT_TOKEN, ProxyKit, serving
from kit.together import together

pytestmark = pytest.mark.timeout(120)

CLIENT = CLIENTS["python-2.3-legacy"]


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncGenerator[ProxyKit]:
    """The filesystem server under another label than the pack's own, and a policy that says nothing else."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "notes.txt").write_text("hold short of runway 27")
    (files / ".env").write_text("KEY=do-not-tell")
    program, *arguments = require(node_kit).filesystem(files)
    layer = {"version": 1, "default": "deny", "packs": [{"pack": "filesystem", "servers": ["files"]}]}
    servers = {"files": {"command": program, "args": arguments}}
    async with serving(tmp_path / "proxy", servers, layer, hold="20s") as running:
        yield running


async def test_a_read_runs_and_a_secret_and_a_write_wait_under_rules_of_the_pack(
    proxy: ProxyKit, tmp_path: Path
) -> None:
    files = tmp_path / "files"

    async def refuse(expected: str) -> None:
        (record,) = await proxy.pending()
        assert [because["rule"] for because in record["because"]] == [expected]
        await proxy.reject(record, "not today")

    async with connected(CLIENT, url=proxy.server_url("files"), token=AGENT_TOKEN) as agent:
        read = await agent.call("read_text_file", {"path": str(files / "notes.txt")})
        secret, _ = await together(
            agent.call_until_settled("read_text_file", {"path": str(files / "x" / ".." / ".env")}),
            refuse("filesystem/secrets"),
        )
        write, _ = await together(
            agent.call_until_settled("write_file", {"path": str(files / "new.txt"), "content": "cleared"}),
            refuse("filesystem/writes"),
        )

    assert read.text == "hold short of runway 27"
    assert secret.is_error
    assert "do-not-tell" not in secret.text
    assert write.is_error
    assert not (files / "new.txt").exists()
