"""Questions that change nothing. Each is answered from one snapshot and leaves no transaction open behind it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import apsw

from holdshort.interruption import Interruption, State
from holdshort.store.connection import translated
from holdshort.store.contract import Change, InterruptionNotFound, Page, Query
from holdshort.store.rows import from_text, microseconds

__all__ = [
    "changes",
    "counts",
    "get",
    "has_attachable",
    "has_dead_weight",
    "has_due",
    "has_purgeable",
    "latest_change",
    "page",
    "version",
]


def get(connection: apsw.Connection, interruption_id: str) -> Interruption:
    """Raises:
    InterruptionNotFound: no such id.
    """
    with translated():
        row = connection.execute("SELECT body FROM interruption WHERE id = ?", (interruption_id,)).fetchone()
    if row is None:
        raise InterruptionNotFound(interruption_id)
    return from_text(str(row[0]))


def page(connection: apsw.Connection, query: Query) -> Page:
    """Return one page, newest first. A cursor that is none of ours starts from the top."""
    wanted: list[str] = []
    values: list[str | int] = []
    if query.states:
        wanted.append(f"state IN ({', '.join('?' * len(query.states))})")
        values += sorted(state.value for state in query.states)
    for column, value in (("server", query.server), ("agent", query.agent), ("run_id", query.run_id)):
        if value is not None:
            wanted.append(f"{column} = ?")
            values.append(value)
    if query.cursor is not None and query.cursor.isdecimal():
        wanted.append("position < ?")
        values.append(int(query.cursor))
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    with translated():
        rows = connection.execute(
            f"SELECT position, body FROM interruption{where} ORDER BY position DESC LIMIT ?",  # noqa: S608 (our words)
            (*values, query.limit + 1),
        ).fetchall()
    items = [from_text(str(body)) for _, body in rows[: query.limit]]
    more = len(rows) > query.limit and bool(items)
    return Page(items=items, next_cursor=str(rows[query.limit - 1][0]) if more else None)


def counts(connection: apsw.Connection) -> Mapping[State, int]:
    with translated():
        rows = connection.execute("SELECT state, count(*) FROM interruption GROUP BY state").fetchall()
    return {State(str(state)): int(str(number)) for state, number in rows}


def changes(connection: apsw.Connection, after: int, limit: int) -> Sequence[Change]:
    """Return interruptions changed after a sequence, in the order of their latest changes."""
    with translated():
        rows = connection.execute(
            "SELECT changed, body FROM interruption WHERE changed > ? ORDER BY changed LIMIT ?", (after, limit)
        ).fetchall()
    return [Change(sequence=int(str(changed)), interruption=from_text(str(body))) for changed, body in rows]


def latest_change(connection: apsw.Connection) -> int:
    with translated():
        return int(connection.execute("SELECT coalesce(max(changed), 0) FROM interruption").get)


def version(connection: apsw.Connection) -> int:
    """Return a number that is another one after any other connection, of any process, committed."""
    with translated():
        return int(connection.execute("PRAGMA data_version").get)


def has_attachable(connection: apsw.Connection, agent: str, requested_fingerprint: str) -> bool:
    with translated():
        return bool(
            connection.execute(
                "SELECT EXISTS (SELECT 1 FROM interruption WHERE agent = ? AND requested_fingerprint = ?"
                " AND attachable = 1)",
                (agent, requested_fingerprint),
            ).get
        )


def has_parked(connection: apsw.Connection, agent: str) -> bool:
    with translated():
        return bool(
            connection.execute(
                "SELECT EXISTS (SELECT 1 FROM interruption WHERE agent = ? AND attachable = 1)", (agent,)
            ).get
        )


def has_due(connection: apsw.Connection, now: datetime) -> bool:
    with translated():
        return bool(
            connection.execute("SELECT EXISTS (SELECT 1 FROM interruption WHERE due <= ?)", (microseconds(now),)).get
        )


def has_dead_weight(connection: apsw.Connection, owner: str) -> bool:
    """Say whether another owner executes or holds anything; only its lock tells whether it lives."""
    with translated():
        return bool(
            connection.execute(
                "SELECT EXISTS (SELECT 1 FROM interruption WHERE executor IS NOT NULL AND executor <> ?1)"
                " OR EXISTS (SELECT 1 FROM hold WHERE owner <> ?1)",
                (owner,),
            ).get
        )


def has_purgeable(connection: apsw.Connection, before: datetime) -> bool:
    # The states are those a purge takes; see `tables.purge`.
    with translated():
        return bool(
            connection.execute(
                "SELECT EXISTS (SELECT 1 FROM interruption WHERE purged = 0 AND changed_at < ? AND state NOT IN"
                " ('pending', 'approved', 'executing', 'unknown'))",
                (microseconds(before),),
            ).get
        )
