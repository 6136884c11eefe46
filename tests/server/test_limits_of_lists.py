"""What a server may list: what is over a limit is neither listed nor callable, and the log names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gate.scripted import Scripted, scripted, tool
from gate.world import LEGACY, MODERN, Client, World, world
from holdshort.wire import encode

Json = dict[str, Any]

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
PAGES = pytest.mark.parametrize("page", [None, 1, 2], ids=["one page", "pages of 1", "pages of 2"])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def reads(*names: str, **more: Any) -> list[Json]:
    return [tool(name, read_only=True, **more) for name in names]


async def listed(client: Client) -> list[str]:
    """Every tool the client sees, page after page."""
    found: list[str] = []
    params: Json = {}
    while True:
        result = (await client.request("tools/list", params)).result
        found += [each["name"] for each in result["tools"]]
        if "nextCursor" not in result:
            return found
        params = {"cursor": result["nextCursor"]}


async def callable_of(client: Client, names: list[str]) -> list[str]:
    return [name for name in names if "result" in (await client.call(name)).reply]


def named_in_log(proxy: World) -> set[str]:
    told = [facts for event, facts in proxy.log.entries if event == "tools are left out of a list"]
    assert len(told) <= 1, "told more than once"
    return {name for facts in told for name in facts["tools"]}


async def check(proxy: World, spy: Scripted, era: str, kept: list[str]) -> None:
    """Exactly `kept` can be seen and called, whether or not anybody asked for a list; the rest is in the log."""
    every = [each["name"] for each in spy.tools]
    for ask_first in (True, False):
        client = await proxy.connect(era)
        if ask_first:
            assert await listed(client) == kept
        assert await callable_of(client, every) == kept
    assert {name for name, _ in spy.executed} == set(kept)
    assert named_in_log(proxy) == set(every) - set(kept)


@ERAS
@PAGES
async def test_a_server_has_as_many_tools_as_may_be_and_no_more(tmp_path: Path, era: str, page: int | None) -> None:
    for number, kept in ((3, ["read_a", "read_b", "read_c"]), (4, ["read_a", "read_b", "read_c"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        tools = reads("read_a", "read_b", "read_c", "read_d")[:number]
        async with scripted(tools=tools, page=page) as spy, world(folder, spy, limits={"tools_per_server": 3}) as proxy:
            await check(proxy, spy, era, kept)


@ERAS
@PAGES
async def test_all_definitions_together_have_as_many_bytes_as_may_be_and_no_more(
    tmp_path: Path, era: str, page: int | None
) -> None:
    tools = reads("read_a", "read_b", "read_c")
    size = sum(len(encode(each)) for each in tools)
    for limit, kept in ((size, ["read_a", "read_b", "read_c"]), (size - 1, ["read_a", "read_b"])):
        folder = tmp_path / str(limit)
        folder.mkdir()
        async with scripted(tools=tools, page=page) as spy, world(folder, spy, limits={"list_bytes": limit}) as proxy:
            await check(proxy, spy, era, kept)


@ERAS
async def test_a_description_is_as_long_as_may_be_and_no_longer(tmp_path: Path, era: str) -> None:
    tools = [
        *reads("read_a", description="é" * 100),
        *reads("read_b", description="é" * 100 + "e"),
    ]
    async with scripted(tools=tools) as spy, world(tmp_path, spy, limits={"description_bytes": 200}) as proxy:
        await check(proxy, spy, era, ["read_a"])


@ERAS
async def test_a_name_is_as_long_as_may_be_and_no_longer(tmp_path: Path, era: str) -> None:
    tools = reads("read_" + "a" * 15, "read_" + "b" * 16)
    async with scripted(tools=tools) as spy, world(tmp_path, spy, limits={"tool_name_chars": 20}) as proxy:
        await check(proxy, spy, era, ["read_" + "a" * 15])


async def test_a_name_that_could_pass_for_another_does_not_exist(tmp_path: Path) -> None:
    async with scripted(tools=reads("read", "read\u200b", "read all")) as spy, world(tmp_path, spy) as proxy:
        await check(proxy, spy, LEGACY, ["read"])


async def test_one_server_over_its_limits_takes_no_tool_from_another(tmp_path: Path) -> None:
    async with (
        scripted(label="one", tools=reads("read_a", "read_b", "read_c")) as one,
        scripted(label="two", tools=reads("read_a", "read_b")) as two,
        world(tmp_path, one, two, limits={"tools_per_server": 2}) as proxy,
    ):
        client = await proxy.connect(path="/mcp")

        assert await listed(client) == ["one__read_a", "one__read_b", "two__read_a", "two__read_b"]


async def test_a_list_within_its_limits_is_passed_on_byte_for_byte(tmp_path: Path) -> None:
    tools = reads("read_a", title="  é ")
    async with scripted(tools=tools) as spy, world(tmp_path, spy) as proxy:

        async def plain(_: Any) -> Json:
            return {"tools": tools}

        spy.others["tools/list"] = plain
        client = await proxy.connect()
        answer = await client.request("tools/list", number=7)

    assert answer.body == json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"tools": tools}}).encode()
