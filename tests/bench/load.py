"""What is asked of a target and what came back: every reply is checked, and a call without one is a failure.

A `Target` (HTTP in `load_http`, pipes in `load_stdio`) keeps as many calls in flight as the run wants; the `Run` hands
out the calls, keeps the times, and ends by count or by clock, whichever comes first.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import orjson

__all__ = [
    "INITIALIZE",
    "INITIALIZED",
    "PROTOCOL_VERSION",
    "EchoCalls",
    "ListCalls",
    "Load",
    "Measured",
    "Run",
    "Target",
    "TargetError",
    "Workload",
    "is_initialized",
    "message",
]

PROTOCOL_VERSION: Final = "2025-11-25"
_ARGUMENT_BYTES: Final = 200
_GRACE_SECONDS: Final = 10.0
"""How long a run waits for calls that are still in flight when its time is up."""

INITIALIZE: Final = orjson.dumps(
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        },
    }
)
INITIALIZED: Final = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})


class TargetError(Exception):
    """Raised when a target does not get as far as answering calls; it says what it did instead."""


class Workload(Protocol):
    """One kind of request, made from its number, and the check of its reply."""

    def request(self, number: int) -> bytes: ...
    def holds(self, number: int, reply: dict[str, Any]) -> bool: ...


@dataclass(frozen=True, slots=True)
class EchoCalls:
    """`tools/call` of the echo tool with about 200 bytes of arguments that differ in every call."""

    tool: str = "echo"
    size: int = 0
    """Bytes of text wanted back; 0: the text as sent."""

    def request(self, number: int) -> bytes:
        size = b',"size":%d' % self.size if self.size else b""
        return (
            b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b","arguments":{"text":"%b"%b}}}'
        ) % (number, self.tool.encode(), _text(number).encode(), size)

    def holds(self, number: int, reply: dict[str, Any]) -> bool:
        result = reply.get("result", {})
        content = result.get("content")
        if reply.get("id") != number or not content or result.get("isError"):
            return False
        text: str = content[0].get("text", "")
        if self.size:
            return len(text) == self.size and text.startswith(_text(number))
        return text == _text(number)


@dataclass(frozen=True, slots=True)
class ListCalls:
    """`tools/list` of a known number of tools in one page."""

    tools: int

    def request(self, number: int) -> bytes:
        return b'{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":{}}' % number

    def holds(self, number: int, reply: dict[str, Any]) -> bool:
        return reply.get("id") == number and len(reply.get("result", {}).get("tools", ())) == self.tools


def _text(number: int) -> str:
    return f"call {number:09d} ".ljust(_ARGUMENT_BYTES, ".")


@dataclass(frozen=True, slots=True)
class Load:
    """How hard and how long: ends after `calls` calls or `seconds` seconds."""

    in_flight: int
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to. Latencies are from the request's write to the reply's last byte, in seconds."""

    calls: int
    failures: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Good calls per second."""
        return (self.calls - self.failures) / self.seconds if self.seconds else 0.0


class Run:
    """The calls of one run: numbers out, replies in. Targets call `take` and `settle` from protocol callbacks."""

    def __init__(self, workload: Workload, load: Load, first_number: int) -> None:
        self.workload = workload
        self.load = load
        self._next = first_number
        self._last = first_number + load.calls
        self._idle = 0
        self._taken = 0
        self._good = 0
        self._latencies: list[int] = []
        self._started = time.perf_counter_ns()
        self._deadline = self._started + int(load.seconds * 1e9)
        self._ended = self._started
        self._over = asyncio.Event()

    def take(self) -> int | None:
        """Return the next call's number, or None for this lane of the run when there is no more."""
        number = self._next
        if number >= self._last or time.perf_counter_ns() >= self._deadline:
            self._idle += 1
            if self._idle >= self.load.in_flight:
                self._over.set()
            return None
        self._next = number + 1
        self._taken += 1
        return number

    def settle(self, number: int, nanoseconds: int, reply: dict[str, Any]) -> None:
        """Keep the time of one call if its reply is the right one; otherwise it stays a failure."""
        self._ended = time.perf_counter_ns()
        if self.workload.holds(number, reply):
            self._good += 1
            self._latencies.append(nanoseconds)

    def lose_lane(self) -> None:
        """Count one lane out: its connection is gone."""
        self._idle += 1
        if self._idle >= self.load.in_flight:
            self._over.set()

    async def finish(self) -> Measured:
        """Wait for the run's end, bounded, and sum it up."""
        try:
            async with asyncio.timeout(self.load.seconds + _GRACE_SECONDS):
                await self._over.wait()
        except TimeoutError:
            self._ended = time.perf_counter_ns()
        ordered = sorted(self._latencies)
        return Measured(
            calls=self._taken,
            failures=self._taken - self._good,
            seconds=(self._ended - self._started) / 1e9,
            p50=_percentile(ordered, 0.50),
            p99=_percentile(ordered, 0.99),
        )


def _percentile(ordered: list[int], share: float) -> float:
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e9


class Target(Protocol):
    """One open conversation with a proxy or an upstream."""

    async def measure(self, workload: Workload, load: Load) -> Measured: ...
    async def aclose(self) -> None: ...


def message(raw: bytes) -> dict[str, Any]:
    """Decode one reply; what is no JSON object is an empty one, which no check accepts."""
    try:
        value: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def is_initialized(reply: dict[str, Any]) -> bool:
    """Say whether `reply` answers `INITIALIZE` as a server would that goes on to serve."""
    return "protocolVersion" in reply.get("result", {})
