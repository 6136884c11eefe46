"""`holdshort log`: read, verify and export, while a proxy runs and when none does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import apsw
import pytest
from typer.testing import CliRunner

from holdshort.cli.log import app
from holdshort.store.folder import DATABASE
from interruption.samples import parked
from store.places import SQLitePlace, approval, row

RUN = CliRunner()


async def four_rows(place: SQLitePlace) -> None:
    async with place.open() as store:
        await store.record(row())
        call = await store.park(parked())
        await store.apply(call.id, approval(call))
        await store.record(row(tool="x\x1b[31m\u202e"))


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    """A state folder with four rows: a verdict, a parked call, its decision, a verdict with a name from outside."""
    place = SQLitePlace(tmp_path / "state")
    anyio.run(four_rows, place)
    return place


def test_tail_prints_the_latest_rows_with_nothing_that_moves_the_cursor(place: SQLitePlace) -> None:
    result = RUN.invoke(app, ["tail", "--limit", "2", "--state-dir", str(place.folder)])

    decision, verdict = result.stdout.splitlines()
    assert result.exit_code == 0
    assert "decision" in decision
    assert "by=ana" in decision
    assert "files__x\\u001b[31m\\u202e" in verdict
    assert "\x1b" not in result.stdout


def test_tail_speaks_json(place: SQLitePlace) -> None:
    result = RUN.invoke(app, ["tail", "--json", "--state-dir", str(place.folder)])

    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["kind"] for one in rows] == ["verdict", "parked", "decision", "verdict"]
    assert [one["sequence"] for one in rows] == [1, 2, 3, 4]
    assert all(len(one["hash"]) == 64 for one in rows)


def test_tail_can_look_at_one_parked_call(place: SQLitePlace) -> None:
    result = RUN.invoke(app, ["tail", "--json", "--interruption", "i-1", "--state-dir", str(place.folder)])

    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == ["parked", "decision"]


async def test_tail_follows_what_is_written_meanwhile(place: SQLitePlace) -> None:
    command = [sys.executable, "-c", "from holdshort.cli.log import app; app()"]
    arguments = ["tail", "--follow", "--limit", "1", "--json", "--state-dir", str(place.folder)]
    async with (
        place.open() as store,
        await anyio.open_process([*command, *arguments], stderr=subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        with anyio.fail_after(60):
            text = (await process.stdout.receive()).decode()
            await store.record(row(tool="fresh"))
            while "fresh" not in text:
                text += (await process.stdout.receive()).decode()
        process.terminate()

    assert [json.loads(line)["sequence"] for line in text.splitlines()] == [4, 5]


@pytest.mark.parametrize("as_json", [False, True])
def test_verify_says_whole(place: SQLitePlace, as_json: bool) -> None:
    result = RUN.invoke(app, ["verify", "--state-dir", str(place.folder), *(["--json"] if as_json else [])])

    assert result.exit_code == 0
    if as_json:
        told = json.loads(result.stdout)
        assert (told["ok"], told["rows"], told["problem"]) == (True, 4, None)
    else:
        assert result.stdout.startswith("whole: 4 rows")


def test_verify_finds_a_changed_row_and_exits_with_1(place: SQLitePlace) -> None:
    db = apsw.Connection(str(place.folder / DATABASE))
    db.execute("DROP TRIGGER log_keeps_text")
    db.execute("UPDATE log SET body = replace(body, 'ana', 'eve') WHERE sequence = 3")
    db.close()

    result = RUN.invoke(app, ["verify", "--json", "--state-dir", str(place.folder)])

    assert result.exit_code == 1
    assert json.loads(result.stdout)["first_bad"] == 3


async def test_verify_works_while_a_store_is_open(place: SQLitePlace) -> None:
    async with place.open() as store:
        await store.record(row())
        result = await anyio.to_thread.run_sync(RUN.invoke, app, ["verify", "--state-dir", str(place.folder)])

    assert result.exit_code == 0
    assert "5 rows" in result.stdout


def test_an_export_can_be_verified_elsewhere(place: SQLitePlace, tmp_path: Path) -> None:
    exported = RUN.invoke(app, ["export", "--state-dir", str(place.folder)]).stdout
    copy = tmp_path / "log.jsonl"
    copy.write_text(exported, encoding="utf-8")
    changed = tmp_path / "changed.jsonl"
    changed.write_text(exported.replace('"allow"', '"deny"', 1), encoding="utf-8")
    shortened = tmp_path / "shortened.jsonl"
    shortened.write_text("".join(exported.splitlines(keepends=True)[1:]), encoding="utf-8")

    assert RUN.invoke(app, ["verify", "--file", str(copy)]).exit_code == 0
    assert RUN.invoke(app, ["verify", "--file", str(changed)]).exit_code == 1
    assert "row 1 is missing" in RUN.invoke(app, ["verify", "--file", str(shortened)]).stdout
    assert RUN.invoke(app, ["verify", "--file", str(tmp_path / "none")]).exit_code == 2


def test_an_export_can_go_on_where_the_last_one_ended(place: SQLitePlace) -> None:
    result = RUN.invoke(app, ["export", "--after", "2", "--state-dir", str(place.folder)])

    assert [json.loads(line)["sequence"] for line in result.stdout.splitlines()] == [3, 4]


def test_a_folder_without_a_log_is_a_usage_error(tmp_path: Path) -> None:
    for command in ("tail", "verify", "export"):
        result = RUN.invoke(app, [command, "--state-dir", str(tmp_path)])
        assert result.exit_code == 2
        assert "--state-dir" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_a_usage_error(place: SQLitePlace) -> None:
    assert RUN.invoke(app, ["export", "--format", "csv", "--state-dir", str(place.folder)]).exit_code == 2


def test_the_folder_is_taken_from_the_environment(place: SQLitePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDSHORT_STATE_DIR", os.fspath(place.folder))

    assert RUN.invoke(app, ["verify"]).exit_code == 0


def test_a_file_that_is_no_database_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"x" * 4096)

    result = RUN.invoke(app, ["verify", "--state-dir", str(tmp_path)])

    assert result.exit_code == 1
    assert "database" in result.stderr


@pytest.mark.parametrize("command", ["tail", "verify", "export"])
def test_help_shows_examples(command: str) -> None:
    assert f"holdshort log {command}" in RUN.invoke(app, [command, "--help"]).stdout
