"""Standing grants in SQLite: the table, its rows, and whether the decision log says what they say."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import apsw

from holdshort.interruption import timestamp
from holdshort.policy import GRANT_LAYER, Grant, GrantState, Scope, scope_from_json
from holdshort.store.chain import BrokenLink, dump
from holdshort.store.connection import translated
from holdshort.store.granting import GrantNotFound, GrantPage, GrantQuery
from holdshort.store.rows import microseconds

__all__ = [
    "TABLES",
    "Ledger",
    "changed_since",
    "digest_of",
    "get",
    "has_erasable",
    "latest_change",
    "page",
    "scope_text",
]

TABLES: Final = (
    # `scope` is erased some time after a grant has ended; its digest stays. `changed` is a sequence of the log.
    """CREATE TABLE standing_grant (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        agent TEXT NOT NULL,
        server TEXT NOT NULL,
        tool TEXT NOT NULL,
        definition_digest TEXT NOT NULL,
        scope TEXT,
        scope_digest TEXT NOT NULL,
        made_by TEXT NOT NULL,
        made INTEGER NOT NULL,
        from_interruption TEXT NOT NULL,
        expires INTEGER NOT NULL,
        max_uses INTEGER NOT NULL,
        uses INTEGER NOT NULL CHECK (uses <= max_uses),
        last_used INTEGER,
        revoked INTEGER,
        revoked_by TEXT,
        changed INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX grant_by_change ON standing_grant (changed)",
    "CREATE INDEX grant_with_scope ON standing_grant (expires) WHERE scope IS NOT NULL",
)

