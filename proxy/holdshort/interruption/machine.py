"""The life of one parked call. Every rule about what may follow what is in TRANSITIONS; `advance` adds the guards.

An event amounts to one *step* once its guards are passed: an approval that does not reach the quorum is a `vote`, the
one that does is an `approve`. The table says where a step leads from a state; a step that is not there cannot happen.
`executing` leads nowhere near `approved`: at most once is a property of this table, not of the code around it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, assert_never

from holdshort.interruption.eligibility import has_quorum, makers, repeats, require_eligible
from holdshort.interruption.errors import (
    AlreadyDecided,
    DecisionNotAllowed,
    DefinitionChanged,
    Expired,
    FingerprintMismatch,
    IllegalTransition,
    InvalidEdit,
    NotEligible,
    NotTheRequester,
    NotYetDue,
    PolicyChanged,
    StaleToken,
    WrongKind,
)
from holdshort.interruption.events import (
    Approve,
    Claim,
    DecisionEvent,
    Deliver,
    Edit,
    Event,
    Expire,
    Finish,
    LateReply,
    Lose,
    NotRun,
    Purge,
    Reject,
    Resolve,
    Respond,
    Supersede,
    Withdraw,
)
from holdshort.interruption.fingerprint import fingerprint
from holdshort.interruption.model import (
    DecisionRecord,
    ExecutionClaim,
    Interruption,
    Outcome,
    OutcomeKind,
    State,
)

__all__ = ["FINAL", "TRANSITIONS", "Step", "advance", "is_due"]


class Step(StrEnum):
    """What an event amounts to once its guards are passed."""

    VOTE = "vote"
    EDIT = "edit"
    APPROVE = "approve"
    REJECT = "reject"
    RESPOND = "respond"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    SUPERSEDE = "supersede"
    CLAIM = "claim"
    FINISH = "finish"
    NOT_RUN = "not_run"
    LOSE = "lose"
    LATE_REPLY = "late_reply"
    RESOLVE_RAN = "resolve_ran"
    RESOLVE_NOT_RUN = "resolve_not_run"
    DELIVER = "deliver"
    PURGE = "purge"


def _ends_as(state: State) -> Mapping[Step, State]:
    return MappingProxyType({Step.DELIVER: state, Step.PURGE: state})


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = MappingProxyType(
    {
        State.PENDING: MappingProxyType(
            {
                Step.VOTE: State.PENDING,
                Step.EDIT: State.PENDING,
                Step.APPROVE: State.APPROVED,
                Step.REJECT: State.REJECTED,
                Step.RESPOND: State.ANSWERED,
                Step.EXPIRE: State.EXPIRED,
                Step.WITHDRAW: State.WITHDRAWN,
                Step.SUPERSEDE: State.SUPERSEDED,
            }
        ),
        State.APPROVED: MappingProxyType(
            {
                Step.CLAIM: State.EXECUTING,
                Step.EXPIRE: State.EXPIRED,
                Step.WITHDRAW: State.WITHDRAWN,
                Step.SUPERSEDE: State.SUPERSEDED,
            }
        ),
        State.EXECUTING: MappingProxyType(
            {
                Step.FINISH: State.EXECUTED,
                Step.NOT_RUN: State.FAILED,
                Step.LOSE: State.UNKNOWN,
            }
        ),
        State.UNKNOWN: MappingProxyType(
            {
                Step.LATE_REPLY: State.EXECUTED,
                Step.RESOLVE_RAN: State.EXECUTED,
                Step.RESOLVE_NOT_RUN: State.FAILED,
                # The agent is told that nobody knows; the doubt stays open for an operator.
                Step.DELIVER: State.UNKNOWN,
            }
        ),
        State.REJECTED: _ends_as(State.REJECTED),
        State.ANSWERED: _ends_as(State.ANSWERED),
        State.EXPIRED: _ends_as(State.EXPIRED),
        State.WITHDRAWN: _ends_as(State.WITHDRAWN),
        State.SUPERSEDED: _ends_as(State.SUPERSEDED),
        State.EXECUTED: _ends_as(State.EXECUTED),
        State.FAILED: _ends_as(State.FAILED),
    }
)

FINAL: Final = frozenset(
    state for state, steps in TRANSITIONS.items() if all(target is state for target in steps.values())
)
"""States that nothing leaves."""


def is_due(interruption: Interruption, now: datetime) -> bool:
    """Say whether this state has ended by itself; at the very deadline it has."""
    due = interruption.due_at
    return due is not None and now >= due


def advance(interruption: Interruption, event: Event) -> Interruption:
    """Return the interruption as it stands after `event`; the same object when the event repeats what is recorded.

    Raises:
        Expired: time was up at `event.at`. The error's record is the expired one: keep it.
        InterruptionError: any other reason why this may not happen; nothing changed.
    """
    match event:
        case Approve() | Edit() | Reject() | Respond():
            return _decide(interruption, event)
        case Claim():
            return _claim(interruption, event)
        case Expire():
            _check(interruption, Step.EXPIRE)
            if not is_due(interruption, event.at):
                raise NotYetDue(interruption)
            return _expired(interruption)
        case Withdraw():
            _check(interruption, Step.WITHDRAW)
            if event.by != interruption.requested_by.agent:
                raise NotTheRequester(interruption)
            return _move(interruption, Step.WITHDRAW, reason=event.reason)
        case Supersede():
            return _move(interruption, Step.SUPERSEDE, reason=event.reason)
        case Finish():
            _check_token(interruption, Step.FINISH, event.token)
            return _move(interruption, Step.FINISH, outcome=event.outcome)
        case NotRun():
            _check_token(interruption, Step.NOT_RUN, event.token)
            return _move(interruption, Step.NOT_RUN, outcome=_outcome(OutcomeKind.NOT_RUN, event.at, event.reason))
        case Lose():
            _check_token(interruption, Step.LOSE, event.token)
            return _move(interruption, Step.LOSE, outcome=_outcome(OutcomeKind.LOST, event.at, event.reason))
        case LateReply():
            _check_token(interruption, Step.LATE_REPLY, event.token)
            return _move(interruption, Step.LATE_REPLY, outcome=event.outcome)
        case Resolve():
            return _resolve(interruption, event)
        case Deliver():
            if interruption.delivered_at is not None:
                return interruption
            return _move(interruption, Step.DELIVER, delivered_at=event.at)
        case Purge():
            return _purge(interruption, event)
    assert_never(event)


def _decide(interruption: Interruption, event: DecisionEvent) -> Interruption:
    # 1. Who may not decide learns nothing else.
    require_eligible(interruption, event.by, event.groups)
    # 2. Expiry wins ties: at the deadline nothing is decided any more.
    if interruption.state is State.PENDING and is_due(interruption, event.at):
        raise Expired(_expired(interruption))
    # 3. The same decision again by the same approver changes nothing.
    if repeats(interruption, event):
        return interruption
    # 4. The first decision wins.
    if interruption.state is State.EXPIRED:
        raise Expired(interruption)
    if interruption.state is not State.PENDING:
        raise AlreadyDecided(interruption)
    # 5. Only what the rules offer, and only about what is pending now.
    if event.decision.value not in interruption.terms.decisions:
        raise DecisionNotAllowed(interruption, event.decision.value)
    if event.fingerprint != interruption.fingerprint:
        raise FingerprintMismatch(interruption, event.fingerprint)
    match event:
        case Approve():
            return _count(interruption, event, Step.VOTE)
        case Edit():
            if fingerprint(interruption.server, interruption.tool, event.arguments) != event.new_fingerprint:
                raise InvalidEdit(interruption)
            edited = replace(interruption, arguments=event.arguments, fingerprint=event.new_fingerprint)
            return _count(edited, event, Step.EDIT)
        case Reject():
            return _move(interruption, Step.REJECT, decisions=_with_record(interruption, event))
        case Respond():
            return _move(interruption, Step.RESPOND, decisions=_with_record(interruption, event), answer=event.content)


def _count(interruption: Interruption, event: Approve | Edit, short_of_quorum: Step) -> Interruption:
    voted = replace(interruption, decisions=_with_record(interruption, event))
    if not has_quorum(voted):
        return _move(voted, short_of_quorum)
    # The window never outlives the interruption: an approval given at the last minute holds for that minute.
    deadline = min(voted.expires_at, event.at + voted.dispatch_window)
    grant = f"g-{voted.id.removeprefix('i-')}" if makers(voted) else None
    return _move(voted, Step.APPROVE, dispatch_deadline=deadline, grant=grant)


def _with_record(interruption: Interruption, event: DecisionEvent) -> tuple[DecisionRecord, ...]:
    record = DecisionRecord(
        decision=event.decision, by=event.by, at=event.at, fingerprint=event.fingerprint, message=event.message
    )
    if isinstance(event, Edit):
        record = replace(record, fingerprint=event.new_fingerprint, arguments=event.arguments)
    if isinstance(event, Approve):
        record = replace(record, remember=event.remember)
    return (*interruption.decisions, record)


def _claim(interruption: Interruption, event: Claim) -> Interruption:
    if event.agent != interruption.requested_by.agent:
        raise NotTheRequester(interruption)
    # What the agent runs itself is never sent by us, and what we send is never handed out to be run.
    if interruption.is_own is (event.until is None):
        raise WrongKind(interruption)
    _check(interruption, Step.CLAIM)
    if is_due(interruption, event.at):
        raise Expired(_expired(interruption))
    if event.fingerprint != interruption.fingerprint:
        raise FingerprintMismatch(interruption, event.fingerprint)
    if event.definition_digest != interruption.definition_digest:
        raise DefinitionChanged(interruption)
    if event.policy_digest != interruption.policy_digest:
        raise PolicyChanged(interruption)
    if not event.owner or event.token <= 0:
        raise StaleToken(interruption, event.token)
    claim = ExecutionClaim(owner=event.owner, token=event.token, at=event.at, until=event.until)
    return _move(interruption, Step.CLAIM, claim=claim)


def _resolve(interruption: Interruption, event: Resolve) -> Interruption:
    step = Step.RESOLVE_RAN if event.ran else Step.RESOLVE_NOT_RUN
    _check(interruption, step)
    if event.by == interruption.requested_by.agent:
        raise NotEligible(interruption, event.by, "it asked for the call")
    kind = OutcomeKind.RAN if event.ran else OutcomeKind.NOT_RUN
    return _move(interruption, step, outcome=_outcome(kind, event.at, event.note))


def _purge(interruption: Interruption, event: Purge) -> Interruption:
    if interruption.purged_at is not None:
        return interruption
    outcome = interruption.outcome
    return _move(
        interruption,
        Step.PURGE,
        purged_at=event.at,
        arguments={},
        requested_arguments={},
        answer=None,
        outcome=None if outcome is None else replace(outcome, result=None, error=None),
        decisions=tuple(
            replace(record, arguments=None, message=None, remember=None) for record in interruption.decisions
        ),
    )


def _expired(interruption: Interruption) -> Interruption:
    undecided = interruption.state is State.PENDING
    return _move(
        interruption,
        Step.EXPIRE,
        reason="nobody decided in time" if undecided else "approved, but not fetched in time",
    )


def _check_token(interruption: Interruption, step: Step, token: int | None) -> None:
    _check(interruption, step)
    held = interruption.claim
    if token is not None and (held is None or held.token != token):
        raise StaleToken(interruption, token)


def _check(interruption: Interruption, step: Step) -> State:
    target = TRANSITIONS[interruption.state].get(step)
    if target is None:
        raise IllegalTransition(interruption, step.value)
    return target


def _move(interruption: Interruption, step: Step, **changes: Any) -> Interruption:
    """The one place where a state is set."""
    target = _check(interruption, step)
    return replace(interruption, state=target, revision=interruption.revision + 1, **changes)


def _outcome(kind: OutcomeKind, at: datetime, note: str) -> Outcome:
    return Outcome(kind=kind, at=at, note=note)
