"""The configuration after reading: checked, resolved, frozen. No secret shows in any `repr`.

Nothing in here looks at a file or the environment; `load.py` does.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from holdshort.errors import ConfigError
from holdshort.policy import Place, Policy
from holdshort.policy.redaction import Redaction

__all__ = [
    "DEFAULT_LISTEN",
    "LOCAL_AGENT",
    "AgentConfig",
    "ApproverConfig",
    "Config",
    "ConfigErrors",
    "HoldConfig",
    "LimitsConfig",
    "Listen",
    "Problem",
    "RecordConfig",
    "ServerConfig",
    "Transport",
    "UnknownPeople",
]

Transport = Literal["stdio", "http", "sse"]

LOCAL_AGENT: Final = "local"
"""The agent that loopback callers are when no agents are configured."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file, or, as a note, one thing worth knowing about it."""

    place: Place
    message: str
    rule: str | None = None

    def __str__(self) -> str:
        about = f"rule `{self.rule}`: " if self.rule is not None else ""
        return f"{self.place}: {about}{self.message}"


class ConfigErrors(ConfigError):
    """Raised when files cannot be used; `problems` are all that were found, in all files, in reading order."""

    def __init__(
        self,
        problems: Sequence[Problem],
        notes: Sequence[Problem] = (),
        files: Mapping[Path, tuple[int, ...] | None] | None = None,
    ) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        self.files = dict(files or {})
        """As in `Config`: what was looked for on the way to the problems."""


class UnknownPeople(ConfigErrors):
    """Raised when rules are about people whom the process that runs does not know, and nothing else is wrong."""

    code = "people"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on. Port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = 7411

    @property
    def loopback(self) -> bool:
        """True when only this machine can connect."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            # Some other name: what it resolves to is not ours to trust.
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_LISTEN: Final = Listen()


@dataclass(frozen=True, slots=True)
class HoldConfig:
    """How long a parked request is kept open, in seconds, before the agent gets a pending answer.

    `clients` maps globs over client names to seconds, first match first; `default` None leaves the choice to the gate.
    """

    default: float | None = None
    clients: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Every limit that a file can set; `docs/configuration.md` has the table. `_bytes` are bytes, times are seconds.

    There is none on how long a request may take in all: one that waits for a person is answered when its hold is over,
    and one that runs ends when its server has been silent for `upstream_timeout`.
    """

    request_bytes: int = 4 * 1024 * 1024
    line_bytes: int = 16 * 1024 * 1024
    response_bytes: int = 16 * 1024 * 1024
    json_depth: int = 64
    json_keys: int = 10_000
    string_bytes: int = 4 * 1024 * 1024
    tool_name_chars: int = 128
    header_timeout: float = 10
    body_timeout: float = 30
    pending_expiry: float = 24 * 3600
    dispatch_deadline: float = 3600
    result_retention: float = 24 * 3600
    pending_per_agent: int = 100
    pending_per_server: int = 1_000
    pending_total: int = 20_000
    decisions_per_minute: int = 60
    decisions_burst: int = 20
    grant_lifetime: float = 90 * 24 * 3600
    grant_uses: int = 1_000
    upstream_timeout: float = 300
    connect_timeout: float = 5
    restart_backoff: float = 1
    restart_backoff_max: float = 60
    event_buffer: int = 256
    keepalive: float = 15
    token_recheck: float = 60
    tools_per_server: int = 1_000
    description_bytes: int = 16 * 1024
    list_bytes: int = 8 * 1024 * 1024
    login_link: float = 15 * 60
    session_idle: float = 30 * 60
    session_absolute: float = 12 * 3600


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """What is recorded of calls for replays, for how long (seconds), and what is left out of it.

    With `arguments` false only the facts of the tool and the caller are.
    """

    keep: float = 7 * 24 * 3600
    arguments: bool = True
    max_bytes: int = 64 * 1024
    redact: Redaction = field(default_factory=Redaction)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One upstream. `label` is its name in `mcpServers`; what may hold a secret is kept out of `repr`.

    `timeout`: seconds of silence in one call, None for `limits.upstream_timeout`. With `trust_annotations` false,
    policy sees the careful defaults instead of what the server declares about its tools.
    """

    label: str
    transport: Transport
    command: str | None = None
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: Path | None = None
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout: float | None = None
    trust_annotations: bool = True
    configured: bool = True
    """False for a command that is wrapped and that no file has an entry for: its label may be another command's too."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One who asks: the bearer of `token`. `acts_for` is the person behind it, for `separation_of_duties`."""

    name: str
    token: str = field(repr=False)
    groups: frozenset[str] = frozenset()
    acts_for: str | None = None


@dataclass(frozen=True, slots=True)
class ApproverConfig:
    """One who decides: the bearer of `token`."""

    name: str
    token: str = field(repr=False)
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a file can say, checked and resolved.

    `path` is None for a configuration made from a command line. `notes` are remarks for the person who runs it.
    `public_url` is the base of review links, without a trailing slash; None means that links use the listen address.
    """

    path: Path | None
    servers: tuple[ServerConfig, ...]
    policy: Policy
    agents: tuple[AgentConfig, ...] = ()
    approvers: tuple[ApproverConfig, ...] = ()
    listen: Listen = DEFAULT_LISTEN
    approvals_listen: Listen | None = None
    public_url: str | None = None
    hold: HoldConfig = field(default_factory=HoldConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    state_dir: Path | None = None
    record: RecordConfig | None = None
    """None: calls are not recorded."""
    separation_of_duties: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    notes: tuple[Problem, ...] = ()
    files: Mapping[Path, tuple[int, ...] | None] = field(default_factory=dict[Path, tuple[int, ...] | None])
    """Every file that was read or looked for, with what it was on disk just before (`reading.stamp_of`)."""
    loosens: frozenset[str] = frozenset()
    """Digests, or starts of digests, of policies that the files say this one may loosen (`loosening.py`)."""
