"""The contract, part four: standing grants. Runs against every kind of store."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest

from holdshort.interruption import AlreadyDecided, Approve, Interruption, State, fingerprint
from holdshort.policy import ANY_VALUE, BadScope, Because, Grant, GrantState, Scope, Wish, exactly
from holdshort.store import EntryKind, GrantNotFound, GrantQuery, LogFilter, NewEntry, Store, Use
from holdshort.store.faults import InjectedFault, arm
from interruption.samples import AGENT, NOW, parked
from store.places import Clock, Place, approval, claim

DIGEST = "d" * 64
LATER = NOW + timedelta(minutes=5)


def wish(call: Interruption, *, max_uses: int = 2, lifetime: timedelta = timedelta(days=1), **pins: Any) -> Wish:
    exact = {name: (value,) for name, value in call.requested_arguments.items()}
    return Wish(Scope({**exact, **pins}), lifetime, max_uses)


def remembering(call: Interruption, asked: Wish | None = None, by: str = "ana") -> Approve:
    return replace(approval(call, by), remember=(asked or wish(call)).to_json())


async def made(store: Store, number: int = 1, **asked: Any) -> Grant:
    call = await store.park(parked(number))
    approved = await store.apply(call.id, remembering(call, wish(call, **asked)))
    assert approved.grant is not None
    return await store.grants.get(approved.grant)


def entry_of(grant: Grant, arguments: dict[str, Any] | None = None) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=LATER,
        server=grant.server,
        tool=grant.tool,
        agent=grant.agent,
        action="allow",
        because=(Because("grant", grant.id),),
        fingerprint=fingerprint(grant.server, grant.tool, arguments or {"to": "someone else"}),
    )


async def used(store: Store, grant: Grant, arguments: dict[str, Any] | None = None) -> Use:
    return await store.grants.use(grant, entry_of(grant, arguments), now=LATER)


async def rows(store: Store, *kinds: EntryKind) -> list[dict[str, Any]]:
    return [dict(entry.fields) async for entry in store.entries(where=LogFilter(kinds=frozenset(kinds)))]


async def test_an_approval_that_asks_for_it_makes_a_grant_in_its_own_transaction(store: Store) -> None:
    call = await store.park(parked())

    approved = await store.apply(call.id, remembering(call, wish(call, amount=ANY_VALUE)))

    assert (approved.state, approved.grant) == (State.APPROVED, "g-1")
    grant = await store.grants.get("g-1")
    assert grant == Grant(
        id="g-1",
        agent=AGENT,
        server="payments",
        tool="refund",
        definition_digest=DIGEST,
        scope=Scope({"to": ("ana",), "amount": ANY_VALUE}),
        scope_digest=grant.scope_digest,
        made_by=("ana",),
        made_at=NOW,
        from_interruption=call.id,
        expires_at=NOW + timedelta(days=1),
        max_uses=2,
    )
    [told] = await rows(store, EntryKind.GRANT)
    assert told["detail"] == {
        "grant": "g-1",
        "event": "made",
        "by": ["ana"],
        "scope": grant.scope_digest,
        "definition_digest": DIGEST,
        "expires_at": "2026-11-21T10:00:00.000000Z",
        "max_uses": 2,
    }
    assert (told["interruption"], told["agent"], told["tool"]) == (call.id, AGENT, "refund")


async def test_an_approval_that_does_not_ask_makes_none(store: Store) -> None:
    call = await store.park(parked())

    approved = await store.apply(call.id, approval(call))

    assert approved.grant is None
    assert (await store.grants.list(now=NOW)).items == []


async def test_neither_is_written_when_the_grant_cannot_be(store: Store) -> None:
    call = await store.park(parked())
    arm("grant.in_tx:1:raise")

    with pytest.raises(InjectedFault):
        await store.apply(call.id, remembering(call))

    assert (await store.get(call.id)).state is State.PENDING
    assert (await store.grants.list(now=NOW)).items == []
    assert await rows(store, EntryKind.GRANT, EntryKind.DECISION) == []


async def test_a_grant_that_would_not_cover_its_own_call_is_refused_with_the_approval(store: Store) -> None:
    call = await store.park(parked())

    with pytest.raises(BadScope, match="would not cover the call it comes from"):
        await store.apply(call.id, remembering(call, Wish(exactly({"to": "ben", "amount": 1}))))

    assert (await store.get(call.id)).state is State.PENDING


async def test_the_losing_one_of_two_approvals_makes_no_grant(store: Store) -> None:
    call = await store.park(parked())
    await store.apply(call.id, approval(call, "ana"))

    with pytest.raises(AlreadyDecided):
        await store.apply(call.id, remembering(call, by="ben"))

    assert (await store.grants.list(now=NOW)).items == []


async def test_the_same_approval_again_makes_no_second_grant(store: Store) -> None:
    call = await store.park(parked())
    await store.apply(call.id, remembering(call))

    assert (await store.apply(call.id, remembering(call))).grant == "g-1"

    assert len((await store.grants.list(now=NOW)).items) == 1


async def test_with_a_quorum_every_one_of_them_must_have_asked_for_the_same_grant(store: Store) -> None:
    first, second, third = parked(1, required=2), parked(2, required=2), parked(3, required=2)
    terms = replace(first.terms, grants=True)
    for call in (first, second, third):
        await store.park(replace(call, terms=terms))

    pending = await store.apply(first.id, remembering(first, by="ana"))
    both = await store.apply(first.id, remembering(first, by="ben"))
    await store.apply(second.id, approval(second, "ana"))
    one = await store.apply(second.id, remembering(second, by="ben"))
    await store.apply(third.id, remembering(third, wish(third, max_uses=3), by="ana"))
    others = await store.apply(third.id, remembering(third, wish(third, max_uses=4), by="ben"))

    assert (pending.state, pending.grant) == (State.PENDING, None)
    assert (await store.grants.get(both.grant or "")).made_by == ("ana", "ben")
    assert (one.state, one.grant) == (others.state, others.grant) == (State.APPROVED, None)


async def test_terms_that_let_no_grant_answer_let_none_be_made(store: Store) -> None:
    call = parked(terms=replace(parked().terms, grants=False))
    await store.park(call)

    assert (await store.apply(call.id, remembering(call))).grant is None


async def test_a_use_is_one_less_and_a_row_of_its_call(store: Store) -> None:
    grant = await made(store)

    assert await used(store, grant) is Use.TAKEN

    assert (await store.grants.get(grant.id)).uses == 1
    assert (await store.grants.get(grant.id)).last_used_at == LATER
    [told] = await rows(store, EntryKind.VERDICT)
    assert (told["action"], told["because"]) == ("allow", [{"layer": "grant", "rule": grant.id}])


async def test_a_grant_is_used_as_often_as_it_says_and_no_more(store: Store) -> None:
    grant = await made(store)

    assert [await used(store, grant) for _ in range(4)] == [Use.TAKEN, Use.TAKEN, Use.ENDED, Use.ENDED]

    assert len(await rows(store, EntryKind.VERDICT)) == 2
    assert (await store.grants.get(grant.id)).state(LATER) is GrantState.USED_UP


async def test_of_many_at_once_exactly_as_many_get_a_use_as_there_are(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        grant = await made(one, max_uses=5)
        taken: list[Use] = []

        async def take(store: Store) -> None:
            taken.append(await used(store, grant))

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(take, one if number % 2 else two)

        assert sorted(taken) == [Use.ENDED] * 35 + [Use.TAKEN] * 5
        assert len(await rows(one, EntryKind.VERDICT)) == 5
        assert (await one.verify()).ok


async def test_a_use_that_fails_half_way_is_not_taken(store: Store) -> None:
    grant = await made(store)
    arm("grant.in_tx:1:raise")

    with pytest.raises(InjectedFault):
        await used(store, grant)

    assert (await store.grants.get(grant.id)).uses == 0
    assert await rows(store, EntryKind.VERDICT) == []


async def test_a_revoked_grant_has_no_use_left(store: Store) -> None:
    grant = await made(store)

    gone = await store.grants.revoke(grant.id, by="ben", now=LATER)

    assert (gone.revoked_by, gone.revoked_at, gone.state(NOW)) == ("ben", LATER, GrantState.REVOKED)
    assert await used(store, grant) is Use.ENDED
    assert await store.grants.revoke(grant.id, by="zoe", now=LATER) == gone
    assert [told["detail"] for told in await rows(store, EntryKind.GRANT)][1:] == [
        {"grant": grant.id, "event": "revoked", "by": "ben"}
    ]


async def test_a_grant_ends_on_time_and_a_clock_set_back_does_not_bring_it_back(store: Store) -> None:
    grant = await made(store, lifetime=timedelta(hours=1), max_uses=5)
    at = NOW + timedelta(minutes=59, seconds=59)

    assert await store.grants.use(grant, entry_of(grant), now=at) is Use.TAKEN
    assert await store.grants.use(grant, entry_of(grant), now=NOW + timedelta(hours=1)) is Use.ENDED
    assert await store.grants.use(grant, entry_of(grant), now=NOW - timedelta(days=9)) is Use.TAKEN
    assert (await store.grants.get(grant.id)).last_used_at == at


async def test_a_call_that_somebody_decided_or_that_ran_is_fetched_not_run_beside_it(store: Store) -> None:
    grant, call = await made(store, max_uses=9), parked()

    assert await used(store, grant, call.arguments) is Use.ANSWERED
    await store.apply(call.id, claim(await store.get(call.id)))
    assert await used(store, grant, call.arguments) is Use.ANSWERED
    assert (await store.grants.get(grant.id)).uses == 0


async def test_a_call_that_still_waits_does_not_keep_its_repetition_from_a_grant(store: Store) -> None:
    grant, waiting = await made(store), parked(7)
    await store.park(waiting)

    assert await used(store, grant, waiting.arguments) is Use.TAKEN
    assert (await store.get(waiting.id)).state is State.PENDING


async def test_candidates_are_those_of_the_very_agent_and_tool_with_uses_left(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        assert await two.grants.candidates(AGENT, "payments", "refund") == ()
        first, second = await made(one, 1, max_uses=1), await made(one, 2)

        assert await two.grants.candidates(AGENT, "payments", "refund") == (first, second)
        assert await two.grants.candidates("other", "payments", "refund") == ()
        assert await two.grants.candidates(AGENT, "payments", "refun") == ()

        await used(one, first)
        assert [grant.id for grant in await two.grants.candidates(AGENT, "payments", "refund")] == [second.id]
        await one.grants.revoke(second.id, by="ben", now=LATER)
        assert await two.grants.candidates(AGENT, "payments", "refund") == ()


async def test_grants_outlive_their_store(place: Place) -> None:
    async with place.open() as store:
        grant = await made(store)
        await used(store, grant)
        before = await store.grants.get(grant.id)

    async with place.open() as store:
        assert await store.grants.get(grant.id) == before
        assert await store.grants.candidates(AGENT, "payments", "refund") == (before,)


async def test_every_digit_and_type_of_a_scope_is_kept(store: Store) -> None:
    odd = {"n": 12345678901234567890123, "t": "a\u0000b\u202e\U0001f600", "f": 1.0, "i": 1, "deep": [[{"x": None}]]}
    call = await store.park(parked(arguments=odd))
    await store.apply(call.id, remembering(call))

    assert (await store.grants.get("g-1")).scope == exactly(odd)
    assert repr((await store.grants.get("g-1")).scope) == repr(exactly(odd))


async def test_a_list_has_pages_and_filters(store: Store) -> None:
    grants = [await made(store, number) for number in range(1, 6)]
    await store.grants.revoke("g-2", by="ben", now=LATER)
    await used(store, grants[2])
    await used(store, grants[2])

    async def ids(**query: Any) -> list[str]:
        return [grant.id for grant in (await store.grants.list(GrantQuery(**query), now=LATER)).items]

    page = await store.grants.list(GrantQuery(limit=2), now=LATER)
    rest = await store.grants.list(GrantQuery(limit=3, cursor=page.next_cursor), now=LATER)
    assert [grant.id for grant in (*page.items, *rest.items)] == ["g-5", "g-4", "g-3", "g-2", "g-1"]
    assert rest.next_cursor is None
    assert await ids(states=frozenset({GrantState.ACTIVE})) == ["g-5", "g-4", "g-1"]
    assert await ids(states=frozenset({GrantState.REVOKED, GrantState.USED_UP})) == ["g-3", "g-2"]
    assert await ids(agent="nobody") == await ids(tool="refun") == await ids(server="x") == []
    assert await ids(agent=AGENT, server="payments", tool="refund", limit=1) == ["g-5"]
    over = await store.grants.list(GrantQuery(states=frozenset({GrantState.EXPIRED})), now=NOW + timedelta(days=2))
    assert [grant.id for grant in over.items] == ["g-5", "g-4", "g-1"]


async def test_an_id_that_names_none_is_said_to(store: Store) -> None:
    with pytest.raises(GrantNotFound, match="there is no grant `g-9`"):
        await store.grants.get("g-9")
    with pytest.raises(GrantNotFound):
        await store.grants.revoke("g-9", by="ana", now=NOW)


async def test_what_was_allowed_is_erased_when_a_grant_has_ended_for_long_enough(place: Place, clock: Clock) -> None:
    async with place.open(clock=clock) as store:
        over, live = (
            await made(store, 1, lifetime=timedelta(hours=1)),
            await made(store, 2, lifetime=timedelta(days=30)),
        )
        revoked, spent = await made(store, 3, lifetime=timedelta(days=30)), await made(store, 4, max_uses=1)
        await store.grants.revoke(revoked.id, by="ben", now=LATER)
        await used(store, spent)

        erased = await store.grants.erase(NOW + timedelta(hours=2), now=NOW + timedelta(hours=3))

        assert erased == 3
        kept = {grant.id: grant.scope is not None for grant in (await store.grants.list(now=NOW)).items}
        assert kept == {over.id: False, live.id: True, revoked.id: False, spent.id: False}
        assert (await store.grants.get(over.id)).scope_digest == over.scope_digest
        assert (await store.verify()).ok


async def test_the_log_stays_whole_through_all_of_it(store: Store) -> None:
    first, second = await made(store, 1), await made(store, 2)
    await used(store, first)
    await store.grants.revoke(second.id, by="ben", now=LATER)

    assert (await store.verify()).problem is None


@pytest.fixture
def clock() -> Clock:
    return Clock()
