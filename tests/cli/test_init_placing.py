"""Several files are written together: all of them, or none, and what was there comes back."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from holdshort.cli.init.placing import NewFile, NotPlaced, difference, place
from holdshort.cli.init.yaml_text import flow, inert, scalar
from holdshort.config.document import read_document


def everything(folder: Path) -> dict[str, str | None]:
    """Every path below, with the text of the files; nothing else may be left there."""
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def test_folders_are_made_and_files_are_as_open_as_the_user_wants(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        place([NewFile(tmp_path / "a" / "b.txt", "b"), NewFile(tmp_path / "c.txt", "c", private=True)], force=False)
    finally:
        os.umask(old)

    assert everything(tmp_path) == {"a": None, "a/b.txt": "b", "c.txt": "c"}
    assert stat.S_IMODE((tmp_path / "a" / "b.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "c.txt").stat().st_mode) == 0o600


@pytest.mark.parametrize("force", [False, True])
def test_when_one_cannot_be_written_none_is_and_old_ones_are_back(tmp_path: Path, force: bool) -> None:
    (tmp_path / "first.txt").write_text("old")
    (tmp_path / "last.txt").mkdir()  # a folder in the place of a file
    before = everything(tmp_path)
    new = [NewFile(tmp_path / "new" / name, "n") for name in ("x", "y")]
    first = NewFile(tmp_path / "first.txt", "n", ours=not force)

    with pytest.raises(NotPlaced, match=r"last\.txt.*nothing was changed"):
        place([*new, first, NewFile(tmp_path / "last.txt", "n")], force=force)

    assert everything(tmp_path) == before


def test_without_force_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")

    with pytest.raises(NotPlaced, match="it is there already"):
        place([NewFile(tmp_path / "a", "n"), NewFile(tmp_path / "b", "n")], force=False)

    assert everything(tmp_path) == {"b": "old"}


def test_where_there_are_no_hard_links_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    place([NewFile(tmp_path / "a", "a", private=True)], force=False)
    with pytest.raises(NotPlaced, match="it is there already"):
        place([NewFile(tmp_path / "b", "b"), NewFile(tmp_path / "a", "new")], force=False)

    assert everything(tmp_path) == {"a": "a"}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotPlaced, match="no space left on device"):
        place([NewFile(tmp_path / "new" / name, "n") for name in ("a", "b")], force=False)

    assert everything(tmp_path) == {}


def test_with_force_files_are_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    place([NewFile(tmp_path / "a", "new")], force=True)

    assert everything(tmp_path) == {"a": "new"}


def test_what_is_ours_is_always_replaced(tmp_path: Path) -> None:
    (tmp_path / "schema").write_text("old")
    place([NewFile(tmp_path / "schema", "new", ours=True)], force=False)

    assert everything(tmp_path) == {"schema": "new"}


def test_a_difference_is_empty_when_nothing_would_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")

    assert difference(NewFile(tmp_path / "a", "one\ntwo\n")) == ""
    assert "-two\n+three\n" in difference(NewFile(tmp_path / "a", "one\nthree\n"))
    assert difference(NewFile(tmp_path / "b", "new\n")).startswith(f"--- {os.devnull}")


TEXTS = [
    *("", " ", "a", "-y", "-1", "--", "-", "~", "null", "Null", "yes", "1e3", "0x10", "1_000", ".5", ".inf", "12:30"),
    *("a: b", "a #b", "#a", "a,b", "[a]", "{a}", "*a", "&a", "!a", "%a", "@a", "`a", "'a'", '"a"', "a\\b", "a\tb"),
    *(
        "a\nb",
        "a\r\nb",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x7f",
        "\x00",
        "é",
        "日本",
        "😀",
        "a b",
        "a  b",
        " a",
        "a ",
        "<<",
        "=",
    ),
    *("2026-11-21", "true story", "no", "? a", "- a", "a -b", "key:", "|", ">", "a'b", "(a)", "a (b)", "a; b"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_string_is_read_back_as_it_was(text: str) -> None:
    problems: list[str] = []
    written = f"a: {scalar(text)}\nb: {flow([text, {'k': text}])}\nc:\n  - {scalar(text)}\n"
    found = read_document(written, "x", lambda _, message: problems.append(message))

    assert problems == []
    assert found is not None
    a, b, c = (entry.value for entry in found.entries)
    each = [a, b.items[0], b.items[1].entries[0].value, c.items[0]]
    assert [(value.kind, value.raw) for value in each] == [("string", text)] * 4


def test_strange_text_is_one_line_in_which_everything_shows() -> None:
    shown = inert("a\n\tb\u202ec\u2028d\x1b[0m\u00a0e")

    assert shown == "a b<U+202E>c d<U+001B ESC>[0m e"
    assert inert("x" * 300, 10) == "x" * 9 + "…"
