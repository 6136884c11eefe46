"""One request to `/v1`, as often as it takes, with the credential that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from holdshort.runner.connection import Connection, Patience, Sending, decoded, read_body, where
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.refusals import Refusal, proxy_error, refusal_in
from holdshort.wire import encode

__all__ = ["ANSWER_SECONDS", "NOBODY", "Requests", "Who"]

ANSWER_SECONDS: Final = 30.0
"""How long one answer may take that waits for nobody."""


@dataclass(frozen=True, slots=True)
class Who:
    """A credential, and the name under which programs give it."""

    named: str
    token: str | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Return what shows it."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}

    def error(self, refusal: Refusal) -> ProxyError:
        """Return the error of a run for a refusal of this credential's request."""
        return proxy_error(refusal, whose=self.named, had_token=self.token is not None)


NOBODY: Final = Who("token")


class Requests:
    """Requests to one approval endpoint."""

    def __init__(self, connection: Connection, url: str) -> None:
        self.connection = connection
        self.url = url

    async def send(
        self,
        who: Who,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeat: bool,
        seconds: float = ANSWER_SECONDS,
        take_503: bool = False,
    ) -> dict[str, Any] | Refusal:
        """Return the answer, an object, or the refusal.

        Sent again, for a few seconds in all: what certainly did not arrive, what came too fast (429 that says when),
        and with `repeat` what was lost or came at a bad moment (5xx).

        Raises:
            ProxyError: the answer cannot be used.
            ProxyUnreachable: there is none; `sent` says whether the request may have arrived.
        """
        content = None if body is None else _encoded(body)
        patience = Patience()
        while True:
            try:
                status, later, value = await self._once(who, method, path, content, seconds)
            except ProxyUnreachable as lost:
                if (lost.sent and not repeat) or not await patience.pause():
                    raise
                continue
            if status in (200, 202) or (status == 503 and take_503):
                if isinstance(value, dict):
                    return value
                raise ProxyError("the proxy's answer is not an object", reason="malformed", status=status)
            # Without the header waiting does not help: then it is a quota, not a pace.
            paced = status == 429 and later is not None
            if (paced or (status >= 500 and repeat)) and await patience.pause(later or 0.0):
                continue
            refusal = refusal_in(status, value)
            if status >= 500 and not refusal.code:
                # Said by whoever stands in between: the request may have gone through before that.
                raise ProxyUnreachable(f"`{where(self.url)}` answers with status {status}", sent=True)
            return refusal

    async def record(
        self,
        who: Who,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeat: bool,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Return the interruption that is the answer.

        Raises:
            ProxyError: it was refused, or is none.
            ProxyUnreachable: as for `send`.
        """
        answer = await self.send(who, method, path, body, repeat=repeat, seconds=seconds)
        if isinstance(answer, Refusal):
            raise who.error(answer)
        if not isinstance(answer.get("id"), str) or not isinstance(answer.get("state"), str):
            raise ProxyError("the proxy's answer is not an interruption", reason="malformed")
        return answer

    async def _once(
        self, who: Who, method: str, path: str, content: bytes | None, seconds: float
    ) -> tuple[int, float | None, Any]:
        headers = {"accept": "application/json", **who.headers()}
        if content is not None:
            headers["content-type"] = "application/json"
        sending = Sending()
        try:
            with anyio.fail_after(seconds):
                response = await self.connection.open(
                    method, f"{self.url}{path}", headers=headers, content=content, sending=sending
                )
                try:
                    raw = await read_body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise ProxyUnreachable(
                f"the proxy at `{where(self.url)}` did not answer within {seconds:g} seconds", sent=sending.sent
            ) from None
        status = response.status_code
        try:
            value = decoded(raw, f"{method} {path.partition('?')[0]}", status)
        except ProxyError:
            if status < 400:
                raise
            value = None  # an error page of whoever stands in between
        return status, _seconds(response.headers.get("retry-after")), value


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return encode(body)
    except ValueError:
        raise ProxyError(
            "what is to be sent has half a character (a lone surrogate) or a number that JSON does not have",
            reason="malformed",
        ) from None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 9 else None
