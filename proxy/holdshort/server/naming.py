"""A short name for a wrapped server, from the command that starts it."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

__all__ = ["label_of"]

_RUNNERS: Final = frozenset(
    {"npx", "uvx", "uv", "node", "python", "python3", "bunx", "bun", "deno", "pipx", "run", "exec"}
)
_NAMELESS: Final = frozenset({"mcp", "server", "mcp-server"})
"""What says nothing about a server; its npm scope does then, as in `@playwright/mcp`."""
_SCOPE: Final = re.compile(r"@([^/@]+)/[^/@]+(?:@.*)?")
_NOISE: Final = re.compile(r"^(mcp-server-|server-|mcp-)|(-mcp-server|-server|-mcp)$")


def label_of(command: Sequence[str]) -> str:
    """Return the label: `filesystem` for `npx -y @modelcontextprotocol/server-filesystem /data`.

    It is the label that the ready-made policies for such a server are written for.
    """
    for word in command:
        name = PurePath(re.sub(r"(?<=.)@[^/@]*$", "", word)).name
        name = re.sub(r"\.(py|js|mjs|cjs|ts|exe|cmd)$", "", name)
        if word.startswith("-") or re.sub(r"[\d.]+$", "", name) in _RUNNERS:
            continue
        scope = _SCOPE.fullmatch(word)
        short = scope[1].lower() if scope and name.lower() in _NAMELESS else _NOISE.sub("", name.lower())
        label = re.sub(r"[^a-z0-9.-]+", "-", short).strip("-.")
        if label:
            return label[:64]
    return "server"
