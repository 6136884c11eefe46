"""Streamable HTTP up to 2025-11-25: one session, a POST per message, and a stream for what belongs to no request."""

from collections.abc import Mapping
from typing import Final

import anyio
from anyio.abc import TaskGroup

from holdshort.gate.upstream.backoff import Backoff
from holdshort.gate.upstream.http_client import Response, header_lines
from holdshort.gate.upstream.link import (
    NO_HEADERS,
    Emit,
    Era,
    Log,
    SessionGone,
    UpstreamError,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from holdshort.gate.upstream.posting import Endpoint, Messages, answer_of, unexpected
from holdshort.gate.upstream.sse import EventParser
from holdshort.wire import Frame, Kind

__all__ = ["LegacyHttpLink"]

_RETRY_SECONDS: Final = 1.0
_SHORTEST_SECONDS: Final = 0.05
_LONG_SECONDS: Final = 10.0
_TRUSTED_RETRIES: Final = 5
_GET_NOT_OFFERED: Final = frozenset({400, 404, 405, 406, 501})
_CLOSE_SECONDS: Final = 2.0
_STREAM_SECONDS: Final = 0.5


class LegacyHttpLink:
    """One session. It starts with the `initialize` that its owner sends, and ends with a DELETE."""

    era: Era = "legacy"

    def __init__(self, endpoint: Endpoint, *, log: Log, tasks: TaskGroup, on_frame: Emit, backoff: Backoff) -> None:
        self.label = endpoint.label
        self.closed = anyio.Event()
        self.failure: UpstreamError | None = None
        self._endpoint = endpoint
        self._log = log
        self._tasks = tasks
        self._on_frame = on_frame
        self._backoff = backoff
        self._session: str | None = None
        self._session_headers = b""
        self._listening = False
        self._answered = anyio.Event()

    async def request(self, frame: Frame, emit: Emit, *, headers: Mapping[str, str] = NO_HEADERS) -> Frame:
        """Run one exchange; see `Link.request`."""
        self._check()
        sent = False

        def on_sent() -> None:
            nonlocal sent
            sent = True

        extra = self._session_headers + header_lines(self.label, headers)
        initializing = frame.value["method"] == "initialize"
        parser = self._endpoint.events()
        response: Response | None = None
        answer: Frame | None = None
        abandoned = not initializing
        try:
            response = await self._endpoint.post(frame, extra, on_sent=on_sent)
            if response.status == 404 and self._session is not None:
                raise self._gone()
            session = response.header(b"mcp-session-id") if initializing else ""
            answer = await self._answer(response, frame, emit, parser)
            while answer is None:
                response.close()
                response = await self._resume(parser)
                answer = await self._answer(response, frame, emit, parser)
            abandoned = False
            if initializing:
                self._begin(session, answer)
            return answer
        except UpstreamError:
            abandoned = False
            raise
        finally:
            if response is not None:
                response.close(abort=answer is None)
            if abandoned and sent and not self.closed.is_set():
                # Closing the connection means nothing here; only the notification does.
                self._tasks.start_soon(self._cancel, frame.value["id"])

    async def send(self, frame: Frame) -> None:
        """Send a notification or a response."""
        self._check()
        response = await self._endpoint.post(
            frame, self._session_headers, seconds=self._endpoint.limits.headers_seconds
        )
        try:
            if response.status == 404 and self._session is not None:
                raise self._gone()
            if response.status >= 300:
                raise unexpected(self.label, response)
        finally:
            response.close()
        if frame.value.get("method") == "notifications/initialized" and not self._listening:
            self._listening = True
            self._tasks.start_soon(self._listen)
            # A server drops what it has to say on a stream that is not there yet; so the first call waits a little.
            with anyio.move_on_after(_STREAM_SECONDS):
                await self._answered.wait()

    async def close(self) -> None:
        """End the session; the server is told, but not waited for long."""
        if self.closed.is_set():
            return
        self.closed.set()
        if self._session is None:
            return
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                (await self._endpoint.delete(self._session_headers)).close()
            except UpstreamError as error:
                self._log.debug("upstream.session_not_ended", server=self.label, why=error.reason)

    def _check(self) -> None:
        if self.closed.is_set():
            raise self.failure.again(sent=False) if self.failure else UpstreamLost(self.label, "is closed", sent=False)

    def _begin(self, session: str, answer: Frame) -> None:
        result = answer.value.get("result")
        if result is None:
            return
        lines: dict[str, str] = {}
        if session:
            if not session.isascii() or not session.isprintable() or len(session) > 1024:
                raise UpstreamProtocol(self.label, "gave a session id that is not visible ASCII")
            self._session = session
            lines["Mcp-Session-Id"] = session
        version = result.get("protocolVersion")
        if isinstance(version, str) and version.isascii() and version.isprintable() and len(version) <= 64:
            lines["MCP-Protocol-Version"] = version
        self._session_headers = header_lines(self.label, lines)

    def _gone(self) -> SessionGone:
        gone = SessionGone(self.label, "has ended the session; initialize again")
        if not self.closed.is_set():
            self.failure = gone
            self.closed.set()
        return gone

    async def _answer(self, response: Response, frame: Frame, emit: Emit, parser: EventParser) -> Frame | None:
        try:
            return await answer_of(self._endpoint, response, frame, emit, parser)
        except UpstreamLost:
            if parser.last_id is None:
                raise
            # It was cut, but where is known, so it can go on from there.
            return None

    async def _resume(self, parser: EventParser) -> Response:
        """Go on with a stream that ended early (2025-11-25, transports: the server may close it, the client polls)."""
        if parser.last_id is None:
            raise UpstreamLost(self.label, "ended its answer before the response")
        await anyio.sleep(_RETRY_SECONDS if parser.retry_ms is None else max(parser.retry_ms / 1000, _SHORTEST_SECONDS))
        try:
            response = await self._endpoint.listen(self._since(parser.last_id))
        except UpstreamUnreachable as error:
            raise UpstreamLost(self.label, f"ended its answer early, and then {error.reason}") from None
        if response.status != 200 or response.media_type != "text/event-stream":
            failure = unexpected(self.label, response)
            response.close(abort=True)
            raise UpstreamLost(self.label, f"ended its answer early, and then {failure.reason}")
        return response

    def _since(self, last_id: str | None) -> bytes:
        if not last_id:
            return self._session_headers
        try:
            return self._session_headers + header_lines(self.label, {"Last-Event-ID": last_id})
        except (UpstreamProtocol, UnicodeEncodeError):
            return self._session_headers

    async def _cancel(self, request_id: str | int) -> None:
        value = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
        try:
            await self.send(Frame(value))
        except UpstreamError as error:
            self._log.debug("upstream.cancel_not_sent", server=self.label, why=error.reason)

    async def _listen(self) -> None:
        """Pass on what comes on the session's own stream, for as long as the server offers it."""
        backoff = self._backoff
        last_id: str | None = None
        while not self.closed.is_set():
            parser = self._endpoint.events()
            since = anyio.current_time()
            try:
                response = await self._endpoint.listen(self._since(last_id))
                self._answered.set()
                try:
                    if not self._streams(response):
                        return
                    async for frame in Messages(self._endpoint, response, parser):
                        backoff.reset()
                        if frame.kind is Kind.RESPONSE:
                            self._endpoint.noise.report("answers no request of this stream", frame.raw)
                        else:
                            await self._on_frame(frame)
                finally:
                    response.close(abort=True)
                    last_id = parser.last_id or last_id
            except (UpstreamLost, UpstreamProtocol, UpstreamTimeout, UpstreamUnreachable) as error:
                self._log.debug("upstream.stream_ended", server=self.label, why=error.reason)
            self._answered.set()
            if anyio.current_time() - since > _LONG_SECONDS:
                # Something on the way closes quiet streams: no failure of the server.
                backoff.reset()
            pause = backoff.fail()
            if parser.retry_ms is not None and backoff.failures <= _TRUSTED_RETRIES:
                pause = max(parser.retry_ms / 1000, _SHORTEST_SECONDS)
            await anyio.sleep(pause)

    def _streams(self, response: Response) -> bool:
        """Whether there is a stream at all; False also when the session is gone."""
        if response.status == 200 and response.media_type == "text/event-stream":
            return True
        if response.status == 404 and self._session is not None:
            self._gone()
            return False
        if response.status >= 500 and response.status not in _GET_NOT_OFFERED:
            raise unexpected(self.label, response)
        self._log.debug("upstream.no_stream", server=self.label, status=response.status)
        return False
