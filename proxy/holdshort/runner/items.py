"""Items of the Responses API: which of them are calls, what answers each, and what a run shows of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from holdshort.runner.data import CallData, Entry, Item, Source
from holdshort.runner.errors import UserError
from holdshort.runner.interruption import AgentName

__all__ = [
    "CALL_TYPES",
    "ItemHelpers",
    "RunItem",
    "answer_item",
    "as_given",
    "call_id_of",
    "event_name",
    "handoff_calls",
    "input_items",
    "message_text",
    "run_item",
]

CALL_TYPES: Final = frozenset({"function_call", "shell_call", "apply_patch_call", "mcp_approval_request"})
"""Items that this runner answers."""

RunItemType = Literal[
    "message_output_item",
    "reasoning_item",
    "tool_call_item",
    "tool_call_output_item",
    "handoff_call_item",
    "handoff_output_item",
    "mcp_list_tools_item",
    "mcp_approval_request_item",
    "mcp_approval_response_item",
    "other_item",
]
_TYPES: Final[dict[str, RunItemType]] = {
    "message": "message_output_item",
    "reasoning": "reasoning_item",
    "mcp_list_tools": "mcp_list_tools_item",
    "mcp_approval_request": "mcp_approval_request_item",
    "mcp_approval_response": "mcp_approval_response_item",
}
_EVENTS: Final[dict[RunItemType, Any]] = {
    "message_output_item": "message_output_created",
    "reasoning_item": "reasoning_item_created",
    "tool_call_item": "tool_called",
    "tool_call_output_item": "tool_output",
    "handoff_call_item": "handoff_requested",
    "handoff_output_item": "handoff_occurred",
    "mcp_list_tools_item": "mcp_list_tools",
    "mcp_approval_request_item": "mcp_approval_requested",
    "mcp_approval_response_item": "mcp_approval_response",
    "other_item": "other_item",
}


@dataclass(frozen=True, slots=True)
class RunItem:
    """Something that came to be in a run."""

    type: RunItemType
    agent: AgentName
    """The name of the agent whose turn it was."""
    raw_item: Item
    """The item as it goes over the wire."""

    @property
    def output(self) -> Any:
        """What a tool's output says; None for other items."""
        return self.raw_item.get("output")

    @property
    def call_id(self) -> str | None:
        """The call that it is, or answers."""
        return call_id_of(self.raw_item)

    @property
    def tool_name(self) -> str | None:
        """What a call calls; None for items that are no call of a named tool."""
        name = self.raw_item.get("name")
        return None if name is None else str(name)


class ItemHelpers:
    """Small readers of items."""

    @staticmethod
    def text_message_output(item: RunItem) -> str:
        """Return the text of a message."""
        return message_text(item.raw_item)

    @staticmethod
    def text_message_outputs(items: Iterable[RunItem]) -> str:
        """Return the text of all messages among `items`."""
        return "".join(message_text(item.raw_item) for item in items if item.type == "message_output_item")

    @staticmethod
    def input_to_new_input_list(given: str | Sequence[Item]) -> list[Item]:
        """Return input as a list of items."""
        return input_items(given)


def input_items(given: str | Sequence[Item]) -> list[Item]:
    """Return input as a list of items: a text is a message of the user.

    Raises:
        UserError: it is neither a text nor a list of dicts.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    wrong: Any = given
    if not isinstance(wrong, Sequence) or isinstance(wrong, bytes | bytearray):
        raise UserError(f"the input is a `{type(wrong).__name__}`; give a text, or a list of items")
    for item in wrong:
        if not isinstance(item, Mapping):
            raise UserError(
                f"a `{type(item).__name__}` is among the input's items; give dicts, as they go over the wire"
            )
    return [dict(item) for item in given]


def as_given(items: Sequence[Item]) -> str | list[Item]:
    """Return input in the short form that it may be given in: a text, if that is all that there is."""
    if len(items) == 1 and items[0].keys() == {"role", "content"} and items[0]["role"] == "user":
        content = items[0]["content"]
        if isinstance(content, str):
            return content
    return list(items)


def call_id_of(item: Item) -> str | None:
    """Return the id of the call that an item is or answers; None for other items."""
    if item.get("type") == "mcp_approval_request":
        return str(item.get("id"))
    found = item.get("call_id", item.get("approval_request_id"))
    return None if found is None else str(found)


def message_text(item: Item) -> str:
    """Return the text of a message of the model."""
    if item.get("type", "message") != "message":
        return ""
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text")


def answer_item(call: CallData, output: str | list[Item] | Item) -> Item:
    """Return the item that answers a call. An item is taken as it is; a text says so in the form of the call's kind."""
    if isinstance(output, dict):
        return output
    kind = call.item.get("type")
    if kind == "shell_call":
        told = output if isinstance(output, list) else [_shell_failure(output)]
        return {"type": "shell_call_output", "call_id": call.call_id, "output": told}
    if kind == "apply_patch_call":
        return {"type": "apply_patch_call_output", "call_id": call.call_id, "status": "failed", "output": output}
    if kind == "mcp_approval_request":
        return {
            "type": "mcp_approval_response",
            "approval_request_id": call.call_id,
            "approve": False,
            "reason": output if isinstance(output, str) else "",
        }
    return {"type": "function_call_output", "call_id": call.call_id, "output": output}


def run_item(entry: Entry, handoffs: frozenset[str]) -> RunItem:
    """Return what a run shows of an entry; `handoffs` are the ids of the calls that are handoffs."""
    item, agent = entry.item, AgentName(entry.agent)
    kind = str(item.get("type", "message"))
    if entry.source is Source.TOOL and kind != "mcp_approval_response":
        is_handoff = call_id_of(item) in handoffs
        return RunItem("handoff_output_item" if is_handoff else "tool_call_output_item", agent, item)
    if kind in _TYPES:
        return RunItem(_TYPES[kind], agent, item)
    if kind.endswith("_call"):
        is_handoff = call_id_of(item) in handoffs
        return RunItem("handoff_call_item" if is_handoff else "tool_call_item", agent, item)
    return RunItem("other_item", agent, item)


def handoff_calls(history: Iterable[Entry], names: Collection[str]) -> frozenset[str]:
    """Return the ids of the calls in a history that are handoffs, by the names of the handoffs."""
    calls = [entry.item for entry in history if entry.item.get("type") == "function_call"]
    return frozenset(str(item.get("call_id")) for item in calls if item.get("name") in names)


def event_name(item: RunItem) -> Any:
    """Return the name of the event that tells of an item."""
    return _EVENTS[item.type]


def _shell_failure(text: str) -> Item:
    return {"stdout": "", "stderr": text, "outcome": {"type": "exit", "exit_code": 1}}
