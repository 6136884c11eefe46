"""Agents as tools: the call's own approval first, then a run inside it, whose interruptions are those of the outer run.

The inner run is part of the state from its first moment, so going on means going on in the middle of it. Its calls have
approvals of their own; the approval of this call is for starting it.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from holdshort.policy import same_json
from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, read_arguments
from holdshort.runner.data import CallData, CallStatus, RunData, RunStatus
from holdshort.runner.errors import MaxTurnsExceeded, ModelBehaviorError
from holdshort.runner.graph import agents_of
from holdshort.runner.kinds.own import Cleared, OutcomeKind, cleared, may_go_on, reported
from holdshort.runner.kinds.running import begun, described, ended, with_edit
from holdshort.runner.output import output_schema, tool_output
from holdshort.runner.settling import Desk
from holdshort.runner.tool_params import AGENT_INPUT
from holdshort.runner.tools import AgentTool

__all__ = ["settle"]


async def settle(desk: Desk, tool: AgentTool, call: CallData) -> None:
    """Start the inner run, or go on with it, as far as it goes now.

    Raises:
        RunnerError: the inner run stopped and can be gone on with, or a guardrail of it ends the whole run.
    """
    definition = {"description": tool.description, "inputSchema": dict(AGENT_INPUT)}
    if call.run is not None and not await may_go_on(desk, call, tool.needs_approval, definition):
        # What it has run already must not run once more, and without clearance it does not go on.
        call.run = None
        await desk.finish(call, texts.not_run_again(call.name))
        return
    if call.run is None:
        clearance = await _start(desk, tool, call, definition)
        if clearance is None:
            return
    else:
        clearance = _clearance_of(call)
    context = desk.tool_context(call, clearance.text)
    given = str(clearance.arguments.get("input", ""))
    try:
        run = await desk.run_inside(call, tool.agent, given, tool.max_turns)
    except (MaxTurnsExceeded, ModelBehaviorError) as problem:
        text = with_edit(clearance, texts.agent_failed(call.name, str(problem)))
        await ended(desk, tool, call, clearance, context, "tool_error", text)
        return
    if run.status is RunStatus.WAITING:
        await _told_that_it_began(desk, call, clearance)
        return
    kind, text = await _answer(tool, call, run)
    await ended(desk, tool, call, clearance, context, kind, with_edit(clearance, text))


async def _start(desk: Desk, tool: AgentTool, call: CallData, definition: dict[str, Any]) -> Cleared | None:
    if call.status in (CallStatus.NEW, CallStatus.SENT) and (problem := _problem(call)):
        await desk.finish(call, texts.bad_arguments(call.name, problem))
        return None
    # Where the state has no inner run, none was begun: nothing can happen twice.
    fresh = replace(desk, earlier=desk.earlier - {call.key})
    clearance = await cleared(fresh, call, tool.needs_approval, definition)
    if clearance is None:
        return None
    if not await begun(desk, tool, call, clearance, desk.tool_context(call, clearance.text)):
        return None
    return clearance


def _problem(call: CallData) -> str | None:
    try:
        arguments = read_arguments(call.arguments, call.name)
    except BadArguments as bad:
        return bad.problem
    if not isinstance(arguments.get("input"), str) or len(arguments) != 1:
        return "they must be an object with one text, `input`"
    return None


def _clearance_of(call: CallData) -> Cleared:
    """Return the clearance that the inner run was begun with, as far as it still matters."""
    asked = read_arguments(call.arguments, call.name)
    ran = (call.interruption or {}).get("arguments")
    arguments = ran if isinstance(ran, dict) else asked
    return Cleared(arguments, call.arguments, call.token, call.interruption, not same_json(arguments, asked))


async def _told_that_it_began(desk: Desk, call: CallData, clearance: Cleared) -> None:
    """Settle the claim before a pause: nobody knows how long that will be, and the calls inside have their own."""
    if clearance.token is None:
        return
    await reported(
        desk, call, clearance, "ok", None, "the agent began, and waits; its calls are asked about one by one"
    )
    call.status, call.token = CallStatus.SENT, None
    await desk.save()


async def _answer(tool: AgentTool, call: CallData, run: RunData) -> tuple[OutcomeKind, str | list[dict[str, Any]]]:
    """Return how it ended and what the outer model reads."""
    if tool.custom_output_extractor is None:
        return "ok", tool_output(run.final_output)
    last = agents_of(tool.agent).get(run.agent, tool.agent)
    schema = output_schema(last.output_type)
    try:
        value = run.final_output if schema is None else schema.from_json(run.final_output)
        said = tool.custom_output_extractor(value)
        return "ok", tool_output(await said if inspect.isawaitable(said) else said)
    except Exception as error:  # noqa: BLE001  # the agent ran; only the words are missing
        return "tool_error", texts.tool_raised(call.name, described(error))
