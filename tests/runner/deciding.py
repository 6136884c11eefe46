"""A person at the proxy, for tests of calls that the agent runs itself. Two take turns: one may do only so many."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

from kit.proxy import APPROVER_TOKEN, SECOND_APPROVER_TOKEN
from runner.stage import Play

__all__ = ["decide", "decided_all", "record_of", "records_of"]

_PEOPLE = cycle([SECOND_APPROVER_TOKEN, APPROVER_TOKEN])


async def decide(play: Play, record: Mapping[str, Any], decision: str = "approve", **more: Any) -> None:
    """Somebody decides, and it is taken."""
    response = await play.stage.proxy.decide(record, decision, token=next(_PEOPLE), **more)
    assert response.status_code == 200, response.text


async def decided_all(play: Play, decision: str = "approve", **more: Any) -> list[dict[str, Any]]:
    """Somebody decides the same about everything that this run waits for."""
    records = await play.waiting()
    for record in records:
        await decide(play, record, decision, **more)
    return records


async def records_of(play: Play) -> list[dict[str, Any]]:
    """Everything that was ever asked about in this run, oldest first."""
    found = await play.stage.proxy.interruptions(run_id=play.run_id)
    return sorted(found, key=lambda record: str(record["created_at"]))


async def record_of(play: Play, call_id: str) -> dict[str, Any]:
    """The one record of a call."""
    [found] = [each for each in await records_of(play) if each["requested_by"]["call_id"] == call_id]
    return await play.stage.proxy.interruption(str(found["id"]))
