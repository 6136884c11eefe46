"""One run of one tool in this process: begun, ended and told of, whatever happens in between.

The order is the promise. What may stop the tool comes before it. Once it has begun it counts as begun, and the proxy
hears what came of it before the model does: that it ran, that it failed, or that nobody knows. A run that is cancelled
still says so, within a few seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread

from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments
from holdshort.runner.data import CallData, CallStatus, Item
from holdshort.runner.guardrails import ToolInputGuardrailData, check_tool_input
from holdshort.runner.kinds.own import Cleared, OutcomeKind, reported
from holdshort.runner.settling import Desk
from holdshort.runner.tools import Handoff, Tool, ToolContext

__all__ = ["Output", "Ran", "begun", "called", "described", "ended", "ran", "surely", "with_edit"]

Output = str | list[Item] | Item
GRACE_SECONDS: Final = 10.0
"""How long a cancelled run may take to say what became of a tool."""


class Ran(NamedTuple):
    """What came of running a tool."""

    kind: OutcomeKind
    value: Any = None
    """What it returned."""
    error: Exception | None = None
    """What it raised; none where its time was up."""


async def begun(
    desk: Desk, tool: Tool | Handoff, call: CallData, clearance: Cleared, context: ToolContext[Any]
) -> bool:
    """Ask what may still stop the tool, and tell the hooks. False where the model was told something instead.

    Raises:
        RunnerError: a guardrail ends the run, or a hook failed. Nothing ran, and the call is open as if it were new.
    """
    try:
        refusal = None
        if not isinstance(tool, Handoff):
            refusal = await check_tool_input(tool, ToolInputGuardrailData(context, desk.agent))
        if refusal is None:
            await desk.hooks.tool_start(context, desk.agent, tool)
            return True
    except (Exception, anyio.get_cancelled_exc_class()):

        async def as_if_new() -> None:
            await reported(desk, call, clearance, "failed", None, "the agent's own checks stopped it before it ran")
            call.status, call.token = CallStatus.NEW, None
            await desk.save()

        with anyio.move_on_after(GRACE_SECONDS, shield=True):
            await as_if_new()
        raise
    await reported(desk, call, clearance, "failed", None, "a guardrail of the agent's own did not let it run")
    await desk.finish(call, refusal)
    return False


async def ran(
    desk: Desk, call: CallData, clearance: Cleared, work: Callable[[], Awaitable[Any]], seconds: float | None = None
) -> Ran:
    """Do it once, for at most so many seconds, and return what came of it; errors are part of that.

    Raises:
        Cancelled: the run is stopped; whether the tool took effect is unknown, and the proxy was told so.
    """
    try:
        return await _ran(work, seconds)
    except GeneratorExit:
        raise
    except BaseException:
        with anyio.move_on_after(GRACE_SECONDS, shield=True):
            await reported(desk, call, clearance, "unknown", None, "the run was stopped while it ran")
        raise


async def _ran(work: Callable[[], Awaitable[Any]], seconds: float | None) -> Ran:
    with anyio.move_on_after(seconds) as scope:
        try:
            return Ran("ok", await work())
        except BadArguments as error:
            return Ran("failed", error=error)
        except anyio.get_cancelled_exc_class() as cancelled:
            if anyio.current_effective_deadline() == float("-inf"):
                raise
            # Nobody cancelled this run: the tool ended with the cancellation of something of its own.
            return Ran("tool_error", error=RuntimeError(f"it was cancelled from within ({cancelled!r})"))
        except Exception as error:  # noqa: BLE001  # it is part of what came of it
            # A tool may turn the end of its time into an error of its own.
            if not scope.cancel_called:
                return Ran("tool_error", error=error)
    return Ran("unknown")


async def ended(
    desk: Desk,
    tool: Tool | Handoff,
    call: CallData,
    clearance: Cleared,
    context: ToolContext[Any],
    kind: OutcomeKind,
    output: Output,
    note: str | None = None,
) -> None:
    """Tell the proxy, then the state, then the hooks, what came of a call.

    Raises:
        Exception: a hook failed; the output is kept.
    """

    async def kept() -> None:
        await reported(desk, call, clearance, kind, output, note)
        await desk.finish(call, output)

    await surely(kept)
    await desk.hooks.tool_end(context, desk.agent, tool, output)


async def surely(step: Callable[[], Awaitable[None]]) -> None:
    """Do a step that may be done twice, even when the run is being cancelled."""
    try:
        await step()
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(GRACE_SECONDS, shield=True):
            await step()
        raise


async def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user's own; one that is not async runs in a worker thread."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(*arguments)
    # Abandoned when cancelled: a timeout has to end the wait for a thread that nobody can stop.
    result = await anyio.to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)
    return await result if inspect.isawaitable(result) else result


def described(error: BaseException) -> str:
    """Return an error in words for the model; of a group, the errors in it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(described(each) for each in error.exceptions)
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def with_edit(clearance: Cleared, output: str | list[Item]) -> str | list[Item]:
    """Put before an output what really ran, where that is not what the model wrote."""
    if not clearance.edited or clearance.record is None:
        return output
    said = texts.edited(clearance.record, clearance.arguments)
    if isinstance(output, str):
        return f"{said}\n\n{output}"
    return [{"type": "input_text", "text": said}, *output]