_FIELDS: Final = (
    "id, agent, server, tool, definition_digest, scope, scope_digest, made_by, made, from_interruption, expires,"
    " max_uses, uses, last_used, revoked, revoked_by"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OF_STATE: Final[Mapping[GrantState, str]] = {
    GrantState.REVOKED: "revoked IS NOT NULL",
    GrantState.USED_UP: "revoked IS NULL AND uses >= max_uses",
    GrantState.EXPIRED: "revoked IS NULL AND uses < max_uses AND expires <= :now",
    GrantState.ACTIVE: "revoked IS NULL AND uses < max_uses AND expires > :now",
}
"""The states of `Grant.state`, as SQL says them."""


def scope_text(scope: Scope) -> str:
    """Return a scope as it is kept."""
    return dump(scope.to_json())


def digest_of(text: str) -> str:
    """Return the SHA-256, in hex, of a scope as it is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def get(connection: apsw.Connection, grant_id: str) -> Grant:
    """Raises:
    GrantNotFound: no such id.
    """
    with translated():
        row = connection.execute(f"SELECT {_FIELDS} FROM standing_grant WHERE id = ?", (grant_id,)).fetchone()  # noqa: S608
    if row is None:
        raise GrantNotFound(grant_id)
    return _grant(row)


def page(connection: apsw.Connection, query: GrantQuery, now: datetime) -> GrantPage:
    """Return one page, newest first. A cursor that is none of ours starts from the top."""
    wanted: list[str] = []
    values: dict[str, str | int] = {"limit": query.limit + 1, "now": microseconds(now)}
    if query.states:
        wanted.append(f"({' OR '.join(f'({_OF_STATE[state]})' for state in sorted(query.states))})")
    for column, value in (("agent", query.agent), ("server", query.server), ("tool", query.tool)):
        if value is not None:
            wanted.append(f"{column} = :{column}")
            values[column] = value
    if query.cursor is not None and query.cursor.isdecimal():
        wanted.append("position < :cursor")
        values["cursor"] = int(query.cursor)
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    with translated():
        rows = connection.execute(
            f"SELECT position, {_FIELDS} FROM standing_grant{where} ORDER BY position DESC LIMIT :limit",  # noqa: S608
            values,
        ).fetchall()
    shown = rows[: query.limit]
    more = len(rows) > query.limit and bool(shown)
    return GrantPage(items=[_grant(row[1:]) for row in shown], next_cursor=str(shown[-1][0]) if more else None)


def latest_change(connection: apsw.Connection) -> int:
    """Return the sequence of the latest change; zero where there never was a grant."""
    with translated():
        return int(connection.execute("SELECT coalesce(max(changed), 0) FROM standing_grant").get)


def changed_since(connection: apsw.Connection, sequence: int) -> Sequence[Grant]:
    """Return the grants changed after a sequence, as they stand now, oldest first."""
    with translated():
        rows = connection.execute(
            f"SELECT {_FIELDS} FROM standing_grant WHERE changed > ? ORDER BY position",  # noqa: S608
            (sequence,),
        ).fetchall()
    return [_grant(row) for row in rows]


def has_erasable(connection: apsw.Connection, before: datetime) -> bool:
    """Say whether a grant ended before a moment and still has its scope."""
    with translated():
        return bool(
            connection.execute(
                "SELECT EXISTS (SELECT 1 FROM standing_grant WHERE scope IS NOT NULL AND"
                " (expires < :before OR revoked < :before OR (uses >= max_uses AND last_used < :before)))",
                {"before": microseconds(before)},
            ).get
        )


class Ledger:
    """What the log says about grants: fed with every row of it, then compared with the table."""

    def __init__(self) -> None:
        self._made: dict[str, Mapping[str, Any]] = {}
        self._uses: dict[str, int] = {}
        self._revoked: set[str] = set()

    def note(self, fields: Mapping[str, Any]) -> None:
        """Take one row of the log."""
        if fields.get("kind") == "grant":
            detail = fields["detail"]
            if detail["event"] == "made":
                self._made[detail["grant"]] = {**fields, **detail}
            elif detail["event"] == "revoked":
                self._revoked.add(detail["grant"])
        elif fields.get("kind") == "verdict" and fields.get("action") == "allow":
            for reason in fields.get("because", ()):
                if reason["layer"] == GRANT_LAYER:
                    self._uses[reason["rule"]] = self._uses.get(reason["rule"], 0) + 1

    def check(self, connection: apsw.Connection, rows: int) -> None:
        """Raises:
        BrokenLink: a grant is kept that the log does not know so.
        """
        kept: set[str] = set()
        for grant, scope in _with_scopes(connection):
            kept.add(grant.id)
            if self._wrong(grant, scope):
                raise BrokenLink(rows, f"grant `{grant.id}` is not as the log says it was made, used and revoked")
        lost = sorted(self._made.keys() - kept)
        if lost:
            raise BrokenLink(rows, f"grant `{lost[0]}` is gone; the log says that it was made")

    def _wrong(self, grant: Grant, scope: str | None) -> bool:
        told = self._made.get(grant.id)
        return (
            told is None
            or any(told[name] != getattr(grant, name) for name in ("agent", "server", "tool", "definition_digest"))
            or told["scope"] != grant.scope_digest
            or (scope is not None and digest_of(scope) != grant.scope_digest)
            or told["by"] != list(grant.made_by)
            or told["interruption"] != grant.from_interruption
            or told["expires_at"] != timestamp(grant.expires_at)
            or told["max_uses"] != grant.max_uses
            or self._uses.get(grant.id, 0) != grant.uses
            or (grant.id in self._revoked) != (grant.revoked_at is not None)
        )


def _with_scopes(connection: apsw.Connection) -> Iterator[tuple[Grant, str | None]]:
    for row in connection.execute(f"SELECT {_FIELDS} FROM standing_grant"):  # noqa: S608
        yield _grant((*row[:5], None, *row[6:])), row[5]


def _grant(row: Sequence[Any]) -> Grant:
    (ident, agent, server, tool, definition, scope, digest, made_by, made, source, expires) = row[:11]
    max_uses, uses, last_used, revoked, revoked_by = row[11:]
    return Grant(
        id=ident,
        agent=agent,
        server=server,
        tool=tool,
        definition_digest=definition,
        # The standard library: integers beyond 64 bits must not turn into floats.
        scope=None if scope is None else scope_from_json(json.loads(scope)),
        scope_digest=digest,
        made_by=tuple(json.loads(made_by)),
        made_at=_moment(made),
        from_interruption=source,
        expires_at=_moment(expires),
        max_uses=max_uses,
        uses=uses,
        last_used_at=None if last_used is None else _moment(last_used),
        revoked_at=None if revoked is None else _moment(revoked),
        revoked_by=revoked_by,
    )


def _moment(microseconds_since: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds_since)
