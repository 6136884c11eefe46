"""`holdshort policy pin`: look at the definitions that tools are pinned to, and accept what changed.

Works on the state folder, whether or not a proxy runs on it; one that runs takes up what is accepted here at once.
What is accepted is what was shown: the digest of it goes with the acceptance.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

from holdshort.cli.policy.common import counted, fail_usage, utc_now

if TYPE_CHECKING:
    from holdshort.policy.lookalikes import Flag
    from holdshort.store import Pin, Store

__all__ = ["app"]

T = TypeVar("T")

_INSTRUCTIONS: Final = "@instructions"
"""How the server's instructions are called here; no tool can have that name."""

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the definitions that tools are pinned to, and accept what changed.",
)

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", metavar="FOLDER", help="State folder; else HOLDSHORT_STATE_DIR, else the user's state directory."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Server = Annotated[str, typer.Argument(metavar="SERVER", help="The server, as `holdshort policy pin list` names it.")]
Tools = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TOOL]...", help=f"Tools of it; `{_INSTRUCTIONS}` for what it tells models of itself."),
]
Everything = Annotated[bool, typer.Option("--all", help="Every tool of the server that is meant.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


@app.command("list")
def list_pins(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what is new or changed; exit code 1 if there is any.")
    ] = False,
    as_json: AsJson = False,
    state_dir: StateDir = None,
) -> None:
    """List every tool that was ever seen, and whether it still is as it is pinned.

    \b
    Exit code 0; with --changed: 1 if something waits to be accepted. 2: there is no state folder.

    \b
    Examples:
      holdshort policy pin list
      holdshort policy pin list --changed
      holdshort policy pin list --json | jq '.pins[] | select(.flags != [])'
    """
    pins = _read(state_dir)
    flags = _flags(pins)
    shown = [pin for pin in pins if not changed or pin.state != "pinned"]
    if as_json:
        print(json.dumps({"pins": [_listed(pin, flags[pin.server, pin.tool]) for pin in shown]}, indent=2))
    else:
        for pin in shown:
            marks = f"  ! {counted(len(found), 'flag')}" if (found := flags[pin.server, pin.tool]) else ""
            print(_harmless(f"{pin.state:<8} {pin.server}  {_name(pin)}  {_by(pin)}{marks}"))
        waiting = sum(pin.state != "pinned" for pin in pins)
        print(f"{counted(len(pins), 'pin')}, {waiting} to be accepted", file=sys.stderr)
    if changed and shown:
        raise typer.Exit(1)


@app.command()
def diff(server: Server, tools: Tools = None, as_json: AsJson = False, state_dir: StateDir = None) -> None:
    """Show how tools differ from what they are pinned to, with nothing in it that a terminal would obey.

    \b
    Exit code 0: nothing differs. 1: something does. 2: no such server or tool.

    \b
    Examples:
      holdshort policy pin diff files
      holdshort policy pin diff files read_file --json
    """
    everything = _read(state_dir)
    flags = _flags(everything)
    pins = _chosen(everything, server, tools or ())
    different = [pin for pin in pins if pin.state != "pinned"]
    if as_json:
        answer = [
            {
                **_listed(pin, flags[pin.server, pin.tool]),
                "pinned": None if pin.accepted is None else pin.accepted.words,
                "current": pin.seen.words,
                "lines": [{"field": each.field, "sign": each.sign, "text": each.text} for each in pin.changed_lines()],
            }
            for pin in (pins if tools else different)
        ]
        print(json.dumps({"pins": answer}, indent=2))
    else:
        for pin in pins if tools else different:
            _show(pin, flags[pin.server, pin.tool])
        print(f"{len(different)} of {counted(len(pins), 'pin')} to be accepted", file=sys.stderr)
    if different:
        raise typer.Exit(1)


@app.command()
def accept(
    server: Server,
    tools: Tools = None,
    everything: Everything = False,
    digest: Annotated[
        str | None, typer.Option("--digest", metavar="SHA256", help="Accept one tool only if this is its digest still.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")] = False,
    dry_run: DryRun = False,
    state_dir: StateDir = None,
) -> None:
    """Accept definitions as they are now, after showing what is different. Later changes are noticed again.

    Only what was shown is accepted: a definition that changes while you look is refused, and stays as it is.

    \b
    Exit code 0: accepted, or there was nothing to accept. 1: a definition moved, or you said no. 2: usage.

    \b
    Examples:
      holdshort policy pin accept files read_file
      holdshort policy pin accept files --all --dry-run
      holdshort policy pin accept files read_file --yes --digest "$DIGEST"
    """
    if bool(tools) == everything:
        fail_usage("name the tools to accept, or say `--all`")
    if digest is not None and len(tools or ()) != 1:
        fail_usage("`--digest` is about one tool: name it, and only it")
    if digest is not None and not _is_digest(digest):
        fail_usage("`--digest` takes 64 hexadecimal digits, as `holdshort policy pin diff` prints them")
    pins = _read(state_dir)
    flags = _flags(pins)
    wanted = [pin for pin in _chosen(pins, server, tools or ()) if pin.state != "pinned"]
    for pin in wanted:
        if digest is not None and pin.seen.digest != digest:
            _fail(f"the digest of {_name(pin)} is {pin.seen.digest} now; look at the difference again")
    for pin in wanted:
        _show(pin, flags[pin.server, pin.tool])
    if not wanted:
        print("nothing to accept", file=sys.stderr)
        return
    if dry_run:
        print(f"would accept {counted(len(wanted), 'definition')}", file=sys.stderr)
        return
    if not yes:
        if not sys.stdin.isatty():
            fail_usage("nobody can be asked here; look at the difference, then say `--yes`")
        if not typer.confirm(f"Accept {counted(len(wanted), 'definition')} of {server}?", err=True):
            raise typer.Exit(1)

    async def work(store: "Store") -> None:
        for pin in wanted:
            await store.pins.accept(pin.server, pin.tool, digest=pin.seen.digest, by=_user(), at=utc_now())
            print(_harmless(f"accepted {_name(pin)} of {pin.server}: {pin.seen.digest}"), file=sys.stderr)

    _write(state_dir, work)


@app.command()
def forget(
    server: Server,
    tools: Tools = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    state_dir: StateDir = None,
) -> None:
    """Remove pins: of tools that are gone, or to take back what was pinned on first use. Seen again, a tool is new.

    \b
    Exit code 0: removed. 2: no such server or tool.

    \b
    Examples:
      holdshort policy pin forget files old_tool
      holdshort policy pin forget files --all --dry-run
    """
    if bool(tools) == everything:
        fail_usage("name the tools to forget, or say `--all`")
    pins = _chosen(_read(state_dir), server, tools or ())
    said = "would forget" if dry_run else "forgot"
    if not dry_run:

        async def work(store: "Store") -> Sequence[str]:
            return await store.pins.forget(server, [pin.tool for pin in pins], by=_user(), at=utc_now())

        gone = set(_write(state_dir, work))
        pins = [pin for pin in pins if pin.tool in gone]
    for pin in pins:
        print(_harmless(f"{said} {_name(pin)} of {pin.server}"), file=sys.stderr)


def _read(state_dir: Path | None) -> "list[Pin]":
    from holdshort.store.folder import DATABASE
    from holdshort.store.pins import read_pins
    from holdshort.store.schema import open_current

    with _reported(), open_current(_folder(state_dir) / DATABASE) as connection:
        return list(read_pins(connection).values())


def _write(state_dir: Path | None, work: "Callable[[Store], Awaitable[T]]") -> T:
    """Open the store as a proxy does, so that the log's chain goes on whoever else writes to it."""
    import anyio

    from holdshort.store import open_store

    async def run() -> T:
        async with open_store(_folder(state_dir), clock=utc_now, sweep=False) as store:
            return await work(store)

    with _reported():
        return anyio.run(run)


def _folder(state_dir: Path | None) -> Path:
    from holdshort.store.folder import DATABASE, choose_folder

    folder = choose_folder(state_dir, os.environ)
    if not (folder / DATABASE).is_file():
        fail_usage(f"there is nothing pinned in `{folder}`; choose the folder with `--state-dir`")
    return folder


@contextmanager
def _reported() -> Generator[None]:
    from holdshort.errors import HoldshortError

    try:
        yield
    except HoldshortError as error:
        _fail(_harmless(str(error)))


def _chosen(pins: "Sequence[Pin]", server: str, tools: Sequence[str]) -> "list[Pin]":
    """Return the pins of a server, of these tools if any are named; what does not exist is a usage error."""
    from holdshort.policy.words import unknown

    of_server = {_name(pin): pin for pin in pins if pin.server == server}
    if not of_server:
        fail_usage(_harmless(unknown("server", server, sorted({pin.server for pin in pins}))))
    for name in tools:
        if name not in of_server:
            fail_usage(_harmless(unknown("tool", name, sorted(of_server))))
    return [of_server[name] for name in dict.fromkeys(tools)] if tools else list(of_server.values())


def _flags(pins: "Sequence[Pin]") -> "Mapping[tuple[str, str], tuple[Flag, ...]]":
    from holdshort.policy.lookalikes import flags_among

    return flags_among((pin.server, pin.tool, pin.seen.words) for pin in pins)


def _listed(pin: "Pin", flags: "tuple[Flag, ...]") -> dict[str, Any]:
    flagged = [{"kind": flag.kind, "where": flag.where, "words": flag.words} for flag in flags]
    return {**pin.public(), "flags": flagged}


def _show(pin: "Pin", flags: "tuple[Flag, ...]") -> None:
    """Print a difference; the texts of servers are drawn as text from strangers."""
    from holdshort.approvals.inert import plain

    print(_harmless(f"{_name(pin)} of {pin.server}: {pin.state}"))
    if pin.accepted is not None and pin.state == "pinned":
        print("  as it is pinned")
    field = None
    for line in pin.changed_lines():
        if line.field != field:
            field = line.field
            print(f"  {plain(field)}")
        print(f"  {line.sign} {plain(line.text)}" if line.sign != "~" else f"    … {line.text}")
    for flag in flags:
        print(f"  ! {flag.where or '/'}: {flag.words}")
    print(f"  digest {pin.seen.digest}")


def _name(pin: "Pin") -> str:
    return pin.tool or _INSTRUCTIONS


def _by(pin: "Pin") -> str:
    return "accepted by nobody yet" if pin.accepted_by is None else f"by {pin.accepted_by}"


def _user() -> str:
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"command line ({name})"


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _harmless(text: str) -> str:
    """Names come from outside: nothing in them may move the cursor or hide."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(1)
