"""`input_required` legs of a parked call (MCP 2026-07-28, multi round-trip requests): what goes out sealed comes back.

A leg waits like the call itself, and carries nothing that decides: whatever a client answers to it, the record in the
store is what counts.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from holdshort.gate import answers
from holdshort.gate.exchange import Exchange
from holdshort.gate.seal import LEG_LIFETIME, BrokenSeal, Leg, Sealer
from holdshort.interruption import Interruption
from holdshort.store import Store
from holdshort.wire import Frame, result_reply

__all__ = ["MAX_LEGS", "Legs", "without_review"]

MAX_LEGS: Final = 8
"""Legs for one call; the Python and TypeScript clients give up at ten."""

_REVIEW_KEY: Final = "holdshort-review-"


class Legs:
    """Makes legs and takes them back, each once."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], new_id: Callable[[], str], sealer: Callable[[], Sealer]
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._sealer = sealer

    async def opened(self, exchange: Exchange, fingerprint: str) -> Leg | None:
        """Return the leg that a request brings back, and use it up; None for one that brings none of ours.

        Raises:
            BrokenSeal: it is not one that we made for this agent and call, came too late, or came before.
        """
        state = exchange.params.get("requestState")
        if not isinstance(state, str) or not Sealer.is_ours(state):
            return None
        leg = self._sealer().open(state, agent=exchange.caller.agent, fingerprint=fingerprint, now=self._clock())
        if not await self._store.spend(leg.nonce, leg.until):
            raise BrokenSeal("the `requestState` was used before; send the call again without it")
        return leg

    def waiting(self, exchange: Exchange, record: Interruption, number: int) -> Frame:
        """Return leg `number` of a call that waits for a decision."""
        state = self._sealed(exchange, record, number)
        result: dict[str, Any] = {"resultType": "input_required", "requestState": state}
        if exchange.peer.opens_urls() and record.review_url:
            # A pointer to our page, nothing more: what the client answers to it decides nothing.
            params = {"mode": "url", "url": record.review_url, "message": answers.pending_text(record)}
            result["inputRequests"] = {f"{_REVIEW_KEY}{number}": {"method": "elicitation/create", "params": params}}
        result["_meta"] = {answers.INTERRUPTION_KEY: answers.interruption_meta(record)}
        return Frame(result_reply(exchange.id, result))

    def asking(self, exchange: Exchange, record: Interruption, wanted: dict[str, Any], token: int) -> Frame:
        """Return what a running call's server asks for, with its state inside ours."""
        theirs, meta = wanted.get("requestState"), wanted.get("_meta")
        state = self._sealed(exchange, record, 0, theirs if isinstance(theirs, str) else None, token)
        said = {**(meta if isinstance(meta, dict) else {}), answers.INTERRUPTION_KEY: answers.interruption_meta(record)}
        return Frame(result_reply(exchange.id, {**wanted, "requestState": state, "_meta": said}))

    def _sealed(
        self, exchange: Exchange, record: Interruption, number: int, state: str | None = None, token: int | None = None
    ) -> str:
        leg = Leg(
            interruption=record.id,
            agent=exchange.caller.agent,
            fingerprint=record.requested_fingerprint,
            number=number,
            nonce=self._new_id(),
            until=self._clock() + LEG_LIFETIME,
            upstream_state=state,
            token=token,
        )
        return self._sealer().seal(leg)


def without_review(params: dict[str, Any]) -> dict[str, Any]:
    """Return params without our own `requestState` and the answers to our url requests: no server asked for either."""
    if Sealer.is_ours(params.get("requestState")):
        params = {key: value for key, value in params.items() if key != "requestState"}
    responses = params.get("inputResponses")
    if not isinstance(responses, dict) or not any(key.startswith(_REVIEW_KEY) for key in responses):
        return params
    kept = {key: value for key, value in responses.items() if not key.startswith(_REVIEW_KEY)}
    params = {key: value for key, value in params.items() if key != "inputResponses"}
    return {**params, "inputResponses": kept} if kept else params
