"""What is done to the table of standing grants inside one transaction. Each function is given the connection in it."""

from datetime import datetime
from typing import Final

import apsw

from holdshort.interruption import Interruption, makers, timestamp
from holdshort.policy import BadScope, Grant, Wish
from holdshort.store.chain import dump
from holdshort.store.contract import EntryKind, NewEntry
from holdshort.store.faults import fault
from holdshort.store.granting import Use
from holdshort.store.grants import digest_of, get, scope_text
from holdshort.store.log import append
from holdshort.store.rows import microseconds
from holdshort.store.writer import Written

__all__ = ["erase", "make", "revoke", "use"]

_ENDED: Final = "(expires < :before OR revoked < :before OR (uses >= max_uses AND last_used < :before))"


def make(connection: apsw.Connection, approved: Interruption, at: datetime) -> None:
    """Keep the grant that the last approval of `approved` makes.

    Raises:
        BadScope: it would not cover the very call it comes from.
    """
    grant_id, remember = approved.grant, approved.decisions[-1].remember
    if grant_id is None or remember is None:
        return
    wish = Wish.from_json(remember)
    misfit = wish.scope.misfit_of(approved.requested_arguments)
    if misfit is not None:
        raise BadScope(f"the grant would not cover the call it comes from: {misfit}")
    text, by, expires = scope_text(wish.scope), makers(approved), at + wish.lifetime
    entry = _entry(
        approved.server,
        approved.tool,
        approved.requested_by.agent,
        at,
        interruption=approved.id,
        fingerprint=approved.fingerprint,
        grant=grant_id,
        event="made",
        by=list(by),
        scope=digest_of(text),
        definition_digest=approved.definition_digest,
        expires_at=timestamp(expires),
        max_uses=wish.max_uses,
    )
    changed = append(connection, entry)
    connection.execute(
        "INSERT INTO standing_grant (id, agent, server, tool, definition_digest, scope, scope_digest, made_by, made,"
        " from_interruption, expires, max_uses, uses, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
        (
            grant_id,
            approved.requested_by.agent,
            approved.server,
            approved.tool,
            approved.definition_digest,
            text,
            digest_of(text),
            dump(list(by)),
            microseconds(at),
            approved.id,
            microseconds(expires),
            wish.max_uses,
            changed,
        ),
    )
    fault("grant.in_tx")


def use(connection: apsw.Connection, grant: Grant, entry: NewEntry, now: datetime) -> Written[Use]:
    """Take one use, by compare-and-set, with the row of the call it is for."""
    connection.execute(
        # A clock that was set back must not bring a deadline back.
        "UPDATE standing_grant SET uses = uses + 1, last_used = max(:now, coalesce(last_used, made))"
        " WHERE id = :id AND uses < max_uses AND revoked IS NULL AND scope IS NOT NULL"
        " AND max(:now, coalesce(last_used, made)) < expires",
        {"id": grant.id, "now": microseconds(now)},
    )
    if connection.changes() != 1:
        return Written(Use.ENDED)
    sequence = append(connection, entry)
    connection.execute("UPDATE standing_grant SET changed = ? WHERE id = ?", (sequence, grant.id))
    fault("grant.in_tx")
    # Like the intent of a claimed call: what comes next is sending it.
    return Written(Use.TAKEN, after=("intent.after_commit",))


def revoke(connection: apsw.Connection, grant_id: str, by: str, now: datetime) -> Written[Grant]:
    """End it, unless somebody has.

    Raises:
        GrantNotFound: no such id.
    """
    grant = get(connection, grant_id)
    if grant.revoked_at is not None:
        return Written(grant)
    changed = append(
        connection, _entry(grant.server, grant.tool, grant.agent, now, grant=grant.id, event="revoked", by=by)
    )
    connection.execute(
        "UPDATE standing_grant SET revoked = ?, revoked_by = ?, changed = ? WHERE id = ?",
        (microseconds(max(now, grant.made_at)), by, changed, grant_id),
    )
    return Written(get(connection, grant_id))


def erase(connection: apsw.Connection, before: datetime, now: datetime) -> Written[int]:
    """Erase what was allowed by grants that ended before a moment; that they were there stays."""
    ended = connection.execute(
        f"SELECT id FROM standing_grant WHERE scope IS NOT NULL AND {_ENDED} LIMIT 500",  # noqa: S608 (our words)
        {"before": microseconds(before)},
    ).fetchall()
    for (grant_id,) in ended:
        grant = get(connection, str(grant_id))
        changed = append(connection, _entry(grant.server, grant.tool, grant.agent, now, grant=grant.id, event="erased"))
        connection.execute("UPDATE standing_grant SET scope = NULL, changed = ? WHERE id = ?", (changed, grant.id))
    return Written(len(ended))


def _entry(
    server: str,
    tool: str,
    agent: str,
    at: datetime,
    *,
    interruption: str | None = None,
    fingerprint: str | None = None,
    **detail: object,
) -> NewEntry:
    return NewEntry(
        kind=EntryKind.GRANT,
        at=at,
        server=server,
        tool=tool,
        agent=agent,
        interruption=interruption,
        fingerprint=fingerprint,
        detail=detail,
    )
