"""Several processes on one state folder, and processes that die at the worst moment."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdshort.interruption import State
from holdshort.store import open_store
from interruption.samples import AGENT, NOW, parked
from store.places import SQLitePlace, approval, claim
from store.processes import Worker, worker

RACERS = 4
PATIENCE = 30


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    return SQLitePlace(tmp_path / "state")


async def race(place: SQLitePlace, deed: str) -> list[dict[str, Any]]:
    """Let several processes do the same deed as nearly at once as can be, and return what each tells."""
    async with AsyncExitStack() as stack:
        racers = [await stack.enter_async_context(worker(place.folder, deed)) for _ in range(RACERS)]
        async with anyio.create_task_group() as tasks:
            for racer in racers:
                tasks.start_soon(racer.go)
        return [await racer.told() for racer in racers]


async def test_of_several_processes_that_decide_one_wins(place: SQLitePlace) -> None:
    async with place.open() as store:
        await store.park(parked())

    told = await race(place, "decide")

    winners = [one["by"] for one in told if "by" in one]
    assert len(winners) == 1
    assert [one.get("error") for one in told].count("already_decided") == RACERS - 1
    async with place.open() as store:
        assert [record.by for record in (await store.get("i-1")).decisions] == winners


async def test_several_processes_that_see_a_new_tool_agree_on_its_pin(place: SQLitePlace) -> None:
    async with place.open():
        pass

    told = await race(place, "see_tool")

    (accepted,) = {one["accepted"] for one in told}
    assert accepted in {one["own"] for one in told}
    async with place.open() as store:
        rows = [entry.fields["action"] async for entry in store.entries() if entry.fields["kind"] == "pin"]
        assert sorted(rows) == ["changed"] * (RACERS - 1) + ["pinned"]
        assert store.pins.digests("files")["read"].accepted == accepted
        assert (await store.verify()).ok


async def test_of_several_processes_that_claim_one_runs_it(place: SQLitePlace) -> None:
    async with place.open() as store:
        call = await store.park(parked())
        await store.apply(call.id, approval(call))

    told = await race(place, "claim")

    assert sum("token" in one for one in told) == 1
    assert {one.get("error") for one in told} <= {None, "illegal_transition"}


@pytest.mark.parametrize(("deed", "word"), [("attach", "attached"), ("spend", "spent")])
async def test_of_several_processes_that_want_the_same_thing_one_gets_it(
    place: SQLitePlace, deed: str, word: str
) -> None:
    async with place.open() as store:
        await store.park(parked())

    told = await race(place, deed)

    assert sorted(one[word] for one in told) == [False] * (RACERS - 1) + [True]


async def test_several_processes_that_write_make_one_chain(place: SQLitePlace) -> None:
    told = await race(place, "write")

    async with place.open() as store:
        verified = await store.verify()
    assert verified.ok
    assert verified.rows == sum(one["rows"] for one in told)


async def test_several_processes_can_start_on_a_new_folder_at_once(place: SQLitePlace) -> None:
    ready: list[Worker] = []

    async def start(stack: AsyncExitStack) -> None:
        ready.append(await stack.enter_async_context(worker(place.folder, "spend")))

    async with AsyncExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            for _ in range(RACERS):
                tasks.start_soon(start, stack)

        assert len(ready) == RACERS


async def test_a_decision_here_is_seen_by_a_process_there(place: SQLitePlace) -> None:
    async with place.open() as store:
        call = await store.park(parked())
        async with worker(place.folder, "wait") as waiting:
            await waiting.go()
            await store.apply(call.id, approval(call))

            assert (await waiting.told())["state"] == "approved"


async def test_a_decision_there_is_seen_here(place: SQLitePlace) -> None:
    async with place.open() as store:
        call = await store.park(parked())
        async with worker(place.folder, "decide") as deciding:
            with anyio.fail_after(PATIENCE):
                await deciding.go()
                changed = await store.wait_change(call.id, call.revision)

    assert changed.state is State.APPROVED


async def test_what_a_killed_process_was_running_is_unknown_at_once(place: SQLitePlace) -> None:
    async with place.open() as store:
        async with worker(place.folder, "run_forever") as running:
            await running.go()
            await running.told()
            assert await store.recover(NOW) == []
            assert await store.attach(AGENT, parked().requested_fingerprint, "h", now=NOW) is None
            running.kill()
            await running.died()

            lost = await store.recover(NOW)

        assert [(call.id, call.state) for call in lost] == [("i-1", State.UNKNOWN)]
        assert await store.attach(AGENT, parked().requested_fingerprint, "h", now=NOW) == lost[0]
        assert len(list((place.folder / "owners").iterdir())) == 1


async def test_the_sweep_finds_a_killed_process_by_itself(place: SQLitePlace) -> None:
    async with place.open(sweep=True) as store, worker(place.folder, "run_forever") as running:
        await running.go()
        await running.told()
        running.kill()

        with anyio.fail_after(PATIENCE):
            changed = await store.wait_change("i-1", 3)

    assert changed.state is State.UNKNOWN


@pytest.mark.parametrize(
    ("deed", "point", "state"),
    [
        ("run_through", "audit.append:1", None),
        ("run_through", "park.before_commit:1", None),
        ("run_through", "park.after_commit:1", State.PENDING),
        ("run_through", "vote.in_tx:1", State.PENDING),
        ("run_through", "audit.append:2", State.PENDING),
        ("run_through", "vote.after_commit:1", State.APPROVED),
        ("run_through", "quorum.after_commit:1", State.APPROVED),
        ("run_through", "intent.in_tx:1", State.APPROVED),
        ("run_through", "intent.after_commit:1", State.UNKNOWN),
        ("run_through", "outcome.in_tx:1", State.UNKNOWN),
        ("run_through", "outcome.after_commit:1", State.EXECUTED),
        ("edit", "edit.in_tx:1", State.PENDING),
        ("expire", "expire.in_tx:1", State.PENDING),
    ],
)
async def test_a_kill_at_any_point_leaves_a_known_state_and_a_whole_chain(
    place: SQLitePlace, deed: str, point: str, state: State | None
) -> None:
    """README promise: after any crash each call is in exactly one state, and the log is whole."""
    async with worker(place.folder, deed, environ={"HOLDSHORT_FAULT": f"{point}:kill"}) as victim:
        await victim.go()
        assert await victim.died() == -9

    async with place.open() as store:
        counts = await store.counts()
        verified = await store.verify()
        assert counts == ({} if state is None else {state: 1})
        assert verified.ok
        if state is State.PENDING:
            call = await store.get("i-1")
            assert call.arguments == parked().arguments
            await store.apply(call.id, approval(call))
            await store.apply(call.id, claim(call))


async def test_a_kill_while_a_tool_is_pinned_leaves_no_pin_without_its_row(place: SQLitePlace) -> None:
    async with worker(place.folder, "see_tool", environ={"HOLDSHORT_FAULT": "pin.check:1:kill"}) as victim:
        await victim.go()
        assert await victim.died() == -9
    async with place.open() as store:
        assert (await store.pins.all(), [entry async for entry in store.entries()]) == ([], [])
        assert (await store.verify()).ok


async def test_rows_that_were_committed_survive_a_kill_before_they_are_on_disk(place: SQLitePlace) -> None:
    async with worker(place.folder, "record", environ={"HOLDSHORT_FAULT": "audit.checkpoint:1:kill"}) as victim:
        await victim.go()
        assert await victim.died() == -9

    async with place.open() as store:
        verified = await store.verify()
        assert (verified.ok, verified.rows) == (True, 100)


async def test_a_kill_while_the_schema_is_made_leaves_a_folder_that_opens(place: SQLitePlace) -> None:
    with pytest.raises(anyio.EndOfStream):
        async with worker(place.folder, "spend", environ={"HOLDSHORT_FAULT": "migrate.step:1:kill"}):
            pass

    async with place.open() as store:
        assert (await store.verify()).ok


async def test_a_disk_that_takes_no_more_stops_every_write_and_nothing_else(place: SQLitePlace) -> None:
    async with worker(place.folder, "fill_disk") as full:
        await full.go()
        told = await full.told()

    assert told == {
        "refused": ["record", "park", "apply", "spend"],
        "state": "pending",
        "after": "approved",
        "whole": True,
    }


async def test_what_expired_while_nobody_was_there_is_expired_once_the_store_is_open(tmp_path: Path) -> None:
    place = SQLitePlace(tmp_path / "state")
    async with place.open() as store:
        await store.park(parked())

    async with open_store(place.folder, clock=lambda: datetime.now(UTC).replace(year=2030)) as store:
        assert (await store.get("i-1")).state is State.EXPIRED
