"""The contract, part three: waiting. Whoever waits hears of every change, whoever made it. For every kind of store."""

import anyio
import pytest

from holdshort.interruption import Interruption, State, Step
from holdshort.store import Change, InterruptionNotFound, Quotas, Store
from interruption.samples import NOW, event_for, parked
from store.places import Place, approval, row

PATIENCE = 10
"""Seconds until a wait that should have ended long ago counts as failed."""


async def test_a_waiter_wakes_with_the_decided_record(store: Store) -> None:
    call = await store.park(parked())
    woken: list[Interruption] = []

    async def wait() -> None:
        woken.append(await store.wait_change(call.id, call.revision))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await store.apply(call.id, approval(call))

    assert [record.state for record in woken] == [State.APPROVED]
    assert woken == [await store.get(call.id)]


async def test_what_changed_before_the_wait_is_told_at_once(store: Store) -> None:
    call = await store.park(parked())
    approved = await store.apply(call.id, approval(call))

    with anyio.fail_after(PATIENCE):
        assert await store.wait_change(call.id, call.revision) == approved


async def test_a_row_about_something_else_wakes_nobody(store: Store) -> None:
    call = await store.park(parked(1))

    with anyio.move_on_after(0.2) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.wait_change, call.id, call.revision)
            await anyio.wait_all_tasks_blocked()
            await store.record(row())
            await store.park(parked(2))

    assert scope.cancelled_caught


async def test_waiting_for_an_unknown_call_is_an_error(store: Store) -> None:
    with pytest.raises(InterruptionNotFound):
        await store.wait_change("i-404", 0)


async def test_a_decision_in_one_store_wakes_a_waiter_in_another(place: Place) -> None:
    async with place.open() as deciding, place.open() as waiting:
        call = await deciding.park(parked())
        woken: list[Interruption] = []

        async def wait() -> None:
            woken.append(await waiting.wait_change(call.id, call.revision))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                await deciding.apply(call.id, approval(call))
        decided = await waiting.get(call.id)

    assert decided.state is State.APPROVED
    assert woken == [decided]


async def test_a_subscription_tells_every_change_in_order(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        with anyio.fail_after(PATIENCE):
            async with two.subscribe() as changes:
                seen: list[tuple[str, State]] = []
                sequences: list[int] = []

                async def listen() -> None:
                    async for change in changes:
                        seen.append((change.interruption.id, change.interruption.state))
                        sequences.append(change.sequence)
                        if len(seen) == 3:
                            return

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(listen)
                    await anyio.wait_all_tasks_blocked()
                    for number in range(3):
                        await (one if number % 2 else two).park(parked(number))

    assert seen == [(f"i-{number}", State.PENDING) for number in range(3)]
    assert sequences == sorted(set(sequences))


async def test_a_subscription_counts_from_when_it_is_made_not_from_when_it_is_read(store: Store) -> None:
    await store.park(parked(1))
    with anyio.fail_after(PATIENCE):
        async with store.subscribe() as changes:
            await store.park(parked(2))

            assert (await anext(changes)).interruption.id == "i-2"


async def test_a_listener_who_comes_back_misses_nothing(store: Store) -> None:
    await store.park(parked(1))
    left_at = await store.sequence()
    second = await store.park(parked(2))
    first = await store.apply("i-1", event_for(Step.REJECT, parked(1)))

    caught_up: list[Interruption] = []
    with anyio.fail_after(PATIENCE):
        async with store.subscribe(after=left_at) as changes:
            async for change in changes:
                caught_up.append(change.interruption)
                if len(caught_up) == 2:
                    break

    assert caught_up == [second, first]
    assert [change.interruption for change in await store.changes_since(left_at)] == caught_up
    assert await store.changes_since(await store.sequence()) == []


async def test_a_slow_listener_sees_the_latest_stand_and_never_an_older_one(store: Store) -> None:
    call = await store.park(parked(required=3))
    seen: list[Change] = []
    with anyio.fail_after(PATIENCE):
        async with store.subscribe(after=0) as changes:
            for by in ("ana", "ben"):
                await store.apply(call.id, approval(call, by))
            async for change in changes:
                seen.append(change)
                break

    assert [len(change.interruption.decisions) for change in seen] == [2]


async def test_a_cancelled_waiter_leaves_the_others_waiting(store: Store) -> None:
    call = await store.park(parked())
    woken: list[Interruption] = []

    async def wait() -> None:
        woken.append(await store.wait_change(call.id, call.revision))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.move_on_after(0.01):
                await store.wait_change(call.id, call.revision)
            await store.apply(call.id, approval(call))

    assert [record.state for record in woken] == [State.APPROVED]
    assert woken == [await store.get(call.id)]


async def test_ten_thousand_waiters_all_wake(place: Place) -> None:
    count = 10_000
    quotas = Quotas(per_agent=count, per_server=count, total=count)
    async with place.open(quotas=quotas) as store:
        woken: set[str] = set()

        async def park(number: int) -> None:
            await store.park(parked(number))

        async def wait(number: int) -> None:
            woken.add((await store.wait_change(f"i-{number}", 1)).id)

        async def decide(number: int) -> None:
            await store.apply(f"i-{number}", approval(parked(number), at=NOW))

        with anyio.fail_after(100):
            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(park, number)
            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(wait, number)
                await anyio.wait_all_tasks_blocked()
                for number in range(count):
                    tasks.start_soon(decide, number)

    assert len(woken) == count
