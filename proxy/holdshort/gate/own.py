"""Calls that an agent runs itself (function tools, a shell, hosted MCP): judged, parked and handed out, never sent.

The same policy, queue, grants and log as for what goes through the proxy. Their labels (`function:local`) are no
server's, and everything that an agent says of its own tools is its own word: no annotation of theirs counts.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, NamedTuple

import anyio

from holdshort.errors import StateError
from holdshort.gate.granting import Granting, Judged
from holdshort.gate.keyed import CallIdReused
from holdshort.gate.parking import ParkingDesk, overruled
from holdshort.gate.pins import Definition
from holdshort.interruption import (
    Claim,
    Deliver,
    Interruption,
    InterruptionError,
    OwnCall,
    Requester,
    State,
    Supersede,
    fingerprint,
    own_id,
)
from holdshort.policy import NEEDS_APPROVAL, Action, Call, Caller, Verdict
from holdshort.policy.facts import facts_of
from holdshort.store import EntryKind, InterruptionNotFound, NewEntry, NewRecording, QuotaExceeded

__all__ = ["OwnAnswer", "OwnCalls"]

_WAITING: Final = frozenset({State.PENDING, State.APPROVED})
_MOST_ATTEMPTS: Final = 100


class OwnAnswer(NamedTuple):
    """What an agent is told: a verdict, or the interruption that its call is; never neither."""

    verdict: Verdict | None
    record: Interruption | None


class OwnCalls:
    """Judges them, parks them, and hands out each that is approved once."""

    def __init__(self, desk: ParkingDesk, groups_of: Callable[[str], frozenset[str]]) -> None:
        self._desk = desk
        self._store = desk.store
        self._granting = Granting(
            desk.store, desk.clock, desk.policy, desk.approver_groups, desk.acts_for, desk.recorder
        )
        self._groups_of = groups_of

    async def ask(self, agent: str, own: OwnCall) -> OwnAnswer:
        """Judge a call and, where policy asks, park it; the same call again finds its interruption.

        With a verdict of allow, its row is in the decision log by then. A call has a `run_id` and a `call_id`, and is
        the same as long as those are; or it has not both, and is the same as long as its arguments are.

        Raises:
            CallIdReused: the ids are those of another call.
            NoFingerprint: the arguments cannot be written in one way only.
            QuotaExceeded: too many calls are pending; nothing was kept.
            StateError: the store failed; nothing may be run.
        """
        definition = _definition(own)
        mark = fingerprint(own.server, own.tool, own.arguments)
        known, fresh_id = await self._known(agent, own)
        if known is not None:
            if (known.requested_fingerprint, known.definition_digest) != (mark, definition.digest):
                raise CallIdReused(str(own.call_id))
            if known.state not in _WAITING:
                return OwnAnswer(None, known)
        caller = Caller(agent, self._groups_of(agent), own.client, own.client_version)
        call = Call(definition.facts, own.arguments, caller, self._desk.clock())
        policy = self._desk.policy()
        judged = Judged(definition, _tightened(policy.decide(call), own), policy.digest)
        if judged.verdict.action is Action.ASK and (known is None or known.state is State.PENDING):
            judged = await self._granting.answer_own(call, judged)
        verdict = judged.verdict
        if verdict.action is Action.ASK:
            waiting = known if own.is_numbered else await self._found(agent, mark, definition)
            if waiting is None:
                waiting = await self._park(call, own, judged, mark, fresh_id)
            return OwnAnswer(None, waiting)
        if verdict.action is Action.ALLOW:
            found = known if own.is_numbered else await self._found(agent, mark, definition)
            # Ends with the last of them; each turn puts one away for good.
            while found is not None:
                going_on = await self._taken_up(found)
                if going_on is not None:
                    return OwnAnswer(None, going_on)
                found = None if own.is_numbered else await self._found(agent, mark, definition)
        if not judged.recorded:
            await self._store.record(_entry(call, verdict, mark, self._recording(call)))
        return OwnAnswer(verdict, None)

    async def claim(self, record: Interruption, seconds: float) -> Interruption:
        """Hand out an approved call to its agent, which now runs exactly these arguments, and has so long to say so.

        Returns it as `superseded` where policy has overtaken it: then it may not run.

        Raises:
            InterruptionError: it is not approved, or was handed out already.
            StateError: the store failed, so it is not handed out.
        """
        if record.is_own and record.state is State.APPROVED:
            changed = self._overruled(record)
            if changed is not None:
                return await self._store.apply(record.id, Supersede(at=self._desk.clock(), reason=changed))
        now = self._desk.clock()
        event = Claim(
            at=now,
            agent=record.requested_by.agent,
            fingerprint=record.fingerprint,
            definition_digest=record.definition_digest,
            policy_digest=record.policy_digest,
            until=now + timedelta(seconds=seconds),
        )
        return await self._store.apply(record.id, event)

    def _overruled(self, record: Interruption) -> str | None:
        asked = record.requested_by
        caller = Caller(asked.agent, self._groups_of(asked.agent), asked.client, asked.client_version)
        raw: Mapping[str, Any] = {**(record.definition or {}), "name": record.tool}
        facts = facts_of(record.server, raw, trusted=False)
        verdict = self._desk.policy().decide(Call(facts, record.arguments, caller, self._desk.clock()))
        return overruled(verdict, record)

    async def _known(self, agent: str, own: OwnCall) -> tuple[Interruption | None, str]:
        """Return the interruption that the ids of a call stand for, if any, and the id for a new one.

        What ended without having run, and the agent was told so, is over: the next time is a new attempt.
        """
        if not own.is_numbered:
            return None, self._desk.new_id()
        for attempt in range(_MOST_ATTEMPTS):
            wanted = own_id(agent, str(own.run_id), str(own.call_id), attempt)
            try:
                record = await self._store.get(wanted)
            except InterruptionNotFound:
                return None, wanted
            told = record.delivered_at is not None and record.state in (State.EXPIRED, State.FAILED)
            if not told and record.state not in (State.WITHDRAWN, State.SUPERSEDED):
                return record, wanted
        raise CallIdReused(str(own.call_id))

    async def _found(self, agent: str, mark: str, definition: Definition) -> Interruption | None:
        """Return the interruption of the same call with the same definition; an older definition's is put away."""
        holder = f"{self._store.owner}/{self._desk.new_id()}"
        # Ends with the last of them; each turn puts one away for good.
        while (record := await self._store.attach(agent, mark, holder, now=self._desk.clock())) is not None:
            await self._store.detach(record.id, holder)
            if record.state not in _WAITING or record.definition_digest == definition.digest:
                return record
            with suppress(InterruptionError):  # decided at this very moment; the next look finds that
                reason = "the agent describes the tool otherwise by now"
                await self._store.apply(record.id, Supersede(at=self._desk.clock(), reason=reason))
        return None

    async def _taken_up(self, found: Interruption) -> Interruption | None:
        """The call needs no approval now: return what it already came to; what still waits is put away."""
        if found.state is not State.PENDING:
            return found
        reason = "the call needs no approval any more, and was asked for again"
        try:
            await self._store.apply(found.id, Supersede(at=self._desk.clock(), reason=reason))
        except InterruptionError as error:
            return error.interruption  # somebody decided at this very moment, and that counts
        return None

    async def told(self, record: Interruption) -> None:
        """Note that the agent hears how its call ended, so that the same call after that is a new one."""
        if record.state in _WAITING or record.state is State.EXECUTING:
            return
        # It is told in any case; what cannot be noted now is told once more.
        with anyio.CancelScope(shield=True), suppress(StateError, InterruptionError):
            await self._store.apply(record.id, Deliver(at=self._desk.clock()))

    def _recording(self, call: Call) -> NewRecording | None:
        return None if self._desk.recorder is None else self._desk.recorder.call(call)

    async def _park(self, call: Call, own: OwnCall, judged: Judged, mark: str, fresh: str) -> Interruption:
        agent, definition = call.caller.agent, judged.definition
        now, terms = self._desk.clock(), judged.verdict.terms
        record = Interruption(
            id=fresh,
            kind=own.kind.value,
            server=own.server,
            tool=own.tool,
            arguments=own.arguments,
            requested_arguments=own.arguments,
            fingerprint=mark,
            requested_fingerprint=mark,
            definition=dict(definition.raw),
            definition_digest=definition.digest,
            policy_digest=judged.policy_digest,
            requested_by=Requester(
                agent=agent,
                client=own.client,
                client_version=own.client_version,
                run_id=own.run_id,
                call_id=own.call_id,
                agent_path=own.agent_path,
                acts_for=self._desk.acts_for(agent),
            ),
            because=judged.verdict.because,
            terms=terms,
            created_at=now,
            expires_at=now + terms.expires_after,
            dispatch_window=self._desk.dispatch_window,
            review_url=await self._desk.review_url(fresh),
        )
        try:
            return await self._store.park(record, recording=self._recording(call))
        except (StateError, QuotaExceeded):
            # The same call, asked about twice at once: the other one was faster, and may have taken the last place.
            with suppress(InterruptionNotFound):
                first = await self._store.get(fresh)
                if first.requested_fingerprint == mark and first.definition_digest == definition.digest:
                    return first
            raise


def _tightened(verdict: Verdict, own: OwnCall) -> Verdict:
    """Return an allow as an ask where the agent's program wants that; anything else is strict enough as it is."""
    if verdict.action is not Action.ALLOW or not own.needs_approval:
        return verdict
    return replace(verdict, action=Action.ASK, because=(NEEDS_APPROVAL,))


def _definition(own: OwnCall) -> Definition:
    raw = {**own.definition, "name": own.tool}
    return Definition(raw, facts_of(own.server, raw, trusted=False), own.server)


def _entry(call: Call, verdict: Verdict, mark: str, recording: NewRecording | None) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=call.now,
        server=call.tool.server,
        tool=call.tool.name,
        agent=call.caller.agent,
        action=verdict.action.value,
        because=verdict.because,
        fingerprint=mark,
        detail={"errors": list(verdict.errors)} if verdict.errors else None,
        recording=recording,
    )
