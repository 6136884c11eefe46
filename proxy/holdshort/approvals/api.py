"""The interruptions over HTTP: read, decide, withdraw, resolve.

Every change is one event handed to the store, which alone says what it leads to. A decision names the fingerprint
that was looked at, so what is decided is what was shown.
"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from holdshort.approvals.access import Visit, read_json
from holdshort.approvals.bodies import ApproveBody, DecisionBody, EditBody, RejectBody, ResolveBody, WithdrawBody
from holdshort.approvals.problems import Refused
from holdshort.approvals.remembering import wish_for
from holdshort.approvals.tally import Tally
from holdshort.approvals.waits import LONGEST_WAIT_SECONDS, Waits
from holdshort.interruption import (
    Approve,
    DecisionEvent,
    Edit,
    FingerprintMismatch,
    Interruption,
    Reject,
    Resolve,
    Respond,
    State,
    Supersede,
    Withdraw,
    fingerprint,
    is_eligible,
)
from holdshort.store.contract import Query
from holdshort.wire import encode

__all__ = [
    "ExactJSONResponse",
    "InterruptionsApi",
    "ValueFault",
    "integer",
    "require_edit_is_fine",
    "shown_to",
    "visible",
    "words",
]

MAX_PAGE = 200
_STATES = frozenset(state.value for state in State)


class ExactJSONResponse(JSONResponse):
    """JSON in which integers of any size keep every digit."""

    def render(self, content: Any) -> bytes:
        return encode(content)


class ValueFault(Refused):
    """Raised when a query parameter is not what it must be."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__("malformed", f"`{name}` {problem}")


async def visible(visit: Visit, interruption_id: str) -> Interruption:
    """Return the interruption, if this caller may see it; another's is as absent as one that never was.

    Raises:
        InterruptionNotFound, Refused: `not_found`.
    """
    record = await visit.deps.store.get(interruption_id)
    if visit.principal.is_agent and record.requested_by.agent != visit.principal.name:
        raise Refused("not_found", "there is no such interruption")
    return record


def shown_to(visit: Visit, record: Interruption) -> dict[str, Any]:
    """Return the record as this caller may see it."""
    return record.public() if visit.principal.is_agent else record.for_approvers()


async def require_edit_is_fine(visit: Visit, record: Interruption, seen: str, arguments: Mapping[str, Any]) -> None:
    """Ask the judge about edited arguments, unless the machine will refuse them anyway.

    Raises:
        FingerprintMismatch: the call changed since it was looked at.
        Refused: `invalid_edit`, with a pointer to what is wrong.
    """
    principal = visit.principal
    if record.state is not State.PENDING or not is_eligible(record, principal.name, principal.groups):
        return
    # Here, not left to the machine: between this look and its own the record could change back, unjudged.
    if seen != record.fingerprint:
        raise FingerprintMismatch(record, seen)
    problem = await visit.deps.judge.check_edit(record, arguments)
    if problem is not None:
        raise Refused("invalid_edit", problem.message, pointer=problem.pointer)


async def _require_still_asked(visit: Visit, record: Interruption) -> None:
    """Put away a call that policy has overtaken since it was parked: an approval of it would never run.

    Raises:
        Refused: `superseded`, with the record as it stands.
    """
    principal = visit.principal
    if record.state is not State.PENDING or not is_eligible(record, principal.name, principal.groups):
        return
    reason = await visit.deps.judge.overruled(record)
    if reason is not None:
        ended = await visit.deps.store.apply(record.id, Supersede(at=visit.deps.clock(), reason=reason))
        raise Refused("superseded", f"this call cannot be approved any more: {reason}", record=ended.public())


