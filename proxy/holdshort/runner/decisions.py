"""Decisions on their way: made here, sent to the proxy under an approver's name, and never kept in a saved state.

The first decision at the proxy is the one that counts; whoever comes second is told so. Until it is sent, a later
decision about the same call takes the place of an earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from holdshort.runner.data import CallData, RunData
from holdshort.runner.errors import DecisionError, RunnerError, UserError
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.parked import Parked, endpoints, is_passing, require_about, shown_fingerprint, take
from holdshort.runner.plain import checked

if TYPE_CHECKING:
    from holdshort.runner.endpoint import Endpoint

__all__ = ["Always", "Decision", "Outbox", "answer_content", "rejection_of", "remember_of"]

Kind = Literal["approve", "edit", "reject", "respond"]

_BLOCKS: Final = frozenset({"text", "image", "audio", "resource", "resource_link"})
"""Types of MCP content blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Always:
    """How far a decision goes beyond its own call.

    Of an approval: a standing grant at the proxy, for this agent and this tool as it is now. Of a rejection: for the
    rest of this run.
    """

    for_: str | None = None
    """How long, such as `24h` or `7d`; the proxy says 24 hours if you do not. Not of a rejection."""
    max_uses: int | None = None
    """How often; the proxy says 10 if you do not. Not of a rejection."""
    arguments: Literal["exact", "any"] | Mapping[str, Mapping[str, Any]] = "exact"
    """`exact`: these and no others. `any`: whatever they are (an approval then needs `when`). Or, of an approval, every
    argument by name, with `{"any": True}` or `{"in": [values]}`."""
    when: str | None = None
    """A condition that narrows an approval further, such as `under(args.path, '/data')`."""


class Decision:
    """A decision that was made. `await` sends it now and returns the interruption as it then is.

    What is not awaited is sent by `state.submit()`, or by the next `Runner.run`.
    """

    __slots__ = ("_outbox", "body", "interruption", "kind", "parked", "rejection", "status")

    def __init__(
        self,
        outbox: Outbox,
        kind: Kind,
        interruption: Interruption,
        parked: Parked,
        body: dict[str, Any],
        rejection: dict[str, Any] | None,
    ) -> None:
        self._outbox = outbox
        self.kind = kind
        self.interruption = interruption
        """As it was shown."""
        self.parked = parked
        self.body = body
        """What the proxy is sent."""
        self.rejection = rejection
        """What is rejected from then on in this run."""
        self.status: Literal["unsent", "sent", "refused", "replaced"] = "unsent"

    def __repr__(self) -> str:
        return f"Decision({self.kind} {self.interruption.id}, {self.status})"

    def __await__(self) -> Generator[Any, None, Interruption]:
        return self._outbox.send_one(self).__await__()


