"""Handoffs: another agent takes over. Of several in one answer, the first that may counts; the others are told so."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, faults, read_arguments
from holdshort.runner.data import CallData, CallKind, CallStatus, Item
from holdshort.runner.errors import DecisionError, ProxyError, ProxyUnreachable, UserError
from holdshort.runner.kinds.own import cleared, reported
from holdshort.runner.kinds.running import described, ran, surely, with_edit
from holdshort.runner.model_input import check_filtered
from holdshort.runner.settling import Desk
from holdshort.runner.tool_params import tool_param
from holdshort.runner.tools import Handoff
from holdshort.wire import encode

__all__ = ["handed_over", "settle"]


async def settle(desk: Desk, tool: Handoff, call: CallData) -> None:
    """Let the handoff count, or say why it does not.

    Raises:
        RunnerError: the proxy failed, or nobody could decide.
    """
    call.accepted = False
    if _taken(desk, call):
        await _step_aside(desk, call)
        return
    problem = _problem(tool, call) if call.status in (CallStatus.NEW, CallStatus.SENT) else None
    if problem is not None:
        await desk.finish(call, texts.bad_arguments(call.name, problem))
        return
    if tool.on_handoff is None:
        # It has no effect but in this run: one that may have been begun is begun again.
        desk = replace(desk, earlier=desk.earlier - {call.key})
    definition = {"description": tool.tool_description, "inputSchema": tool_param(tool)["parameters"]}
    clearance = await cleared(desk, call, tool.needs_approval, definition)
    if clearance is None:
        if call.status is CallStatus.PARKED and _taken(desk, call):
            await _step_aside(desk, call)
        return
    if not desk.accept(call):
        await reported(desk, call, clearance, "failed", None, "another handoff of the same answer counts")
        await desk.finish(call, texts.another_handoff(call.name))
        return
    context = desk.tool_context(call, clearance.text)

    async def work() -> None:
        if tool.on_handoff is not None:
            more = () if tool.input_type is None else (_input(tool, clearance.arguments),)
            said = tool.on_handoff(context, *more)
            if inspect.isawaitable(said):
                await said

    try:
        came = await ran(desk, call, clearance, work)
    except BaseException:
        call.accepted = False
        raise
    if came.error is not None:
        call.accepted = False
        output: Any = texts.tool_raised(call.name, described(came.error))
    else:
        # The model reads who answers from here on.
        output = json.dumps({"assistant": tool.agent.name}, ensure_ascii=False)
    output = with_edit(clearance, output)

    async def kept() -> None:
        await reported(desk, call, clearance, came.kind, output)
        await desk.finish(call, output)

    await surely(kept)
    if call.accepted:
        for other in desk.data.calls:
            if other is not call and other.kind is CallKind.HANDOFF and other.status is CallStatus.PARKED:
                await _step_aside(desk, other)


def handed_over(tool: Handoff, items: Sequence[Item]) -> list[Item]:
    """Return what the next agent sees of a history.

    Raises:
        UserError: the filter returned no list of items, or parted what belongs together.
    """
    if tool.input_filter is None:
        return list(items)
    kept: Any = tool.input_filter(copy.deepcopy(list(items)))
    who = f"the input_filter of the handoff `{tool.tool_name}`"
    if not isinstance(kept, list) or not all(isinstance(item, dict) for item in kept):
        raise UserError(f"{who} returned no list of items")
    check_filtered(items, kept, who)
    return kept


def _taken(desk: Desk, call: CallData) -> bool:
    return any(other.accepted and not other.is_open for other in desk.data.calls if other is not call)


async def _step_aside(desk: Desk, call: CallData) -> None:
    """Another handoff counts: take back what is asked about this one, and say so."""
    if call.status is CallStatus.PARKED and call.interruption is not None and desk.link is not None:
        try:
            await desk.link.endpoint.withdraw(str(call.interruption.get("id")), "another handoff of the answer counts")
        except ProxyUnreachable:
            raise
        except (ProxyError, DecisionError):
            # It was decided meanwhile. An approval that nobody takes runs nothing.
            pass
    if call.is_open:
        await desk.finish(call, texts.another_handoff(call.name))


def _problem(tool: Handoff, call: CallData) -> str | None:
    try:
        arguments = read_arguments(call.arguments, call.name)
        if tool.input_type is not None:
            _input(tool, arguments)
    except ValidationError as error:
        return faults(error)
    except BadArguments as bad:
        return bad.problem
    return None


def _input(tool: Handoff, arguments: dict[str, Any]) -> Any:
    wanted: Any = tool.input_type
    adapter: TypeAdapter[Any] = TypeAdapter(wanted)
    return adapter.validate_json(encode(arguments))
