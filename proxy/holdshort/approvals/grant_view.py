"""Standing grants as the page shows them: what one covers, what approving could remember, and what is proposed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from holdshort.approvals.grants import proposals_for
from holdshort.approvals.inert import ascii_json, pretty_json
from holdshort.interruption import Interruption, State
from holdshort.policy import DEFAULT_MAX_USES, Call, Proposal, Scope
from holdshort.store.contract import Store
from holdshort.wire import encode

__all__ = ["Choice", "ProposalView", "Proposed", "RememberView", "proposal_view", "remember_view", "scope_lines"]

_AGE_IS_KEPT: Final = timedelta(seconds=10)
_MAX_BYTES: Final = 64 * 1024

ScopeLines = Sequence[tuple[str, Sequence[str] | None]]
"""Arguments by name, each with the texts of its values; None for any value."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One argument that a grant could leave open. The JSON is pure ASCII and goes back to the server as it is."""

    name: str
    name_json: str
    value_json: str


@dataclass(frozen=True, slots=True)
class ProposalView:
    """One proposal, in words and as what the page would send."""

    proposal: Proposal
    lines: ScopeLines
    by: Sequence[str]
    arguments_json: str
    when_json: str


@dataclass(frozen=True, slots=True)
class RememberView:
    """What the part of the review form that makes a grant is given."""

    choices: Sequence[Choice]
    uses: int
    proposal: ProposalView | None


class Proposed:
    """What is proposed, looked up anew every few seconds at most: it costs reading many calls."""

    def __init__(self) -> None:
        self._found: tuple[datetime, Sequence[Proposal]] | None = None

    async def now(self, store: Store, now: datetime) -> Sequence[Proposal]:
        """Return what could be granted."""
        if self._found is None or not timedelta() <= now - self._found[0] <= _AGE_IS_KEPT:
            self._found = (now, await proposals_for(store, now))
        return self._found[1]


def scope_lines(scope: Scope) -> ScopeLines:
    """Return a scope, argument by argument."""
    return [
        (name, None if values is None else [pretty_json(value) for value in values])
        for name, values in scope.pins.items()
    ]


def remember_view(
    record: Interruption, call: Call, proposals: Sequence[Proposal], most_uses: int
) -> RememberView | None:
    """Return what approving `record` could remember; None where it can make no grant."""
    if record.state is not State.PENDING or not record.terms.grants:
        return None
    if record.fingerprint != record.requested_fingerprint or len(encode(record.arguments)) > _MAX_BYTES:
        return None
    choices = [Choice(name, ascii_json(name), ascii_json(value)) for name, value in record.arguments.items()]
    fits = next((each for each in proposals if _is_about(each, record) and each.scope.misfit(call) is None), None)
    return RememberView(choices, min(DEFAULT_MAX_USES, most_uses), None if fits is None else proposal_view(fits))


def proposal_view(proposal: Proposal) -> ProposalView:
    """Return a proposal as the page shows it."""
    said = proposal.scope.to_json()
    by = sorted({name for past in proposal.covers for name in past.by})
    return ProposalView(
        proposal, scope_lines(proposal.scope), by, ascii_json(said["arguments"]), ascii_json(said["when"])
    )


def _is_about(proposal: Proposal, record: Interruption) -> bool:
    return (proposal.agent, proposal.server, proposal.tool, proposal.definition_digest) == (
        record.requested_by.agent,
        record.server,
        record.tool,
        record.definition_digest,
    )