class Outbox:
    """The decisions of one state that are not sent yet."""

    def __init__(self, data: RunData) -> None:
        self._data = data
        self._unsent: list[Decision] = []

    def __len__(self) -> int:
        return len(self._unsent)

    def add(
        self,
        kind: Kind,
        interruption: Interruption,
        parked: Parked,
        said: Mapping[str, Any],
        rejection: dict[str, Any] | None = None,
    ) -> Decision:
        """Take a decision in; an unsent one about the same call goes.

        Raises:
            StateDamaged: what was shown is not what would be decided about.
        """
        require_about(parked, parked.call.interruption or {}, self._data.run_id)
        body = {"decision": kind, "fingerprint": shown_fingerprint(interruption), **said}
        decision = Decision(self, kind, interruption, parked, body, rejection)
        for other in [each for each in self._unsent if each.parked.id == parked.id]:
            other.status = "replaced"
            self._unsent.remove(other)
        self._unsent.append(decision)
        return decision

    async def send_one(self, decision: Decision) -> Interruption:
        """Send one decision now; one that was sent already is not sent again.

        Raises:
            DecisionError: it was not taken: `DecisionConflict`, `ApprovalExpired`, `DefinitionChanged`,
                `OutcomeUnknown`.
            ProxyError: the proxy refused it for another reason, or was not reached.
            UserError: there is no approver's token, or a later decision took its place.
        """
        if decision.status in ("replaced", "refused"):
            raise UserError(f"this decision was {decision.status}; decide about the call anew")
        if decision.status == "unsent":
            async with endpoints([decision.parked.proxy]) as open_ones:
                await self._send(decision, open_ones[id(decision.parked.proxy)])
        return interruption_of(decision.parked.call, decision.parked.path)

    async def send_all(self) -> None:
        """Send every unsent decision in the order in which they were made, whatever becomes of the ones before.

        Those that did not reach the proxy stay unsent; those that it refused are gone.

        Raises:
            DecisionError, ProxyError, UserError: the first that went wrong; the others are notes on it.
        """
        waiting = list(self._unsent)
        if not waiting:
            return
        failed: list[RunnerError] = []
        async with endpoints(each.parked.proxy for each in waiting) as open_ones:
            for decision in waiting:
                try:
                    await self._send(decision, open_ones[id(decision.parked.proxy)])
                except RunnerError as problem:
                    failed.append(problem)
        if failed:
            first, *others = failed
            for other in others:
                first.add_note(f"also: {other}")
            raise first

    async def _send(self, decision: Decision, endpoint: Endpoint) -> None:
        if decision.status != "unsent":
            return
        try:
            record = await endpoint.decide(decision.parked.id, decision.body)
        except RunnerError as problem:
            if not is_passing(problem):
                decision.status = "refused"
                self._unsent.remove(decision)
            if isinstance(problem, DecisionError) and problem.interruption is not None:
                take(decision.parked, problem.interruption, self._data.run_id)
            raise
        decision.status = "sent"
        self._unsent.remove(decision)
        take(decision.parked, record, self._data.run_id)
        self._data.revision += 1
        if decision.rejection is not None and decision.rejection not in self._data.rejections:
            self._data.rejections.append(decision.rejection)


def remember_of(always: bool | Always | None, interruption: Interruption) -> dict[str, Any] | None:
    """Return what an approval asks the proxy to remember; None for nothing."""
    if always is None or always is False:
        return None
    scope = Always() if always is True else always
    said: dict[str, Any] = {}
    if scope.for_ is not None:
        said["for"] = scope.for_
    if scope.max_uses is not None:
        said["max_uses"] = scope.max_uses
    if scope.when is not None:
        said["when"] = scope.when
    if scope.arguments == "any":
        said["arguments"] = {name: {"any": True} for name in interruption.parsed_arguments}
    elif scope.arguments != "exact":
        said["arguments"] = checked({name: dict(each) for name, each in dict(scope.arguments).items()})
    return said


def rejection_of(
    always: bool | Always | None, interruption: Interruption, call: CallData, message: str | None
) -> dict[str, Any] | None:
    """Return which calls are rejected from now on in this run; None for no others.

    Raises:
        UserError: it is limited in a way that a rejection is not.
    """
    if always is None or always is False:
        return None
    scope = Always() if always is True else always
    if scope.arguments not in ("exact", "any") or (scope.for_, scope.max_uses, scope.when) != (None, None, None):
        raise UserError("a rejection lasts as long as the run, for exactly these arguments or for `any`; say no more")
    # What the model wrote, not what an approver made of it: that is what it would ask for again.
    asked = (call.interruption or {}).get("requested_arguments", interruption.parsed_arguments)
    return {
        "server": call.server,
        "tool": call.tool,
        "arguments": None if scope.arguments == "any" else checked(asked),
        "message": message,
    }


def answer_content(output: Any) -> str | list[dict[str, Any]]:
    """Return an answer as the proxy takes it: text, MCP content blocks, or any other JSON as text.

    Raises:
        UserError: it is empty.
        StateDamaged: it is not JSON.
    """
    if isinstance(output, str):
        if not output:
            raise UserError("an answer says something; reject the call to say nothing")
        return output
    plain = checked(list(output) if isinstance(output, Sequence) else output)
    if isinstance(plain, list) and plain and all(_is_block(each) for each in plain):
        return plain
    return json.dumps(plain, ensure_ascii=False)


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in _BLOCKS
