"""What a machine cannot have is skipped with the reason; where everything must run (CI), it is a failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

__all__ = ["Missing", "must_have_everything", "require"]

T = TypeVar("T")


class Missing(Exception):  # not an error: a fact about this machine
    """Raised when this machine cannot have something a test needs; the message says what and why."""


def must_have_everything() -> bool:
    """True in CI and when `HOLDSHORT_REQUIRE_ALL=1`: a skip there would be a test that silently stopped running."""
    return os.environ.get("HOLDSHORT_REQUIRE_ALL") == "1" or os.environ.get("CI", "") not in ("", "0", "false")


def require(make: Callable[[], T]) -> T:
    """Return what `make` makes. Where it raises `Missing`, skip with its reason, or fail where nothing may skip."""
    try:
        return make()
    except Missing as reason:
        if must_have_everything():
            pytest.fail(f"required here, and missing: {reason}", pytrace=False)
        pytest.skip(str(reason))
