"""Each run of the suite happens once per session; several tests look at its checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from conformance.runs import Route, run_route
from conformance.suite import Results
from kit.missing import require
from kit.node import node_kit

RunSuite = Callable[[Route, str], Awaitable[Results]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def suite() -> RunSuite:
    """Run the suite over a route at a revision, or return what that run gave before."""
    node = require(node_kit)
    done: dict[tuple[Route, str], Results] = {}

    async def run(route: Route, revision: str) -> Results:
        if (route, revision) not in done:
            done[route, revision] = await run_route(node, route, revision)
        return done[route, revision]

    return run
