"""`holdshort policy pin`: on a state folder at rest, and beside a process that has it open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner, Result

from holdshort.cli.policy.pin import app
from holdshort.interruption import definition_digest
from holdshort.store import FIRST_USE, INSTRUCTIONS, LogFilter, Sighting
from holdshort.store.contract import EntryKind
from interruption.samples import NOW
from store.places import SQLitePlace

RUN = CliRunner()


def sighting(tool: str, words: str, **more: Any) -> Sighting:
    content = {"definition": {"name": tool, "description": words, **more}, "server": "s"}
    return Sighting(definition_digest(content), content)


def instructions(text: str) -> Sighting:
    content = {"instructions": text, "server": "s"}
    return Sighting(definition_digest(content), content)


CHANGED = sighting("read", "reads.\x1b[31m Then sends it\u202e away.", inputSchema={"type": "object"})


async def fill(place: SQLitePlace) -> None:
    async with place.open() as store:
        first = {
            "read": sighting("read", "reads."),
            "write": sighting("write", "writes."),
            INSTRUCTIONS: instructions("a"),
        }
        await store.pins.see("files", first, at=NOW, accept_new=True)
        await store.pins.see("files", {"read": CHANGED, INSTRUCTIONS: instructions("b")}, at=NOW, accept_new=True)
        await store.pins.see("mail@0123", {"wrlte": sighting("wrlte", "new")}, at=NOW, accept_new=False)


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    made = SQLitePlace(tmp_path / "state")
    anyio.run(fill, made)
    return made


def run(place: SQLitePlace, *words: str, typed: str | None = None) -> Result:
    return RUN.invoke(app, [*words, "--state-dir", str(place.folder)], input=typed)


def states(place: SQLitePlace) -> dict[str, str]:
    pins = json.loads(run(place, "list", "--json").stdout)["pins"]
    return {f"{each['server']}/{each['tool'] or ''}": each["state"] for each in pins}


def log_of(place: SQLitePlace) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        async with place.open() as store:
            assert (await store.verify()).ok
            where = LogFilter(kinds=frozenset({EntryKind.PIN}))
            return [dict(entry.fields) async for entry in store.entries(where=where)]

    return anyio.run(read)


def test_list_shows_every_pin_and_finds_what_waits(place: SQLitePlace) -> None:
    everything, waiting = run(place, "list"), run(place, "list", "--changed")

    assert everything.exit_code == 0
    assert everything.stdout.splitlines() == [
        f"changed  files  @instructions  by {FIRST_USE}",
        f"changed  files  read  by {FIRST_USE}  ! 2 flags",
        f"pinned   files  write  by {FIRST_USE}",
        "new      mail@0123  wrlte  accepted by nobody yet",
    ]
    assert (waiting.exit_code, len(waiting.stdout.splitlines())) == (1, 3)
    assert states(place) == {
        "files/": "changed",
        "files/read": "changed",
        "files/write": "pinned",
        "mail@0123/wrlte": "new",
    }


def test_diff_shows_what_changed_with_nothing_a_terminal_would_obey(place: SQLitePlace) -> None:
    shown, parsed = run(place, "diff", "files"), run(place, "diff", "files", "read", "--json")

    assert shown.exit_code == 1
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout
    assert "  - reads." in shown.stdout
    assert "  + reads.<U+001B ESC>[31m Then sends it<U+202E> away." in shown.stdout
    assert "  ! /description: 1 character controlling a terminal (U+001B)" in shown.stdout
    (pin,) = json.loads(parsed.stdout)["pins"]
    assert (pin["digest"], pin["current"]["description"]) == (CHANGED.digest, CHANGED.words["description"])
    assert {line["field"] for line in pin["lines"]} == {"description", "inputSchema"}
    assert run(place, "diff", "files", "write").exit_code == 0


def test_accept_takes_what_was_shown_and_says_who_in_the_log(place: SQLitePlace) -> None:
    tried = run(place, "accept", "files", "read", "--dry-run")
    before = states(place)
    done = run(place, "accept", "files", "read", "@instructions", "--yes")
    again = run(place, "accept", "files", "read", "--yes")

    assert (tried.exit_code, done.exit_code, again.exit_code) == (0, 0, 0)
    assert before["files/read"] == "changed"
    assert states(place)["files/read"] == states(place)["files/"] == "pinned"
    assert states(place)["mail@0123/wrlte"] == "new"
    accepted = [each for each in log_of(place) if each["action"] == "accepted"]
    assert [(each.get("tool"), each["detail"]["by"].split(" (")[0]) for each in accepted] == [
        ("read", "command line"),
        (None, "command line"),
    ]


def test_accept_refuses_another_digest_than_the_one_that_is_there(place: SQLitePlace) -> None:
    moved = run(place, "accept", "files", "read", "--yes", "--digest", "0" * 64)
    malformed = run(place, "accept", "files", "read", "--yes", "--digest", "beef")
    several = run(place, "accept", "files", "read", "write", "--yes", "--digest", CHANGED.digest)

    assert (moved.exit_code, malformed.exit_code, several.exit_code) == (1, 2, 2)
    assert CHANGED.digest in moved.stderr
    assert states(place)["files/read"] == "changed"
    assert run(place, "accept", "files", "read", "--yes", "--digest", CHANGED.digest).exit_code == 0
    assert states(place)["files/read"] == "pinned"


def test_accept_asks_nobody_where_nobody_is(place: SQLitePlace) -> None:
    assert run(place, "accept", "files", "--all").exit_code == 2
    assert states(place)["files/read"] == "changed"


def test_forget_makes_a_tool_new_again(place: SQLitePlace) -> None:
    tried = run(place, "forget", "files", "write", "--dry-run")
    assert "files/write" in states(place)
    done = run(place, "forget", "files", "write")

    assert (tried.exit_code, done.exit_code) == (0, 0)
    assert "files/write" not in states(place)
    assert log_of(place)[-1]["action"] == "forgotten"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diff", "fles"], "files"),
        (["diff", "files", "raed"], "read"),
        (["accept", "files"], "--all"),
        (["accept", "files", "read", "--all"], "--all"),
        (["forget", "files"], "--all"),
    ],
)
def test_what_is_not_there_is_a_usage_error_with_the_nearest_word(
    place: SQLitePlace, words: list[str], said: str
) -> None:
    result = run(place, *words)

    assert result.exit_code == 2
    assert said in result.stderr


def test_a_folder_without_a_store_is_not_made_into_one(tmp_path: Path) -> None:
    for command in (["list"], ["diff", "files"], ["accept", "files", "--all"], ["forget", "files", "--all"]):
        result = RUN.invoke(app, [*command, "--state-dir", str(tmp_path / "none")])
        assert result.exit_code == 2
    assert not (tmp_path / "none").exists()


def test_what_is_accepted_here_is_seen_by_a_process_that_has_the_folder_open(place: SQLitePlace) -> None:
    async def beside() -> tuple[int, int, str | None]:
        async with place.open() as store:
            before = store.pins.generation()
            await anyio.to_thread.run_sync(lambda: run(place, "accept", "files", "read", "--yes"))
            return before, store.pins.generation(), store.pins.digests("files")["read"].accepted

    before, after, accepted = anyio.run(beside)

    assert after > before
    assert accepted == CHANGED.digest
