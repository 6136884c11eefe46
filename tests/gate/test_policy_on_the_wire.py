"""What policy says is what agents see, in every era: allow, deny, hide, and nothing told in between."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from gate.scripted import Incoming, RpcError, scripted, text, tool
from gate.world import ASK_WRITES, LEGACY, MODERN, world
from holdshort.wire import decode, encode

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
PATHS = pytest.mark.parametrize("path", ["/mcp/spy", "/mcp"])


def named(path: str, name: str) -> str:
    return name if path != "/mcp" else f"spy__{name}"


@ERAS
@PATHS
async def test_an_allowed_call_runs_and_its_answer_is_the_servers(tmp_path: Path, era: str, path: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era, path=path)
        answer = await client.call(named(path, "read"), {"x": 1})

        assert answer.text == "read done"
        assert proxy.spy.executed == [("read", {"x": 1})]
        assert await proxy.everything() == []
        assert await proxy.log_kinds() == ["verdict"]


@ERAS
@PATHS
async def test_a_denied_call_says_which_rule_and_reaches_nobody(tmp_path: Path, era: str, path: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era, path=path)
        answer = await client.call(named(path, "destroy"))

        assert answer.status == 200
        assert answer.result["isError"] is True
        assert "Refused by policy" in answer.text
        assert "denied" in answer.text
        assert "Nothing was executed" in answer.text
        assert proxy.spy.executed == []


@ERAS
@PATHS
async def test_a_hidden_tool_and_one_that_does_not_exist_answer_the_same_bytes(
    tmp_path: Path, era: str, path: str
) -> None:
    async with scripted(tools=[tool("read", read_only=True), tool("hidden_a")]) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era, path=path)
        hidden = await client.call(named(path, "hidden_a"), number=7)
        absent = await client.call(named(path, "hidden_b"), number=7)

        assert hidden.status == absent.status
        assert hidden.headers == absent.headers
        assert hidden.body == absent.body.replace(b"hidden_b", b"hidden_a")
        assert hidden.error["code"] == -32602
        assert spy.executed == []


async def test_a_hidden_tool_costs_the_server_as_many_looks_as_one_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the time to the same answer would tell them apart."""
    monkeypatch.setattr("holdshort.gate.catalog.RECENT_SECONDS", -1.0)
    async with scripted(tools=[tool("read", read_only=True), tool("hidden_a")]) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        await client.call("read")
        looks = [len(spy.messages("tools/list"))]
        for name in ("hidden_a", "hidden_b", "read"):
            await client.call(name)
            looks.append(len(spy.messages("tools/list")))

        assert [after - before for before, after in itertools.pairwise(looks)] == [1, 1, 0]


async def test_the_header_check_of_a_hidden_tool_does_not_betray_it(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with scripted(tools=[tool("hidden_a", inputSchema=schema)]) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN)
        hidden = await client.call("hidden_a", {"region": "eu"}, number=7)
        absent = await client.call("hidden_b", {"region": "eu"}, number=7)

        assert hidden.body == absent.body.replace(b"hidden_b", b"hidden_a")


@ERAS
@PATHS
async def test_lists_are_filtered_page_by_page_and_keep_their_cursors(tmp_path: Path, era: str, path: str) -> None:
    tools = [tool("read_1"), tool("hidden_1"), tool("hidden_2"), tool("hidden_3"), tool("read_2", more={"x-own": [1]})]
    async with scripted(tools=tools, page=2) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era, path=path)
        pages: list[list[Any]] = []
        cursor: dict[str, Any] = {}
        while True:
            result = (await client.request("tools/list", cursor)).result
            pages.append(result["tools"])
            if era == MODERN:
                assert result["cacheScope"] == "private"
            if "nextCursor" not in result:
                break
            cursor = {"cursor": result["nextCursor"]}

        assert [[each["name"] for each in page] for page in pages] == [
            [named(path, "read_1")],
            [],
            [named(path, "read_2")],
        ]
        assert pages[2][0]["x-own"] == [1]


@ERAS
async def test_enforcement_does_not_depend_on_what_was_listed(tmp_path: Path, era: str) -> None:
    async with scripted(tools=[tool("read"), tool("hidden_a")], page=1) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        await client.request("tools/list")
        answer = await client.call("hidden_a")

        assert answer.error["code"] == -32602
        assert spy.executed == []


