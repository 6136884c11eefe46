"""The proxy's approval endpoint, `/v1`: asking, claiming and reporting as the agent, deciding as an approver.

What the agent does is done with the agent's token, and a decision with the approver's: with one and the same an agent
would approve itself. A request is repeated only where nothing can happen twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from holdshort.runner.connection import Connection, where
from holdshort.runner.errors import OutcomeUnknown, ProxyError, UserError
from holdshort.runner.feed import FeedEvent, follow
from holdshort.runner.refusals import Refusal, decision_error
from holdshort.runner.v1 import ANSWER_SECONDS, NOBODY, Requests, Who

__all__ = ["Asked", "Claimed", "Endpoint", "FeedEvent", "Health", "Record"]

Record = dict[str, Any]
"""One interruption, as the proxy shows it."""

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


class Endpoint:
    """Every route of `/v1` that a run needs."""

    def __init__(
        self, connection: Connection, url: str, *, token: str | None = None, approver_token: str | None = None
    ) -> None:
        self._requests = Requests(connection, url)
        self._agent = Who("token", token)
        self._approver = Who("approver_token", approver_token)

    def __repr__(self) -> str:
        return f"Endpoint({self._requests.url!r})"

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
        seconds = ANSWER_SECONDS + (wait if isinstance(wait, int) else 0)
        answer = await self._requests.send(self._agent, "POST", "/v1/calls", body, repeat=True, seconds=seconds)
        if isinstance(answer, Refusal):
            if answer.code == "denied":
                return Asked("denied", message=answer.message)
            raise self._agent.error(answer)
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
        answer = await self._requests.send(self._agent, "POST", _path(id, "claim"), {"seconds": seconds}, repeat=False)
        if isinstance(answer, Refusal):
            raise self._agent.error(answer)
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
        return await self._requests.record(self._agent, "POST", _path(id, "outcome"), body, repeat=True)

    async def get(self, id: str, *, wait: int = 0) -> Record:  # noqa: A002
        """Return one record; with `wait` (seconds, at most 60) once it is not pending any more.

        Raises:
            ProxyError: `not_found`, or refused.
            ProxyUnreachable: no answer, after several tries.
        """
        path = _path(id) + (f"?wait={wait}" if wait else "")
        return await self._requests.record(self._agent, "GET", path, repeat=True, seconds=ANSWER_SECONDS + wait)

    async def find(self, *, run_id: str, state: str | None = None) -> list[Record]:
        """Return every record of a run, newest first; `state` is one state, or several with commas.

        Raises:
            ProxyError, ProxyUnreachable: as for `get`.
        """
        query = {"run_id": run_id, "limit": str(_PAGE), **({} if state is None else {"state": state})}
        found: list[Record] = []
        for _ in range(_MOST_PAGES):
            path = f"/v1/interruptions?{urlencode(query)}"
            answer = await self._requests.send(self._agent, "GET", path, repeat=True)
            if isinstance(answer, Refusal):
                raise self._agent.error(answer)
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
            return await self._requests.record(
                self._agent, "POST", _path(id, "withdraw"), {"reason": reason}, repeat=True
            )
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
        answer = await self._requests.send(self._approver, "POST", _path(id, "decision"), body, repeat=True)
        if isinstance(answer, Refusal):
            raise decision_error(answer) or self._approver.error(answer)
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
        url = f"{self._requests.url}/v1/interruptions/events"
        return follow(self._requests.connection, url, who.headers(), after=after, error_of=who.error)

    async def health(self) -> Health:
        """Return whether calls can be served.

        Raises:
            ProxyUnreachable: nobody answers.
            ProxyError: somebody else does.
        """
        answer = await self._requests.send(NOBODY, "GET", "/readyz", repeat=False, take_503=True)
        if isinstance(answer, Refusal) or answer.get("status") not in ("ready", "not_ready"):
            raise ProxyError(
                f"what answers at `{where(self._requests.url)}` is not a holdshort proxy", reason="malformed"
            )
        return Health(answer["status"] == "ready", tuple(str(each) for each in answer.get("missing", ())))

    async def close(self) -> None:
        """Close the connections."""
        await self._requests.connection.close()


def _path(id: str, verb: str = "") -> str:  # noqa: A002
    return f"/v1/interruptions/{quote(id, safe='')}" + (f"/{verb}" if verb else "")
