"""Everything a run is, as plain data: what is saved, and what is gone on from. Nothing in here permits anything.

One `RunData` is one run of one agent (and of those it hands off to). A run that a tool starts (an agent as a tool) is a
`RunData` of its own inside the `CallData` of that call. `snapshot.py` writes and reads it as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["CallData", "CallKind", "CallStatus", "Entry", "Item", "RunData", "RunStatus", "Source", "UsageData"]

Item = dict[str, Any]
"""An item of the Responses API as it goes over the wire."""


class CallKind(StrEnum):
    """What answers a call; all but `MCP` are the words of `POST /v1/calls`."""

    MCP = "mcp"
    FUNCTION = "function"
    AGENT = "agent"
    HANDOFF = "handoff"
    HOSTED_MCP = "hosted_mcp"
    SHELL = "shell"
    APPLY_PATCH = "apply_patch"


class CallStatus(StrEnum):
    """How far a call of the open turn is. Only `DONE` has an output."""

    NEW = "new"
    """Nobody was asked and nothing was sent."""
    SENT = "sent"
    """It may have been sent, or begun; what came of it is not known here."""
    PARKED = "parked"
    """`interruption` is what it waits for."""
    CLAIMED = "claimed"
    """A call of our own was approved and taken with `token`: it may have begun."""
    DONE = "done"


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"


class Source(StrEnum):
    """Who an item of the history is from."""

    INPUT = "input"
    SESSION = "session"
    MODEL = "model"
    TOOL = "tool"


@dataclass(slots=True)
class Entry:
    """One item of the history."""

    item: Item
    source: Source
    agent: str
    response_id: str | None = None
    """Of the response that it came in."""


@dataclass(slots=True)
class UsageData:
    """Tokens and requests of a run and the runs inside it, over all pauses."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0

    def add(self, more: UsageData) -> None:
        """Count `more` in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(more, name))


@dataclass(slots=True, kw_only=True)
class CallData:
    """One call of the turn that is open."""

    call_id: str
    """As the model named it; for hosted MCP, the id of the approval request."""
    key: str
    """The call id that the proxy knows it by: with the ids of the calls around it, at most 200 characters."""
    kind: CallKind
    name: str
    """As the model called it."""
    server: str
    """The server's label for MCP, the hosted server's label, else `local`."""
    tool: str
    """The name at that server."""
    arguments: str
    """The model's text, to the letter."""
    agent: str
    item: Item
    """The item of the model's that is this call."""
    status: CallStatus = CallStatus.NEW
    interruption: dict[str, Any] | None = None
    """The proxy's record as last seen."""
    token: int | None = None
    """Of the claim of a call of our own."""
    output: Item | None = None
    """The item that answers the call."""
    run: RunData | None = None
    """The run inside, where the tool is an agent."""
    accepted: bool = False
    """Of a handoff: this is the one that counts."""

    @property
    def is_open(self) -> bool:
        """Whether it has no output yet."""
        return self.output is None


@dataclass(slots=True, kw_only=True)
class RunData:
    """One run."""

    run_id: str
    agent: str
    """Whose turn it is."""
    first_agent: str
    revision: int = 0
    """Counts what was saved; it only grows."""
    lineage: list[str] = field(default_factory=list[str])
    """Every `Runner.run` that worked on it, as `REVISION:RANDOM`: the revision that it went on from, and a name of
    its own. Two that go on from one state can be told apart by it, even where they do the same."""
    status: RunStatus = RunStatus.RUNNING
    started: bool = False
    """Whether the input guardrails have passed and the session was read."""
    max_turns: int | None = 10
    turn: int = 0
    """How often the model has answered."""
    history: list[Entry] = field(default_factory=list[Entry])
    """Everything said so far, in the order in which it goes to the model; outputs of the open turn are not in yet."""
    known: int = 0
    """So many of `history` are known to the service, where it keeps the conversation."""
    saved: int = 0
    """So many of `history` are in the session."""
    written: int = 0
    """So many items this run has written to its session: a handoff may shorten `history`, never what was written."""
    calls: list[CallData] = field(default_factory=list[CallData])
    """The calls of the open turn, in the model's order."""
    queued: list[Item] = field(default_factory=list[Item])
    """Input that came while calls wait; it goes in after their outputs."""
    previous_response_id: str | None = None
    last_response_id: str | None = None
    chained: bool = False
    """Each request names the response before (`auto_previous_response_id`, or `previous_response_id` was given)."""
    whole: bool = True
    """Whether `history` is all there is: false where a response of before the run is built on."""
    conversation_id: str | None = None
    session_id: str | None = None
    tools_used: list[str] = field(default_factory=list[str])
    """Agents that have used a tool, for which `tool_choice` is reset."""
    rejections: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Calls that are always rejected in this run: `server`, `tool`, `arguments` (None for any), `message`."""
    awaited: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Hosted calls that were approved and of which the provider has not said what came: `id` of the record, `token`,
    `call_id`, `server`, `tool`, and `told`: whether the provider has the approval (`no`, `perhaps`, `yes`)."""
    usage: UsageData = field(default_factory=UsageData)
    final_output: Any = None
    """As JSON; for an output type, what its schema describes."""
    trace: dict[str, str] = field(default_factory=dict[str, str])
    """W3C trace context of the run: `traceparent`."""
    input_guardrails: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    output_guardrails: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def keeps_own_history(self) -> bool:
        """Whether every request carries everything, because nobody keeps it for us."""
        return not self.chained and self.conversation_id is None

    def open_calls(self) -> Iterator[tuple[CallData, tuple[str, ...]]]:
        """Yield each call that waits for a person, with the path of agents to it; those of inner runs included.

        The path names the agents from the outermost to the one whose model made the call.
        """
        for call in self.calls:
            if not call.is_open:
                continue
            if call.run is not None:
                for inner, path in call.run.open_calls():
                    yield inner, (call.agent, *path)
            if call.status is CallStatus.PARKED:
                yield call, (call.agent,)
