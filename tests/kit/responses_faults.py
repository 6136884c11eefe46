"""What may go wrong between a model and its caller. Each request to the model takes the next fault, or `None`.

| fault | the caller sees | the turn |
|---|---|---|
| `Refuse(429, retry_after=1)` | an HTTP error | is kept for the next request |
| `Fail("server_error")` | 200, a response that failed | is kept |
| `ErrorEvent(after)` | an `error` event in the stream, then its end | is used up |
| `Lost()` | a connection that drops without one byte | is used up, the response is stored |
| `Cut(after)` | a stream (or a body) that stops in the middle of something | is used up, the response is stored |
| `Garbage(after)` | an event that is no JSON | is used up, the response is stored |
| `Stranger(event, after)` | one more event, which no client knows | is used up |
| `Page(text)` | 200 with something that is no response | is kept |
| `Hold(after)` | nothing more, until `release` | is used up when it goes on; in a stream, before |
| `Gone()` | what a caller sees whose previous response has expired | is kept |

`after` counts the events that still arrive whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.responses_refusals import Refused

__all__ = [
    "Cut",
    "ErrorEvent",
    "Fail",
    "Fault",
    "Garbage",
    "Gone",
    "Hold",
    "Lost",
    "Page",
    "Refuse",
    "Stranger",
    "read_fault",
]

CODES = {429: "rate_limit_exceeded", 500: "server_error", 503: "server_error", 401: "invalid_api_key"}


@dataclass(frozen=True, slots=True)
class Refuse:
    """An HTTP error before the request is looked at."""

    status: int
    message: str = "The server had an error while processing your request. Sorry about that!"
    retry_after: float | None = None
    """Seconds, sent as `retry-after`."""
    code: str | None = None
    """Where it is not the usual one of this status."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def refused(self) -> Refused:
        """The answer."""
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        headers |= self.headers
        code = self.code or CODES.get(self.status)
        kind = "invalid_request_error" if self.status in (400, 401, 404) else "server_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return Refused(self.message, status=self.status, code=code, type=kind, headers=headers)


@dataclass(frozen=True, slots=True)
class Fail:
    """The response itself says that it failed."""

    code: str = "server_error"
    message: str = "The model failed to generate a response."


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The stream says `error` and ends; without streaming, an HTTP 500."""

    after: int = 2
    code: str = "server_error"
    message: str = "The server had an error while processing your request. Sorry about that!"

    def event(self) -> dict[str, Any]:
        """The event, numbered by whoever sends it."""
        return {"type": "error", "code": self.code, "message": self.message, "param": None}


@dataclass(frozen=True, slots=True)
class Lost:
    """The request is accepted and answered, and nobody hears the answer."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer stops in the middle of the next event; `politely`: at its start, and the body ends as bodies do."""

    after: int = 3
    politely: bool = False


@dataclass(frozen=True, slots=True)
class Garbage:
    """One event is no JSON; what follows it is right again."""

    after: int = 3


@dataclass(frozen=True, slots=True)
class Stranger:
    """One more event of a type that is newer than the client."""

    event: Mapping[str, Any] = field(default_factory=lambda: {"type": "response.hum.delta", "delta": "mm", "pitch": 7})
    after: int = 3


@dataclass(frozen=True, slots=True)
class Page:
    """Something between the caller and the service answers in its place: 200, and no response."""

    text: str = "<html><title>Please log in</title></html>"
    media_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing more comes until the server is told to go on; with 0, not even the headers."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Gone:
    """Every stored response is forgotten before this request is looked at."""


Fault = Refuse | Fail | ErrorEvent | Lost | Cut | Garbage | Stranger | Page | Hold | Gone

NAMES: Mapping[str, type[Fault]] = {
    "refuse": Refuse,
    "fail": Fail,
    "error_event": ErrorEvent,
    "lost": Lost,
    "cut": Cut,
    "garbage": Garbage,
    "stranger": Stranger,
    "page": Page,
    "hold": Hold,
    "gone": Gone,
}


def read_fault(written: Mapping[str, Any] | None) -> Fault | None:
    """A fault from JSON: `{"cut": {"after": 4}}`, or null for none.

    Raises:
        ValueError: a name that is no fault.
    """
    if written is None:
        return None
    [(name, facts)] = written.items()
    if name not in NAMES:
        raise ValueError(f"no fault: `{name}`; there are {', '.join(NAMES)}")
    return NAMES[name](**facts)
