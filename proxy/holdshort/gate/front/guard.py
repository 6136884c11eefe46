"""Who may talk to the MCP side at all: the right host, no foreign web page, a known agent.

Checked on every request, on the header lines themselves: a header that came twice is refused rather than chosen from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdshort.config.principals import Principal, Principals
from holdshort.policy import Caller

__all__ = ["Guard", "Refusal", "header_map"]

_ONCE = frozenset(
    {
        *(b"host", b"origin", b"authorization", b"content-type", b"content-length"),
        *(b"mcp-session-id", b"mcp-protocol-version", b"last-event-id"),
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further: HTTP status and a sentence for whoever debugs the client."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def header_map(lines: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes] | Refusal:
    """Return the header lines as a mapping (names in lower case), refusing doubles of those we decide on."""
    found = dict(lines)
    if len(found) != len(lines):
        seen: set[bytes] = set()
        for name, _ in lines:
            if name in seen and name in _ONCE:
                return Refusal(400, f"the header `{name.decode()}` came twice")
            seen.add(name)
    return found


@dataclass(frozen=True, slots=True)
class Guard:
    """The checks that come before any message is read."""

    principals: Principals
    hosts: frozenset[bytes]
    """Allowed `Host` values, port included, lower case."""
    origins: frozenset[bytes] = field(default_factory=frozenset)
    """Allowed `Origin` values; a request without one is no browser's."""

    def admit(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Caller | Refusal:
        """Return the agent that calls, or why nobody may (MCP transports: "MUST validate the `Origin` header")."""
        host = headers.get(b"host", b"").lower()
        if host not in self.hosts:
            return Refusal(421, "this proxy does not answer to that Host; see `allowed_hosts` in the configuration")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in self.origins:
            return Refusal(
                403, "requests from that Origin are not accepted; see `allowed_origins` in the configuration"
            )
        principal = self._principal(scope, headers)
        if principal is None:
            challenge = ((b"www-authenticate", b'Bearer realm="holdshort"'),)
            return Refusal(401, "an agent's bearer token is needed here", challenge)
        if not principal.is_agent:
            return Refusal(403, "this credential is an approver's; it cannot call tools")
        return Caller(principal.name, principal.groups)

    def _principal(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Principal | None:
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.decode("latin-1").partition(" ")
            return self.principals.authenticate(token.strip()) if scheme.lower() == "bearer" else None
        if self.principals.local is None:
            return None
        client = scope.get("client")
        forwarded = b"forwarded" in headers or b"x-forwarded-for" in headers
        return self.principals.loopback(client[0] if client else None, forwarded=forwarded)
