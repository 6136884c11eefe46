"""The wire record: exactly these fields, in words and times that any client can read."""

from datetime import timedelta

import pytest

from holdshort.interruption import (
    Approve,
    Expire,
    IllegalEvent,
    Purge,
    Reject,
    State,
    Step,
    Withdraw,
    advance,
    timestamp,
)
from holdshort.policy import Wish, exactly
from interruption.samples import EXPIRY, NOW, event_for, parked, reached


def test_the_wire_record_of_a_parked_call() -> None:
    call = parked()

    assert call.public() == {
        "id": "i-1",
        "state": "pending",
        "kind": "mcp",
        "server": "payments",
        "tool": "refund",
        "arguments": {"to": "ana", "amount": 1},
        "requested_arguments": {"to": "ana", "amount": 1},
        "fingerprint": call.fingerprint,
        "definition": {"name": "refund", "inputSchema": {"type": "object"}},
        "definition_digest": "d" * 64,
        "definition_change": None,
        "requested_by": {
            "agent": "ci-bot",
            "client": "cursor",
            "run_id": "run-1",
            "call_id": None,
            "agent_path": [],
        },
        "because": [{"layer": "team.yaml", "rule": "big-refund"}],
        "decisions": [],
        "required_approvals": 1,
        "allowed_decisions": ["approve", "edit", "reject", "respond"],
        "created_at": "2026-11-20T10:00:00.000000Z",
        "expires_at": "2026-11-20T12:00:00.000000Z",
        "claim_by": None,
        "claimed_until": None,
        "revision": 1,
        "outcome": None,
        "answer": None,
        "reason": None,
        "review_url": None,
    }


def test_an_edit_shows_both_versions_and_who_changed_what() -> None:
    call = parked()

    shown = advance(call, event_for(Step.EDIT, call)).public()

    assert (shown["arguments"], shown["requested_arguments"]) == (
        {"to": "ana", "amount": 5},
        {"to": "ana", "amount": 1},
    )
    assert shown["decisions"] == [
        {
            "decision": "edit",
            "by": "zoe",
            "at": "2026-11-20T10:01:00.000000Z",
            "message": None,
            "arguments": {"to": "ana", "amount": 5},
        }
    ]


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_nothing_more_can_be_decided_once_it_is_decided(state: State) -> None:
    assert reached(state).public()["allowed_decisions"] == []


def test_an_outcome_shows_what_the_upstream_said() -> None:
    assert reached(State.EXECUTED).public()["outcome"] == {
        "kind": "ok",
        "result": {"content": []},
        "error": None,
        "at": "2026-11-20T10:00:00.000000Z",
        "note": None,
    }


def test_times_sort_as_text() -> None:
    moments = [NOW + timedelta(microseconds=step) for step in (0, 1, 999_999, 1_000_000)]

    assert sorted(map(timestamp, moments)) == list(map(timestamp, moments))


def test_events_that_make_no_sense_do_not_construct() -> None:
    with pytest.raises(IllegalEvent):
        Reject(at=NOW.replace(tzinfo=None), by="ana", fingerprint="f")
    with pytest.raises(IllegalEvent):
        Withdraw(at=NOW, by="")


def test_what_is_said_of_grants_is_for_approvers_only() -> None:
    call = parked()
    wish = Wish(exactly(call.arguments)).to_json()
    approved = advance(call, Approve(at=NOW, by="ana", fingerprint=call.fingerprint, remember=wish))

    assert approved.grant == "g-1"
    assert approved.for_approvers()["grant"] == "g-1"
    assert approved.for_approvers()["decisions"][0]["remember"] == wish
    assert "grant" not in approved.public()
    assert "remember" not in approved.public()["decisions"][0]


def test_purging_erases_what_was_asked_to_be_remembered() -> None:
    call = parked()
    wish = Wish(exactly(call.arguments)).to_json()
    approved = advance(call, Approve(at=NOW, by="ana", fingerprint=call.fingerprint, remember=wish))
    ended = advance(approved, Expire(at=NOW + EXPIRY))

    assert advance(ended, Purge(at=NOW + EXPIRY)).decisions[0].remember is None
