"""What the model says, written down: turns of items, told in order or chosen by what the history already shows.

A `Script` is a list of turns, or a function of what was asked. By `order`, each request that is answered takes the next
turn. By `history`, a request gets the turn after the last one it shows, so that a caller that was killed and asks again
is told the same again. As JSON (`read_turns`): `{"pick": "history", "turns": [{"items": [{"call": "pay",
"arguments": {"amount": 5}, "call_id": "call_1"}]}, {"items": [{"text": "paid"}]}]}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kit.responses_refusals import Refused

__all__ = [
    "Approval",
    "Asked",
    "Call",
    "Custom",
    "McpCall",
    "McpTools",
    "Patch",
    "Reasoning",
    "Refusal",
    "Script",
    "Shell",
    "Text",
    "Turn",
    "With",
    "read_turns",
]

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """What the assistant says; for a structured output, the JSON of it."""

    text: str

    def made(self) -> JSON:
        return {"type": "message", "role": "assistant", "content": [_text_part(self.text)]}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The assistant will not."""

    refusal: str

    def made(self) -> JSON:
        return {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": self.refusal}]}


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function; `arguments` as text is sent as it is, so that it can be broken JSON."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    call_id: str | None = None

    def made(self) -> JSON:
        return {"type": "function_call", "name": self.name, "arguments": _json(self.arguments), "call_id": self.call_id}


@dataclass(frozen=True, slots=True)
class Custom:
    """A call of a custom tool, with free text."""

    name: str
    input: str
    call_id: str | None = None

    def made(self) -> JSON:
        return {"type": "custom_tool_call", "name": self.name, "input": self.input, "call_id": self.call_id}


@dataclass(frozen=True, slots=True)
class Shell:
    """A call of the shell tool."""

    commands: Sequence[str]
    call_id: str | None = None

    def made(self) -> JSON:
        action = {"commands": list(self.commands), "timeout_ms": None, "max_output_length": None}
        return {"type": "shell_call", "action": action, "call_id": self.call_id, "environment": None}


@dataclass(frozen=True, slots=True)
class Patch:
    """A call of the patch tool: `{"type": "update_file", "path": …, "diff": …}`."""

    operation: Mapping[str, Any]
    call_id: str | None = None

    def made(self) -> JSON:
        return {"type": "apply_patch_call", "operation": dict(self.operation), "call_id": self.call_id}


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning before the item that follows it."""

    summary: str = ""

    def made(self) -> JSON:
        parts = [{"type": "summary_text", "text": self.summary}] if self.summary else []
        return {"type": "reasoning", "summary": parts}


@dataclass(frozen=True, slots=True)
class Approval:
    """The service asks whether it may call a tool of a hosted MCP server."""

    server_label: str
    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])

    def made(self) -> JSON:
        facts = {"server_label": self.server_label, "name": self.name, "arguments": _json(self.arguments)}
        return {"type": "mcp_approval_request", **facts}


@dataclass(frozen=True, slots=True)
class McpTools:
    """The service lists the tools of a hosted MCP server."""

    server_label: str
    tools: Sequence[Mapping[str, Any]]

    def made(self) -> JSON:
        return {"type": "mcp_list_tools", "server_label": self.server_label, "tools": list(self.tools), "error": None}


@dataclass(frozen=True, slots=True)
class McpCall:
    """The service has called a tool of a hosted MCP server."""

    server_label: str
    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    output: str = ""
    approval_request_id: str | None = None

    def made(self) -> JSON:
        facts = {"server_label": self.server_label, "name": self.name, "arguments": _json(self.arguments)}
        request = {"approval_request_id": self.approval_request_id}
        return {"type": "mcp_call", **facts, **request, "output": self.output, "error": None}


@dataclass(frozen=True, slots=True)
class With:
    """The same with further fields: those that come and go, and those of a service newer than this kit."""

    said: Said
    more: Mapping[str, Any]

    def made(self) -> JSON:
        return {**self.said.made(), **self.more}


Said = Text | Refusal | Call | Custom | Shell | Patch | Reasoning | Approval | McpTools | McpCall | With


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model."""

    items: tuple[Said, ...]
    incomplete: Literal["max_output_tokens", "content_filter"] | None = None
    """Why the answer ends before its end, if it does."""

    def __init__(self, *items: Said, incomplete: Literal["max_output_tokens", "content_filter"] | None = None) -> None:
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "incomplete", incomplete)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a script may look at: one request that was found in order."""

    number: int
    """Which request this is, from 1, refused ones counted."""
    body: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    """What the model reads: items kept by the service and items of this request."""

    @property
    def outputs(self) -> dict[str, Any]:
        """The output of each call that has one, by call id."""
        return {item["call_id"]: item.get("output") for item in self.history if item["type"].endswith("_output")}

    @property
    def said_last(self) -> Mapping[str, Any]:
        """The last item."""
        return self.history[-1]


class Script:
    """The turns, and which is next."""

    def __init__(
        self, turns: Sequence[Turn] | Callable[[Asked], Turn], *, pick: Literal["order", "history"] = "order"
    ) -> None:
        self._turns, self._pick, self._next = turns, pick, 0

    def turn(self, asked: Asked) -> Turn:
        """The turn for this request; it stays the next one until `told`.

        Raises:
            Refused: the script has no such turn; a test that sees this asked more often than it meant to.
        """
        if callable(self._turns):
            return self._turns(asked)
        index = self._next if self._pick == "order" else _shown(self._turns, asked.history)
        if index < len(self._turns):
            return self._turns[index]
        message = f"the script ends after {len(self._turns)} turns; request {asked.number} wants another"
        raise Refused(message, code="script_exhausted")

    def told(self) -> None:
        """The turn was given away, whether or not the caller heard it."""
        self._next += 1


def read_turns(written: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Turns from JSON; an item is named by its first key, and `with` has further fields of it.

    Raises:
        ValueError: an item that is none of the kinds here.
    """
    return [Turn(*map(_item, turn["items"]), incomplete=turn.get("incomplete")) for turn in written]


