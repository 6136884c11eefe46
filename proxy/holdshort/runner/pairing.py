"""Which items of a history belong together: a call and what answers it, reasoning and what came of it.

The Responses service refuses a call without its answer, an answer without its call, and reasoning without the item that
followed it. So nothing that shortens a history may part them.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdshort.runner.data import Item

__all__ = ["answered_in", "asked_in", "thoughts", "whole_from", "without_orphans"]


def asked_in(item: Item) -> str | None:
    """Return the id of the call that this item is, if it is one that the provider does not answer by itself."""
    kind = item.get("type")
    if kind == "mcp_approval_request":
        return _text(item.get("id"))
    if isinstance(kind, str) and kind.endswith("_call"):
        return _text(item.get("call_id"))  # `web_search_call`, `mcp_call` and their like have none
    return None


def answered_in(item: Item) -> str | None:
    """Return the id of the call that this item answers, if it answers one."""
    kind = item.get("type")
    if kind == "mcp_approval_response":
        return _text(item.get("approval_request_id"))
    if isinstance(kind, str) and kind.endswith("_output"):
        return _text(item.get("call_id")) or _text(item.get("id"))
    return None


def thoughts(items: Sequence[Item]) -> list[tuple[int, range]]:
    """Return each reasoning item's place, with the places of what came of it.

    That is all of the model's until the next reasoning, or until something that is not from the model.
    """
    found: list[tuple[int, range]] = []
    for place, item in enumerate(items):
        if item.get("type") == "reasoning":
            end = place + 1
            while end < len(items) and _follows(items[end]):
                end += 1
            found.append((place, range(place + 1, end)))
    return found


def whole_from(items: Sequence[Item], start: int) -> int:
    """Return the first place at or after `start` from which the rest of `items` parts nothing.

    Nothing that is left answers a call that is cut off, and nothing that is left came of reasoning that is cut off.
    """
    asked = {call_id: place for place, item in enumerate(items) if (call_id := asked_in(item)) is not None}
    parts: list[tuple[int, int]] = []  # of each two that belong together, the first's place and the last's
    for place, item in enumerate(items):
        call_id = answered_in(item)
        if call_id is not None and asked.get(call_id, place) < place:
            parts.append((asked[call_id], place))
    parts += [(place, came[-1]) for place, came in thoughts(items) if came]
    cut = max(start, 0)
    while any(first < cut <= last for first, last in parts):
        cut = max(last for first, last in parts if first < cut <= last) + 1
    return min(cut, len(items))


def without_orphans(items: Sequence[Item]) -> list[Item]:
    """Return `items` without calls that have no output after them, outputs that have no call before them, and reasoning
    of which nothing is left.
    """
    asked = {call_id: place for place, item in enumerate(items) if (call_id := asked_in(item)) is not None}
    whole: set[str] = set()
    for place, item in enumerate(items):
        call_id = answered_in(item)
        if call_id is not None and asked.get(call_id, place) < place:
            whole.add(call_id)
    gone = {
        place
        for place, item in enumerate(items)
        if (call_id := asked_in(item) or answered_in(item)) is not None and call_id not in whole
    }
    for place, came in thoughts(items):
        if came and gone.issuperset(came):
            gone.add(place)
    return [item for place, item in enumerate(items) if place not in gone]


def _follows(item: Item) -> bool:
    kind = item.get("type")
    if kind == "message" or kind is None:
        return item.get("role") == "assistant"
    return isinstance(kind, str) and (kind.endswith("_call") or kind == "mcp_approval_request")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
