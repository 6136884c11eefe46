"""The calls of a run that wait at a proxy, each with the proxy that it waits at, and what their records are taken for.

A record is taken only for the call that it is about. A state can be changed by whoever holds it; were the record of one
call shown for another, a person would approve what nobody looked at.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from holdshort.interruption import NoFingerprint, fingerprint
from holdshort.policy import OwnKind, own_label
from holdshort.runner.data import CallData, CallKind, RunData, Source
from holdshort.runner.errors import DecisionConflict, ProxyError, ProxyUnreachable, RunnerError, StateDamaged, UserError
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.items import call_id_of

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.endpoint import Endpoint
    from holdshort.runner.proxy import ApprovalProxy

__all__ = [
    "Parked",
    "calls_of",
    "endpoints",
    "find_parked",
    "is_about",
    "is_passing",
    "parked_calls",
    "proxy_of",
    "require_about",
    "shown_fingerprint",
    "take",
]


class Parked(NamedTuple):
    """A call that waits."""

    call: CallData
    path: Sequence[str]
    """The agents to it, the outermost first."""
    id: str
    """Of its record."""
    proxy: ApprovalProxy
    """Where that is."""

    def shown(self) -> Interruption:
        """Return how it is shown."""
        return interruption_of(self.call, self.path)


def calls_of(data: RunData, path: tuple[str, ...] = ()) -> Iterable[tuple[CallData, tuple[str, ...]]]:
    """Yield every call of the open turn with its path, whatever its status, those of runs inside included."""
    for call in data.calls:
        if call.run is not None:
            yield from calls_of(call.run, (*path, call.agent))
        yield call, (*path, call.agent)


def parked_calls(
    data: RunData, agents: Mapping[str, Agent[Any]], instead: ApprovalProxy | None = None
) -> Sequence[Parked]:
    """Return the calls of a run that wait for a person.

    Raises:
        UserError: one of them waits at a proxy that no agent on its path has.
    """
    found: list[Parked] = []
    for call, path in data.open_calls():
        record = call.interruption
        if record is not None:
            found.append(Parked(call, path, str(record["id"]), proxy_of(path, agents, instead)))
    return found


def find_parked(
    interruption: Interruption, data: RunData, agents: Mapping[str, Agent[Any]], instead: ApprovalProxy | None
) -> Parked:
    """Return the call of the open turn that an interruption is about.

    Raises:
        DecisionConflict: its turn is over, so it has ended.
        UserError: it is none of this run's, or there is no proxy to be asked about it.
    """
    for call, path in calls_of(data):
        if call.interruption is not None and call.interruption.get("id") == interruption.id:
            return Parked(call, path, interruption.id, proxy_of(path, agents, instead))
    answers = (entry.item for entry in data.history if entry.source is Source.TOOL)
    if any(call_id_of(item) == interruption.call_id for item in answers):
        raise DecisionConflict(
            f"the interruption `{interruption.id}` has ended, and the model was told how", reason="already_decided"
        )
    raise UserError(
        f"the interruption `{interruption.id}` is not of this state; decide about those of `get_interruptions()`"
    )


def proxy_of(path: Sequence[str], agents: Mapping[str, Agent[Any]], instead: ApprovalProxy | None) -> ApprovalProxy:
    """Return the proxy that decides: `instead`, or that of the innermost agent on the path that has one.

    `agents` has the agent that the run began with first; its proxy is the last that counts.

    Raises:
        UserError: none of them has one.
    """
    if instead is not None:
        return instead
    for name in (*reversed(path), next(iter(agents))):
        agent = agents.get(name)
        if agent is not None and agent.proxy is not None:
            return agent.proxy
    raise UserError(f"agent `{path[-1]}` has no proxy to be asked about its call; pass `proxy=ApprovalProxy(...)`")


@asynccontextmanager
async def endpoints(proxies: Iterable[ApprovalProxy]) -> AsyncGenerator[Mapping[int, Endpoint]]:
    """Open the approval endpoint of each proxy for as long as the block lasts, by `id(proxy)`."""
    links = {id(proxy): await proxy.open() for proxy in {id(each): each for each in proxies}.values()}
    try:
        yield {key: link.endpoint for key, link in links.items()}
    finally:
        for link in links.values():
            await link.close()


def is_about(record: Mapping[str, Any], call: CallData, run_id: str) -> bool:
    """Say whether a record is about this call of this run."""
    asked = record.get("requested_by") or {}
    return (
        record.get("kind", call.kind.value) == call.kind.value
        and record.get("server") == _label(call.kind.value, call.server)
        and record.get("tool") == call.tool
        and asked.get("run_id") in (None, run_id)
        and asked.get("call_id") in (None, call.key)
    )


def take(parked: Parked, record: Mapping[str, Any], run_id: str) -> bool:
    """Keep what the proxy says of a call. Returns whether that is news.

    Raises:
        StateDamaged: it is about another call.
    """
    require_about(parked, record, run_id)
    before = parked.call.interruption or {}
    parked.call.interruption = _for_agents(record)
    return bool(before.get("revision") != record.get("revision"))


def require_about(parked: Parked, record: Mapping[str, Any], run_id: str) -> None:
    """Refuse a record that is not about this call of this run.

    Raises:
        StateDamaged: it is about another one, so the state is not to be trusted.
    """
    if record.get("id") != parked.id or not is_about(record, parked.call, run_id):
        raise StateDamaged(
            f"the record `{parked.id}` is not about the call `{parked.call.call_id}` of this run; "
            "the state was changed, or is of a run at another proxy"
        )


def is_passing(problem: RunnerError) -> bool:
    """Say whether an error is about the proxy at this moment, so that the same request may be good later."""
    if isinstance(problem, ProxyUnreachable):
        return True
    return isinstance(problem, ProxyError) and (problem.status >= 500 or problem.status in (408, 429))


def shown_fingerprint(shown: Interruption) -> str:
    """Return the fingerprint of exactly what an interruption shows.

    Raises:
        StateDamaged: it says another one, so what is shown is not what would be decided about.
    """
    try:
        found = fingerprint(_label(shown.kind, shown.server), shown.tool_name, shown.parsed_arguments)
    except (NoFingerprint, ValueError):
        found = ""
    if found != shown.fingerprint:
        raise StateDamaged(
            f"what is shown of the interruption `{shown.id}` is not what its fingerprint is of; the state was changed"
        )
    return found


def _for_agents(record: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only approvers are told: a state is kept where agents run."""
    kept = {key: value for key, value in record.items() if key != "grant"}
    votes = kept.get("decisions")
    if isinstance(votes, list):
        kept["decisions"] = [
            {key: value for key, value in vote.items() if key != "remember"} if isinstance(vote, dict) else vote
            for vote in votes
        ]
    return kept


def _label(kind: str, server: str) -> str:
    return server if kind == CallKind.MCP.value else own_label(OwnKind(kind), server)
