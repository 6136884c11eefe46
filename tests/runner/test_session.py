"""Sessions: the contract that any of them can be run through, and what ours does beyond it."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.runner.data import Item
from holdshort.runner.errors import StateSuperseded, StorageError, UserError
from holdshort.runner.pairing import answered_in, asked_in, thoughts, whole_from, without_orphans
from holdshort.runner.session import (
    OnceSession,
    Session,
    SessionSettings,
    add_once,
    checked_session,
    settled_items,
)
from holdshort.runner.sqlite_session import SQLiteSession
from runner.keeping import BATCHES, NAMES, PAIR, Keepers

Opens = Callable[[str], Session]

USER: Item = {"role": "user", "content": "hello"}
EXACT: Item = {
    "type": "message",
    "z": 1,
    "a": [None, True, 1.5, 9007199254740993, {"é": "\u2028 😀 \ud800"}],
    "content": [{"type": "output_text", "text": 'a "quoted" \n line'}],
    "async": False,
}


def numbered(*numbers: int) -> list[Item]:
    """Messages that can be told apart."""
    return [{"role": "user", "content": str(number)} for number in numbers]


def call(call_id: str) -> Item:
    return {"type": "function_call", "call_id": call_id, "name": "rm", "arguments": "{}"}


def done(call_id: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": "gone"}


class ListSession:
    """The least that is a session: what somebody else may bring along."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.items: list[Item] = []

    async def get_items(self, limit: int | None = None) -> list[Item]:
        return list(self.items) if limit is None else self.items[len(self.items) - limit :]

    async def add_items(self, items: list[Item]) -> None:
        self.items.extend(items)

    async def pop_item(self) -> Item | None:
        return self.items.pop() if self.items else None

    async def clear_session(self) -> None:
        self.items.clear()


@pytest.fixture(params=["list", "memory", "file"])
def open_session(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Opens]:
    """Opens sessions of one kind. To run another kind through the contract, add it here."""
    opened: list[SQLiteSession] = []

    def open_one(session_id: str) -> Session:
        if request.param == "list":
            return ListSession(session_id)
        path = ":memory:" if request.param == "memory" else tmp_path / "sessions.db"
        opened.append(SQLiteSession(session_id, path))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


# -- the contract


async def test_items_come_back_in_order_and_exactly_as_they_were(open_session: Opens) -> None:
    session = open_session("user-1")

    await session.add_items([USER, EXACT])
    await session.add_items(numbered(1))

    kept = await session.get_items()
    assert kept == [USER, EXACT, *numbered(1)]
    assert json.dumps(kept[1]) == json.dumps(EXACT)  # the order of keys too: it is the order in which they are sent


async def test_a_new_session_is_empty_and_adding_nothing_leaves_it_so(open_session: Opens) -> None:
    session = open_session("user-1")

    await session.add_items([])

    assert await session.get_items() == []
    assert await session.pop_item() is None


async def test_a_limit_gives_the_latest_in_order(open_session: Opens) -> None:
    session = open_session("user-1")
    await session.add_items(numbered(1, 2, 3))

    assert await session.get_items(2) == numbered(2, 3)
    assert await session.get_items(limit=9) == numbered(1, 2, 3)
    assert await session.get_items(0) == []


async def test_the_latest_item_can_be_taken_away(open_session: Opens) -> None:
    session = open_session("user-1")
    await session.add_items(numbered(1, 2))

    assert await session.pop_item() == numbered(2)[0]
    assert await session.get_items() == numbered(1)


async def test_a_cleared_session_is_empty_and_can_be_used_on(open_session: Opens) -> None:
    session = open_session("user-1")
    await session.add_items(numbered(1, 2))

    await session.clear_session()
    assert await session.get_items() == []

    await session.add_items(numbered(3))
    assert await session.get_items() == numbered(3)


async def test_sessions_do_not_mix(open_session: Opens) -> None:
    one, other = open_session("user-1"), open_session("user-2")
    await one.add_items(numbered(1))
    await other.add_items(numbered(2))

    await other.clear_session()

    assert await one.get_items() == numbered(1)
    assert (one.session_id, other.session_id) == ("user-1", "user-2")


async def test_tasks_that_append_at_once_lose_nothing_and_part_nothing(open_session: Opens) -> None:
    session = open_session("user-1")

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(session.add_items, [call(str(number)), done(str(number))])

    kept = await session.get_items()
    assert len(kept) == 20 * PAIR
    for first, second in zip(kept[::2], kept[1::2], strict=True):
        assert (first["type"], second["type"]) == ("function_call", "function_call_output")
        assert first["call_id"] == second["call_id"]


def test_all_of_them_are_sessions_and_ours_knows_what_it_has_of_a_run(open_session: Opens) -> None:
    session = open_session("user-1")

    assert checked_session(session) is session
    assert isinstance(session, OnceSession) is isinstance(session, SQLiteSession)


# -- what ours does beyond it


