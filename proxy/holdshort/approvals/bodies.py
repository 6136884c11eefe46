"""The JSON that comes in, checked, and the JSON that goes out, described. Unknown fields are refused, never ignored."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from holdshort.interruption import LONGEST_LEASE_SECONDS
from holdshort.policy import DEFAULT_LABEL

__all__ = [
    "AcceptPinBody",
    "ApproveBody",
    "CallBody",
    "CallOut",
    "ClaimBody",
    "ClaimOut",
    "DecisionBody",
    "DecisionOut",
    "EditBody",
    "ErrorOut",
    "ExplainBody",
    "ExplainOut",
    "GrantList",
    "GrantOut",
    "InterruptionList",
    "InterruptionOut",
    "LogList",
    "LoginBody",
    "LoginLinkBody",
    "LoginLinkOut",
    "OpenApiOut",
    "OutcomeBody",
    "PinList",
    "PinOut",
    "PolicyOut",
    "PreviewBody",
    "ProposalList",
    "RejectBody",
    "RememberBody",
    "ResolveBody",
    "RespondBody",
    "RevokeBody",
    "ServerList",
    "SessionOut",
    "StatusOut",
    "WithdrawBody",
]

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the call that was looked at")]
Message = Annotated[str | None, Field(max_length=4000, description="Told to the agent, and kept in the decision log")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AnyValueBody(_Body):
    """This argument, by name, may be anything."""

    any: Literal[True]


class OneOfBody(_Body):
    """This argument is one of these values."""

    values: Annotated[list[Any], Field(alias="in", min_length=1)]


class RememberBody(_Body):
    """Make a standing grant with the approval, for the same agent and tool, as the tool is defined now.

    `arguments` is `exact` (these and no others), or names every argument with the values it may have.
    """

    lifetime: Annotated[
        str | None, Field(alias="for", max_length=40, examples=["7d"], description="24 hours if not said")
    ] = None
    max_uses: Annotated[int | None, Field(ge=1, description="10 if not said")] = None
    arguments: Literal["exact"] | dict[str, AnyValueBody | OneOfBody] = "exact"
    when: Annotated[str | None, Field(description="A condition that narrows it further")] = None


class ApproveBody(_Body):
    """Run exactly this."""

    decision: Literal["approve"]
    fingerprint: Fingerprint
    message: Message = None
    remember: RememberBody | None = None


class EditBody(_Body):
    """Run this instead: an approval of other arguments."""

    decision: Literal["edit"]
    fingerprint: Fingerprint
    arguments: dict[str, Any]
    message: Message = None


class RejectBody(_Body):
    """Do not run it; `message` is the reason."""

    decision: Literal["reject"]
    fingerprint: Fingerprint
    message: Message = None


class RespondBody(_Body):
    """Do not run it; give the agent this reply instead: a text, or a list of MCP content blocks."""

    decision: Literal["respond"]
    fingerprint: Fingerprint
    content: Annotated[str, Field(min_length=1)] | Annotated[list[dict[str, Any]], Field(min_length=1)]
    message: Message = None


class DecisionBody(
    RootModel[Annotated[ApproveBody | EditBody | RejectBody | RespondBody, Field(discriminator="decision")]]
):
    """What an approver says."""

    @model_validator(mode="before")
    @classmethod
    def _only_approvals_are_remembered(cls, said: Any) -> Any:
        if isinstance(said, dict) and "remember" in said and said.get("decision") in ("edit", "reject", "respond"):
            raise PydanticCustomError("remember", "only `approve` can be remembered; approve the call as it is, or not")
        return said


class WithdrawBody(_Body):
    """The agent no longer wants its call."""

    reason: Annotated[str | None, Field(max_length=4000)] = None


class ResolveBody(_Body):
    """An operator looked and says whether a call of unknown outcome ran."""

    ran: bool
    note: Annotated[str, Field(min_length=1, max_length=4000, description="How you know")]


class ExplainBody(_Body):
    """A call that nobody makes: what would policy say?"""

    server: Annotated[str, Field(min_length=1, max_length=64)]
    tool: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    agent: Annotated[str, Field(min_length=1, max_length=200)] = "local"
    groups: list[str] = Field(default_factory=list)
    client: str | None = None


_ShortWord = Annotated[str, Field(min_length=1, max_length=200)]


class OwnDefinitionBody(_Body):
    """The tool in the agent's own words. They are shown to approvers and believed in nothing."""

    title: Annotated[str | None, Field(max_length=1000)] = None
    description: str | None = None
    inputSchema: Annotated[  # noqa: N815 (MCP's name for it)
        dict[str, Any] | None, Field(description="JSON Schema of the arguments; edits are checked against it")
    ] = None
    annotations: Annotated[dict[str, Any] | None, Field(description="As in MCP; no rule counts them")] = None


