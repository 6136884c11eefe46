"""`holdshort approvals`: look at parked calls and decide about them, at the running proxy's own endpoint.

What is decided is what was shown: every decision carries the fingerprint of the record that was printed.
"""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from holdshort.cli.endpoint import Connection

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look at parked calls and decide about them.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The call's id, or the beginning or end of it.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The proxy. Else HOLDSHORT_URL, else announced.")]
StateDir = Annotated[Path | None, typer.Option("--state-dir", metavar="DIR", help="The proxy's state folder.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="Holds an approver's token.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")]
Message = Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="Told to the agent.")]
Fingerprint = Annotated[
    str | None,
    typer.Option("--fingerprint", metavar="SHA256", help="Decide only if this is still what is pending."),
]


@app.command("list")
def list_calls(
    state: Annotated[str, typer.Option(help="States, with commas; `all` for every one.")] = "pending",
    server: Annotated[str | None, typer.Option(help="Only calls to this server.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only calls of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most this many, newest first.")] = 50,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List parked calls.

    \b
    Examples:
      holdshort approvals list
      holdshort approvals list --state all --agent ci-bot --json
    """
    from holdshort.cli.cards import table

    with _reported():
        states = None if state == "all" else state
        query: dict[str, Any] = {"state": states, "server": server, "agent": agent, "limit": limit}
        found = _connection(url, state_dir, token_file).ask("GET", "/v1/interruptions", **query)
        if as_json:
            _print_json(found)
        elif found["interruptions"]:
            _print_table(table(found["interruptions"], _now()))
        else:
            _say("nothing waits" if state == "pending" else "no such call")


@app.command()
def show(
    call_id: Id,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one call completely, with nothing in it that a terminal would obey.

    \b
    Examples:
      holdshort approvals show i-01a1fd0c
      holdshort approvals show i-01a1fd0c --json | jq .arguments
    """
    from holdshort.cli.cards import card

    with _reported():
        record = _find(_connection(url, state_dir, token_file), call_id)
        _print_json(record) if as_json else print(card(record, _now()))


@app.command()
def approve(
    call_id: Id,
    message: Message = None,
    fingerprint: Fingerprint = None,
    yes: Yes = False,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Approve a call: show what it is, ask, and send the fingerprint of what was shown.

    \b
    Exit code 0: approved. 1: somebody was faster, time ran out, or you may not. 2: usage.

    \b
    Examples:
      holdshort approvals approve i-01a1fd0c
      holdshort approvals approve i-01a1fd0c --yes --message 'go ahead'
    """
    _decide("approve", call_id, {"message": message}, fingerprint, yes, (url, state_dir, token_file), as_json)


@app.command()
def reject(
    call_id: Id,
    message: Message = None,
    fingerprint: Fingerprint = None,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Reject a call. The message is the reason that the agent gets.

    \b
    Examples:
      holdshort approvals reject i-01a1fd0c --message 'not on a Friday'
    """
    _decide("reject", call_id, {"message": message}, fingerprint, True, (url, state_dir, token_file), as_json)


@app.command()
def respond(
    call_id: Id,
    content: Annotated[str, typer.Option("--content", metavar="TEXT", help="The answer, or @FILE to read it.")],
    message: Message = None,
    fingerprint: Fingerprint = None,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Answer in the tool's place; the tool is not called.

    \b
    Examples:
      holdshort approvals respond i-01a1fd0c --content 'the file is gone already'
    """
    body = {"message": message, "content": _text(content)}
    _decide("respond", call_id, body, fingerprint, True, (url, state_dir, token_file), as_json)


@app.command()
def edit(
    call_id: Id,
    arguments: Annotated[
        str | None,
        typer.Option("--args", metavar="JSON", help="The new arguments, or @FILE. Without it your editor opens."),
    ] = None,
    message: Message = None,
    fingerprint: Fingerprint = None,
    yes: Yes = False,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Approve a call with other arguments, after showing what changes.

    \b
    Examples:
      holdshort approvals edit i-01a1fd0c
      holdshort approvals edit i-01a1fd0c --args '{"path": "/data/other.txt"}' --yes
    """

    def changed(record: dict[str, Any]) -> dict[str, Any]:
        new = _arguments(arguments, record)
        _say_lines(_difference(record["arguments"], new))
        return {"message": message, "arguments": new}

    _decide("edit", call_id, changed, fingerprint, yes, (url, state_dir, token_file), as_json)


@app.command()
def resolve(
    call_id: Id,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="How you know.")],
    ran: Annotated[bool, typer.Option("--ran/--did-not-run", help="What you found.")],
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a call of unknown outcome ran, after looking. Nothing is sent again.

    \b
    Examples:
      holdshort approvals resolve i-01a1fd0c --ran --note 'the commit is there'
    """
    with _reported():
        connection = _connection(url, state_dir, token_file)
        record = _find(connection, call_id)
        settled = connection.ask("POST", f"/v1/interruptions/{record['id']}/resolve", {"ran": ran, "note": note})
        _print_json(settled) if as_json else _say(f"{settled['state']}: {settled['id']}")


@app.command()
def watch(
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Follow calls as they come and go; at a terminal, decide with a key. Ends with Ctrl-C.

    \b
    Examples:
      holdshort approvals watch
      holdshort approvals watch --json
    """
    from holdshort.cli.watching import follow, watch_and_decide

    with _reported():
        connection = _connection(url, state_dir, token_file)
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            follow(connection, as_json=as_json)
        else:
            watch_and_decide(connection)


@app.command()
def login(
    call_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Lead to this call.")] = None,
    url: Url = None,
    state_dir: StateDir = None,
    token_file: TokenFile = None,
) -> None:
    """Print a link that logs one browser in, once, within 15 minutes (`limits.login_link`).

    \b
    Examples:
      holdshort approvals login
      holdshort approvals login i-01a1fd0c
    """
    with _reported():
        connection = _connection(url, state_dir, token_file)
        following = "/" if call_id is None else f"/review/{_find(connection, call_id)['id']}"
        print(connection.ask("POST", "/v1/login-links", {"next": following})["url"])


def _decide(
    decision: str,
    call_id: str,
    body: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]],
    fingerprint: str | None,
    yes: bool,
    where: tuple[str | None, Path | None, Path | None],
    as_json: bool,
) -> None:
    from holdshort.cli.cards import card

    with _reported():
        connection = _connection(*where)
        record = _find(connection, call_id)
        _say(card(record, _now()))
        if fingerprint is not None and fingerprint != record["fingerprint"]:
            _finding(f"this is not the call you mean: its fingerprint is {record['fingerprint']}")
        more = body(record) if callable(body) else body
        if not yes and fingerprint is None:
            _confirm(decision)
        said = {"decision": decision, "fingerprint": record["fingerprint"], **more}
        decided = connection.ask(
            "POST",
            f"/v1/interruptions/{record['id']}/decision",
            {name: value for name, value in said.items() if value is not None},
        )
        if as_json:
            _print_json(decided)
        elif decided["state"] == "pending":
            _say(f"recorded; {decided['required_approvals']} approvals are needed: {decided['id']}")
        else:
            _say(f"{decided['state']}: {decided['id']}")


