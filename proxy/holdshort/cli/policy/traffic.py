"""Traffic that was recorded, read from a state folder or an export, row by row, the chain checked on the way."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from holdshort.policy import AGENT_LAYER, GRANT_LAYER, NEEDS_APPROVAL, Action, Because, Kind, Terms, ToolFacts
from holdshort.policy.recorded import Gap, Partly, partly_access, partly_call
from holdshort.policy.replay import A_GRANT, Then

if TYPE_CHECKING:
    from collections.abc import Generator

    import apsw

    from holdshort.store import LogEntry

__all__ = ["Knowing", "Recorded", "Row", "Source", "open_export", "open_folder", "recorded"]

_PAGE: Final = 2_000
_LONGEST_NAME: Final = 200
_NOT_LISTED: Final = ["the server lists no such tool"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the log, and what was recorded with it, if that is still there."""

    entry: "LogEntry"
    recording: str | None
    parked: "Mapping[str, Any] | None" = None
    """What the state folder still has of a call that was parked."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from; iterate it once. `BrokenLink` is raised where a row is not as it was written."""

    rows: Iterator[Row]
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Knowing:
    """What is known of tools and agents besides what was recorded."""

    tools: Mapping[str, Mapping[str, tuple[ToolFacts, Any]]]
    groups: Mapping[str, frozenset[str]]
    """Of the agents that the new policy's file has; they take the place of those that were recorded."""
    untrusted: frozenset[str] = frozenset()
    """Servers whose annotations that file does not believe."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call that happened. `asked` is None where policy was not asked."""

    sequence: int
    server: str
    agent: str
    at: datetime
    then: Then
    asked: Partly | None


@contextmanager
def open_folder(database: Path) -> "Generator[Source]":
    """Read the state folder of a proxy, which may be running.

    Raises:
        StateError: it cannot be read.
    """
    from holdshort.store import log
    from holdshort.store.schema import open_current

    with open_current(database) as connection:
        yield Source(_rows_of_folder(connection), log.count(connection))


@contextmanager
def open_export(file: Path, recordings: Path | None) -> "Generator[Source]":
    """Read what `holdshort log export` printed.

    Raises:
        OSError: a file cannot be read.
    """
    with file.open(encoding="utf-8") as lines:
        if recordings is None:
            yield Source(_rows_of_export(lines, iter(())))
        else:
            with recordings.open(encoding="utf-8") as texts:
                yield Source(_rows_of_export(lines, texts))


def recorded(row: Row, known: Knowing) -> Recorded | None:
    """Return the call that a row is about; None when it is about something else.

    Raises:
        BrokenLink: the recording is not the one that the row names.
    """
    fields = row.entry.fields
    kind = fields.get("kind")
    if kind not in {"verdict", "parked"}:
        return None
    detail: Mapping[str, Any] = fields.get("detail") or {}
    kept, missing = _kept(row, detail)
    server, agent = str(fields["server"]), str(fields["agent"])
    at = datetime.fromisoformat(fields["at"])
    then = _then(fields, row.parked)
    sequence = row.entry.sequence
    if then.action is Action.DENY and any(each.layer == AGENT_LAYER for each in then.because):
        return None  # refused for its ids, whatever policy says
    if detail.get("errors") == _NOT_LISTED and not then.because:
        return Recorded(sequence, server, agent, at, then, None)
    groups = known.groups.get(agent)
    if "kind" in detail:
        name = str(kept.get("arguments", {}).get("uri", detail["name"]))
        whole = "uri" in kept.get("arguments", {}) or ("?" not in name and len(name) < _LONGEST_NAME)
        about = Kind(detail["kind"])
        asked = partly_access(about, server, name, agent, at, kept, missing=missing, whole=whole, groups=groups)
        return Recorded(sequence, server, agent, at, then, asked)
    tool = str(fields["tool"])
    facts = known.tools.get(server, {}).get(tool)
    if server in known.untrusted and "tool" in kept:
        careful = ToolFacts(server, tool, title=kept["tool"]["title"])
        names = ("read_only", "destructive", "idempotent", "open_world")
        kept = {**kept, "tool": {**kept["tool"], **{name: getattr(careful, name) for name in names}}}
    asked = partly_call(
        server,
        tool,
        agent,
        at,
        kept,
        missing=missing,
        facts=None if facts is None else facts[0],
        groups=groups,
        pinned=_pinned(then, known_now="tool" in kept),
    )
    return Recorded(sequence, server, agent, at, then, asked)


