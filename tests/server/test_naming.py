"""A wrapped server is called what its ready-made policy calls it, wherever the command says what it is."""

from __future__ import annotations

import pytest

from holdshort.config import pack_names
from holdshort.server.naming import label_of


@pytest.mark.parametrize(
    ("command", "label"),
    [
        ("npx -y @modelcontextprotocol/server-filesystem /data", "filesystem"),
        ("npx -y @modelcontextprotocol/server-memory", "memory"),
        ("npx -y @modelcontextprotocol/server-sequential-thinking", "sequential-thinking"),
        ("npx -y @modelcontextprotocol/server-everything@2026.8.31", "everything"),
        ("npx -y @modelcontextprotocol/server-postgres postgresql://127.0.0.1/crew", "postgres"),
        ("uvx mcp-server-git --repository .", "git"),
        ("/usr/local/bin/mcp-server-fetch", "fetch"),
        ("python3.12 -m mcp_server_time", "mcp-server-time"),
        ("uvx mcp-server-sqlite --db-path crew.db", "sqlite"),
        ("npx -y @notionhq/notion-mcp-server", "notion"),
        ("npx chrome-devtools-mcp@latest", "chrome-devtools"),
        ("npx @playwright/mcp@latest", "playwright"),
        ("npx -y @stripe/mcp --api-key=none", "stripe"),
        ("npx @sentry/mcp-server@latest", "sentry"),
        ("node ./build/weather.js", "weather"),
        ("npx", "server"),
    ],
)
def test_a_server_is_called_after_its_command(command: str, label: str) -> None:
    assert label_of(command.split()) == label
    if command.startswith(("npx -y @m", "npx @p", "npx @s", "uvx", "npx chrome")):
        assert label in pack_names()
