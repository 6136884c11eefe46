"""The tools' half of a turn: bring each call as far as it goes now, and when all are through, let the outputs in."""

from __future__ import annotations

from typing import Any

import anyio

from holdshort.runner.agent import Agent
from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, Source
from holdshort.runner.errors import RunnerError, UserError
from holdshort.runner.ground import Ground
from holdshort.runner.kinds.handoff import handed_over
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

    async def settle_one(call: CallData) -> None:
        async with limiter:
            try:
                await settle_call(desk, toolbox.of(call), call)
            except Exception as problem:  # noqa: BLE001
                # The others go on: to stop one in the middle would leave its outcome unknown.
                problems.append(problem)

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(settle_one, call)
    if problems:
        raise next((each for each in problems if isinstance(each, RunnerError)), problems[0])


async def close(ground: Ground) -> bool:
    """Put the outputs into the history and hand over, if a handoff counts. Returns whether the agent is another."""
    data = ground.data
    before = ground.agent
    taken = next((call for call in data.calls if call.accepted), None)
    over = None if taken is None else _handoff(before, taken)
    if any(call.kind is not CallKind.HANDOFF for call in data.calls) and data.agent not in data.tools_used:
        data.tools_used.append(data.agent)
    close_turn(data)
    await ground.keep_in_session()
    if over is not None:
        data.agent = over.agent.name
        if over.input_filter is not None:
            _filter_history(ground, over)
        await ground.hooks().handoff(ground.job.context, before, ground.agent)
        await ground.hooks().agent_start(ground.job.context, ground.agent)
    await ground.job.save()
    return over is not None


def _filter_history(ground: Ground, given: Handoff) -> None:
    data = ground.data
    if not data.keeps_own_history:
        raise UserError("a handoff with an `input_filter` cannot be used where the service keeps the conversation")
    kept = handed_over(given, [entry.item for entry in data.history])
    data.history = [Entry(item, Source.INPUT, data.agent) for item in kept]
    data.saved = len(data.history) if ground.job.session is not None else 0


def _handoff(agent: Agent[Any], call: CallData) -> Handoff:
    """Return the handoff that a call took. It counts, even where it is not enabled any more."""
    found = next((each for each in handoffs_of(agent) if each.tool_name == call.name), None)
    if found is None:
        raise UserError(f"agent `{agent.name}` has no handoff `{call.name}` any more, which this run has taken")
    return found
