"""A call that an agent runs itself as it asks about it. What it says of itself is its own word; nothing trusts it."""

import hashlib
from dataclasses import dataclass
from typing import Final

from holdshort.interruption.fingerprint import canonical
from holdshort.interruption.model import Json
from holdshort.policy.own import OwnKind, own_label

__all__ = ["LONGEST_LEASE_SECONDS", "OwnCall", "keyed_id", "own_id"]

LONGEST_LEASE_SECONDS: Final = 24 * 60 * 60
"""How long an agent may take at most to say what came of a call that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCall:
    """What an agent asks to run."""

    kind: OwnKind
    label: str
    tool: str
    arguments: dict[str, Json]
    definition: dict[str, Json]
    """The tool as the agent describes it; its name at least."""
    run_id: str | None = None
    call_id: str | None = None
    agent_path: tuple[str, ...] = ()
    client: str | None = None
    client_version: str | None = None
    needs_approval: bool = False
    """The agent's own program wants a person to decide, also where policy would allow the call."""

    @property
    def is_numbered(self) -> bool:
        """Whether its ids, and not its arguments, say which call it is."""
        return self.run_id is not None and self.call_id is not None

    @property
    def server(self) -> str:
        """What stands in the server's place in rules, fingerprints and records."""
        return own_label(self.kind, self.label)


def own_id(agent: str, run_id: str, call_id: str, attempt: int) -> str:
    """Return the id of the interruption for this call of this run.

    It follows from them, so that however often and wherever the agent asks, the call is parked once. `attempt` counts
    those before it that ended without having run.
    """
    return _named("own call", agent, run_id, call_id, attempt)


def keyed_id(agent: str, run_id: str, call_id: str, attempt: int) -> str:
    """Return the same for a call that goes to a server: with another word in front, so the two are never one."""
    return _named("mcp call", agent, run_id, call_id, attempt)


def _named(kind: str, agent: str, run_id: str, call_id: str, attempt: int) -> str:
    named = canonical([kind, agent, run_id, call_id, attempt])
    return f"i-{hashlib.sha256(named).hexdigest()[:40]}"
