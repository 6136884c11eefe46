"""A parked call as a task (MCP tasks extension 2026-07-28): the handle's id is the interruption's id.

The handle survives restarts because it is only a name for a row in the store. Looking after a task is also how an
agent comes back for an approved call, so looking is what makes it run.
"""

from datetime import datetime
from typing import Any, Final

from holdshort.gate import answers
from holdshort.gate.methods import Era
from holdshort.interruption import Interruption, State

__all__ = ["POLL_MILLISECONDS", "task_handle", "task_view"]

POLL_MILLISECONDS: Final = 2_000

_WORKING: Final = frozenset({State.PENDING, State.APPROVED, State.EXECUTING})


def task_handle(record: Interruption, now: datetime) -> dict[str, Any]:
    """Return the Task object of a call that has not ended (tasks extension, section Tasks)."""
    lifetime = record.expires_at - record.created_at
    return {
        "taskId": record.id,
        "status": "working",
        "statusMessage": answers.status_text(record),
        "createdAt": _time(record.created_at),
        "lastUpdatedAt": _time(now),
        "ttlMs": int(lifetime.total_seconds() * 1000) + 3_600_000,
        "pollIntervalMs": POLL_MILLISECONDS,
        "_meta": {answers.INTERRUPTION_KEY: answers.interruption_meta(record)},
    }


def task_view(record: Interruption, now: datetime) -> dict[str, Any]:
    """Return the result of `tasks/get` for the call as it stands (tasks extension, section Task Polling)."""
    view = {"resultType": "complete", **task_handle(record, now)}
    if record.state in _WORKING:
        return view
    if record.state is State.WITHDRAWN:
        return view | {"status": "cancelled"}
    reply = answers.settled("", record, Era.MODERN)
    if "error" in reply:
        return view | {"status": "failed", "error": reply["error"]}
    # A rejected or expired call is a result the model reads, not a protocol failure.
    return view | {"status": "completed", "result": reply["result"]}


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
