"""One parked call, as a value: what was asked, on what terms, what was said about it and what became of it.

Nothing here changes. `machine.advance` returns the next value; the store keeps the latest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from holdshort.interruption.comparison import ChangedLine, definition_changes
from holdshort.policy import Because, Terms

__all__ = [
    "DEFAULT_DISPATCH_WINDOW",
    "MCP",
    "Decision",
    "DecisionRecord",
    "ExecutionClaim",
    "Interruption",
    "Json",
    "Outcome",
    "OutcomeKind",
    "PinnedDefinition",
    "Requester",
    "State",
    "timestamp",
]

Json = Any
"""Any JSON value as the standard library shows it."""

MCP: Final = "mcp"
"""The kind of what goes to a server behind the proxy."""

DEFAULT_DISPATCH_WINDOW: Final = timedelta(minutes=60)
"""How long an approval waits for the agent to come back; never longer than the interruption itself lives."""


class State(StrEnum):
    """Where a parked call stands. What may follow what is `machine.TRANSITIONS`."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    ANSWERED = "answered"
    """An approver replied in the tool's place; the upstream is never called."""
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    """What was asked about is no longer what would run: a new call needs a new approval."""
    EXECUTING = "executing"
    EXECUTED = "executed"
    """The upstream replied, with a result or with an error of its own."""
    FAILED = "failed"
    """We know that it did not run."""
    UNKNOWN = "unknown"
    """It was sent, or may have been, and no reply came. Never sent again by us."""


