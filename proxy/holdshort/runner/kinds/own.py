"""Clearance of calls that run here: asked for at the proxy, taken once, reported on.

`cleared` is the only way to a run. It answers None where nothing may run now; then the call is parked or has its
output. The record at the proxy is what counts: a state that says otherwise is corrected by it.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import anyio

from holdshort import __version__
from holdshort.policy import OwnKind, own_label, same_json
from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, read_arguments
from holdshort.runner.data import CallData, CallStatus
from holdshort.runner.errors import DecisionError, ProxyError, ProxyUnreachable, RunError
from holdshort.runner.settling import Desk
from holdshort.runner.tools import NeedsApproval

__all__ = ["Cleared", "cleared", "may_go_on", "outcome_of", "reported"]

OutcomeKind = Literal["ok", "tool_error", "failed", "unknown"]
_LOG = logging.getLogger("holdshort.runner")
LEASE_SECONDS: Final = 600.0
"""How long a tool without a timeout may take to say what came of it."""
_MOST_ROUNDS: Final = 4
_ELSEWHERE_SECONDS: Final = 5.0
"""How long a call that another process runs is waited for before it counts as one that waits."""
_LOOK_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 10.0
"""How long a cancelled run may take to save that a call was not begun."""


class Cleared(NamedTuple):
    """What may run now, once."""

    arguments: dict[str, Any]
    text: str
    """The same as JSON text."""
    token: int | None
    """Of the claim; None for what needed no approval."""
    record: Mapping[str, Any] | None
    edited: bool


async def cleared(
    desk: Desk,
    call: CallData,
    needs_approval: NeedsApproval,
    definition: Mapping[str, Any] | None = None,
    *,
    timeout_seconds: float | None = None,
) -> Cleared | None:
    """Return what may run of this call now; None when it is parked, or was given an output here.

    Args:
        desk: Of the turn.
        call: It.
        needs_approval: What the program says. When it raises, or the arguments cannot be read, approval is needed.
        definition: `title`, `description`, `inputSchema` as approvers see them.
        timeout_seconds: How long the tool may take; the claim is good for a little longer.

    Raises:
        ProxyError: the proxy refused or failed; nothing ran, and the state is as it was.
        UserError: approval is needed and there is no proxy.
    """
    try:
        arguments = read_arguments(call.arguments, call.name)
    except BadArguments as bad:
        await desk.finish(call, texts.bad_arguments(call.name, bad.problem))
        return None
    settled_before = call.status in (CallStatus.PARKED, CallStatus.CLAIMED)
    wanted = settled_before or await _needs(desk, call, needs_approval, arguments)
    asks = wanted or (desk.link is not None and desk.link.ask_about == "all")
    if not asks:
        if desk.repeated(call):
            await desk.finish(call, texts.not_run_again(call.name))
            return None
        return Cleared(arguments, call.arguments or "{}", None, None, False)
    try:
        return await _by_the_proxy(desk, call, arguments, definition, wanted, timeout_seconds)
    except (Exception, anyio.get_cancelled_exc_class()):
        if call.status is CallStatus.SENT and not desk.repeated(call):
            # Without clearance nothing ran: whoever goes on may ask as for a new one.
            call.status = CallStatus.NEW
            with anyio.move_on_after(_GRACE_SECONDS, shield=True):
                await desk.save()
        raise


async def _by_the_proxy(
    desk: Desk,
    call: CallData,
    arguments: dict[str, Any],
    definition: Mapping[str, Any] | None,
    wanted: bool,
    timeout_seconds: float | None,
) -> Cleared | None:
    record = await _known(desk, call, arguments)
    lease = (LEASE_SECONDS if timeout_seconds is None else timeout_seconds) + 30
    for _ in range(_MOST_ROUNDS):
        if record is None or record.get("state") == "superseded":
            asked = await desk.require_link(call).endpoint.ask(_body(desk, call, arguments, definition, wanted))
            if asked.verdict == "denied":
                await desk.finish(call, texts.denied(call.name, asked.message))
                return None
            if asked.interruption is None:
                return await _allowed(desk, call, arguments)
            record = asked.interruption
        match record["state"]:
            case "pending":
                await desk.parked(call, record)
                return None
            case "approved":
                taken = await _take(desk, call, arguments, record, lease)
                if isinstance(taken, Cleared):
                    return taken
                record = taken
            case "executing":
                if call.status is CallStatus.CLAIMED:
                    await _disown(desk, call)
                    return None
                record = await _elsewhere(desk, call, record)
                if record["state"] == "executing":
                    await desk.parked(call, record)
                    return None
            case "superseded":
                continue
            case _:
                await _tell(desk, call, record)
                return None
    raise ProxyError(f"the approval of `{call.name}` changes faster than it can be used; go on from the state later")


async def may_go_on(
    desk: Desk, call: CallData, needs_approval: NeedsApproval, definition: Mapping[str, Any] | None = None
) -> bool:
    """Whether what the state says was begun was really handed out by the proxy, or needed nobody's approval.

    For a run inside a call, which outlives the claim of the call: a state that was tampered with could invent one.

    Raises:
        ProxyError: the proxy refused or failed.
        UserError: approval is needed and there is no proxy.
    """
    try:
        arguments = read_arguments(call.arguments, call.name)
    except BadArguments:
        return False
    wanted = await _needs(desk, call, needs_approval, arguments)
    if not wanted and (desk.link is None or desk.link.ask_about != "all"):
        return True
    asked = await desk.require_link(call).endpoint.ask(_body(desk, call, arguments, definition, wanted))
    if asked.interruption is None:
        return asked.verdict == "allow"
    return asked.interruption.get("state") in ("executing", "executed", "unknown")


async def reported(
    desk: Desk, call: CallData, clearance: Cleared, kind: OutcomeKind, output: object, note: str | None = None
) -> None:
    """Tell the proxy what came of a call that it handed out: `ok`, `tool_error`, `failed` or `unknown`.

    `output` is kept there, so that a process that goes on from an older state gives the model the same. When the proxy
    cannot be told, the run goes on with what it has, and the record ends as unknown when the claim's time is up.
    """
    if clearance.token is None or desk.link is None or clearance.record is None:
        return
    kept = {"output": output} if kind in ("ok", "tool_error") else None
    try:
        await desk.link.endpoint.outcome(
            str(clearance.record["id"]), token=clearance.token, kind=kind, result=kept, note=note
        )
    except (RunError, DecisionError) as problem:
        _LOG.warning("the outcome of a call could not be reported: %s", problem)


def outcome_of(record: Mapping[str, Any]) -> Any:
    """Return the output that was kept of a call that ran; None if there is none."""
    result = (record.get("outcome") or {}).get("result")
    return result.get("output") if isinstance(result, Mapping) else None


async def _needs(desk: Desk, call: CallData, needs_approval: NeedsApproval, arguments: dict[str, Any]) -> bool:
    if isinstance(needs_approval, bool):
        return needs_approval
    try:
        said = needs_approval(desk.context, arguments, call.call_id)
        if inspect.isawaitable(said):
            said = await said
    except Exception as problem:  # noqa: BLE001
        # It cannot say that the call is harmless.
        _LOG.warning("`needs_approval` of %s raised %s, so it needs approval", call.name, type(problem).__name__)
        return True
    return said is not False


async def _known(desk: Desk, call: CallData, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the record that the state names, as the proxy has it; None to ask by the call's own name."""
    if call.interruption is None or call.status not in (CallStatus.PARKED, CallStatus.CLAIMED):
        return None
    try:
        record = await desk.require_link(call).endpoint.get(str(call.interruption.get("id")))
    except ProxyUnreachable:
        raise
    except ProxyError as problem:
        if problem.reason == "not_found":
            return None
        raise
    asked = record.get("requested_by") or {}
    # A state that was tampered with could name the record of another call, or be another call with this record. Asking
    # by the call's own name then says which it is.
    is_it = (
        (asked.get("run_id"), asked.get("call_id")) == (desk.run_id, call.key)
        and (record.get("kind"), record.get("tool")) == (call.kind, call.tool)
        and record.get("server") == own_label(OwnKind(call.kind), call.server)
        and same_json(record.get("requested_arguments"), arguments)
    )
    return record if is_it else None


