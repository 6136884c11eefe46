"""Pipes: one client, one server of its own; whatever comes in, only messages go out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from gate.world import LEGACY, MODERN, World, world
from holdshort.gate.front.stdio import StdioFront
from holdshort.interruption import State
from holdshort.policy import Caller
from holdshort.wire import Limits
from kit.process import alive, until

SERVER = Path(__file__).parents[1] / "pipe_server.py"
META = "io.modelcontextprotocol/"


class Pipes:
    """The client's ends."""

    def __init__(self, proxy: World, to_proxy: int, from_proxy: int) -> None:
        self.proxy = proxy
        self._in = os.fdopen(to_proxy, "wb", buffering=0)
        self._out = os.fdopen(from_proxy, "rb")
        self.heard: list[dict[str, Any]] = []
        self.ended = anyio.Event()

    async def write(self, raw: bytes) -> None:
        await anyio.to_thread.run_sync(self._in.write, raw)

    async def send(self, message: Any) -> None:
        await self.write(json.dumps(message).encode() + b"\n")

    async def next(self) -> dict[str, Any]:
        """The next message; every line must be one."""
        with anyio.fail_after(10):
            line = await anyio.to_thread.run_sync(self._out.readline, abandon_on_cancel=True)
        found: dict[str, Any] = json.loads(line)
        assert found["jsonrpc"] == "2.0"
        self.heard.append(found)
        return found

    async def reply_to(self, number: Any) -> dict[str, Any]:
        """The response with this id; what comes before it is kept in `heard`."""
        while True:
            found = await self.next()
            if "method" not in found and found["id"] == number and type(found["id"]) is type(number):
                return found

    async def ask(self, method: str, number: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        await self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return await self.reply_to(number)

    async def call(self, name: str, number: Any, **arguments: Any) -> dict[str, Any]:
        return await self.ask("tools/call", number, {"name": name, "arguments": arguments})

    async def hello(self) -> None:
        info = {"name": "test", "version": "1"}
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info}
        assert "result" in await self.ask("initialize", "hello", params)
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def close_input(self) -> None:
        self._in.close()

    def close(self) -> None:
        self._in.close()
        self._out.close()


@asynccontextmanager
async def piped(folder: Path, **config: Any) -> AsyncGenerator[Pipes]:
    """A client at the pipes of a proxy that wraps the server of this module."""
    entry = {"pipes": {"command": sys.executable, "args": [str(SERVER)]}}
    async with world(folder, commands=entry, **config) as proxy:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        front = StdioFront(
            proxy.core.gate,
            "pipes",
            Caller("local"),
            open_link=lambda label, on_frame: proxy.core.upstreams[label].dedicated(on_frame),
            make_catalog=proxy.core.make_catalog,
            limits=Limits(max_bytes=100_000),
            log=proxy.log,
        )
        pipes = Pipes(proxy, ours_in, ours_out)

        async def serve() -> None:
            await front.serve(os.fdopen(theirs_in, "rb"), os.fdopen(theirs_out, "wb", buffering=0))
            pipes.ended.set()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                yield pipes
                pipes.close_input()
                with anyio.fail_after(10):
                    await pipes.ended.wait()
        finally:
            pipes.close()


def given(reply: dict[str, Any]) -> Any:
    return json.loads(reply["result"]["content"][0]["text"])["given"]


