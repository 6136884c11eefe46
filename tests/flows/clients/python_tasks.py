"""The client side of the tasks extension, for the Python SDK: a handle is looked after until its task ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import anyio
import mcp_types as types
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim

__all__ = ["Tasks"]

MOST_SECONDS_BETWEEN_LOOKS = 0.2
"""Shorter than servers ask for: these are tests."""


class TaskHandle(types.Result):
    """The result that stands in for the tool's own."""

    result_type: Literal["task"] = "task"
    task_id: str
    poll_interval_ms: int | None = None


class TaskParams(types.RequestParams):
    task_id: str


class TaskView(types.Result):
    """What `tasks/get` answers."""

    status: str
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams

    name_param = "taskId"


class Tasks(ClientExtension):
    """Declares the extension and finishes handles by asking."""

    identifier = "io.modelcontextprotocol/tasks"

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return (ResultClaim(result_type="task", model=TaskHandle, resolve=self._finish),)

    async def _finish(self, handle: TaskHandle, ctx: ClaimContext) -> types.CallToolResult:
        request = GetTask(params=TaskParams(task_id=handle.task_id))
        while True:
            view = await ctx.session.send_request(request, TaskView)
            if view.status not in ("working", "input_required"):
                break
            await anyio.sleep(MOST_SECONDS_BETWEEN_LOOKS)
        if view.result is not None:
            return types.CallToolResult.model_validate({"resultType": "complete", **view.result})
        said = types.TextContent(type="text", text=f"the task is {view.status}: {view.error}")
        return types.CallToolResult(content=[said], is_error=True)
