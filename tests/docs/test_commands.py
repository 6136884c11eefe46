"""Every command explains itself, with an example that can be given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from docs.pages import command_tree, commands_of_page, parse, resolve
from holdshort.cli import main


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all commands that do something."""
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*path, name))
    if not hasattr(command, "commands"):
        yield path


ALL = sorted(commands(command_tree()))
every_command = pytest.mark.parametrize("path", ALL, ids=" ".join)


@every_command
def test_a_command_says_what_it_does_and_gives_an_example(path: tuple[str, ...]) -> None:
    command, _ = resolve(list(path))
    lines = [line.strip() for line in (command.help or "").splitlines()]
    commands_given = commands_of_page("\n".join(["```sh", *lines, "```"]))
    examples = [words for words in commands_given if tuple(words[: len(path)]) == path]
    for words in examples:
        parse(words)

    assert len(lines[0]) > 10
    assert examples, f"`holdshort {' '.join(path)} --help` has no example"


@every_command
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    command, _ = resolve(list(path))

    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", "help")] == []


def test_no_word_is_a_usage_error_and_shows_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["holdshort"])
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    told = capsys.readouterr()
    assert all(path[0] in told.out + told.err for path in ALL)
