"""A short name for a wrapped server, from the command that starts it."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

__all__ = ["label_of"]

_RUNNERS: Final = frozenset(
    {"npx", "uvx", "uv", "node", "python", "python3", "bunx", "bun", "deno", "pipx", "run", "exec"}
)
_NOISE: Final = re.compile(r"^(mcp-server-|server-|mcp-)|(-mcp-server|-server|-mcp)$")


def label_of(command: Sequence[str]) -> str:
    """Return the label: `filesystem` for `npx -y @modelcontextprotocol/server-filesystem /data`."""
    for word in command:
        name = PurePath(re.sub(r"(?<=.)@[^/@]*$", "", word)).name
        name = re.sub(r"\.(py|js|mjs|cjs|ts|exe|cmd)$", "", name)
        if word.startswith("-") or re.sub(r"[\d.]+$", "", name) in _RUNNERS:
            continue
        short = _NOISE.sub("", name.lower())
        label = re.sub(r"[^a-z0-9.-]+", "-", short).strip("-.")
        if label:
            return label[:64]
    return "server"
