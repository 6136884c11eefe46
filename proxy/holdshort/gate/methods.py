"""What MCP defines, by era and direction. A method that is in no table is refused, so nothing reaches a server by
a name the gate does not know.
"""

from enum import StrEnum
from typing import Final

__all__ = [
    "CLIENT_NOTIFICATIONS",
    "CLIENT_REQUESTS",
    "HANDSHAKE_VERSIONS",
    "LIST_METHODS",
    "MODERN_VERSIONS",
    "SERVER_NOTIFICATIONS",
    "SERVER_REQUESTS",
    "TASKS_EXTENSION",
    "Era",
]

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with `initialize` and keep a session."""

MODERN_VERSIONS: Final = ("2026-07-28",)
"""Revisions where every request carries its own envelope."""

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"


class Era(StrEnum):
    """The two ways MCP has been spoken; one link speaks one."""

    LEGACY = "legacy"
    MODERN = "modern"


_BOTH: Final = frozenset(
    {
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "tasks/get",
        "tasks/cancel",
    }
)

CLIENT_REQUESTS: Final = {
    Era.LEGACY: _BOTH
    | {
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
    },
    Era.MODERN: _BOTH | {"server/discover", "subscriptions/listen", "tasks/update"},
}
"""Requests a client may send (MCP schemas 2024-11-05 to 2026-07-28, ClientRequest, and the tasks extension)."""

CLIENT_NOTIFICATIONS: Final = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
        "notifications/tasks/status",
    }
)

SERVER_REQUESTS: Final = frozenset(
    {"ping", "sampling/createMessage", "elicitation/create", "roots/list"}
    # 2025-11-25 lets a server ask after tasks it started at the client.
    | {"tasks/get", "tasks/result", "tasks/list", "tasks/cancel"}
)
"""Requests a server may send on a legacy link; a modern link has none (MCP 2026-07-28, changelog)."""

SERVER_NOTIFICATIONS: Final = frozenset(
    {
        "notifications/cancelled",
        "notifications/progress",
        "notifications/message",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/elicitation/complete",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "notifications/tasks/status",
    }
)

LIST_METHODS: Final = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
"""Paged lists, and the key their items stand under."""
