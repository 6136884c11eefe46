"""What is done to the interruption tables inside one transaction. Each function is given the connection in it.

The machine says what happens; here it is written with its row in the log, by compare-and-swap on `revision`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import apsw

from holdshort.interruption import (
    Approve,
    Claim,
    Deliver,
    Edit,
    Event,
    Expire,
    Expired,
    IllegalTransition,
    Interruption,
    InterruptionError,
    Lose,
    Purge,
    Reject,
    Resolve,
    Respond,
    State,
    advance,
    fingerprint,
    is_due,
)
from holdshort.store.connection import DatabaseError
from holdshort.store.contract import InterruptionNotFound, QuotaExceeded, Quotas
from holdshort.store.entries import entry_of, parked_entry, point_inside, points_after, refusal_entry
from holdshort.store.faults import fault
from holdshort.store.grant_tables import make
from holdshort.store.log import append
from holdshort.store.recording import NewRecording
from holdshort.store.rows import from_text, microseconds, to_text
from holdshort.store.writer import Written

__all__ = [
    "apply",
    "attach",
    "detach",
    "expire_due",
    "has_answer_to_fetch",
    "park",
    "purge",
    "recover",
    "spend",
    "was_decided",
]

_FIXED: Final = ("id", "agent", "server", "run_id", "requested_fingerprint", "created")
_MOVING: Final = ("state", "revision", "due", "attachable", "executor", "purged", "changed", "changed_at", "body")
"""Only these are ever updated: an index is rewritten for every column that is named, changed or not."""

_COLUMNS: Final = (*_FIXED, *_MOVING)
_INSERT: Final = f"INSERT INTO interruption ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_UPDATE: Final = f"UPDATE interruption SET {' = ?, '.join(_MOVING)} = ? WHERE id = ? AND revision = ?"  # noqa: S608
_UNDECIDED: Final = frozenset({State.PENDING, State.EXPIRED})
_NEVER_ATTACHED: Final = frozenset({State.WITHDRAWN, State.SUPERSEDED})


def park(
    connection: apsw.Connection,
    interruption: Interruption,
    holder: str | None,
    owner: str,
    quotas: Quotas,
    recording: NewRecording | None = None,
) -> Written[Interruption]:
    """Keep a new interruption, held by `holder` if one is given.

    Raises:
        QuotaExceeded: too many are pending.
    """
    _check_quotas(connection, interruption, quotas)
    if interruption.state is not State.PENDING:
        raise IllegalTransition(interruption, "park")
    changed = append(connection, parked_entry(interruption, recording))
    try:
        connection.execute(_INSERT, (*_fixed(interruption), *_moving(interruption, changed, interruption.created_at)))
    except apsw.ConstraintError:
        raise DatabaseError(f"an interruption `{interruption.id}` is kept already") from None
    if holder is not None:
        connection.execute("INSERT INTO hold VALUES (?, ?, ?)", (interruption.id, holder, owner))
    fault("park.before_commit")
    return Written(interruption, after=("park.after_commit",), changed=True)


def attach(
    connection: apsw.Connection,
    agent: str,
    requested_fingerprint: str,
    holder: str,
    *,
    now: datetime,
    retention: timedelta,
    owner: str,
    is_alive: Callable[[str], bool],
) -> Written[Interruption | None]:
    """Take over the newest one that is to be had; see the contract for which that is."""
    for body, held_by in _attachable(connection, agent, requested_fingerprint, now - retention):
        if held_by is not None and (held_by == owner or is_alive(held_by)):
            continue
        found = from_text(body)
        expired = is_due(found, now)
        if expired:
            found = _end(connection, found, now)
        connection.execute("INSERT OR REPLACE INTO hold VALUES (?, ?, ?)", (found.id, holder, owner))
        return Written(found, changed=expired)
    return Written(None)


def has_answer_to_fetch(
    connection: apsw.Connection,
    agent: str,
    requested_fingerprint: str,
    *,
    now: datetime,
    retention: timedelta,
    owner: str,
    is_alive: Callable[[str], bool],
) -> bool:
    """Say whether `attach` would take over one that somebody decided, or that was sent."""
    return any(
        from_text(body).state not in _UNDECIDED
        for body, held_by in _attachable(connection, agent, requested_fingerprint, now - retention)
        if held_by is None or (held_by != owner and not is_alive(held_by))
    )


def was_decided(connection: apsw.Connection, interruption_id: str) -> bool:
    """Say whether somebody decided about it, or it was sent; False where there is none."""
    row = connection.execute("SELECT state FROM interruption WHERE id = ?", (interruption_id,)).fetchone()
    return row is not None and State(str(row[0])) not in _UNDECIDED


def _attachable(
    connection: apsw.Connection, agent: str, requested_fingerprint: str, oldest: datetime
) -> list[tuple[str, str | None]]:
    """Return records (as text) and who holds them, newest first."""
    oldest_end = microseconds(oldest)
    rows = connection.execute(
        "SELECT i.body, h.owner FROM interruption i LEFT JOIN hold h ON h.interruption = i.id"
        " WHERE i.agent = ? AND i.requested_fingerprint = ? AND i.attachable = 1"
        # What has not ended is to be had however long ago it was asked for; nobody may be asked a second time.
        " AND (i.changed_at > ? OR i.due > ? OR i.executor IS NOT NULL)"
        " ORDER BY i.position DESC",
        (agent, requested_fingerprint, oldest_end, oldest_end),
    ).fetchall()
    return [(str(body), None if held_by is None else str(held_by)) for body, held_by in rows]


def detach(connection: apsw.Connection, interruption_id: str, holder: str) -> Written[None]:
    connection.execute("DELETE FROM hold WHERE interruption = ? AND holder = ?", (interruption_id, holder))
    return Written(None)


def apply(connection: apsw.Connection, interruption_id: str, event: Event, owner: str) -> Written[Interruption]:
    """Advance one interruption.

    Raises:
        InterruptionNotFound: no such id.
    """
    row = connection.execute("SELECT body, changed_at FROM interruption WHERE id = ?", (interruption_id,)).fetchone()
    if row is None:
        raise InterruptionNotFound(interruption_id)
    before = from_text(str(row[0]))
    if microseconds(event.at) < int(row[1]):
        # A clock that was set back must not bring a deadline back.
        event = replace(event, at=event.at + timedelta(microseconds=int(row[1]) - microseconds(event.at)))
    if isinstance(event, Claim):
        if fingerprint(before.server, before.tool, before.arguments) != before.fingerprint:
            # The last look at what is about to be sent: a row that was tampered with, or rotted, is not run.
            raise DatabaseError(
                f"the arguments kept for interruption `{before.id}` are not those that were decided on",
                "run `holdshort log verify`",
            )
        # What the agent runs itself does not end with our process, but with its deadline.
        runs_here = event.until is None
        holder = owner if runs_here else f"agent/{event.agent}"
        event = replace(event, owner=holder, token=_next_token(connection))
    try:
        after = advance(before, event)
    except Expired as refused:
        # The expiry is kept even though the event is not.
        if refused.interruption is not before:
            _write(connection, before, refused.interruption, Expire(at=event.at))
        append(connection, refusal_entry(refused, event))
        return Written(refused.interruption, error=refused, changed=True)
    except InterruptionError as refused:
        if isinstance(event, Approve | Edit | Reject | Respond | Claim | Resolve):
            append(connection, refusal_entry(refused, event))
        return Written(before, error=refused)
    if after is before:
        return Written(before)
    return Written(_write(connection, before, after, event), after=points_after(event, after), changed=True)


def expire_due(connection: apsw.Connection, now: datetime) -> Written[list[Interruption]]:
    """End everything whose time is up."""
    rows = connection.execute(
        "SELECT body FROM interruption WHERE due <= ? ORDER BY due LIMIT 1000", (microseconds(now),)
    ).fetchall()
    expired = [_end(connection, before, now) for before in _records(rows)]
    return Written(expired, changed=bool(expired))


def recover(connection: apsw.Connection, now: datetime, is_alive: Callable[[str], bool]) -> Written[list[Interruption]]:
    """Settle what the dead left behind: what they were executing is unknown, what they held is free."""
    lost: list[Interruption] = []
    for (executor,) in connection.execute(
        "SELECT DISTINCT executor FROM interruption WHERE executor IS NOT NULL"
    ).fetchall():
        if is_alive(str(executor)):
            continue
        rows = connection.execute("SELECT body FROM interruption WHERE executor = ?", (executor,)).fetchall()
        for before in _records(rows):
            token = None if before.claim is None else before.claim.token
            event = Lose(at=now, token=token, reason="the process that ran it is gone; it may have run")
            lost.append(_write(connection, before, advance(before, event), event))
    for (holder,) in connection.execute("SELECT DISTINCT owner FROM hold").fetchall():
        if not is_alive(str(holder)):
            connection.execute("DELETE FROM hold WHERE owner = ?", (holder,))
    return Written(lost, changed=bool(lost))


def purge(connection: apsw.Connection, before: datetime, now: datetime) -> Written[int]:
    """Erase what ended before a moment and was last changed before it."""
    rows = connection.execute(
        "SELECT body FROM interruption WHERE purged = 0 AND changed_at < ? AND state NOT IN (?, ?, ?, ?) LIMIT 500",
        (microseconds(before), State.PENDING, State.APPROVED, State.EXECUTING, State.UNKNOWN),
    ).fetchall()
    event = Purge(at=now)
    for ended in _records(rows):
        _write(connection, ended, advance(ended, event), event)
    connection.execute("DELETE FROM nonce WHERE until < ?", (microseconds(now),))
    return Written(len(rows), changed=bool(rows))


def spend(connection: apsw.Connection, nonce: str, until: datetime) -> Written[bool]:
    connection.execute("INSERT OR IGNORE INTO nonce VALUES (?, ?)", (nonce, microseconds(until)))
    return Written(connection.changes() == 1)


def _fixed(i: Interruption) -> tuple[str | int | None, ...]:
    asked = i.requested_by
    return (i.id, asked.agent, i.server, asked.run_id, i.requested_fingerprint, microseconds(i.created_at))


def _moving(i: Interruption, changed: int, changed_at: datetime) -> tuple[str | int | None, ...]:
    due = i.due_at
    found_by_arguments = not i.keyed and i.delivered_at is None and i.purged_at is None
    attachable = found_by_arguments and i.state not in _NEVER_ATTACHED
    return (
        i.state.value,
        i.revision,
        None if due is None else microseconds(due),
        int(attachable),
        i.claim.owner if i.claim is not None and i.claim.until is None and i.state is State.EXECUTING else None,
        int(i.purged_at is not None),
        changed,
        microseconds(changed_at),
        to_text(i),
    )


def _write(connection: apsw.Connection, before: Interruption, after: Interruption, event: Event) -> Interruption:
    changed = append(connection, entry_of(before, after, event))
    connection.execute(_UPDATE, (*_moving(after, changed, event.at), before.id, before.revision))
    if connection.changes() != 1:
        raise DatabaseError(f"interruption `{before.id}` changed inside its own transaction")
    if isinstance(event, Deliver):
        connection.execute("DELETE FROM hold WHERE interruption = ?", (after.id,))
    if after.grant is not None and before.grant is None:
        make(connection, after, event.at)
    point = point_inside(event)
    if point is not None:
        fault(point)
    return after


def _end(connection: apsw.Connection, due: Interruption, now: datetime) -> Interruption:
    """End what has run out of time. What an agent took to run itself may have run: it is lost, never expired."""
    event: Expire | Lose = Expire(at=now)
    if due.state is State.EXECUTING and due.claim is not None:
        event = Lose(at=now, token=due.claim.token, reason="the agent did not say in time what came of it")
    return _write(connection, due, advance(due, event), event)


def _records(rows: Sequence[tuple[object, ...]]) -> Iterator[Interruption]:
    for row in rows:
        yield from_text(str(row[0]))


def _next_token(connection: apsw.Connection) -> int:
    connection.execute("UPDATE token SET last = last + 1")
    return int(connection.execute("SELECT last FROM token").get)


def _check_quotas(connection: apsw.Connection, i: Interruption, quotas: Quotas) -> None:
    agent, server = i.requested_by.agent, i.server
    for scope, name, limit, words in (
        ("agent", agent, quotas.per_agent, f"agent `{agent}`"),
        ("server", server, quotas.per_server, f"server `{server}`"),
        ("total", "", quotas.total, "this proxy"),
    ):
        found = connection.execute("SELECT number FROM pending WHERE scope = ? AND name = ?", (scope, name)).fetchone()
        if found is not None and int(str(found[0])) >= limit:
            raise QuotaExceeded(words, limit)
