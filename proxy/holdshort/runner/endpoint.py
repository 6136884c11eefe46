"""The proxy's approval endpoint, `/v1`: asking, claiming and reporting as the agent, deciding as an approver.

What the agent does is done with the agent's token, and a decision with the approver's: with one and the same an agent
would approve itself. A request is repeated only where nothing can happen twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import anyio

from holdshort.runner.connection import Connection, Patience, Sending, decoded, read_body, where
from holdshort.runner.errors import OutcomeUnknown, ProxyError, ProxyUnreachable, UserError
from holdshort.runner.feed import FeedEvent, follow
from holdshort.runner.refusals import Refusal, decision_error, proxy_error, refusal_in
from holdshort.wire import encode

__all__ = ["Asked", "Claimed", "Endpoint", "FeedEvent", "Health", "Record"]

Record = dict[str, Any]
"""One interruption, as the proxy shows it."""

_ANSWER_SECONDS: Final = 30.0
_PAGE: Final = 200
_MOST_PAGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the proxy says of a call that the agent would run itself. Only `allow` permits running it."""

    verdict: Literal["allow", "ask", "denied"]
    interruption: Record | None = None
    """With `ask`: what it waits for, or how it ended."""
    message: str = ""
    """With `denied`: why."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A call that was taken: exactly these arguments may be run, once."""

    token: int
    arguments: dict[str, Any]
    until: str
    """RFC 3339. After that its outcome counts as unknown."""
    interruption: Record


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the proxy is up, and whether calls can be served; `missing` says what is not there yet."""

    ready: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Who:
    """A credential, by the name that programs give it."""

    named: str
    token: str | None

    def __repr__(self) -> str:
        return f"_Who({self.named})"


class Endpoint:
    """Every route of `/v1` that a run needs."""

    def __init__(
        self, connection: Connection, url: str, *, token: str | None = None, approver_token: str | None = None
    ) -> None:
        self._connection = connection
        self._url = url
        self._agent = _Who("token", token)
        self._approver = _Who("approver_token", approver_token)

    def __repr__(self) -> str:
        return f"Endpoint({self._url!r})"

    @property
    def can_decide(self) -> bool:
        """Whether there is an approver's token."""
        return self._approver.token is not None

    # -- as the agent

    async def ask(self, body: Mapping[str, Any]) -> Asked:
        """Ask about a call of the agent's own. `body` is that of `POST /v1/calls`; with `run_id` and `call_id` asking
        again is the same question.

        Raises:
            ProxyError: no verdict; the call must not run. `reason` is `call_id_reused`, `quota_exceeded`, ...
            ProxyUnreachable: no answer; the call must not run.
        """
        wait = body.get("wait", 0)
        seconds = _ANSWER_SECONDS + (wait if isinstance(wait, int) else 0)
        answer = await self._send(self._agent, "POST", "/v1/calls", body, repeat=True, seconds=seconds)
        if isinstance(answer, Refusal):
            if answer.code == "denied":
                return Asked("denied", message=answer.message)
            raise self._error(answer, self._agent)
        verdict, record = answer.get("verdict"), answer.get("interruption")
        if verdict == "ask" and isinstance(record, dict):
            return Asked("ask", record)
        if verdict == "allow" and record is None:
            return Asked("allow")
        raise ProxyError("the proxy's verdict makes no sense; the call must not run", reason="malformed")

    async def claim(self, id: str, seconds: int) -> Claimed:  # noqa: A002  # its name on the wire
        """Take an approved call, to run it within `seconds`. Sent once: a claim whose answer is lost may be taken.

        Raises:
            ProxyError: it was not taken; `reason` and `interruption` say what came first.
            ProxyUnreachable: no answer; with `sent` it may have been taken, and nobody may run it.
        """
        answer = await self._send(self._agent, "POST", _path(id, "claim"), {"seconds": seconds}, repeat=False)
        if isinstance(answer, Refusal):
            raise self._error(answer, self._agent)
        token, arguments, record = answer.get("token"), answer.get("arguments"), answer.get("interruption")
        if not isinstance(token, int) or not isinstance(arguments, dict) or not isinstance(record, dict):
            raise ProxyError("the proxy's answer to a claim makes no sense", reason="malformed")
        return Claimed(token, arguments, str(answer.get("until")), record)

    async def outcome(
        self,
        id: str,  # noqa: A002
        *,
        token: int,
        kind: Literal["ok", "tool_error", "failed", "unknown"],
        result: Any = None,
        error: Any = None,
        note: str | None = None,
    ) -> Record:
        """Report what came of a claimed call. The same report again changes nothing.

        Raises:
            ProxyError: refused, such as with `stale_token`.
            ProxyUnreachable: no answer, after several tries.
        """
        said = {"token": token, "kind": kind, "result": result, "error": error, "note": note}
        body = {name: value for name, value in said.items() if value is not None}
        return await self._record(self._agent, "POST", _path(id, "outcome"), body, repeat=True)

    async def get(self, id: str, *, wait: int = 0) -> Record:  # noqa: A002
        """Return one record; with `wait` (seconds, at most 60) once it is not pending any more.

        Raises:
            ProxyError: `not_found`, or refused.
            ProxyUnreachable: no answer, after several tries.
        """
        path = _path(id) + (f"?wait={wait}" if wait else "")
        return await self._record(self._agent, "GET", path, None, repeat=True, seconds=_ANSWER_SECONDS + wait)

    async def find(self, *, run_id: str, state: str | None = None) -> list[Record]:
        """Return every record of a run, newest first; `state` is one state, or several with commas.

        Raises:
            ProxyError, ProxyUnreachable: as for `get`.
        """
        query = {"run_id": run_id, "limit": str(_PAGE), **({} if state is None else {"state": state})}
        found: list[Record] = []
        for _ in range(_MOST_PAGES):
            path = f"/v1/interruptions?{urlencode(query)}"
            answer = await self._send(self._agent, "GET", path, None, repeat=True)
            if isinstance(answer, Refusal):
                raise self._error(answer, self._agent)
            page = answer.get("interruptions")
            if not isinstance(page, list):
                break
            found += page
            cursor = answer.get("next_cursor")
            if cursor is None:
                return found
            query["cursor"] = str(cursor)
        raise ProxyError("the proxy's list of interruptions makes no sense", reason="malformed")

    async def withdraw(self, id: str, reason: str | None = None) -> Record:  # noqa: A002
        """Take back a call of the agent's own; one that is withdrawn already stays so.

        Raises:
            ProxyError: it is past that; `interruption` is the record as it stands.
            ProxyUnreachable: no answer, after several tries.
        """
        try:
            return await self._record(self._agent, "POST", _path(id, "withdraw"), {"reason": reason}, repeat=True)
        except ProxyError as error:
            if error.interruption is not None and error.interruption.get("state") == "withdrawn":
                return dict(error.interruption)
            raise

    # -- as an approver

    async def decide(self, id: str, body: Mapping[str, Any]) -> Record:  # noqa: A002
        """Send a decision: the body of `POST /v1/interruptions/{id}/decision`. The same one again changes nothing.

        Raises:
            UserError: there is no approver's token.
            DecisionConflict: another decision or another end came first (`interruption` is the record), or the call
                was edited since it was looked at.
            ApprovalExpired, DefinitionChanged, OutcomeUnknown, DecisionError: why it was not taken.
            ProxyError, ProxyUnreachable: it was not judged at all, as far as is known.
        """
        if self._approver.token is None:
            raise UserError(
                "deciding needs an approver's token: give `ApprovalProxy(..., approver_token=...)`, or decide on the "
                "review page or with `holdshort approvals`; the agent's token can never decide"
            )
        answer = await self._send(self._approver, "POST", _path(id, "decision"), body, repeat=True)
        if isinstance(answer, Refusal):
            raise decision_error(answer) or self._error(answer, self._approver)
        if answer.get("state") == "unknown":
            raise OutcomeUnknown(
                f"interruption `{id}` was decided before, and nobody knows whether it ran; "
                f"look, then settle it with `holdshort approvals resolve {id}`",
                reason="outcome_unknown",
                interruption=answer,
            )
        return answer

    # -- both

    def events(self, *, after: int | None = None, as_approver: bool = False) -> AsyncGenerator[FeedEvent]:
        """Follow what happens to this agent's calls, or as an approver to everybody's, until it is closed.

        Raises:
            ProxyError: it may not, or this is no proxy.
        """
        who = self._approver if as_approver else self._agent

        def error(refusal: Refusal) -> ProxyError:
            return self._error(refusal, who)

        url = f"{self._url}/v1/interruptions/events"
        return follow(self._connection, url, self._headers(who), after=after, error_of=error)

    async def health(self) -> Health:
        """Return whether calls can be served.

        Raises:
            ProxyUnreachable: nobody answers.
            ProxyError: somebody else does.
        """
        answer = await self._send(_Who("token", None), "GET", "/readyz", None, repeat=False, take_503=True)
        if isinstance(answer, Refusal) or answer.get("status") not in ("ready", "not_ready"):
            raise ProxyError(f"what answers at `{where(self._url)}` is not a holdshort proxy", reason="malformed")
        return Health(answer["status"] == "ready", tuple(str(each) for each in answer.get("missing", ())))

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    # -- one request, as often as it takes

    async def _record(
        self,
        who: _Who,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        repeat: bool,
        seconds: float = _ANSWER_SECONDS,
    ) -> Record:
        answer = await self._send(who, method, path, body, repeat=repeat, seconds=seconds)
        if isinstance(answer, Refusal):
            raise self._error(answer, who)
        if not isinstance(answer.get("id"), str) or not isinstance(answer.get("state"), str):
            raise ProxyError("the proxy's answer is not an interruption", reason="malformed")
        return answer

    async def _send(
        self,
        who: _Who,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        repeat: bool,
        seconds: float = _ANSWER_SECONDS,
        take_503: bool = False,
    ) -> dict[str, Any] | Refusal:
        """Return the answer. Tried again: what certainly did not arrive, what was refused for its pace, and with
        `repeat` what was lost or came at a bad moment."""
        content = None if body is None else encode(body)
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
            return refusal_in(status, value)

    async def _once(
        self, who: _Who, method: str, path: str, content: bytes | None, seconds: float
    ) -> tuple[int, float | None, Any]:
        headers = self._headers(who)
        if content is not None:
            headers["content-type"] = "application/json"
        sending = Sending()
        try:
            with anyio.fail_after(seconds):
                response = await self._connection.open(
                    method, f"{self._url}{path}", headers=headers, content=content, sending=sending
                )
                try:
                    raw = await read_body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise ProxyUnreachable(
                f"the proxy at `{where(self._url)}` did not answer within {seconds:g} seconds", sent=sending.sent
            ) from None
        status = response.status_code
        try:
            value = decoded(raw, f"{method} {path.partition('?')[0]}", status)
        except ProxyError:
            if status < 400:
                raise
            value = None
        return status, _seconds(response.headers.get("retry-after")), value

    def _headers(self, who: _Who) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if who.token is not None:
            headers["authorization"] = f"Bearer {who.token}"
        return headers

    def _error(self, refusal: Refusal, who: _Who) -> ProxyError:
        return proxy_error(refusal, whose=who.named, had_token=who.token is not None)


def _path(id: str, verb: str = "") -> str:  # noqa: A002
    return f"/v1/interruptions/{quote(id, safe='')}" + (f"/{verb}" if verb else "")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 9 else None
