"""A folder and an echo upstream for as long as one lane is measured."""

import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.children import free_port, started
from bench.lanes import Lane, Place

__all__ = ["lane_place"]

_UPSTREAM = str(Path(__file__).resolve().parent / "echo_upstream.py")


@asynccontextmanager
async def lane_place(lane: Lane, tools: int) -> AsyncGenerator[Place]:
    """Serve an upstream with that many tools, over HTTP here and over pipes to whoever starts its command."""
    with tempfile.TemporaryDirectory(prefix="holdshort-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        port = free_port()
        command = [sys.executable, _UPSTREAM, "--http", str(port), "--tools", str(tools)]
        async with started(command, port, folder / "upstream.log"):
            yield Place(
                lane=lane,
                folder=folder,
                upstream_url=f"http://127.0.0.1:{port}/mcp",
                upstream_command=(sys.executable, _UPSTREAM, "--stdio", "--tools", str(tools)),
            )
