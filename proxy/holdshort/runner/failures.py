"""Why there is no answer of the model, and whether to ask again.

| what went wrong | asked again |
|---|---|
| refused before anything happened: 429, a locked conversation, no connection | always |
| it may have happened: a lost answer, 408, 409, 5xx, a failure that the service calls passing | where `may_repeat` |
| everything else: another 4xx, no quota left, an incomplete answer, garbage | never |

And never when something of the answer was handed out, after `Patience.attempts`, or later than `Patience.within_s`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import httpx2
from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, OpenAIError

from holdshort.runner.errors import ModelError, PreviousResponseGone

__all__ = [
    "Again",
    "Failure",
    "Patience",
    "cut_off",
    "failed_by_service",
    "from_client",
    "garbage",
    "of_client",
    "retry_after",
    "seconds_to_wait",
]

GONE = "previous_response_not_found"
LOCKED = "conversation_locked"
NO_QUOTA = "insufficient_quota"
PASSING = (
    "server_error",
    "rate_limit_exceeded",
    "too_many_requests",
    "vector_store_timeout",
    "server_is_overloaded",
    "slow_down",
)
"""Codes of responses that failed for no fault of the request."""
NEVER_LEFT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
UNSENT = "unsent"


class Again(Enum):
    """Whether asking again can do harm."""

    NEVER = "never"
    """It would not help."""
    UNANSWERED = "unanswered"
    """The request did nothing yet."""
    LOST = "lost"
    """It may have done everything, and the answer is lost."""


class Failure(Exception):
    """Raised inside the model's modules; callers get `error()`."""

    def __init__(
        self, message: str, *, reason: str = "", status: int = 0, again: Again = Again.NEVER, after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.reason, self.status, self.again, self.after = message, reason, status, again, after

    @property
    def taken(self) -> bool:
        """Whether the service may have taken the request all the same."""
        refused = self.again is Again.NEVER and (400 <= self.status < 500 or self.reason == UNSENT)
        return self.again is not Again.UNANSWERED and not refused

    def error(self, attempts: int = 1, secrets: Iterable[str] = ()) -> ModelError:
        """Return what the caller gets after so many attempts, without any of `secrets` in its words."""
        message = self.message
        if self.after is not None and self.again is not Again.NEVER:
            message += f"; it asks to wait {self.after:g} s"
        if attempts > 1:
            message += f" (asked {attempts} times)"
        for secret in secrets:
            message = message.replace(secret, "…")
        # A service may repeat a key that it refuses, or most of it.
        message = re.sub(r"\bsk-[\w*.…-]+", "sk-…", message)
        kind = PreviousResponseGone if self.reason == GONE else ModelError
        return kind(message, reason=self.reason, status=self.status, taken=self.taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request to the model is kept up."""

    attempts: int = 5
    within_s: float = 180
    """No attempt begins later than this after the first."""
    first_s: float = 0.5
    """The first wait; each further one is twice as long."""
    longest_s: float = 20
    """No wait is longer, unless the service asks for it."""


def seconds_to_wait(
    failure: Failure, *, attempt: int, elapsed: float, may_repeat: bool, patience: Patience, chance: float
) -> float | None:
    """Return how long to wait before asking again after `attempt` failed `elapsed` seconds after the first one began.

    None is: do not. `chance` in [0, 1) spreads the waits of many runs over the second half of each; what the service
    asks for in `Retry-After` is waited in full, and a tenth of it or a second more at most.
    """
    if failure.again is Again.NEVER or attempt >= patience.attempts:
        return None
    if failure.again is Again.LOST and not may_repeat:
        return None
    if failure.after is not None:
        wait = failure.after + chance * min(1.0, failure.after / 10)
    else:
        wait = min(patience.longest_s, patience.first_s * 2 ** (attempt - 1)) * (1 + chance) / 2
    return wait if elapsed + wait <= patience.within_s else None


def failed_by_service(code: str, message: str) -> Failure:
    """Return the failure of a response, or of a stream, that the service itself reports."""
    again = Again.LOST if code in PASSING else Again.NEVER
    named = f" `{code}`" if code else ""
    return Failure(f"the model's service failed{named}: {message or 'it does not say why'}", reason=code, again=again)


def garbage(what: str) -> Failure:
    """Return the failure of an answer that is no answer."""
    return Failure(f"the model's service answered with something unreadable: {what}", reason="garbage")


def cut_off() -> Failure:
    """Return the failure of an answer that ended before its end."""
    return Failure(
        "the model's answer was cut off: the stream ended without saying how", reason="cut_off", again=Again.LOST
    )


def from_client(error: APIError) -> Failure:
    """Return the failure behind an error of the `openai` client."""
    if isinstance(error, APIStatusError):
        return _refused(error)
    if isinstance(error, APIConnectionError):
        return _unconnected(error)
    body: Any = error.body
    message = body.get("message") if isinstance(body, Mapping) else None
    return failed_by_service(error.code or error.type or "", str(message or error.message))


def of_client(error: Exception) -> Failure:
    """Return the failure behind anything else that the `openai` client raises."""
    if isinstance(error, OpenAIError):
        return Failure(f"the model's service was not asked: {error}", reason=UNSENT)
    if isinstance(error, ValueError | RecursionError):
        return garbage("it is not the JSON of an answer")
    return Failure(f"the model's client failed: {type(error).__name__}: {error}", reason="client")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the service asks to wait; `now`: seconds since 1970, for headers that name a time.

    RFC 9110, 10.2.3: seconds or a date. `retry-after-ms` is the service's own and finer.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _refused(error: APIStatusError) -> Failure:
    status, code, body = error.status_code, error.code or error.type or "", error.body
    message = body.get("message") if isinstance(body, Mapping) else None
    said = message if isinstance(message, str) and message else "it does not say why"
    hint = "; set `OPENAI_API_KEY`, or the key of the client that you pass" if status == 401 else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    named = f" `{code}`" if code else ""
    return Failure(
        f"the model's service answered {status}{named}: {said}{hint}{request}",
        reason=code,
        status=status,
        again=_again(status, code, error.response.headers.get("x-should-retry")),
        after=retry_after(error.response.headers, time.time()),
    )


def _again(status: int, code: str, word: str | None) -> Again:
    if code == LOCKED:
        return Again.UNANSWERED
    if code == NO_QUOTA or word == "false":
        return Again.NEVER
    if status == 429:
        return Again.UNANSWERED
    return Again.LOST if status in (408, 409) or status >= 500 or word == "true" else Again.NEVER


def _unconnected(error: APIConnectionError) -> Failure:
    url = error.request.url
    where = f"{url.scheme}://{url.host}{'' if url.port is None else f':{url.port}'}"
    if isinstance(error.__cause__, NEVER_LEFT):
        return Failure(
            f"the model's service at {where} was not reached: {error.__cause__}",
            reason="unreachable",
            again=Again.UNANSWERED,
        )
    why = "it took too long" if isinstance(error, APITimeoutError) else "the connection dropped"
    return Failure(f"the answer of the model's service at {where} was lost: {why}", reason="lost", again=Again.LOST)
