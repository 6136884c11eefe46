"""What both eras of streamable HTTP do alike: a message goes out as one POST, its answer comes as JSON or as events."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import anyio

from holdshort import __version__
from holdshort.gate.upstream.exchanges import answered_ids
from holdshort.gate.upstream.http_client import HttpClient, Origin, Response, header_lines
from holdshort.gate.upstream.link import Emit, StatusFrame, UpstreamLimits, UpstreamProtocol
from holdshort.gate.upstream.noise import Noise
from holdshort.gate.upstream.reading import read_message
from holdshort.gate.upstream.sse import Event, EventParser, EventTooLarge
from holdshort.wire import Frame, Kind, MalformedMessage, RequestId, encode

__all__ = ["Endpoint", "Messages", "answer_of", "unexpected"]

RESENDABLE: Final = frozenset(
    {"ping", "server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list"}
)
"""Requests that may go out a second time when a kept connection was closed under the first; never `tools/call`."""

_ERROR_BODY_BYTES: Final = 64 * 1024
_EVENTS_PER_TURN: Final = 256
_PENALTY_SECONDS: Final = 0.005
_HINTS: Final = {
    401: "; check the credentials in `headers`",
    403: "; check the credentials in `headers`",
    404: "; check the path of `url`, or set `type: sse` if the server only speaks the older transport",
    405: "; check the path of `url`, or set `type: sse` if the server only speaks the older transport",
}


class Endpoint:
    """One MCP endpoint: where it is, what is always sent to it, and the connections there."""

    def __init__(
        self,
        label: str,
        origin: Origin,
        headers: Mapping[str, str],
        *,
        client: HttpClient,
        limits: UpstreamLimits,
        noise: Noise,
    ) -> None:
        self.label = label
        self.origin = origin
        self.limits = limits
        self.noise = noise
        self._client = client
        self._headers = headers
        named = {name.lower() for name in headers}
        agent = "" if "user-agent" in named else f"User-Agent: holdshort/{__version__}\r\n"
        common = f"Host: {origin.host_header}\r\n{agent}Accept-Encoding: identity\r\n".encode()
        common += header_lines(label, headers)
        accept = "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
        self._post = f"POST {origin.target} HTTP/1.1\r\n{accept}".encode() + common
        self._get = f"GET {origin.target} HTTP/1.1\r\nAccept: text/event-stream\r\n".encode() + common
        self._delete = f"DELETE {origin.target} HTTP/1.1\r\n".encode() + common

    def at(self, origin: Origin) -> "Endpoint":
        """Return another endpoint of the same server, with the same headers."""
        return Endpoint(self.label, origin, self._headers, client=self._client, limits=self.limits, noise=self.noise)

    def events(self) -> EventParser:
        """Return a parser for one stream of events."""
        return EventParser(self.limits.message.max_bytes)

    async def post(
        self,
        frame: Frame,
        extra: bytes = b"",
        *,
        on_sent: Callable[[], None] | None = None,
        stream: bool = False,
        seconds: float | None = None,
    ) -> Response:
        """Send one message."""
        body = frame.raw
        head = b"%b%bContent-Length: %d\r\n\r\n" % (self._post, extra, len(body))
        resend = frame.value.get("method") in RESENDABLE
        return await self._client.request(
            self.origin, head, body, on_sent=on_sent, stream=stream, resend=resend, seconds=seconds
        )

    async def listen(self, extra: bytes = b"", *, seconds: float | None = None) -> Response:
        """Open a stream of events."""
        return await self._client.request(self.origin, self._get + extra + b"\r\n", stream=True, seconds=seconds)

    async def delete(self, extra: bytes = b"") -> Response:
        """End a session."""
        seconds = self.limits.headers_seconds
        return await self._client.request(self.origin, self._delete + extra + b"\r\n", seconds=seconds)


class Messages:
    """Iterates over the messages in a stream of events. Garbage between them is skipped.

    Raises:
        UpstreamProtocol: an event is over the limit, or an unusable one answers the request `awaited`.
    """

    def __init__(
        self, endpoint: Endpoint, response: Response, parser: EventParser, awaited: RequestId | None = None
    ) -> None:
        self._endpoint = endpoint
        self._response = response
        self._parser = parser
        self._awaited = awaited
        self._events: deque[Event] = deque()
        self._count = 0
        self._useful = 0

    def __aiter__(self) -> "Messages":
        return self

    async def __anext__(self) -> Frame:
        while True:
            while self._events:
                self._count += 1
                if self._count % _EVENTS_PER_TURN == 0:
                    # A flood takes turns with everybody else, and one of garbage is slowed down.
                    await anyio.sleep(0 if self._useful else _PENALTY_SECONDS)
                    self._useful = 0
                frame = self._read(self._events.popleft())
                if frame is not None:
                    self._useful += 1
                    return frame
            chunk = await self._response.chunk()
            if not chunk:
                raise StopAsyncIteration
            try:
                self._events.extend(self._parser.feed(chunk))
            except EventTooLarge as error:
                raise UpstreamProtocol(self._endpoint.label, f"sent too much at once: {error}") from None

    def _read(self, event: Event) -> Frame | None:
        if event.kind != "message":
            return None
        endpoint = self._endpoint
        try:
            return read_message(event.data, endpoint.limits.message)
        except MalformedMessage as error:
            endpoint.noise.report(error.reason, event.data)
            if any(_same(found, self._awaited) for found in answered_ids(event.data, error)):
                raise UpstreamProtocol(endpoint.label, f"sent an unusable answer: {error.reason}") from None
            return None


async def answer_of(
    endpoint: Endpoint, response: Response, frame: Frame, emit: Emit, parser: EventParser
) -> Frame | None:
    """Read the answer to `frame`; what comes before the response goes to `emit`. None: the events ended without it.

    Raises:
        UpstreamProtocol: this is no answer to the request.
    """
    request_id: RequestId = frame.value["id"]
    if response.status >= 400:
        return await _refusal(endpoint, response, request_id)
    kind = response.media_type
    if response.status != 200 or kind not in ("application/json", "text/event-stream"):
        raise unexpected(endpoint.label, response)
    if kind == "text/event-stream":
        async for found in Messages(endpoint, response, parser, request_id):
            if found.kind is not Kind.RESPONSE:
                await emit(found)
            elif _same(found.value.get("id"), request_id):
                return found
            else:
                endpoint.noise.report("answers no request of this stream", found.raw)
        return None
    raw = await response.read()
    try:
        found = read_message(raw, endpoint.limits.message)
    except MalformedMessage as error:
        endpoint.noise.report(error.reason, raw)
        raise UpstreamProtocol(endpoint.label, f"sent an unusable answer: {error.reason}") from None
    if found.kind is not Kind.RESPONSE or not _same(found.value.get("id"), request_id):
        raise UpstreamProtocol(endpoint.label, "answered another request than the one it was sent")
    return found


def unexpected(label: str, response: Response) -> UpstreamProtocol:
    """Return the failure that names the status, and where a redirect leads, without anything that may be secret."""
    status = response.status
    hint = _HINTS.get(status, "")
    if 300 <= status < 400:
        parts = urlsplit(response.header(b"location"))
        where = f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else parts.path
        hint = f", a redirect to `{ascii(where[:200])[1:-1]}`; redirects are not followed, set `url` to where it leads"
    elif status < 300:
        hint = f" and `{ascii(response.media_type[:80])[1:-1]}`, which is no answer to a request"
    return UpstreamProtocol(label, f"answered with HTTP status {status}{hint}", status=status)


async def _refusal(endpoint: Endpoint, response: Response, request_id: RequestId) -> StatusFrame:
    if response.media_type == "application/json":
        raw = await response.read(_ERROR_BODY_BYTES)
        value = _error_reply(raw, endpoint.limits)
        if value is not None and _same(value["id"], request_id):
            return StatusFrame(value, raw, Kind.RESPONSE, frame_status=response.status)
        if value is not None and value["id"] is None:
            value = {"jsonrpc": "2.0", "id": request_id, "error": value["error"]}
            return StatusFrame(value, encode(value), Kind.RESPONSE, frame_status=response.status)
    raise unexpected(endpoint.label, response)


def _error_reply(raw: bytes, limits: UpstreamLimits) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(raw)
        if isinstance(value, dict):
            # The transport allows an error without any `id` here.
            value.setdefault("id", None)
            frame = read_message(encode(value), limits.message)
            return value if "error" in frame.value else None
    except (ValueError, RecursionError, MalformedMessage):
        return None
    return None


def _same(one: Any, other: Any) -> bool:
    """Whether two ids are one; `7` and `"7"` are not."""
    return type(one) is type(other) and one == other
