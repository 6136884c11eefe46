"""From a model's answer to the calls of the turn, and from settled calls back to the history. Pure.

The rules that keep a history whole are here: an id stands for one call, every call gets exactly one output, and outputs
enter together, in the model's order, once all of them are known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from holdshort.runner.data import CallData, CallKind, Entry, Item, RunData, Source
from holdshort.runner.errors import ModelBehaviorError
from holdshort.runner.items import CALL_TYPES, call_id_of
from holdshort.runner.mcp_link import McpTool
from holdshort.runner.toolbox import Toolbox
from holdshort.runner.tools import AgentTool, Handoff

__all__ = ["call_key", "calls_in", "close_turn", "has_last_words", "input_for", "take_queued", "without_doubles"]

_LONGEST_KEY = 200
_KINDS: Mapping[str, CallKind] = {
    "shell_call": CallKind.SHELL,
    "apply_patch_call": CallKind.APPLY_PATCH,
    "mcp_approval_request": CallKind.HOSTED_MCP,
}
_NOT_OURS = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"}
)
"""Calls that the service answers by itself."""


def call_key(outer: str, call_id: str) -> str:
    """Return the id that the proxy knows a call by: with the calls around it, and never longer than it takes."""
    key = f"{outer}/{call_id}" if outer else call_id
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{key[:120]}~{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def without_doubles(items: Iterable[Item]) -> list[Item]:
    """Return a response's items without a call that is there twice to the letter.

    Raises:
        ModelBehaviorError: one call id stands for two different calls.
    """
    kept: list[Item] = []
    seen: dict[str, Item] = {}
    for item in items:
        call_id = call_id_of(item) if item.get("type") in CALL_TYPES else None
        if call_id is None:
            kept.append(item)
        elif call_id not in seen:
            seen[call_id] = item
            kept.append(item)
        elif _meaning(seen[call_id]) != _meaning(item):
            raise ModelBehaviorError(f"the model used the call id `{call_id}` for two different calls; nothing was run")
    return kept


def calls_in(items: Sequence[Item], data: RunData, toolbox: Toolbox, outer: str) -> list[CallData]:
    """Return the calls that a response asks this runner to make.

    Raises:
        ModelBehaviorError: an id was used by an earlier turn, or a call is of a kind that nobody here answers.
    """
    known = {call_id_of(entry.item) for entry in data.history if entry.item.get("type") in CALL_TYPES}
    calls: list[CallData] = []
    for item in items:
        kind = str(item.get("type", "message"))
        if kind not in CALL_TYPES:
            if kind.endswith("_call") and kind not in _NOT_OURS:
                raise ModelBehaviorError(f"the model made a `{kind}`, which this runner cannot answer; nothing was run")
            continue
        call_id = str(call_id_of(item))
        if call_id in known:
            raise ModelBehaviorError(
                f"the model used the call id `{call_id}` of an earlier call again; nothing was run"
            )
        calls.append(_call(item, kind, call_id, data.agent, toolbox, outer))
    return calls


def close_turn(data: RunData) -> None:
    """Move the outputs of a settled turn into the history."""
    data.history += [Entry(call.output, Source.TOOL, call.agent) for call in data.calls if call.output is not None]
    data.calls = []


def take_queued(data: RunData) -> None:
    """Move input that was waiting into the history; no turn is open."""
    data.history += [Entry(item, Source.INPUT, data.agent) for item in data.queued]
    data.queued = []


def has_last_words(data: RunData) -> bool:
    """Whether the model has answered without a call, and nothing was said since."""
    last = data.history[-1] if data.history else None
    return last is not None and last.source is Source.MODEL and data.turn > 0 and not data.calls


def input_for(data: RunData) -> list[Item]:
    """Return what the next request carries: everything, or what the service does not know yet."""
    first = 0 if data.keeps_own_history else data.known
    return [entry.item for entry in data.history[first:]]


def _call(item: Item, kind: str, call_id: str, agent: str, toolbox: Toolbox, outer: str) -> CallData:
    name = str(item.get("name", ""))
    server, tool = "local", name
    arguments = str(item.get("arguments", ""))
    if kind == "function_call":
        found = toolbox.named.get(name)
        match found:
            case McpTool():
                what, server, tool = CallKind.MCP, found.server, found.tool
            case AgentTool():
                what = CallKind.AGENT
            case Handoff():
                what = CallKind.HANDOFF
            case _:
                what = CallKind.FUNCTION
    else:
        what = _KINDS[kind]
    if what is CallKind.HOSTED_MCP:
        server = str(item.get("server_label", ""))
    elif what in (CallKind.SHELL, CallKind.APPLY_PATCH):
        name = tool = what.value
        arguments = _canonical_text(item.get("action" if what is CallKind.SHELL else "operation"))
    return CallData(
        call_id=call_id,
        key=call_key(outer, call_id),
        kind=what,
        name=name,
        server=server,
        tool=tool,
        arguments=arguments,
        agent=agent,
        item=item,
    )


def _canonical_text(value: object) -> str:
    return json.dumps(value if isinstance(value, dict) else {}, ensure_ascii=False)


def _meaning(item: Item) -> dict[str, object]:
    return {name: value for name, value in item.items() if name not in ("id", "status")}
