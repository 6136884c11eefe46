"""Side environments for clients and servers that cannot, or should not, live beside the `mcp` that the proxy pins."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

from kit.cache import build_once, digest
from kit.missing import Missing

__all__ = ["MCP_1", "MCP_ATLASSIAN", "OPENAI_AGENTS", "OPENAI_AGENTS_MCP_1", "SQLITE", "side_python"]

MCP_1 = ("mcp==1.30.0",)
"""The last line of the Python SDK's first major version: still the client most agents run on."""

OPENAI_AGENTS = ("openai-agents==0.24.0", "mcp==2.3.0")
"""The OpenAI Agents SDK, whose MCP servers are called directly: no model is needed."""

OPENAI_AGENTS_MCP_1 = ("openai-agents==0.24.0", "mcp==1.30.0")
"""The same on the older MCP library, which it supports too: then it speaks the older era."""

SQLITE = ("mcp-server-sqlite==2025.4.25", "mcp==1.30.0")
"""The archived reference server for SQLite, which was written for the older MCP library."""

MCP_ATLASSIAN = ("mcp-atlassian==0.23.1", "fastmcp==3.4.10", "mcp==1.30.0")
"""The community's server for Jira and Confluence."""


@cache
def side_python(requirements: tuple[str, ...]) -> Path:
    """The interpreter of an environment that holds exactly these requirements (and what they need); made on first use.

    Raises:
        Missing: the environment could not be made or filled.
    """

    def make(folder: Path) -> None:
        try:
            venv.create(folder, with_pip=shutil.which("uv") is None, symlinks=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise Missing(f"no virtual environment can be made here: {problem}") from problem
        done = subprocess.run(_install(folder), capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise Missing(f"could not install {', '.join(requirements)}: {done.stderr.strip()[-2000:]}")

    def _install(folder: Path) -> list[str]:
        python, uv = str(folder / "bin" / "python"), shutil.which("uv")
        if uv is not None:
            return [uv, "pip", "install", "--quiet", "--python", python, *requirements]
        return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"venv-{digest(version, *requirements)}"
    return build_once(name, make, in_place=True) / "bin" / "python"
