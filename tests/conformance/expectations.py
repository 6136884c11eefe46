"""What our own edge answers, where the answer is ours and not the upstream's to give.

These scenarios test the HTTP edge itself, so "as good as direct" is not the measure: each check has an absolute
expectation. `DIFFERENT` lists every check of them that is not a success, with the reason; everything else must be one.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ABSENT", "DIFFERENT", "FRONT_OWNED", "Different"]

ABSENT = "ABSENT"
"""The status of a check that a run did not make at all."""

FRONT_OWNED: dict[str, str] = {
    "dns-rebinding-protection": "the Host and Origin of a request are checked where it arrives",
    "server-session-lifecycle": "sessions with the agent are ours; the upstream's sessions are others",
    "server-sse-multiple-streams": "whether an answer is a stream or one JSON body is chosen where it is sent",
    "server-sse-polling": "event ids and resuming a stream belong to the connection with the agent",
    "http-header-validation": "headers are compared with the body before anything is forwarded",
    "http-custom-header-server-validation": "the same for the headers that mirror arguments",
    "server-stateless": "versions, `_meta` and removed methods are judged at the edge",
}


@dataclass(frozen=True, slots=True)
class Different:
    """The statuses a check has instead of SUCCESS, and why that is right."""

    statuses: frozenset[str]
    reason: str


_NO_STREAM = "a lone response is answered as JSON: one write, nothing to resume; streams carry more than that"

DIFFERENT: dict[tuple[str, str], Different] = {
    ("server-sse-multiple-streams", "server-sse-streams-functional"): Different(frozenset({"INFO"}), _NO_STREAM),
    ("server-sse-polling", "server-sse-priming-event"): Different(frozenset({ABSENT}), _NO_STREAM),
    ("server-sse-polling", "server-sse-retry-field"): Different(frozenset({ABSENT}), _NO_STREAM),
    ("server-sse-polling", "server-sse-disconnect-resume"): Different(frozenset({ABSENT}), _NO_STREAM),
}
"""By (scenario, check id), for the runs through the proxy."""