def _item(written: Mapping[str, Any]) -> Said:
    match dict(written):
        case {"with": dict(fields), **rest}:
            return With(_item(rest), fields)
        case {"text": str(text)}:
            return Text(text)
        case {"json": value}:
            return Text(json.dumps(value))
        case {"refusal": str(text)}:
            return Refusal(text)
        case {"reasoning": str(text)}:
            return Reasoning(text)
        case {"call": str(name), **more}:
            return Call(name, **more)
        case {"custom": str(name), **more}:
            return Custom(name, **more)
        case {"shell": list(commands), **more}:
            return Shell(commands, **more)
        case {"patch": dict(operation), **more}:
            return Patch(operation, **more)
        case {"approval": str(name), **more}:
            return Approval(name=name, **more)
        case {"mcp_tools": list(tools), **more}:
            return McpTools(tools=tools, **more)
        case {"mcp_call": str(name), **more}:
            return McpCall(name=name, **more)
        case _:
            raise ValueError(f"no item of a script: {dict(written)}")


def _shown(turns: Sequence[Turn], history: Sequence[Mapping[str, Any]]) -> int:
    """The number of the first turn that the history does not show: one more than the last that it does."""
    following, heard_since = 0, True
    for item in history:
        if item.get("role") in ("user", "system", "developer") or item["type"].endswith(("_output", "_response")):
            heard_since = True
            continue
        # The same words may be said in two turns: what was said after somebody else spoke is of a later turn.
        first = following if heard_since or following == 0 else following - 1
        for index in range(first, len(turns)):
            if any(_is(said.made(), item) for said in turns[index].items):
                following, heard_since = index + 1, False
                break
    return following


def _is(made: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    if made["type"] != item["type"]:
        return False
    if made.get("call_id"):
        return bool(made["call_id"] == item.get("call_id"))
    if made["type"] == "message":
        words = [[part.get("text") or part.get("refusal") for part in one["content"]] for one in (made, item)]
        return words[0] == words[1]
    names = ("name", "arguments", "input", "action", "operation", "summary", "server_label")
    return all(made.get(name) == item.get(name) for name in names)


def _json(arguments: Mapping[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _text_part(text: str) -> JSON:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