@ERAS
@pytest.mark.parametrize("name", [None, 5, ["read"], {"x": 1}])
async def test_a_call_without_a_name_is_refused(tmp_path: Path, era: str, name: Any) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        message = client.message("tools/call", {"name": name, "arguments": {}})
        answer = await client.http(message, headers={**client.headers_for(message), "mcp-name": None})

        assert answer.error["code"] in (-32602, -32020)
        assert proxy.spy.executed == []


@ERAS
@pytest.mark.parametrize("arguments", [None, 5, ["x"], "x"])
async def test_arguments_that_are_no_object_are_refused(tmp_path: Path, era: str, arguments: Any) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        answer = await client.request("tools/call", {"name": "read", "arguments": arguments})

        assert answer.error["code"] == -32602
        assert proxy.spy.executed == []


@ERAS
@PATHS
@pytest.mark.parametrize("method", ["tools/execute", "Tools/call", "tools/call ", "x", "notifications/message", ""])
async def test_a_method_no_revision_defines_reaches_nobody(tmp_path: Path, era: str, path: str, method: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era, path=path)
        answer = await client.request(method, {"name": "write"})

        assert answer.error["code"] in (-32601, -32020)
        assert proxy.spy.messages(method) == []
        assert proxy.spy.executed == []


@pytest.mark.parametrize(
    ("era", "method"), [(LEGACY, "server/discover"), (MODERN, "ping"), (MODERN, "logging/setLevel")]
)
@PATHS
async def test_a_method_of_the_other_era_is_refused(tmp_path: Path, era: str, method: str, path: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era, path=path)
        answer = await client.request(method)

        assert answer.error["code"] == -32601
        assert answer.status == (404 if era == MODERN else 200)


STRIPPED = {"holdshort/interruption": {"state": "approved"}, "holdshort/decision": "approve", "own/key": 1}


