"""The contract, part two: the decision log. Runs against every kind of store."""

import json

import anyio

from holdshort.interruption import Finish, Outcome, OutcomeKind
from holdshort.policy import Because
from holdshort.store import EntryKind, LogFilter, NewEntry, Store
from interruption.samples import NOW, parked
from store.places import Place, approval, claim, row


async def test_a_row_is_kept_as_it_was_said(store: Store) -> None:
    entry = NewEntry(
        kind=EntryKind.VERDICT,
        at=NOW,
        server="files",
        tool="read",
        agent="local",
        action="deny",
        because=(Because("team.yaml", "no-admin"),),
        fingerprint="f" * 64,
        detail={"note": "ünï\u202e", "n": 2**80},
    )

    sequence = await store.record(entry)

    (kept,) = [entry async for entry in store.entries()]
    assert kept.sequence == sequence == 1
    assert (
        json.loads(kept.body)
        == kept.fields
        == {
            "sequence": 1,
            "at": "2026-11-20T10:00:00.000000Z",
            "kind": "verdict",
            "server": "files",
            "tool": "read",
            "agent": "local",
            "action": "deny",
            "because": [{"layer": "team.yaml", "rule": "no-admin"}],
            "fingerprint": "f" * 64,
            "detail": {"note": "ünï\u202e", "n": 2**80},
        }
    )


async def test_many_writers_make_one_chain_without_gaps(place: Place) -> None:
    sequences: list[int] = []

    async def write(store: Store, number: int) -> None:
        for turn in range(20):
            sequences.append(await store.record(row(f"t{number}-{turn}")))
            if turn % 5 == 0:
                call = parked(number * 100 + turn)
                await store.park(call)
                await store.apply(call.id, approval(call))

    async with place.open() as one, place.open() as two:
        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(write, (one, two)[number % 2], number)
        verified = await one.verify()

    assert len(set(sequences)) == 320
    assert verified.ok
    assert verified.rows == 320 + 16 * 4 * 2


async def test_the_rows_of_one_call_tell_its_whole_life(store: Store) -> None:
    call = await store.park(parked())
    await store.record(row())
    await store.apply(call.id, approval(call))
    running = await store.apply(call.id, claim(call))
    assert running.claim is not None
    done = Outcome(kind=OutcomeKind.OK, at=NOW)
    await store.apply(call.id, Finish(at=NOW, token=running.claim.token, outcome=done))

    told = [entry.fields async for entry in store.entries(where=LogFilter(interruption=call.id))]

    assert [(fields["kind"], fields["detail"]["state"]) for fields in told] == [
        ("parked", "pending"),
        ("decision", "approved"),
        ("intent", "executing"),
        ("outcome", "executed"),
    ]
    assert {fields["fingerprint"] for fields in told} == {call.fingerprint}


async def test_rows_can_be_read_in_parts_and_by_what_they_say(store: Store) -> None:
    for number in range(1_203):
        await store.record(row("write" if number % 100 == 0 else "read"))
    await store.park(parked())

    part = [entry.sequence async for entry in store.entries(after=700, limit=501)]
    spoken = [entry.sequence async for entry in store.entries(where=LogFilter(kinds=frozenset({EntryKind.PARKED})))]
    by_server = [entry.sequence async for entry in store.entries(where=LogFilter(server="payments", agent="ci-bot"))]

    assert part == list(range(701, 1_202))
    assert spoken == by_server == [1_204]
    assert [entry async for entry in store.entries(after=1_204)] == []


async def test_the_head_of_the_chain_moves_with_every_row(store: Store) -> None:
    empty = await store.verify()
    await store.record(row())
    one = await store.verify()

    assert (empty.ok, empty.rows, one.rows) == (True, 0, 1)
    assert one.head != empty.head
    assert one.head == [entry async for entry in store.entries()][-1].hash
