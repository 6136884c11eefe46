"""What thousands of parked calls cost, and how soon a decision reaches the upstream.

    python tests/bench/parked.py [--calls 10000] [--held 10000] [--json]

Three scenes: calls parked and left in the store; calls parked and held open; a call held by `wrap` and decided at a
`serve` that shares its state folder. The upstream stamps arrivals with the clock that every process here shares.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.children import Child, environment, free_port, started, weigh
from bench.holdshort_rows import APPROVER_TOKENS, COMMAND, LABEL, options, write_config
from bench.lanes import Lane, Place
from bench.load import Load, message
from bench.load_http import HttpTarget, Rest
from bench.load_stdio import StdioTarget
from bench.place import lane_place

__all__ = ["main"]

_DECISIONS = 200
_ACROSS = 50
_LIST_PAGES = 30
_SPARE_FILES = 500
_SETTLE_SECONDS = 1.0
_WAIT_SECONDS = 120.0

_PATIENCE: dict[str, Any] = {
    "hold": {"default": "10m"},
    "limits": {
        "pending_per_agent": 20_000,
        "pending_per_server": 20_000,
        "pending_total": 20_000,
    },
}
_ASK = [{"id": "ask", "tools": ["*__echo"], "action": "ask"}]


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure and its goal."""

    what: str
    figure: float
    unit: str
    goal: str = ""


@dataclass(frozen=True, slots=True)
class ParkCalls:
    """Calls that policy parks and whose client does not wait."""

    def request(self, number: int) -> bytes:
        return _call(number, {"holdshort/park": "now"})

    def holds(self, number: int, reply: dict[str, Any]) -> bool:
        result = reply.get("result", {})
        return bool(result.get("isError") and "holdshort/interruption" in result.get("_meta", {}))


def _call(number: int, meta: dict[str, Any] | None = None) -> bytes:
    params: dict[str, Any] = {"name": "echo", "arguments": {"text": _text(number), "stamp": True}}
    if meta is not None:
        params["_meta"] = meta
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def _text(number: int) -> str:
    return f"parked {number:06d} ".ljust(200, ".")


async def stored(place: Place, calls: int) -> list[Fact]:
    """Park calls and leave them; read a page, decide some."""
    async with _serve(place, "stored") as child:
        target = await HttpTarget.open(f"http://127.0.0.1:{child.port}/mcp/{LABEL}")
        before = weigh(child.pid).resident_bytes
        parked = await target.measure(ParkCalls(), Load(32, calls, _WAIT_SECONDS))
        await anyio.sleep(_SETTLE_SECONDS)
        after = weigh(child.pid).resident_bytes
        rest = await Rest.open(child.port, APPROVER_TOKENS)
        pages = [await _timed(rest.get("/v1/interruptions?state=pending&limit=100")) for _ in range(_LIST_PAGES)]
        records = (await rest.get(f"/v1/interruptions?state=pending&limit={_DECISIONS}"))["interruptions"]
        decisions = [await _timed(_approve(rest, record)) for record in records]
        rest.close()
        await target.aclose()
    return [
        Fact(f"parked calls, of {calls}", parked.calls - parked.failures, ""),
        Fact("parks a second, 32 in flight", parked.rate, "/s"),
        Fact("memory of the parked calls, stored", (after - before) / 2**20, "MiB", "≤ 150"),
        Fact("a list page of 100, p50", _percentile(pages, 0.5) * 1e3, "ms", "≤ 50"),
        Fact("a list page of 100, p99", _percentile(pages, 0.99) * 1e3, "ms"),
        Fact("a decision, p99", _percentile(decisions, 0.99) * 1e3, "ms", "≤ 50"),
    ]


