"""HTTP with server-sent events (2024-11-05): one stream carries every answer, messages are posted to a second URL."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin

import anyio
from anyio.abc import TaskGroup

from holdshort.gate.upstream.exchanges import Exchange, Switchboard, answered_ids
from holdshort.gate.upstream.http_client import Origin, Response
from holdshort.gate.upstream.link import (
    NO_HEADERS,
    Emit,
    Era,
    UpstreamError,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from holdshort.gate.upstream.posting import Endpoint, unexpected
from holdshort.gate.upstream.reading import read_message
from holdshort.gate.upstream.sse import Event, EventParser, EventTooLarge
from holdshort.wire import Frame, MalformedMessage

__all__ = ["LegacySseLink"]

_EVENTS_PER_TURN: Final = 256
_PENALTY_SECONDS: Final = 0.005


class LegacySseLink:
    """One session. `start` opens the stream; the link ends when the stream does."""

    era: Era = "legacy"

    def __init__(self, endpoint: Endpoint, url: str, *, tasks: TaskGroup, on_frame: Emit) -> None:
        self.label = endpoint.label
        self.closed = anyio.Event()
        self.failure: UpstreamError | None = None
        self._get = endpoint
        self._url = url
        self._post: Endpoint | None = None
        self._tasks = tasks
        self._on_frame = on_frame
        self._room = anyio.Event()
        self._room.set()
        self._board = Switchboard(
            self.label, raw=False, limit=endpoint.limits.buffered_frames, hold=self._hold, release=self._release
        )

    async def start(self) -> None:
        """Open the stream and wait until the server says where to post.

        Raises:
            UpstreamError: it does not.
        """
        seconds = self._get.limits.headers_seconds
        parser = self._get.events()
        response = await self._get.listen(seconds=seconds)
        try:
            if response.status != 200 or response.media_type != "text/event-stream":
                raise unexpected(self.label, response)
            with anyio.fail_after(seconds):
                events = await self._endpoint_event(response, parser)
        except TimeoutError:
            response.close(abort=True)
            raise UpstreamTimeout(self.label, f"did not say where to post within {seconds:g} seconds") from None
        except BaseException:
            response.close(abort=True)
            raise
        self._tasks.start_soon(self._board.pump, self._on_frame)
        self._tasks.start_soon(self._read, response, parser, events)

    async def request(self, frame: Frame, emit: Emit, *, headers: Mapping[str, str] = NO_HEADERS) -> Frame:
        """Run one exchange; see `Link.request`."""
        self._check()
        exchange = self._board.begin(frame)
        try:
            # The answer may come before the POST is answered, so nobody waits for that.
            self._tasks.start_soon(self._post_request, frame, exchange)
            return await self._board.outcome(exchange, emit)
        finally:
            if self._board.end(exchange) and exchange.method != "initialize" and not self.closed.is_set():
                self._tasks.start_soon(self._cancel, exchange.request_id)

    async def send(self, frame: Frame) -> None:
        """Send a notification or a response."""
        response = await self._check().post(frame, seconds=self._get.limits.headers_seconds)
        try:
            if response.status >= 300:
                raise unexpected(self.label, response)
        finally:
            response.close()

    async def close(self) -> None:
        """End the conversation."""
        self._end(None)

    def _check(self) -> Endpoint:
        if self.closed.is_set() or self._post is None:
            raise self.failure.again(sent=False) if self.failure else UpstreamLost(self.label, "is closed", sent=False)
        return self._post

    async def _post_request(self, frame: Frame, exchange: Exchange) -> None:
        def on_sent() -> None:
            exchange.sent = True

        try:
            response = await self._check().post(frame, on_sent=on_sent)
        except UpstreamError as error:
            exchange.fail(error)
            return
        try:
            if response.status >= 300:
                exchange.fail(unexpected(self.label, response))
        finally:
            response.close()

    async def _cancel(self, request_id: str | int) -> None:
        value = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
        try:
            await self.send(Frame(value))
        except UpstreamError as error:
            self._get.noise.report(f"did not take a cancellation: {error.reason}")

    async def _endpoint_event(self, response: Response, parser: EventParser) -> list[Event]:
        while True:
            chunk = await response.chunk()
            if not chunk:
                raise UpstreamLost(self.label, "ended the stream before it said where to post", sent=False)
            try:
                events = parser.feed(chunk)
            except EventTooLarge as error:
                raise UpstreamProtocol(self.label, f"sent too much at once: {error}", sent=False) from None
            for number, event in enumerate(events):
                if event.kind == "endpoint":
                    self._post = self._get.at(self._origin(event.data))
                    return events[number + 1 :]

    def _origin(self, data: bytes) -> Origin:
        """Return where to post. Another origin would get our credentials, so there is none."""
        text = data.decode("utf-8", "replace").strip()
        try:
            origin = Origin(self.label, urljoin(self._url, text))
        except (UpstreamUnreachable, ValueError):
            raise UpstreamProtocol(self.label, "named no usable address to post to", sent=False) from None
        if origin.key != self._get.origin.key:
            raise UpstreamProtocol(self.label, "named an address at another origin to post to", sent=False)
        return origin

    async def _read(self, response: Response, parser: EventParser, events: list[Event]) -> None:
        failure: UpstreamError = UpstreamLost(self.label, "ended its stream")
        try:
            await self._take(events)
            while chunk := await response.chunk():
                await self._take(parser.feed(chunk))
        except EventTooLarge as error:
            failure = UpstreamProtocol(self.label, f"sent too much at once: {error}")
        except UpstreamError as error:
            failure = error
        finally:
            response.close(abort=True)
            self._end(failure)

    async def _take(self, events: list[Event]) -> None:
        useful = 0
        for number, event in enumerate(events, 1):
            useful += event.kind == "message" and self._message(event.data)
            if number % _EVENTS_PER_TURN == 0:
                # A flood takes turns with everybody else, and one of garbage is slowed down.
                await anyio.sleep(0 if useful else _PENALTY_SECONDS)
                useful = 0
            await self._room.wait()

    def _message(self, data: bytes) -> bool:
        noise = self._get.noise
        try:
            frame = read_message(data, self._get.limits.message)
        except MalformedMessage as error:
            noise.report(error.reason, data)
            unusable = UpstreamProtocol(self.label, f"sent an unusable answer: {error.reason}")
            for request_id in answered_ids(data, error):
                self._board.fail(request_id, unusable)
            return False
        if not self._board.deliver(frame):
            noise.report("answers no request that waits", data)
            return False
        return True

    def _end(self, failure: UpstreamError | None) -> None:
        if self.closed.is_set():
            return
        self.failure = failure
        self.closed.set()
        self._board.fail_all(failure or UpstreamLost(self.label, "was closed before it answered"))

    def _hold(self) -> None:
        self._room = anyio.Event()

    def _release(self) -> None:
        self._room.set()
