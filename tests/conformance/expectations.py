"""What our own edge answers, where the answer is ours and not the upstream's to give.

These scenarios test the HTTP edge itself, so "as good as direct" is not the measure: each check has an absolute
expectation. `DIFFERENT` lists every check of them that is not a success, with the reason; everything else must be one.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DIFFERENT", "DIRECT_FAILURES", "FRONT_OWNED", "Different"]

FRONT_OWNED: dict[str, str] = {
    "dns-rebinding-protection": "the Host and Origin of a request are checked where it arrives",
    "server-session-lifecycle": "sessions with the agent are ours; the upstream's sessions are others",
    "server-sse-polling": "event ids and resuming a stream belong to the connection with the agent",
    "http-header-validation": "headers are compared with the body before anything is forwarded",
    "http-custom-header-server-validation": "the same for the headers that mirror arguments",
    "server-stateless": "versions, `_meta` and removed methods are judged at the edge",
}


@dataclass(frozen=True, slots=True)
class Different:
    """The statuses a check may have instead of SUCCESS, and why that is right."""

    statuses: frozenset[str]
    reason: str


DIFFERENT: dict[tuple[str, str], Different] = {}
"""By (scenario, check id), for the runs through the proxy."""

DIRECT_FAILURES: dict[str, str] = {
    "tasks-": "the fixture does not have the tasks extension; the suite does not score these",
}
"""By scenario prefix: what the fixture itself fails, so nothing can be said about the proxy there."""
