"""What a realtime session tells, and the box in which it waits to be read.

Names and `type`s are those of the OpenAI Agents SDK, whose sessions tell more: audio, transcripts and the model's own
events stay between your program and its model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anyio

from holdshort.runner.data import Item
from holdshort.runner.errors import UserError
from holdshort.runner.interruption import Interruption

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent

__all__ = [
    "Mailbox",
    "RealtimeError",
    "RealtimeGuardrailTripped",
    "RealtimeHandoffEvent",
    "RealtimeSessionEnded",
    "RealtimeSessionEvent",
    "RealtimeToolApprovalRequired",
    "RealtimeToolEnd",
    "RealtimeToolStart",
    "text_for_model",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeToolStart:
    """A tool is about to run: nobody has to be waited for (any more). Told at most once for each call.

    Of a call that the proxy lets through unasked, only its result says that it ran: start and end come together then.
    """

    agent: Agent[Any]
    tool: Any
    call_id: str
    arguments: str
    """The JSON text that runs: an approver may have changed what the model wrote."""
    type: Literal["tool_start"] = "tool_start"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeToolApprovalRequired:
    """A call waits for a person. Other calls do not wait for it; it goes on by itself once somebody has decided.

    Told once for each interruption in each session, and again when what waits is not the same any more.
    """

    interruption: Interruption
    agent: Agent[Any]
    """Whose model made the call: an agent inside a tool, perhaps."""
    tool: Any
    """None of a call that an agent inside a tool made."""
    call_id: str
    """What `approve_tool_call` and its siblings take."""
    arguments: str
    type: Literal["tool_approval_required"] = "tool_approval_required"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeToolEnd:
    """A call has its output, exactly one, whatever became of it: run, rejected, expired, answered, refused, unknown.

    Reading the next event says that this one is dealt with. A session that goes on from a state in which it was not
    tells it again, under a new connection to the model: then `call_item` goes there first.
    """

    agent: Agent[Any]
    tool: Any
    """None where there is no such tool."""
    call_id: str
    arguments: str
    """The model's text."""
    output: str | Sequence[Item]
    """A text or, of tools that return images or files, parts."""
    item: Item
    """For the model, as the `item` of `conversation.item.create`; after that `response.create` has it go on."""
    call_item: Item
    """The call that it answers, as such an item."""
    interruption: Interruption | None
    """How it was decided, of a call that was; `status` says how it ended."""
    type: Literal["tool_end"] = "tool_end"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeHandoffEvent:
    """Another agent has the session: give the model its instructions and `await session.tools()`."""

    from_agent: Agent[Any]
    to_agent: Agent[Any]
    type: Literal["handoff"] = "handoff"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeGuardrailTripped:
    """A guardrail of a tool stopped a call. Its `tool_end` follows; the session goes on."""

    call_id: str
    message: str
    guardrail_results: Sequence[Any]
    type: Literal["guardrail_tripped"] = "guardrail_tripped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeError:
    """Something is wrong with a call, or with the event stream of a proxy (`call_id` None).

    With the proxy away, the call goes on once it is back; told once until then. What cannot be mended ends the call,
    and its `tool_end` follows.
    """

    error: Exception
    call_id: str | None
    type: Literal["error"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSessionEnded:
    """Nothing comes after this. `interruptions` wait on at the proxy, for a session that goes on from the state."""

    status: Literal["closed", "failed"]
    interruptions: Sequence[Interruption]
    type: Literal["session_ended"] = "session_ended"


RealtimeSessionEvent = (
    RealtimeToolStart
    | RealtimeToolApprovalRequired
    | RealtimeToolEnd
    | RealtimeHandoffEvent
    | RealtimeGuardrailTripped
    | RealtimeError
    | RealtimeSessionEnded
)


class Mailbox:
    """Events in order, for one reader at a time. Putting never waits: a call must not stop because nobody reads."""

    def __init__(self) -> None:
        self._events: deque[RealtimeSessionEvent] = deque()
        self._more = anyio.Event()
        self._closed = False
        self._reading = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: RealtimeSessionEvent) -> None:
        """Add an event."""
        self._events.append(event)
        self._more.set()

    def close(self, last: RealtimeSessionEvent) -> None:
        """Add the last event."""
        if not self._closed:
            self._closed = True
            self.put(last)

    async def take(self) -> RealtimeSessionEvent | None:
        """Return the next event, when there is one; None after the last.

        Raises:
            UserError: somebody else is waiting for it already.
        """
        if self._reading:
            raise UserError("the events of this session are being read by another task; one reads, and passes them on")
        self._reading = True
        try:
            # Ends with the session, which whoever closes it ends.
            while not self._events and not self._closed:
                self._more = anyio.Event()
                await self._more.wait()
        finally:
            self._reading = False
        return self._events.popleft() if self._events else None


def text_for_model(output: str | Sequence[Item]) -> str:
    """Return an output as a realtime model takes it, which is text alone."""
    if isinstance(output, str):
        return output
    return "\n".join(
        str(part["text"]) if part.get("type") == "input_text" else f"[left out: {part.get('type')}, no text]"
        for part in output
    )
