"""Standing grants among real processes, and a table that somebody wrote to by hand."""

import sqlite3
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from holdshort.policy import Because, Wish, exactly
from holdshort.store import EntryKind, LogFilter, NewEntry, Store
from holdshort.store.folder import DATABASE
from interruption.samples import AGENT, parked
from store.places import SQLitePlace, approval, row
from store.processes import worker

RACERS = 3
USES = 20


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    return SQLitePlace(tmp_path / "state")


async def grant(store: Store, uses: int = USES) -> None:
    call = await store.park(parked())
    remember = Wish(exactly(call.arguments), max_uses=uses).to_json()
    await store.apply(call.id, replace(approval(call), remember=remember))


def entry() -> NewEntry:
    return replace(row("refund"), agent=AGENT, because=(Because("grant", "g-1"),), fingerprint="f" * 64)


async def taken_rows(store: Store) -> int:
    where = LogFilter(kinds=frozenset({EntryKind.VERDICT}))
    return len([entry async for entry in store.entries(where=where)])


async def test_processes_that_race_for_the_uses_of_a_grant_get_exactly_those_there_are(place: SQLitePlace) -> None:
    async with place.open() as store:
        await grant(store)

    async with AsyncExitStack() as stack:
        racers = [await stack.enter_async_context(worker(place.folder, "use_grant")) for _ in range(RACERS)]
        async with anyio.create_task_group() as tasks:
            for racer in racers:
                tasks.start_soon(racer.go)
        told = [await racer.told() for racer in racers]

    assert sum(one["taken"] for one in told) == USES
    async with place.open() as store:
        assert (await store.grants.get("g-1")).uses == await taken_rows(store) == USES
        assert (await store.verify()).problem is None


@pytest.mark.parametrize("nth", [1, 7])
@pytest.mark.parametrize(("point", "lost"), [("grant.in_tx", 0), ("intent.after_commit", 1)])
async def test_a_process_killed_while_it_takes_a_use_loses_one_at_most_and_gains_none(
    place: SQLitePlace, point: str, lost: int, nth: int
) -> None:
    async with place.open() as store:
        await grant(store)

    async with worker(place.folder, "use_grant", environ={"HOLDSHORT_FAULT": f"{point}:{nth}:kill"}) as killed:
        await killed.go()
        assert await killed.died() != 0

    async with place.open() as store:
        assert (await store.grants.get("g-1")).uses == await taken_rows(store) == nth - 1 + lost
        assert (await store.verify()).problem is None
    async with worker(place.folder, "use_grant") as next_one:
        await next_one.go()
        assert (await next_one.told())["taken"] == USES - (nth - 1 + lost)


async def test_a_grant_made_or_revoked_there_is_known_here_within_100_ms(place: SQLitePlace) -> None:
    """Not by a timer: whoever asks looks."""
    async with place.open() as here, place.open() as there:
        assert await here.grants.candidates(AGENT, "payments", "refund") == ()
        await grant(there)
        assert len(await here.grants.candidates(AGENT, "payments", "refund")) == 1
        await there.grants.revoke("g-1", by="ben", now=place.clock())
        assert await here.grants.candidates(AGENT, "payments", "refund") == ()


FORGERIES = {
    "more uses": "UPDATE standing_grant SET max_uses = 99",
    "uses given back": "UPDATE standing_grant SET uses = 0",
    "longer": "UPDATE standing_grant SET expires = expires + 1",
    "wider": """UPDATE standing_grant SET scope = '{"arguments":{"to":{"in":["eve"]}},"when":null}'""",
    "another digest": "UPDATE standing_grant SET scope_digest = 'x'",
    "another agent": "UPDATE standing_grant SET agent = 'eve'",
    "another tool": "UPDATE standing_grant SET tool = 'transfer'",
    "another definition": "UPDATE standing_grant SET definition_digest = 'x'",
    "another maker": """UPDATE standing_grant SET made_by = '["eve"]'""",
    "revocation undone": "UPDATE standing_grant SET revoked = NULL",
    "gone": "DELETE FROM standing_grant",
    "one more": "INSERT INTO standing_grant SELECT 9, 'g-9', agent, server, tool, definition_digest, scope,"
    " scope_digest, made_by, made, from_interruption, expires, max_uses, 0, NULL, NULL, NULL, changed"
    " FROM standing_grant",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_grant_written_by_hand_is_found_when_the_log_is_verified(place: SQLitePlace, forgery: str) -> None:
    async with place.open() as store:
        await grant(store)
        made = await store.grants.get("g-1")
        await store.grants.use(made, entry(), now=place.clock())
        await store.grants.revoke("g-1", by="ben", now=place.clock())
        assert (await store.verify()).ok

    with closing(sqlite3.connect(place.folder / DATABASE)) as connection, connection:
        connection.execute(FORGERIES[forgery])

    async with place.open() as store:
        assert "grant `g-" in str((await store.verify()).problem)
