"""Why an event could not happen. Each error carries the interruption as it stands, and the code the API answers with.

- InterruptionError
  - IllegalTransition `illegal_transition`
  - AlreadyDecided `already_decided`, Expired `expired`, NotYetDue `not_due`
  - FingerprintMismatch `fingerprint_mismatch`, DefinitionChanged `definition_changed`, PolicyChanged `policy_changed`
  - NotEligible `not_eligible`, NotTheRequester `not_found`, DecisionNotAllowed `decision_not_allowed`
  - InvalidEdit `invalid_edit`, StaleToken `stale_token`, WrongKind `wrong_kind`
"""

from holdshort.errors import HoldshortError
from holdshort.interruption.model import Interruption, timestamp

__all__ = [
    "AlreadyDecided",
    "DecisionNotAllowed",
    "DefinitionChanged",
    "Expired",
    "FingerprintMismatch",
    "IllegalTransition",
    "InterruptionError",
    "InvalidEdit",
    "NotEligible",
    "NotTheRequester",
    "NotYetDue",
    "PolicyChanged",
    "StaleToken",
    "WrongKind",
]


class InterruptionError(HoldshortError):
    """Raised when an event may not happen; `interruption` is the record as it stands. `status` is the HTTP hint."""

    code = "interruption"
    status = 409

    def __init__(self, interruption: Interruption, message: str) -> None:
        super().__init__(message)
        self.interruption = interruption


class IllegalTransition(InterruptionError):
    """Raised when the table has no such arrow from this state."""

    code = "illegal_transition"

    def __init__(self, interruption: Interruption, step: str) -> None:
        super().__init__(
            interruption, f"interruption `{interruption.id}` is {interruption.state}; `{step}` cannot follow"
        )
        self.step = step


class AlreadyDecided(InterruptionError):
    """Raised when another decision, or another end, came first."""

    code = "already_decided"

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption, f"interruption `{interruption.id}` is already {interruption.state}")


class Expired(InterruptionError):
    """Raised when time was up at this event; `interruption` is the record as expired, which the store keeps."""

    code = "expired"

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(
            interruption, f"interruption `{interruption.id}` expired before this; ask again with a new call"
        )


class NotYetDue(InterruptionError):
    """Raised when something is to expire that has time left."""

    code = "not_due"

    def __init__(self, interruption: Interruption) -> None:
        due = interruption.due_at
        until = "never ends by itself" if due is None else f"has until {timestamp(due)}"
        super().__init__(interruption, f"interruption `{interruption.id}` {until}")


class FingerprintMismatch(InterruptionError):
    """Raised when what was presented is not what is pending now."""

    code = "fingerprint_mismatch"

    def __init__(self, interruption: Interruption, presented: str) -> None:
        super().__init__(
            interruption,
            f"interruption `{interruption.id}` is about `{interruption.fingerprint[:16]}`, not `{presented[:16]}`; "
            "look at it again before deciding",
        )
        self.presented = presented


class DefinitionChanged(InterruptionError):
    """Raised when the tool is not what it was when the call was approved."""

    code = "definition_changed"

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(
            interruption,
            f"tool `{interruption.tool}` of `{interruption.server}` is not what it was when the call was parked",
        )


class PolicyChanged(InterruptionError):
    """Raised when the policy is not the one the call was parked under."""

    code = "policy_changed"

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption, f"policy changed since interruption `{interruption.id}` was parked")


class NotEligible(InterruptionError):
    """Raised when this principal may not decide this interruption."""

    code = "not_eligible"
    status = 403

    def __init__(self, interruption: Interruption, by: str, reason: str) -> None:
        super().__init__(interruption, f"`{by}` may not decide interruption `{interruption.id}`: {reason}")
        self.by = by


class NotTheRequester(InterruptionError):
    """Raised when another principal reaches for it; it answers as if it were absent."""

    code = "not_found"
    status = 404

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption, f"there is no interruption `{interruption.id}`")


class DecisionNotAllowed(InterruptionError):
    """Raised when the rules of this interruption exclude this kind of decision."""

    code = "decision_not_allowed"
    status = 403

    def __init__(self, interruption: Interruption, decision: str) -> None:
        allowed = ", ".join(f"`{word}`" for word in interruption.allowed_decisions())
        super().__init__(interruption, f"`{decision}` is not allowed here; allowed are {allowed}")


class InvalidEdit(InterruptionError):
    """Raised when the fingerprint given for edited arguments is not theirs."""

    code = "invalid_edit"
    status = 422

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(interruption, "the fingerprint given for the edited arguments is not theirs")


class WrongKind(InterruptionError):
    """Raised when the proxy would run what the agent runs itself, or the agent what the proxy runs."""

    code = "wrong_kind"

    def __init__(self, interruption: Interruption) -> None:
        who = "the agent runs it itself" if interruption.is_own else "the proxy runs it, when the call is made again"
        super().__init__(interruption, f"interruption `{interruption.id}` cannot be claimed this way: {who}")


class StaleToken(InterruptionError):
    """Raised when a report comes from one who does not hold the claim."""

    code = "stale_token"

    def __init__(self, interruption: Interruption, token: int) -> None:
        super().__init__(interruption, f"token {token} does not hold interruption `{interruption.id}`")
