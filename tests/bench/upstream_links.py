"""Calls per second of the links alone, without a gate: a stdio child, the shared child, and HTTP, all echoing.

    python tests/bench/upstream_links.py [--seconds 3] [--at-once 32] [--loop uvloop|asyncio]

The echo servers do as little as can be done, so that the figures are those of the links (and of the cores they share).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from holdshort.config import ServerConfig
from holdshort.gate.upstream import Link, Upstream
from holdshort.wire import Frame

ECHO_CHILD = """
import os, re
find = re.compile(rb'"id":([0-9]+)').search
text = b',"result":{"content":[{"type":"text","text":"%s"}]}}\\n' % (b"x" * 200)
rest = b""
while chunk := os.read(0, 1 << 18):
    lines = (rest + chunk).split(b"\\n")
    rest = lines.pop()
    ids = [found[1] for found in map(find, lines) if found]
    os.write(1, b"".join(b'{"jsonrpc":"2.0","id":' + number + text for number in ids))
"""
ECHO_HTTP = """
import asyncio, re
find = re.compile(rb'"id":([0-9]+)').search
text = b',"result":{"content":[{"type":"text","text":"%s"}]}}' % (b"x" * 200)
import sys
events = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        body = b'{"jsonrpc":"2.0","id":' + find(data)[1] + text
        if sys.argv[1] == "events":
            self.transport.write(events + b"%x\\r\\ndata: %s\\n\\n\\r\\n0\\r\\n\\r\\n" % (len(body) + 8, body))
        else:
            self.transport.write(head % (len(body), body))
async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""


class Silent:
    """A log that says nothing."""

    def debug(self, event: str, /, **facts: Any) -> None: ...
    def info(self, event: str, /, **facts: Any) -> None: ...
    def warning(self, event: str, /, **facts: Any) -> None: ...
    def error(self, event: str, /, **facts: Any) -> None: ...


async def ignore(frame: Frame) -> None:
    """Notifications are no part of this."""


def call(number: int) -> Frame:
    """Return one call of about 200 bytes."""
    params = {"name": "echo", "arguments": {"text": "y" * 120}, "_meta": {}}
    return Frame({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


async def measure(name: str, link: Link, seconds: float, at_once: int) -> None:
    """Print calls per second with `at_once` callers, and the median time of one caller alone."""
    alone: list[float] = []
    for number in range(300):
        started = time.perf_counter()
        await link.request(call(number), ignore)
        alone.append(time.perf_counter() - started)
    count = 0
    until = time.perf_counter() + seconds

    async def caller(first: int) -> None:
        nonlocal count
        number = first
        while time.perf_counter() < until:
            await link.request(call(number), ignore)
            number += at_once
            count += 1

    started, busy = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as tasks:
        for index in range(at_once):
            tasks.start_soon(caller, 1000 + index)
    took, busy = time.perf_counter() - started, time.process_time() - busy
    median = sorted(alone)[len(alone) // 2] * 1000
    print(
        f"{name:34} {count / took:9,.0f} calls/s   {busy / count * 1e6:5.1f} us of our CPU each   alone {median:.3f} ms"
    )


async def with_http(answers: str, work: Callable[[ServerConfig], Awaitable[None]]) -> None:
    """Run `work` beside an HTTP echo server that answers with `json` or with `events`."""
    async with await anyio.open_process([sys.executable, "-c", ECHO_HTTP, answers]) as process:
        if process.stdout is None:
            raise RuntimeError("the echo server has no output")
        port = int(await process.stdout.receive())
        await work(ServerConfig(label="echo", transport="http", url=f"http://127.0.0.1:{port}/mcp"))
        process.terminate()


async def main(seconds: float, at_once: int) -> None:
    """Measure every kind of link."""
    print(f"{at_once} at once, {type(asyncio.get_running_loop()).__module__}, {Path(sys.executable).name}")
    config = ServerConfig(label="echo", transport="stdio", command=sys.executable, args=("-c", ECHO_CHILD))
    async with Upstream(config, log=Silent()).run() as upstream:
        async with upstream.open(ignore) as link:
            await measure("stdio, a child of one's own", link, seconds, at_once)
        async with upstream.dedicated(ignore) as link:
            await measure("stdio, raw", link, seconds, at_once)
        await measure("stdio, the shared child", upstream.shared(), seconds, at_once)

    for answers in ("json", "events"):

        async def over_http(config: ServerConfig, answers: str = answers) -> None:
            async with Upstream(config, log=Silent()).run() as upstream:
                async with upstream.open(ignore) as link:
                    await measure(f"streamable HTTP, a session, {answers}", link, seconds, at_once)
                await measure(f"streamable HTTP, modern, {answers}", upstream.shared(), seconds, at_once)

        await with_http(answers, over_http)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    given = parser.parse_args()
    anyio.run(
        main, given.seconds, given.at_once, backend="asyncio", backend_options={"use_uvloop": given.loop == "uvloop"}
    )
