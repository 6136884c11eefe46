"""What a streamed run tells, in the order in which it happens. The last is always `RunEnded`, whatever went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from holdshort.runner.interruption import Interruption

if TYPE_CHECKING:
    from holdshort.runner.items import RunItem

__all__ = [
    "AgentUpdatedStreamEvent",
    "RawResponsesStreamEvent",
    "RunEnded",
    "RunItemStreamEvent",
    "StreamEvent",
    "ToolApprovalRequired",
]


@dataclass(frozen=True, slots=True)
class RawResponsesStreamEvent:
    """One event of the model's own stream; `data` is the `openai` package's object (look at `data.type`)."""

    data: Any
    type: Literal["raw_response_event"] = "raw_response_event"


@dataclass(frozen=True, slots=True)
class RunItemStreamEvent:
    """Something came to be in the run, told once each."""

    name: Literal[
        "message_output_created",
        "reasoning_item_created",
        "tool_called",
        "tool_output",
        "handoff_requested",
        "handoff_occurred",
        "mcp_list_tools",
        "mcp_approval_requested",
        "mcp_approval_response",
        "other_item",
    ]
    item: RunItem
    type: Literal["run_item_stream_event"] = "run_item_stream_event"


@dataclass(frozen=True, slots=True)
class AgentUpdatedStreamEvent:
    """Another agent has the turn: at the beginning, and after a handoff. `new_agent` is an `Agent`."""

    new_agent: Any
    type: Literal["agent_updated_stream_event"] = "agent_updated_stream_event"


@dataclass(frozen=True, slots=True)
class ToolApprovalRequired:
    """The run is about to pause: this call waits for a person. Told at every pause, once for each call."""

    interruption: Interruption
    type: Literal["tool_approval_required"] = "tool_approval_required"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Nothing comes after this."""

    status: Literal["done", "waiting", "cancelled", "failed"]
    type: Literal["run_ended"] = "run_ended"


StreamEvent = RawResponsesStreamEvent | RunItemStreamEvent | AgentUpdatedStreamEvent | ToolApprovalRequired | RunEnded
