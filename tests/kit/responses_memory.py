"""What the service keeps: responses that may be continued, conversations, and where each item came from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kit.responses_refusals import Refused, not_found, previous_response_not_found

__all__ = ["Conversation", "Kept", "Memory", "as_stored"]

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A response that was stored."""

    body: Mapping[str, Any]
    input: Sequence[Item]
    """The items of its own request, as they were stored."""
    history: Sequence[Item]
    """All that a continuation begins with: what it continued, its input, its output."""


@dataclass(slots=True)
class Conversation:
    """Items under one id, which grow with each response."""

    id: str
    metadata: Mapping[str, Any]
    items: list[Item] = field(default_factory=list[Item])
    created_at: int = field(default_factory=lambda: int(time.time()))
    busy: bool = False

    def body(self) -> dict[str, Any]:
        """The conversation as the service shows it."""
        facts = {"id": self.id, "object": "conversation", "created_at": self.created_at}
        return {**facts, "metadata": dict(self.metadata)}


class Memory:
    """Everything this server remembers. Ids count up from one, so that two equal runs are equal to the letter."""

    def __init__(self) -> None:
        self.responses: dict[str, Kept] = {}
        self.conversations: dict[str, Conversation] = {}
        self.sealed: set[str] = set()
        """Every encrypted reasoning text that was given out."""
        self.followed_by: dict[str, str] = {}
        """The id of each reasoning item that was given out, and of the item after it."""
        self.led_by: dict[str, str] = {}
        """The id of each item that came after reasoning in its response, and of that reasoning."""
        self._items: dict[str, Item] = {}
        self._count = 0

    def new_id(self, prefix: str) -> str:
        """An id that was not given out before."""
        self._count += 1
        return f"{prefix}_{self._count:048x}"

    def new_call_id(self) -> str:
        self._count += 1
        return f"call_{self._count:024x}"

    def seal(self, item_id: str) -> str:
        """An encrypted text for a reasoning item."""
        sealed = f"gAAAAA{item_id.encode().hex()}"
        self.sealed.add(sealed)
        return sealed

    def given_out(self, output: Sequence[Item]) -> None:
        """Remember which items of one response belong together."""
        led_by = ""
        for index, item in enumerate(output):
            if item["type"] == "reasoning":
                led_by = str(item["id"])
                if index + 1 < len(output):
                    self.followed_by[led_by] = str(output[index + 1]["id"])
            elif led_by:
                self.led_by[str(item["id"])] = led_by

    def keep(self, kept: Kept) -> None:
        """Store a response and its items under their ids."""
        self.responses[str(kept.body["id"])] = kept
        self.keep_items([*kept.input, *kept.body["output"]])

    def keep_items(self, items: Sequence[Item]) -> None:
        self._items.update((str(item["id"]), item) for item in items)

    def kept_item(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    def previous(self, response_id: str) -> Kept:
        """The response that a request continues.

        Raises:
            Refused: it was not stored, or it is gone.
        """
        kept = self.responses.get(response_id)
        if kept is None:
            raise previous_response_not_found(response_id)
        return kept

    def response(self, response_id: str) -> Kept:
        """A response that is asked for by its id."""
        kept = self.responses.get(response_id)
        if kept is None:
            raise not_found("Response", response_id)
        return kept

    def forget(self, response_id: str | None = None) -> None:
        """Lose one stored response, or all of them, as if their time were over."""
        for name in [response_id] if response_id else list(self.responses):
            self.responses.pop(name, None)

    def conversation(self, conversation_id: str) -> Conversation:
        found = self.conversations.get(conversation_id)
        if found is None:
            raise not_found("Conversation", conversation_id)
        return found

    def conversation_to_use(self, conversation_id: str) -> Conversation:
        """The same for a request that will add to it.

        Raises:
            Refused: there is none, or another request is at it.
        """
        found = self.conversation(conversation_id)
        if found.busy:
            message = "Another process is currently operating on this conversation. Please retry in a few seconds."
            raise Refused(message, param="conversation", code="conversation_locked")
        return found

    def stored(self, items: Sequence[Item]) -> list[Item]:
        """Items of an input in the form in which the service keeps them, each with an id."""
        return [as_stored(item, self.new_id) for item in items]


def as_stored(item: Item, new_id: Any) -> Item:
    """One item with its id, its type and its content spelled out."""
    word = item.get("type", "message")
    prefix = {"message": "msg", "mcp_approval_response": "mcpa"}.get(word, "fc")
    whole: dict[str, Any] = {**item, "type": word, "id": item.get("id") or new_id(prefix)}
    if word == "message":
        whole.setdefault("status", "completed")
        if isinstance(item["content"], str):
            whole["content"] = [_part(item["role"], item["content"])]
    return whole


def _part(role: str, text: str) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}
