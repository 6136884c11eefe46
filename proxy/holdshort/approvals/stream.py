"""The event stream: every change a caller may see, in order, and what was missed after `Last-Event-ID`.

A stream is a view of the store: it remembers nothing, so it may be cut at any time (slow reader, login over,
shutdown) and the reader continues where it was.
"""

import logging
from collections import Counter
from collections.abc import AsyncGenerator
from functools import partial

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from holdshort.approvals.access import Visit, identify
from holdshort.approvals.api import integer, shown_to
from holdshort.approvals.problems import Refused
from holdshort.approvals.waits import Waits
from holdshort.errors import HoldshortError
from holdshort.wire import encode

__all__ = ["EventStreams"]

_log = logging.getLogger(__name__)
_MAX_SEQUENCE = 10**18 - 1


class EventStreams:
    """The open streams of this process."""

    def __init__(self) -> None:
        self._open: Counter[tuple[str, str]] = Counter()
        self._scopes: set[anyio.CancelScope] = set()
        self._closed = False
        self.waits = Waits()
        """Requests that wait for a decision; they end with the streams."""

    @property
    def count(self) -> int:
        return self._open.total()

    def close(self) -> None:
        """End every stream, and every later one at once: a server that stops must not wait for readers."""
        self._closed = True
        self.cut()
        self.waits.close()

    def cut(self) -> None:
        """End every stream that is open now; readers come back for what they miss."""
        for scope in self._scopes:
            scope.cancel()

    async def events(self, visit: Visit) -> Response:
        """Answer the stream. `?after=` does for a first connection what `Last-Event-ID` does for the next ones."""
        given = visit.request.headers.get("last-event-id", visit.request.query_params.get("after"))
        after = None if given is None else integer(given, "last-event-id", default=0, low=0, high=_MAX_SEQUENCE)
        key = (visit.principal.kind.value, visit.principal.name)
        limits = visit.deps.limits
        if self._open[key] >= limits.streams_per_principal:
            raise Refused("rate_limited", "too many event streams are open", headers={"retry-after": "5"})
        if visit.request.method == "HEAD":
            return Response(media_type="text/event-stream")
        sender, receiver = anyio.create_memory_object_stream[ServerSentEvent](limits.event_buffer)
        return EventSourceResponse(
            _closing(receiver),
            ping=limits.keepalive_seconds,
            ping_message_factory=partial(ServerSentEvent, comment="keep-alive"),
            data_sender_callable=partial(self._pump, visit, after, key, sender),
            send_timeout=limits.body_seconds,
        )

    async def _pump(
        self, visit: Visit, after: int | None, key: tuple[str, str], sender: MemoryObjectSendStream[ServerSentEvent]
    ) -> None:
        self._open[key] += 1
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        if self._closed:
            scope.cancel()
        try:
            with sender, scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch_login, visit, scope)
                    await self._follow(visit, after, sender)
                    group.cancel_scope.cancel()
        except* (anyio.BrokenResourceError, HoldshortError) as gone:
            # The answer began long ago: all that is left is to end it, and the reader comes back for the rest.
            _log.info("an event stream ended early: %s", gone.exceptions[0])
        finally:
            self._scopes.discard(scope)
            self._open[key] -= 1

    async def _follow(self, visit: Visit, after: int | None, sender: MemoryObjectSendStream[ServerSentEvent]) -> None:
        principal = visit.principal
        # Sent at once, so that a reader knows from when on it misses nothing.
        first = await visit.deps.store.sequence() if after is None else after
        await sender.send(ServerSentEvent(event="hello", id=str(first), data="{}", retry=1000))
        async with visit.deps.store.subscribe(after=first) as changes:
            async for change in changes:
                record = change.interruption
                if principal.is_agent and record.requested_by.agent != principal.name:
                    continue
                data = encode(shown_to(visit, record)).decode()
                await sender.send(ServerSentEvent(event="interruption", id=str(change.sequence), data=data))

    async def _watch_login(self, visit: Visit, scope: anyio.CancelScope) -> None:
        """End the stream when its login does. Listening is no activity, it does not keep a login alive."""
        while True:
            await anyio.sleep(visit.deps.limits.recheck_seconds)
            try:
                caller = identify(visit.request, visit.deps, touch=False)
            except Refused:
                caller = None
            if caller is None or caller.principal != visit.principal:
                scope.cancel()
                return


async def _closing(receiver: MemoryObjectReceiveStream[ServerSentEvent]) -> AsyncGenerator[ServerSentEvent]:
    """Yield what is received and close it in the end, however the answer ends."""
    with receiver:
        async for event in receiver:
            yield event
