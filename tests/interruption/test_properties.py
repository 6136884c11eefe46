"""Whatever happens in whatever order, these stay true: one life, at most one run, votes of distinct strangers."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdshort.interruption import (
    FINAL,
    TRANSITIONS,
    Approve,
    Claim,
    Decision,
    Edit,
    Event,
    Expired,
    Interruption,
    InterruptionError,
    Reject,
    State,
    Step,
    advance,
    fingerprint,
)
from interruption.samples import AGENT, EXPIRY, NOW, event_for, parked

PEOPLE = st.sampled_from(["ana", "ben", "eve", AGENT])
PASSING = st.integers(min_value=0, max_value=50).map(lambda minutes: timedelta(minutes=minutes))


class Life(RuleBasedStateMachine):
    """One interruption, pushed about by everybody at once."""

    def __init__(self) -> None:
        super().__init__()
        self.call: Interruption = parked()
        self.now: datetime = NOW
        self.path: list[State] = [State.PENDING]
        self.runs: list[str] = []
        self.tokens = 0

    @initialize(required=st.integers(min_value=1, max_value=3))
    def park(self, required: int) -> None:
        self.call = parked(required=required)

    def push(self, event: Event) -> None:
        before = self.call
        try:
            self.call = advance(before, event)
        except Expired as expired:
            self.call = expired.interruption
        except InterruptionError:
            return
        if self.call is before:
            return
        assert self.call.revision == before.revision + 1
        assert self.call.state in TRANSITIONS[before.state].values()
        if self.call.state is not before.state:
            self.path.append(self.call.state)
        if self.call.state is State.EXECUTING:
            self.runs.append(self.call.fingerprint)

    @rule(passing=PASSING)
    def time_passes(self, passing: timedelta) -> None:
        self.now += passing

    @rule(by=PEOPLE, stale=st.booleans())
    def approve(self, by: str, stale: bool) -> None:
        mark = self.call.requested_fingerprint if stale else self.call.fingerprint
        self.push(Approve(at=self.now, by=by, fingerprint=mark))

    @rule(by=PEOPLE, amount=st.integers(min_value=0, max_value=3))
    def edit(self, by: str, amount: int) -> None:
        arguments = {"to": "ana", "amount": amount}
        mark = fingerprint(self.call.server, self.call.tool, arguments)
        self.push(
            Edit(at=self.now, by=by, fingerprint=self.call.fingerprint, arguments=arguments, new_fingerprint=mark)
        )

    @rule(by=PEOPLE)
    @precondition(lambda self: len(self.path) > 1)
    def reject(self, by: str) -> None:
        self.push(Reject(at=self.now, by=by, fingerprint=self.call.fingerprint))

    @rule(agent=st.sampled_from([AGENT, AGENT, "other-bot"]))
    def claim(self, agent: str) -> None:
        self.tokens += 1
        event = event_for(Step.CLAIM, self.call, at=self.now)
        assert isinstance(event, Claim)
        self.push(replace(event, agent=agent, token=self.tokens))

    @rule(step=st.sampled_from([step for step in Step if step not in {Step.CLAIM, Step.PURGE, Step.RESPOND}]))
    def anything_else(self, step: Step) -> None:
        event = event_for(step, self.call, at=self.now)
        held = self.call.claim
        if held is not None and step in {Step.FINISH, Step.NOT_RUN, Step.LOSE, Step.LATE_REPLY}:
            event = replace(event, token=held.token)  # type: ignore[arg-type]
        if step is Step.EXPIRE:
            event = replace(event, at=self.now)
        self.push(event)

    @invariant()
    def it_runs_at_most_once(self) -> None:
        assert len(self.runs) <= 1

    @invariant()
    def what_runs_is_what_a_quorum_of_distinct_strangers_approved(self) -> None:
        if self.runs:
            voters = {record.by for record in self.call.counted() if record.fingerprint == self.runs[0]}
            assert len(voters) >= self.call.required_approvals
            assert AGENT not in voters

    @invariant()
    def the_requester_never_decided(self) -> None:
        assert all(record.by != AGENT for record in self.call.decisions)

    @invariant()
    def it_ends_once(self) -> None:
        assert sum(state in FINAL for state in self.path) <= 1
        assert all(state not in FINAL for state in self.path[:-1])

    @invariant()
    def nothing_runs_after_a_no(self) -> None:
        if any(record.decision is Decision.REJECT for record in self.call.decisions):
            assert not self.runs

    @invariant()
    def nothing_is_approved_after_the_deadline(self) -> None:
        assert all(record.at < NOW + EXPIRY for record in self.call.decisions)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
