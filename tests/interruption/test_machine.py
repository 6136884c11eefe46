"""The table is tested as a table: every pair of state and step, taken from TRANSITIONS itself."""

from dataclasses import replace

import pytest

from holdshort.interruption import FINAL, TRANSITIONS, InterruptionError, State, Step, advance
from interruption.samples import event_for, reached

PAIRS = [(state, step) for state in State for step in Step]
LEGAL = [(state, step) for state, step in PAIRS if step in TRANSITIONS[state]]
ILLEGAL = [(state, step) for state, step in PAIRS if step not in TRANSITIONS[state]]
SHORT_OF_QUORUM = {Step.VOTE, Step.EDIT}


def _name(value: object) -> str:
    return str(value)


@pytest.mark.parametrize(("state", "step"), LEGAL, ids=_name)
def test_a_legal_step_leads_where_the_table_says_and_grows_the_revision(state: State, step: Step) -> None:
    before = reached(state, required=2 if step in SHORT_OF_QUORUM else 1)

    after = advance(before, event_for(step, before))

    assert (after.state, after.revision) == (TRANSITIONS[state][step], before.revision + 1)


@pytest.mark.parametrize(("state", "step"), ILLEGAL, ids=_name)
def test_an_illegal_step_is_refused_and_the_error_carries_the_record(state: State, step: Step) -> None:
    before = reached(state)

    with pytest.raises(InterruptionError) as refused:
        advance(before, event_for(step, before))

    assert refused.value.interruption is before


def test_the_table_speaks_about_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_step_is_possible_somewhere() -> None:
    assert {step for steps in TRANSITIONS.values() for step in steps} == set(Step)


def test_nothing_leads_from_executing_back_to_anything_that_can_be_claimed() -> None:
    """At most once is a property of the table."""
    claimable = {state for state, steps in TRANSITIONS.items() if Step.CLAIM in steps}

    assert not claimable & _reachable(State.EXECUTING)


def test_only_a_claim_leads_into_executing() -> None:
    ways = {
        (state, step)
        for state, steps in TRANSITIONS.items()
        for step, target in steps.items()
        if target is State.EXECUTING
    }

    assert ways == {(State.APPROVED, Step.CLAIM)}


def test_every_call_can_end_and_an_end_is_never_left() -> None:
    for state in State:
        assert _reachable(state) | {state} >= {state}
        assert FINAL & (_reachable(state) | {state})
    for state in FINAL:
        assert _reachable(state) <= {state}


def test_doubt_ends_as_executed_or_failed_and_as_nothing_else() -> None:
    assert _reachable(State.UNKNOWN) - {State.UNKNOWN} == {State.EXECUTED, State.FAILED}


def test_an_event_does_not_change_the_record_it_was_applied_to() -> None:
    before = reached(State.PENDING)
    copy = replace(before)

    advance(before, event_for(Step.APPROVE, before))

    assert before == copy


def _reachable(state: State) -> set[State]:
    found: set[State] = set()
    frontier = [state]
    while frontier:
        for target in TRANSITIONS[frontier.pop()].values():
            if target not in found:
                found.add(target)
                frontier.append(target)
    return found