class CallBody(_Body):
    """A call that the agent runs itself, if it may. In rules it is named `KIND:SERVER__TOOL`."""

    kind: Literal["function", "shell", "apply_patch", "computer", "agent", "handoff", "hosted_mcp"]
    server: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)*$",
            description="Whose tool it is, where the agent has several: for `hosted_mcp`, the server's label",
        ),
    ] = DEFAULT_LABEL
    tool: _ShortWord
    arguments: dict[str, Any]
    definition: OwnDefinitionBody | None = None
    run_id: _ShortWord | None = None
    call_id: Annotated[
        _ShortWord | None, Field(description="With `run_id`: which call this is, however often it is asked about")
    ] = None
    agent_path: Annotated[list[_ShortWord], Field(max_length=32)] = Field(default_factory=list)
    client: _ShortWord | None = None
    client_version: _ShortWord | None = None
    needs_approval: Annotated[
        bool, Field(description="A person is to decide also where policy allows the call; it never loosens anything")
    ] = False
    wait: Annotated[int, Field(ge=0, le=60, description="Answer a call that waits once it is decided: seconds")] = 0


class ClaimBody(_Body):
    """The agent takes an approved call to run it now."""

    seconds: Annotated[
        int, Field(ge=1, le=LONGEST_LEASE_SECONDS, description="By then it says what came of it, or nobody knows")
    ] = 600


class OutcomeBody(_Body):
    """What came of a call that the agent took."""

    token: Annotated[int, Field(ge=1, description="As the claim answered")]
    kind: Annotated[
        Literal["ok", "tool_error", "failed", "unknown"],
        Field(description="It ran; it ran and reported an error; it certainly did not run; it may have run"),
    ]
    result: Any = None
    error: Any = None
    note: Annotated[str | None, Field(min_length=1, max_length=4000)] = None

    @model_validator(mode="after")
    def _only_what_ran_has_a_result(self) -> "OutcomeBody":
        if self.kind in ("failed", "unknown") and (self.result is not None or self.error is not None):
            raise PydanticCustomError("outcome", "only what ran has a result or an error; say the rest in `note`")
        return self


