"""`holdshort approvals`: look at parked calls and decide about them, at the running proxy's own endpoint.

What is decided is what was shown: every decision carries the fingerprint of the record that was printed.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from holdshort.cli.asking import (
    AsJson,
    StateDir,
    TokenFile,
    Url,
    Yes,
    find_one,
    finding,
    now,
    print_json,
    print_table,
    reach,
    reported,
    say,
    usage,
)

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look at parked calls and decide about them.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The call's id, or the beginning or end of it.")]
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

    with reported():
        states = None if state == "all" else state
        query: dict[str, Any] = {"state": states, "server": server, "agent": agent, "limit": limit}
        found = reach(url, state_dir, token_file).ask("GET", "/v1/interruptions", **query)
        if as_json:
            print_json(found)
        elif found["interruptions"]:
            print_table(table(found["interruptions"], now()))
        else:
            say("nothing waits" if state == "pending" else "no such call")


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

    with reported():
        record = find_one(reach(url, state_dir, token_file), "interruptions", "call", call_id)
        print_json(record) if as_json else print(card(record, now()))


@app.command()
def approve(
    call_id: Id,
    message: Message = None,
    fingerprint: Fingerprint = None,
    remember: Annotated[
        str | None,
        typer.Option("--remember", metavar="TIME", help="Make a standing grant too, for so long: `12h`, `7d`."),
    ] = None,
    max_uses: Annotated[
        int | None, typer.Option("--max-uses", min=1, help="Uses of that grant; 10 if not given.")
    ] = None,
    any_value: Annotated[
        list[str] | None, typer.Option("--any", metavar="ARG", help="Let this argument be anything; repeatable.")
    ] = None,
    when: Annotated[
        str | None, typer.Option("--when", metavar="CONDITION", help="Narrow the grant by a condition.")
    ] = None,
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
      holdshort approvals approve i-01a1fd0c --remember 7d --max-uses 20
      holdshort approvals approve i-01a1fd0c --remember 7d --any path --when "under(args.path, '/data')"
    """
    from holdshort.cli.remembering import wish_of

    if remember is None and (max_uses is not None or any_value or when is not None):
        usage("`--max-uses`, `--any` and `--when` say what `--remember` is to keep; give `--remember` too")

    def asked(record: dict[str, Any]) -> dict[str, Any]:
        if remember is None:
            return {"message": message}
        wish, words = wish_of(record, remember, max_uses, any_value or [], when)
        for line in words:
            say(line)
        return {"message": message, "remember": wish}

    _decide("approve", call_id, asked, fingerprint, yes, (url, state_dir, token_file), as_json)


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
    with reported():
        connection = reach(url, state_dir, token_file)
        record = find_one(connection, "interruptions", "call", call_id)
        settled = connection.ask("POST", f"/v1/interruptions/{record['id']}/resolve", {"ran": ran, "note": note})
        print_json(settled) if as_json else say(f"{settled['state']}: {settled['id']}")


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

    with reported():
        connection = reach(url, state_dir, token_file)
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
    with reported():
        connection = reach(url, state_dir, token_file)
        following = "/"
        if call_id is not None:
            following = f"/review/{find_one(connection, 'interruptions', 'call', call_id)['id']}"
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

    with reported():
        connection = reach(*where)
        record = find_one(connection, "interruptions", "call", call_id)
        say(card(record, now()))
        if fingerprint is not None and fingerprint != record["fingerprint"]:
            finding(f"this is not the call you mean: its fingerprint is {record['fingerprint']}")
        more = body(record) if callable(body) else body
        if not yes and fingerprint is None:
            _confirm(decision)
        said = {"decision": decision, "fingerprint": record["fingerprint"], **more}
        decided = connection.ask(
            "POST",
            f"/v1/interruptions/{record['id']}/decision",
            {name: value for name, value in said.items() if value is not None},
        )
        if said.get("remember") is not None:
            say(_remembered(decided))
        if as_json:
            print_json(decided)
        elif decided["state"] == "pending":
            say(f"recorded; {decided['required_approvals']} approvals are needed: {decided['id']}")
        else:
            say(f"{decided['state']}: {decided['id']}")


def _remembered(decided: dict[str, Any]) -> str:
    if "grant" in decided:
        return f"remembered: {decided['grant']}; see `holdshort grants show {decided['grant']}`"
    needed = decided["required_approvals"]
    if decided["state"] == "pending":
        return f"not remembered yet: {needed} approvers must ask for the same grant"
    return f"not remembered: {needed} approver{'s' if needed > 1 else ''} would have had to ask for the same grant"


def _confirm(decision: str) -> None:
    if not sys.stdin.isatty():
        usage(f"to {decision} without a terminal to ask at, give `--yes` or `--fingerprint`")
    sys.stderr.write(f"{decision} exactly this? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        finding("nothing was decided")


def _arguments(given: str | None, record: dict[str, Any]) -> dict[str, Any]:
    from holdshort.approvals.inert import ascii_json
    from holdshort.wire import MalformedMessage, decode

    if given is None:
        if not sys.stdin.isatty():
            usage("give the new arguments with `--args`; there is no terminal to edit them at")
        text = _edited(ascii_json(record["arguments"]) + "\n")
    else:
        text = _text(given)
    try:
        value = decode(text.encode())
    except MalformedMessage as error:
        usage(str(error).replace("the message", "the new arguments", 1))
    if not isinstance(value, dict):
        usage("arguments are a JSON object: `{...}`")
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
            usage(f"the editor failed: {error}; set EDITOR, or give the new arguments with `--args`")
        typed = Path(file.name).read_text()
    if typed == text:
        finding("nothing was changed, and nothing decided")
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
        usage(f"`{given[1:]}` cannot be read: {error}")


def _say_lines(lines: Iterator[str]) -> None:
    for line in lines:
        say(line)
