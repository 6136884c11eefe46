"""Who is calling: a bearer token is worth exactly one name and one kind, agent or approver, never both.

Tokens are kept only as keyed digests, with a key that lives as long as the process: neither a memory dump of this
table nor the timing of a look-up tells anything about a token. An answer of `None` is the only way to say no.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from holdshort.config.model import LOCAL_AGENT
from holdshort.errors import ConfigError, StateError

__all__ = [
    "APPROVER_TOKEN_FILE",
    "LOCAL_AGENT",
    "LOCAL_APPROVER",
    "ApproverToken",
    "ApproverTokenUnusable",
    "Credential",
    "Principal",
    "PrincipalKind",
    "Principals",
    "SharedToken",
    "approver_token",
    "is_loopback",
]

APPROVER_TOKEN_FILE: Final = "approver-token"  # noqa: S105 (a file's name)
LOCAL_APPROVER: Final = "approver"
"""The name of the one approver that exists where none is configured."""

_NO_DIGEST: Final = bytes(32)


class PrincipalKind(StrEnum):
    """An agent asks, an approver decides; no credential does both."""

    AGENT = "agent"
    APPROVER = "approver"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credential was checked."""

    kind: PrincipalKind
    name: str
    groups: frozenset[str] = frozenset()

    @property
    def is_agent(self) -> bool:
        return self.kind is PrincipalKind.AGENT

    @property
    def is_approver(self) -> bool:
        return self.kind is PrincipalKind.APPROVER


class Credential(Protocol):
    """What the configuration says about one agent or approver."""

    @property
    def name(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def groups(self) -> Iterable[str]: ...


class SharedToken(ConfigError):
    """Raised when two principals have the same token: which of them calls could not be told."""

    def __init__(self, first: Principal, second: Principal) -> None:
        super().__init__(
            f"the {first.kind} `{first.name}` and the {second.kind} `{second.name}` have the same token; "
            "give each a token of its own"
        )


class ApproverTokenUnusable(StateError):
    """Raised when the approver token's file is there but must not be trusted."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"`{path}` {reason}; {remedy}")


class Principals:
    """Everyone who may call, by token. Immutable once built."""

    def __init__(self, *, agents: Iterable[Credential] = (), approvers: Iterable[Credential] = ()) -> None:
        self._key = secrets.token_bytes(32)
        self._by_digest: dict[bytes, tuple[bytes, Principal]] = {}
        for kind, credentials in ((PrincipalKind.AGENT, agents), (PrincipalKind.APPROVER, approvers)):
            for credential in credentials:
                self._add(Principal(kind, credential.name, frozenset(credential.groups)), credential.token)
        self._local = None if self.has_agents else Principal(PrincipalKind.AGENT, LOCAL_AGENT)

    def with_approver(self, token: str, name: str = LOCAL_APPROVER) -> "Principals":
        """Return these principals and one approver more: the one of the state folder."""
        grown = Principals()
        grown._key = self._key
        grown._by_digest = dict(self._by_digest)
        grown._local = self._local
        grown._add(Principal(PrincipalKind.APPROVER, name), token)
        return grown

    def __repr__(self) -> str:
        return f"Principals({', '.join(sorted(f'{known.kind} {known.name}' for _, known in self._by_digest.values()))})"

    @property
    def has_agents(self) -> bool:
        return any(known.is_agent for _, known in self._by_digest.values())

    @property
    def has_approvers(self) -> bool:
        return any(known.is_approver for _, known in self._by_digest.values())

    @property
    def local(self) -> Principal | None:
        """The agent of loopback callers without a token; None once agents are configured."""
        return self._local

    def approver(self, name: str) -> Principal | None:
        """Return the approver of this name, if there is one."""
        known = (principal for _, principal in self._by_digest.values())
        return next((each for each in known if each.is_approver and each.name == name), None)

    def approver_groups(self, name: str) -> frozenset[str] | None:
        """Return the groups of the approver of this name, None if there is no such approver."""
        known = self.approver(name)
        return None if known is None else known.groups

    def authenticate(self, token: str) -> Principal | None:
        """Return whose token this is, in time that does not tell how near a guess is."""
        wanted = self._digest(token)
        # Which bucket a guess lands in depends on the key, so the table's own timing is no help to a guesser; the
        # comparison that decides is the constant-time one.
        known, principal = self._by_digest.get(wanted, (_NO_DIGEST, None))
        return principal if hmac.compare_digest(known, wanted) and token else None

    def loopback(self, client_host: str | None, *, forwarded: bool) -> Principal | None:
        """Return the agent that a caller without a token is, if it may be any.

        `client_host` is the address of the socket's other end; `forwarded` says that the request carries a header
        that a reverse proxy adds, so that the other end is not the caller.
        """
        if self._local is None or forwarded or client_host is None or not is_loopback(client_host):
            return None
        return self._local

    def _add(self, principal: Principal, token: str) -> None:
        digest = self._digest(token)
        if digest in self._by_digest:
            raise SharedToken(self._by_digest[digest][1], principal)
        self._by_digest[digest] = (digest, principal)

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode("utf-8", "surrogatepass"), hashlib.sha256)


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Say whether an address is this machine (an address only: a name is whatever its resolver says)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class ApproverToken:
    """The state folder's own approver token."""

    token: str
    path: Path
    created: bool
    """True for the one process that made it, so that one process prints the first login link."""

    def __repr__(self) -> str:
        return f"ApproverToken(path={str(self.path)!r}, created={self.created})"


def approver_token(state_dir: Path) -> ApproverToken:
    """Return the approver token of `state_dir`, made on the first start and the same ever after.

    Several processes may start at once: the file appears complete or not at all, and the first to link it wins.

    Raises:
        ApproverTokenUnusable: the file is somebody else's, readable by others, or does not hold a token.
    """
    path = state_dir / APPROVER_TOKEN_FILE
    found = _read_token(path)
    if found is not None:
        return ApproverToken(found, path, created=False)
    token = secrets.token_urlsafe(32)
    draft = state_dir / f".{APPROVER_TOKEN_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            winner = _read_token(path)
            if winner is None:
                raise ApproverTokenUnusable(path, "vanished while it was read", "start again") from None
            return ApproverToken(winner, path, created=False)
    finally:
        draft.unlink()
    return ApproverToken(token, path, created=True)


def _read_token(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ApproverTokenUnusable(path, f"cannot be read ({error.strerror})", "check its owner and type") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise ApproverTokenUnusable(path, "is not a file", "remove it and start again")
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        if about.st_uid != os.geteuid():
            raise ApproverTokenUnusable(path, "belongs to another user", "use a state folder of your own")
        if about.st_mode & 0o077:
            raise ApproverTokenUnusable(path, "can be read by other users", "remove it and start again for a new token")
        token = file.read(1024).strip()
    if len(token) < 32 or not token.isascii() or not token.isprintable() or " " in token:
        raise ApproverTokenUnusable(path, "does not hold a token", "remove it and start again for a new one")
    return token
