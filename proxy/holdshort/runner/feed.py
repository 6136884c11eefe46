"""The proxy's event stream, followed for as long as somebody wants. No call whose state changed is missed.

An event is a hint: a call that changed twice while nobody listened is told once, as it is by then. Who acts on it reads
the record again.

Each connection is read until something happened, and closed before that is told. A reader who is left at a `yield`,
and may be forgotten there, holds nothing that has to be closed; the next connection goes on after the last event.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from holdshort.errors import WireError
from holdshort.runner.connection import Connection, Patience, chunks_of, decoded, read_body
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.refusals import Refusal, refusal_in
from holdshort.runner.sse import EventReader, ServerEvent

__all__ = ["FeedEvent", "follow"]

_SILENCE_SECONDS: Final = 90.0
"""Several keep-alives: a connection that says nothing for so long is dead, even if nobody said so."""
_LONGEST_PAUSE_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One change. The first one has no `record`: it says from where on nothing is missed."""

    sequence: int
    record: dict[str, Any] | None


async def follow(
    connection: Connection,
    url: str,
    headers: Mapping[str, str],
    *,
    after: int | None,
    error_of: Callable[[Refusal], ProxyError],
) -> AsyncGenerator[FeedEvent]:
    """Yield what happens after the sequence `after`, or from now on; lost connections are made anew.

    It ends when it is closed, or when a wait for its next event is cancelled; then `after` takes up where it was.

    Raises:
        ProxyError: the proxy refuses it, or this is none.
    """
    last, opened = after, False
    patience = Patience(longest_seconds=_LONGEST_PAUSE_SECONDS, budget_seconds=math.inf)
    while True:
        told = {**headers, "accept": "text/event-stream"}
        if last is not None:
            told["last-event-id"] = str(last)
        pause = 0.0
        happened: list[FeedEvent] = []
        try:
            response = await connection.open("GET", url, headers=told, idle_seconds=_SILENCE_SECONDS)
            try:
                if response.status_code == 200:
                    happened = await _happened(response, opening=not opened)
                else:
                    pause = await _refused(response, error_of)
            finally:
                await response.aclose()
        except ProxyUnreachable:
            pass  # whoever closes this, or cancels the wait for its next event, says when it has been long enough
        for each in happened:
            opened = True
            last = each.sequence
            yield each
        if happened:
            patience.reset()
        else:
            await patience.pause(pause)


async def _happened(response: httpx2.Response, *, opening: bool) -> list[FeedEvent]:
    """Return the events that come together first; with `opening` the one that opens the stream is one of them."""
    reader = EventReader()
    async with aclosing(chunks_of(response)) as chunks:
        async for chunk in chunks:
            try:
                found = [_event(each) for each in reader.feed(chunk)]
            except WireError as error:
                raise ProxyError(str(error), reason="malformed") from None
            events = [each for each in found if each is not None and (opening or each.record is not None)]
            if events:
                return events
    return []


async def _refused(response: httpx2.Response, error_of: Callable[[Refusal], ProxyError]) -> float:
    """Return after how many seconds to try again.

    Raises:
        ProxyError: trying again does not help.
    """
    status = response.status_code
    if status == 429 or status >= 500:
        later = response.headers.get("retry-after", "")
        return min(float(later), _LONGEST_RETRY_SECONDS) if later.isascii() and later.isdigit() else 0.0
    raw = await read_body(response)
    try:
        value = decoded(raw, "events", status)
    except ProxyError:
        value = None
    raise error_of(refusal_in(status, value))


def _event(event: ServerEvent) -> FeedEvent | None:
    if event.kind not in ("hello", "interruption") or event.id is None or not event.id.isdigit():
        return None
    record = decoded(event.data, "events", 200)
    if event.kind == "hello":
        return FeedEvent(int(event.id), None)
    if not isinstance(record, dict):
        raise ProxyError("an event of the proxy is not an interruption", reason="malformed")
    return FeedEvent(int(event.id), record)
