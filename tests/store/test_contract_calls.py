"""The contract, part one: what is kept about parked calls. Runs against every kind of store."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from holdshort.errors import StateError
from holdshort.interruption import (
    AlreadyDecided,
    Deliver,
    Edit,
    Expired,
    Finish,
    IllegalTransition,
    Interruption,
    Outcome,
    OutcomeKind,
    Requester,
    State,
    Step,
    Supersede,
    Withdraw,
    WrongKind,
    fingerprint,
)
from holdshort.store import EntryKind, InterruptionNotFound, Query, QuotaExceeded, Quotas, Store
from interruption.samples import AGENT, EXPIRY, NOW, OK, event_for, parked, reached
from kit.process import until_async
from store.places import Place, approval, claim


async def executing(store: Store, call: Interruption) -> Interruption:
    await store.park(call)
    await store.apply(call.id, approval(call))
    return await store.apply(call.id, claim(call))


def token_of(call: Interruption) -> int:
    assert call.claim is not None
    return call.claim.token


async def kinds(store: Store) -> list[str]:
    return [entry.fields["kind"] async for entry in store.entries()]


async def test_a_parked_call_comes_back_as_it_was(store: Store) -> None:
    odd = {"n": 12345678901234567890123, "t": "a\u0000b\u202e\U0001f600", "f": 0.1, "deep": [[{"x": None}]]}
    call = parked(arguments=odd)

    await store.park(call)

    assert await store.get(call.id) == call


@pytest.mark.parametrize("state", list(State))
async def test_every_state_is_kept_whole(store: Store, state: State) -> None:
    """The path to each state, event by event; owner and token are the store's own."""
    target = reached(state)
    call = parked()
    await store.park(call)

    if target.decisions:
        step = {State.REJECTED: Step.REJECT, State.ANSWERED: Step.RESPOND}.get(state, Step.APPROVE)
        await store.apply(call.id, replace(event_for(step, call), by="ana"))  # type: ignore[arg-type]
    kept = await store.get(call.id)
    if target.claim is not None:
        kept = await store.apply(call.id, event_for(Step.CLAIM, kept))
    last = {
        State.EXPIRED: Step.EXPIRE,
        State.WITHDRAWN: Step.WITHDRAW,
        State.SUPERSEDED: Step.SUPERSEDE,
        State.EXECUTED: Step.FINISH,
        State.FAILED: Step.NOT_RUN,
        State.UNKNOWN: Step.LOSE,
    }.get(state)
    if last is not None:
        event = event_for(last, kept)
        kept = await store.apply(
            call.id,
            replace(event, token=token_of(kept)) if kept.claim is not None else event,  # type: ignore[arg-type]
        )

    assert kept == await store.get(call.id)
    assert replace(kept, claim=None) == replace(target, claim=None)


async def test_an_unknown_id_is_not_found(store: Store) -> None:
    with pytest.raises(InterruptionNotFound):
        await store.get("i-404")
    with pytest.raises(InterruptionNotFound):
        await store.apply("i-404", Deliver(at=NOW))


async def test_an_id_is_kept_once(store: Store) -> None:
    await store.park(parked())

    with pytest.raises(StateError):
        await store.park(parked())
    assert await kinds(store) == ["parked"]


async def test_only_what_is_pending_can_be_parked(store: Store) -> None:
    with pytest.raises(IllegalTransition):
        await store.park(reached(State.APPROVED))


async def test_a_refused_decision_changes_nothing_and_is_logged(store: Store) -> None:
    call = await store.park(parked())
    approved = await store.apply(call.id, approval(call))

    with pytest.raises(AlreadyDecided) as refused:
        await store.apply(call.id, event_for(Step.REJECT, call))

    assert refused.value.interruption == approved == await store.get(call.id)
    assert await kinds(store) == ["parked", "decision", "refused"]


async def test_the_same_decision_again_is_answered_and_writes_nothing(store: Store) -> None:
    call = await store.park(parked())
    approved = await store.apply(call.id, approval(call))

    assert await store.apply(call.id, approval(call)) == approved
    assert await kinds(store) == ["parked", "decision"]


async def test_a_decision_after_the_deadline_leaves_it_expired(store: Store) -> None:
    call = await store.park(parked())

    with pytest.raises(Expired):
        await store.apply(call.id, approval(call, at=NOW + EXPIRY))

    assert (await store.get(call.id)).state is State.EXPIRED
    assert await kinds(store) == ["parked", "expired", "refused"]


