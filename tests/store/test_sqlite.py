"""What only SQLite can show: the file, its folder, its schema, and what happens when the disk does not want to."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import anyio
import anyio.lowlevel
import apsw
import pytest

from holdshort.errors import StateError
from holdshort.interruption import State
from holdshort.store import InterruptionNotFound, StateFolderError, Store, choose_folder, schema, writer
from holdshort.store.connection import DatabaseError
from holdshort.store.faults import arm
from holdshort.store.folder import DATABASE
from holdshort.store.watch import POLL_SECONDS
from interruption.samples import parked
from store.places import SQLitePlace, approval, claim, row, until

PATIENCE = 20


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    return SQLitePlace(tmp_path / "state")


def raw(place: SQLitePlace) -> apsw.Connection:
    return apsw.Connection(str(place.folder / DATABASE))


async def filled(place: SQLitePlace) -> None:
    """Leave five rows behind: two verdicts, a parked call, its decision, a verdict."""
    async with place.open() as store:
        await store.record(row())
        await store.record(row())
        call = await store.park(parked())
        await store.apply(call.id, approval(call))
        await store.record(row())


async def test_folder_and_files_are_for_their_owner_alone(place: SQLitePlace) -> None:
    os.umask(0)
    try:
        async with place.open() as store:
            await store.park(parked())
            files = [path for path in place.folder.rglob("*") if path.is_file()]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    finally:
        os.umask(0o022)

    assert {"holdshort.db", "holdshort.db-wal", "holdshort.db-shm"} < set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700


async def test_an_empty_folder_is_closed_to_others_and_a_shared_one_refused(tmp_path: Path) -> None:
    empty, shared = tmp_path / "empty", tmp_path / "shared"
    for folder in (empty, shared):
        folder.mkdir()
        folder.chmod(0o755)
    (shared / "theirs.txt").write_text("x")

    async with SQLitePlace(empty).open():
        assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    with pytest.raises(StateFolderError, match="chmod 700"):
        async with SQLitePlace(shared).open():
            pass
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_the_state_folder_is_what_was_given_then_what_is_set_then_the_users() -> None:
    assert choose_folder(Path("/a"), {"HOLDSHORT_STATE_DIR": "/b"}) == Path("/a")
    assert choose_folder(None, {"HOLDSHORT_STATE_DIR": "/b"}) == Path("/b")
    assert choose_folder(None, {"HOLDSHORT_STATE_DIR": ""}).name == "holdshort"


def _change_body(db: apsw.Connection) -> None:
    db.execute("UPDATE log SET body = replace(body, 'ana', 'eve') WHERE sequence = 4")


def _remove(db: apsw.Connection) -> None:
    db.execute("DELETE FROM log WHERE sequence = 2")


def _swap(db: apsw.Connection) -> None:
    db.execute("UPDATE log SET sequence = -sequence WHERE sequence IN (1, 2)")
    db.execute("UPDATE log SET sequence = 3 + sequence WHERE sequence < 0")


def _cut(db: apsw.Connection) -> None:
    db.execute("DELETE FROM log WHERE sequence >= 4")


def _cut_first(db: apsw.Connection) -> None:
    db.execute("DELETE FROM log WHERE sequence = 1")


def _rewrite_from_two(db: apsw.Connection) -> None:
    from holdshort.store.chain import seal

    previous = bytes(db.execute("SELECT hash FROM log WHERE sequence = 1").get)
    for sequence, body in db.execute("SELECT sequence, body FROM log WHERE sequence > 1 ORDER BY sequence").fetchall():
        changed = str(body).replace("files", "nosuch")
        previous = seal(previous, changed)
        db.execute("UPDATE log SET body = ?, hash = ? WHERE sequence = ?", (changed, previous, sequence))


def _refile(db: apsw.Connection) -> None:
    db.execute("UPDATE log SET interruption = 'i-2' WHERE sequence = 3")


def _forge_state(db: apsw.Connection) -> None:
    db.execute("UPDATE interruption SET state = 'pending'")


def _forge_arguments(db: apsw.Connection) -> None:
    db.execute("UPDATE interruption SET body = json_set(body, '$.arguments.to', 'eve')")


@pytest.mark.parametrize(
    ("tamper", "first_bad"),
    [
        (_change_body, 4),
        (_remove, 2),
        (_cut_first, 1),
        (_swap, 1),
        (_cut, 4),
        (_rewrite_from_two, 5),
        (_refile, 3),
        (_forge_state, 5),
        (_forge_arguments, 5),
    ],
)
async def test_a_log_that_is_not_as_it_was_written_is_found(
    place: SQLitePlace, tamper: Callable[[apsw.Connection], None], first_bad: int
) -> None:
    await filled(place)
    db = raw(place)
    db.execute("DROP TRIGGER log_keeps_rows")
    db.execute("DROP TRIGGER log_keeps_text")

    tamper(db)
    db.close()

    async with place.open() as store:
        verified = await store.verify()
    assert not verified.ok
    assert verified.first_bad == first_bad


async def test_arguments_that_were_exchanged_after_approval_are_not_run(place: SQLitePlace) -> None:
    await filled(place)
    db = raw(place)
    _forge_arguments(db)
    db.close()

    async with place.open() as store:
        call = await store.get("i-1")
        with pytest.raises(StateError, match="not those that were decided on"):
            await store.apply(call.id, claim(call))
        assert (await store.get("i-1")).state is State.APPROVED


async def test_the_database_itself_refuses_to_change_the_log(place: SQLitePlace) -> None:
    await filled(place)
    db = raw(place)

    for statement in ("DELETE FROM log", "UPDATE log SET body = ''"):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            db.execute(statement)
    db.close()


async def test_a_newer_schema_is_not_opened(place: SQLitePlace) -> None:
    await filled(place)
    db = raw(place)
    db.execute(f"PRAGMA user_version={len(schema.MIGRATIONS) + 1}")
    db.close()
    before = (place.folder / DATABASE).read_bytes()

    with pytest.raises(DatabaseError, match="newer holdshort"):
        async with place.open():
            pass

    assert (place.folder / DATABASE).read_bytes() == before


async def test_a_database_of_another_program_is_left_alone(place: SQLitePlace) -> None:
    place.folder.mkdir(mode=0o700)
    db = raw(place)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = (place.folder / DATABASE).read_bytes()

    with pytest.raises(DatabaseError, match="another program"):
        async with place.open():
            pass

    assert (place.folder / DATABASE).read_bytes() == before


async def test_a_failed_migration_leaves_everything_as_it_was(place: SQLitePlace) -> None:
    await filled(place)
    db = raw(place)
    before = db.execute("SELECT group_concat(sql) FROM sqlite_schema").get
    broken = (
        *schema.MIGRATIONS,
        ("CREATE TABLE extra (x) STRICT",),
        ("CREATE TABLE more (x INTEGER) STRICT", "NONSENSE"),
    )

    with pytest.raises(DatabaseError):
        schema.migrate(db, broken)

    assert db.execute("SELECT group_concat(sql) FROM sqlite_schema").get == before
    assert db.execute("PRAGMA user_version").get == len(schema.MIGRATIONS)
    db.close()
    async with place.open() as store:
        assert (await store.verify()).ok


async def test_a_migration_keeps_what_is_there(place: SQLitePlace) -> None:
    await filled(place)
    db = raw(place)

    schema.migrate(db, (*schema.MIGRATIONS, ("ALTER TABLE interruption ADD COLUMN extra TEXT",)))

    assert db.execute("PRAGMA user_version").get == len(schema.MIGRATIONS) + 1
    assert db.execute("SELECT count(*) FROM log").get == 5
    db.close()


@pytest.mark.parametrize("damage", ["middle", "header", "cut"])
async def test_a_damaged_file_does_not_start(place: SQLitePlace, damage: str) -> None:
    async with place.open() as store:
        for number in range(50):
            await store.park(parked(number))
    path = place.folder / DATABASE
    content = bytearray(path.read_bytes())
    match damage:
        case "middle":
            middle = len(content) // 2
            content[middle : middle + 8192] = os.urandom(8192)
        case "header":
            content[:16] = b"not a database!!"
        case _:
            del content[len(content) // 2 :]
    path.write_bytes(content)

    with pytest.raises(StateError):
        async with place.open():
            pass


async def test_rows_reach_the_disk_by_themselves(place: SQLitePlace) -> None:
    """The checkpoint row is written by the synced commit that brings the rows along."""
    async with place.open() as store:
        last = await store.record(row())
        db = raw(place)
        await until(lambda: db.execute("SELECT sequence FROM checkpoint").get == last)
        db.close()

    assert writer.FLUSH_SECONDS <= 0.05


def test_other_processes_are_asked_often_enough() -> None:
    assert POLL_SECONDS * 2 < 0.1


async def test_while_another_process_writes_a_row_waits_and_the_loop_does_not(place: SQLitePlace) -> None:
    async with place.open() as store:
        other = raw(place)
        other.execute("BEGIN IMMEDIATE")
        written: list[int] = []

        async def write() -> None:
            written.append(await store.record(row()))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                for _ in range(100):
                    await anyio.lowlevel.checkpoint()
                assert written == []
                other.execute("COMMIT")
        other.close()

    assert written == [1]


async def test_a_process_that_keeps_the_database_makes_writes_fail_rather_than_hang(
    place: SQLitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_BUSY_SECONDS", 0.2)
    async with place.open() as store:
        other = raw(place)
        other.execute("BEGIN IMMEDIATE")

        with anyio.fail_after(PATIENCE):
            with pytest.raises(StateError, match="busy"):
                await store.record(row())
            with pytest.raises(StateError, match="busy"):
                await store.park(parked())

        other.execute("ROLLBACK")
        other.close()
        assert await store.record(row()) == 1


async def test_one_write_that_fails_does_not_hurt_those_committed_with_it(place: SQLitePlace) -> None:
    async with place.open() as store:
        await store.park(parked(0))
        other = raw(place)
        other.execute("BEGIN IMMEDIATE")
        failed: list[str] = []

        async def park(number: int) -> None:
            try:
                await store.park(parked(number))
            except StateError:
                failed.append(f"i-{number}")

        async def decide_nothing() -> None:
            try:
                await store.apply("i-404", approval(parked()))
            except InterruptionNotFound:
                failed.append("i-404")

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for number in (1, 0, 2, 0, 3):
                    tasks.start_soon(park, number)
                tasks.start_soon(decide_nothing)
                await anyio.lowlevel.checkpoint()
                other.execute("ROLLBACK")
        other.close()

        assert sorted(failed) == ["i-0", "i-0", "i-404"]
        assert await store.counts() == {State.PENDING: 4}
        assert (await store.verify()).ok


@pytest.mark.parametrize("action", ["enospc", "eio", "raise"])
async def test_a_write_that_the_disk_refuses_is_an_error_and_leaves_nothing(place: SQLitePlace, action: str) -> None:
    async with place.open() as store:
        call = await store.park(parked())
        for attempt in (
            lambda: store.record(row()),
            lambda: store.apply(call.id, approval(call)),
            lambda: store.park(parked(2)),
        ):
            arm(f"audit.append:1:{action}")
            with pytest.raises(StateError):
                await attempt()

        assert await store.counts() == {State.PENDING: 1}
        assert (await store.verify()).rows == 1


async def test_a_flush_that_fails_makes_every_later_row_wait_for_the_disk(place: SQLitePlace) -> None:
    async with place.open() as store:
        arm("audit.checkpoint:1:eio")
        await store.record(row())
        db = raw(place)
        await until(lambda: db.execute("SELECT sequence FROM checkpoint").get == 1)
        db.close()

        assert await store.record(row()) == 2
        assert (await store.verify()).ok


async def test_giving_up_on_a_write_does_not_undo_it(place: SQLitePlace) -> None:
    async with place.open() as store:
        call = await store.park(parked())

        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.apply(call.id, approval(call))

        assert (await store.get(call.id)).state is State.APPROVED


async def test_a_closed_store_refuses(place: SQLitePlace) -> None:
    async with place.open() as store:
        pass

    with pytest.raises(StateError):
        await store.park(parked())
    with pytest.raises(StateError):
        await store.record(row())


async def test_an_error_inside_the_block_comes_out_as_it_is(place: SQLitePlace) -> None:
    with pytest.raises(KeyError):
        async with place.open():
            raise KeyError("theirs")


async def test_large_logs_do_not_grow_the_write_ahead_log_without_end(place: SQLitePlace) -> None:
    async with place.open() as store:
        for _ in range(30_000):
            await store.record(row())
            if _ % 1000 == 0:
                await anyio.lowlevel.checkpoint()
        assert (place.folder / f"{DATABASE}-wal").stat().st_size < 100 * 1024 * 1024
        assert (await store.verify()).rows == 30_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A real file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode != 0:
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def fill(store: Store) -> int:
    kept = 0
    try:
        while True:
            await store.park(parked(kept, arguments={"blob": "x" * 10_000, "n": kept}))
            kept += 1
    except StateError:
        return kept


async def test_a_full_disk_refuses_new_calls_and_keeps_the_old_ones(small_disk: Path) -> None:
    place = SQLitePlace(small_disk / "state")
    async with place.open() as store:
        kept = await fill(store)

        with pytest.raises(StateError):
            await store.record(row(tool="t" * 100_000))
        assert await store.counts() == {State.PENDING: kept}
        assert (await store.verify()).ok
    assert kept > 5


async def test_a_read_only_disk_does_not_start(small_disk: Path) -> None:
    place = SQLitePlace(small_disk / "state")
    async with place.open() as store:
        await store.park(parked())
    await anyio.run_process(["mount", "-o", "remount,ro", str(small_disk)])

    with pytest.raises(StateError):
        async with place.open():
            pass
