"""Standing grants at the gate: the one place where an ask becomes an allow without a person.

A use is taken in one transaction with the call's row in the decision log, on disk before the bytes leave. A crash after
that loses the use; nothing gains one. Whatever goes wrong before it leaves the call to be asked about.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from holdshort.gate.catalog import Catalog, Definition
from holdshort.gate.exchange import Exchange
from holdshort.gate.keyed import Known
from holdshort.gate.recording import Recorder
from holdshort.gate.seal import Sealer
from holdshort.interruption import NoFingerprint, fingerprint
from holdshort.policy import (
    AGENT_LAYER,
    NEEDS_APPROVAL,
    Action,
    ApproverGroups,
    Call,
    Grant,
    Policy,
    Verdict,
    find_grants,
    granted,
)
from holdshort.store import EntryKind, NewEntry, Store, Use

__all__ = ["POLICY_DIGITS", "Granting", "Judged"]

POLICY_DIGITS: Final = 12
"""Hex digits of a policy's digest in the row of a verdict: enough to say which policy it was."""


class Judged(NamedTuple):
    """What is known of a call after the grants were looked at."""

    definition: Definition
    verdict: Verdict
    policy_digest: str
    """Of the policy that said so."""
    recorded: bool = False
    """Whether the verdict is in the decision log already, which it is where a use was taken for it."""


class Granting:
    """Finds a grant for a call that policy asks about, and takes a use of it."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        policy: Callable[[], Policy],
        groups_of: ApproverGroups,
        acts_for: Callable[[str], str | None],
        recorder: Recorder | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._groups_of = groups_of
        self._acts_for = acts_for
        self._recorder = recorder

    async def answer(
        self, exchange: Exchange, catalog: Catalog, call: Call, asked: Judged, known: Known | None = None
    ) -> Judged:
        """Return the call as it stands after the grants: allowed by one, or as policy has it; `asked` is what it said.

        `known` is what is on record of a call that is found by its ids.

        Raises:
            StateError: the store cannot take a use; nothing was written.
            UpstreamError: the server cannot be asked whether its tool is still what it was.
        """
        # A call that came back for its interruption goes on with that.
        if not asked.verdict.terms.grants or Sealer.is_ours(exchange.params.get("requestState")):
            return asked
        candidates = await self._store.grants.candidates(call.caller.agent, exchange.server, asked.definition.name)
        if not candidates or not self._found(candidates, asked, call):
            return asked
        # As before any call that was approved: what the server says of its tool now, not some time ago.
        await catalog.refresh(exchange.link, exchange.peer)
        fresh = catalog.find(asked.definition.name)
        if fresh is None:
            return asked
        call = replace(call, tool=fresh.facts, now=self._clock())
        return await self._take(candidates, call, self._judge(fresh, call), known)

    async def covers(self, call: Call, asked: Judged) -> bool:
        """Say whether a grant would answer for this call, without taking a use of it.

        Raises:
            StateError: the store cannot say.
        """
        if not asked.verdict.terms.grants:
            return False
        candidates = await self._store.grants.candidates(call.caller.agent, call.tool.server, asked.definition.name)
        return bool(self._found(candidates, asked, call))

    async def answer_own(self, call: Call, asked: Judged) -> Judged:
        """The same for a call that the agent runs itself: how its tool is defined now came with it.

        Raises:
            StateError: the store cannot take a use; nothing was written.
        """
        if not asked.verdict.terms.grants:
            return asked
        candidates = await self._store.grants.candidates(call.caller.agent, call.tool.server, call.tool.name)
        return await self._take(candidates, call, asked)

    async def _take(self, candidates: Sequence[Grant], call: Call, asked: Judged, known: Known | None = None) -> Judged:
        definition = asked.definition
        try:
            mark = fingerprint(call.tool.server, definition.name, dict(call.arguments))
        except NoFingerprint:
            return asked
        for grant in self._found(candidates, asked, call):
            allowed = granted(asked.verdict, grant)
            entry = _entry(call, asked, allowed, mark)
            if self._recorder is not None:
                entry = replace(entry, recording=self._recorder.call(call))
            interruption = None if known is None else known.interruption
            use = await self._store.grants.use(grant, entry, now=call.now, interruption=interruption)
            if self._policy().digest != asked.policy_digest:
                # Another policy came into force meanwhile, and it is that one's to say.
                return self._judge(definition, call)
            if use is Use.TAKEN:
                return asked._replace(verdict=allowed, recorded=True)
            if use is Use.ANSWERED:
                return asked
        return asked

    def _judge(self, definition: Definition, call: Call) -> Judged:
        policy = self._policy()
        return Judged(definition, policy.decide(call), policy.digest)

    def _found(self, candidates: Sequence[Grant], asked: Judged, call: Call) -> Sequence[Grant]:
        found = find_grants(
            candidates,
            asked.verdict,
            call,
            asked.definition.digest,
            now=call.now,
            groups_of=self._groups_of,
            acts_for=self._acts_for(call.caller.agent),
        )
        return tuple(found)


def _entry(call: Call, asked: Judged, allowed: Verdict, mark: str) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=call.now,
        server=call.tool.server,
        tool=asked.definition.name,
        agent=call.caller.agent,
        action=Action.ALLOW.value,
        because=allowed.because,
        fingerprint=mark,
        detail={
            "policy": asked.policy_digest[:POLICY_DIGITS],
            "definition_digest": asked.definition.digest,
            **({"errors": list(allowed.errors)} if allowed.errors else {}),
            # A replay has to know that policy itself allowed it.
            **({"asked_by": AGENT_LAYER} if NEEDS_APPROVAL in asked.verdict.because else {}),
        },
    )
