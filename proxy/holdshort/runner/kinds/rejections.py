"""Calls that a person said are always rejected in this run: answered unasked, never against what somebody decided."""

from __future__ import annotations

from typing import Any

from holdshort.policy import same_json
from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, read_arguments
from holdshort.runner.data import CallData, CallStatus
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.settling import Desk

__all__ = ["rejected_before"]


async def rejected_before(desk: Desk, call: CallData) -> bool:
    """Give a call its output where a person said that calls like it are always rejected in this run."""
    if call.status in (CallStatus.CLAIMED, CallStatus.DONE) or call.run is not None or desk.repeated(call):
        return False
    for said in desk.root_rejections:
        if (said.get("server"), said.get("tool")) != (call.server, call.tool):
            continue
        wanted = said.get("arguments")
        if wanted is None or same_json(wanted, _arguments_or_none(call)):
            if call.status is CallStatus.PARKED and not await _taken_back(desk, call):
                # Somebody decided about this very call, and that counts.
                return False
            text = texts.rejected_always(call.name, said.get("message"))
            await desk.finish(call, await desk.rejection_text(call, text))
            return True
    return False


async def _taken_back(desk: Desk, call: CallData) -> bool:
    """Take back what is asked about a call that is rejected with others; False where it does not wait any more."""
    endpoint, known = desk.require_link(call).endpoint, str((call.interruption or {}).get("id"))
    try:
        record = await endpoint.get(known)
        asked = record.get("requested_by") or {}
        if (asked.get("run_id"), asked.get("call_id"), record["state"]) != (desk.run_id, call.key, "pending"):
            return False
        call.interruption = await endpoint.withdraw(known, "calls like it are rejected in this run")
    except ProxyUnreachable:
        raise
    except ProxyError as problem:
        if problem.interruption is None and problem.reason != "not_found":
            raise
        return False
    return True


def _arguments_or_none(call: CallData) -> dict[str, Any] | None:
    try:
        return read_arguments(call.arguments, call.name)
    except BadArguments:
        return None
