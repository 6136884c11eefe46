"""Who may decide, whose vote counts, and when there are enough: distinct approvers, never the one who asked."""

from holdshort.interruption.errors import NotEligible
from holdshort.interruption.events import DecisionEvent, Edit, Respond
from holdshort.interruption.model import Decision, Interruption, State
from holdshort.policy import same_json

__all__ = ["has_quorum", "is_eligible", "makers", "repeats", "require_eligible"]

_APPROVAL_STANDS = frozenset(
    {State.PENDING, State.APPROVED, State.EXECUTING, State.EXECUTED, State.FAILED, State.UNKNOWN}
)


def require_eligible(interruption: Interruption, by: str, groups: frozenset[str]) -> None:
    """Raises:
    NotEligible: `by` asked for the call, is the person the agent acts for, or is not among the approvers named.
    """
    reason = _bar(interruption, by, groups)
    if reason is not None:
        raise NotEligible(interruption, by, reason)


def is_eligible(interruption: Interruption, by: str, groups: frozenset[str]) -> bool:
    """Say whether `by`, a member of `groups`, may decide this interruption."""
    return _bar(interruption, by, groups) is None


def has_quorum(interruption: Interruption) -> bool:
    """Say whether enough distinct approvers stand behind exactly the arguments as they are now."""
    voters = {record.by for record in interruption.counted() if record.fingerprint == interruption.fingerprint}
    voters.discard(interruption.requested_by.agent)
    return len(voters) >= interruption.required_approvals


def makers(interruption: Interruption) -> tuple[str, ...]:
    """Return who makes the standing grant that the latest vote asks for; nobody, where it cannot be made.

    An approval covers one call, so who approved and asked for nothing more has not made a grant: as many approvers as
    are required must have asked for the same one. An edited call makes none: the agent did not ask for those arguments.
    """
    wish = interruption.decisions[-1].remember if interruption.decisions else None
    if wish is None or not interruption.terms.grants:
        return ()
    if interruption.fingerprint != interruption.requested_fingerprint:
        return ()
    same = [r.by for r in interruption.counted() if r.remember is not None and same_json(r.remember, wish)]
    names = tuple(dict.fromkeys(same))
    return names if len(names) >= interruption.required_approvals else ()


def repeats(interruption: Interruption, event: DecisionEvent) -> bool:
    """Say whether this very decision by this very approver is on record and still stands."""
    match event.decision:
        case Decision.REJECT:
            return interruption.state is State.REJECTED and interruption.decisions[-1].by == event.by
        case Decision.RESPOND:
            return (
                interruption.state is State.ANSWERED
                and interruption.decisions[-1].by == event.by
                and isinstance(event, Respond)
                and interruption.answer == event.content
            )
        case Decision.APPROVE | Decision.EDIT:
            decided_on = event.new_fingerprint if isinstance(event, Edit) else event.fingerprint
            return interruption.state in _APPROVAL_STANDS and any(
                record.by == event.by and record.decision is event.decision and record.fingerprint == decided_on
                for record in interruption.counted()
            )


def _bar(interruption: Interruption, by: str, groups: frozenset[str]) -> str | None:
    if by == interruption.requested_by.agent:
        return "it asked for the call"
    if by == interruption.requested_by.acts_for:
        return "the agent acts for this person, and duties are separated"
    for alternatives in interruption.terms.approvers:
        if by not in alternatives and not (groups & alternatives):
            names = ", ".join(f"`{name}`" for name in sorted(alternatives))
            return f"a rule asks for one of {names}"
    return None
