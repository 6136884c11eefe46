"""`holdshort log`: read the decision log, prove that it is whole, take it elsewhere. Works while proxies run."""

import json
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

if TYPE_CHECKING:
    import apsw

    from holdshort.store import LogEntry, Verification

__all__ = ["app"]

_LOOK_SECONDS: Final = 0.1

app = typer.Typer(
    no_args_is_help=True,
    help="Read and verify the decision log: every verdict, decision, intent and outcome, in order, sealed row by row.",
)

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", metavar="FOLDER", help="State folder; else HOLDSHORT_STATE_DIR, else the user's state directory."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object a line.")]


@app.command()
def tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing rows as they are written.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many of the latest rows to start with.")] = 20,
    interruption: Annotated[
        str | None, typer.Option("--interruption", metavar="ID", help="Only what concerns this parked call.")
    ] = None,
    as_json: AsJson = False,
    state_dir: StateDir = None,
) -> None:
    """Print the latest rows, oldest first.

    \b
    Examples:
      holdshort log tail
      holdshort log tail --follow --limit 0
      holdshort log tail --json | jq 'select(.kind == "decision")'
    """
    from holdshort.store.chain import export_line
    from holdshort.store.contract import LogFilter

    write = export_line if as_json else _for_people
    where = LogFilter(interruption=interruption)
    with _opened(state_dir) as connection:
        try:
            last = 0
            for entry in _latest(connection, limit, where):
                print(write(entry), flush=follow)
                last = entry.sequence
            if follow:
                for entry in _following(connection, last, where):
                    print(write(entry), flush=True)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Verify an export of the whole log instead.")
    ] = None,
    as_json: AsJson = False,
    state_dir: StateDir = None,
) -> None:
    """Recompute the chain and name the first row that was changed, removed or moved.

    A log cut short at its end is found up to the last checkpoint. To find every cut, keep the hash printed here
    somewhere else and compare.

    Exit code 0: whole. 1: not as it was written. 2: there is no log.

    \b
    Examples:
      holdshort log verify
      holdshort log verify --file log.jsonl
    """
    from holdshort.store import log

    if file is not None:
        found = _verified_file(file)
    else:
        with _opened(state_dir) as connection:
            found = log.verify(connection)
    if as_json:
        print(
            json.dumps(
                {
                    "ok": found.ok,
                    "rows": found.rows,
                    "first_bad": found.first_bad,
                    "problem": found.problem,
                    "head": found.head,
                }
            )
        )
    elif found.ok:
        print(f"whole: {found.rows} rows, the last one sealed {found.head}")
    else:
        print(f"not as it was written: {found.problem}")
    raise typer.Exit(0 if found.ok else 1)


