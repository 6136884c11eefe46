"""How long a parked call may be held open before the client would give up on it, by who the client says it is.

A wrong name costs only comfort: too short, and the agent gets a pending answer early; too long, and its client gives
up, repeats the call and joins the same interruption.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

__all__ = ["HEARTBEAT_SECONDS", "PATIENT_SECONDS", "UNKNOWN_CLIENT_SECONDS", "HoldBudgets"]

UNKNOWN_CLIENT_SECONDS: Final = 4.0
"""A stock OpenAI Agents SDK stops waiting at 5 seconds, and does not say who it is."""

PATIENT_SECONDS: Final = 45.0
"""For clients known to wait 60 seconds or more for a tool."""

HEARTBEAT_SECONDS: Final = 10.0
"""Between progress notifications while a call is held, for a client that asked for progress."""

_PATIENT_CLIENTS: Final = (
    "claude-ai",
    "claude-code",
    "claude desktop*",
    "codex*",
    "cursor*",
    "inspector*",
    "mcp-inspector*",
    "visual studio code*",
    "vscode*",
    "windsurf*",
    "zed",
)


@dataclass(frozen=True, slots=True)
class HoldBudgets:
    """The configured budgets over the built-in ones."""

    default: float | None = None
    """Seconds for every client not named in `clients`; None for the built-in choice."""
    clients: Mapping[str, float] = field(default_factory=dict)
    """Seconds by glob over the client's name, without case; first match wins."""

    def seconds(self, client: str | None) -> float:
        """Return how long to hold a call of this client (its `clientInfo.name`)."""
        name = (client or "").lower()
        for pattern, budget in self.clients.items():
            if fnmatchcase(name, pattern.lower()):
                return budget
        if self.default is not None:
            return self.default
        patient = any(fnmatchcase(name, pattern) for pattern in _PATIENT_CLIENTS)
        return PATIENT_SECONDS if patient else UNKNOWN_CLIENT_SECONDS
