"""The proxy's event stream, followed over any number of connections: nothing is missed, nothing is told twice.

An event is a hint that something changed; its record is what it was then. Who acts on it reads it again.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import anyio

from holdshort.errors import WireError
from holdshort.runner.connection import Connection, Patience, chunks_of, decoded, read_body
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.refusals import Refusal, refusal_in
from holdshort.runner.sse import EventReader, ServerEvent

__all__ = ["FeedEvent", "follow"]

_SILENCE_SECONDS: Final = 90.0
"""Several keep-alives: a connection that says nothing for so long is dead, even if nobody said so."""
_REFUSAL_SECONDS: Final = 30.0
_LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One change. Without a `record` it says that the stream is open: from here on nothing is missed."""

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
    """Yield what happens after the sequence `after`, or from now on; it comes back whenever the connection is lost.

    It ends when it is closed, and its waits with it; no scope is open while it is left at a `yield`.

    Raises:
        ProxyError: the proxy refuses it.
    """
    last = after
    patience = Patience(longest_seconds=_LONGEST_PAUSE_SECONDS, budget_seconds=math.inf)
    while True:
        told = {**headers, "accept": "text/event-stream"}
        if last is not None:
            told["last-event-id"] = str(last)
        pause = 0.0
        try:
            response = await connection.open("GET", url, headers=told, idle_seconds=_SILENCE_SECONDS)
            try:
                if response.status_code == 200:
                    reader = EventReader()
                    async with aclosing(chunks_of(response)) as chunks:
                        async for chunk in chunks:
                            for event in _events(reader, chunk):
                                happened = _happened(event)
                                if happened is None:
                                    continue
                                patience.reset()
                                last = happened.sequence
                                yield happened
                else:
                    pause = await _refused(response, error_of)
            finally:
                await response.aclose()
        except ProxyUnreachable:
            pass  # the next connection goes on where this one ended
        # Ended by whoever closes the generator, or cancels the wait for its next event.
        await patience.pause(pause)


async def _refused(response: Any, error_of: Callable[[Refusal], ProxyError]) -> float:
    """Return after how many seconds to try again.

    Raises:
        ProxyError: trying again does not help.
    """
    status = response.status_code
    later = response.headers.get("retry-after", "")
    if status == 429 or status >= 500:
        return min(float(later), 60.0) if later.isascii() and later.isdigit() and len(later) < 9 else 0.0
    with anyio.move_on_after(_REFUSAL_SECONDS):
        raw = await read_body(response)
        try:
            raise error_of(refusal_in(status, decoded(raw, "events", status)))
        except ProxyError as error:
            raise error from None
    return 0.0


def _events(reader: EventReader, chunk: bytes) -> list[ServerEvent]:
    try:
        return reader.feed(chunk)
    except WireError as error:
        raise ProxyError(str(error), reason="malformed") from None


def _happened(event: ServerEvent) -> FeedEvent | None:
    if event.kind not in ("hello", "interruption") or event.id is None or not event.id.isdigit():
        return None
    record = decoded(event.data, "events", 200)
    if event.kind == "hello":
        return FeedEvent(int(event.id), None)
    if not isinstance(record, dict):
        raise ProxyError("an event of the proxy is not an interruption", reason="malformed")
    return FeedEvent(int(event.id), record)
