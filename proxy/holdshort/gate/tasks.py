"""A parked call as a task (MCP tasks extension 2026-07-28): the handle's id is the interruption's id.

The handle survives restarts because it is only a name for a row in the store. Looking after a task is also how an
agent comes back for an approved call, so looking is what makes it run.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Any, Final

from holdshort.gate import answers
from holdshort.gate.exchange import Exchange
from holdshort.gate.methods import Era
from holdshort.interruption import Interruption, State
from holdshort.wire import Frame

__all__ = ["POLL_MILLISECONDS", "TaskOwners", "task_handle", "task_view"]

POLL_MILLISECONDS: Final = 2_000

_MAX_TASKS: Final = 50_000

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


class TaskOwners:
    """Which agent a server's own tasks belong to.

    A server sees one principal, us, and would show every agent the tasks of all. Kept in memory: after a restart of
    ours a task of the time before is nobody's, rather than anybody's.
    """

    def __init__(self) -> None:
        self._agents: OrderedDict[tuple[str, str], str] = OrderedDict()

    def note(self, server: str, agent: str, reply: Frame) -> None:
        """Remember the task that a call was answered with, if it was."""
        result = reply.value.get("result")
        # 2026-07-28 puts the task at the top of the result, 2025-11-25 under `task`.
        for found in (result, result.get("task")) if isinstance(result, dict) else ():
            if isinstance(found, dict) and isinstance(found.get("taskId"), str):
                self._agents.setdefault((server, found["taskId"]), agent)
                while len(self._agents) > _MAX_TASKS:
                    self._agents.popitem(last=False)

    def foreign_task(self, exchange: Exchange) -> str | None:
        """Return the first task that a request names and that is not its agent's."""
        params = exchange.params
        asked = params.get("notifications")
        named = [params.get("taskId")] if str(exchange.frame.value["method"]).startswith("tasks/") else []
        for holder in (params, asked if isinstance(asked, dict) else {}):
            ids = holder.get("taskIds")
            named += ids if isinstance(ids, list) else []
        return next((task for task in named if isinstance(task, str) and not self._owns(exchange, task)), None)

    def only_own(self, exchange: Exchange, reply: Frame) -> Frame:
        """Return a `tasks/list` response without the tasks of other agents."""
        result = reply.value.get("result")
        tasks = result.get("tasks") if isinstance(result, dict) else None
        if not isinstance(result, dict) or not isinstance(tasks, list):
            return reply
        own = [task for task in tasks if isinstance(task, dict) and self._owns(exchange, str(task.get("taskId")))]
        return Frame({**reply.value, "result": {**result, "tasks": own}}, kind=reply.kind)

    def _owns(self, exchange: Exchange, task: str) -> bool:
        return self._agents.get((exchange.server, task)) == exchange.caller.agent


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
