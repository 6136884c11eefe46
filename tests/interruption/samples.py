"""Interruptions in every state, each reached by real events, and the event that stands for each step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdshort.interruption import (
    Approve,
    Claim,
    Deliver,
    Edit,
    Event,
    Expire,
    Finish,
    Interruption,
    LateReply,
    Lose,
    NotRun,
    Outcome,
    OutcomeKind,
    Purge,
    Reject,
    Requester,
    Resolve,
    Respond,
    State,
    Step,
    Supersede,
    Withdraw,
    advance,
    fingerprint,
)
from holdshort.policy import Because, Terms

__all__ = ["AGENT", "EXPIRY", "NOW", "OK", "event_for", "parked", "reached"]

NOW: Final = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
EXPIRY: Final = timedelta(hours=2)
AGENT: Final = "ci-bot"
OK: Final = Outcome(kind=OutcomeKind.OK, at=NOW, result={"content": []})
_SOON: Final = NOW + timedelta(minutes=1)
_TOKEN: Final = 7


def parked(
    number: int = 1, *, required: int = 1, arguments: dict[str, Any] | None = None, **changes: Any
) -> Interruption:
    """Return a call that was just parked."""
    arguments = {"to": "ana", "amount": number} if arguments is None else arguments
    mark = fingerprint("payments", "refund", arguments)
    made = Interruption(
        id=f"i-{number}",
        server="payments",
        tool="refund",
        arguments=arguments,
        requested_arguments=arguments,
        fingerprint=mark,
        requested_fingerprint=mark,
        definition={"name": "refund", "inputSchema": {"type": "object"}},
        definition_digest="d" * 64,
        policy_digest="p" * 64,
        requested_by=Requester(agent=AGENT, client="cursor", run_id="run-1"),
        because=(Because("team.yaml", "big-refund"),),
        terms=Terms(required_approvals=required),
        created_at=NOW,
        expires_at=NOW + EXPIRY,
    )
    return replace(made, **changes)


def event_for(step: Step, interruption: Interruption, *, at: datetime = _SOON) -> Event:
    """Return an event that amounts to this step wherever the step is possible."""
    match step:
        case Step.VOTE | Step.APPROVE:
            return Approve(at=at, by="zoe", fingerprint=interruption.fingerprint)
        case Step.EDIT:
            arguments = {"to": "ana", "amount": 5}
            return Edit(
                at=at,
                by="zoe",
                fingerprint=interruption.fingerprint,
                arguments=arguments,
                new_fingerprint=fingerprint(interruption.server, interruption.tool, arguments),
            )
        case Step.REJECT:
            return Reject(at=at, by="zoe", fingerprint=interruption.fingerprint, message="too much")
        case Step.RESPOND:
            return Respond(at=at, by="zoe", fingerprint=interruption.fingerprint, content="it is done already")
        case Step.EXPIRE:
            return Expire(at=NOW + EXPIRY)
        case Step.WITHDRAW:
            return Withdraw(at=at, by=AGENT, reason="cancelled")
        case Step.SUPERSEDE:
            return Supersede(at=at, reason="the tool changed")
        case Step.CLAIM:
            return Claim(
                at=at,
                agent=AGENT,
                fingerprint=interruption.fingerprint,
                definition_digest=interruption.definition_digest,
                policy_digest=interruption.policy_digest,
                owner="us",
                token=_TOKEN,
            )
        case Step.FINISH:
            return Finish(at=at, token=_TOKEN, outcome=OK)
        case Step.NOT_RUN:
            return NotRun(at=at, token=_TOKEN, reason="nothing left")
        case Step.LOSE:
            return Lose(at=at, token=_TOKEN, reason="no reply")
        case Step.LATE_REPLY:
            return LateReply(at=at, token=_TOKEN, outcome=OK)
        case Step.RESOLVE_RAN:
            return Resolve(at=at, by="ops", ran=True, note="seen in its log")
        case Step.RESOLVE_NOT_RUN:
            return Resolve(at=at, by="ops", ran=False, note="not in its log")
        case Step.DELIVER:
            return Deliver(at=at)
        case Step.PURGE:
            return Purge(at=at)


_PATHS: Final[dict[State, tuple[Step, ...]]] = {
    State.PENDING: (),
    State.APPROVED: (Step.APPROVE,),
    State.REJECTED: (Step.REJECT,),
    State.ANSWERED: (Step.RESPOND,),
    State.EXPIRED: (Step.EXPIRE,),
    State.WITHDRAWN: (Step.WITHDRAW,),
    State.SUPERSEDED: (Step.SUPERSEDE,),
    State.EXECUTING: (Step.APPROVE, Step.CLAIM),
    State.EXECUTED: (Step.APPROVE, Step.CLAIM, Step.FINISH),
    State.FAILED: (Step.APPROVE, Step.CLAIM, Step.NOT_RUN),
    State.UNKNOWN: (Step.APPROVE, Step.CLAIM, Step.LOSE),
}


def reached(state: State, *, required: int = 1) -> Interruption:
    """Return an interruption in this state; the one approver so far, where there is one, is `ana`."""
    interruption = parked(required=required)
    for step in _PATHS[state]:
        event = event_for(step, interruption)
        if isinstance(event, Approve | Reject | Respond):
            event = replace(event, by="ana")
        interruption = advance(interruption, event)
    return interruption