async def test_calls_and_answers_pass(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()

        assert given(await pipes.call("read_echo", 1, x=1.5)) == {"x": 1.5}
        assert given(await pipes.call("read_echo", "1", n=12345678901234567890123)) == {"n": 12345678901234567890123}


@pytest.mark.parametrize(
    ("raw", "code", "number"),
    [
        (b"garbage\n", -32700, None),
        (b"{]\n", -32700, None),
        (b"\xff\xfe\n", -32700, None),
        (b"   \n", -32700, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","method":"ping"}\n', -32700, None),
        (b'{"jsonrpc":"2.0","id":5}\n', -32600, 5),
        (b'[{"jsonrpc":"2.0","id":5,"method":"ping"}]\n', -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n', -32600, None),
        (b'{"x":"' + b"a" * 200_000 + b'"}\n', -32600, None),
        (b'{"\\ud800":1,"\\ud800":1}\n', -32700, None),
    ],
    ids=["words", "json", "bytes", "blanks", "duplicate", "shape", "batch", "null id", "overlong", "half a character"],
)
async def test_a_line_that_is_no_message_is_answered_and_the_next_one_works(
    tmp_path: Path, raw: bytes, code: int, number: Any
) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        await pipes.write(raw)
        refused = await pipes.next()

        assert (refused["error"]["code"], refused["id"]) == (code, number)
        assert given(await pipes.call("read_echo", 1)) == {}


async def test_line_ends_of_any_kind_and_empty_lines_are_no_matter(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        await pipes.write(b'\n\r\n\n{"jsonrpc":"2.0","id":1,"method":"tools/list"}\r\n')

        assert "result" in await pipes.reply_to(1)


async def test_a_line_in_pieces_is_one_line(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        for piece in (b'{"jsonrpc":"2.0",', b'"id":1,"method"', b':"tools/list"}', b"\n"):
            await pipes.write(piece)

        assert "result" in await pipes.reply_to(1)


async def test_noise_of_the_server_does_not_reach_the_client(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        await pipes.call("read_garbage", 1)

        assert given(await pipes.call("read_echo", 2)) == {}


async def test_an_answer_that_comes_while_others_wait_finds_its_request(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        await pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "write"}})
        (record,) = await pipes.proxy.pending()
        assert given(await pipes.call("read_echo", 2)) == {}
        await pipes.proxy.approve(record)

        assert given(await pipes.reply_to(1)) == {}


async def test_a_parked_call_can_be_cancelled(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        await pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "write"}})
        (record,) = await pipes.proxy.pending()
        await pipes.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})

        await pipes.proxy.reaches(record.id, State.WITHDRAWN)


async def test_a_client_that_closes_its_end_ends_the_server_and_what_it_started(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        child = int((await pipes.call("read_child", 1))["result"]["content"][0]["text"])
        server = json.loads((await pipes.call("read_echo", 2))["result"]["content"][0]["text"])["pid"]
        assert alive(child)
        pipes.close_input()
        with anyio.fail_after(15):
            await pipes.ended.wait()
        await until(lambda: not alive(server) and not alive(child), "the end of the server and its child")


async def test_a_client_that_closes_while_its_call_waits_leaves_it_for_the_next(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        await pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "write"}})
        (record,) = await pipes.proxy.pending()
        pipes.close_input()
        with anyio.fail_after(10):
            await pipes.ended.wait()

        assert (await pipes.proxy.get(record.id)).state is State.PENDING
        await pipes.proxy.nobody_holds()


async def test_a_server_that_dies_is_started_again_for_the_next_call(tmp_path: Path) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()
        died = await pipes.call("read_exit", 1)

        assert died["error"]["code"] == -31_000
        assert given(await pipes.call("read_echo", 2)) == {}
        assert {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"} in pipes.heard


async def test_a_server_that_reports_progress_is_not_silent(tmp_path: Path) -> None:
    """On raw pipes progress belongs to no exchange; it counts as a sign of life all the same."""
    async with piped(tmp_path, limits={"upstream_timeout": "600ms"}) as pipes:
        await pipes.hello()
        params = {"name": "read_ticks", "arguments": {"ticks": 8, "seconds": 0.2}, "_meta": {"progressToken": "t"}}
        reply = await pipes.ask("tools/call", 1, params)

        assert "result" in reply, reply
        assert [each["params"]["progress"] for each in pipes.heard if "method" in each] == list(range(1, 9))


async def test_each_request_is_of_the_era_its_envelope_says(tmp_path: Path) -> None:
    """A modern probe first, as dual-era clients send it; then the handshake: what waits is answered the old way."""
    async with piped(tmp_path, hold={"default": "20ms"}) as pipes:
        envelope = {META + "protocolVersion": MODERN, META + "clientCapabilities": {"elicitation": {}}}
        probe = await pipes.ask("server/discover", 1, {"_meta": envelope})
        await pipes.hello()
        waiting = await pipes.call("write", 2)

        assert "error" in probe
        assert waiting["result"]["isError"] is True
        assert "resultType" not in waiting["result"]


@pytest.mark.parametrize("method", ["tools/execute", "server/discover", "x"])
async def test_a_method_of_no_or_of_the_other_era_is_refused(tmp_path: Path, method: str) -> None:
    async with piped(tmp_path) as pipes:
        await pipes.hello()

        assert (await pipes.ask(method, 1))["error"]["code"] == -32601