async def test_a_clock_set_back_does_not_bring_a_deadline_back(store: Store) -> None:
    call = await store.park(parked(required=2))
    await store.apply(call.id, approval(call, at=NOW + timedelta(hours=1)))

    after = await store.apply(call.id, approval(call, "ben", at=NOW))

    assert after.dispatch_deadline is not None
    assert after.dispatch_deadline >= NOW + timedelta(hours=2)


async def test_of_many_who_decide_at_once_one_wins_and_all_hear_of_it(store: Store) -> None:
    call = await store.park(parked())
    won: list[str] = []
    lost: list[str] = []

    async def decide(by: str) -> None:
        try:
            await store.apply(call.id, approval(call, by))
        except AlreadyDecided as error:
            lost.append(error.interruption.decisions[0].by)
        else:
            won.append(by)

    async with anyio.create_task_group() as tasks:
        for number in range(32):
            tasks.start_soon(decide, f"approver-{number}")

    assert len(won) == 1
    assert lost == won * 31


async def test_of_many_who_claim_at_once_one_runs_it(store: Store) -> None:
    call = await store.park(parked())
    await store.apply(call.id, approval(call))
    tokens: list[int] = []

    async def run() -> None:
        with suppress(IllegalTransition):
            tokens.append(token_of(await store.apply(call.id, claim(call))))

    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(run)

    assert len(tokens) == 1


async def test_fencing_tokens_only_grow(place: Place) -> None:
    tokens: list[int] = []
    for number in range(3):
        async with place.open() as store:
            tokens.append(token_of(await executing(store, parked(number))))

    assert tokens == sorted(set(tokens))


async def test_a_result_is_kept_and_its_delivery_noted_once(store: Store) -> None:
    running = await executing(store, parked())
    outcome = Outcome(kind=OutcomeKind.TOOL_ERROR, at=NOW, result={"isError": True, "n": 2**70})

    executed = await store.apply(running.id, Finish(at=NOW, token=token_of(running), outcome=outcome))
    delivered = await store.apply(running.id, Deliver(at=NOW))

    assert executed.outcome == outcome
    assert delivered == await store.apply(running.id, Deliver(at=NOW + timedelta(hours=1)))


async def test_the_log_holds_no_arguments_and_no_results(store: Store) -> None:
    secret = "s3cr3t-in-arguments"
    call = await store.park(parked(arguments={"token": secret}))
    other = {"token": secret + "-edited"}
    mark = fingerprint(call.server, call.tool, other)
    edit = Edit(at=NOW, by="ana", fingerprint=call.fingerprint, arguments=other, new_fingerprint=mark)
    approved = await store.apply(call.id, edit)
    running = await store.apply(call.id, claim(approved))
    outcome = Outcome(kind=OutcomeKind.OK, at=NOW, result={"text": secret})
    await store.apply(call.id, Finish(at=NOW, token=token_of(running), outcome=outcome))

    assert not [entry.body async for entry in store.entries() if secret in entry.body]


async def test_too_many_pending_calls_are_refused_agent_by_agent_server_by_server_and_in_all(place: Place) -> None:
    quotas = Quotas(per_agent=2, per_server=3, total=4)
    async with place.open(quotas=quotas) as store:
        for number, agent in enumerate(["a", "a", "b"]):
            await store.park(parked(number, requested_by=Requester(agent=agent)))
        with pytest.raises(QuotaExceeded, match="agent `a`"):
            await store.park(parked(10, requested_by=Requester(agent="a")))
        with pytest.raises(QuotaExceeded, match="server `payments`"):
            await store.park(parked(11, requested_by=Requester(agent="c")))
        await store.park(parked(12, server="mail", requested_by=Requester(agent="c")))
        with pytest.raises(QuotaExceeded, match="this proxy"):
            await store.park(parked(13, server="mail", requested_by=Requester(agent="d")))

        decided = parked(0, requested_by=Requester(agent="a"))
        await store.apply(decided.id, approval(decided))
        await store.park(parked(14, server="mail", requested_by=Requester(agent="a")))


async def test_pages_are_newest_first_and_complete(store: Store) -> None:
    for number in range(7):
        await store.park(parked(number, requested_by=Requester(agent="a" if number % 2 else "b", run_id=f"r{number}")))
    await store.apply("i-3", approval(parked(3)))

    async def ids(query: Query) -> list[str]:
        return [item.id for item in (await store.list(query)).items]

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.list(Query(limit=3, cursor=cursor))
        seen += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [f"i-{number}" for number in reversed(range(7))]
    assert await ids(Query(states=frozenset({State.APPROVED}))) == ["i-3"]
    assert await ids(Query(agent="a", states=frozenset({State.PENDING}))) == ["i-5", "i-1"]
    assert await ids(Query(run_id="r4")) == ["i-4"]
    assert await ids(Query(server="elsewhere")) == []
    assert await store.counts() == {State.PENDING: 6, State.APPROVED: 1}


