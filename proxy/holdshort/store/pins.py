"""The definitions that tools are pinned to, kept in SQLite.

The text kept is exactly what its digest is of, so that a pin can be checked against its definition at any time.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import anyio.to_thread
import apsw

from holdshort.store.chain import dump
from holdshort.store.connection import translated
from holdshort.store.contract import EntryKind, NewEntry
from holdshort.store.faults import fault
from holdshort.store.log import append
from holdshort.store.pinning import FIRST_USE, INSTRUCTIONS, Pin, PinDigests, PinMoved, PinNotFound, Sighting
from holdshort.store.rows import microseconds
from holdshort.store.writer import Writer, Written

__all__ = ["TABLES", "SQLitePins", "read_pins"]

TABLES: Final = (
    # `tool` is empty for the server's instructions. What a digest is of stands beside it.
    """CREATE TABLE pin (
        server TEXT NOT NULL,
        tool TEXT NOT NULL,
        digest TEXT,
        definition TEXT,
        pinned_at INTEGER,
        pinned_by TEXT,
        seen_digest TEXT NOT NULL,
        seen_definition TEXT NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (server, tool)
    ) STRICT""",
    # One row: another number after any change of any pin.
    "CREATE TABLE pin_generation (number INTEGER NOT NULL) STRICT",
    "INSERT INTO pin_generation VALUES (1)",
)


_COLUMNS: Final = "server, tool, digest, definition, pinned_at, pinned_by, seen_digest, seen_definition, seen_at"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SQLitePins:
    """Implements `pinning.PinStore`; `reader` reads on the event loop, and only what is short."""

    def __init__(self, writer: Writer, reader: apsw.Connection) -> None:
        self._writer = writer
        self._reader = reader

    def generation(self) -> int:
        with translated():
            return int(self._reader.execute("SELECT number FROM pin_generation").get)

    def digests(self, server: str) -> Mapping[str, PinDigests]:
        with translated():
            rows = self._reader.execute("SELECT tool, digest, seen_digest FROM pin WHERE server = ?", (server,))
            return {str(tool): PinDigests(_text(digest), str(seen)) for tool, digest, seen in rows}

    async def all(self, server: str | None = None) -> Sequence[Pin]:
        # A thousand definitions are some milliseconds of JSON: not on the event loop.
        rows = _rows(self._reader, server)
        return await anyio.to_thread.run_sync(lambda: [_pin(row) for row in rows])

    async def get(self, server: str, tool: str) -> Pin:
        return _get(self._reader, server, tool)

    async def see(
        self, server: str, sightings: Mapping[str, Sighting], *, at: datetime, accept_new: bool
    ) -> Mapping[str, Pin]:
        return await self._writer.run(lambda c: _see(c, server, sightings, at, accept_new=accept_new))

    async def accept(self, server: str, tool: str, *, digest: str, by: str, at: datetime) -> Pin:
        return await self._writer.run(lambda c: _accept(c, server, tool, digest, by, at))

    async def forget(self, server: str, tools: Iterable[str], *, by: str, at: datetime) -> Sequence[str]:
        return await self._writer.run(partial(_forget, server=server, tools=tuple(tools), by=by, at=at))


def read_pins(connection: apsw.Connection) -> Mapping[tuple[str, str], Pin]:
    """Return every pin by (scope, tool), for commands that look into a state folder nobody may be serving.

    Raises:
        DatabaseError: it cannot be read.
    """
    return {(pin.server, pin.tool): pin for pin in map(_pin, _rows(connection, None))}


def _rows(connection: apsw.Connection, server: str | None) -> list[tuple[Any, ...]]:
    where = "" if server is None else " WHERE server = ?"
    with translated():
        return connection.execute(
            f"SELECT {_COLUMNS} FROM pin{where} ORDER BY server, tool",  # noqa: S608 (our words)
            () if server is None else (server,),
        ).fetchall()


def _find(connection: apsw.Connection, server: str, tool: str) -> Pin | None:
    with translated():
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM pin WHERE server = ? AND tool = ?",  # noqa: S608 (our words)
            (server, tool),
        ).fetchone()
    return None if row is None else _pin(row)


def _get(connection: apsw.Connection, server: str, tool: str) -> Pin:
    found = _find(connection, server, tool)
    if found is None:
        raise PinNotFound(server, tool)
    return found


# What follows is done inside one transaction, on the writer's connection.


def _see(
    connection: apsw.Connection, server: str, sightings: Mapping[str, Sighting], at: datetime, *, accept_new: bool
) -> Written[Mapping[str, Pin]]:
    found: dict[str, Pin] = {}
    moved = False
    for tool, sighting in sightings.items():
        before = _find(connection, server, tool)
        after, action = _seen(before, server, tool, sighting, at, accept_new=accept_new)
        if action is not None:
            moved = True
            _keep(connection, after)
            fault("pin.check")
            _log(connection, after, action, at, by=after.accepted_by if action == "pinned" else None)
        found[tool] = after
    if moved:
        _advance(connection)
    return Written(found)


def _seen(
    before: Pin | None, server: str, tool: str, sighting: Sighting, at: datetime, *, accept_new: bool
) -> tuple[Pin, str | None]:
    """Return the pin after a sighting, and the word for what happened; None where nothing did."""
    if before is None or (before.accepted is None and accept_new):
        accepted = sighting if accept_new else None
        pin = Pin(
            server=server,
            tool=tool,
            accepted=accepted,
            accepted_at=at if accepted else None,
            accepted_by=FIRST_USE if accepted else None,
            seen=sighting,
            seen_at=at,
        )
        return pin, "pinned" if accepted else "new"
    if before.seen.digest == sighting.digest:
        return before, None
    pin = Pin(
        server=server,
        tool=tool,
        accepted=before.accepted,
        accepted_at=before.accepted_at,
        accepted_by=before.accepted_by,
        seen=sighting,
        seen_at=at,
    )
    return pin, {"new": "new", "changed": "changed", "pinned": "restored"}[pin.state]


def _accept(connection: apsw.Connection, server: str, tool: str, digest: str, by: str, at: datetime) -> Written[Pin]:
    before = _get(connection, server, tool)
    if before.seen.digest != digest:
        raise PinMoved(before, digest)
    if before.state == "pinned":
        return Written(before)
    pin = Pin(
        server=server,
        tool=tool,
        accepted=before.seen,
        accepted_at=at,
        accepted_by=by,
        seen=before.seen,
        seen_at=before.seen_at,
    )
    _keep(connection, pin)
    was = None if before.accepted is None else before.accepted.digest
    _log(connection, pin, "accepted", at, by=by, was=was)
    _advance(connection)
    return Written(pin)


def _forget(
    connection: apsw.Connection, *, server: str, tools: Sequence[str], by: str, at: datetime
) -> Written[Sequence[str]]:
    gone: list[str] = []
    for tool in tools:
        pin = _find(connection, server, tool)
        if pin is None:
            continue
        connection.execute("DELETE FROM pin WHERE server = ? AND tool = ?", (server, tool))
        _log(connection, pin, "forgotten", at, by=by)
        gone.append(tool)
    if gone:
        _advance(connection)
    return Written(gone)


def _keep(connection: apsw.Connection, pin: Pin) -> None:
    accepted = pin.accepted
    connection.execute(
        f"INSERT OR REPLACE INTO pin ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (our words)
        (
            pin.server,
            pin.tool,
            None if accepted is None else accepted.digest,
            None if accepted is None else dump(dict(accepted.content)),
            None if pin.accepted_at is None else microseconds(pin.accepted_at),
            pin.accepted_by,
            pin.seen.digest,
            dump(dict(pin.seen.content)),
            microseconds(pin.seen_at),
        ),
    )


def _log(
    connection: apsw.Connection, pin: Pin, action: str, at: datetime, *, by: str | None, was: str | None = None
) -> None:
    detail: dict[str, Any] = {"digest": pin.seen.digest}
    if pin.tool == INSTRUCTIONS:
        detail["about"] = "instructions"
    if action == "changed" and pin.accepted is not None:
        was = pin.accepted.digest
    if was is not None:
        detail["was"] = was
    if by is not None:
        detail["by"] = by
    tool = pin.tool or None
    append(connection, NewEntry(kind=EntryKind.PIN, at=at, server=pin.server, tool=tool, action=action, detail=detail))


def _advance(connection: apsw.Connection) -> None:
    connection.execute("UPDATE pin_generation SET number = number + 1")


def _pin(row: tuple[Any, ...]) -> Pin:
    server, tool, digest, definition, pinned_at, pinned_by, seen_digest, seen_definition, seen_at = row
    return Pin(
        server=str(server),
        tool=str(tool),
        accepted=None if digest is None else Sighting(str(digest), json.loads(definition)),
        accepted_at=None if pinned_at is None else _time(pinned_at),
        accepted_by=_text(pinned_by),
        seen=Sighting(str(seen_digest), json.loads(seen_definition)),
        seen_at=_time(seen_at),
    )


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(at))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
