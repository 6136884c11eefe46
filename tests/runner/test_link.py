"""Calls through a real proxy, in both eras, at both of its addresses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from holdshort.runner.errors import ProxyError
from holdshort.runner.mcp_link import McpTool, ProxyLink
from holdshort.runner.proxy import ApprovalProxy
from kit.ports import free_port
from kit.process import kit_command, running
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, ProxyKit, kit_upstream, serving
from kit.spy import SpyRecord

RULES: dict[str, Any] = {
    "version": 1,
    "default": "allow",
    "rules": [
        {"id": "writes", "tools": "*__write_thing", "action": "ask"},
        {"id": "hidden", "tools": "*__crash", "action": "hide"},
        {"id": "denied", "tools": "*__destroy_thing", "action": "deny"},
    ],
}
PARK = {"holdshort/park": "now"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class Place:
    """A proxy before one spy, and the address that is used there."""

    proxy: ProxyKit
    spy: SpyRecord
    server: str | None
    revision: str

    def approval_proxy(self, **more: Any) -> ApprovalProxy:
        given: dict[str, Any] = {"token": AGENT_TOKEN, "approver_token": APPROVER_TOKEN, **more}
        return ApprovalProxy(self.proxy.base, server=self.server, **given)

    @asynccontextmanager
    async def link(self) -> AsyncGenerator[ProxyLink]:
        link = await self.approval_proxy().open()
        try:
            yield link
        finally:
            await link.close()


SPOKEN = {"legacy": "2025-11-25", "modern": "2026-07-28", "legacy,modern": "2025-11-25"}
KINDS = [(eras, over) for eras in SPOKEN for over in ("stdio", "http")]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0].replace(',', '+')}-over-{kind[1]}")
async def spied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[tuple[ProxyKit, SpyRecord, str]]:
    """A proxy before a spy of these eras."""
    eras, over = request.param
    folder = tmp_path_factory.mktemp("link")
    record = SpyRecord(folder / "spy.jsonl")
    port = free_port()
    upstream = {"url": f"http://127.0.0.1:{port}/mcp"}
    if over == "stdio":
        async with serving(folder, {"spy": kit_upstream(record.command("--eras", eras))}, RULES) as proxy:
            yield proxy, record, SPOKEN[eras]
        return
    with running(record.command("--http", str(port), "--eras", eras)) as spy:
        await spy.until_answers(upstream["url"])
        async with serving(folder, {"spy": upstream}, RULES) as proxy:
            yield proxy, record, SPOKEN[eras]


@pytest.fixture(params=[None, "spy"], ids=["all", "one"])
def place(spied: tuple[ProxyKit, SpyRecord, str], request: pytest.FixtureRequest) -> Place:
    proxy, record, revision = spied
    return Place(proxy, record, request.param, revision)


async def tool(link: ProxyLink, name: str) -> McpTool:
    return next(each for each in await link.tools() if each.tool == name)


async def test_tools_are_listed_with_the_server_they_are_of(place: Place) -> None:
    async with place.link() as link:
        tools = await link.tools()

    prefix = "" if place.server else "spy__"
    assert [(each.server, each.tool) for each in tools] == [
        ("spy", name) for name in ("read_thing", "write_thing", "destroy_thing", "slow", "echo", "progress")
    ]
    assert [each.wire_name for each in tools] == [prefix + each.tool for each in tools]
    assert [each.name for each in tools] == [each.wire_name for each in tools]
    assert tools[0].description == "Reads a thing"
    assert tools[0].input_schema == {"type": "object", "properties": {"name": {"type": "string"}}}
    assert tools[0].annotations == {"readOnlyHint": True}


async def test_a_call_is_answered_in_whatever_era_its_server_speaks(place: Place) -> None:
    thing = {"name": f"{place.server}-allowed", "deep": [1, {"big": 2**70}]}
    async with place.link() as link:
        result = await link.call(await tool(link, "echo"), thing, meta={})

        assert place.revision in repr(link)
    assert result["content"][0]["text"].count(str(2**70)) == 1
    assert "isError" not in result
    assert place.spy.executed("echo", thing) == 1


async def test_progress_on_the_way_is_passed_over(place: Place) -> None:
    async with place.link() as link:
        result = await link.call(await tool(link, "progress"), {"steps": 3}, meta={"progressToken": "p"})

    assert result["content"] == [{"type": "text", "text": "progress done: None"}]


async def test_a_parked_call_is_told_at_once_and_runs_once_after_its_approval(place: Place) -> None:
    thing = {"name": f"{place.server}-parked"}
    run = f"run-{place.server}"
    meta = {**PARK, "holdshort/run_id": run, "holdshort/call_id": "call-1", "traceparent": TRACE}
    async with place.link() as link:
        write = await tool(link, "write_thing")
        parked = await link.call(write, thing, meta=meta)
        told = parked["_meta"]["holdshort/interruption"]

        assert (parked["isError"], told["state"], place.spy.executed("write_thing", thing)) == (True, "pending", 0)
        record = await link.endpoint.get(told["id"])
        assert (record["requested_by"]["run_id"], record["requested_by"]["call_id"]) == (run, "call-1")

        decided = await link.endpoint.decide(told["id"], {"decision": "approve", "fingerprint": told["fingerprint"]})
        assert decided["state"] == "approved"
        done = await link.call(write, thing, meta=meta)

    assert done["content"] == [{"type": "text", "text": f"write_thing done: {thing['name']}"}]
    assert done["_meta"]["holdshort/interruption"]["state"] == "executed"
    assert place.spy.executed("write_thing", thing) == 1
    sent = [
        each["params"]["_meta"] for each in place.spy.received("tools/call") if each["params"]["arguments"] == thing
    ]
    assert [each["traceparent"] for each in sent] == [TRACE]


async def test_what_policy_denies_is_a_result_that_a_model_can_read(place: Place) -> None:
    async with place.link() as link:
        result = await link.call(await tool(link, "destroy_thing"), {"name": "x"}, meta=PARK)

    assert result["isError"] is True
    assert "denied" in result["content"][0]["text"]


async def test_a_hidden_tool_is_an_error_like_one_that_is_not_there(place: Place) -> None:
    async with place.link() as link:
        there = await tool(link, "echo")
        prefix = there.wire_name.removesuffix("echo")
        for name in ("crash", "no_such_tool"):
            gone = McpTool(name=name, server="spy", tool=name, wire_name=prefix + name)
            with pytest.raises(ProxyError, match=name) as error:
                await link.call(gone, {}, meta={})
            assert error.value.reason == "-32602"


async def test_many_calls_at_once_share_one_session(place: Place) -> None:
    found: dict[int, dict[str, Any]] = {}
    async with place.link() as link:
        echo = await tool(link, "echo")
        already = len(place.spy.received("initialize"))

        async def call(number: int) -> None:
            found[number] = await link.call(echo, {"number": number}, meta={})

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, number)

        assert len(place.spy.received("initialize")) == already
    assert {number: result["content"][0]["text"] for number, result in found.items()} == {
        number: f'{{"number": {number}}}' for number in range(20)
    }


async def test_one_link_is_shared_inside_of_async_with_and_nowhere_else(place: Place) -> None:
    proxy = place.approval_proxy()
    async with proxy:
        first, second = await proxy.open(), await proxy.open()
        await first.tools()
        await first.close()
        again = await second.call(await tool(second, "echo"), {}, meta={})
    alone, other = await proxy.open(), await proxy.open()

    assert first is second
    assert again["content"][0]["text"] == "{}"
    assert len({id(each) for each in (first, alone, other)}) == 3


@pytest.fixture(scope="module", params=["handshake", "stateless"])
async def fixtures(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[ProxyLink]:
    """A link to a server that knows everything, in one of its eras."""
    folder = tmp_path_factory.mktemp("fixtures")
    allow = {"version": 1, "default": "allow", "rules": []}
    upstream = kit_upstream(kit_command("kit.fixture_server", "--stdio"))
    async with serving(folder, {"all": upstream}, allow) as proxy:
        link = await ApprovalProxy(proxy.base, token=AGENT_TOKEN).open()
        await link.tools()
        if request.param == "stateless":
            assert await link._session.change_era()  # pyright: ignore[reportPrivateUsage]
        yield link
        await link.close()


async def test_arguments_that_a_schema_wants_in_headers_are_sent_there_too(fixtures: ProxyLink) -> None:
    marked = await tool(fixtures, "test_x_mcp_header")
    for region in ("eu-west-1", " spaces ", "Zürich", "=?base64?eA==?=", ""):
        result = await fixtures.call(marked, {"region": region}, meta={})
        assert "isError" not in result, result


async def test_a_schema_that_changed_its_headers_meanwhile_is_read_again(fixtures: ProxyLink) -> None:
    marked = await tool(fixtures, "test_x_mcp_header")
    old = McpTool(name=marked.name, server="all", tool=marked.tool, wire_name=marked.wire_name)

    assert "isError" not in await fixtures.call(old, {"region": "eu"}, meta={})


async def test_a_server_that_asks_its_client_something_is_not_kept_waiting(fixtures: ProxyLink) -> None:
    with pytest.raises(ProxyError) as error:
        await fixtures.call(await tool(fixtures, "test_sampling"), {"prompt": "hm"}, meta={})

    assert error.value.reason in ("-32601", "-32600")


async def test_a_list_is_used_again_until_it_is_old_or_somebody_asks(fixtures: ProxyLink) -> None:
    first = await fixtures.tools()
    same = await fixtures.tools()
    anew = await fixtures.tools(refresh=True)

    assert same is first
    assert anew is not first
    assert list(anew) == list(first)