async def test_the_same_call_attaches_once_and_again_when_it_is_let_go(store: Store) -> None:
    call = await store.park(parked(), holder="first")

    async def attach(holder: str) -> Interruption | None:
        return await store.attach(AGENT, call.requested_fingerprint, holder, now=NOW)

    assert await attach("second") is None
    await store.detach(call.id, "somebody else")
    assert await attach("second") is None
    await store.detach(call.id, "first")
    assert await attach("second") == call
    assert await attach("third") is None


async def test_nobody_attaches_to_what_another_agent_asked(store: Store) -> None:
    call = await store.park(parked())

    assert await store.attach("other-bot", call.requested_fingerprint, "h", now=NOW) is None


async def test_an_edited_call_is_still_found_by_what_was_asked(store: Store) -> None:
    call = await store.park(parked())
    edited = await store.apply(call.id, event_for(Step.EDIT, call))

    assert await store.attach(AGENT, call.requested_fingerprint, "h", now=NOW) == edited


@pytest.mark.parametrize("end", [Withdraw(at=NOW, by=AGENT), Supersede(at=NOW, reason="changed")])
async def test_what_was_withdrawn_or_superseded_is_not_attached(store: Store, end: Withdraw | Supersede) -> None:
    call = await store.park(parked())
    await store.apply(call.id, end)

    assert await store.attach(AGENT, call.requested_fingerprint, "h", now=NOW) is None


async def test_what_was_delivered_is_not_attached_again(store: Store) -> None:
    running = await executing(store, parked())
    await store.apply(running.id, Finish(at=NOW, token=token_of(running), outcome=OK))

    assert await store.attach(AGENT, running.requested_fingerprint, "h", now=NOW) is not None
    await store.apply(running.id, Deliver(at=NOW))
    assert await store.attach(AGENT, running.requested_fingerprint, "h2", now=NOW) is None


async def test_what_has_not_ended_is_attached_however_old_it_is(store: Store) -> None:
    """Whoever repeats a call after days joins the one that waits; nobody is asked twice."""
    call = await store.park(parked(expires_at=NOW + timedelta(days=9)))

    assert await store.attach(AGENT, call.requested_fingerprint, "h", now=NOW + timedelta(days=8)) == call


async def test_what_ended_longer_ago_than_results_are_kept_is_not_attached(store: Store) -> None:
    call = await store.park(parked())
    kept = timedelta(hours=24)

    assert await store.attach(AGENT, call.requested_fingerprint, "h", now=NOW + EXPIRY + kept) is None
    just_in_time = await store.attach(
        AGENT, call.requested_fingerprint, "h", now=NOW + EXPIRY + kept - timedelta(microseconds=1)
    )
    assert just_in_time is not None
    assert just_in_time.state is State.EXPIRED


async def test_attaching_after_the_deadline_finds_it_expired(store: Store) -> None:
    call = await store.park(parked())

    found = await store.attach(AGENT, call.requested_fingerprint, "h", now=NOW + EXPIRY)

    assert found is not None
    assert found.state is State.EXPIRED
    assert found == await store.get(call.id)


async def test_two_identical_calls_attach_newest_first_and_one_each(store: Store) -> None:
    one, two = parked(1), replace(parked(1), id="i-2")
    await store.park(one)
    await store.park(two)
    found = [await store.attach(AGENT, one.requested_fingerprint, f"h{n}", now=NOW) for n in range(3)]

    assert found == [two, one, None]


async def test_everything_due_is_expired_at_once(store: Store) -> None:
    await store.park(parked(1))
    await store.park(parked(2, expires_at=NOW + timedelta(days=2)))
    third = await store.park(parked(3))
    await store.apply(third.id, approval(third))

    expired = await store.expire_due(NOW + EXPIRY)

    assert {call.id for call in expired} == {"i-1", "i-3"}
    assert await store.counts() == {State.EXPIRED: 2, State.PENDING: 1}
    assert await store.expire_due(NOW + EXPIRY) == []


async def test_what_a_closed_store_was_running_is_unknown_to_the_next(place: Place) -> None:
    async with place.open() as store:
        await executing(store, parked(1))
        await store.park(parked(2), holder="gone")

    async with place.open() as store:
        lost = await store.get("i-1")
        assert (lost.state, lost.revision) == (State.UNKNOWN, 4)
        assert await store.attach(AGENT, parked(2).requested_fingerprint, "h", now=NOW) is not None
        assert EntryKind.OUTCOME in await kinds(store)


