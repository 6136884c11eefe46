"""A history is whole, or the service refuses it: every call answered once, nothing twice, reasoning beside its item.

`check_history` reads what the model would read: the items that the service kept, then those of this request. Rules by
number, the first broken one is reported:

1. an item named by its id alone is one that was kept; encrypted reasoning is what was given out, to the letter
2. no item id twice
3. reasoning is followed by the item it led to, and that item is not sent without it
4. each output answers a call before it, each call has one output, and the same for approvals of hosted tools
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kit.responses_memory import Memory
from kit.responses_refusals import Refused, duplicate_item, item_not_found, no_call, no_output
from kit.responses_rules import MODEL_MADE

__all__ = ["PAIRS", "check_history", "resolved"]

Item = Mapping[str, Any]

PAIRS: Mapping[str, str] = {
    "function_call": "function call",
    "custom_tool_call": "custom tool call",
    "shell_call": "shell call",
    "apply_patch_call": "apply patch call",
    "computer_call": "computer call",
}
"""The calls that the caller of the API answers, with the words for them; the output's type ends in `_output`."""


def resolved(items: Sequence[Item], memory: Memory) -> list[Item]:
    """Rule 1: the same items with every reference replaced by what it names."""
    whole: list[Item] = []
    for item in items:
        item_id = item.get("id")
        if item.get("type") == "item_reference":
            kept = memory.kept_item(str(item_id))
            if kept is None:
                raise item_not_found(str(item_id))
            whole.append(kept)
            continue
        if item.get("type") == "reasoning":
            _check_reasoning_is_ours(item, memory)
        whole.append(item)
    return whole


def check_history(kept: Sequence[Item], new: Sequence[Item], memory: Memory) -> None:
    """Check `new`, resolved, as the continuation of `kept`.

    Raises:
        Refused: the history is not whole.
    """
    seen = {str(item["id"]) for item in kept if item.get("id")}
    for item in new:
        if item_id := item.get("id"):
            if item_id in seen:
                raise duplicate_item(item_id)
            seen.add(item_id)
    _check_reasoning_stays_beside(new, seen, memory)
    _check_pairs([*kept, *new])
    _check_approvals([*kept, *new])


def _check_reasoning_is_ours(item: Item, memory: Memory) -> None:
    item_id, sealed = item.get("id"), item.get("encrypted_content")
    if sealed is None:
        if item_id and memory.kept_item(str(item_id)) is None:
            raise item_not_found(str(item_id))
    elif sealed not in memory.sealed:
        message = f"The encrypted content {sealed[:8]}... could not be verified."
        raise Refused(message, param="input", code="invalid_encrypted_content")


def _check_reasoning_stays_beside(new: Sequence[Item], seen: set[str], memory: Memory) -> None:
    for index, item in enumerate(new):
        item_id = str(item.get("id") or "")
        if item.get("type") == "reasoning":
            following = new[index + 1] if index + 1 < len(new) else None
            if following is None or not _led_to(following, memory.followed_by.get(item_id)):
                message = f"Item '{item_id}' of type 'reasoning' was provided without its required following item."
                raise Refused(message, param="input")
        led_by = memory.led_by.get(item_id)
        if led_by and led_by not in seen:
            message = (
                f"Item '{item_id}' of type '{item.get('type')}' was provided "
                f"without its required 'reasoning' item: '{led_by}'."
            )
            raise Refused(message, param="input")


def _check_pairs(items: Sequence[Item]) -> None:
    for call_type, words in PAIRS.items():
        # Counted, not keyed: a model may use one id for two calls, and then it wants two outputs.
        calls: Counter[str] = Counter()
        outputs: Counter[str] = Counter()
        for item in items:
            call_id = str(item.get("call_id"))
            if item.get("type") == call_type:
                calls[call_id] += 1
            elif item.get("type") == f"{call_type}_output":
                outputs[call_id] += 1
                if not calls[call_id]:
                    raise no_call(words, call_id)
                if outputs[call_id] > calls[call_id]:  # unverified: nobody quotes the service's own words
                    raise Refused(f"Duplicate tool output found for {words} {call_id}.", param="input")
        for call_id, wanted in calls.items():
            if outputs[call_id] < wanted:
                raise no_output(words, call_id)


def _check_approvals(items: Sequence[Item]) -> None:
    # Unverified texts: the rule is in the service's guide to hosted MCP, its sentences are quoted nowhere.
    open_requests: dict[str, bool] = {}
    for item in items:
        if item.get("type") == "mcp_approval_request":
            open_requests[str(item["id"])] = True
        elif item.get("type") == "mcp_approval_response":
            request_id = str(item["approval_request_id"])
            if request_id not in open_requests:
                message = f"No approval request found for approval response with approval_request_id {request_id}."
                raise Refused(message, param="input")
            if not open_requests[request_id]:
                raise Refused(f"Duplicate approval response found for approval request {request_id}.", param="input")
            open_requests[request_id] = False
    for request_id, still_open in open_requests.items():
        if still_open:
            raise Refused(f"No approval response found for approval request {request_id}.", param="input")


def _led_to(item: Item, wanted: str | None) -> bool:
    """Whether this may follow reasoning that led to the item `wanted`; one that comes without its id is believed."""
    return _by_model(item) and (not item.get("id") or wanted in (None, item["id"]))


def _by_model(item: Item) -> bool:
    word = item.get("type", "message")
    return word in MODEL_MADE and (word != "message" or item.get("role") == "assistant")
