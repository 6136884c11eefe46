"""The fixture's tools that may answer with a task (MCP tasks extension), and the methods that look after tasks.

Nothing runs in the background: a task is a promise with a time, and how it stands is worked out when it is asked for.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from kit.fixture_questions import STRING, form
from kit.fixture_tools import JSON, Call, needs, text, tool

__all__ = ["EXTENSION", "TaskParams", "cancel_task", "get_task", "update_task"]

EXTENSION = "io.modelcontextprotocol/tasks"
HEADER_MISMATCH = -32020
POLL_MILLISECONDS = 50
SHORT_SECONDS = 0.2


class TaskParams(types.RequestParams):
    """The parameters of every `tasks/` method."""

    task_id: str


@dataclass(slots=True)
class Task:
    """One promised result."""

    outcome: JSON
    """The last part of what `tasks/get` answers once it is ready: a `result` or an `error`."""
    ready_at: float
    """On the monotonic clock."""
    questions: dict[str, JSON] = field(default_factory=dict[str, JSON])
    """What the client must answer first."""
    cancelled: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    def view(self) -> JSON:
        """The task as it stands now."""
        status, more = "working", {}
        if self.cancelled:
            status = "cancelled"
        elif self.questions:
            status, more = "input_required", {"inputRequests": self.questions}
        elif time.monotonic() >= self.ready_at:
            status, more = ("failed" if "error" in self.outcome else "completed"), self.outcome
        return {
            "taskId": self.id,
            "status": status,
            "createdAt": self.created_at,
            "lastUpdatedAt": datetime.now(UTC).isoformat(),
            "ttlMs": 600_000,
            "pollIntervalMs": POLL_MILLISECONDS,
            **more,
        }


_tasks: dict[str, Task] = {}
_keys = itertools.count(1)


def _declared(params: Mapping[str, Any] | None) -> bool:
    meta = (params or {}).get("_meta") or {}
    capabilities = meta.get("io.modelcontextprotocol/clientCapabilities") or {}
    return EXTENSION in (capabilities.get("extensions") or {})


def _demand(params: Mapping[str, Any] | None) -> None:
    if not _declared(params):
        needed: JSON = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "The tasks extension is needed", needed)


def _promise(outcome: JSON, seconds: float, **questions: JSON) -> JSON:
    """Make a task and return its handle."""
    asked = {f"{name}-{next(_keys)}": question for name, question in questions.items()}
    task = Task(outcome, time.monotonic() + seconds, asked)
    _tasks[task.id] = task
    handle = task.view()
    handle.pop("inputRequests", None)
    return {"resultType": "task", **handle, "status": "input_required" if asked else "working"}


def _find(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Task:
    _demand(ctx.params)
    header = ctx.request.headers.get("mcp-name") if ctx.request is not None else None
    if header is not None and header.strip() != params.task_id:
        raise MCPError(HEADER_MISMATCH, "mcp-name header does not match the request body's 'taskId' parameter")
    task = _tasks.get(params.task_id)
    if task is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown task: {params.task_id}")
    return task


async def get_task(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> JSON:
    """Answer `tasks/get`."""
    return {"resultType": "complete", **_find(ctx, params).view()}


async def update_task(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> JSON:
    """Answer `tasks/update`: take what was answered, keep asking for the rest."""
    task = _find(ctx, params)
    for key in (ctx.params or {}).get("inputResponses") or {}:
        task.questions.pop(key, None)
    return {"resultType": "complete"}


async def cancel_task(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> JSON:
    """Answer `tasks/cancel`: an ended task stays as it ended."""
    task = _find(ctx, params)
    if task.view()["status"] in ("working", "input_required"):
        task.cancelled = True
    return {"resultType": "complete"}


@tool("greet", "Greets, at once", needs(name=STRING))
async def greet(call: Call) -> JSON:
    return text(f"Hello, {call.arguments['name']}!")


@tool("slow_compute", "Takes its time", needs(seconds={"type": "number"}))
async def slow_compute(call: Call) -> JSON:
    seconds = float(call.arguments.get("seconds", 0))
    result = text(f"Computed for {seconds:g} seconds.")
    if not _declared(call.ctx.params) or seconds == 0:
        await anyio.sleep(seconds)
        return result
    return _promise({"result": result}, seconds)


@tool("failing_job", "Fails, and only as a task")
async def failing_job(call: Call) -> JSON:
    _demand(call.ctx.params)
    return _promise({"result": text("The job failed.", isError=True)}, SHORT_SECONDS)


@tool("protocol_error_job", "Breaks, and only as a task")
async def protocol_error_job(call: Call) -> JSON:
    _demand(call.ctx.params)
    return _promise({"error": {"code": types.INTERNAL_ERROR, "message": "The job broke"}}, SHORT_SECONDS)


@tool("confirm_delete", "Asks before it deletes", {"type": "object", "properties": {"filename": STRING}})
async def confirm_delete(call: Call) -> JSON:
    _demand(call.ctx.params)
    question = form("Delete it?", confirm={"type": "boolean"})
    return _promise({"result": text("Deleted.")}, 0, confirm=question)


@tool("multi_input", "Asks two things at once")
async def multi_input(call: Call) -> JSON:
    _demand(call.ctx.params)
    questions = {"name": form("What is your name?", name=STRING), "color": form("Which color?", color=STRING)}
    return _promise({"result": text("Both were answered.")}, 0, **questions)


@tool("test_tool_with_task", "Asks first, then answers with a task")
async def question_then_task(call: Call) -> JSON:
    _demand(call.ctx.params)
    given = call.accepted("user_name")
    if given is None:
        return {
            "resultType": "input_required",
            "inputRequests": {"user_name": form("What is your name?", name=STRING)},
        }
    return _promise({"result": text(f"Hello, {given.get('name')}!")}, SHORT_SECONDS)
