"""Who may decide, what counts, and what happens when two things happen at once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdshort.interruption import (
    AlreadyDecided,
    Approve,
    Decision,
    DecisionNotAllowed,
    Edit,
    Expire,
    Expired,
    FingerprintMismatch,
    Interruption,
    InvalidEdit,
    NotEligible,
    NotTheRequester,
    NotYetDue,
    Reject,
    Requester,
    Respond,
    State,
    Step,
    Withdraw,
    advance,
    fingerprint,
)
from holdshort.policy import Terms
from interruption.samples import AGENT, EXPIRY, NOW, event_for, parked, reached

SOON = NOW + timedelta(minutes=1)


def approve(call: Interruption, by: str, *groups: str) -> Approve:
    return Approve(at=SOON, by=by, groups=frozenset(groups), fingerprint=call.fingerprint)


def edit(call: Interruption, by: str, amount: int) -> Edit:
    arguments = {"to": "ana", "amount": amount}
    mark = fingerprint(call.server, call.tool, arguments)
    return Edit(at=SOON, by=by, fingerprint=call.fingerprint, arguments=arguments, new_fingerprint=mark)


def test_two_distinct_approvers_make_a_quorum_of_two() -> None:
    call = parked(required=2)

    once = advance(call, approve(call, "ana"))
    twice = advance(once, approve(call, "ben"))

    assert [once.state, twice.state] == [State.PENDING, State.APPROVED]
    assert [record.by for record in twice.decisions] == ["ana", "ben"]


def test_one_approver_cannot_vote_twice() -> None:
    call = parked(required=2)
    once = advance(call, approve(call, "ana"))

    assert advance(once, approve(call, "ana")) is once


def test_one_rejection_rejects_whatever_was_voted_before() -> None:
    call = parked(required=3)
    voted = advance(advance(call, approve(call, "ana")), approve(call, "ben"))

    rejected = advance(voted, Reject(at=SOON, by="eve", fingerprint=call.fingerprint, message="no"))

    assert rejected.state is State.REJECTED
    assert rejected.decisions[-1].message == "no"


def test_an_approver_may_change_from_approve_to_reject_while_it_is_pending() -> None:
    call = parked(required=2)
    voted = advance(call, approve(call, "ana"))

    assert advance(voted, Reject(at=SOON, by="ana", fingerprint=call.fingerprint)).state is State.REJECTED


def test_the_requester_never_votes() -> None:
    call = parked()

    with pytest.raises(NotEligible):
        advance(call, approve(call, AGENT))


def test_the_person_an_agent_acts_for_never_votes_where_duties_are_separated() -> None:
    call = parked(requested_by=Requester(agent=AGENT, acts_for="ana"))

    with pytest.raises(NotEligible):
        advance(call, approve(call, "ana"))
    assert advance(call, approve(call, "ben")).state is State.APPROVED


@pytest.mark.parametrize(
    ("by", "groups", "may"),
    [
        ("ana", {"finance", "leads"}, True),
        ("ana", {"finance"}, False),
        ("boss", {"leads"}, False),
        ("ben", {"leads", "ops"}, True),
        ("ana", set[str](), False),
    ],
)
def test_an_approver_must_match_the_restriction_of_every_rule_by_name_or_group(
    by: str, groups: set[str], may: bool
) -> None:
    both = (frozenset({"finance", "ben"}), frozenset({"leads"}))
    call = parked(terms=Terms(approvers=both))

    if may:
        assert advance(call, approve(call, by, *groups)).state is State.APPROVED
    else:
        with pytest.raises(NotEligible):
            advance(call, approve(call, by, *groups))


def test_expiry_wins_a_tie_with_a_decision_and_the_error_carries_the_expired_record() -> None:
    call = parked()
    at_the_deadline = replace(approve(call, "ana"), at=NOW + EXPIRY)

    with pytest.raises(Expired) as refused:
        advance(call, at_the_deadline)

    assert refused.value.interruption.state is State.EXPIRED
    assert refused.value.interruption.decisions == ()


def test_a_decision_just_before_the_deadline_counts_but_cannot_outlive_it() -> None:
    call = parked()
    last_moment = NOW + EXPIRY - timedelta(microseconds=1)

    approved = advance(call, replace(approve(call, "ana"), at=last_moment))

    assert approved.dispatch_deadline == NOW + EXPIRY


def test_nothing_expires_before_its_time() -> None:
    with pytest.raises(NotYetDue):
        advance(parked(), Expire(at=NOW + EXPIRY - timedelta(microseconds=1)))


def test_a_repeat_after_the_deadline_is_told_of_the_expiry() -> None:
    call = parked(required=2)
    voted = advance(call, approve(call, "ana"))

    with pytest.raises(Expired):
        advance(voted, replace(approve(call, "ana"), at=NOW + EXPIRY))


def test_what_was_not_seen_cannot_be_approved() -> None:
    with pytest.raises(FingerprintMismatch):
        advance(parked(), Approve(at=SOON, by="ana", fingerprint="0" * 64))


def test_an_edit_voids_the_votes_before_it_and_counts_as_its_authors_vote() -> None:
    call = parked(required=2)
    voted = advance(call, approve(call, "ana"))

    edited = advance(voted, edit(call, "ben", 5))
    approved = advance(edited, approve(edited, "ana"))

    assert (edited.state, edited.arguments["amount"], edited.requested_arguments["amount"]) == (State.PENDING, 5, 1)
    assert [record.by for record in edited.counted()] == ["ben"]
    assert approved.state is State.APPROVED


def test_votes_do_not_come_back_when_an_edit_is_edited_back() -> None:
    call = parked(required=3)
    voted = advance(advance(call, approve(call, "ana")), approve(call, "ben"))
    there = advance(voted, edit(voted, "eve", 5))

    back = advance(there, edit(there, "eve", 1))

    assert back.fingerprint == call.fingerprint
    assert [record.by for record in back.counted()] == ["eve"]


def test_an_edit_alone_approves_where_one_approval_is_enough() -> None:
    call = parked()

    edited = advance(call, edit(call, "ana", 5))

    assert (edited.state, edited.arguments) == (State.APPROVED, {"to": "ana", "amount": 5})
    assert edited.decisions[0].decision is Decision.EDIT


def test_an_edit_with_a_fingerprint_of_something_else_is_refused() -> None:
    call = parked()

    with pytest.raises(InvalidEdit):
        advance(call, replace(edit(call, "ana", 5), new_fingerprint="0" * 64))


def test_an_editor_who_also_approves_is_still_one_approver() -> None:
    call = parked(required=2)
    edited = advance(call, edit(call, "ana", 5))

    again = advance(edited, approve(edited, "ana"))

    assert again.state is State.PENDING


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        (Step.APPROVE, Step.REJECT, True),
        (Step.REJECT, Step.APPROVE, True),
        (Step.REJECT, Step.REJECT, False),
        (Step.RESPOND, Step.RESPOND, False),
        (Step.RESPOND, Step.APPROVE, True),
        (Step.APPROVE, Step.APPROVE, False),
        (Step.EDIT, Step.EDIT, False),
        (Step.EDIT, Step.APPROVE, True),
    ],
)
def test_the_first_decision_wins_and_the_same_again_changes_nothing(first: Step, second: Step, conflict: bool) -> None:
    call = parked()
    decided = advance(call, event_for(first, call))

    if conflict:
        with pytest.raises(AlreadyDecided) as refused:
            advance(decided, event_for(second, call))
        assert refused.value.interruption is decided
    else:
        assert advance(decided, event_for(second, call)) is decided


def test_another_answer_by_the_same_approver_is_a_conflict() -> None:
    call = parked()
    answered = advance(call, Respond(at=SOON, by="ana", fingerprint=call.fingerprint, content="yes"))

    with pytest.raises(AlreadyDecided):
        advance(answered, Respond(at=SOON, by="ana", fingerprint=call.fingerprint, content="no"))


def test_another_approver_comes_too_late_once_it_is_approved() -> None:
    approved = reached(State.APPROVED)

    with pytest.raises(AlreadyDecided):
        advance(approved, approve(approved, "ben"))


@pytest.mark.parametrize("step", [Step.EDIT, Step.RESPOND])
def test_rules_may_offer_fewer_kinds_of_decision(step: Step) -> None:
    call = parked(terms=Terms(decisions=frozenset({"approve", "reject"})))

    with pytest.raises(DecisionNotAllowed):
        advance(call, event_for(step, call))
    assert call.allowed_decisions() == ("approve", "reject")


def test_only_the_requester_withdraws() -> None:
    with pytest.raises(NotTheRequester):
        advance(parked(), Withdraw(at=SOON, by="other-bot"))