def _confirm(decision: str) -> None:
    if not sys.stdin.isatty():
        _usage(f"to {decision} without a terminal to ask at, give `--yes` or `--fingerprint`")
    sys.stderr.write(f"{decision} exactly this? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        _finding("nothing was decided")


def _find(connection: "Connection", call_id: str) -> dict[str, Any]:
    """Return the call with this id, or the one whose id begins or ends so."""
    from holdshort.cli.endpoint import Told

    if call_id and all(character.isalnum() or character in "-_.~" for character in call_id):
        try:
            return connection.ask("GET", f"/v1/interruptions/{call_id}")
        except Told as told:
            if told.status != 404:
                raise
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    for _ in range(25):
        page = connection.ask("GET", "/v1/interruptions", limit=200, cursor=cursor)
        for record in page["interruptions"]:
            if call_id and (record["id"].startswith(call_id) or record["id"].endswith(call_id)):
                found[record["id"]] = record
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if not found:
        _finding(f"there is no call `{call_id}`")
    if len(found) > 1:
        _usage(f"`{call_id}` means {len(found)} calls: {', '.join(sorted(found)[:5])}")
    return next(iter(found.values()))


def _arguments(given: str | None, record: dict[str, Any]) -> dict[str, Any]:
    from holdshort.approvals.inert import ascii_json
    from holdshort.wire import MalformedMessage, decode

    if given is None:
        if not sys.stdin.isatty():
            _usage("give the new arguments with `--args`; there is no terminal to edit them at")
        text = _edited(ascii_json(record["arguments"]) + "\n")
    else:
        text = _text(given)
    try:
        value = decode(text.encode())
    except MalformedMessage as error:
        _usage(str(error).replace("the message", "the new arguments", 1))
    if not isinstance(value, dict):
        _usage("arguments are a JSON object: `{...}`")
    return value


def _edited(text: str) -> str:
    """Let a person change `text` in their editor; leaving it as it was means: never mind."""
    import shlex
    import subprocess
    import tempfile

    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.NamedTemporaryFile("w+", suffix=".json", prefix="holdshort-") as file:
        file.write(text)
        file.flush()
        try:
            subprocess.run([*editor, file.name], check=True)  # noqa: S603 (the person's own editor)
        except (OSError, subprocess.CalledProcessError) as error:
            _usage(f"the editor failed: {error}; set EDITOR, or give the new arguments with `--args`")
        typed = Path(file.name).read_text()
    if typed == text:
        _finding("nothing was changed, and nothing decided")
    return typed


def _difference(old: Any, new: Any) -> Iterator[str]:
    from difflib import unified_diff

    from holdshort.approvals.inert import plain, pretty_json

    before, after = pretty_json(old).split("\n"), pretty_json(new).split("\n")
    for line in unified_diff(before, after, "asked for", "to run instead", lineterm=""):
        yield plain(line)


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return sys.stdin.read() if given == "@-" else Path(given[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        _usage(f"`{given[1:]}` cannot be read: {error}")


def _connection(url: str | None, state_dir: Path | None, token_file: Path | None) -> "Connection":
    from holdshort.cli.endpoint import connect

    connection = connect(url, state_dir, token_file)
    if not connection.url.startswith(("http://", "https://")):
        _usage(f"`{connection.url}` is not an address: expected http://HOST:PORT")
    return connection


@contextmanager
def _reported() -> Generator[None]:
    """Turn what goes wrong into a line on standard error and an exit code."""
    from holdshort.approvals.inert import plain
    from holdshort.cli.cards import conflict
    from holdshort.cli.endpoint import NoProxy, NoToken, Told

    try:
        yield
    except Told as told:
        words = None if told.record is None else conflict(told.code, told.record)
        if told.status == 401:
            _usage("the proxy does not know this approver token")
        _finding(words or plain(str(told)))
    except (NoProxy, NoToken) as error:
        _usage(plain(str(error)))
    except BrokenPipeError:
        # Whoever read us has enough. Python would complain again while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _finding(words: str) -> NoReturn:
    _say(f"holdshort: {words}")
    raise typer.Exit(1)


def _usage(words: str) -> NoReturn:
    _say(f"holdshort: {words}")
    raise typer.Exit(2)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _say_lines(lines: Iterator[str]) -> None:
    for line in lines:
        _say(line)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _print_table(found: Any) -> None:
    from rich.console import Console

    Console(soft_wrap=False).print(found)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 (for words on a screen only)
