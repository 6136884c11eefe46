"""Calls that an agent runs itself: handed out once, never sent by us, and never what the proxy runs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdshort.config.servers import check_label
from holdshort.interruption import (
    Claim,
    IllegalEvent,
    Interruption,
    State,
    Step,
    WrongKind,
    advance,
    own_id,
)
from holdshort.policy import OwnKind, is_own_label, own_label
from interruption.samples import NOW, event_for, parked, reached

SOON = NOW + timedelta(minutes=1)
LATER = SOON + timedelta(minutes=10)


def claim_of(call: Interruption, **changes: object) -> Claim:
    event = event_for(Step.CLAIM, call)
    assert isinstance(event, Claim)
    return replace(event, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", OwnKind)
def test_the_proxy_cannot_claim_what_the_agent_runs_itself(kind: OwnKind) -> None:
    approved = replace(reached(State.APPROVED), kind=kind.value)

    with pytest.raises(WrongKind, match="the agent runs it itself"):
        advance(approved, claim_of(approved))


def test_an_agent_cannot_claim_what_the_proxy_runs() -> None:
    approved = reached(State.APPROVED)

    with pytest.raises(WrongKind, match="the proxy runs it"):
        advance(approved, claim_of(approved, until=LATER))


def test_what_an_agent_took_has_a_deadline() -> None:
    approved = replace(reached(State.APPROVED), kind="shell")

    executing = advance(approved, claim_of(approved, until=LATER))

    assert executing.state is State.EXECUTING
    assert executing.due_at == LATER


def test_a_deadline_that_is_over_already_does_not_construct() -> None:
    with pytest.raises(IllegalEvent, match="later"):
        claim_of(parked(), until=NOW)


@pytest.mark.parametrize("kind", OwnKind)
def test_no_configured_server_can_have_the_label_of_such_calls(kind: OwnKind) -> None:
    label = own_label(kind, "local")

    assert is_own_label(label)
    assert check_label(label) is not None


@pytest.mark.parametrize("label", ["files", "shell", "shell:", ":local", "mcp:local", "Shell:local"])
def test_other_labels_are_not_those_of_such_calls(label: str) -> None:
    assert not is_own_label(label)


def test_each_call_of_each_run_of_each_agent_has_an_id_of_its_own() -> None:
    ids = {
        own_id(agent, run, call, attempt)
        for agent in ("a", "ab")
        for run in ("b", "bc", "")
        for call in ("c", "")
        for attempt in (0, 1)
    }

    assert len(ids) == 2 * 3 * 2 * 2
    assert own_id("a", "b", "c", 0) in ids
