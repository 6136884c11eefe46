"""Tools of MCP servers that the model's provider calls: what it asks to approve is asked about, and then answered.

The provider runs the call with the arguments that it asked about, and nothing but yes or no can be said to it. What
came of it is in the `mcp_call` item of a later answer, and the proxy hears of that; where none comes, that it is
unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from holdshort.runner import texts
from holdshort.runner.data import CallData, Item
from holdshort.runner.errors import DecisionError, RunError
from holdshort.runner.kinds.own import cleared, reported
from holdshort.runner.kinds.running import surely
from holdshort.runner.settling import Desk
from holdshort.runner.tools import HostedMCPTool

__all__ = ["forget", "heard", "settle", "telling", "told"]

_LOG = logging.getLogger("holdshort.runner")
PROVIDER_SECONDS: Final = 3600.0
"""How long the provider may take: other calls of the same answer may wait for people before it is told."""


async def settle(desk: Desk, tool: HostedMCPTool, call: CallData) -> None:
    """Ask the proxy, whatever the provider thinks of the call, and give the provider its answer.

    Raises:
        UserError: there is no proxy to ask.
        ProxyError: it refused or failed.
    """
    clearance = await cleared(desk, call, True, _definition(desk, call), timeout_seconds=PROVIDER_SECONDS)
    if clearance is None:
        return
    if clearance.edited and clearance.record is not None:
        await reported(desk, call, clearance, "failed", None, "the provider that runs it takes no other arguments")
        await desk.finish(call, texts.edit_not_possible(call.name, clearance.record))
        return
    if clearance.token is not None and clearance.record is not None:
        desk.data.awaited.append(
            {
                "id": str(clearance.record["id"]),
                "token": clearance.token,
                "call_id": call.call_id,
                "server": call.server,
                "tool": call.tool,
                "told": "no",
            }
        )
    answer: Item = {"type": "mcp_approval_response", "approval_request_id": call.call_id, "approve": True}

    async def kept() -> None:
        await desk.finish(call, answer)

    await surely(kept)


async def heard(desk: Desk, items: Iterable[Item]) -> None:
    """Report what came of approved calls, from a response's items."""
    for item in items:
        if item.get("type") != "mcp_call":
            continue
        found = _awaited(desk.data.awaited, item)
        if found is not None:
            desk.data.awaited.remove(found)
            await _report(desk, found, item)


async def telling(desk: Desk) -> None:
    """Note that the provider is about to be told, once. What it was perhaps told already is taken back.

    An approval whose answer was lost may have run its tool. To say yes again could run it a second time, so it is said
    no instead, and nobody knows what came of it.
    """
    for each in [each for each in desk.data.awaited if each["told"] == "perhaps"]:
        desk.data.awaited.remove(each)
        for entry in desk.data.history:
            item = entry.item
            if item.get("type") == "mcp_approval_response" and item.get("approval_request_id") == each["call_id"]:
                entry.item = {**item, "approve": False, "reason": texts.not_run_again(str(each["tool"]))}
        await _report(desk, each, None)
    fresh = [each for each in desk.data.awaited if each["told"] == "no"]
    for each in fresh:
        each["told"] = "perhaps"
    if fresh:
        await desk.save()


async def told(desk: Desk, *, arrived: bool) -> None:
    """Note whether the provider surely has what it was told last, or surely has not."""
    for each in desk.data.awaited:
        if each["told"] == "perhaps":
            each["told"] = "yes" if arrived else "no"
    if not arrived:
        await desk.save()


async def forget(desk: Desk) -> None:
    """Report as unknown what the provider never said anything about; the run is over."""
    while desk.data.awaited:
        await _report(desk, desk.data.awaited.pop(0), None)


def _definition(desk: Desk, call: CallData) -> dict[str, Any] | None:
    """Return what the provider listed of the tool, where it did."""
    for entry in reversed(desk.data.history):
        item = entry.item
        if item.get("type") != "mcp_list_tools" or item.get("server_label") != call.server:
            continue
        for each in item.get("tools") or ():
            if isinstance(each, Mapping) and each.get("name") == call.tool:
                said = {
                    "description": each.get("description"),
                    "inputSchema": each.get("input_schema"),
                    "annotations": each.get("annotations"),
                }
                kinds = {"description": str, "inputSchema": dict, "annotations": dict}
                return {name: value for name, value in said.items() if isinstance(value, kinds[name])} or None
    return None


def _awaited(awaited: list[dict[str, Any]], item: Item) -> dict[str, Any] | None:
    request = item.get("approval_request_id")
    if request is not None:
        return next((each for each in awaited if each["call_id"] == request), None)
    named = (item.get("server_label"), item.get("name"))
    alike = [each for each in awaited if (each["server"], each["tool"]) == named]
    # Without the request's id, two alike cannot be told apart.
    return alike[0] if len(alike) == 1 else None


async def _report(desk: Desk, awaited: Mapping[str, Any], item: Item | None) -> None:
    if desk.link is None:
        return
    kind, result, error, note = _outcome(item)
    try:
        await desk.link.endpoint.outcome(
            str(awaited["id"]), token=int(awaited["token"]), kind=kind, result=result, error=error, note=note
        )
    except (RunError, DecisionError) as problem:
        _LOG.warning("the outcome of a hosted call could not be reported: %s", problem)


def _outcome(item: Item | None) -> tuple[Any, Any, Any, str | None]:
    if item is None:
        return "unknown", None, None, "the provider never said what came of it"
    if item.get("error") is not None:
        return "tool_error", None, item["error"], None
    if item.get("status") in ("in_progress", "calling", "incomplete"):
        return "unknown", None, None, f"the provider left it as {item['status']}"
    return "ok", {"output": item.get("output")}, None, None
