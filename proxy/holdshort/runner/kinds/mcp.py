"""MCP tools behind the proxy: sent there under the run's and the call's id, which makes a repetition find the first.

The proxy holds the policy, the approval and the outcome. Here is only what to do with its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio

from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, read_arguments
from holdshort.runner.data import CallData, CallStatus
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.mcp_link import McpTool, ProxyLink
from holdshort.runner.output import mcp_output
from holdshort.runner.settling import Desk

__all__ = ["settle"]

_INTERRUPTION: Final = "holdshort/interruption"
_ERROR: Final = "holdshort/error"
"""On an answer to a call that was refused before anything ran."""
_OUTCOME: Final = "holdshort/outcome"
"""On an answer to a repetition of which the proxy does not know whether it ran."""
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the proxy, or a server that is not ready."""
_LOOKS: Final = 25
_UNKNOWN_TOOL: Final = "-32602"
_UNREADABLE: Final = frozenset({"malformed", "too_large"})
"""An answer came, and cannot be read: not this time and not the next."""
_REUSED: Final = "call_id_reused"


async def settle(desk: Desk, tool: McpTool, call: CallData) -> None:
    """Send the call, or find out how it stands.

    Raises:
        ProxyError: the proxy refused, or the server of an approved call is not there; the call is open as before.
    """
    link = desk.require_link(call)
    try:
        arguments = read_arguments(call.arguments, call.name)
    except BadArguments as bad:
        await desk.finish(call, texts.bad_arguments(call.name, bad.problem))
        return
    if call.status is CallStatus.PARKED:
        if await _still_waits(desk, link, call):
            return
        if (call.interruption or {}).get("state") in ("pending", "superseded"):
            # No record stands for what is sent now: should this process end, it may have run.
            call.status = CallStatus.SENT
            await desk.save()
    again = desk.repeated(call)
    meta: dict[str, Any] = {
        "holdshort/run_id": desk.run_id,
        "holdshort/call_id": call.key,
        "holdshort/agent_path": list(desk.path)[:32],
        **desk.trace.carrier(call),
    }
    if not link.hold_s:
        meta["holdshort/park"] = "now"
    for attempt in range(len(_PAUSES) + 1):
        pause = _PAUSES[attempt] if attempt < len(_PAUSES) else None
        # Found in the state as sent, or just sent without an answer: what is on record counts, nothing runs anew.
        said = {**meta, "holdshort/repeat": True} if again else meta
        try:
            result = await link.call(tool, arguments, meta=said)
        except ProxyUnreachable as problem:
            again = again or problem.sent
            if pause is None:
                problem.sent = again  # by this attempt or one before
                if not again and call.status is CallStatus.SENT:
                    call.status = CallStatus.NEW
                    await desk.save()
                raise
            await anyio.sleep(pause)
            continue
        except ProxyError as problem:
            await _refused(desk, link, call, problem)
            return
        if await _taken(desk, link, tool, call, result):
            return
        if pause is None:
            break
        await anyio.sleep(pause)
    raise ProxyError(
        f"`{call.name}` is approved but its server cannot be reached; go on from the state when it can",
        reason="upstream_not_ready",
    )


async def _still_waits(desk: Desk, link: ProxyLink, call: CallData) -> bool:
    """Whether the record that the state names needs no repetition: it waits, or somebody took it back."""
    record = call.interruption or {}
    try:
        found = await link.endpoint.get(str(record.get("id")))
    except ProxyUnreachable:
        raise
    except ProxyError as problem:
        if problem.reason == "not_found":
            return False
        raise
    asked = found.get("requested_by") or {}
    if asked.get("run_id") != desk.run_id or asked.get("call_id") != call.key:
        return False
    if found.get("state") == "pending":
        await desk.parked(call, found)
        return True
    if found.get("state") == "withdrawn":
        await desk.finish(call, texts.ended(call.name, found))
        return True
    call.interruption = dict(found)
    return False


async def _taken(desk: Desk, link: ProxyLink, tool: McpTool, call: CallData, result: Mapping[str, Any]) -> bool:
    """Act on an answer. False to ask again in a moment."""
    given = result.get("_meta")
    meta: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    about = meta.get(_INTERRUPTION)
    state = about.get("state") if isinstance(about, Mapping) else None
    if meta.get(_ERROR) == _REUSED:
        raise ProxyError(
            f"the call `{call.call_id}` of this run is on record as another call; nothing was run",
            reason=_REUSED,
        )
    if _ERROR in meta or _OUTCOME in meta:
        await desk.finish(call, mcp_output(dict(result)))
        return True
    if not isinstance(about, Mapping) or state is None:
        await _answered(desk, tool, call, result)
        return True
    match state:
        case "pending":
            await desk.parked(call, await link.endpoint.get(str(about["id"])))
            return True
        case "approved" | "superseded":
            # Its server is not ready; or it no longer is what was approved, and asking again parks it anew.
            return False
        case "executing":
            record = await _ended(link, str(about["id"]))
            if record.get("state") == "executing":
                await desk.parked(call, record)
                return True
            return False
        case "rejected":
            call.interruption = await link.endpoint.get(str(about["id"]))
            text = mcp_output(dict(result))
            await desk.finish(call, await desk.rejection_text(call, text if isinstance(text, str) else str(text)))
            return True
        case "executed":
            call.interruption = {**(call.interruption or {}), **about}
            await _answered(desk, tool, call, result)
            return True
        case _:
            call.interruption = {**(call.interruption or {}), **about}
            await desk.finish(call, mcp_output(dict(result)))
            return True


async def _answered(desk: Desk, tool: McpTool, call: CallData, result: Mapping[str, Any]) -> None:
    """The tool ran. Hooks hear of it afterwards only: whether it waits, the proxy says with the answer."""
    output = mcp_output(dict(result))
    await desk.finish(call, output)
    context = desk.tool_context(call, call.arguments)
    await desk.hooks.tool_start(context, desk.agent, tool)
    await desk.hooks.tool_end(context, desk.agent, tool, output)


async def _ended(link: ProxyLink, interruption: str) -> Mapping[str, Any]:
    """Another process runs it: give it a few seconds."""
    record = await link.endpoint.get(interruption)
    for _ in range(_LOOKS):
        if record.get("state") != "executing":
            break
        await anyio.sleep(0.2)
        record = await link.endpoint.get(interruption)
    return record


async def _refused(desk: Desk, link: ProxyLink, call: CallData, problem: ProxyError) -> None:
    """The proxy answered with an error: tell the model, unless the run itself is at fault.

    Raises:
        ProxyError: it is no answer about this call (credentials, sessions).
    """
    if problem.reason in _UNREADABLE:
        await desk.finish(call, texts.sent_and_lost(call.name, str(problem)))
        return
    if not problem.reason.lstrip("-").isdigit():
        raise problem
    if problem.reason == _UNKNOWN_TOOL and call.interruption is not None:
        record = await link.endpoint.get(str(call.interruption.get("id")))
        result = (record.get("outcome") or {}).get("result")
        if record.get("state") == "executed" and isinstance(result, Mapping):
            await desk.finish(call, mcp_output(dict(result)))
            return
    await desk.finish(call, f"`{call.name}` failed: {problem}")
