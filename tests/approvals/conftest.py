"""One site per test: a store of its own, on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from approvals.site import Site, serving_site


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Module-wide, so that one browser serves a module."""
    return "asyncio"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    async with serving_site(tmp_path / "state") as running:
        yield running
