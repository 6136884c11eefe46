"""What policy speaks about: the facts of a call, the rules of a layer, and the verdict with its reasons.

Nothing here decides anything; `decide.py` does. All values are frozen: a verdict can be kept as long as its policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from holdshort.errors import HoldshortError
from holdshort.policy.globs import NamePattern, ToolPattern

__all__ = [
    "DECISIONS",
    "DEFAULT_EXPIRY",
    "Access",
    "Action",
    "Because",
    "Call",
    "Caller",
    "Condition",
    "Execute",
    "Kind",
    "Layer",
    "PinMode",
    "Place",
    "PolicyError",
    "Rule",
    "Terms",
    "ToolFacts",
    "Verdict",
]


class PolicyError(HoldshortError):
    """Raised when rules cannot be put together into a policy; a call never meets it."""

    code = "policy"


class Action(StrEnum):
    """What a rule says about a call. `hide > deny > ask > allow` is the order of strictness."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"
    HIDE = "hide"

    @property
    def strictness(self) -> int:
        """0 for allow up to 3 for hide; where layers disagree, the larger number wins."""
        return _STRICTNESS[self]


_STRICTNESS: Final = {Action.ALLOW: 0, Action.ASK: 1, Action.DENY: 2, Action.HIDE: 3}


class Kind(StrEnum):
    """What a rule speaks about. One rule speaks about one kind."""

    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    SERVER_REQUEST = "server_request"
    """What a server asks of a client: sampling, elicitation, roots."""


class PinMode(StrEnum):
    """What a tool's pin is worth. `strict > first_use > off` is the order of strictness."""

    OFF = "off"
    """Definitions are not pinned."""
    FIRST_USE = "first_use"
    """A tool is pinned as it is first seen; while it differs from its pin, calling it is at least `ask`."""
    STRICT = "strict"
    """A tool that is new, or differs from its pin, is hidden until somebody accepts it."""

    @property
    def strictness(self) -> int:
        """0 for off up to 2 for strict; where layers disagree, the larger number wins."""
        return _PIN_STRICTNESS[self]


_PIN_STRICTNESS: Final = {PinMode.OFF: 0, PinMode.FIRST_USE: 1, PinMode.STRICT: 2}

DECISIONS: Final = frozenset({"approve", "edit", "reject", "respond"})
"""Every kind of decision an approver can make; a rule may narrow them, but never take `reject` away."""

DEFAULT_EXPIRY: Final = timedelta(hours=24)
"""How long a parked call waits when no rule says otherwise."""

Execute = Literal["claimed", "on_decision"]
"""When an approved call runs: when the agent comes back for it, or at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """A point in a file the user wrote; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Because:
    """One reason of a verdict: the rule that spoke, in its layer (a file as written, or a shorthand key)."""

    layer: str
    rule: str


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What policy may know about a tool. Annotations a server does not declare get the spec's careful defaults.

    `known` is false for a tool that its server has not listed. `pinned` is false where pins count and the tool's
    definition is not the one that is pinned for it: it is new and nobody accepted it, or it changed.
    """

    server: str
    name: str
    title: str | None = None
    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True
    known: bool = True
    pinned: bool = True


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the agent by credential, and the client program by its own word."""

    agent: str
    groups: frozenset[str] = frozenset()
    client: str | None = None
    client_version: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call as policy sees it; `now` is timezone-aware UTC."""

    tool: ToolFacts
    arguments: Mapping[str, Any]
    caller: Caller
    now: datetime


@dataclass(frozen=True, slots=True)
class Access:
    """One use of something that is no tool, as policy sees it; `now` is timezone-aware UTC.

    `name` is the URI of a resource as the client wrote it, the server's own name of a prompt, or the method that a
    server asks for. Only prompts have `arguments`.
    """

    kind: Kind
    server: str
    name: str
    caller: Caller
    now: datetime
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """How an `ask` is to be decided.

    `approvers` is one set for each restriction in force: somebody may decide when, in every set, their name or one of
    their groups occurs. No set means that any approver may.
    """

    approvers: tuple[frozenset[str], ...] = ()
    required_approvals: int = 1
    expires_after: timedelta = DEFAULT_EXPIRY
    decisions: frozenset[str] = DECISIONS
    execute: Execute = "claimed"
    grants: bool = True
    """Whether a standing grant may stand in for a decision."""

    def eligible(self, name: str, groups: frozenset[str]) -> bool:
        """Say whether the approver `name`, who is in `groups`, may decide under these terms."""
        return all(name in allowed or not groups.isdisjoint(allowed) for allowed in self.approvers)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy says about a call, why, and which conditions could not be evaluated on the way."""

    action: Action
    because: tuple[Because, ...]
    errors: tuple[str, ...] = ()
    terms: Terms = field(default_factory=Terms)


class Condition(Protocol):
    """The `when` of a rule. What it raises, or returns other than a bool, never helps the call (precedence 4)."""

    @property
    def text(self) -> str:
        """The condition as a person reads it; part of the policy's digest."""
        ...

    @property
    def static(self) -> bool:
        """True when only `tool` and `caller` matter, so that it can be asked when tools are listed."""
        ...

    def __call__(self, call: Any) -> bool:
        """Say whether the rule speaks about `call`: a `Call`, or an `Access` where the rule is not about tools."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a layer. It matches a call when its tools, its agents and its `when` all do.

    Empty `tools` or `agents` mean every one; `except_tools` are taken out again. A rule of another `kind` than tool has
    `targets` in place of `tools`: globs over server and resource URI, prompt name or method. The terms (`approvers` and
    below) are None where the rule has no opinion, and only mean something on `ask`.
    """

    id: str
    action: Action
    tools: tuple[ToolPattern, ...] = ()
    except_tools: tuple[ToolPattern, ...] = ()
    agents: tuple[NamePattern, ...] = ()
    when: Condition | None = None
    approvers: frozenset[str] | None = None
    required_approvals: int | None = None
    expires_after: timedelta | None = None
    decisions: frozenset[str] | None = None
    execute: Execute | None = None
    grants: bool | None = None
    kind: Kind = Kind.TOOL
    targets: tuple[ToolPattern, ...] = ()
    place: Place | None = None
    when_place: Place | None = None
    """Where the first character of the condition stands, if the others follow it on the same line."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One policy file, or one shorthand key of a server: an ordered list of rules that speaks with one voice.

    `default` is only the last resort, for calls about which no layer at all has an opinion; it is never `hide`.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    default: Action | None = None
    pins: PinMode | None = None

    def __post_init__(self) -> None:
        if self.default is Action.HIDE:
            raise PolicyError(f"layer `{self.name}`: `default` is one of `allow`, `ask` or `deny`")
