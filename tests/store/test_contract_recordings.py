"""The contract, part six: recordings. Runs against every kind of store."""

import hashlib
from datetime import timedelta

import anyio
import pytest

from holdshort.interruption import State, Withdraw
from holdshort.policy import Because
from holdshort.store import LogEntry, NewEntry, NewRecording, Store
from holdshort.store.contract import EntryKind
from holdshort.store.faults import InjectedFault, arm
from interruption.samples import NOW, parked
from store.places import Place, row

LATER = NOW + timedelta(days=7)
SAID = NewRecording('{"salt":"x","arguments":{"path":"/data"}}', LATER)


def recorded(said: NewRecording = SAID) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=NOW,
        server="files",
        tool="read",
        agent="local",
        action="allow",
        because=(Because("team.yaml", "reads"),),
        recording=said,
    )


async def entries(store: Store) -> list[LogEntry]:
    return [entry async for entry in store.entries()]


async def test_a_row_names_its_recording_by_its_digest_and_holds_none_of_it(store: Store) -> None:
    plain = await store.record(row())
    sequence = await store.record(recorded())

    (_, kept) = await entries(store)
    assert (plain, sequence) == (1, 2)
    assert await store.recordings.get(sequence) == SAID.body
    assert await store.recordings.get(plain) is None
    assert kept.fields["detail"] == {"recording": hashlib.sha256(SAID.body.encode()).hexdigest()}
    assert "/data" not in kept.body
    assert (await store.verify()).ok


async def test_a_parked_call_is_recorded_with_its_row(store: Store) -> None:
    call = await store.park(parked(), recording=SAID)

    (kept,) = await entries(store)
    assert await store.recordings.get(1) == SAID.body
    assert kept.fields["interruption"] == call.id
    assert kept.fields["detail"]["state"] == "pending"
    assert kept.fields["detail"]["recording"] == hashlib.sha256(SAID.body.encode()).hexdigest()
    assert (await store.verify()).ok


async def test_neither_row_nor_recording_is_written_alone(store: Store) -> None:
    arm("park.before_commit:1:raise")
    with pytest.raises(InjectedFault):
        await store.park(parked(), recording=SAID)

    assert await store.recordings.get(1) is None
    assert await entries(store) == []


async def test_many_writers_record_and_every_recording_is_at_its_own_row(place: Place) -> None:
    async def write(store: Store, number: int) -> None:
        for turn in range(20):
            text = f'{{"salt":"{number}-{turn}"}}'
            sequence = await store.record(recorded(NewRecording(text, LATER)))
            assert await store.recordings.get(sequence) == text
            await store.record(row())

    async with place.open() as one, place.open() as two:
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(write, (one, two)[number % 2], number)
        found = [entry async for entry in one.entries()]
        for entry in found:
            text = await two.recordings.get(entry.sequence)
            digest = None if text is None else hashlib.sha256(text.encode()).hexdigest()
            assert (entry.fields.get("detail") or {}).get("recording") == digest
        verified = await one.verify()

    assert (verified.ok, verified.rows) == (True, 320)


async def test_what_is_due_is_erased_and_the_chain_stays_whole(place: Place) -> None:
    async with place.open() as store:
        for days in (1, 2, 3):
            await store.record(recorded(NewRecording(f'{{"salt":"{days}"}}', NOW + timedelta(days=days))))

        erased = await store.recordings.erase(NOW + timedelta(days=2))

        assert erased == 2
        assert [await store.recordings.get(sequence) for sequence in (1, 2, 3)] == [None, None, '{"salt":"3"}']
        assert (await store.verify()).ok
    place.clock.pass_by(days=4)
    async with place.open() as store:
        assert await store.recordings.get(3) is None
        assert (await store.verify()).rows == 3


async def test_a_recording_outlives_its_call(store: Store) -> None:
    """It goes when its own time is up, not when the result has been fetched or was erased."""
    call = await store.park(parked(), recording=SAID)
    ended = await store.apply(call.id, Withdraw(at=NOW, by=call.requested_by.agent))
    await store.purge(NOW + timedelta(days=1), now=NOW + timedelta(days=1))

    assert ended.state is State.WITHDRAWN
    assert await store.recordings.get(1) == SAID.body