@app.command()
def export(
    form: Annotated[str, typer.Option("--format", metavar="jsonl", help="One JSON object a line.")] = "jsonl",
    after: Annotated[int, typer.Option("--after", metavar="SEQ", min=0, help="Only rows after this sequence.")] = 0,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            metavar="FILE",
            help="Also write what calls were made with, where `record` kept it: ARGUMENTS, so only you may read FILE.",
        ),
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Print rows as JSON lines, each with its hash. The whole log, exported, can be verified anywhere.

    \b
    Examples:
      holdshort log export > log.jsonl
      holdshort log export --after 1200 >> log.jsonl
      holdshort log export --recordings recordings.jsonl > log.jsonl
    """
    from holdshort.store import log
    from holdshort.store.chain import dump, export_line
    from holdshort.store.recordings import read

    if form != "jsonl":
        raise typer.BadParameter(f"unknown format `{form}`; expected `jsonl`", param_hint="--format")
    with _opened(state_dir) as connection, _private(recordings) as beside:
        for entry in log.read(connection, after=after):
            sys.stdout.write(export_line(entry) + "\n")
            text = None if beside is None else read(connection, entry.sequence)
            if beside is not None and text is not None:
                beside.write(dump({"sequence": entry.sequence, "recording": text}) + "\n")


@app.command()
def forget(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many there are, and erase none.")] = False,
    as_json: AsJson = False,
    state_dir: StateDir = None,
) -> None:
    """Erase recordings of calls now, before their time is up. Rows of the log stay, and the log stays whole.

    \b
    Examples:
      holdshort log forget --dry-run
      holdshort log forget
    """
    from holdshort.store import recordings

    with _opened(state_dir) as connection:
        number = recordings.count(connection)
    if number and not dry_run:
        number = _erase_recordings(state_dir)
    if as_json:
        print(json.dumps({"recordings": number, "erased": not dry_run}))
    else:
        noun = "recording" if number == 1 else "recordings"
        print(f"{number} {noun} would be erased" if dry_run else f"{number} {noun} erased")


def _erase_recordings(state_dir: Path | None) -> int:
    """Erase them as a proxy would, whether or not one runs."""
    from datetime import UTC, datetime

    import anyio

    from holdshort.errors import StateError
    from holdshort.store import choose_folder, open_store

    async def run() -> int:
        folder = choose_folder(state_dir, os.environ)
        async with open_store(folder, clock=lambda: datetime.now(UTC), sweep=False) as store:  # noqa: TID251
            return await store.recordings.erase(datetime.max.replace(tzinfo=UTC))

    try:
        return anyio.run(run)
    except StateError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@contextmanager
def _private(file: Path | None) -> "Generator[TextIO | None]":
    """Open a new file that nobody else may read; None where none is wanted."""
    if file is None:
        yield None
        return
    try:
        # Never one that is there: its permissions, and whoever has it open, are not known.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        print(f"`{file}` cannot be created: {(error.strerror or type(error).__name__).lower()}", file=sys.stderr)
        raise typer.Exit(2) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        yield opened


@contextmanager
def _opened(state_dir: Path | None) -> "Generator[apsw.Connection]":
    """Open the log for reading; what cannot be read ends the command."""
    from holdshort.errors import StateError
    from holdshort.store.folder import DATABASE, choose_folder
    from holdshort.store.schema import open_current

    path = choose_folder(state_dir, os.environ) / DATABASE
    if not path.is_file():
        print(f"there is no decision log in `{path.parent}`; choose the folder with `--state-dir`", file=sys.stderr)
        raise typer.Exit(2)
    try:
        with open_current(path) as connection:
            yield connection
    except StateError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def _latest(connection: "apsw.Connection", limit: int, where: Any) -> "list[LogEntry]":
    from collections import deque

    from holdshort.store import log

    if where.interruption is None:
        return list(log.read(connection, after=max(0, log.count(connection) - limit), limit=limit, where=where))
    return list(deque(log.read(connection, where=where), maxlen=limit))


def _following(connection: "apsw.Connection", last: int, where: Any) -> "Iterator[LogEntry]":
    import time

    from holdshort.store import log, queries

    last = last or log.count(connection)
    seen = -1
    while True:
        version = queries.version(connection)
        if version != seen:
            seen = version
            for entry in log.read(connection, after=last, where=where):
                yield entry
                last = entry.sequence
        time.sleep(_LOOK_SECONDS)


def _verified_file(file: Path) -> "Verification":
    from holdshort.store.chain import BrokenLink, links, parse_export_line
    from holdshort.store.contract import Verification

    rows, last = 0, None
    try:
        with file.open(encoding="utf-8") as lines:
            for entry in links(parse_export_line(line.rstrip("\n")) for line in lines):
                rows, last = rows + 1, entry.hash
    except BrokenLink as broken:
        return Verification(rows=rows, problem=broken.problem, first_bad=broken.sequence)
    except (ValueError, KeyError, TypeError) as error:
        return Verification(rows=rows, problem=f"line {rows + 1} is no row of a log: {error}", first_bad=rows + 1)
    except OSError as error:
        print(f"`{file}` cannot be read: {error.strerror}", file=sys.stderr)
        raise typer.Exit(2) from None
    return Verification(rows=rows, head=last)


def _for_people(entry: "LogEntry") -> str:
    fields = entry.fields
    words = [f"{entry.sequence:>6}", str(fields.get("at", "")), f"{fields.get('kind', ''):<10}"]
    if "action" in fields:
        words.append(str(fields["action"]))
    if "server" in fields:
        words.append(f"{fields['server']}__{fields.get('tool', '')}")
    words += [f"{name}={fields[name]}" for name in ("agent", "interruption") if name in fields]
    detail = dict(fields.get("detail") or {})
    if detail.pop("recording", None) is not None:
        words.append("recorded")
    for name, value in detail.items():
        words.append(f"{name}={value if isinstance(value, str | int) else json.dumps(value)}")
    if "because" in fields:
        words.append("because=" + ",".join(f"{reason['layer']}:{reason['rule']}" for reason in fields["because"]))
    return _harmless(" ".join(words))


def _harmless(text: str) -> str:
    """Names come from outside: nothing in them may move the cursor or hide."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