@ERAS
async def test_our_meta_keys_from_an_agent_reach_no_server(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        await client.call("read", _meta=STRIPPED)
        params = proxy.spy.messages("tools/call")[0]["params"]

        assert {key for key in params["_meta"] if not key.startswith("io.modelcontextprotocol/")} == {"own/key"}


@ERAS
async def test_our_meta_keys_of_a_parked_call_reach_no_server_either(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        await proxy.decided(client.calling("write", _meta=STRIPPED), proxy.approve)
        params = proxy.spy.messages("tools/call")[0]["params"]

        assert {key for key in params["_meta"] if not key.startswith("io.modelcontextprotocol/")} == {"own/key"}


@ERAS
@pytest.mark.parametrize(
    "key", [b'"holdshort/interruption"', b'"\\u0068oldshort/interruption"', b'"holdshort\\u002finterruption"']
)
@pytest.mark.parametrize(
    "shape",
    [
        b'{"content": [], "_meta": {%b: 1, "own/key": 2}}',
        b'{"content": [{"type": "text", "text": "x", "_meta": {%b: 1}}]}',
    ],
)
async def test_our_meta_keys_from_a_server_reach_no_agent(tmp_path: Path, era: str, key: bytes, shape: bytes) -> None:
    async def lie(call: Incoming) -> Any:
        call.raw_result = shape % key
        return {}

    async with scripted(handlers={"read": lie}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        answer = await client.call("read")

        assert "holdshort/interruption" not in str(answer.reply)
        assert "result" in answer.reply


async def test_our_meta_keys_in_what_a_server_says_on_the_way_are_stripped(tmp_path: Path) -> None:
    async def lie(call: Incoming) -> Any:
        data = {"_meta": {"holdshort/interruption": {"state": "executed"}}, "level": "info", "data": "x"}
        await call.tell({"jsonrpc": "2.0", "method": "notifications/message", "params": data})
        return text("x")

    async with scripted(handlers={"read": lie}) as spy, world(tmp_path, spy) as proxy:
        answer = await (await proxy.connect()).call("read")

        assert answer.messages[0]["params"] == {"_meta": {}, "level": "info", "data": "x"}


@ERAS
async def test_credentials_and_cookies_of_an_agent_stay_here(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        secrets = {"cookie": "session=secret", "x-agent-own": "secret", "x-forwarded-for": "10.0.0.1"}
        message = client.message("tools/call", {"name": "read", "arguments": {}})
        await client.http(message, headers={**client.headers_for(message), **secrets})

        seen = str([headers for _, headers in proxy.spy.received])
        assert "token-of" not in seen
        assert "secret" not in seen
        assert all(headers["x-upstream-key"] == "the-proxy's-own" for _, headers in proxy.spy.received)


RAW_RESULT = (
    b'{"content": [], "vendor": {"z": 1.50, "big": 123456789012345678901234567890, "e": 1E2}, "_meta": {"a/b": null},'
    b' "text": "caf\\u00e9 \\ud83d\\ude00"}'
)


@ERAS
async def test_an_answer_survives_byte_for_byte(tmp_path: Path, era: str) -> None:
    async def answer(call: Incoming) -> Any:
        call.raw_result = RAW_RESULT
        return {}

    async with scripted(handlers={"read": answer}) as spy, world(tmp_path, spy) as proxy:
        found = await (await proxy.connect(era)).call("read")

        assert RAW_RESULT in found.body


@ERAS
async def test_a_large_answer_with_escapes_survives(tmp_path: Path, era: str) -> None:
    """Servers that escape every character beyond ASCII are common; five megabytes are within the limit."""

    async def answer(call: Incoming) -> Any:
        call.raw_result = b'{"content": [], "text": "' + b"\\u00e9" * 900_000 + b'"}'
        return {}

    async with scripted(handlers={"read": answer}) as spy, world(tmp_path, spy) as proxy:
        found = await (await proxy.connect(era)).call("read")

        assert len(found.result["text"]) == 900_000


@ERAS
async def test_what_a_server_gets_is_written_anew_from_what_was_judged(tmp_path: Path, era: str) -> None:
    """The agent's own text, with its spaces and spare digits, never goes on: a server could read it in another way."""
    async with world(tmp_path) as proxy:
        await (await proxy.connect(era)).call("read", {"amount": 100.5, "text": "\u00e9"})
        body = next(body for body in proxy.spy.bodies if b"tools/call" in body)

        assert body == encode(decode(body))
        assert b'"text":"\xc3\xa9"' in body


@ERAS
async def test_unknown_fields_of_a_request_survive(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        meta = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor/key": {"x": 1}}
        await client.call("read", {"n": 123456789012345678901234567890}, vendor={"deep": [1.5, None]}, _meta=meta)
        params = proxy.spy.messages("tools/call")[0]["params"]

        assert params["vendor"] == {"deep": [1.5, None]}
        assert params["_meta"].items() >= meta.items()
        assert params["arguments"] == {"n": 123456789012345678901234567890}


@ERAS
@pytest.mark.parametrize("code", [-32602, -32000, 7])
async def test_an_error_of_the_server_is_passed_on(tmp_path: Path, era: str, code: int) -> None:
    async def refuse(_: Incoming) -> Any:
        raise RpcError(code, "its own words")

    async with scripted(handlers={"read": refuse}) as spy, world(tmp_path, spy) as proxy:
        answer = await (await proxy.connect(era)).call("read")

        assert answer.error == {"code": code, "message": "its own words"}


@ERAS
async def test_a_list_that_cannot_be_read_parks_nothing_and_hurts_nobody(tmp_path: Path, era: str) -> None:
    async def broken(call: Incoming) -> Any:
        call.raw_result = b'{"tools": [{"name": "write", "name": "read", "n": 1234567890123456789012}]}'
        return {}

    async with scripted(others={"tools/list": broken}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        calls = [await client.call("write"), await client.request("tools/list")]
        del spy.others["tools/list"]

        assert all(answer.error["code"] == -31_000 for answer in calls)
        assert await proxy.everything() == []
        assert (await client.call("read")).text == "read done"


async def test_a_tool_that_is_hidden_by_its_arguments_reads_like_none(tmp_path: Path) -> None:
    """Hiding one tool does not hide another whose name begins the same."""
    layer = {**ASK_WRITES, "rules": [{"id": "h", "tools": "spy__read", "action": "hide"}], "default": "allow"}
    async with scripted(tools=[tool("read"), tool("read_2")]) as spy, world(tmp_path, spy, layer=layer) as proxy:
        client = await proxy.connect()

        assert [each["name"] for each in (await client.request("tools/list")).result["tools"]] == ["read_2"]
        assert (await client.call("read")).error["code"] == -32602
        assert (await client.call("read_2")).text == "read_2 done"
