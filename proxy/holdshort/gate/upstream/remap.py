"""One child for all agents, in the modern era: ids, progress tokens and subscription ids are ours on its pipes.

Agents choose the same ids (1, 2, 3), so what goes in is renumbered, and what comes out gets back exactly what its
owner had sent, type included. A child that dies is started again by the next exchange, not sooner than its pause.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio

from holdshort.gate.upstream.backoff import Backoff
from holdshort.gate.upstream.exchanges import Exchange, answered_ids, progress_token
from holdshort.gate.upstream.lines import Overlong
from holdshort.gate.upstream.link import (
    NO_HEADERS,
    Emit,
    Era,
    Log,
    UpstreamBackoff,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
)
from holdshort.gate.upstream.noise import Noise
from holdshort.gate.upstream.process import Child
from holdshort.gate.upstream.reading import read_message
from holdshort.gate.upstream.stdio import cancelled
from holdshort.wire import MCP_META_PREFIX, Frame, Kind, MalformedMessage, encode, error_reply

__all__ = ["SharedChild"]

SUBSCRIPTION: Final = f"{MCP_META_PREFIX}subscriptionId"
LOG_LEVEL: Final = f"{MCP_META_PREFIX}logLevel"

_ID_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)')
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')
_STABLE_SECONDS: Final = 60.0
_AFTER_CANCELLED_SECONDS: Final = 0.5

Spawn = Callable[[Callable[[bytes | Overlong], bool], Callable[[str], None]], Awaitable[Child]]
"""Starts a child, given who takes its lines and its death."""


class _Shared(Exchange):
    """An exchange, with what its owner calls things."""

    __slots__ = ("number", "wants_logs")

    def __init__(self, number: int, frame: Frame) -> None:
        super().__init__(frame.value["id"], frame.value["method"], progress_token(frame))
        self.number = number
        self.wants_logs = LOG_LEVEL in _meta(frame.value)


class _Run:
    """One life of the child: an exchange never outlives the child it was sent to."""

    child: Child

    def __init__(self, label: str, log: Noise, limits: UpstreamLimits, on_end: Callable[["_Run"], None]) -> None:
        self._label = label
        self._noise = log
        self._limits = limits
        self._on_end = on_end
        self.failure: UpstreamError | None = None
        self.since = anyio.current_time()
        self.useful = False
        self.waiting: dict[int, _Shared] = {}
        self._owed: dict[int, None] = {}

    def end(self, exchange: _Shared) -> bool:
        """Forget an exchange; True when the child should be told that it was given up."""
        self.waiting.pop(exchange.number, None)
        if exchange.settled or not exchange.sent:
            return False
        self._owed[exchange.number] = None
        if len(self._owed) > 1024:
            del self._owed[next(iter(self._owed))]
        return True

    def on_line(self, line: bytes | Overlong) -> bool:
        """Take one line of the child's output; False when it was of no use."""
        if not line or line == b"\r":
            return False
        if isinstance(line, Overlong):
            reason = f"{line.size} bytes; at most {self._limits.message.max_bytes} are read"
            self._unusable(line, reason, answered_ids(line), whose_unknown=True)
            return False
        try:
            frame = read_message(line, self._limits.message)
        except MalformedMessage as error:
            self._unusable(line, error.reason, answered_ids(line, error))
            return False
        if frame.kind is Kind.RESPONSE:
            useful = self._answer(frame)
        elif frame.kind is Kind.NOTIFICATION:
            useful = self._notification(frame)
        else:
            # MCP 2026-07-28: servers do not send requests. Answered, so that the server does not wait for ever.
            useful = False
            refusal = error_reply(frame.value["id"], -32600, "this revision has no requests from servers")
            if not self.child.full:
                self.child.write(encode(refusal) + b"\n")
        if useful:
            self.useful = True
        else:
            self._noise.report(f"a {frame.kind.value} that belongs to no exchange", line)
        return useful

    def on_death(self, how: str) -> None:
        """Fail everything that waits: the child is gone."""
        self.failure = UpstreamLost(self._label, how)
        for exchange in list(self.waiting.values()):
            exchange.fail(self.failure.again(sent=exchange.sent))
        self._on_end(self)

    def _answer(self, frame: Frame) -> bool:
        number = frame.value.get("id")
        exchange = self.waiting.get(number) if isinstance(number, int) else None
        if exchange is None:
            return isinstance(number, int) and self._owed.pop(number, False) is None
        exchange.settle(_restored_answer(frame, exchange))
        return True

    def _notification(self, frame: Frame) -> bool:
        method = frame.value["method"]
        params = frame.value.get("params", {})
        owner: _Shared | None = None
        if method == "notifications/progress":
            owner = self._owner(params.get("progressToken"))
            if owner is not None and owner.token is not None:
                return self._add(owner, frame, {"progressToken": owner.token}, {})
            return False
        meta = params.get("_meta")
        if isinstance(meta, dict) and SUBSCRIPTION in meta:
            owner = self._owner(meta[SUBSCRIPTION])
            again = {"requestId": owner.request_id} if owner is not None and "requestId" in params else {}
            return owner is not None and self._add(owner, frame, again, {SUBSCRIPTION: owner.request_id})
        if method == "notifications/cancelled":
            # The server ends a subscription this way (2026-07-28, cancellation).
            owner = self._owner(params.get("requestId"))
            if owner is None or not self._add(owner, frame, {"requestId": owner.request_id}, {}):
                return False
            # A response may still follow; where none does, nobody must wait for it.
            ended = UpstreamLost(self._label, "ended the subscription")
            asyncio.get_running_loop().call_later(_AFTER_CANCELLED_SECONDS, owner.fail, ended)
            return True
        if method == "notifications/message":
            # It does not say whose it is, so it is passed on only where one exchange alone can have caused it.
            wanting = [exchange for exchange in self.waiting.values() if exchange.wants_logs]
            if len(wanting) == 1:
                return self._add(wanting[0], frame, {}, {})
        return False

    def _owner(self, number: Any) -> _Shared | None:
        if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 20:
            number = int(number)
        return self.waiting.get(number) if isinstance(number, int) else None

    def _add(self, owner: _Shared, frame: Frame, params: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
        if len(owner.frames) >= self._limits.buffered_frames:
            # One slow reader must not make the child wait for it, since others wait for the child.
            self._noise.report("more notifications than their reader takes", frame.raw)
            return True
        owner.add(_restored(frame, params, meta) if params or meta else frame)
        return True

    def _unusable(
        self, line: bytes | Overlong, reason: str, ids: tuple[Any, ...], *, whose_unknown: bool = False
    ) -> None:
        self._noise.report(reason, line.head if isinstance(line, Overlong) else line)
        failure = UpstreamProtocol(self._label, f"sent an unusable answer: {reason}")
        owners = [owner for owner in map(self._owner, ids) if owner is not None]
        if not ids and whose_unknown:
            owners = [owner for owner in self.waiting.values() if owner.method != "subscriptions/listen"]
        for owner in owners:
            owner.fail(failure.again(sent=owner.sent))


class SharedChild:
    """The modern link of a server that is a child of ours."""

    era: Era = "modern"

    def __init__(
        self,
        label: str,
        *,
        log: Log,
        limits: UpstreamLimits,
        monotonic: Callable[[], float],
        spawn: Spawn,
    ) -> None:
        self.label = label
        self.closed = anyio.Event()
        self.failure: UpstreamError | None = None
        self.restarts = 0
        self._limits = limits
        self._log = log
        self._noise = Noise(label, log=log, monotonic=monotonic)
        self._monotonic = monotonic
        self._spawn = spawn
        self._run: _Run | None = None
        self._lock = anyio.Lock()
        self._number = 0
        self._backoff = Backoff(limits.restart_seconds, limits.restart_max_seconds)
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of the child, while there is one."""
        return self._run.child.pid if self._run is not None else None

    @property
    def backing_off(self) -> bool:
        """Whether a dead child is not started again yet."""
        return self._run is None and self._monotonic() < self._not_before

    async def request(self, frame: Frame, emit: Emit, *, headers: Mapping[str, str] = NO_HEADERS) -> Frame:
        """Run one exchange; see `Link.request`. Headers mean nothing to a child."""
        run = self._run or await self._start()
        child = run.child
        self._number += 1
        exchange = _Shared(self._number, frame)
        run.waiting[exchange.number] = exchange
        try:
            line = encode(_renumbered(frame.value, exchange.number, exchange.token is not None)) + b"\n"
            if child.full:
                await child.room()
            if run.failure is not None:
                raise run.failure.again(sent=False)
            exchange.sent = True
            child.write(line)
            return await exchange.outcome(emit)
        finally:
            if run.end(exchange) and not child.full:
                child.write(cancelled(exchange.number))

    async def send(self, frame: Frame) -> None:
        """Send a notification; one about a request makes no sense here, since ids are ours."""
        if frame.value.get("method") == "notifications/cancelled":
            return
        run = self._run or await self._start()
        await run.child.room()
        run.child.write(encode(frame.value) + b"\n")

    async def close(self) -> None:
        """Stop the child for good."""
        self.closed.set()
        run, self._run = self._run, None
        if run is not None:
            await run.child.stop()

    async def _start(self) -> _Run:
        async with self._lock:
            if self.closed.is_set():
                raise UpstreamLost(self.label, "is closed", sent=False)
            if self._run is not None:
                return self._run
            pause = self._not_before - self._monotonic()
            if pause > 0:
                why = f"; it {self.failure.reason}" if self.failure is not None else ""
                raise UpstreamBackoff(self.label, f"is started again in {pause:.1f} seconds{why}")
            run = _Run(self.label, self._noise, self._limits, self._ended)
            try:
                run.child = await self._spawn(run.on_line, run.on_death)
            except UpstreamError as error:
                self.failure = error
                self._not_before = self._monotonic() + self._backoff.fail()
                raise
            if run.failure is not None:
                raise run.failure.again(sent=False)
            self._run = run
            return run

    def _ended(self, run: _Run) -> None:
        if self._run is run:
            self._run = None
        if self.closed.is_set():
            return
        self.failure = run.failure
        self.restarts += 1
        if run.useful and anyio.current_time() - run.since > _STABLE_SECONDS:
            self._backoff.reset()
        self._not_before = self._monotonic() + self._backoff.fail()
        reason = run.failure.reason if run.failure is not None else ""
        self._log.warning("upstream.died", server=self.label, why=reason, restarts=self.restarts)


def _meta(value: Mapping[str, Any]) -> Mapping[str, Any]:
    params = value.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _renumbered(value: dict[str, Any], number: int, has_token: bool) -> dict[str, Any]:
    """Return the request under our number, which is its progress token as well. The value itself stays as it is."""
    value = {**value, "id": number}
    if has_token:
        params = value["params"]
        value["params"] = {**params, "_meta": {**params["_meta"], "progressToken": number}}
    return value


def _restored(frame: Frame, params: Mapping[str, Any], meta: Mapping[str, Any]) -> Frame:
    """Return the notification with its owner's names for things. Read anew: the fast reader rounds large integers."""
    value = json.loads(frame.raw)
    value["params"].update(params)
    if meta:
        value["params"]["_meta"].update(meta)
    return Frame(value, encode(value), frame.kind)


def _restored_answer(frame: Frame, exchange: _Shared) -> Frame:
    """Return the response under its owner's id. The bytes of the result stay as they are, wherever that can be done."""
    request_id = exchange.request_id
    result = frame.value.get("result")
    if exchange.method == "subscriptions/listen" and result is not None and SUBSCRIPTION in (result.get("_meta") or {}):
        value = json.loads(frame.raw)
        value["id"] = request_id
        value["result"]["_meta"][SUBSCRIPTION] = request_id
        return Frame(value, encode(value), Kind.RESPONSE)
    raw = frame.raw
    first, last = _ID_FIRST.match(raw), _ID_LAST.search(raw, max(0, len(raw) - 256))
    found = first or last
    if found is None or (first and last) or int(found[1]) != exchange.number:
        value = json.loads(raw)
        value["id"] = request_id
        return Frame(value, encode(value), Kind.RESPONSE)
    frame.value["id"] = request_id
    return Frame(frame.value, raw[: found.start(1)] + encode(request_id) + raw[found.end(1) :], Kind.RESPONSE)
