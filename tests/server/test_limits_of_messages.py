"""What one message may cost: as much as the configuration says, to the byte, and no more."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import Incoming, scripted, text
from gate.world import Client, World, world
from holdshort.interruption import State
from kit.process import kit_environment
from kit.spy import SpyRecord

Json = dict[str, Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def padded(client: Client, size: int) -> bytes:
    """A call of `read` that has exactly `size` bytes."""
    bare = len(json.dumps(client.message("tools/call", {"name": "read", "arguments": {"pad": ""}}, 7)))
    message = client.message("tools/call", {"name": "read", "arguments": {"pad": "x" * (size - bare)}}, 7)
    raw = json.dumps(message).encode()
    assert len(raw) == size
    return raw


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("how", ["whole", "declared", "in pieces"])
async def test_a_request_has_as_many_bytes_as_may_be_and_no_more(tmp_path: Path, how: str) -> None:
    async with world(tmp_path, limits={"request_bytes": 2000}) as proxy:
        client = await proxy.connect()

        async def send(size: int) -> tuple[int, Json]:
            raw = padded(client, size)
            chunks = [raw[:100], raw[100:1500], raw[1500:]] if how == "in pieces" else [raw]
            headers = {"mcp-protocol-version": "2025-11-25"}
            if how == "declared":
                headers["content-length"] = str(len(raw))
            answer = await client.http(chunks=chunks, headers=headers)
            return answer.status, answer.reply

        status, reply = await send(2000)
        assert (status, reply["result"]["content"][0]["text"]) == (200, "read done")
        status, reply = await send(2001)
        assert (status, reply["error"]["code"]) == (413, -32600)
        assert "at most 2000" in reply["error"]["message"]
        assert proxy.spy.runs("read") == 1


@pytest.mark.parametrize(
    ("limits", "fits", "over", "words"),
    [
        ({"json_depth": 12}, nested(9), nested(10), "deeper than 12"),
        ({"json_keys": 20}, dict.fromkeys(map(str, range(20))), dict.fromkeys(map(str, range(21))), "at most 20"),
        ({"string_bytes": 50}, "é" * 25, "é" * 25 + "e", "at most 50"),
    ],
)
async def test_a_request_is_as_deep_wide_and_long_as_may_be_and_no_more(
    tmp_path: Path, limits: Json, fits: Any, over: Any, words: str
) -> None:
    async with world(tmp_path, limits=limits) as proxy:
        client = await proxy.connect(name="c")

        assert (await client.call("read", {"value": fits})).text == "read done"
        refused = await client.call("read", {"value": over})
        assert refused.status in (400, 413)
        assert words in refused.error["message"]
        assert proxy.spy.executed == [("read", {"value": fits})]


def answering(size: int) -> Any:
    """A handler whose whole response has `size` bytes."""

    async def handler(incoming: Incoming) -> Json:
        around = len(json.dumps({"jsonrpc": "2.0", "id": incoming.message["id"]})[:-1] + ', "result": ' + "}")
        bare = json.dumps(text(""))
        incoming.raw_result = json.dumps(text("x" * (size - around - len(bare)))).encode()
        return {}

    return handler


async def test_a_response_has_as_many_bytes_as_may_be_and_no_more(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, limits={"response_bytes": 5000}) as proxy:
        client = await proxy.connect()

        spy.handlers["read"] = answering(5000)
        assert len((await client.call("read")).text) > 4000
        spy.handlers["read"] = answering(5001)
        refused = await client.call("read")
        assert "more than 5000 bytes" in refused.error["message"]


async def test_an_approved_call_whose_response_is_too_long_ran_and_is_unknown(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, limits={"response_bytes": 5000}) as proxy:
        client = await proxy.connect()

        for size, state in ((5000, State.EXECUTED), (5001, State.UNKNOWN)):
            spy.handlers["write"] = answering(size)
            live = client.calling("write", {"size": size})
            await proxy.decided(live, proxy.approve)
            assert (await proxy.everything())[-1].state is state
        assert spy.runs("write") == 2


async def test_a_response_is_as_deep_as_may_be_and_no_deeper(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, limits={"json_depth": 12}) as proxy:
        client = await proxy.connect()
        levels = 10

        async def deep(_: Incoming) -> Json:
            return {"content": [], "structuredContent": {"x": nested(levels - 1)}}

        spy.handlers["read"] = deep
        assert "result" in (await client.call("read")).reply
        levels = 11
        assert "deeper than 12" in (await client.call("read")).error["message"]


async def test_keys_and_strings_of_a_server_count_as_bytes_only(tmp_path: Path) -> None:
    """They pass through unjudged; and a result that was refused for its shape would be one that ran and nobody saw."""
    async with scripted() as spy, world(tmp_path, spy, limits={"json_keys": 20, "string_bytes": 200}) as proxy:
        client = await proxy.connect(name="c")
        wide = dict.fromkeys((f"key-{number}" for number in range(21)), "x" * 201)

        async def answer(_: Incoming) -> Json:
            return {"content": [], "structuredContent": wide}

        spy.handlers["read"] = spy.handlers["write"] = answer
        assert (await client.call("read")).result["structuredContent"] == wide
        approved = await proxy.decided(client.calling("write"), proxy.approve)
        assert approved.result["structuredContent"] == wide


async def test_a_line_has_as_many_bytes_as_may_be_and_no_more_and_notes_go_to_standard_error_once(
    tmp_path: Path,
) -> None:
    file = tmp_path / "wrap.yaml"
    limits = {"line_bytes": 3000}
    file.write_text(json.dumps({"version": 1, "limits": limits, "separation_of_duties": True}))
    spy = SpyRecord(tmp_path / "spy.jsonl").command("--stdio")
    holdshort = [sys.executable, "-m", "holdshort", "wrap", "-c", str(file), "--state-dir", str(tmp_path / "state")]

    def line(number: int, size: int) -> bytes:
        bare = json.dumps({"jsonrpc": "2.0", "id": number, "method": "no/such", "params": {"pad": ""}})
        return bare.replace('""', '"' + "x" * (size - len(bare)) + '"').encode() + b"\n"

    assert len(line(1, 3000)) == 3001
    lines = line(1, 3000) + line(2, 3001) + line(3, 100)
    with anyio.fail_after(60):
        async with await anyio.open_process(
            [*holdshort, "--", *spy], env={**os.environ, **kit_environment()}
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdin.send(lines)
            out = b""
            while out.count(b"\n") < 3:
                out += await process.stdout.receive()
            await process.stdin.aclose()
            errors = b"".join([chunk async for chunk in process.stderr])

    replies = {reply["id"]: reply["error"] for reply in map(json.loads, out.splitlines())}
    assert replies.keys() == {1, None, 3}
    assert "longer than 3000 bytes" in replies[None]["message"]
    assert errors.count(b"so nobody is barred") == 1


async def test_the_limits_of_the_table_hold_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        await exactly_sixty_four_levels(proxy)


async def exactly_sixty_four_levels(proxy: World) -> None:
    client = await proxy.connect()

    assert (await client.call("read", {"value": nested(61)})).text == "read done"
    assert "deeper than 64" in (await client.call("read", {"value": nested(62)})).error["message"]
