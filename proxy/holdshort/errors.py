"""Every error of ours, one tree: a caller who catches `HoldshortError` has caught them all.

Each package adds its own branch below one of these. The class builds the message from facts; messages are facts too:
lower case, no full stop, the user's words in backticks, then what to do.
"""

__all__ = ["ConfigError", "HoldshortError", "StateError", "WireError"]


class HoldshortError(Exception):
    """The root. `code` is the stable word for machines, on the wire and in `--json` output."""

    code = "error"


class ConfigError(HoldshortError):
    """Raised when a file or an option the user wrote cannot be used; it names the place."""

    code = "config"


class StateError(HoldshortError):
    """Raised when the store or the state folder cannot be trusted or written: calls that need it are refused."""

    code = "state"


class WireError(HoldshortError):
    """Raised when bytes from a peer are not the one strict JSON message they should be."""

    code = "malformed"
