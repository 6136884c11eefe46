"""A finished response as the events that lead up to it, in the service's order.

`created`, `in_progress`; per item `output_item.added`, its parts, `output_item.done`; one terminal event that carries
the whole response. Sequence numbers count from 0 without a gap.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from typing import Any

__all__ = ["events", "frame"]

JSON = dict[str, Any]
PIECE = 9
"""Characters in one delta: short, so that any text is cut somewhere."""

ENDINGS = {
    "completed": "response.completed",
    "failed": "response.failed",
    "incomplete": "response.incomplete",
}


def events(response: Mapping[str, Any]) -> Iterator[JSON]:
    """Every event of this response, each a JSON object with `type` and `sequence_number`."""
    for number, event in enumerate(_unnumbered(response)):
        yield {"type": event["type"], "sequence_number": number, **event}


def frame(event: Mapping[str, Any]) -> bytes:
    """One event as it goes over the wire."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _unnumbered(response: Mapping[str, Any]) -> Generator[JSON]:
    start = {**response, "status": "in_progress", "output": [], "usage": None, "error": None}
    start |= {"incomplete_details": None, "completed_at": None}
    yield {"type": "response.created", "response": start}
    yield {"type": "response.in_progress", "response": start}
    for index, item in enumerate(response["output"]):
        begun, middle = _grown(item)
        if "status" in begun and begun["status"] is not None:
            begun["status"] = "in_progress"
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        for event in middle:
            yield {**event, "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": dict(item)}
    yield {"type": ENDINGS[response["status"]], "response": dict(response)}


def _grown(item: Mapping[str, Any]) -> tuple[JSON, list[JSON]]:
    """An item as it is when it begins, and the events until it is whole."""
    begun, item_id = dict(item), item["id"]
    match item["type"]:
        case "message":
            begun["content"] = []
            middle = [event for at, part in enumerate(item["content"]) for event in _content(part, at)]
        case "reasoning":
            begun["summary"] = []
            middle = [event for at, part in enumerate(item["summary"]) for event in _summary(part, at)]
        case "function_call":
            begun["arguments"] = ""
            middle = _text("response.function_call_arguments", "arguments", item["arguments"])
            middle[-1]["name"] = item["name"]
        case "custom_tool_call":
            begun["input"] = ""
            middle = _text("response.custom_tool_call_input", "input", item["input"])
        case "mcp_call":
            begun |= {"arguments": "", "output": None}
            middle = [{"type": "response.mcp_call.in_progress"}]
            middle += _text("response.mcp_call_arguments", "arguments", item["arguments"])
            middle += [{"type": "response.mcp_call.completed"}]
        case "mcp_list_tools":
            begun["tools"] = []
            middle = [{"type": "response.mcp_list_tools.in_progress"}, {"type": "response.mcp_list_tools.completed"}]
        case "shell_call":
            begun["action"] = {**item["action"], "commands": []}
            # These events name the place, not the item.
            return begun, [event for at, one in enumerate(item["action"]["commands"]) for event in _command(one, at)]
        case _:
            middle = []
    return begun, [{**event, "item_id": item_id} for event in middle]


def _content(part: Mapping[str, Any], at: int) -> list[JSON]:
    refused = part["type"] == "refusal"
    name, kind = ("refusal", "response.refusal") if refused else ("text", "response.output_text")
    middle = _text(kind, name, part[name])
    if not refused:
        middle = [{**event, "logprobs": []} for event in middle]
    whole = [{"type": "response.content_part.added", "part": {**part, name: ""}}, *middle]
    whole.append({"type": "response.content_part.done", "part": dict(part)})
    return [{**event, "content_index": at} for event in whole]


def _summary(part: Mapping[str, Any], at: int) -> list[JSON]:
    kind = "response.reasoning_summary"
    whole = [{"type": f"{kind}_part.added", "part": {**part, "text": ""}}, *_text(f"{kind}_text", "text", part["text"])]
    whole.append({"type": f"{kind}_part.done", "part": dict(part)})
    return [{**event, "summary_index": at} for event in whole]


def _command(command: str, at: int) -> list[JSON]:
    kind = "response.shell_call_command"
    whole = [{"type": f"{kind}.added", "command": ""}, *_text(kind, "command", command)]
    return [{**event, "command_index": at} for event in whole]


def _text(kind: str, name: str, text: str) -> list[JSON]:
    deltas = [{"type": f"{kind}.delta", "delta": text[at : at + PIECE]} for at in range(0, len(text), PIECE)]
    return [*deltas, {"type": f"{kind}.done", name: text}]