class Decision(StrEnum):
    """What an approver may say, in the order a page shows it."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RESPOND = "respond"


class OutcomeKind(StrEnum):
    """How a claimed call ended."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    """The tool ran and said `isError`."""
    UPSTREAM_ERROR = "upstream_error"
    """The upstream answered with a JSON-RPC error."""
    NOT_RUN = "not_run"
    """Not one byte of it left, or an operator says it did not run."""
    LOST = "lost"
    """Sent, and no reply: it may have run."""
    RAN = "ran"
    """An operator says it ran; its result was never seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asked. `agent` is the principal by credential; the rest is what it said about itself."""

    agent: str
    client: str | None = None
    client_version: str | None = None
    run_id: str | None = None
    call_id: str | None = None
    agent_path: tuple[str, ...] = ()
    acts_for: str | None = None
    """The person the agent acts for, set only where `separation_of_duties` bars that person from deciding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision that counted when it was made; an edit voids the votes before it."""

    decision: Decision
    by: str
    at: datetime
    fingerprint: str
    """What was decided on; for an edit, the fingerprint of the new arguments."""
    message: str | None = None
    arguments: dict[str, Json] | None = None
    """The new arguments, for an edit."""
    remember: dict[str, Json] | None = None
    """The standing grant that was asked for together with an approval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a claimed call. `result` and `error` are the upstream's own words."""

    kind: OutcomeKind
    at: datetime
    result: Json = None
    error: Json = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionClaim:
    """Who runs it. Only the holder of `token` may report how it ended; tokens only ever grow."""

    owner: str
    token: int
    at: datetime
    until: datetime | None = None
    """Set where the agent runs it itself: when it counts as lost if nothing was said of it by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedDefinition:
    """What a tool was pinned to when a call of it was parked because its definition was another one."""

    scope: str
    """Whose pin it is: mostly the server's label."""
    digest: str | None
    """None: nobody had accepted any definition yet."""
    definition: dict[str, Json] | None
    same_server: bool = True
    """False where the command or URL behind the server changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """The durable record of one parked call."""

    id: str
    server: str
    tool: str
    arguments: dict[str, Json]
    """As decided on now: what is shown, and what will be sent."""
    requested_arguments: dict[str, Json]
    """As the agent sent them; an edit leaves these alone."""
    fingerprint: str
    requested_fingerprint: str
    definition: dict[str, Json] | None
    definition_digest: str
    policy_digest: str
    requested_by: Requester
    created_at: datetime
    expires_at: datetime
    because: tuple[Because, ...] = ()
    terms: Terms = Terms()  # noqa: RUF009 (frozen)
    kind: str = MCP
    """`mcp`, which the proxy runs, or what the agent runs itself (`policy.OwnKind`)."""
    state: State = State.PENDING
    revision: int = 1
    """Grows with every change; a compare-and-swap key for the store."""
    decisions: tuple[DecisionRecord, ...] = ()
    dispatch_window: timedelta = DEFAULT_DISPATCH_WINDOW
    dispatch_deadline: datetime | None = None
    """Until when an approved call may be claimed."""
    claim: ExecutionClaim | None = None
    outcome: Outcome | None = None
    answer: Json = None
    """What an approver replied in the tool's place (state `answered`)."""
    reason: str | None = None
    """Why it was withdrawn, superseded, not run or lost."""
    delivered_at: datetime | None = None
    """When the agent was told how it ended; the same call after that is a new call."""
    purged_at: datetime | None = None
    """When arguments, result and messages were erased; digests stay."""
    review_url: str | None = None
    pinned: PinnedDefinition | None = None
    """Set where the tool was not as it is pinned."""
    grant: str | None = None
    """The standing grant that its approval made."""
    keyed: bool = False
    """Found by its run's and call's id alone; a call without them never joins it, whatever its arguments."""

    @property
    def is_own(self) -> bool:
        """Whether the agent runs it itself; the proxy then never sends it anywhere."""
        return self.kind != MCP

    @property
    def execute(self) -> str:
        """`claimed` (runs when the agent comes back) or `on_decision`."""
        return self.terms.execute

    @property
    def required_approvals(self) -> int:
        return self.terms.required_approvals

    @property
    def due_at(self) -> datetime | None:
        """When this state ends by itself; None where it does not."""
        if self.state is State.PENDING:
            return self.expires_at
        if self.state is State.EXECUTING:
            return None if self.claim is None else self.claim.until
        return self.dispatch_deadline if self.state is State.APPROVED else None

    def counted(self) -> tuple[DecisionRecord, ...]:
        """Return the votes that count: those since the last edit, that edit included."""
        edits = [n for n, record in enumerate(self.decisions) if record.decision is Decision.EDIT]
        since = self.decisions[edits[-1] :] if edits else self.decisions
        return tuple(r for r in since if r.decision in (Decision.APPROVE, Decision.EDIT))

    def allowed_decisions(self) -> tuple[str, ...]:
        """Return what an approver may still say, in a fixed order; nothing once it is decided."""
        if self.state is not State.PENDING:
            return ()
        return tuple(word.value for word in Decision if word.value in self.terms.decisions)

    def changed_lines(self) -> Sequence[ChangedLine]:
        """Return how the tool's definition differs from the pinned one; nothing where it did not."""
        if self.pinned is None:
            return ()
        return definition_changes(self.pinned.definition, self.definition, same_server=self.pinned.same_server)

    def _definition_change(self) -> Json:
        pinned = self.pinned
        if pinned is None:
            return None
        return {
            "server": pinned.scope,
            "pinned_digest": pinned.digest,
            "pinned": pinned.definition,
            "current": self.definition,
            "lines": [{"field": each.field, "sign": each.sign, "text": each.text} for each in self.changed_lines()],
        }

    def public(self) -> dict[str, Json]:
        """Return the wire record: what API, events and review page show of this interruption.

        Erased arguments are null, never an empty object that the fingerprint would not match.
        """
        purged = self.purged_at is not None
        return {
            "id": self.id,
            "state": self.state.value,
            "kind": self.kind,
            "server": self.server,
            "tool": self.tool,
            "arguments": None if purged else self.arguments,
            "requested_arguments": None if purged else self.requested_arguments,
            "fingerprint": self.fingerprint,
            "definition": self.definition,
            "definition_digest": self.definition_digest,
            "definition_change": self._definition_change(),
            "requested_by": {
                "agent": self.requested_by.agent,
                "client": self.requested_by.client,
                "run_id": self.requested_by.run_id,
                "call_id": self.requested_by.call_id,
                "agent_path": list(self.requested_by.agent_path),
            },
            "because": [{"layer": b.layer, "rule": b.rule} for b in self.because],
            "decisions": [_public_decision(record) for record in self.decisions],
            "required_approvals": self.required_approvals,
            "allowed_decisions": list(self.allowed_decisions()),
            "created_at": timestamp(self.created_at),
            "expires_at": timestamp(self.expires_at),
            "claim_by": self._claim_by(),
            "claimed_until": self._claimed_until(),
            "revision": self.revision,
            "outcome": None if self.outcome is None else _public_outcome(self.outcome),
            "answer": self.answer,
            "reason": self.reason,
            "review_url": self.review_url,
        }

    def _claim_by(self) -> str | None:
        due = self.due_at if self.state is State.APPROVED else None
        return None if due is None else timestamp(due)

    def _claimed_until(self) -> str | None:
        due = self.due_at if self.state is State.EXECUTING else None
        return None if due is None else timestamp(due)

    def for_approvers(self) -> dict[str, Json]:
        """Return the wire record with what there is to say about standing grants, which is no agent's business."""
        shown = self.public()
        shown["decisions"] = [
            said if record.remember is None else {**said, "remember": record.remember}
            for said, record in zip(shown["decisions"], self.decisions, strict=True)
        ]
        return shown if self.grant is None else {**shown, "grant": self.grant}


def timestamp(at: datetime) -> str:
    """Return `at` as RFC 3339 in UTC, always with six digits of fraction so that text sorts as time does."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


def _public_decision(record: DecisionRecord) -> Mapping[str, Json]:
    return {
        "decision": record.decision.value,
        "by": record.by,
        "at": timestamp(record.at),
        "message": record.message,
        "arguments": record.arguments,
    }


def _public_outcome(outcome: Outcome) -> Mapping[str, Json]:
    return {
        "kind": outcome.kind.value,
        "result": outcome.result,
        "error": outcome.error,
        "at": timestamp(outcome.at),
        "note": outcome.note,
    }
