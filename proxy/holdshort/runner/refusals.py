"""What the approval endpoint refuses, as errors of ours: `{"error": {"code", "message", "interruption"?}}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdshort.runner.connection import clip
from holdshort.runner.errors import (
    ApprovalExpired,
    DecisionConflict,
    DecisionError,
    DefinitionChanged,
    OutcomeUnknown,
    ProxyError,
)

__all__ = ["Refusal", "decision_error", "proxy_error", "refusal_in"]

_CONFLICTS: Final = ("already_decided", "fingerprint_mismatch", "illegal_transition")
_ABOUT_THE_DECISION: Final = ("decision_not_allowed", "invalid_edit", "invalid_remember", "not_eligible", "not_found")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error answer. `code` is empty where the answer was none of a proxy's."""

    status: int
    code: str
    message: str
    interruption: Mapping[str, Any] | None = None


def refusal_in(status: int, value: object) -> Refusal:
    """Return the refusal that an answer's body is; a body of another shape has no code."""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return Refusal(status, "", "the answer is not one of a holdshort proxy's; check the address")
    message, pointer, record = clip(error.get("message")), error.get("pointer"), error.get("interruption")
    if isinstance(pointer, str) and pointer:
        message = f"{clip(pointer)}: {message}"
    return Refusal(status, error["code"], message, record if isinstance(record, dict) else None)


def proxy_error(refusal: Refusal, *, whose: str, had_token: bool) -> ProxyError:
    """Return the error of a run. `whose` names the token that was shown, as it is named where it is given."""
    said = f"{refusal.message} (status {refusal.status})"
    if refusal.status == 401:
        said = f"the proxy does not know the `{whose}`" if had_token else f"the proxy wants a `{whose}`"
    elif refusal.code == "forbidden":
        said = f"the `{whose}` may not do this: {refusal.message}"
    return ProxyError(said, reason=refusal.code or "http", status=refusal.status, interruption=refusal.interruption)


def decision_error(refusal: Refusal) -> DecisionError | None:
    """Return the error of a decision; None for a refusal that says nothing about the call."""
    state = None if refusal.interruption is None else refusal.interruption.get("state")
    kind: type[DecisionError] | None = None
    if refusal.status == 409 and state == "unknown":
        kind = OutcomeUnknown
    elif refusal.code == "expired":
        kind = ApprovalExpired
    elif refusal.code == "superseded":
        kind = DefinitionChanged
    elif refusal.code in _CONFLICTS:
        kind = DecisionConflict
    elif refusal.code in _ABOUT_THE_DECISION:
        kind = DecisionError
    return None if kind is None else kind(refusal.message, reason=refusal.code, interruption=refusal.interruption)
