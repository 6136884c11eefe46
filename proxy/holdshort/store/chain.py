"""The decision log's chain, as text and digests: each row seals the row before it.

`hash = SHA-256(previous hash + body)`, the first row's previous hash being 32 zero bytes. A row changed, removed or
moved breaks every link from there on. A log cut short at its end is whole by itself: what was noted elsewhere (the
checkpoint, the interruptions, a hash you wrote down) shows it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from holdshort.interruption import timestamp
from holdshort.store.contract import LogEntry, NewEntry

__all__ = [
    "GENESIS",
    "BrokenLink",
    "body_of",
    "digest_of",
    "dump",
    "export_line",
    "links",
    "parse_export_line",
    "seal",
]

GENESIS: Final = bytes(32)


class BrokenLink(Exception):
    """A row that is not as it was written."""

    def __init__(self, sequence: int, problem: str) -> None:
        super().__init__(problem)
        self.sequence = sequence
        self.problem = problem


def seal(previous: bytes, body: str) -> bytes:
    """Return the hash of a row, given the hash of the row before it."""
    return hashlib.sha256(previous + body.encode()).digest()


def digest_of(recording: str) -> str:
    """Return the digest by which a row names its recording."""
    return hashlib.sha256(recording.encode()).hexdigest()


def body_of(sequence: int, entry: NewEntry) -> str:
    """Return the exact text of a row; facts that are absent are left out."""
    fields: dict[str, Any] = {"sequence": sequence, "at": timestamp(entry.at), "kind": entry.kind.value}
    if entry.server is not None:
        fields["server"] = entry.server
    if entry.tool is not None:
        fields["tool"] = entry.tool
    if entry.agent is not None:
        fields["agent"] = entry.agent
    if entry.action is not None:
        fields["action"] = entry.action
    if entry.because:
        fields["because"] = [{"layer": reason.layer, "rule": reason.rule} for reason in entry.because]
    if entry.interruption is not None:
        fields["interruption"] = entry.interruption
    if entry.fingerprint is not None:
        fields["fingerprint"] = entry.fingerprint
    if entry.detail:
        fields["detail"] = dict(entry.detail)
    if entry.recording is not None:
        fields["detail"] = {**fields.get("detail", {}), "recording": digest_of(entry.recording.body)}
    return dump(fields)


def dump(value: Any) -> str:
    """Return `value` as compact JSON text, integers of any size in full."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # orjson stops at 64-bit integers and at lone surrogates; the standard library escapes the latter.
        return json.dumps(value, separators=(",", ":"), allow_nan=False)


def links(rows: Iterable[tuple[int, str, bytes]], *, previous: bytes = GENESIS, after: int = 0) -> Iterator[LogEntry]:
    """Yield the rows (sequence, body, hash) as entries, each checked against the one before it.

    Raises:
        BrokenLink: a row is missing, or is not as it was written.
    """
    expected = after + 1
    for sequence, body, digest in rows:
        if sequence != expected:
            raise BrokenLink(expected, f"row {expected} is missing")
        if seal(previous, body) != digest:
            raise BrokenLink(sequence, f"row {sequence} is not as it was written, or the row before it is not")
        fields = json.loads(body)
        if fields.get("sequence") != sequence:
            raise BrokenLink(sequence, f"row {sequence} was written as row {fields.get('sequence')}")
        yield LogEntry(sequence=sequence, body=body, hash=digest.hex(), fields=fields)
        previous, expected = digest, sequence + 1


def export_line(entry: LogEntry) -> str:
    """Return one line of JSON: the body's own fields, then its hash. The body's exact text can be cut out again."""
    return f'{entry.body[:-1]},"hash":"{entry.hash}"}}'


def parse_export_line(line: str) -> tuple[int, str, bytes]:
    """Return sequence, exact body and hash of an exported row.

    Raises:
        ValueError: this is no such line.
    """
    body, mark, tail = line.rpartition(',"hash":"')
    if not mark or not tail.endswith('"}'):
        raise ValueError("no `hash` at the end of the line")
    body += "}"
    return int(json.loads(body)["sequence"]), body, bytes.fromhex(tail[:-2])
