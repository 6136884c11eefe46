"""A call that waits for a person, as the proxy's record said when it was last read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdshort.runner.data import CallData

__all__ = ["AgentName", "Interruption", "interruption_of"]


class AgentName(str):
    """The name of an agent. `.name` is the same: programs for the OpenAI Agents SDK have the agent itself here."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The name."""
        return str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """What `RunResult.interruptions` lists. `id` is the id of the record at the proxy."""

    id: str
    call_id: str
    """As the model named the call."""
    kind: str
    server: str
    tool_name: str
    """The tool's name at its server."""
    name: str
    """The tool as the model called it."""
    arguments: str
    """What will run, as JSON text: an approver may have edited what the model wrote."""
    agent_path: Sequence[str]
    """From the run's agent to the one whose model made the call."""
    reason: str
    """Why it waits: the rules that asked, or what changed."""
    allowed_decisions: Sequence[str]
    status: str
    created_at: datetime | None
    expires_at: datetime | None
    fingerprint: str
    definition_hash: str
    review_url: str | None
    raw_item: Mapping[str, Any]
    """The model's own item."""

    @property
    def approval_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def parsed_arguments(self) -> Any:
        """The arguments as JSON."""
        return json.loads(self.arguments)

    @property
    def agent(self) -> AgentName:
        """The name of the agent whose model made the call."""
        return AgentName(self.agent_path[-1])


def interruption_of(call: CallData, path: Sequence[str]) -> Interruption:
    """Return what waits, of a call that is parked.

    Raises:
        ValueError: it is not parked.
    """
    record = call.interruption
    if record is None:
        raise ValueError(f"the call `{call.call_id}` is not parked")
    because = ", ".join(f"{each.get('layer')} rule `{each.get('rule')}`" for each in record.get("because", ()))
    arguments = record.get("arguments")
    return Interruption(
        id=str(record["id"]),
        call_id=call.call_id,
        kind=str(record.get("kind", call.kind.value)),
        server=call.server,
        tool_name=call.tool,
        name=call.name,
        arguments=call.arguments if arguments is None else json.dumps(arguments, ensure_ascii=False),
        agent_path=tuple(path),
        reason=str(record.get("reason") or because),
        allowed_decisions=tuple(record.get("allowed_decisions", ())),
        status=str(record.get("state", "pending")),
        created_at=_time(record.get("created_at")),
        expires_at=_time(record.get("expires_at")),
        fingerprint=str(record.get("fingerprint", "")),
        definition_hash=str(record.get("definition_digest") or ""),
        review_url=record.get("review_url"),
        raw_item=call.item,
    )


def _time(said: object) -> datetime | None:
    return datetime.fromisoformat(said) if isinstance(said, str) else None
