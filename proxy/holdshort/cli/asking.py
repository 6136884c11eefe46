"""What the commands that ask a running proxy share: options, the connection, and how they say what went wrong."""

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from holdshort.cli.endpoint import Connection

__all__ = [
    "AsJson",
    "StateDir",
    "TokenFile",
    "Url",
    "Yes",
    "find_one",
    "finding",
    "now",
    "print_json",
    "print_table",
    "reach",
    "reported",
    "say",
    "usage",
]

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The proxy. Else HOLDSHORT_URL, else announced.")]
StateDir = Annotated[Path | None, typer.Option("--state-dir", metavar="DIR", help="The proxy's state folder.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="Holds an approver's token.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")]

_MOST_PAGES: Final = 25


def reach(url: str | None, state_dir: Path | None, token_file: Path | None) -> "Connection":
    """Return the connection to the proxy; an address that is none ends the command."""
    from holdshort.cli.endpoint import connect

    connection = connect(url, state_dir, token_file)
    if not connection.url.startswith(("http://", "https://")):
        usage(f"`{connection.url}` is not an address: expected http://HOST:PORT")
    return connection


@contextmanager
def reported() -> Generator[None]:
    """Turn what goes wrong into a line on standard error and an exit code."""
    from holdshort.approvals.inert import plain
    from holdshort.cli.cards import conflict
    from holdshort.cli.endpoint import NoProxy, NoToken, Told

    try:
        yield
    except Told as told:
        words = None if told.record is None else conflict(told.code, told.record)
        if told.status == 401:
            usage("the proxy does not know this approver token")
        finding(words or plain(str(told)))
    except (NoProxy, NoToken) as error:
        usage(plain(str(error)))
    except BrokenPipeError:
        # Whoever read us has enough. Python would complain again while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def find_one(connection: "Connection", listed_as: str, noun: str, wanted: str) -> dict[str, Any]:
    """Return the record of `/v1/{listed_as}` with this id, or the one whose id begins or ends so."""
    from holdshort.cli.endpoint import Told

    if wanted and all(character.isalnum() or character in "-_.~" for character in wanted):
        try:
            return connection.ask("GET", f"/v1/{listed_as}/{wanted}")
        except Told as told:
            if told.status != 404:
                raise
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = connection.ask("GET", f"/v1/{listed_as}", limit=200, cursor=cursor)
        for record in page[listed_as]:
            if wanted and (record["id"].startswith(wanted) or record["id"].endswith(wanted)):
                found[record["id"]] = record
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if not found:
        finding(f"there is no {noun} `{wanted}`")
    if len(found) > 1:
        usage(f"`{wanted}` means {len(found)} {noun}s: {', '.join(sorted(found)[:5])}")
    return next(iter(found.values()))


def finding(words: str) -> NoReturn:
    """End with exit code 1: not what was hoped for."""
    say(f"holdshort: {words}")
    raise typer.Exit(1)


def usage(words: str) -> NoReturn:
    """End with exit code 2: the command cannot be followed."""
    say(f"holdshort: {words}")
    raise typer.Exit(2)


def say(words: str) -> None:
    """Print a message for people, which is not data."""
    print(words, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print data for programs."""
    print(json.dumps(value, indent=2))


def print_table(found: Any) -> None:
    """Print a table for people."""
    from rich.console import Console

    Console(soft_wrap=False).print(found)


def now() -> datetime:
    """Return the time, for words on a screen only."""
    return datetime.now(UTC)  # noqa: TID251 (for words on a screen only)
