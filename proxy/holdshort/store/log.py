"""The decision log in SQLite: appending a row, reading rows, and checking that every row is as it was written.

Synchronous on purpose: the store calls it on its writer thread or in a worker, the command line calls it as it is.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import apsw

from holdshort.errors import HoldshortError
from holdshort.interruption import fingerprint
from holdshort.store.chain import GENESIS, BrokenLink, body_of, digest_of, links, seal
from holdshort.store.connection import translated
from holdshort.store.contract import ANY_ROW, LogEntry, LogFilter, NewEntry, Verification
from holdshort.store.faults import fault
from holdshort.store.grants import Ledger
from holdshort.store.recordings import INSERT_BOTH
from holdshort.store.rows import from_text, microseconds

__all__ = ["Head", "HeadMoved", "append", "append_to", "count", "head", "note_checkpoint", "read", "verify"]

_PAGE: Final = 500
_INSERT: Final = "INSERT INTO log (sequence, body, hash, interruption) VALUES (?, ?, ?, ?)"

_Stand = tuple[str, int, str]
"""State, revision and fingerprint."""


Head = tuple[int, bytes]
"""Sequence and hash of the last row."""


class HeadMoved(HoldshortError):
    """Raised when somebody appended in between; nothing was written."""


def append_to(connection: apsw.Connection, last: Head | None, entry: NewEntry) -> Head:
    """Append a row after `last` with one statement, outside any transaction; return it as the new head.

    Sequences have no gaps and rows never change, so a row that can be inserted right after `last` proves that `last`
    was still the end of the chain.

    Raises:
        HeadMoved: it was not.
    """
    fault("audit.append")
    sequence, previous = last or head(connection)
    body = body_of(sequence + 1, entry)
    digest = seal(previous, body)
    try:
        _insert(connection, sequence + 1, body, digest, entry)
    except apsw.ConstraintError:
        raise HeadMoved(f"row {sequence + 1} of the decision log is there already") from None
    return sequence + 1, digest


def append(connection: apsw.Connection, entry: NewEntry) -> int:
    """Append a row inside the transaction that is under way and return its sequence."""
    fault("audit.append")
    last, previous = head(connection)
    body = body_of(last + 1, entry)
    _insert(connection, last + 1, body, seal(previous, body), entry)
    return last + 1


def _insert(connection: apsw.Connection, sequence: int, body: str, digest: bytes, entry: NewEntry) -> None:
    """Write a row, and its recording if it has one, with one statement."""
    kept = entry.recording
    if kept is None:
        connection.execute(_INSERT, (sequence, body, digest, entry.interruption))
    else:
        values = (sequence, body, digest, entry.interruption, microseconds(kept.until), kept.body)
        connection.execute(INSERT_BOTH, values)


def head(connection: apsw.Connection) -> Head:
    """Return sequence and hash of the last row; of an empty log, zero and the genesis."""
    found = connection.execute("SELECT sequence, hash FROM log ORDER BY sequence DESC LIMIT 1").fetchone()
    return (0, GENESIS) if found is None else (int(found[0]), bytes(found[1]))


def note_checkpoint(connection: apsw.Connection) -> None:
    """Write down how far the log has come."""
    fault("audit.checkpoint")
    connection.execute("UPDATE checkpoint SET sequence = ?, hash = ?", head(connection))


def count(connection: apsw.Connection) -> int:
    with translated():
        return head(connection)[0]


def read(
    connection: apsw.Connection, *, after: int = 0, limit: int | None = None, where: LogFilter = ANY_ROW
) -> Iterator[LogEntry]:
    """Yield rows after a sequence, oldest first. No transaction stays open between two pages."""
    remaining = limit
    while remaining is None or remaining > 0:
        with translated():
            rows = _page(connection, after, where)
        for sequence, body, digest in rows:
            after = sequence
            fields = json.loads(body)
            if _matches(fields, where):
                yield LogEntry(sequence=sequence, body=body, hash=digest.hex(), fields=fields)
                if remaining is not None:
                    remaining -= 1
                    if remaining == 0:
                        return
        if len(rows) < _PAGE:
            return


def verify(connection: apsw.Connection) -> Verification:
    """Check every link, then that the log reaches as far as checkpoint and interruptions say it did."""
    with translated():
        # One snapshot: rows that are being written now belong to the next look.
        connection.execute("BEGIN")
        try:
            return _verified(connection)
        finally:
            connection.execute("ROLLBACK")


def _verified(connection: apsw.Connection) -> Verification:
    rows, last = 0, GENESIS
    noted = connection.execute("SELECT sequence, hash FROM checkpoint").fetchone()
    stands: dict[str, _Stand] = {}
    ledger = Ledger()
    try:
        for entry in links(_all(connection)):
            rows, last = rows + 1, bytes.fromhex(entry.hash)
            if noted is not None and entry.sequence == noted[0] and last != noted[1]:
                raise BrokenLink(entry.sequence, f"row {entry.sequence} is not the one the checkpoint speaks of")
            ledger.note(entry.fields)
            detail = entry.fields.get("detail") or {}
            if "revision" in detail and "interruption" in entry.fields:
                told = (detail["state"], detail["revision"], entry.fields["fingerprint"])
                stands[entry.fields["interruption"]] = told
        if noted is not None and noted[0] > rows:
            raise BrokenLink(rows + 1, f"the log ends at row {rows}; the checkpoint has seen row {noted[0]}")
        _check_stands(connection, stands, rows)
        _check_columns(connection)
        _check_recordings(connection)
        ledger.check(connection, rows)
    except BrokenLink as broken:
        return Verification(rows=rows, problem=broken.problem, first_bad=broken.sequence)
    return Verification(rows=rows, head=last.hex())


def _check_stands(connection: apsw.Connection, stands: Mapping[str, _Stand], rows: int) -> None:
    """The log must have said what each interruption is now, down to the arguments that its fingerprint is of."""
    for name, state, revision, body in connection.execute("SELECT id, state, revision, body FROM interruption"):
        kept = from_text(str(body))
        now = (kept.state.value, kept.revision, kept.fingerprint)
        if now[:2] != (state, revision) or stands.get(str(name)) != now:
            told = f"interruption `{name}` is `{state}` at revision {revision}; the log does not say so"
            raise BrokenLink(rows, told)
        if kept.purged_at is None and fingerprint(kept.server, kept.tool, kept.arguments) != kept.fingerprint:
            raise BrokenLink(rows, f"the arguments kept for interruption `{name}` are not those of its fingerprint")


def _check_columns(connection: apsw.Connection) -> None:
    """The column beside the text is not sealed; it must say what the text says."""
    found = connection.execute(
        "SELECT sequence FROM log WHERE interruption IS NOT json_extract(body, '$.interruption') LIMIT 1"
    ).fetchone()
    if found is not None:
        raise BrokenLink(int(found[0]), f"row {found[0]} is filed under another interruption than it speaks of")


def _check_recordings(connection: apsw.Connection) -> None:
    """What is still kept of a call is what its row names; that it is not kept any more is nothing wrong."""
    found = connection.execute(
        "SELECT recording.sequence, json_extract(log.body, '$.detail.recording'), recording.body FROM recording"
        " LEFT JOIN log ON log.sequence = recording.sequence ORDER BY recording.sequence"
    )
    for sequence, digest, text in found:
        if digest != digest_of(str(text)):
            raise BrokenLink(int(str(sequence)), f"the recording of row {sequence} is not as it was written")


def _all(connection: apsw.Connection) -> Iterable[tuple[int, str, bytes]]:
    for row in connection.execute("SELECT sequence, body, hash FROM log ORDER BY sequence"):
        yield _row(row)


def _page(connection: apsw.Connection, after: int, where: LogFilter) -> list[tuple[int, str, bytes]]:
    if where.interruption is None:
        rows = connection.execute(
            "SELECT sequence, body, hash FROM log WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, _PAGE)
        )
    else:
        rows = connection.execute(
            "SELECT sequence, body, hash FROM log WHERE interruption = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (where.interruption, after, _PAGE),
        )
    return [_row(row) for row in rows]


def _row(row: tuple[Any, ...]) -> tuple[int, str, bytes]:
    sequence, body, digest = row
    return int(sequence), str(body), bytes(digest)


def _matches(fields: dict[str, Any], where: LogFilter) -> bool:
    return (
        (not where.kinds or fields.get("kind") in where.kinds)
        and (where.server is None or fields.get("server") == where.server)
        and (where.agent is None or fields.get("agent") == where.agent)
    )