class AcceptPinBody(_Body):
    """The definition that was looked at is the tool from now on."""

    server: Annotated[str, Field(min_length=1, max_length=200, description="Whose pin it is, as `/v1/pins` names it")]
    tool: Annotated[str | None, Field(max_length=1000, description="Null for the server's instructions")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the definition looked at")]


class LoginBody(_Body):
    """One of the two: a link's one-time code, or an approver's token."""

    code: Annotated[str | None, Field(max_length=200)] = None
    token: Annotated[str | None, Field(max_length=1024)] = None


class LoginLinkBody(_Body):
    """Where the link leads: the queue, or one call."""

    next: Annotated[str, Field(pattern=r"^/(grants|review/[A-Za-z0-9_.~-]{1,128})?$")] = "/"


class PreviewBody(_Body):
    """Edited arguments as the text that was typed, so that no digit is lost on the way."""

    fingerprint: Fingerprint
    text: str


class RevokeBody(_Body):
    """A standing grant is to end now."""


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


Time = Annotated[str, Field(description="RFC 3339, UTC", json_schema_extra={"format": "date-time"})]


class RequesterOut(_Out):
    """Who asked. `agent` is known by its credential; the rest is what it says about itself."""

    agent: str
    client: str | None
    run_id: str | None
    call_id: str | None
    agent_path: list[str]


class BecauseOut(_Out):
    """A rule that spoke, and where it is."""

    layer: str
    rule: str


class DecisionOut(_Out):
    """One decision that was made."""

    decision: Literal["approve", "edit", "reject", "respond"]
    by: str
    at: Time
    message: str | None
    arguments: dict[str, Any] | None
    remember: dict[str, Any] | None = Field(
        None, description="The standing grant asked for with an approval, if any; only approvers are told"
    )


class OutcomeOut(_Out):
    """What became of the call."""

    kind: Literal["ok", "tool_error", "upstream_error", "not_run", "lost", "ran"]
    result: Any
    error: Any
    at: Time
    note: str | None


class ChangedLineOut(_Out):
    """One line about a field. `-`: only as it was pinned. `+`: only as it is now. `~`: says how many equal lines."""

    field: str
    sign: Literal["+", "-", " ", "~"]
    text: str


class DefinitionChangeOut(_Out):
    """The tool is not as it is pinned; `server` is whose pin it is, as `/v1/pins` names it."""

    server: str
    pinned_digest: str | None = Field(description="Null where nobody has accepted any definition yet")
    pinned: dict[str, Any] | None
    current: dict[str, Any] | None
    lines: list[ChangedLineOut]


class FlagOut(_Out):
    """Something to know before accepting a definition; `where` is a JSON pointer into it."""

    kind: Literal["hidden", "direction", "control", "mixed", "look-alike", "long"]
    where: str
    words: str


class PinOut(_Out):
    """What one tool is pinned to, and what was seen last."""

    server: str
    tool: str | None = Field(description="Null for the server's instructions")
    about: Literal["tool", "instructions"]
    state: Literal["new", "changed", "pinned"]
    pinned_digest: str | None
    pinned_at: Time | None
    pinned_by: str | None = Field(description="`first use`, or whoever accepted it")
    digest: str = Field(description="Of the definition seen last; name it to accept that")
    seen_at: Time
    lines: list[ChangedLineOut] = Field(description="How what was seen last differs from what is pinned")
    flags: list[FlagOut]


class PinList(_Out):
    """Every pin, in the order of their names."""

    pins: list[PinOut]


class InterruptionOut(_Out):
    """One parked call."""

    id: str
    state: Literal[
        "pending", "approved", "rejected", "answered", "expired", "withdrawn", "superseded", "executing", "executed",
        "failed", "unknown",
    ]  # fmt: skip
    kind: str = Field(description="`mcp`: the proxy runs it; anything else: the agent runs it itself")
    server: str
    tool: str
    arguments: dict[str, Any] | None = Field(description="What will be sent; null once erased")
    requested_arguments: dict[str, Any] | None = Field(description="What the agent sent; an edit leaves it alone")
    fingerprint: str
    definition: dict[str, Any] | None = Field(description="The tool as its server described it; nobody checked it")
    definition_digest: str
    definition_change: DefinitionChangeOut | None = Field(
        description="How the definition differs from the one that is pinned; null where it does not"
    )
    requested_by: RequesterOut
    because: list[BecauseOut]
    decisions: list[DecisionOut]
    required_approvals: int
    allowed_decisions: list[Literal["approve", "edit", "reject", "respond"]]
    created_at: Time
    expires_at: Time
    claim_by: Time | None = Field(description="Until when an approved call may run; null in every other state")
    claimed_until: Time | None = Field(
        description="When a call that its agent runs counts as unknown if nothing is said of it; null otherwise"
    )
    revision: int
    outcome: OutcomeOut | None
    answer: Any
    reason: str | None
    review_url: str | None
    grant: str | None = Field(None, description="The standing grant that its approval made, if any; for approvers")


class CallOut(_Out):
    """`allow`: run it now. `ask`: it is this interruption; run it only after a claim of it."""

    verdict: Literal["allow", "ask"]
    because: list[BecauseOut]
    interruption: InterruptionOut | None


class ClaimOut(_Out):
    """Run exactly these arguments, once, and say what came of it."""

    token: int = Field(description="Needed to report the outcome")
    arguments: dict[str, Any] = Field(description="As approved, which an approver may have changed")
    until: Time = Field(description="After that, its outcome counts as unknown")
    interruption: InterruptionOut


class InterruptionList(_Out):
    """A page of parked calls, newest first."""

    interruptions: list[InterruptionOut]
    next_cursor: str | None


class ScopeOut(_Out):
    """Which arguments a grant covers; a call with others, or without one of these, is not covered."""

    arguments: dict[str, dict[str, Any]]
    when: str | None


class GrantOut(_Out):
    """One standing grant."""

    id: str
    state: Literal["active", "expired", "used_up", "revoked"]
    agent: str
    server: str
    tool: str
    definition_digest: str
    scope: ScopeOut | None = Field(description="Null once erased")
    scope_digest: str
    made_by: list[str]
    made_at: Time
    from_interruption: str
    expires_at: Time
    max_uses: int
    uses: int
    last_used_at: Time | None
    revoked_at: Time | None
    revoked_by: str | None


class GrantList(_Out):
    """A page of standing grants, newest first."""

    grants: list[GrantOut]
    next_cursor: str | None


class PastCallOut(_Out):
    """A call that was approved."""

    id: str
    arguments: dict[str, Any]
    approved_by: list[str]
    at: Time


class ProposalOut(_Out):
    """A grant that would have answered for calls that people approved one by one. Nothing is made of it by itself."""

    agent: str
    server: str
    tool: str
    definition_digest: str
    scope: ScopeOut
    covers: list[PastCallOut]


class ProposalList(_Out):
    """What could be granted, the most calls first."""

    proposals: list[ProposalOut]


class ErrorDetail(_Out):
    """Why not."""

    code: str
    message: str
    interruption: InterruptionOut | None = None
    pointer: str | None = None


class ErrorOut(_Out):
    """Every error looks like this; a conflict has the interruption as it stands."""

    error: ErrorDetail


class LogEntryOut(_Out):
    """One row of the decision log. `hash` seals `body` and the row before."""

    sequence: int
    hash: str
    body: str
    entry: dict[str, Any]


class LogList(_Out):
    """A page of the decision log, oldest first; continue with `?after=` the last sequence."""

    entries: list[LogEntryOut]
    next_after: int | None


class PolicyOut(RootModel[dict[str, Any]]):
    """The policy in force."""


class ExplainOut(RootModel[dict[str, Any]]):
    """The verdict, and why."""


class ServerList(_Out):
    """The upstream servers and how they are."""

    servers: list[dict[str, Any]]


class SessionOut(_Out):
    """The browser's login; null where there is none."""

    approver: str | None
    csrf: str | None


class LoginLinkOut(_Out):
    """A link that logs one browser in, once."""

    url: str
    expires_at: Time


class StatusOut(_Out):
    """Alive, or ready, or what is missing."""

    status: Literal["ok", "ready", "not_ready"]
    missing: list[str] = Field(default_factory=list)


class OpenApiOut(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""
