"""Who waits for what on a link that carries many exchanges at once over one stream."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import orjson

from holdshort.gate.upstream.lines import Overlong
from holdshort.gate.upstream.link import Emit, UpstreamError, UpstreamProtocol
from holdshort.wire import Frame, Kind, MalformedMessage, RequestId

__all__ = ["Exchange", "Switchboard", "answered_ids", "progress_token"]

_OWED_LIMIT: Final = 1024
_ID: Final = rb'("(?:[^"\\]|\\.){0,256}"|-?\d{1,20})'
_ID_FIRST = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*' + _ID + rb'\s*,\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?'
    rb'"(?:result|error)"'
)
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*' + _ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')


class Exchange:
    """One request that waits: frames that belong to it, in order, then its response or its failure."""

    __slots__ = ("_error", "_response", "_wake", "frames", "method", "request_id", "sent", "token")

    def __init__(self, request_id: RequestId, method: str, token: str | int | None = None) -> None:
        self.request_id = request_id
        self.method = method
        self.token = token
        self.sent = False
        self.frames: deque[Frame] = deque()
        self._response: Frame | None = None
        self._error: UpstreamError | None = None
        self._wake: asyncio.Future[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether the response or the failure is known."""
        return self._response is not None or self._error is not None

    def add(self, frame: Frame) -> None:
        """Queue a frame that comes before the response."""
        self.frames.append(frame)
        self._rouse()

    def settle(self, response: Frame) -> None:
        """Take the response; the first one counts."""
        if not self.settled:
            self._response = response
            self._rouse()

    def fail(self, error: UpstreamError) -> None:
        """Take a failure, unless the response came first."""
        if not self.settled:
            self._error = error
            self._rouse()

    async def outcome(self, emit: Emit, drained: Callable[[], None] | None = None) -> Frame:
        """Pass the frames to `emit`, then return the response or raise the failure. `drained`: one frame less."""
        while True:
            while self.frames:
                frame = self.frames.popleft()
                if drained is not None:
                    drained()
                await emit(frame)
            if self._response is not None:
                return self._response
            if self._error is not None:
                raise self._error
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Switchboard:
    """Sorts the frames of one stream: responses to whom they answer, progress to whom it belongs, the rest to `pump`.

    Order is kept: a response never overtakes an earlier frame that the session's reader has not taken yet.
    """

    def __init__(
        self,
        label: str,
        *,
        raw: bool,
        limit: int,
        hold: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self._label = label
        self._raw = raw
        self._limit = limit
        self._hold = hold
        self._release = release
        self._held = False
        self._buffered = 0
        self._waiting: dict[RequestId, Exchange] = {}
        self._tokens: dict[Any, Exchange] = {}
        self._owed: dict[RequestId, None] = {}
        self._outbox: deque[Frame | tuple[Exchange, Frame]] = deque()
        self._busy = False
        self._wake: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for a response."""
        return not self._waiting

    def begin(self, frame: Frame) -> Exchange:
        """Enter a request.

        Raises:
            UpstreamProtocol: an earlier request with this id still waits, or was given up and may yet be answered.
        """
        request_id: RequestId = frame.value["id"]
        if request_id in self._waiting:
            raise UpstreamProtocol(self._label, "still works on a request with the same id", sent=False)
        if request_id in self._owed:
            raise UpstreamProtocol(
                self._label, "may yet answer an abandoned request with the same id; use a new one", sent=False
            )
        exchange = Exchange(request_id, frame.value["method"], None if self._raw else progress_token(frame))
        self._waiting[request_id] = exchange
        if exchange.token is not None:
            self._tokens[exchange.token] = exchange
        return exchange

    def end(self, exchange: Exchange) -> bool:
        """Forget an exchange. True when it was sent and given up: the server should be told."""
        self._waiting.pop(exchange.request_id, None)
        if exchange.token is not None and self._tokens.get(exchange.token) is exchange:
            del self._tokens[exchange.token]
        self._count(-len(exchange.frames))
        exchange.frames.clear()
        if exchange.settled or not exchange.sent:
            return False
        self._owed[exchange.request_id] = None
        if len(self._owed) > _OWED_LIMIT:
            del self._owed[next(iter(self._owed))]
        return True

    async def outcome(self, exchange: Exchange, emit: Emit) -> Frame:
        """Wait for the exchange's response."""
        return await exchange.outcome(emit, self._one_less)

    def deliver(self, frame: Frame) -> bool:
        """Sort one frame; False when nobody can want it."""
        if frame.kind is Kind.RESPONSE:
            return self._answer(frame)
        if self._tokens and frame.value.get("method") == "notifications/progress":
            token = frame.value.get("params", {}).get("progressToken")
            owner = self._tokens.get(token) if isinstance(token, str | int) else None
            if owner is not None:
                owner.add(frame)
                self._count(1)
                return True
        self._outbox.append(frame)
        self._count(1)
        self._rouse()
        return True

    def fail(self, request_id: Any, error: UpstreamError) -> bool:
        """Fail the one exchange with this id; False when there is none."""
        exchange = self._waiting.get(request_id) if isinstance(request_id, str | int) else None
        if exchange is None:
            return False
        exchange.fail(error)
        return True

    def fail_all(self, error: UpstreamError) -> None:
        """Fail every exchange whose response has not come; each learns whether its own request was sent."""
        for item in self._outbox:
            if isinstance(item, tuple):
                item[0].settle(item[1])
        for exchange in list(self._waiting.values()):
            exchange.fail(error.again(sent=exchange.sent))

    async def pump(self, on_frame: Emit) -> None:
        """Pass what belongs to no exchange to `on_frame`, for as long as the link lives."""
        while True:
            while self._outbox:
                item = self._outbox.popleft()
                if isinstance(item, tuple):
                    item[0].settle(item[1])
                    continue
                self._busy = True
                await on_frame(item)
                self._busy = False
                self._count(-1)
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _answer(self, frame: Frame) -> bool:
        request_id = frame.value.get("id")
        exchange = self._waiting.get(request_id) if request_id is not None else None
        if exchange is None:
            # The late answer to an exchange that was given up is of no use, but no noise either.
            return request_id is not None and self._owed.pop(request_id, False) is None
        if self._outbox or self._busy:
            self._outbox.append((exchange, frame))
            self._rouse()
        else:
            exchange.settle(frame)
        return True

    def _one_less(self) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        self._buffered += change
        if change > 0:
            if self._buffered >= self._limit and not self._held:
                self._held = True
                self._hold()
        elif self._held and self._buffered <= self._limit // 2:
            self._held = False
            self._release()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def progress_token(frame: Frame) -> str | int | None:
    """Return the token under which the sender wants progress, if it does."""
    params = frame.value.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def answered_ids(line: bytes | Overlong, error: MalformedMessage | None = None) -> tuple[RequestId, ...]:
    """Return the ids of the requests that an unusable line meant to answer, where that is certain enough.

    An id is only taken from where servers write it, before or after everything else at the top of the object, so
    that text inside a result cannot pass for one.
    """
    if error is not None and error.request_id is not None:
        return (error.request_id,)
    if error is not None and error.invalid_request and isinstance(line, bytes) and line.lstrip().startswith(b"["):
        batch = orjson.loads(line)
        ids = [item.get("id") for item in batch if isinstance(item, dict) and "method" not in item]
        return tuple(item for item in ids if isinstance(item, str | int) and not isinstance(item, bool))
    head, tail = (line.head, line.tail) if isinstance(line, Overlong) else (line[:4096], line[-4096:])
    found = _ID_FIRST.match(head) or _ID_LAST.search(tail)
    if found is None:
        return ()
    text = found[1]
    return (text[1:-1].decode("utf-8", "replace") if text.startswith(b'"') else int(text),)
