"""What the decision log says about each event, and which fault points an event passes.

Names and digests, never arguments or results: those can be erased later, a row of the log cannot.
"""

from typing import Final

from holdshort.interruption import (
    Approve,
    Claim,
    Deliver,
    Edit,
    Event,
    Expire,
    Finish,
    Interruption,
    InterruptionError,
    LateReply,
    Lose,
    NotRun,
    Outcome,
    Purge,
    Reject,
    Resolve,
    Respond,
    State,
    Supersede,
    Withdraw,
    timestamp,
)
from holdshort.store.contract import EntryKind, Json, NewEntry
from holdshort.store.recording import NewRecording

__all__ = ["entry_of", "parked_entry", "point_inside", "points_after", "refusal_entry"]

_KINDS: Final[dict[type, EntryKind]] = {
    Approve: EntryKind.DECISION,
    Edit: EntryKind.DECISION,
    Reject: EntryKind.DECISION,
    Respond: EntryKind.DECISION,
    Expire: EntryKind.EXPIRED,
    Withdraw: EntryKind.WITHDRAWN,
    Supersede: EntryKind.SUPERSEDED,
    Claim: EntryKind.INTENT,
    Finish: EntryKind.OUTCOME,
    NotRun: EntryKind.OUTCOME,
    Lose: EntryKind.OUTCOME,
    LateReply: EntryKind.OUTCOME,
    Resolve: EntryKind.OUTCOME,
    Deliver: EntryKind.DELIVERED,
    Purge: EntryKind.PURGED,
}


def parked_entry(i: Interruption, recording: NewRecording | None = None) -> NewEntry:
    """Return the row for a call that is parked now."""
    return NewEntry(
        kind=EntryKind.PARKED,
        at=i.created_at,
        server=i.server,
        tool=i.tool,
        agent=i.requested_by.agent,
        action="ask",
        because=i.because,
        interruption=i.id,
        fingerprint=i.fingerprint,
        detail={
            "state": i.state.value,
            "revision": i.revision,
            "definition_digest": i.definition_digest,
            "policy_digest": i.policy_digest,
        },
        recording=recording,
    )


def entry_of(before: Interruption, after: Interruption, event: Event) -> NewEntry:
    """Return the row for a change."""
    return NewEntry(
        kind=_KINDS[type(event)],
        at=event.at,
        server=after.server,
        tool=after.tool,
        agent=after.requested_by.agent,
        interruption=after.id,
        fingerprint=after.fingerprint,
        detail={"state": after.state.value, "revision": after.revision, **_detail(event, before, after)},
    )


def refusal_entry(refused: InterruptionError, event: Event) -> NewEntry:
    """Return the row for somebody who tried and may not."""
    i = refused.interruption
    said: dict[str, Json] = {"code": refused.code, "event": type(event).__name__.lower()}
    if isinstance(event, Claim):
        said["by"] = event.agent
    elif isinstance(event, Approve | Edit | Reject | Respond | Resolve):
        said["by"] = event.by
    return NewEntry(
        kind=EntryKind.REFUSED,
        at=event.at,
        server=i.server,
        tool=i.tool,
        agent=i.requested_by.agent,
        interruption=i.id,
        fingerprint=i.fingerprint,
        detail=said,
    )


def point_inside(event: Event) -> str | None:
    """Return the fault point inside the event's transaction."""
    match event:
        case Approve() | Reject() | Respond():
            return "vote.in_tx"
        case Edit():
            return "edit.in_tx"
        case Claim():
            return "intent.in_tx"
        case Finish() | NotRun() | Lose() | LateReply():
            return "outcome.in_tx"
        case Expire():
            return "expire.in_tx"
        case Withdraw() | Supersede() | Resolve() | Deliver() | Purge():
            return None


def points_after(event: Event, after: Interruption) -> tuple[str, ...]:
    """Return the fault points after its commit, before anyone is told."""
    match event:
        case Approve() | Edit() | Reject() | Respond():
            quorum = ("quorum.after_commit",) if after.state is State.APPROVED else ()
            return ("vote.after_commit", *quorum)
        case Claim():
            return ("intent.after_commit",)
        case Finish() | NotRun() | Lose() | LateReply():
            return ("outcome.after_commit",)
        case Expire() | Withdraw() | Supersede() | Resolve() | Deliver() | Purge():
            return ()


def _detail(event: Event, before: Interruption, after: Interruption) -> dict[str, Json]:
    match event:
        case Edit():
            return {**_said(event), "replaces": before.fingerprint}
        case Approve() | Reject() | Respond():
            return _said(event)
        case Claim():
            return {
                "owner": event.owner,
                "token": event.token,
                **({} if event.until is None else {"until": timestamp(event.until)}),
                "definition_digest": event.definition_digest,
                "policy_digest": event.policy_digest,
            }
        case Finish() | NotRun() | Lose() | LateReply() | Resolve():
            return _ending(event, after.outcome)
        case Withdraw():
            return {"by": event.by}
        case Supersede():
            return {"reason": event.reason}
        case Expire() | Deliver() | Purge():
            return {}


def _said(event: Approve | Edit | Reject | Respond) -> dict[str, Json]:
    said: dict[str, Json] = {"decision": event.decision.value, "by": event.by}
    return said if event.message is None else {**said, "message": event.message}


def _ending(event: Finish | NotRun | Lose | LateReply | Resolve, outcome: Outcome | None) -> dict[str, Json]:
    ending: dict[str, Json] = {"outcome": None if outcome is None else outcome.kind.value}
    if isinstance(event, Resolve):
        ending["by"] = event.by
    elif event.token is not None:
        ending["token"] = event.token
    if outcome is not None and outcome.note is not None:
        ending["note"] = outcome.note
    return ending
