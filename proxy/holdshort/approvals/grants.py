"""Standing grants over HTTP: list, look, revoke, and what could be granted. Making one is part of an approval."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from holdshort.approvals.access import Visit, read_json
from holdshort.approvals.api import MAX_PAGE, ExactJSONResponse, ValueFault, integer, words
from holdshort.approvals.bodies import RevokeBody
from holdshort.approvals.problems import Refused
from holdshort.approvals.tally import Tally
from holdshort.interruption import Decision, Interruption, State, timestamp
from holdshort.policy import Grant, GrantState, PastCall, Proposal, covers, propose
from holdshort.store import GrantNotFound, GrantQuery, Query, Store

__all__ = ["GrantsApi", "grant_json", "proposals_for"]

_STATES: Final = frozenset(state.value for state in GrantState)
_DECIDED: Final = frozenset(
    {State.APPROVED, State.EXECUTING, State.EXECUTED, State.FAILED, State.UNKNOWN, State.REJECTED}
)
_LOOK_BACK: Final = timedelta(days=7)
_MOST_CALLS: Final = 500


class GrantsApi:
    """The handlers under `/v1/grants`; no agent may use any of them."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def list(self, visit: Visit) -> ExactJSONResponse:
        """Answer one page, newest first."""
        asked = visit.request.query_params
        known = {"state", "agent", "server", "tool", "limit", "cursor"}
        for name in asked:
            if name not in known:
                raise ValueFault(name, f"is not a filter; known are {', '.join(sorted(known))}")
        now = visit.deps.clock()
        query = GrantQuery(
            states=_states(asked.getlist("state")),
            agent=asked.get("agent"),
            server=asked.get("server"),
            tool=asked.get("tool"),
            limit=integer(asked.get("limit"), "limit", default=50, low=1, high=MAX_PAGE),
            cursor=asked.get("cursor"),
        )
        page = await visit.deps.store.grants.list(query, now=now)
        return ExactJSONResponse(
            {"grants": [grant_json(grant, now) for grant in page.items], "next_cursor": page.next_cursor}
        )

    async def show(self, visit: Visit) -> ExactJSONResponse:
        """Answer one."""
        try:
            grant = await visit.deps.store.grants.get(visit.request.path_params["id"])
        except GrantNotFound:
            raise Refused("not_found", "there is no such grant") from None
        return ExactJSONResponse(grant_json(grant, visit.deps.clock()))

    async def revoke(self, visit: Visit) -> ExactJSONResponse:
        """End one; any approver may, since that only takes away."""
        self._tally.pace(visit)
        await read_json(visit, RevokeBody)
        now = visit.deps.clock()
        try:
            grant = await visit.deps.store.grants.revoke(
                visit.request.path_params["id"], by=visit.principal.name, now=now
            )
        except GrantNotFound:
            raise Refused("not_found", "there is no such grant") from None
        return ExactJSONResponse(grant_json(grant, now))

    async def proposals(self, visit: Visit) -> ExactJSONResponse:
        """Answer what could be granted, by what was approved lately."""
        found = await proposals_for(visit.deps.store, visit.deps.clock())
        return ExactJSONResponse({"proposals": [_proposal_json(proposal) for proposal in found]})


def grant_json(grant: Grant, now: datetime) -> dict[str, Any]:
    """Return a grant as the API shows it."""
    return {
        "id": grant.id,
        "state": grant.state(now).value,
        "agent": grant.agent,
        "server": grant.server,
        "tool": grant.tool,
        "definition_digest": grant.definition_digest,
        "scope": None if grant.scope is None else grant.scope.to_json(),
        "scope_digest": grant.scope_digest,
        "made_by": list(grant.made_by),
        "made_at": timestamp(grant.made_at),
        "from_interruption": grant.from_interruption,
        "expires_at": timestamp(grant.expires_at),
        "max_uses": grant.max_uses,
        "uses": grant.uses,
        "last_used_at": None if grant.last_used_at is None else timestamp(grant.last_used_at),
        "revoked_at": None if grant.revoked_at is None else timestamp(grant.revoked_at),
        "revoked_by": grant.revoked_by,
    }


async def proposals_for(store: Store, now: datetime) -> list[Proposal]:
    """Return what could be granted: from decisions of the last week whose arguments are still kept.

    What a grant in force answers for already is left out.
    """
    history: list[PastCall] = []
    cursor: str | None = None
    seen = 0
    while seen < _MOST_CALLS:
        page = await store.list(Query(states=_DECIDED, limit=200, cursor=cursor))
        seen += len(page.items)
        recent = [record for record in page.items if record.created_at > now - _LOOK_BACK]
        history += [past for past in map(_past, recent) if past is not None]
        cursor = page.next_cursor
        if cursor is None or len(recent) < len(page.items):
            break
    found: list[Proposal] = []
    for proposal in propose(history):
        standing = await store.grants.candidates(proposal.agent, proposal.server, proposal.tool)
        if not any(_answers_all(grant, proposal, now) for grant in standing):
            found.append(proposal)
    return found


def _answers_all(grant: Grant, proposal: Proposal, now: datetime) -> bool:
    return all(covers(grant, past.call(), proposal.definition_digest, now) for past in proposal.covers)


def _past(record: Interruption) -> PastCall | None:
    """Return the call as `propose` looks at it; None for one that was edited, erased, or that no grant may answer."""
    if record.purged_at is not None or record.fingerprint != record.requested_fingerprint or not record.decisions:
        return None
    if not record.terms.grants or any(each.decision is Decision.EDIT for each in record.decisions):
        return None
    rejected = record.state is State.REJECTED
    by = (record.decisions[-1].by,) if rejected else tuple(dict.fromkeys(vote.by for vote in record.counted()))
    return PastCall(
        id=record.id,
        agent=record.requested_by.agent,
        server=record.server,
        tool=record.tool,
        definition_digest=record.definition_digest,
        arguments=record.arguments,
        approved=not rejected,
        by=by,
        at=record.decisions[-1].at,
    )


def _proposal_json(proposal: Proposal) -> Mapping[str, Any]:
    return {
        "agent": proposal.agent,
        "server": proposal.server,
        "tool": proposal.tool,
        "definition_digest": proposal.definition_digest,
        "scope": proposal.scope.to_json(),
        "covers": [
            {
                "id": past.id,
                "arguments": dict(past.arguments),
                "approved_by": list(past.by),
                "at": timestamp(past.at),
            }
            for past in proposal.covers
        ],
    }


def _states(values: list[str]) -> frozenset[GrantState]:
    found: set[GrantState] = set()
    for word in words(values):
        if word not in _STATES:
            raise ValueFault("state", f"has no value `{word[:40]}`; known are {', '.join(GrantState)}")
        found.add(GrantState(word))
    return frozenset(found)