class InterruptionsApi:
    """The handlers under `/v1/interruptions`."""

    def __init__(self, tally: Tally, waits: Waits) -> None:
        self._tally = tally
        self._waits = waits

    async def list(self, visit: Visit) -> ExactJSONResponse:
        """Answer one page, newest first."""
        asked = visit.request.query_params
        known = {"state", "server", "agent", "run_id", "limit", "cursor"}
        for name in asked:
            if name not in known:
                raise ValueFault(name, f"is not a filter; known are {', '.join(sorted(known))}")
        agent = asked.get("agent")
        if visit.principal.is_agent:
            if agent not in (None, visit.principal.name):
                return ExactJSONResponse({"interruptions": [], "next_cursor": None})
            agent = visit.principal.name
        query = Query(
            states=_states(asked.getlist("state")),
            server=asked.get("server"),
            agent=agent,
            run_id=asked.get("run_id"),
            limit=integer(asked.get("limit"), "limit", default=50, low=1, high=MAX_PAGE),
            cursor=asked.get("cursor"),
        )
        page = await visit.deps.store.list(query)
        records = [shown_to(visit, record) for record in page.items]
        return ExactJSONResponse({"interruptions": records, "next_cursor": page.next_cursor})

    async def show(self, visit: Visit) -> ExactJSONResponse:
        """Answer one; with `?wait=`, once it is decided."""
        asked = visit.request.query_params.get("wait")
        seconds = integer(asked, "wait", default=0, low=0, high=LONGEST_WAIT_SECONDS)
        record = await visible(visit, visit.request.path_params["id"])
        record = await self._waits.decided(visit, record, seconds)
        return ExactJSONResponse(shown_to(visit, record))

    async def decide(self, visit: Visit) -> ExactJSONResponse:
        """Record one approver's decision and answer the interruption as it stands after it."""
        self._tally.pace(visit)
        body = (await read_json(visit, DecisionBody)).root
        record = await visible(visit, visit.request.path_params["id"])
        if isinstance(body, ApproveBody | EditBody):
            await _require_still_asked(visit, record)
        if isinstance(body, EditBody):
            await require_edit_is_fine(visit, record, body.fingerprint, body.arguments)
        by, groups = visit.principal.name, visit.principal.groups
        at = visit.deps.clock()
        event: DecisionEvent
        if isinstance(body, ApproveBody):
            event = Approve(
                at=at,
                by=by,
                groups=groups,
                fingerprint=body.fingerprint,
                message=body.message,
                remember=None if body.remember is None else wish_for(visit, record, body.fingerprint, body.remember),
            )
        elif isinstance(body, EditBody):
            event = Edit(
                at=at,
                by=by,
                groups=groups,
                fingerprint=body.fingerprint,
                message=body.message,
                arguments=body.arguments,
                new_fingerprint=fingerprint(record.server, record.tool, body.arguments),
            )
        elif isinstance(body, RejectBody):
            event = Reject(at=at, by=by, groups=groups, fingerprint=body.fingerprint, message=body.message)
        else:
            event = Respond(
                at=at, by=by, groups=groups, fingerprint=body.fingerprint, message=body.message, content=body.content
            )
        decided = await visit.deps.store.apply(record.id, event)
        self._tally.decided(body.decision)
        return ExactJSONResponse(decided.for_approvers())

    async def withdraw(self, visit: Visit) -> ExactJSONResponse:
        """Take back an agent's own call."""
        body = await read_json(visit, WithdrawBody)
        record = await visible(visit, visit.request.path_params["id"])
        event = Withdraw(at=visit.deps.clock(), by=visit.principal.name, reason=body.reason)
        return ExactJSONResponse((await visit.deps.store.apply(record.id, event)).public())

    async def resolve(self, visit: Visit) -> ExactJSONResponse:
        """Settle a call of unknown outcome by an operator's word."""
        self._tally.pace(visit)
        body = await read_json(visit, ResolveBody)
        record = await visible(visit, visit.request.path_params["id"])
        event = Resolve(at=visit.deps.clock(), by=visit.principal.name, ran=body.ran, note=body.note)
        return ExactJSONResponse((await visit.deps.store.apply(record.id, event)).public())


def words(values: list[str]) -> list[str]:
    """Return the words of a repeated or comma-separated query parameter."""
    return [word for value in values for word in value.split(",") if word]


def integer(text: str | None, name: str, *, default: int, low: int, high: int) -> int:
    """Return a whole number from a query parameter.

    Raises:
        ValueFault: it is none, or out of range.
    """
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
        raise ValueFault(name, f"must be a whole number from {low} to {high}")
    return int(text)


def _states(values: list[str]) -> frozenset[State]:
    found: set[State] = set()
    for word in words(values):
        if word not in _STATES:
            raise ValueFault("state", f"has no value `{word[:40]}`; known are {', '.join(State)}")
        found.add(State(word))
    return frozenset(found)
