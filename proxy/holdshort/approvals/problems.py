"""What can go wrong over HTTP, and how it is said: one shape, `{"error": {"code", "message", "interruption"?}}`.

An error of the machine or the store keeps its own `code`; this module only knows which status belongs to it. What it
does not know is a fault of ours, and a fault never lets a call through: it is answered 503 and nothing was decided.
"""

from collections.abc import Mapping
from typing import Any, Final

from holdshort.errors import HoldshortError, StateError
from holdshort.wire import MalformedMessage, MessageTooLarge

__all__ = ["STATUS_OF", "Refused", "error_code", "problem_body", "refusal_of"]

STATUS_OF: Final[Mapping[str, int]] = {
    "malformed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_eligible": 403,
    "decision_not_allowed": 403,
    "denied": 403,
    "csrf": 403,
    "bad_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "already_decided": 409,
    "call_id_reused": 409,
    "expired": 409,
    "fingerprint_mismatch": 409,
    "illegal_transition": 409,
    "pin_moved": 409,
    "stale_token": 409,
    "superseded": 409,
    "wrong_kind": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "bad_host": 421,
    "invalid_edit": 422,
    "invalid_remember": 422,
    "quota_exceeded": 429,
    "rate_limited": 429,
    "unavailable": 503,
}
"""Every error code that leaves this API, with its status."""


class Refused(HoldshortError):
    """Raised when a request is answered with an error. `record` is the interruption as it stands, if there is one."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        record: Mapping[str, Any] | None = None,
        pointer: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS_OF[code]
        self.record = record
        self.pointer = pointer
        """JSON pointer to the part of the arguments that is wrong."""
        self.headers = dict(headers or {})


def refusal_of(error: Exception) -> Refused:
    """Return how `error` is told to the caller."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, MessageTooLarge):
        return Refused("too_large", str(error))
    if isinstance(error, MalformedMessage):
        return Refused("malformed", str(error))
    if error_code(error) == "not_found":
        # Also for a record that is somebody else's: foreign and unknown ids answer alike.
        return Refused("not_found", "there is no such interruption")
    if isinstance(error, StateError) or not isinstance(error, HoldshortError):
        return Refused("unavailable", "the store did not answer; nothing was decided; try again")
    record = getattr(error, "interruption", None)
    code = error.code if error.code in STATUS_OF else "unavailable"
    return Refused(code, str(error), record=None if record is None else record.public())


def error_code(error: Exception) -> str | None:
    """Return the stable word of an error of ours, None for any other."""
    return error.code if isinstance(error, HoldshortError) else None


def problem_body(refused: Refused) -> dict[str, Any]:
    """Return the JSON body of an error answer."""
    error: dict[str, Any] = {"code": refused.code, "message": str(refused)}
    if refused.record is not None:
        error["interruption"] = refused.record
    if refused.pointer is not None:
        error["pointer"] = refused.pointer
    return {"error": error}