async def test_a_file_keeps_what_memory_forgets(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items(numbered(1))
    with closing(SQLiteSession("user-1", str(file))) as again:
        assert await again.get_items() == numbered(1)
    with closing(SQLiteSession("user-1")) as fresh:
        assert await fresh.get_items() == []


async def test_items_are_added_all_or_none(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        for wrong in (float("nan"), object(), {1, 2}):
            with pytest.raises(UserError, match="no JSON"):
                await session.add_items([USER, {"content": wrong}])
        with pytest.raises(UserError, match="is a `str`, not a dict"):
            await session.add_items([USER, "hello"])  # type: ignore[list-item]

        assert await session.get_items() == []


async def test_items_are_in_the_file_as_the_json_that_they_are(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items([EXACT])

    with closing(sqlite3.connect(file)) as connection:
        [(text,)] = connection.execute("SELECT item FROM holdshort_session_item").fetchall()
    assert list(json.loads(text).items()) == list(EXACT.items())


async def test_the_same_turn_of_a_run_is_added_once(file: Path) -> None:
    turn = [call("c1"), done("c1")]
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items(numbered(1))
        await session.add_items_once(turn, run_id="run-1", position=1)
    with closing(SQLiteSession("user-1", file)) as after_a_crash:
        await after_a_crash.add_items_once([*turn, *numbered(2)], run_id="run-1", position=1)
        await after_a_crash.add_items_once(turn, run_id="run-2", position=1)

        assert await after_a_crash.get_items() == [*numbered(1), *turn, *numbered(2), *turn]


async def test_equal_items_of_one_run_are_each_kept(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items_once([USER, USER], run_id="run-1", position=0)
        await session.add_items_once([USER], run_id="run-1", position=2)

        assert await session.get_items() == [USER, USER, USER]


async def test_a_process_that_went_another_way_from_the_same_state_cannot_write(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items_once([call("c1"), done("c1")], run_id="run-1", position=0)

        with pytest.raises(StateSuperseded, match="`user-1` has another item in place 0 of the run `run-1`"):
            await session.add_items_once([call("c2"), done("c2"), USER], run_id="run-1", position=0)

        assert await session.get_items() == [call("c1"), done("c1")]


async def test_what_was_taken_away_does_not_come_back_with_a_repeated_turn(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items_once(numbered(1, 2), run_id="run-1", position=0)
        await session.pop_item()
        await session.add_items_once(numbered(1, 2), run_id="run-1", position=0)
        assert await session.get_items() == numbered(1)

        await session.clear_session()
        await session.add_items_once(numbered(1, 2, 3), run_id="run-1", position=0)
        assert await session.get_items() == numbered(3)


async def test_a_limit_never_parts_a_call_from_its_output_nor_reasoning_from_what_came_of_it() -> None:
    thought: Item = {"type": "reasoning", "id": "rs_1", "summary": []}
    items = [USER, thought, call("c1"), call("c2"), done("c1"), done("c2"), *numbered(1)]
    with closing(SQLiteSession("user-1")) as session:
        await session.add_items(items)

        assert [len(await session.get_items(limit)) for limit in range(9)] == [0, 1, 1, 1, 1, 1, 6, 7, 7]


async def test_the_settings_say_how_much_is_read_unless_the_caller_does() -> None:
    with closing(SQLiteSession("user-1", session_settings=SessionSettings(limit=2))) as session:
        await session.add_items(numbered(1, 2, 3))

        assert await session.get_items() == numbered(2, 3)
        assert await session.get_items(1) == numbered(3)


async def test_a_limit_counts_items() -> None:
    session = SQLiteSession("user-1")
    with closing(session), pytest.raises(UserError, match="limit is -1"):
        await session.get_items(-1)


async def test_a_session_file_is_for_its_owner_only(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items([USER])

        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


async def test_the_file_is_named_when_it_cannot_be_used(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "sessions.db"
    session = SQLiteSession("user-1", absent)
    with closing(session), pytest.raises(StorageError, match=r"absent/sessions\.db cannot be used \(No such file"):
        await session.get_items()

    text = tmp_path / "notes.txt"
    text.write_text("this is no database, and long enough for SQLite to see that it is none" * 20)
    session = SQLiteSession("user-1", text)
    with closing(session), pytest.raises(StorageError, match=r"notes\.txt cannot be used \(file is not a database\)"):
        await session.add_items([USER])
    assert text.read_text().startswith("this is no database")


@pytest.mark.parametrize("text", ["{cut", "[1]", "null"])
async def test_an_item_that_was_damaged_in_the_file_is_not_passed_over(file: Path, text: str) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items([USER, USER])
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE holdshort_session_item SET item = ? WHERE place = 2", (text,))

        with pytest.raises(StorageError, match="item 2 of session `user-1` is"):
            await session.get_items()


async def test_a_closed_session_says_so(file: Path) -> None:
    session = SQLiteSession("user-1", file)
    await session.add_items([USER])
    session.close()
    session.close()

    with pytest.raises(UserError, match="was closed"):
        await session.get_items()


async def test_a_cancelled_write_is_whole_or_not_at_all(file: Path) -> None:
    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items([USER])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await session.add_items(numbered(1, 2, 3))

        assert len(await session.get_items()) in (1, 4)
        await session.add_items([USER])


async def test_another_programs_tables_in_the_same_file_are_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE agent_messages (id INTEGER PRIMARY KEY, message_data TEXT)")
        connection.execute("INSERT INTO agent_messages VALUES (1, 'theirs')")

    with closing(SQLiteSession("user-1", file)) as session:
        await session.add_items([USER])
        await session.clear_session()

    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT * FROM agent_messages").fetchall() == [(1, "theirs")]


# -- processes


async def test_processes_that_append_at_once_lose_nothing_and_part_nothing(keepers: Keepers, file: Path) -> None:
    assert await keepers.race("add", file) == list(NAMES)

    with closing(SQLiteSession("shared", file)) as session:
        kept = await session.get_items()
    assert Counter(item["call_id"].split("-")[0] for item in kept) == dict.fromkeys(NAMES, BATCHES * PAIR)
    for first, second in zip(kept[::2], kept[1::2], strict=True):
        assert (asked_in(first), answered_in(second)) == (first["call_id"], first["call_id"])


async def test_processes_that_append_the_same_turn_append_it_once(keepers: Keepers, file: Path) -> None:
    await keepers.race("repeat", file)

    with closing(SQLiteSession("shared", file)) as session:
        assert await session.get_items() == numbered(0, 1, 2, 3, 4)


async def test_of_processes_that_went_different_ways_one_writes(keepers: Keepers, file: Path) -> None:
    said = await keepers.race("diverge", file)

    assert Counter(said) == {"added": 1, "superseded": len(NAMES) - 1}
    with closing(SQLiteSession("shared", file)) as session:
        assert len(await session.get_items()) == 1


# -- around any session


async def test_what_others_left_in_the_middle_is_not_part_of_a_new_run() -> None:
    session = ListSession("user-1")
    thought: Item = {"type": "reasoning", "id": "rs_1", "summary": []}
    session.items = [done("cut off"), USER, thought, call("open"), *numbered(1)]

    assert await settled_items(session) == [USER, *numbered(1)]
    assert await settled_items(session, SessionSettings(limit=1)) == numbered(1)


async def test_adding_once_uses_what_the_session_has(file: Path) -> None:
    plain = ListSession("user-1")
    with closing(SQLiteSession("user-1", file)) as once:
        for _ in range(2):
            await add_once(plain, [USER], run_id="run-1", position=0)
            await add_once(once, [USER], run_id="run-1", position=0)

        assert (len(plain.items), len(await once.get_items())) == (2, 1)


def test_what_is_no_session_is_refused_with_what_it_lacks() -> None:
    class Half:
        session_id = "user-1"

        async def get_items(self, limit: int | None = None) -> list[Item]:
            return []

    assert checked_session(None) is None
    with pytest.raises(UserError, match="session= is a `str` without `session_id`"):
        checked_session("user-1")
    with pytest.raises(UserError, match="session= is a `Half` without `add_items`"):
        checked_session(Half())


# -- what belongs together

ITEMS = st.one_of(
    st.just(USER),
    st.sampled_from([call("c1"), call("c2"), done("c1"), done("c2")]),
    st.just({"type": "reasoning", "id": "rs_1", "summary": []}),
    st.just({"type": "message", "role": "assistant", "content": []}),
    st.just({"type": "web_search_call", "id": "ws_1"}),
    st.sampled_from([
        {"type": "mcp_approval_request", "id": "mcpr_1"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    ]),
)  # fmt: skip


@given(st.lists(ITEMS, max_size=12), st.integers(-1, 13))
@settings(deadline=None)
def test_a_cut_parts_nothing_and_is_the_first_that_does_not(items: list[Any], start: int) -> None:
    def parts(cut: int) -> bool:
        asked = {asked_in(item): place for place, item in enumerate(items) if asked_in(item)}
        pairs = [(asked.get(answered_in(item), place), place) for place, item in enumerate(items) if answered_in(item)]
        spans = [(place, came[-1]) for place, came in thoughts(items) if came]
        return any(first < cut <= last for first, last in [*pairs, *spans] if first < last)

    cut = whole_from(items, start)

    assert max(start, 0) <= cut <= len(items) or cut == len(items)
    assert not parts(cut)
    assert all(parts(earlier) for earlier in range(max(start, 0), cut))


@given(st.lists(ITEMS, max_size=12))
@settings(deadline=None)
def test_without_orphans_every_call_has_its_output_and_nothing_else_is_lost(items: list[Any]) -> None:
    left = without_orphans(items)

    assert {asked_in(item) for item in left} == {answered_in(item) for item in left}
    assert without_orphans(left) == left
    assert [item for item in left if stands_alone(item)] == [item for item in items if stands_alone(item)]


def stands_alone(item: Item) -> bool:
    """Whether it needs no other item."""
    return asked_in(item) is None and answered_in(item) is None and item.get("type") != "reasoning"
