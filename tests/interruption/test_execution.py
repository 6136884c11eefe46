"""From approval to outcome: one claim, reported by its holder, and doubt that only a fact ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdshort.interruption import (
    Approve,
    Claim,
    DefinitionChanged,
    Deliver,
    Expired,
    FingerprintMismatch,
    Finish,
    IllegalTransition,
    LateReply,
    NotEligible,
    NotTheRequester,
    OutcomeKind,
    PolicyChanged,
    Purge,
    Resolve,
    StaleToken,
    State,
    Step,
    advance,
)
from interruption.samples import AGENT, NOW, OK, event_for, parked, reached

SOON = NOW + timedelta(minutes=1)


def claim(**changes: object) -> Claim:
    approved = reached(State.APPROVED)
    event = event_for(Step.CLAIM, approved)
    assert isinstance(event, Claim)
    return replace(event, **changes)  # type: ignore[arg-type]


def test_a_claim_fixes_owner_and_token() -> None:
    executing = advance(reached(State.APPROVED), claim())

    assert executing.claim is not None
    assert (executing.claim.owner, executing.claim.token) == ("us", 7)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"agent": "other-bot"}, NotTheRequester),
        ({"fingerprint": "0" * 64}, FingerprintMismatch),
        ({"definition_digest": "0" * 64}, DefinitionChanged),
        ({"policy_digest": "0" * 64}, PolicyChanged),
        ({"token": 0}, StaleToken),
        ({"owner": ""}, StaleToken),
    ],
)
def test_a_claim_needs_the_requester_and_everything_that_was_approved(
    change: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        advance(reached(State.APPROVED), claim(**change))


def test_an_approval_is_not_claimed_after_its_window() -> None:
    call = parked(dispatch_window=timedelta(minutes=5))
    approved = advance(call, Approve(at=NOW, by="ana", fingerprint=call.fingerprint))

    with pytest.raises(Expired) as refused:
        advance(approved, claim(at=NOW + timedelta(minutes=5)))

    assert refused.value.interruption.state is State.EXPIRED
    assert refused.value.interruption.reason == "approved, but not fetched in time"


def test_it_is_never_claimed_twice() -> None:
    executing = reached(State.EXECUTING)

    with pytest.raises(IllegalTransition):
        advance(executing, claim(token=8))


@pytest.mark.parametrize("step", [Step.FINISH, Step.NOT_RUN, Step.LOSE])
def test_only_the_holder_of_the_token_reports_how_it_ended(step: Step) -> None:
    executing = reached(State.EXECUTING)
    event = event_for(step, executing)

    with pytest.raises(StaleToken):
        advance(executing, replace(event, token=6))  # type: ignore[arg-type]


def test_a_late_genuine_reply_settles_the_doubt() -> None:
    settled = advance(reached(State.UNKNOWN), LateReply(at=SOON, token=7, outcome=OK))

    assert (settled.state, settled.outcome) == (State.EXECUTED, OK)


def test_a_late_reply_with_another_token_settles_nothing() -> None:
    with pytest.raises(StaleToken):
        advance(reached(State.UNKNOWN), LateReply(at=SOON, token=6, outcome=OK))


@pytest.mark.parametrize(
    ("ran", "state", "kind"), [(True, State.EXECUTED, OutcomeKind.RAN), (False, State.FAILED, OutcomeKind.NOT_RUN)]
)
def test_an_operator_settles_the_doubt_with_a_note(ran: bool, state: State, kind: OutcomeKind) -> None:
    settled = advance(reached(State.UNKNOWN), Resolve(at=SOON, by="ops", ran=ran, note="seen"))

    assert settled.outcome is not None
    assert (settled.state, settled.outcome.kind, settled.outcome.note) == (state, kind, "seen")


def test_the_requester_does_not_settle_its_own_doubt() -> None:
    with pytest.raises(NotEligible):
        advance(reached(State.UNKNOWN), Resolve(at=SOON, by=AGENT, ran=False, note="let me again"))


def test_a_reply_that_is_none_does_not_construct() -> None:
    with pytest.raises(ValueError, match="not a reply"):
        Finish(at=SOON, token=1, outcome=replace(OK, kind=OutcomeKind.LOST))


def test_delivery_is_noted_once() -> None:
    delivered = advance(reached(State.EXECUTED), Deliver(at=SOON))

    assert delivered.delivered_at == SOON
    assert advance(delivered, Deliver(at=SOON + timedelta(minutes=1))) is delivered


def test_a_purge_erases_arguments_result_and_messages_and_keeps_the_digests() -> None:
    executed = reached(State.EXECUTED)

    purged = advance(executed, Purge(at=SOON))

    assert (purged.arguments, purged.requested_arguments) == ({}, {})
    assert purged.outcome is not None
    assert purged.outcome.result is None
    assert purged.fingerprint == executed.fingerprint
    assert purged.public()["arguments"] is None
    assert advance(purged, Purge(at=SOON)) is purged


@pytest.mark.parametrize("state", [State.PENDING, State.APPROVED, State.EXECUTING, State.UNKNOWN])
def test_nothing_is_purged_that_may_still_matter(state: State) -> None:
    with pytest.raises(IllegalTransition):
        advance(reached(state), Purge(at=SOON))