def _kept(row: Row, detail: Mapping[str, Any]) -> tuple[dict[str, Any], Gap]:
    """Return what is kept of a call, and why the rest is missing."""
    from holdshort.store.chain import BrokenLink, digest_of

    digest, text = detail.get("recording"), row.recording
    if text is not None:
        if digest is None or digest_of(text) != digest:
            sequence = row.entry.sequence
            raise BrokenLink(sequence, f"the recording of row {sequence} is not as it was written")
        kept: dict[str, Any] = json.loads(text)
        return kept, Gap.ARGUMENTS
    if row.parked is not None and row.parked["arguments"] is not None:
        asked = row.parked["requested_by"]
        # Its groups were not kept; the caller is only whole with them.
        return {"arguments": row.parked["arguments"], "client": asked}, Gap.ARGUMENTS
    return {}, Gap.ARGUMENTS if digest is None else Gap.ERASED


def _then(fields: Mapping[str, Any], parked: Mapping[str, Any] | None) -> Then:
    because = tuple(Because(each["layer"], each["rule"]) for each in fields.get("because", ()))
    if (fields.get("detail") or {}).get("asked_by") == AGENT_LAYER or because[:1] == (NEEDS_APPROVAL,):
        # Policy said allow; the agent's program wanted a person all the same.
        return Then(Action.ALLOW, (NEEDS_APPROVAL,))
    if any(each.layer == GRANT_LAYER for each in because):
        # Policy said ask; the grant said the rest.
        return Then(Action.ASK, (A_GRANT,))
    if fields["kind"] == "parked":
        because = tuple(each for each in because if each.layer != AGENT_LAYER)
    terms: Terms | None = parked["terms"] if parked is not None else None
    return Then(Action(fields["action"]), because, terms)


def _pinned(then: Then, *, known_now: bool) -> bool | None:
    """Return what the log says of the tool's pin; a call that ran, or asked for another reason, had a good one."""
    if any(each.layer == "pins" for each in then.because):
        return False
    if known_now:
        return None
    return True if then.action in {Action.ALLOW, Action.ASK} else None


def _rows_of_folder(connection: "apsw.Connection") -> Iterator[Row]:
    from holdshort.store.chain import BrokenLink, links
    from holdshort.store.connection import translated

    with translated():
        noted: tuple[Any, ...] | None = connection.execute("SELECT sequence, hash FROM checkpoint").fetchone()
    beside: list[str | None] = [None]

    def rows() -> Iterator[tuple[int, str, bytes]]:
        after = 0
        page: list[tuple[Any, ...]]
        while True:
            with translated():
                page = connection.execute(
                    "SELECT log.sequence, log.body, log.hash, recording.body FROM log"
                    " LEFT JOIN recording ON recording.sequence = log.sequence"
                    " WHERE log.sequence > ? ORDER BY log.sequence LIMIT ?",
                    (after, _PAGE),
                ).fetchall()
            for sequence, body, digest, recording in page:
                beside[0] = None if recording is None else str(recording)
                after = int(sequence)
                yield after, str(body), bytes(digest)
            if len(page) < _PAGE:
                return

    seen = 0
    for entry in links(rows()):
        seen = entry.sequence
        if noted is not None and seen == noted[0] and bytes.fromhex(entry.hash) != noted[1]:
            raise BrokenLink(seen, f"row {seen} is not the one the checkpoint speaks of")
        parked = _parked(connection, entry) if entry.fields.get("kind") == "parked" else None
        yield Row(entry, beside[0], parked)
    if noted is not None and noted[0] > seen:
        raise BrokenLink(seen + 1, f"the log ends at row {seen}; the checkpoint has seen row {noted[0]}")


def _parked(connection: "apsw.Connection", entry: "LogEntry") -> Mapping[str, Any] | None:
    from holdshort.errors import HoldshortError
    from holdshort.store import queries

    try:
        record = queries.get(connection, str(entry.fields["interruption"]))
    except HoldshortError:
        return None
    asked = record.requested_by
    return {
        "arguments": dict(record.requested_arguments) if record.purged_at is None else None,
        "requested_by": {"client": asked.client, "client_version": asked.client_version},
        "terms": record.terms,
    }


def _rows_of_export(lines: Iterator[str], texts: Iterator[str]) -> Iterator[Row]:
    from holdshort.store.chain import BrokenLink, links, parse_export_line

    kept = (json.loads(line) for line in texts if line.strip())
    following = next(kept, None)
    for entry in links(parse_export_line(line.rstrip("\n")) for line in lines):
        text = None
        if following is not None and following["sequence"] == entry.sequence:
            text, following = str(following["recording"]), next(kept, None)
        yield Row(entry, text)
    if following is not None:
        sequence = int(following["sequence"])
        raise BrokenLink(sequence, f"there is a recording of row {sequence}, in its place, but the log has no such row")