async def _allowed(desk: Desk, call: CallData, arguments: dict[str, Any]) -> Cleared | None:
    if desk.repeated(call):
        await desk.finish(call, texts.not_run_again(call.name))
        return None
    if call.status is CallStatus.PARKED:
        # It waited for what is not asked any more, and no record stands for the run that begins now.
        call.status = CallStatus.SENT
        await desk.save()
    return Cleared(arguments, call.arguments or "{}", None, None, False)


async def _take(
    desk: Desk, call: CallData, arguments: Mapping[str, Any], record: Mapping[str, Any], lease: float
) -> Cleared | Mapping[str, Any]:
    """Claim it. Returns the record instead where it could not be claimed."""
    endpoint = desk.require_link(call).endpoint
    try:
        taken = await endpoint.claim(str(record["id"]), min(int(lease), 24 * 3600))
    except ProxyUnreachable as problem:
        if not problem.sent:
            raise
        # It may be ours, but the token is lost with the answer: nobody can run it any more.
        return await endpoint.get(str(record["id"]))
    except (DecisionError, ProxyError) as problem:
        if problem.interruption is None:
            raise
        return await endpoint.get(str(record["id"]))
    await desk.claimed(call, taken.interruption, taken.token)
    ran = dict(taken.arguments)
    edited = not same_json(ran, arguments)
    text = json.dumps(ran, ensure_ascii=False) if edited else call.arguments or "{}"
    return Cleared(ran, text, taken.token, taken.interruption, edited)


