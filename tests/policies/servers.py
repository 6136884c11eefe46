"""The servers that packs are about, as far as they run here: how each is started, and what its list leaves out.

None of them reaches the service behind it: a list of tools needs no account that works.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.missing import require
from kit.node import node_kit, servers_kit
from kit.venvs import MCP_ATLASSIAN, SQLITE, side_python

__all__ = ["LIVE", "Live"]

Command = Callable[[Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Live:
    """One server to be asked for its tools, and the pack that has to know them."""

    pack: str
    command: Command
    """Of a folder that it may use."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    elsewhere: frozenset[str] = frozenset()
    """Names in the pack that this server does not list as it is started here."""
    partial: str | None = None
    """Why the pack names tools of another server besides; those are not compared."""
    allowed_writes: frozenset[str] = frozenset()
    """Tools that the pack allows although the server does not call them read-only: somebody has looked."""

    @property
    def label(self) -> str:
        """How the server is called; the pack's own name, but for two about one service."""
        return self.pack


def _npm(package: str, path: str, *arguments: str) -> Command:
    return lambda folder: [*require(servers_kit).script(package, path), *arguments]


def _beside(program: str, *arguments: str) -> Command:
    return lambda folder: [str(Path(sys.executable).parent / program), *arguments]


def _in(requirements: tuple[str, ...], program: str, *arguments: str) -> Command:
    def command(folder: Path) -> Sequence[str]:
        python = require(lambda: side_python(requirements))
        return [str(python.parent / program), *(argument.format(folder=folder) for argument in arguments)]

    return command


_ATLASSIAN = {
    f"{product}_{key}": value
    for product, path in (("JIRA", ""), ("CONFLUENCE", "/wiki"))
    for key, value in (("URL", f"https://jira.invalid{path}"), ("USERNAME", "ana"), ("API_TOKEN", "none"))
}
_CAPABILITIES = "--caps=vision,pdf,testing,tracing,network,storage,devtools,config"

LIVE = (
    Live("filesystem", lambda folder: require(node_kit).filesystem(folder)),
    Live(
        "everything",
        lambda folder: require(node_kit).everything(),
        elsewhere=frozenset(
            {
                "get-roots-list",
                "trigger-elicitation-request",
                "trigger-elicitation-request-async",
                "trigger-sampling-request",
                "trigger-sampling-request-async",
                "trigger-url-elicitation",
            }
        ),
    ),
    Live("memory", lambda folder: require(node_kit).memory(), {"MEMORY_FILE_PATH": "/dev/null"}),
    Live("git", _beside("mcp-server-git")),
    Live("time", _beside("mcp-server-time", "--local-timezone", "UTC")),
    Live("fetch", _beside("mcp-server-fetch")),
    Live(
        "sqlite",
        _in(SQLITE, "mcp-server-sqlite", "--db-path", "{folder}/crew.db"),
        allowed_writes=frozenset({"list_tables", "describe_table"}),
    ),
    Live("sequential-thinking", _npm("@modelcontextprotocol/server-sequential-thinking", "dist/index.js")),
    Live("postgres", _npm("@modelcontextprotocol/server-postgres", "dist/index.js", "postgresql://127.0.0.1:1/none")),
    Live(
        "puppeteer",
        _npm("@modelcontextprotocol/server-puppeteer", "dist/index.js"),
        allowed_writes=frozenset({"puppeteer_screenshot", "puppeteer_hover"}),
    ),
    Live(
        "playwright",
        _npm("@playwright/mcp", "cli.js", "--headless", _CAPABILITIES),
        allowed_writes=frozenset(
            {
                "browser_close",
                "browser_emulate_media",
                "browser_hover",
                "browser_mouse_move_xy",
                "browser_mouse_wheel",
                "browser_navigate_back",
                "browser_resize",
            }
        ),
    ),
    Live(
        "chrome-devtools",
        _npm("chrome-devtools-mcp", "build/src/bin/chrome-devtools-mcp.js", "--no-usage-statistics"),
        allowed_writes=frozenset({"emulate", "hover", "resize_page", "take_screenshot", "take_snapshot"}),
    ),
    Live(
        "github",
        _npm("@modelcontextprotocol/server-github", "dist/index.js"),
        partial="GitHub's own server is a program of another kind, which no package here has",
        allowed_writes=frozenset(
            {
                "get_file_contents",
                "get_issue",
                "get_pull_request",
                "get_pull_request_comments",
                "get_pull_request_files",
                "get_pull_request_reviews",
                "get_pull_request_status",
                "list_commits",
                "list_issues",
                "list_pull_requests",
                "search_code",
                "search_issues",
                "search_repositories",
                "search_users",
            }
        ),
    ),
    Live(
        "slack",
        _npm("@modelcontextprotocol/server-slack", "dist/index.js"),
        {"SLACK_BOT_TOKEN": "none", "SLACK_TEAM_ID": "none"},
        partial="Slack's own server is hosted",
        allowed_writes=frozenset(
            {
                "slack_get_channel_history",
                "slack_get_thread_replies",
                "slack_get_user_profile",
                "slack_get_users",
                "slack_list_channels",
            }
        ),
    ),
    Live(
        "notion",
        _npm("@notionhq/notion-mcp-server", "bin/cli.mjs"),
        {"NOTION_TOKEN": "none"},
        partial="Notion's own server is hosted",
        allowed_writes=frozenset({"API-post-search", "API-query-data-source"}),
    ),
    Live("sentry", _npm("@sentry/mcp-server", "dist/index.js", "--access-token=none")),
    Live("mcp-atlassian", _in(MCP_ATLASSIAN, "mcp-atlassian"), {**_ATLASSIAN, "TOOLSETS": "all"}),
)