async def test_what_a_living_store_runs_and_holds_is_left_alone(place: Place) -> None:
    async with place.open() as living:
        await executing(living, parked(1))
        await living.park(parked(2), holder="here")
        async with place.open() as other:
            assert await other.recover(NOW) == []
            assert (await other.get("i-1")).state is State.EXECUTING
            assert await other.attach(AGENT, parked(2).requested_fingerprint, "h", now=NOW) is None


async def test_a_nonce_is_spent_once_by_whoever_comes_first(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        assert await one.spend("n", NOW + timedelta(hours=1))
        assert not await two.spend("n", NOW + timedelta(hours=1))
        assert await two.spend("m", NOW + timedelta(hours=1))


async def test_old_ends_are_erased_and_what_is_open_stays(store: Store) -> None:
    running = await executing(store, parked(1))
    await store.apply(running.id, Finish(at=NOW, token=token_of(running), outcome=OK))
    await store.park(parked(2))

    assert await store.purge(NOW + timedelta(hours=1), now=NOW + timedelta(days=2)) == 1

    purged = await store.get("i-1")
    assert purged.arguments == {}
    assert purged.purged_at == NOW + timedelta(days=2)
    assert (await store.get("i-2")).arguments == parked(2).arguments
    assert await store.purge(NOW + timedelta(days=9), now=NOW + timedelta(days=9)) == 0


async def test_a_store_knows_at_once_that_an_agent_has_something_parked_here(store: Store) -> None:
    assert not await store.has_parked(AGENT)

    await store.park(parked())

    assert await store.has_parked(AGENT)
    assert not await store.has_parked("other-bot")


async def test_a_store_finds_out_what_another_one_parked_and_that_it_ended(place: Place) -> None:
    async with place.open() as here, place.open() as there:
        assert not await here.has_parked(AGENT)
        call = await there.park(parked())

        await until_async(lambda: here.has_parked(AGENT), "the other one parked")
        await there.apply(call.id, Withdraw(at=NOW, by=AGENT))
        await until_async(lambda: _nothing_parked(here), "it ended")


async def _nothing_parked(store: Store) -> bool:
    return not await store.has_parked(AGENT)


async def test_what_an_agent_took_to_run_itself_outlives_us_and_ends_as_unknown_at_its_deadline(place: Place) -> None:
    call = parked(kind="shell")
    async with place.open() as store:
        await store.park(call)
        await store.apply(call.id, approval(call))
        taken = await store.apply(call.id, replace(claim(call), until=NOW + timedelta(minutes=10)))
    async with place.open() as store:
        recovered = await store.recover(NOW)
        early = await store.expire_due(NOW + timedelta(minutes=10, seconds=-1))
        late = await store.expire_due(NOW + timedelta(minutes=10))
        rows = [entry.fields async for entry in store.entries()]

        assert taken.claim is not None
        assert taken.claim.owner == f"agent/{AGENT}"
        assert (list(recovered), list(early)) == ([], [])
        assert [each.state for each in late] == [State.UNKNOWN]
        assert late[0].outcome is not None
        assert late[0].outcome.kind is OutcomeKind.LOST
        assert rows[-1]["kind"] == EntryKind.OUTCOME
        assert (await store.verify()).ok


async def test_the_same_call_finds_what_ran_out_of_time_as_unknown(store: Store) -> None:
    call = parked(kind="shell")
    await store.park(call)
    await store.apply(call.id, approval(call))
    await store.apply(call.id, replace(claim(call), until=NOW + timedelta(minutes=10)))

    found = await store.attach(AGENT, call.requested_fingerprint, "h", now=NOW + timedelta(minutes=11))

    assert found is not None
    assert found.state is State.UNKNOWN


async def test_the_store_hands_no_call_to_the_wrong_side(store: Store) -> None:
    own, ours = parked(1, kind="function"), parked(2)
    for call in (own, ours):
        await store.park(call)
        await store.apply(call.id, approval(call))

    for event in (claim(own), replace(claim(ours), until=NOW + timedelta(minutes=1))):
        with pytest.raises(WrongKind):
            await store.apply(own.id if event.until is None else ours.id, event)

    assert (await store.get(own.id)).state is State.APPROVED
    assert (await store.get(ours.id)).state is State.APPROVED
    assert (await kinds(store))[-2:] == [EntryKind.REFUSED, EntryKind.REFUSED]
