"""For agents: ask about a call that the agent runs itself, take it once it is approved, and say what came of it.

200 with `allow` is the only answer after which an agent may run a call without a claim; every other one, and no answer
at all, means not to. What is claimed may be run once, by whoever got the token.
"""

from starlette.responses import Response

from holdshort.approvals.access import Visit, read_json
from holdshort.approvals.api import ExactJSONResponse, shown_to, visible
from holdshort.approvals.bodies import CallBody, ClaimBody, OutcomeBody
from holdshort.approvals.deps import OwnCallDesk
from holdshort.approvals.problems import Refused
from holdshort.approvals.tally import Tally
from holdshort.approvals.waits import Waits
from holdshort.interruption import (
    Event,
    Finish,
    IllegalTransition,
    Interruption,
    LateReply,
    Lose,
    NotRun,
    Outcome,
    OutcomeKind,
    OwnCall,
    State,
    WrongKind,
    timestamp,
)
from holdshort.policy import Action, OwnKind, Verdict, same_json

__all__ = ["CallsApi"]

_KINDS = {
    "ok": OutcomeKind.OK,
    "tool_error": OutcomeKind.TOOL_ERROR,
    "failed": OutcomeKind.NOT_RUN,
    "unknown": OutcomeKind.LOST,
}


class CallsApi:
    """The handlers that agents use for calls of their own."""

    def __init__(self, tally: Tally, waits: Waits) -> None:
        self._tally = tally
        self._waits = waits

    async def ask(self, visit: Visit) -> Response:
        """Answer what policy says: 200 to run it, 202 for what a person decides, an error where it may not run."""
        desk = _desk(visit)
        self._tally.pace_call(visit)
        body = await read_json(visit, CallBody)
        answer = await desk.ask(visit.principal.name, _own(body))
        record = answer.record
        if record is None:
            return _verdict(answer.verdict)
        record = await self._waits.decided(visit, record, body.wait)
        await desk.told(record)
        because = [{"layer": each.layer, "rule": each.rule} for each in record.because]
        said = {"verdict": "ask", "because": because, "interruption": shown_to(visit, record)}
        return ExactJSONResponse(said, 202)

    async def claim(self, visit: Visit) -> Response:
        """Hand out an approved call of the agent's own to be run, once."""
        desk = _desk(visit)
        self._tally.pace_call(visit)
        body = await read_json(visit, ClaimBody)
        record = await visible(visit, visit.request.path_params["id"])
        taken = await desk.claim(record, body.seconds)
        held = taken.claim
        if taken.state is not State.EXECUTING or held is None or held.until is None:
            raise Refused("superseded", f"this call may not run any more: {taken.reason}", record=taken.public())
        return ExactJSONResponse(
            {
                "token": held.token,
                "arguments": taken.arguments,
                "until": timestamp(held.until),
                "interruption": shown_to(visit, taken),
            }
        )

    async def outcome(self, visit: Visit) -> Response:
        """Record what the agent says came of a call that it took."""
        desk = _desk(visit)
        self._tally.pace_call(visit)
        body = await read_json(visit, OutcomeBody)
        record = await visible(visit, visit.request.path_params["id"])
        if not record.is_own:
            # The gate holds the claim of such a call; nobody else reports on it.
            raise WrongKind(record)
        if not _repeats(record, body):
            record = await _report(visit, record, body)
        await desk.told(record)
        return ExactJSONResponse(shown_to(visit, record))


def _desk(visit: Visit) -> OwnCallDesk:
    if visit.deps.calls is None:
        raise Refused("not_found", "this proxy does not answer for calls that it does not run")
    return visit.deps.calls


def _own(body: CallBody) -> OwnCall:
    definition = {} if body.definition is None else body.definition.model_dump(exclude_none=True)
    return OwnCall(
        kind=OwnKind(body.kind),
        label=body.server,
        tool=body.tool,
        arguments=body.arguments,
        definition=definition,
        run_id=body.run_id,
        call_id=body.call_id,
        agent_path=tuple(body.agent_path),
        client=body.client,
        client_version=body.client_version,
        needs_approval=body.needs_approval,
    )


def _verdict(verdict: Verdict | None) -> Response:
    if verdict is not None and verdict.action is Action.ALLOW:
        because = [{"layer": each.layer, "rule": each.rule} for each in verdict.because]
        return ExactJSONResponse({"verdict": "allow", "because": because, "interruption": None})
    if verdict is not None and verdict.action is Action.DENY:
        rules = ", ".join(f"{each.layer} rule `{each.rule}`" for each in verdict.because)
        raise Refused("denied", f"policy forbids this call ({rules}); asking again will not change that")
    raise Refused("denied", "there is no such tool for this agent")


def _repeats(record: Interruption, body: OutcomeBody) -> bool:
    """Say whether this very report is on record."""
    held, outcome = record.claim, record.outcome
    if held is None or held.token != body.token or outcome is None or outcome.kind is not _KINDS[body.kind]:
        return False
    same = same_json(outcome.result, body.result) and same_json(outcome.error, body.error)
    return same or record.purged_at is not None


async def _report(visit: Visit, record: Interruption, body: OutcomeBody) -> Interruption:
    store, now = visit.deps.store, visit.deps.clock()
    event: Event
    if body.kind == "failed":
        event = NotRun(at=now, token=body.token, reason=body.note or "the agent says that it did not run it")
    elif body.kind == "unknown":
        event = Lose(at=now, token=body.token, reason=body.note or "the agent does not know whether it ran")
    else:
        outcome = Outcome(kind=_KINDS[body.kind], at=now, result=body.result, error=body.error, note=body.note)
        event = Finish(at=now, token=body.token, outcome=outcome)
    try:
        return await store.apply(record.id, event)
    except IllegalTransition as refused:
        if refused.interruption.state is not State.UNKNOWN or not isinstance(event, Finish):
            raise
        # Its time was up, but it did run: that settles the doubt.
        return await store.apply(record.id, LateReply(at=now, token=event.token, outcome=event.outcome))
