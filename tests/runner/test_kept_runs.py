"""Runs that keep their conversation and their state in files: nothing is there twice, and one process goes on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from holdshort.runner import RunConfig, RunResult, RunState, StateSuperseded, UserError
from holdshort.runner.data import Item, RunStatus
from holdshort.runner.run_store import SQLiteRunStore
from holdshort.runner.session import SessionSettings
from holdshort.runner.sqlite_session import SQLiteSession
from kit.responses_script import Asked, Call, Text, Turn
from runner.conftest import Open
from runner.stage import Play, Stage

READ, WRITE = "things__read_thing", "things__write_thing"


def thing() -> str:
    return f"thing-{uuid4().hex[:8]}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept.db"


@pytest.fixture
def store(file: Path) -> Generator[SQLiteRunStore]:
    with closing(SQLiteRunStore(file)) as opened:
        yield opened


def shapes(items: list[Item]) -> list[str]:
    """What kinds of items these are, and of which calls."""
    return [f"{item.get('type', item.get('role'))} {item.get('call_id', '')}".strip() for item in items]


class Died(Exception):
    """The process is gone, as far as the run can tell."""


class Mortal:
    """Keeps every state, and dies at one of them: after it is kept, or before."""

    def __init__(self, store: SQLiteRunStore, at: int, *, kept: bool) -> None:
        self.left = at
        self.kept = kept
        self._store = store

    async def save(self, state: RunState) -> None:
        self.left -= 1
        if self.left == 0 and not self.kept:
            raise Died
        await self._store.save(state)
        if self.left == 0:
            raise Died


def told(asked: Asked) -> Turn:
    """What the model says to somebody who wants a thing read, then written, and names it."""
    item = asked.body["input"][0]["content"]
    turns = [Turn(Call(READ, {"name": item}, "c1")), Turn(Call(WRITE, {"name": item}, "c2")), Turn(Text("done"))]
    return turns[len(asked.outputs)]


async def to_the_end(one: Play, item: str, session: SQLiteSession, store: SQLiteRunStore, mortal: Mortal) -> RunResult:
    """Run to the end by way of whatever pauses and deaths come, each time from what is saved."""
    agent = one.agent()
    given: str | RunState = item
    save = mortal.save
    while True:
        try:
            result: RunResult = await one.run(agent, given, session=session, on_state=save)
        except Died:
            save = store.save
            if not await store.list():
                continue  # nothing was kept yet: the program begins anew
        else:
            if not result.interruptions:
                return result
            await one.approve_all()
        given = await store.load(agent, one.run_id)


@pytest.mark.parametrize("kept", [True, False], ids=["after it is kept", "before it is kept"])
async def test_wherever_a_run_dies_its_session_ends_up_with_each_item_once(
    play: Open, stage: Stage, tmp_path: Path, kept: bool
) -> None:
    async with play(told) as one:
        for at in range(1, 24):
            one.run_id = f"run-{uuid4().hex[:12]}"
            item, path = thing(), tmp_path / f"{at}.db"
            with closing(SQLiteSession("user-1", path)) as session, closing(SQLiteRunStore(path)) as store:
                mortal = Mortal(store, at, kept=kept)
                result = await to_the_end(one, item, session, store, mortal)
                said = shapes(await session.get_items())

            assert result.final_output == "done"
            assert said == [
                "user",
                "function_call c1",
                "function_call_output c1",
                "function_call c2",
                "function_call_output c2",
                "message",
            ], f"it died at save {at}"
            assert stage.spy.executed("write_thing", {"name": item}) == 1, f"it died at save {at}"
            # Nobody was asked about the other one: whether a process that died had sent it, nobody knows, so it is not
            # sent again.
            assert stage.spy.executed("read_thing", {"name": item}) <= 1
            if mortal.left > 0:
                assert at > 8
                return  # it has no more durable points to die at
    raise AssertionError("the run has more durable points than were tried")


async def test_a_store_keeps_a_run_current_and_another_process_finds_it(play: Open, file: Path) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("written"))]) as one:
        agent = one.agent()
        with closing(SQLiteRunStore(file)) as first:
            await one.run(agent, "Write it.", on_state=first.save)
            [run] = await first.list()
            assert (run.run_id, run.status) == (one.run_id, RunStatus.WAITING)
        await one.approve_all()

        with closing(SQLiteRunStore(file)) as second:
            done = await one.run(agent, await second.load(agent, one.run_id), on_state=second.save)
            assert done.final_output == "written"
            assert [each.status for each in await second.list()] == [RunStatus.DONE]


async def test_of_two_that_go_on_from_one_state_at_once_one_asks_the_model(
    play: Open, stage: Stage, store: SQLiteRunStore
) -> None:
    item = thing()
    async with play([Turn(Call(WRITE, {"name": item}, "c1")), Turn(Text("written"))]) as one:
        agent = one.agent()
        await one.run(agent, "Write it.", on_state=store.save)
        await one.approve_all()
        ended: list[str] = []

        async def go_on(state: RunState) -> None:
            try:
                ended.append((await one.run(agent, state, on_state=store.save)).final_output)
            except StateSuperseded:
                ended.append("superseded")

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(go_on, await store.load(agent, one.run_id))

        assert sorted(ended) == ["superseded", "superseded", "written"]
        assert stage.spy.executed("write_thing", {"name": item}) == 1
        assert len(one.model.asked) == 2


async def test_who_goes_on_from_a_state_that_was_gone_on_from_is_told_so_before_anything_happens(
    play: Open, store: SQLiteRunStore
) -> None:
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("written"))]) as one:
        agent = one.agent()
        await one.run(agent, "Write it.", on_state=store.save)
        old = (await store.load(agent, one.run_id)).to_string()
        await one.approve_all()
        await one.run(agent, await store.load(agent, one.run_id), on_state=store.save)

        with pytest.raises(StateSuperseded, match="another process went on"):
            await one.run(agent, await RunState.from_string(agent, old), on_state=store.save)

        assert len(one.model.asked) == 2


async def test_a_new_run_reads_what_the_session_has_and_no_more_than_it_is_told_to(play: Open) -> None:
    with closing(SQLiteSession("user-1")) as session:
        async with play([Turn(Text("one")), Turn(Text("two")), Turn(Text("three"))]) as one:
            for number, limit in enumerate((None, None, 2)):
                config = RunConfig(session_settings=SessionSettings(limit=limit))
                await one.run(one.agent(), str(number), session=session, run_config=config, run_id=f"run-{thing()}")

            assert [len(items) for items in one.inputs()] == [1, 3, 3]
            assert [item.get("content") for item in one.inputs()[2] if item.get("role") == "user"] == ["1", "2"]
        assert shapes(await session.get_items()) == ["user", "message"] * 3


async def test_what_is_no_session_is_refused_before_anything_happens(play: Open) -> None:
    async with play([Turn(Text("never"))]) as one:
        with pytest.raises(UserError, match="session= is a `dict` without `session_id`"):
            await one.run(one.agent(), "Hello.", session={})

        assert one.model.asked == []
