"""The tools' half of a turn: bring each call as far as it goes now, and when all are through, let the outputs in."""

from __future__ import annotations

from typing import Any

import anyio

from holdshort.runner.agent import Agent
from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, Item, Source
from holdshort.runner.errors import RunnerError, UserError
from holdshort.runner.events import StreamEvent
from holdshort.runner.ground import Ground
from holdshort.runner.kinds.handoff import handed_over
from holdshort.runner.kinds.running import GRACE_SECONDS
from holdshort.runner.settle import settle_call
from holdshort.runner.toolbox import handoffs_of
from holdshort.runner.tools import Handoff
from holdshort.runner.turn import close_turn

__all__ = ["close", "settle"]


async def settle(ground: Ground) -> None:
    """Bring every open call as far as it goes now, side by side."""
    data = ground.data
    calls = [call for call in data.calls if call.is_open]
    if not calls:
        return
    toolbox = await ground.toolbox()
    desk = await ground.desk()
    fresh = [call for call in calls if call.status is CallStatus.NEW]
    for call in fresh:
        call.status = CallStatus.SENT
    if fresh:
        # From here on a process that finds this state cannot know whether they ran.
        await ground.job.save()
    limiter = anyio.CapacityLimiter(ground.job.config.max_parallel_tools or len(calls))
    problems: list[Exception] = []
    untouched = [*fresh]

    async def settle_one(call: CallData) -> None:
        async with limiter:
            if call in untouched:
                untouched.remove(call)
            try:
                await settle_call(desk, toolbox.of(call), call)
            except Exception as problem:  # noqa: BLE001
                # The others go on: to stop one in the middle would leave its outcome unknown.
                problems.append(problem)

    try:
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(settle_one, call)
    except anyio.get_cancelled_exc_class():
        # Their turn never came.
        for call in untouched:
            call.status = CallStatus.NEW
        if untouched:
            with anyio.move_on_after(GRACE_SECONDS, shield=True):
                await ground.job.save()
        raise
    if problems:
        raise next((each for each in problems if isinstance(each, RunnerError)), problems[0])


async def close(ground: Ground) -> tuple[list[StreamEvent], bool]:
    """Put the outputs into the history and hand over, if a handoff counts. Returns their events, and whether one does.

    All of it or nothing: a session or a filter that fails leaves the turn as it was, to be closed the next time.
    """
    data, calls, length = ground.data, ground.data.calls, len(ground.data.history)
    before = ground.agent
    taken = next((call for call in calls if call.accepted), None)
    over = None if taken is None else _handoff(before, taken)
    close_turn(data)
    events = ground.told(data.history[length:])
    try:
        filtered = None if over is None else _filtered(ground, over)
        await ground.keep_in_session()
    except BaseException:
        del data.history[length:]
        data.calls = calls
        raise
    if any(call.kind is not CallKind.HANDOFF for call in calls) and data.agent not in data.tools_used:
        data.tools_used.append(data.agent)
    if over is not None:
        data.agent = over.agent.name
    if filtered is not None:
        data.history = [Entry(item, Source.INPUT, data.agent) for item in filtered]
        data.saved = len(data.history) if ground.job.session is not None else 0
    await ground.job.save()
    if over is not None:
        await ground.hooks().handoff(ground.job.context, before, ground.agent)
        await ground.hooks().agent_start(ground.job.context, ground.agent)
    return events, over is not None


def _filtered(ground: Ground, given: Handoff) -> list[Item] | None:
    """Return what the next agent sees; None where that is everything."""
    if given.input_filter is None:
        return None
    if not ground.data.keeps_own_history:
        raise UserError("a handoff with an `input_filter` cannot be used where the service keeps the conversation")
    return handed_over(given, [entry.item for entry in ground.data.history])


def _handoff(agent: Agent[Any], call: CallData) -> Handoff:
    """Return the handoff that a call took. It counts, even where it is not enabled any more."""
    found = next((each for each in handoffs_of(agent) if each.tool_name == call.name), None)
    if found is None:
        raise UserError(f"agent `{agent.name}` has no handoff `{call.name}` any more, which this run has taken")
    return found