async def held(place: Place, calls: int) -> list[Fact]:
    """Park calls that are held open; decide some and see how soon they arrive."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    calls = min(calls, files - _SPARE_FILES)
    async with _serve(place, "held") as child:
        target = await HttpTarget.open(f"http://127.0.0.1:{child.port}/mcp/{LABEL}")
        rest = await Rest.open(child.port, APPROVER_TOKENS)
        before = weigh(child.pid).resident_bytes
        waiting = {_text(number): await target.ask(_call(number)) for number in range(1, calls + 1)}
        records = await _pending(rest, _text(calls))
        await anyio.sleep(_SETTLE_SECONDS)
        after = weigh(child.pid).resident_bytes
        delays: list[float] = []
        for record in records[:_DECISIONS]:
            decided_at = time.monotonic_ns()
            await _approve(rest, record)
            async with asyncio.timeout(_WAIT_SECONDS):
                _, _, body = await waiting[record["arguments"]["text"]]
            delays.append((_arrival(message(body)) - decided_at) / 1e9)
        early = sum(future.done() for future in waiting.values()) - len(delays)
        rest.close()
        for future in waiting.values():
            future.cancel()
        await target.aclose()
    return [
        Fact(f"calls held open, of {calls}", calls - early, ""),
        Fact("memory of the held calls, each on its connection", (after - before) / 2**20, "MiB", "≤ 150"),
        Fact("decision → dispatch in one process, p50", _percentile(delays, 0.5) * 1e3, "ms"),
        Fact("decision → dispatch in one process, p95", _percentile(delays, 0.95) * 1e3, "ms", "≤ 20"),
    ]


async def across(place: Place) -> list[Fact]:
    """Hold calls in `wrap`, decide them at `serve`."""
    async with _serve(place, "across") as child:
        folder = place.folder / "across"
        command = [*COMMAND, "wrap", *options(folder / "holdshort.yaml"), "--", *place.upstream_command]
        target = await StdioTarget.open(command, environment(), folder / "wrap.log")
        rest = await Rest.open(child.port, APPROVER_TOKENS)
        delays: list[float] = []
        try:
            for number in range(1, _ACROSS + 1):
                reply = target.ask(_call(number))
                (record, *_) = await _pending(rest, _text(number))
                decided_at = time.monotonic_ns()
                await _approve(rest, record)
                async with asyncio.timeout(_WAIT_SECONDS):
                    delays.append((_arrival(await reply) - decided_at) / 1e9)
        finally:
            rest.close()
            await target.aclose()
    return [
        Fact("decision → dispatch across processes, p50", _percentile(delays, 0.5) * 1e3, "ms"),
        Fact("decision → dispatch across processes, p95", _percentile(delays, 0.95) * 1e3, "ms", "≤ 100"),
    ]


@asynccontextmanager
async def _serve(place: Place, name: str) -> AsyncGenerator[Child]:
    port = free_port()
    folder = place.folder / name
    config = write_config(folder, {"url": place.upstream_url}, port=port, rules=_ASK, **_PATIENCE)
    async with started([*COMMAND, "serve", *options(config)], port, folder / "serve.log") as child:
        yield child


async def _approve(rest: Rest, record: dict[str, Any]) -> None:
    body = {"decision": "approve", "fingerprint": record["fingerprint"]}
    await rest.post(f"/v1/interruptions/{record['id']}/decision", body)


async def _pending(rest: Rest, newest: str) -> list[dict[str, Any]]:
    """Return pending interruptions, newest first, once the one with the text `newest` is there."""
    async with asyncio.timeout(_WAIT_SECONDS):
        while True:
            records: list[dict[str, Any]] = (await rest.get("/v1/interruptions?state=pending&limit=200"))[
                "interruptions"
            ]
            if any(record["arguments"]["text"] == newest for record in records):
                return records
            await anyio.sleep(0.02)


async def _timed(work: Any) -> float:
    before = time.perf_counter()
    await work
    return time.perf_counter() - before


def _arrival(reply: dict[str, Any]) -> int:
    stamp: int = reply["result"]["_meta"]["bench/at"]
    return stamp


def _percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def measure(calls: int, hold: int) -> list[Fact]:
    """Play the three scenes."""
    async with lane_place(Lane.HTTP_HTTP, 10) as place:
        return [*await stored(place, calls), *await held(place, hold), *await across(place)]


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description="measure parked calls")
    parser.add_argument("--calls", type=int, default=10_000, help="calls left in the store")
    parser.add_argument("--held", type=int, default=10_000, help="calls held open; bounded by the limit of open files")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    facts = anyio.run(measure, asked.calls, asked.held, backend_options={"use_uvloop": True})
    if asked.json:
        print(json.dumps({fact.what: fact.figure for fact in facts}, indent=2, ensure_ascii=False))
        return
    print("| what | figure | goal |\n|---|---:|---:|")
    for fact in facts:
        print(f"| {fact.what} | {fact.figure:,.1f} {fact.unit} | {fact.goal} |".replace(".0  |", " |"))


if __name__ == "__main__":
    main()
