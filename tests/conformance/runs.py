"""The runs whose checks are compared: the fixture server reached directly, and reached through the proxy."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from anyio import to_thread

from conformance.suite import Results, run_server_suite
from kit.node import NodeKit
from kit.ports import free_port
from kit.process import kit_command, kit_environment, running
from kit.proxy import allow_everything, kit_upstream, serving

__all__ = ["ROUTES", "Route", "run_route"]

Route = Literal["direct", "http", "stdio"]
ROUTES: tuple[Route, ...] = ("direct", "http", "stdio")
"""Direct; through the proxy to an HTTP upstream; through the proxy to a stdio upstream."""

LABEL = "fixture"


async def run_route(node: NodeKit, route: Route, revision: str) -> Results:
    """Start what the route needs, run everything that `revision` requires, and return the checks."""
    with tempfile.TemporaryDirectory(prefix="holdshort-conformance-") as scratch:
        folder = Path(scratch)
        async with _reachable(route, folder) as url:
            return await to_thread.run_sync(run_server_suite, node, url, revision, folder / "results")


@asynccontextmanager
async def _reachable(route: Route, folder: Path) -> AsyncGenerator[str]:
    """The URL that the suite is given. It wants `localhost`, by that name."""
    async with AsyncExitStack() as stack:
        upstream: dict[str, Any] = kit_upstream(kit_command("kit.fixture_server", "--stdio"))
        if route != "stdio":
            port = free_port()
            fixture = running(kit_command("kit.fixture_server", "--http", str(port)), env=kit_environment())
            url = f"http://localhost:{port}/mcp"
            await stack.enter_context(fixture).until_answers(url)
            if route == "direct":
                yield url
                return
            upstream = {"url": url}
        # The suite has no credentials to give: without agents, a caller on this machine is the agent `local`.
        proxy = await stack.enter_async_context(serving(folder, {LABEL: upstream}, allow_everything(), agents=[]))
        yield f"http://localhost:{proxy.port}/mcp/{LABEL}"
