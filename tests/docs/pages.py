"""The pages of the repository and the commands of the tool, for the tests that compare the two."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from holdshort.cli import app

__all__ = ["PAGES", "ROOT", "blocks", "command_tree", "commands_of_page", "parse", "resolve", "unfenced"]

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPERATORS = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1"})


def _pages() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in ("docs", "examples", "policies", "proxy", "tests"):
        yield from (page for page in (ROOT / folder).rglob("*.md") if "node_modules" not in page.parts)


PAGES = sorted(_pages())


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in these languages."""
    return [body for language, body in FENCE.findall(text) if language in languages]


def unfenced(text: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text)


def commands_of_page(text: str) -> list[list[str]]:
    """Every `holdshort …` of a page, in a block for a shell or in backticks, as words after `holdshort`."""
    lines = [line.strip() for block in blocks(text, "sh", "bash", "console", "") for line in block.splitlines()]
    # Backticks may be broken by the end of a line.
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", unfenced(text))]
    found: list[list[str]] = []
    for line in lines:
        for part in re.split(r"\s*(?:&&|\|\||;)\s+", line.removeprefix("$ ")):
            words = _words(part)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words and Path(words[0]).name == "holdshort":
                end = next((place for place, word in enumerate(words) if word in OPERATORS), len(words))
                found.append(words[1:end])
    return found


@cache
def command_tree() -> Any:
    """The tool's root command."""
    return typer.main.get_command(app)


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words` name, and the words that are left for it."""
    command, rest = command_tree(), list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no `holdshort {' '.join(words)}`"
        command = command.commands[rest.pop(0)]
    return command, rest


def parse(words: list[str]) -> None:
    """Fail unless the tool has this command and every option in `words`; their values are not looked at."""
    command, rest = resolve(words)
    if rest:
        context = command.context_class(command, info_name="holdshort")
        command.make_parser(context).parse_args(rest)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # no command: prose with an apostrophe, or half of one
        return []
