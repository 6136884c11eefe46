"""An interruption as text in a row, and back: nothing is lost, and no digit changes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdshort.interruption import (
    Decision,
    DecisionRecord,
    ExecutionClaim,
    Interruption,
    Outcome,
    OutcomeKind,
    PinnedDefinition,
    Requester,
    State,
    timestamp,
)
from holdshort.policy import Because, Terms
from holdshort.store.chain import dump

__all__ = ["from_text", "microseconds", "to_text"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Return `at` as whole microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def to_text(interruption: Interruption) -> str:
    """Return the whole record as JSON text."""
    i = interruption
    return dump(
        {
            "id": i.id,
            "kind": i.kind,
            "state": i.state.value,
            "revision": i.revision,
            "server": i.server,
            "tool": i.tool,
            "arguments": i.arguments,
            "requested_arguments": i.requested_arguments,
            "fingerprint": i.fingerprint,
            "requested_fingerprint": i.requested_fingerprint,
            "definition": i.definition,
            "definition_digest": i.definition_digest,
            "policy_digest": i.policy_digest,
            "requested_by": {
                "agent": i.requested_by.agent,
                "client": i.requested_by.client,
                "client_version": i.requested_by.client_version,
                "run_id": i.requested_by.run_id,
                "call_id": i.requested_by.call_id,
                "agent_path": list(i.requested_by.agent_path),
                "acts_for": i.requested_by.acts_for,
            },
            "because": [[reason.layer, reason.rule] for reason in i.because],
            "terms": {
                "approvers": [sorted(names) for names in i.terms.approvers],
                "required_approvals": i.terms.required_approvals,
                "expires_after": i.terms.expires_after // _MICROSECOND,
                "decisions": sorted(i.terms.decisions),
                "execute": i.terms.execute,
                "grants": i.terms.grants,
            },
            "decisions": [
                {
                    "decision": record.decision.value,
                    "by": record.by,
                    "at": timestamp(record.at),
                    "fingerprint": record.fingerprint,
                    "message": record.message,
                    "arguments": record.arguments,
                    "remember": record.remember,
                }
                for record in i.decisions
            ],
            "created_at": timestamp(i.created_at),
            "expires_at": timestamp(i.expires_at),
            "dispatch_window": i.dispatch_window // _MICROSECOND,
            "dispatch_deadline": _time_text(i.dispatch_deadline),
            "claim": None
            if i.claim is None
            else {
                "owner": i.claim.owner,
                "token": i.claim.token,
                "at": timestamp(i.claim.at),
                "until": _time_text(i.claim.until),
            },
            "outcome": None
            if i.outcome is None
            else {
                "kind": i.outcome.kind.value,
                "at": timestamp(i.outcome.at),
                "result": i.outcome.result,
                "error": i.outcome.error,
                "note": i.outcome.note,
            },
            "answer": i.answer,
            "reason": i.reason,
            "delivered_at": _time_text(i.delivered_at),
            "purged_at": _time_text(i.purged_at),
            "review_url": i.review_url,
            "pinned": None
            if i.pinned is None
            else {
                "scope": i.pinned.scope,
                "digest": i.pinned.digest,
                "definition": i.pinned.definition,
                "same_server": i.pinned.same_server,
            },
            "grant": i.grant,
            "keyed": i.keyed,
        }
    )


def from_text(text: str) -> Interruption:
    """Return the record that `to_text` wrote."""
    # The standard library, not orjson: integers beyond 64 bits must not turn into floats.
    f: dict[str, Any] = json.loads(text)
    asked, terms, claim, outcome = f["requested_by"], f["terms"], f["claim"], f["outcome"]
    return Interruption(
        id=f["id"],
        kind=f["kind"],
        state=State(f["state"]),
        revision=f["revision"],
        server=f["server"],
        tool=f["tool"],
        arguments=f["arguments"],
        requested_arguments=f["requested_arguments"],
        fingerprint=f["fingerprint"],
        requested_fingerprint=f["requested_fingerprint"],
        definition=f["definition"],
        definition_digest=f["definition_digest"],
        policy_digest=f["policy_digest"],
        requested_by=Requester(
            agent=asked["agent"],
            client=asked["client"],
            client_version=asked["client_version"],
            run_id=asked["run_id"],
            call_id=asked["call_id"],
            agent_path=tuple(asked["agent_path"]),
            acts_for=asked["acts_for"],
        ),
        because=tuple(Because(layer, rule) for layer, rule in f["because"]),
        terms=Terms(
            approvers=tuple(frozenset(names) for names in terms["approvers"]),
            required_approvals=terms["required_approvals"],
            expires_after=timedelta(microseconds=terms["expires_after"]),
            decisions=frozenset(terms["decisions"]),
            execute=terms["execute"],
            grants=terms.get("grants", False),
        ),
        decisions=tuple(
            DecisionRecord(
                decision=Decision(record["decision"]),
                by=record["by"],
                at=_time(record["at"]),
                fingerprint=record["fingerprint"],
                message=record["message"],
                arguments=record["arguments"],
                remember=record.get("remember"),
            )
            for record in f["decisions"]
        ),
        created_at=_time(f["created_at"]),
        expires_at=_time(f["expires_at"]),
        dispatch_window=timedelta(microseconds=f["dispatch_window"]),
        dispatch_deadline=_maybe_time(f["dispatch_deadline"]),
        claim=None
        if claim is None
        else ExecutionClaim(
            owner=claim["owner"],
            token=claim["token"],
            at=_time(claim["at"]),
            until=_maybe_time(claim.get("until")),
        ),
        outcome=None
        if outcome is None
        else Outcome(
            kind=OutcomeKind(outcome["kind"]),
            at=_time(outcome["at"]),
            result=outcome["result"],
            error=outcome["error"],
            note=outcome["note"],
        ),
        answer=f["answer"],
        reason=f["reason"],
        delivered_at=_maybe_time(f["delivered_at"]),
        purged_at=_maybe_time(f["purged_at"]),
        review_url=f["review_url"],
        pinned=None if f.get("pinned") is None else PinnedDefinition(**f["pinned"]),
        grant=f.get("grant"),
        keyed=f.get("keyed", False),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _maybe_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _time_text(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)
