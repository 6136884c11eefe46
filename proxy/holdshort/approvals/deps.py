"""What the approval side is given from outside; it builds none of it and knows no gate, config file or clock.

The gate and this package are strangers: `Judge` and the views below are all they ever say to each other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from holdshort.approvals.doors import Authority, parse_authority
from holdshort.approvals.pace import Pace
from holdshort.approvals.sessions import LoginCodes, SessionLimits, Sessions
from holdshort.approvals.shelf import FileShelf
from holdshort.config.principals import Principal, Principals
from holdshort.interruption import Interruption, OwnCall
from holdshort.policy import Call, Verdict
from holdshort.store.contract import Store

__all__ = [
    "ApprovalDeps",
    "ApprovalLimits",
    "EditProblem",
    "Explain",
    "Judge",
    "OwnAnswer",
    "OwnCallDesk",
    "ReadyCheck",
    "View",
]


class EditProblem(Protocol):
    """Why edited arguments may not be sent, in words for the approver."""

    @property
    def message(self) -> str: ...
    @property
    def pointer(self) -> str:
        """JSON pointer to the part of the arguments that is wrong; empty for all of them."""
        ...


class Judge(Protocol):
    """Asked before an edit is recorded: the tool's input schema, and policy once more."""

    async def check_edit(self, interruption: Interruption, arguments: Mapping[str, Any]) -> EditProblem | None:
        """Return what is wrong with sending `arguments` instead; None when they may be sent."""
        ...

    def call_of(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Call:
        """Return the call, with these arguments, as policy and conditions see it."""
        ...

    async def overruled(self, interruption: Interruption) -> str | None:
        """Return why to approve a call would be in vain, because policy changed since it was parked; else None."""
        ...


class OwnAnswer(Protocol):
    """What is said about a call that the agent runs itself: a verdict, or the interruption that the call is."""

    @property
    def verdict(self) -> Verdict | None: ...
    @property
    def record(self) -> Interruption | None: ...


class OwnCallDesk(Protocol):
    """Where agents ask about calls that they run themselves."""

    async def ask(self, agent: str, own: OwnCall) -> OwnAnswer:
        """Judge a call, and park it where policy asks; an allowed one is in the decision log by then."""
        ...

    async def claim(self, record: Interruption, seconds: float) -> Interruption:
        """Hand out an approved call, once; returns it as `superseded` where policy has overtaken it."""
        ...

    async def told(self, record: Interruption) -> None:
        """Note that the agent hears how its call ended."""
        ...


View = Callable[[], Any]
"""Returns JSON: what to show, read when asked."""
Explain = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Takes {server, tool, arguments, agent, groups, client} and returns the verdict as JSON."""
ReadyCheck = Callable[[], Awaitable[Sequence[str]]]
"""Returns what is missing before calls can be served, one short phrase each; empty when ready."""


def _no_servers() -> Any:
    return []


def _no_policy() -> Any:
    return {}


async def _nothing_missing() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class ApprovalLimits:
    """How much the approval side takes at once."""

    decisions: Pace = Pace(60, 20)  # noqa: RUF009 (frozen)
    """Decisions and edit previews, per approver."""
    calls: Pace = Pace(6_000, 300)  # noqa: RUF009 (frozen)
    """Calls of its own that one agent asks about, takes, or reports on."""
    logins: Pace = Pace(10, 10)  # noqa: RUF009 (frozen)
    """Login attempts, per address."""
    max_body_bytes: int = 4 * 1024 * 1024 + 64 * 1024
    """Arguments at their own limit, and the decision around them."""
    body_seconds: float = 30
    keepalive_seconds: float = 15
    recheck_seconds: float = 60
    """How often an open event stream looks whether its login still lasts."""
    event_buffer: int = 256
    streams_per_principal: int = 64
    page_size: int = 200
    grant_lifetime: timedelta = timedelta(days=90)
    """How long a standing grant may last at most."""
    grant_uses: int = 1_000
    """How often a standing grant may be used at most."""


@dataclass(frozen=True, kw_only=True)
class ApprovalDeps:
    """Everything `build_app` needs. One object per process: logins live in it."""

    store: Store
    principals: Principals
    judge: Judge
    clock: Callable[[], datetime]
    sessions: Sessions = field(init=False)
    logins: LoginCodes = field(init=False)
    policy: View = _no_policy
    explain: Explain | None = None
    calls: OwnCallDesk | None = None
    """None where no agent can ask about calls of its own."""
    servers: View = _no_servers
    missing: ReadyCheck = _nothing_missing
    public_url: str | None = None
    """Base of the review links, without a slash at the end; None: wherever the request came in."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    limits: ApprovalLimits = ApprovalLimits()
    session_limits: SessionLimits = SessionLimits()  # noqa: RUF009 (frozen)
    session_file: Path | None = None
    """Where logins are kept across restarts and processes; None: in memory, and gone with the process."""
    version: str = "0"

    def __post_init__(self) -> None:
        shelf = None if self.session_file is None else FileShelf(self.session_file, self.principals.approver)
        object.__setattr__(self, "sessions", Sessions(self.clock, self.session_limits, shelf))
        object.__setattr__(self, "logins", LoginCodes(self.clock, self.session_limits))
        if self.public_url is not None and self.public_authority is None:
            raise ValueError(f"`public_url` is not an address: `{self.public_url}`")

    @cached_property
    def public_authority(self) -> Authority | None:
        """Host and port of `public_url`."""
        return None if self.public_url is None else parse_authority(urlsplit(self.public_url).netloc)

    @property
    def public_is_https(self) -> bool:
        return self.public_url is not None and urlsplit(self.public_url).scheme == "https"

    def login_link(self, principal: Principal, base_url: str) -> tuple[str, datetime]:
        """Return a one-time link for `principal` and until when it works. Its secret is in the fragment."""
        code, until = self.logins.issue(principal)
        return f"{base_url.rstrip('/')}/login#{code}", until
