"""One request to the model, from its body to its finished response, with no HTTP in it.

In this order: the parameters, what is continued, the whole history, the script, and only then anything is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.responses_faults import Fail
from kit.responses_history import check_history, resolved
from kit.responses_memory import Conversation, Kept, Memory, as_stored
from kit.responses_rules import ITEMS, check_request
from kit.responses_script import Asked, Script, Turn

__all__ = ["Service"]

JSON = dict[str, Any]
Item = Mapping[str, Any]

STATUS = ("message", "function_call", "custom_tool_call", "shell_call", "apply_patch_call", "mcp_call")
"""Items that say how far they are."""

ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says of what was not asked for."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was found in order."""

    body: Mapping[str, Any]
    input: Sequence[Item]
    history: Sequence[Item]
    conversation: Conversation | None

    def hold_conversation(self, busy: bool) -> None:
        """Keep other requests from its conversation, or let them at it again."""
        if self.conversation:
            self.conversation.busy = busy


class Service:
    """The model and what it is told, in one event loop: a call of `create` is never half done."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.memory = Memory()

    def read(self, body: Mapping[str, Any]) -> Request:
        """Check a request against everything that is known.

        Raises:
            Refused: as the service refuses it; nothing was kept.
        """
        items = check_request(body)
        conversation = self._conversation(body.get("conversation"))
        kept: Sequence[Item] = conversation.items if conversation else ()
        if previous := body.get("previous_response_id"):
            kept = self.memory.previous(previous).history
        new = resolved(items, self.memory)
        check_history(kept, new, self.memory)
        stored = self.memory.stored(new)
        return Request(body, stored, [*kept, *stored], conversation)

    def create(self, request: Request, number: int, fault: Fail | None = None) -> JSON:
        """The finished response; kept where the request does not forbid it.

        Raises:
            Refused: the script has no turn for this.
        """
        turn = self.script.turn(Asked(number, request.body, request.history))
        response = self._begun(request)
        if fault is not None:
            return response | {"status": "failed", "error": {"code": fault.code, "message": fault.message}}
        self.script.told()
        output = self._output(turn, request.body)
        response |= {"output": output, "usage": _usage(request, output), "completed_at": int(time.time())}
        response["status"] = "completed"
        if turn.incomplete:
            response |= {"status": "incomplete", "incomplete_details": {"reason": turn.incomplete}}
        self.memory.given_out(output)
        if response["store"]:
            self.memory.keep(Kept(response, request.input, [*request.history, *output]))
        if request.conversation:
            request.conversation.items.extend([*request.input, *output])
            self.memory.keep_items([*request.input, *output])
        return response

    def _conversation(self, named: Any) -> Conversation | None:
        if named is None:
            return None
        return self.memory.conversation_to_use(named if isinstance(named, str) else named["id"])

    def _begun(self, request: Request) -> JSON:
        asked = {name: value for name, value in request.body.items() if name in ECHOED and value is not None}
        conversation = {"id": request.conversation.id} if request.conversation else None
        return {
            "id": self.memory.new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": request.body["model"],
            "output": [],
            "previous_response_id": request.body.get("previous_response_id"),
            "conversation": conversation,
            "service_tier": "default",
            "usage": None,
            **ECHOED,
            **asked,
        }

    def _output(self, turn: Turn, body: Mapping[str, Any]) -> list[JSON]:
        output: list[JSON] = []
        for said in turn.items:
            made = said.made()
            word = made["type"]
            item: JSON = {"id": self.memory.new_id(ITEMS[word].prefix), **made}
            if "call_id" in made and made["call_id"] is None:
                item["call_id"] = self.memory.new_call_id()
            if word in STATUS:
                item["status"] = "completed"
            if word == "reasoning" and "reasoning.encrypted_content" in (body.get("include") or ()):
                item["encrypted_content"] = self.memory.seal(item["id"])
            output.append(item)
        if turn.incomplete and output and "status" in output[-1]:
            output[-1]["status"] = "incomplete"
        return output

    def open_conversation(self, body: Mapping[str, Any]) -> Conversation:
        """A new conversation, with the items it begins with."""
        conversation = Conversation(self.memory.new_id("conv"), body.get("metadata") or {})
        self.memory.conversations[conversation.id] = conversation
        self.add_items(conversation, body.get("items") or [])
        return conversation

    def add_items(self, conversation: Conversation, items: Sequence[Item]) -> list[Item]:
        """Add items that no model made; the items as they are kept."""
        stored = [as_stored(item, self.memory.new_id) for item in items]
        conversation.items.extend(stored)
        self.memory.keep_items(stored)
        return stored


def _usage(request: Request, output: Sequence[Item]) -> JSON:
    """Tokens in proportion to what was read and said: four characters are one. What was kept is in the cache."""
    read, said = _tokens(request.history), _tokens(output)
    cached = read - _tokens(request.input)
    thought = _tokens([item for item in output if item["type"] == "reasoning"])
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + said,
    }


def _tokens(items: Sequence[Item]) -> int:
    return len(json.dumps(items)) // 4 if items else 0
