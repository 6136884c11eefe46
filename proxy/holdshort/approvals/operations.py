"""For operators: the decision log, the policy in force, the upstreams, health and numbers."""

from datetime import datetime, timedelta

from starlette.responses import PlainTextResponse, Response

from holdshort.approvals.access import Visit, on_this_machine, read_json
from holdshort.approvals.api import ExactJSONResponse, ValueFault, integer, words
from holdshort.approvals.bodies import ExplainBody
from holdshort.approvals.problems import Refused
from holdshort.approvals.stream import EventStreams
from holdshort.approvals.tally import Tally
from holdshort.errors import HoldshortError
from holdshort.interruption import Decision, State
from holdshort.store.contract import EntryKind, LogFilter, Query, Store

__all__ = ["Operations"]

_AGE_IS_KEPT = timedelta(seconds=10)
_MAX_SEQUENCE = 10**18 - 1
_KINDS = frozenset(kind.value for kind in EntryKind)


class Operations:
    """The handlers that decide nothing."""

    def __init__(self, tally: Tally, streams: EventStreams) -> None:
        self._tally = tally
        self._streams = streams
        self._oldest: tuple[datetime, datetime | None] | None = None

    async def log(self, visit: Visit) -> Response:
        """Answer one page of the decision log, oldest first."""
        asked = visit.request.query_params
        kinds: set[EntryKind] = set()
        for word in words(asked.getlist("kind")):
            if word not in _KINDS:
                raise ValueFault("kind", f"has no value `{word[:40]}`; known are {', '.join(EntryKind)}")
            kinds.add(EntryKind(word))
        limit = integer(asked.get("limit"), "limit", default=100, low=1, high=1000)
        after = integer(asked.get("after"), "after", default=0, low=0, high=_MAX_SEQUENCE)
        where = LogFilter(
            kinds=frozenset(kinds),
            server=asked.get("server"),
            agent=asked.get("agent"),
            interruption=asked.get("interruption"),
        )
        found = [
            {"sequence": row.sequence, "hash": row.hash, "body": row.body, "entry": dict(row.fields)}
            async for row in visit.deps.store.entries(after=after, limit=limit, where=where)
        ]
        following = found[-1]["sequence"] if len(found) == limit else None
        return ExactJSONResponse({"entries": found, "next_after": following})

    async def policy(self, visit: Visit) -> Response:
        """Answer the policy in force."""
        return ExactJSONResponse(visit.deps.policy())

    async def explain(self, visit: Visit) -> Response:
        """Answer what policy would say about a call."""
        if visit.deps.explain is None:
            raise Refused("not_found", "this proxy does not explain its policy")
        body = await read_json(visit, ExplainBody)
        return ExactJSONResponse(dict(await visit.deps.explain(body.model_dump())))

    async def servers(self, visit: Visit) -> Response:
        """Answer the upstreams and how they are."""
        return ExactJSONResponse({"servers": list(visit.deps.servers())})

    async def alive(self, visit: Visit) -> Response:
        """Answer that this process runs."""
        return ExactJSONResponse({"status": "ok", "missing": []})

    async def ready(self, visit: Visit) -> Response:
        """Answer whether calls can be served; what is missing is told to this machine only."""
        missing = list(await visit.deps.missing())
        try:
            await visit.deps.store.sequence()
        except HoldshortError:
            missing.append("the store does not answer")
        if not missing:
            return ExactJSONResponse({"status": "ready", "missing": []})
        told = missing if on_this_machine(visit.request) else []
        return ExactJSONResponse({"status": "not_ready", "missing": told}, status_code=503)

    async def metrics(self, visit: Visit) -> Response:
        """Answer numbers in the Prometheus text format; no name, id or argument is in them."""
        counts = await visit.deps.store.counts()
        oldest = await self._oldest_pending(visit)
        age = 0.0 if oldest is None else max(0.0, (visit.deps.clock() - oldest).total_seconds())
        lines = [
            "# HELP holdshort_interruptions Parked calls by state.",
            "# TYPE holdshort_interruptions gauge",
            *(f'holdshort_interruptions{{state="{state}"}} {counts.get(state, 0)}' for state in State),
            "# HELP holdshort_oldest_pending_seconds Age of the call that has waited longest for a decision.",
            "# TYPE holdshort_oldest_pending_seconds gauge",
            f"holdshort_oldest_pending_seconds {age:.3f}",
            "# HELP holdshort_decisions_total Decisions accepted by this process.",
            "# TYPE holdshort_decisions_total counter",
            *(
                f'holdshort_decisions_total{{decision="{kind}"}} {self._tally.decisions.get(kind, 0)}'
                for kind in Decision
            ),
            "# HELP holdshort_event_streams Event streams open now.",
            "# TYPE holdshort_event_streams gauge",
            f"holdshort_event_streams {self._streams.count}",
        ]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    async def _oldest_pending(self, visit: Visit) -> datetime | None:
        now = visit.deps.clock()
        if self._oldest is None or now - self._oldest[0] > _AGE_IS_KEPT:
            self._oldest = (now, await _find_oldest(visit.deps.store))
        return self._oldest[1]


async def _find_oldest(store: Store) -> datetime | None:
    oldest: datetime | None = None
    query = Query(states=frozenset({State.PENDING}), limit=200)
    while True:
        page = await store.list(query)
        for record in page.items:
            oldest = record.created_at if oldest is None else min(oldest, record.created_at)
        if page.next_cursor is None:
            return oldest
        query = Query(states=query.states, limit=query.limit, cursor=page.next_cursor)
