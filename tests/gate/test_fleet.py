"""`/mcp`: every server behind one URL, with names that say whose they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import Incoming, Scripted, scripted, tool
from gate.world import LEGACY, MODERN, World, world
from holdshort.interruption import State

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
ALLOW: dict[str, Any] = {"version": 1, "default": "allow"}


@asynccontextmanager
async def pair(folder: Path, one: dict[str, Any], two: dict[str, Any], **more: Any) -> AsyncGenerator[World]:
    """A proxy in front of the servers `one` and `two`."""
    first, second = scripted(label="one", **one), scripted(label="two", **two)
    async with first as left, second as right, world(folder, left, right, **more) as proxy:
        yield proxy


@ERAS
async def test_names_say_whose_they_are_and_calls_go_there(tmp_path: Path, era: str) -> None:
    tools = {"tools": [tool("read"), tool("a__b")]}
    async with pair(tmp_path, tools, tools, layer=ALLOW) as proxy:
        client = await proxy.connect(era, path="/mcp")
        names = [each["name"] for each in (await client.request("tools/list")).result["tools"]]
        await client.call("two__a__b", {"n": 1})
        await client.call("one__read", {"n": 2})

        assert names == ["one__read", "one__a__b", "two__read", "two__a__b"]
        assert proxy.servers[0].executed == [("read", {"n": 2})]
        assert proxy.servers[1].executed == [("a__b", {"n": 1})]


@ERAS
@pytest.mark.parametrize("name", ["read", "three__read", "one_read", "__read", "one__", "One__read", "one__two__read"])
async def test_a_name_that_is_nobodys_is_unknown(tmp_path: Path, era: str, name: str) -> None:
    async with pair(tmp_path, {}, {}, layer=ALLOW) as proxy:
        answer = await (await proxy.connect(era, path="/mcp")).call(name)

        assert answer.error == {"code": -32602, "message": f"Unknown tool: {name}"}
        assert [server.executed for server in proxy.servers] == [[], []]


@ERAS
async def test_a_parked_call_is_the_same_on_both_urls(tmp_path: Path, era: str) -> None:
    async with pair(tmp_path, {}, {}, hold={"default": "20ms"}) as proxy:
        await (await proxy.connect(era, path="/mcp")).call("two__write", {"n": 1})
        (record,) = await proxy.pending()
        await proxy.approve(record)
        answer = await (await proxy.connect(era, path="/mcp/two")).call("write", {"n": 1})

        assert (record.server, record.tool) == ("two", "write")
        assert answer.text == "write done"
        assert proxy.servers[1].runs("write") == 1


async def test_a_task_is_found_from_the_url_of_all_servers(tmp_path: Path) -> None:
    async with pair(tmp_path, {}, {}, hold={"default": "20ms"}) as proxy:
        capabilities: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
        client = await proxy.connect(MODERN, path="/mcp", capabilities=capabilities)
        task = (await client.call("two__write")).result["taskId"]
        await proxy.approve(await proxy.get(task))
        await client.request("tasks/get", {"taskId": task}, headers={"mcp-name": task})
        await proxy.reaches(task, State.EXECUTED)
        view = await client.request("tasks/get", {"taskId": task}, headers={"mcp-name": task})

        assert view.result["status"] == "completed"


@ERAS
async def test_lists_are_merged_page_by_page(tmp_path: Path, era: str) -> None:
    one = {"tools": [tool(f"a{n}") for n in range(3)], "page": 2}
    two = {"tools": [tool(f"b{n}") for n in range(5)], "page": 2}
    async with pair(tmp_path, one, two, layer=ALLOW) as proxy:
        client = await proxy.connect(era, path="/mcp")
        pages: list[list[str]] = []
        params: dict[str, Any] = {}
        while True:
            result = (await client.request("tools/list", params)).result
            pages.append([each["name"] for each in result["tools"]])
            if "nextCursor" not in result:
                break
            params = {"cursor": result["nextCursor"]}

        assert pages == [
            ["one__a0", "one__a1", "two__b0", "two__b1"],
            ["one__a2", "two__b2", "two__b3"],
            ["two__b4"],
        ]


@ERAS
@pytest.mark.parametrize("cursor", ["x", "e30", "eyJvbmUiOiAxfQ==", "W10=", 5, None, {}])
async def test_a_cursor_that_is_not_ours_is_refused_or_empty(tmp_path: Path, era: str, cursor: Any) -> None:
    async with pair(tmp_path, {}, {}) as proxy:
        answer = await (await proxy.connect(era, path="/mcp")).request("tools/list", {"cursor": cursor})

        assert answer.reply.get("error", {}).get("code") == -32602 or answer.result["tools"] == []


def resources(uri: str, template: str) -> dict[str, Any]:
    """A server with one resource and one template."""

    async def listed(_: Incoming) -> Any:
        return {"resources": [{"uri": uri, "name": uri, "size": 12345678901234567890123}]}

    async def templates(_: Incoming) -> Any:
        return {"resourceTemplates": [{"uriTemplate": template, "name": "t"}]}

    async def read(call: Incoming) -> Any:
        return {"contents": [{"uri": call.params["uri"], "text": call.server.label}]}

    return {"resources/list": listed, "resources/templates/list": templates, "resources/read": read}


@ERAS
@pytest.mark.parametrize(
    ("uri", "owner"), [("one:a", "one"), ("two:a", "two"), ("two://x/7/y", "two"), ("one://x/7/y", "one")]
)
async def test_a_resource_is_read_where_it_is_listed_also_before_anybody_listed_it(
    tmp_path: Path, era: str, uri: str, owner: str
) -> None:
    one, two = resources("one:a", "one://x/{id}/y"), resources("two:a", "two://x/{id}/y")
    async with pair(tmp_path, {"others": one}, {"others": two}) as proxy:
        client = await proxy.connect(era, path="/mcp")
        answer = await client.request("resources/read", {"uri": uri})
        listed = (await client.request("resources/list")).result["resources"]

        assert answer.result["contents"][0]["text"] == owner
        assert [each["uri"] for each in listed] == ["one:a", "two:a"]
        assert listed[0]["size"] == 12345678901234567890123


@ERAS
async def test_a_resource_that_is_nobodys_is_unknown(tmp_path: Path, era: str) -> None:
    async with pair(tmp_path, {"others": resources("one:a", "one://{x}")}, {}) as proxy:
        answer = await (await proxy.connect(era, path="/mcp")).request("resources/read", {"uri": "three:a"})

        assert answer.error["code"] == (-32002 if era == LEGACY else -32602)


def prompts() -> dict[str, Any]:
    async def listed(_: Incoming) -> Any:
        return {"prompts": [{"name": "p"}]}

    async def get(call: Incoming) -> Any:
        return {"messages": [], "description": f"{call.server.label} {call.params['name']}"}

    async def complete(call: Incoming) -> Any:
        return {"completion": {"values": [call.server.label, str(call.params["ref"].get("name"))]}}

    return {"prompts/list": listed, "prompts/get": get, "completion/complete": complete}


@ERAS
async def test_prompts_and_completions_find_their_server(tmp_path: Path, era: str) -> None:
    async with pair(tmp_path, {"others": prompts()}, {"others": prompts()}) as proxy:
        client = await proxy.connect(era, path="/mcp")
        listed = (await client.request("prompts/list")).result["prompts"]
        got = await client.request("prompts/get", {"name": "two__p"})
        reference = {"ref": {"type": "ref/prompt", "name": "two__p"}, "argument": {"name": "a", "value": ""}}
        completed = await client.request("completion/complete", reference)
        nobodys = await client.request("prompts/get", {"name": "p"})

        assert [each["name"] for each in listed] == ["one__p", "two__p"]
        assert got.result["description"] == "two p"
        assert completed.result["completion"]["values"] == ["two", "p"]
        assert nobodys.error["code"] == -32602


async def test_a_ping_is_answered_by_whoever_holds_the_session(tmp_path: Path) -> None:
    async with pair(tmp_path, {}, {}) as proxy:
        assert (await (await proxy.connect(path="/mcp")).request("ping")).result == {}


async def test_a_handshake_offers_what_any_server_has_and_greets_each_when_it_is_needed(tmp_path: Path) -> None:
    one: dict[str, Any] = {"capabilities": {"tools": {"listChanged": False}}, "instructions": "be nice"}
    two: dict[str, Any] = {"capabilities": {"tools": {"listChanged": True}, "prompts": {}}}
    async with pair(tmp_path, {**one, "eras": {"legacy"}}, {**two, "eras": {"legacy"}}) as proxy:
        agent = proxy.agent()
        agent.path = "/mcp"
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "me", "version": "1"}}
        result = (await agent.http({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).result
        client = await proxy.connect(path="/mcp", name="me")
        before = len(proxy.servers[1].sessions)
        await client.call("two__read")
        hello = proxy.servers[1].messages("initialize")[-1]["params"]

        assert result["capabilities"] == {"tools": {"listChanged": True}, "prompts": {}}
        assert "be nice" in result["instructions"]
        assert len(proxy.servers[1].sessions) == before + 1
        assert hello["clientInfo"]["name"] == "me"


@pytest.mark.parametrize(
    ("one", "two", "legacy", "modern"),
    [
        ({"legacy", "modern"}, {"legacy", "modern"}, True, True),
        ({"legacy"}, {"legacy", "modern"}, True, False),
        ({"legacy"}, {"legacy"}, True, False),
        ({"legacy"}, {"modern"}, True, False),
    ],
)
async def test_eras_are_those_that_all_servers_share(
    tmp_path: Path, one: set[str], two: set[str], legacy: bool, modern: bool
) -> None:
    async with pair(tmp_path, {"eras": one}, {"eras": two}) as proxy:
        found = {}
        for era in (LEGACY, MODERN):
            client = await proxy.connect(era, path="/mcp") if era == MODERN or legacy else None
            answer = await client.request("tools/list") if client is not None else None
            found[era] = answer is not None and "result" in answer.reply

        assert found == {LEGACY: legacy, MODERN: modern}
        if "legacy" not in two:
            assert any("left out" in event for event, _ in proxy.log.entries)


async def test_one_subscription_listens_to_all_servers(tmp_path: Path) -> None:
    key = "io.modelcontextprotocol/subscriptionId"

    async def listen(call: Incoming) -> Any:
        meta = {key: call.message["id"]}
        for method in ("notifications/subscriptions/acknowledged", "notifications/tools/list_changed"):
            await call.tell({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta}})
        await anyio.sleep_forever()

    others = {"others": {"subscriptions/listen": listen}}
    async with pair(tmp_path, others, others) as proxy:
        client = await proxy.connect(MODERN, path="/mcp")
        live = client.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "s")
        seen = await live.until(lambda answer: len(answer.messages) == 3)
        live.hang_up()
        for server in proxy.servers:
            await gave_up(server)

        assert [each["method"].rpartition("/")[2] for each in seen.messages] == [
            "acknowledged",
            "list_changed",
            "list_changed",
        ]


async def gave_up(server: Scripted) -> None:
    await server.until(lambda: server.aborted)


async def test_questions_of_two_servers_at_once_are_kept_apart(tmp_path: Path) -> None:
    async def ask(call: Incoming) -> Any:
        answer = await call.ask("roots/list", 1)
        return {"content": [{"type": "text", "text": f"{call.server.label} {answer['result']['for']}"}]}

    both = {"handlers": {"read": ask}}
    async with pair(tmp_path, both, both) as proxy:
        client = await proxy.connect(path="/mcp", capabilities={"roots": {}})
        lives = {label: client.calling(f"{label}__read") for label in ("one", "two")}
        for label, live in lives.items():
            seen = await live.until(lambda answer: answer.messages)
            await client.http({"jsonrpc": "2.0", "id": seen.messages[0]["id"], "result": {"for": label}})

        assert [(await live.answer()).text for live in lives.values()] == ["one one", "two two"]
