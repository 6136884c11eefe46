"""What can happen to a parked call: one frozen class per event, and an event that makes no sense does not construct.

`at` is always an aware datetime; nothing here reads a clock.
"""

from dataclasses import dataclass
from datetime import datetime

from holdshort.errors import HoldshortError
from holdshort.interruption.model import Decision, Json, Outcome, OutcomeKind

__all__ = [
    "Approve",
    "Claim",
    "DecisionEvent",
    "Deliver",
    "Edit",
    "Event",
    "Expire",
    "Finish",
    "IllegalEvent",
    "LateReply",
    "Lose",
    "NotRun",
    "Purge",
    "Reject",
    "Resolve",
    "Respond",
    "Supersede",
    "Withdraw",
]

_REPLIES = (OutcomeKind.OK, OutcomeKind.TOOL_ERROR, OutcomeKind.UPSTREAM_ERROR)


class IllegalEvent(HoldshortError, ValueError):
    """Raised when an event is built from facts that cannot be."""

    code = "illegal_event"

    def __init__(self, event: str, problem: str) -> None:
        super().__init__(f"event `{event}`: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            self._refuse("`at` needs a time zone")

    def _refuse(self, problem: str) -> None:
        raise IllegalEvent(type(self).__name__.lower(), problem)

    def _named(self, **words: str) -> None:
        for field, word in words.items():
            if not word:
                self._refuse(f"`{field}` may not be empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided(_Event):
    by: str
    """The approver, by credential."""
    groups: frozenset[str] = frozenset()
    """The approver's groups at this moment."""
    fingerprint: str
    """What the approver saw; it must still be what is pending."""
    message: str | None = None

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(by=self.by, fingerprint=self.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve(_Decided):
    """An approver says: run exactly this."""

    remember: dict[str, Json] | None = None
    """A wish for a standing grant (`policy.grants.Wish`), where the approver has one."""

    @property
    def decision(self) -> Decision:
        return Decision.APPROVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(_Decided):
    """An approver says: run this instead. Schema and policy were checked by the caller, the fingerprint is here."""

    arguments: dict[str, Json]
    new_fingerprint: str
    """Of the new arguments; the machine computes it again and refuses another."""

    def __post_init__(self) -> None:
        _Decided.__post_init__(self)
        self._named(new_fingerprint=self.new_fingerprint)

    @property
    def decision(self) -> Decision:
        return Decision.EDIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(_Decided):
    """An approver says no; one is enough."""

    @property
    def decision(self) -> Decision:
        return Decision.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond(_Decided):
    """An approver replies in the tool's place."""

    content: Json

    def __post_init__(self) -> None:
        _Decided.__post_init__(self)
        if self.content is None:
            self._refuse("`content` may not be empty")

    @property
    def decision(self) -> Decision:
        return Decision.RESPOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(_Event):
    """Time is up: nobody decided, or the approved call was not fetched in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw(_Event):
    """The requester no longer wants it."""

    by: str
    reason: str | None = None

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(by=self.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supersede(_Event):
    """What was asked about is no longer what would run (definition, policy or principal changed)."""

    reason: str

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(_Event):
    """The requester is back and it is about to be sent.

    The digests are those found at this moment, after policy was evaluated again. `owner` and `token` are the store's:
    leave them out, it fills them in inside the claiming transaction; the machine refuses a claim without.
    """

    agent: str
    fingerprint: str
    definition_digest: str
    policy_digest: str
    owner: str = ""
    token: int = 0
    until: datetime | None = None
    """For a call that the agent runs itself, and only there: when it counts as lost if nothing was said by then."""

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(agent=self.agent, fingerprint=self.fingerprint)
        if self.until is not None and (self.until.tzinfo is None or self.until <= self.at):
            self._refuse("`until` must be later than `at`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(_Event):
    """A complete reply with the matching id came from the upstream."""

    token: int
    outcome: Outcome

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        if self.outcome.kind not in _REPLIES:
            self._refuse(f"`{self.outcome.kind}` is not a reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun(_Event):
    """We know that not one byte of the request left."""

    token: int
    reason: str

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose(_Event):
    """It was sent, or may have been, and no reply will come to us."""

    token: int | None
    """None only where the owner is known to be gone and nobody can hold the token."""
    reason: str

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateReply(_Event):
    """A genuine reply came after it was given up; it settles the doubt, nothing is sent again."""

    token: int
    outcome: Outcome

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        if self.outcome.kind not in _REPLIES:
            self._refuse(f"`{self.outcome.kind}` is not a reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve(_Event):
    """An operator looked and says whether it ran."""

    by: str
    ran: bool
    note: str

    def __post_init__(self) -> None:
        _Event.__post_init__(self)
        self._named(by=self.by, note=self.note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(_Event):
    """The agent was told how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge(_Event):
    """Retention is over: arguments, result and messages are erased, digests stay."""


DecisionEvent = Approve | Edit | Reject | Respond
Event = (
    DecisionEvent
    | Expire
    | Withdraw
    | Supersede
    | Claim
    | Finish
    | NotRun
    | Lose
    | LateReply
    | Resolve
    | Deliver
    | Purge
)
