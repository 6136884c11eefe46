"""The gate's tests run in one loop with their servers; every one of them has a deadline."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """One loop is enough here: `tests/gate/upstream` runs on both."""
    return "asyncio"
