"""Settings with a place in the design that nothing reads yet: refused by name, because a limit that looks set and is
not would be worse than an error. A test keeps these lists equal to what the code really does not read."""

from typing import Final

__all__ = ["LATER_LIMITS", "LATER_SETTINGS"]

LATER_LIMITS: Final = frozenset(
    {
        *("compression_ratio", "tool_name_chars", "header_timeout", "body_timeout", "request_grace"),
        *("dispatch_deadline", "result_retention"),
        *("decisions_per_minute", "decisions_burst", "keepalive", "token_recheck"),
        *("tools_per_server", "description_bytes", "list_bytes"),
        *("login_link", "session_idle", "session_absolute"),
    }
)
"""Fields of `LimitsConfig` that a file cannot set yet."""

LATER_SETTINGS: Final = frozenset[str]()
"""Switches that a file can only leave off."""
