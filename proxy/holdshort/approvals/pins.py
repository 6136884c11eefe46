"""Pins over HTTP: what every tool is pinned to, and accepting a definition that was looked at.

Accepting is for any approver: there is no other role that a proxy knows. It decides about no call; it says that from
now on this definition is the tool.
"""

from typing import Any

import anyio.to_thread

from holdshort.approvals.access import Visit, read_json
from holdshort.approvals.api import ExactJSONResponse, ValueFault, words
from holdshort.approvals.bodies import AcceptPinBody
from holdshort.approvals.problems import Refused
from holdshort.approvals.tally import Tally
from holdshort.policy.lookalikes import Flag, flags_among
from holdshort.store import INSTRUCTIONS, Pin, PinMoved, PinNotFound

__all__ = ["PinsApi"]

_STATES = frozenset({"new", "changed", "pinned"})


class PinsApi:
    """The handlers under `/v1/pins`; no agent may use any of them."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def list(self, visit: Visit) -> ExactJSONResponse:
        """Answer every pin, with what differs and what is odd about it."""
        asked = visit.request.query_params
        known = {"server", "state"}
        for name in asked:
            if name not in known:
                raise ValueFault(name, f"is not a filter; known are {', '.join(sorted(known))}")
        states = frozenset(words(asked.getlist("state"))) or _STATES
        for word in states - _STATES:
            raise ValueFault("state", f"has no value `{word[:40]}`; known are {', '.join(sorted(_STATES))}")
        pins = await visit.deps.store.pins.all()

        def shown() -> list[dict[str, Any]]:
            flags = flags_among((pin.server, pin.tool, pin.seen.words) for pin in pins)
            return [
                _pin_json(pin, flags[pin.server, pin.tool])
                for pin in pins
                if pin.state in states and asked.get("server") in (None, pin.server)
            ]

        # As many and as long as servers made them: not on the event loop.
        return ExactJSONResponse({"pins": await anyio.to_thread.run_sync(shown)})

    async def accept(self, visit: Visit) -> ExactJSONResponse:
        """Accept the definition with the digest that was looked at, and answer the pin as it stands then."""
        self._tally.pace(visit)
        body = await read_json(visit, AcceptPinBody)
        by, at = visit.principal.name, visit.deps.clock()
        try:
            pin = await visit.deps.store.pins.accept(
                body.server, body.tool or INSTRUCTIONS, digest=body.digest, by=by, at=at
            )
        except PinNotFound as error:
            raise Refused("not_found", str(error)) from None
        except PinMoved as error:
            raise Refused("pin_moved", str(error)) from None
        return ExactJSONResponse(
            _pin_json(pin, flags_among([(pin.server, pin.tool, pin.seen.words)])[pin.server, pin.tool])
        )


def _pin_json(pin: Pin, flags: tuple[Flag, ...]) -> dict[str, Any]:
    changed = () if pin.state == "pinned" else pin.changed_lines()
    return {
        **pin.public(),
        "lines": [{"field": each.field, "sign": each.sign, "text": each.text} for each in changed],
        "flags": [{"kind": flag.kind, "where": flag.where, "words": flag.words} for flag in flags],
    }
