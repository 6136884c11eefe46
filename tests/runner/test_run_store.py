"""Saved runs: of two that go on from one state, one does; and what is loaded is what was saved."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Generator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.runner.agent import Agent
from holdshort.runner.data import Entry, RunData, RunStatus, Source
from holdshort.runner.errors import StateDamaged, StateMissing, StateSuperseded, StateTampered, StorageError, UserError
from holdshort.runner.run_store import SQLiteRunStore, follows
from holdshort.runner.state import RunState
from runner.keeping import BATCHES, NAMES, Keepers, SavedState

AGENT = Agent[Any]("Ops")
SECRET = b"a secret of thirty-two bytes ...."
ANOTHER = b"another one of thirty-two bytes ."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(file: Path) -> Generator[SQLiteRunStore]:
    with closing(SQLiteRunStore(file)) as opened:
        yield opened


def state(revision: int, *lineage: str, run_id: str = "run-1", status: RunStatus = RunStatus.RUNNING) -> RunState:
    """A state of a run, as `on_state` gets it."""
    history = [Entry({"role": "user", "content": f"said by {revision}"}, Source.INPUT, "Ops")]
    return RunState(
        AGENT,
        RunData(
            run_id=run_id,
            agent="Ops",
            first_agent="Ops",
            revision=revision,
            lineage=list(lineage),
            status=status,
            history=history,
        ),
    )


def mode_of(path: Path) -> int:
    return path.stat().st_mode


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


async def test_what_is_loaded_is_what_was_saved_last(store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a"))
    await store.save(state(2, "0:a"))

    loaded = await store.load(AGENT, "run-1")

    assert loaded.to_string() == state(2, "0:a").to_string()


async def test_a_run_is_found_by_another_process_and_the_file_is_for_its_owner_only(file: Path) -> None:
    with closing(SQLiteRunStore(file)) as first:
        await first.save(state(1, "0:a"))
    with closing(SQLiteRunStore(str(file))) as second:
        assert (await second.load(AGENT, "run-1")).revision == 1

    assert stat.filemode(mode_of(file)) == "-rw-------"


async def test_a_run_that_is_not_saved_is_missing(store: SQLiteRunStore, file: Path) -> None:
    with pytest.raises(StateMissing, match=f"no state of the run `run-1` is saved in {file}"):
        await store.load(AGENT, "run-1")


async def test_the_same_state_again_changes_nothing(store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a"))
    [before] = await store.list()

    await store.save(state(1, "0:a"))

    assert await store.list() == [before]


async def test_the_same_revision_with_something_else_in_it_is_superseded(store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a"))
    other = state(1, "0:a")
    other.data.turn = 7

    with pytest.raises(StateSuperseded, match="revision 1 of the run `run-1` does not follow from revision 1"):
        await store.save(other)


async def test_of_two_that_go_on_from_one_state_the_first_to_save_goes_on_though_both_do_the_same(
    store: SQLiteRunStore,
) -> None:
    await store.save(state(5, "0:a"))
    await store.save(state(6, "0:a", "5:b"))

    for revision in (6, 7, 12):
        with pytest.raises(StateSuperseded):
            await store.save(state(revision, "0:a", "5:c"))
    await store.save(state(7, "0:a", "5:b"))

    assert (await store.load(AGENT, "run-1")).data.lineage == ["0:a", "5:b"]


async def test_steps_that_were_not_saved_may_be_missing_in_between(store: SQLiteRunStore) -> None:
    await store.save(state(2, "0:a"))
    await store.save(state(9, "0:a"))
    await store.save(state(14, "0:a", "12:b"))
    await store.save(state(20, "0:a", "12:b", "15:c", "18:d"))

    assert (await store.load(AGENT, "run-1")).revision == 20


@pytest.mark.parametrize(
    "late",
    [
        state(4, "0:a"),
        state(9, "0:a"),
        state(9, "0:x"),
        state(9, "0:a", "4:c"),
        state(9, "0:a", "5:c", "8:d"),
        state(9),
    ],
    ids=["older", "of a process that was followed", "of another run", "from before", "from beside", "of nobody"],
)
async def test_what_does_not_follow_from_what_is_saved_is_superseded(store: SQLiteRunStore, late: RunState) -> None:
    await store.save(state(5, "0:a"))
    await store.save(state(6, "0:a", "5:b"))

    with pytest.raises(StateSuperseded, match="load the run and go on from there"):
        await store.save(late)

    assert (await store.load(AGENT, "run-1")).revision == 6


class _Line:
    """One process at work on a run: what it began from, and what it is at."""

    def __init__(self, name: str, revision: int, lineage: list[str]) -> None:
        self.revision = revision
        self.lineage = [*lineage, f"{revision}:{name}"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
@settings(deadline=None)
def test_whatever_processes_do_what_is_saved_is_one_line_of_steps_without_a_gap(steps: list[tuple[int, int]]) -> None:
    """Each process saves each of its steps; now and then one is replaced by one that goes on from what any has."""
    lines = [_Line("first", 0, [])]
    saved: list[tuple[int, list[str]]] = []
    for number, (who, what) in enumerate(steps):
        line = lines[who % len(lines)]
        if what == 0:
            lines.append(_Line(f"p{number}", line.revision, line.lineage))
            continue
        revision = line.revision + 1
        if not saved or follows(revision, line.lineage, *saved[-1]):
            line.revision = revision
            saved.append((revision, line.lineage))

    assert [revision for revision, _ in saved] == list(range(1, len(saved) + 1))
    for (_, before), (revision, after) in pairwise(saved):
        assert after[: len(before)] == before
        assert all(int(entry.partition(":")[0]) >= revision - 1 for entry in after[len(before) :])


async def test_tasks_that_save_the_same_step_at_once_are_told_apart(store: SQLiteRunStore) -> None:
    await store.save(state(5, "0:a"))
    said: list[str] = []

    async def go_on(name: str) -> None:
        try:
            await store.save(state(6, "0:a", f"5:{name}"))
        except StateSuperseded:
            said.append("superseded")
        else:
            said.append("saved")

    async with anyio.create_task_group() as tasks:
        for name in "bcdef":
            tasks.start_soon(go_on, name)

    assert sorted(said) == ["saved", *["superseded"] * 4]


async def test_of_processes_that_go_on_from_one_state_exactly_one_saves_and_saves_all(
    keepers: Keepers, file: Path
) -> None:
    with closing(SQLiteRunStore(file)) as store:
        first = RunData(run_id="run-1", agent="Ops", first_agent="Ops", revision=5, lineage=["0:first"])
        await store.save(SavedState(first))

    said = await keepers.race("go_on", file)

    assert sorted(said) == [0] * (len(NAMES) - 1) + [BATCHES]
    with closing(SQLiteRunStore(file)) as store:
        [run] = await store.list()
    assert run.revision == 5 + BATCHES


async def test_signed_states_are_loaded_with_the_secret_and_others_are_not(file: Path) -> None:
    with closing(SQLiteRunStore(file, secret=SECRET)) as signing, closing(SQLiteRunStore(file)) as plain:
        await signing.save(state(1, "0:a"))
        await plain.save(state(1, "0:a", run_id="run-2"))

        assert (await signing.load(AGENT, "run-1")).revision == 1
        with pytest.raises(StateTampered):
            await plain.load(AGENT, "run-1")
        with pytest.raises(StateTampered):
            await signing.load(AGENT, "run-2")
    with closing(SQLiteRunStore(file, secret=ANOTHER)) as other, pytest.raises(StateTampered):
        await other.load(AGENT, "run-1")
    assert SECRET.decode() not in repr(signing)
    assert SECRET not in bytes_of(file)


async def test_a_state_that_was_changed_in_the_file_is_refused(file: Path, store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a"))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE holdshort_run SET state = replace(state, '\"turn\":0', '\"turn\":-1')")

    with pytest.raises(StateDamaged, match="/run/turn"):
        await store.load(AGENT, "run-1")


async def test_a_state_is_of_the_agent_that_it_began_with(store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a"))

    with pytest.raises(UserError, match="began with agent `Ops`, not `Sales`"):
        await store.load(Agent("Sales"), "run-1")


async def test_runs_are_listed_with_where_they_stand_and_by_it(store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a", run_id="run-1", status=RunStatus.WAITING))
    await store.save(state(2, "0:b", run_id="run-2", status=RunStatus.DONE))

    listed = await store.list()

    assert {(run.run_id, run.status, run.revision) for run in listed} == {
        ("run-1", RunStatus.WAITING, 1),
        ("run-2", RunStatus.DONE, 2),
    }
    assert sorted((run.saved_at for run in listed), reverse=True) == [run.saved_at for run in listed]
    assert all(run.saved_at.endswith("Z") and len(run.saved_at) == 24 for run in listed)
    assert [run.run_id for run in await store.list(status=RunStatus.WAITING)] == ["run-1"]
    assert await store.list(status=RunStatus.RUNNING) == []


async def test_a_run_that_is_forgotten_is_gone_and_its_id_can_be_used_again(store: SQLiteRunStore) -> None:
    await store.save(state(3, "0:a"))

    assert await store.delete("run-1")
    assert not await store.delete("run-1")
    assert await store.list() == []
    await store.save(state(1, "0:b"))


async def test_a_row_that_makes_no_sense_is_not_listed_as_if_it_did(file: Path, store: SQLiteRunStore) -> None:
    await store.save(state(1, "0:a"))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE holdshort_run SET status = 'sleeping'")

    with pytest.raises(StorageError, match="a run with an unknown status"):
        await store.list()


async def test_sessions_and_runs_can_share_a_file_and_a_closed_store_says_so(file: Path) -> None:
    from holdshort.runner.sqlite_session import SQLiteSession

    with closing(SQLiteRunStore(file)) as store, closing(SQLiteSession("user-1", file)) as session:
        await session.add_items([{"role": "user", "content": "hello"}])
        await store.save(state(1, "0:a"))
        assert len(await session.get_items()) == 1

    with pytest.raises(UserError, match="was closed"):
        await store.list()