async def _elsewhere(desk: Desk, call: CallData, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Another process runs it, or began to: give it a moment to say what came of it."""
    endpoint = desk.require_link(call).endpoint
    with anyio.move_on_after(_ELSEWHERE_SECONDS):
        # Ends when the record does, or with the deadline above.
        while record.get("state") == "executing":
            await anyio.sleep(_LOOK_SECONDS)
            record = await endpoint.get(str(record["id"]))
    return record


async def _disown(desk: Desk, call: CallData) -> None:
    """A process that is gone had begun it: nobody knows what came of it, and it is not run again."""
    record = call.interruption or {}
    known = Cleared({}, "", call.token, record, False)
    await reported(desk, call, known, "unknown", None, "the process that ran it is gone")
    await desk.finish(call, texts.not_run_again(call.name))


async def _tell(desk: Desk, call: CallData, record: Mapping[str, Any]) -> None:
    """It ended: give the model what came of it."""
    call.interruption = dict(record)
    state = record.get("state")
    output = outcome_of(record)
    if state == "executed" and output is not None:
        await desk.finish(call, output)
    elif state == "answered":
        await desk.finish(call, f"{texts.answered(call.name, record)}\n{_answer(record)}")
    elif state == "rejected":
        await desk.finish(call, await desk.rejection_text(call, texts.ended(call.name, record)))
    else:
        await desk.finish(call, texts.ended(call.name, record))


def _answer(record: Mapping[str, Any]) -> str:
    answer = record.get("answer")
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list) and all(isinstance(part, dict) and "type" in part for part in answer):
        return "\n".join(str(part.get("text", json.dumps(part, ensure_ascii=False))) for part in answer)
    return json.dumps(answer, ensure_ascii=False)


def _body(
    desk: Desk, call: CallData, arguments: dict[str, Any], definition: Mapping[str, Any] | None, wanted: bool
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": call.kind.value,
        "server": call.server,
        "tool": call.tool,
        "arguments": arguments,
        "run_id": desk.run_id,
        "call_id": call.key,
        "agent_path": list(desk.path)[:32],
        "needs_approval": wanted,
        "client": "holdshort-runner",
        "client_version": __version__,
    }
    if definition:
        body["definition"] = dict(definition)
    return body
