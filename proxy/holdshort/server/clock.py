"""The one clock and the one source of ids; everywhere else both are arguments."""

from datetime import UTC, datetime

import uuid_utils

__all__ = ["new_id", "utc_now"]


def utc_now() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(UTC)  # noqa: TID251 (this is the clock)


def new_id() -> str:
    """Return a fresh id that sorts by time; ids are no secrets."""
    return f"i-{uuid_utils.uuid7()}"
