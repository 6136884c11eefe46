"""Answers that go wrong on the wire: connections that drop, streams that stop, bodies that end too early."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kit.responses_faults import Cut, ErrorEvent, Garbage, Hold, Stranger
from kit.responses_stream import events, frame

__all__ = ["DroppingProtocol", "Lonely", "Streamed", "Whole"]

StreamFault = Cut | ErrorEvent | Garbage | Hold | Stranger


class DroppingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which lets an application drop its connection."""

    def on_message_begin(self) -> None:
        """Hand the way to drop it to the application."""
        super().on_message_begin()
        self.scope.setdefault("state", {})["drop"] = self.transport.abort


class Lonely(Response):
    """No answer at all: the connection drops."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _drop(scope, receive)


class Whole(Response):
    """A JSON body; `cut` in its middle after headers that promise all of it."""

    def __init__(self, body: Mapping[str, Any], *, cut: bool) -> None:
        super().__init__(json.dumps(body, ensure_ascii=False), media_type="application/json")
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._cut:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        await _drop(scope, receive)


class Streamed(Response):
    """The events of a response, whole or with a fault; `ended` is called when the last byte is out or nobody hears."""

    media_type = "text/event-stream"

    def __init__(
        self,
        response: Mapping[str, Any],
        fault: StreamFault | None,
        *,
        released: Callable[[], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._ended = ended
        self._frames = _frames(response, fault, released)
        self._drops = isinstance(fault, Cut) and not fault.politely

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._frames) as frames:
                async for one in frames:
                    await send({"type": "http.response.body", "body": one, "more_body": True})
        finally:
            self._ended()
        if self._drops:
            await _drop(scope, receive)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _frames(
    response: Mapping[str, Any], fault: StreamFault | None, released: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes]:
    for number, event in enumerate(events(response)):
        whole = frame(event)
        if fault is not None and number == fault.after:
            match fault:
                case Cut(politely=politely):
                    if not politely:
                        yield whole[: len(whole) // 2]
                    return
                case ErrorEvent():
                    yield frame({**fault.event(), "sequence_number": number})
                    return
                case Garbage():
                    yield f'event: {event["type"]}\ndata: {{"type": "{event["type"]}", "seq\n\n'.encode()
                    continue
                case Stranger():
                    yield frame({**fault.event, "sequence_number": number})
                case Hold():
                    await released()
        yield whole


async def _drop(scope: Scope, receive: Receive) -> None:
    # What was written last must leave first: aborting throws away what the kernel has not taken yet.
    await anyio.lowlevel.checkpoint()
    scope["state"]["drop"]()
    while (await receive())["type"] != "http.disconnect":
        continue
