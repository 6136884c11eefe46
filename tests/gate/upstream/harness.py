"""What the tests of the links share: servers that misbehave on command, and something that listens to what comes."""

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from holdshort.config import ServerConfig
from holdshort.gate.upstream import Link, Upstream, UpstreamLimits
from holdshort.wire import Frame, Limits

SERVERS = Path(__file__).parent / "servers"

MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}

QUICK = UpstreamLimits(
    connect_seconds=2, headers_seconds=0.5, stop_seconds=0.5, restart_seconds=0.1, restart_max_seconds=0.2
)
"""The defaults, with less patience."""


class Notes:
    """A log that remembers."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []

    def debug(self, event: str, /, **facts: Any) -> None:
        self.entries.append((event, facts))

    info = warning = error = debug

    def of(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.entries if name == event]

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))


class Heard:
    """An `Emit` that keeps what it gets."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._more = anyio.Event()

    async def __call__(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._more.set()
        self._more = anyio.Event()

    @property
    def values(self) -> list[dict[str, Any]]:
        return [frame.value for frame in self.frames]

    async def wait_for(self, count: int) -> None:
        with anyio.fail_after(10):
            while len(self.frames) < count:
                await self._more.wait()


async def deaf(frame: Frame) -> None:
    """An `Emit` for those who do not care."""


def small(max_bytes: int) -> UpstreamLimits:
    return UpstreamLimits(message=Limits(max_bytes=max_bytes, max_string_bytes=max_bytes), stop_seconds=0.5)


def stdio_spy(*options: str, label: str = "spy", **more: Any) -> ServerConfig:
    args = (str(SERVERS / "stdio_spy.py"), *options)
    return ServerConfig(label=label, transport="stdio", command=sys.executable, args=args, **more)


def upstream(config: ServerConfig, limits: UpstreamLimits = QUICK, log: Notes | None = None) -> Upstream:
    return Upstream(config, log=log or Notes(), limits=limits)


@asynccontextmanager
async def http_server(script: str, *options: str) -> AsyncGenerator[int, None]:
    """Run a server of `servers/` and yield its port."""
    async with await anyio.open_process([sys.executable, str(SERVERS / script), *options], stderr=None) as process:
        try:
            assert process.stdout is not None
            with anyio.fail_after(20):
                yield int(await process.stdout.receive())
        finally:
            process.kill()


def http_spy(port: int, *, label: str = "spy", path: str = "/mcp", **more: Any) -> ServerConfig:
    return ServerConfig(label=label, transport="http", url=f"http://127.0.0.1:{port}{path}", **more)


def request(method: str, number: Any = 1, params: dict[str, Any] | None = None) -> Frame:
    value: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
    if params is not None:
        value["params"] = params
    return Frame(value)


def call(name: str, number: Any = 1, *, meta: dict[str, Any] | None = None, **arguments: Any) -> Frame:
    params = {"name": name, "arguments": arguments, "_meta": {**MODERN_META, **(meta or {})}}
    return request("tools/call", number, params)


def initialize() -> Frame:
    info = {"name": "test", "version": "1"}
    return request("initialize", 0, {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})


def initialized() -> Frame:
    return Frame({"jsonrpc": "2.0", "method": "notifications/initialized"})


async def ask(link: Link, frame: Frame, emit: Any = deaf, *, seconds: float = 10, **headers: Any) -> dict[str, Any]:
    """Run one exchange and return its result."""
    with anyio.fail_after(seconds):
        answer = await link.request(frame, emit, **headers)
    assert answer.value["id"] == frame.value["id"]
    assert type(answer.value["id"]) is type(frame.value["id"])
    result: dict[str, Any] = answer.value["result"]
    return result


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that its reaper has not looked at yet runs no more.
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what no event tells."""
    with anyio.fail_after(10):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await anyio.sleep(0.005)


async def until_gone(pid: int) -> None:
    await until(lambda: not alive(pid))
