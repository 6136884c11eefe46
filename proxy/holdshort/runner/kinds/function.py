"""Function tools: cleared, run once with the arguments that were cleared, and told to the proxy and the model."""

from __future__ import annotations

import inspect
from typing import Any

import anyio

from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments
from holdshort.runner.data import CallData, CallStatus, Item
from holdshort.runner.errors import ToolFailed
from holdshort.runner.function_tool import PythonFunction
from holdshort.runner.guardrails import ToolOutputGuardrailData, check_tool_output
from holdshort.runner.kinds.own import Cleared, cleared
from holdshort.runner.kinds.running import GRACE_SECONDS, Ran, begun, described, ended, ran, with_edit
from holdshort.runner.output import tool_output
from holdshort.runner.settling import Desk
from holdshort.runner.tool_guardrails import WITHHELD
from holdshort.runner.tools import FunctionTool, ToolContext

__all__ = ["settle"]


async def settle(desk: Desk, tool: FunctionTool, call: CallData) -> None:
    """Bring the call to its output, or to where it waits.

    Raises:
        ToolFailed: the tool raised, and has no `failure_error_function`; the call has its output all the same.
        RunnerError: a guardrail or a hook ended the run, or the proxy failed.
    """
    problem = _problem(tool, call)
    if problem is not None:
        await desk.finish(call, texts.bad_arguments(call.name, problem))
        return
    definition = {"description": tool.description, "inputSchema": tool.params_json_schema}
    clearance = await cleared(desk, call, tool.needs_approval, definition, timeout_seconds=tool.timeout_seconds)
    if clearance is None:
        return
    context = desk.tool_context(call, clearance.text)
    if not await begun(desk, tool, call, clearance, context):
        return

    async def work() -> Any:
        return await tool.on_invoke_tool(context, clearance.text)

    came = await ran(desk, call, clearance, work, tool.timeout_seconds)
    if came.kind == "unknown":
        text = texts.timed_out(call.name, tool.timeout_seconds or 0.0)
        note = f"the tool did not end within {tool.timeout_seconds:g} seconds"
        await ended(desk, tool, call, clearance, context, "unknown", text, note)
    elif came.kind == "failed":
        problem = came.error.problem if isinstance(came.error, BadArguments) else ""
        text = texts.bad_arguments(call.name, problem)
        if clearance.edited and clearance.record is not None:
            text = texts.edit_cannot_run(call.name, clearance.record, problem)
        await ended(desk, tool, call, clearance, context, "failed", text, f"bad arguments: {problem}"[:4000])
    else:
        await _tell(desk, tool, call, clearance, context, came)


def _problem(tool: FunctionTool, call: CallData) -> str | None:
    """Return what is wrong with the model's arguments. Nobody is asked about a call that cannot run."""
    if call.status not in (CallStatus.NEW, CallStatus.SENT) or not isinstance(tool.on_invoke_tool, PythonFunction):
        return None
    try:
        tool.on_invoke_tool.read(call.arguments)
    except BadArguments as error:
        return error.problem
    return None


async def _tell(
    desk: Desk, tool: FunctionTool, call: CallData, clearance: Cleared, context: ToolContext[Any], came: Ran
) -> None:
    """It ran: make its words, let the guardrails see them, and pass them on."""
    failure: ToolFailed | None = None
    if came.error is None:
        output: str | list[Item] = tool_output(came.value)
    else:
        text, failure = await _words(desk, tool, call, context, came.error)
        output = text
    try:
        seen = came.value if came.error is None else output
        instead = await check_tool_output(tool, ToolOutputGuardrailData(context, desk.agent, seen))
    except (Exception, anyio.get_cancelled_exc_class()):
        with anyio.move_on_after(GRACE_SECONDS, shield=True):
            await ended(desk, tool, call, clearance, context, came.kind, WITHHELD)
        raise
    output = with_edit(clearance, output if instead is None else instead)
    await ended(desk, tool, call, clearance, context, came.kind, output)
    if failure is not None:
        raise failure from came.error


async def _words(
    desk: Desk, tool: FunctionTool, call: CallData, context: ToolContext[Any], error: Exception
) -> tuple[str, ToolFailed | None]:
    """Return what the model reads of a tool that raised, and what to raise once that is kept."""
    usual = texts.tool_raised(call.name, described(error))
    speak = tool.failure_error_function
    try:
        if speak is None:
            return usual, ToolFailed(f"the tool `{call.name}` raised {described(error)}")
        if speak == "default":
            return await desk.config.tool_error_text("tool_error", call.name, call.call_id, usual, context), None
        said = speak(context, error)
        return str(await said if inspect.isawaitable(said) else said), None
    except Exception as problem:  # noqa: BLE001  # it is raised once the outcome is kept
        failure = ToolFailed(f"what speaks for the tool `{call.name}` when it fails raised {described(problem)}")
        return usual, failure
