"""What servers ask of clients under policy: a refused question never reaches a client, in whichever way it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gate.scripted import Incoming, RpcError, scripted, text
from gate.world import ASK_WRITES, LEGACY, MODERN, World, world

Json = dict[str, Any]
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
PATHS = pytest.mark.parametrize("path", ["/mcp/spy", "/mcp"])
ABLE: Json = {"sampling": {}, "elicitation": {}, "roots": {}}
METHODS = ["sampling/createMessage", "elicitation/create", "roots/list"]

LAYER: Json = {
    **ASK_WRITES,
    "rules": [
        {"id": "no-sampling", "server_requests": "*__sampling/createMessage", "action": "deny"},
        {"id": "no-roots", "server_requests": "spy__roots/*", "agents": ["bot"], "action": "hide"},
        *ASK_WRITES["rules"],
    ],
}


def asking(method: str) -> Any:
    async def ask(call: Incoming) -> Any:
        answer = await call.ask(method, 5)
        return text(str(answer.get("result", answer.get("error"))))

    return ask


async def rows(proxy: World) -> list[tuple[Any, ...]]:
    return [
        (row.fields["action"], row.fields["because"][0]["rule"], row.fields["detail"])
        async for row in proxy.core.store.entries()
        if row.fields["kind"] == "verdict" and (row.fields.get("detail") or {}).get("kind") == "server_request"
    ]


@PATHS
@pytest.mark.parametrize("tool", ["read", "write"])
async def test_a_denied_question_is_answered_here_and_the_client_never_sees_it(
    tmp_path: Path, path: str, tool: str
) -> None:
    handlers = {tool: asking("sampling/createMessage")}
    async with scripted(handlers=handlers) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        client = await proxy.connect(path=path, capabilities=ABLE)
        live = client.calling(f"spy__{tool}" if path == "/mcp" else tool)
        answer = await (live.answer() if tool == "read" else proxy.decided(live, proxy.approve))

        assert "'code': -31002" in answer.text
        assert "no-sampling" in answer.text
        assert [each.get("method") for each in answer.messages] == [None]
        assert await rows(proxy) == [
            ("deny", "no-sampling", {"kind": "server_request", "name": "sampling/createMessage"})
        ]


async def test_a_hidden_question_is_answered_as_by_a_client_that_cannot(tmp_path: Path) -> None:
    handlers = {"read": asking("roots/list"), "read_none": asking("tools/list")}
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in handlers]
    async with scripted(handlers=handlers, tools=tools) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        client = await proxy.connect(capabilities=ABLE)
        hidden, foreign = [(await client.call(name)).text for name in handlers]

        assert hidden == foreign.replace("tools/list", "roots/list")
        assert "Method not found" in hidden


async def test_a_question_that_no_rule_is_about_reaches_the_client_and_has_its_row(tmp_path: Path) -> None:
    handlers = {"read": asking("elicitation/create")}
    async with scripted(handlers=handlers) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        client = await proxy.connect(capabilities=ABLE)
        live = client.calling("read")
        seen = await live.until(lambda answer: answer.messages)
        await client.http({"jsonrpc": "2.0", "id": seen.messages[0]["id"], "result": {"action": "decline"}})

        assert (await live.answer()).text == "{'action': 'decline'}"
        assert await rows(proxy) == [("allow", "pass", {"kind": "server_request", "name": "elicitation/create"})]


async def test_a_question_on_the_sessions_own_stream_is_judged_too(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        client = await proxy.connect(capabilities=ABLE)
        listening = client.start(verb="GET")
        await listening.until(lambda answer: answer.body)
        for number, method in enumerate(METHODS):
            await spy.push({"jsonrpc": "2.0", "id": number, "method": method, "params": {}})
        refused = [await spy.answer_to(0), await spy.answer_to(2)]
        seen = await listening.until(lambda answer: answer.messages)
        listening.hang_up()

        assert [each["error"]["code"] for each in refused] == [-31_002, -32_601]
        assert [each["method"] for each in seen.messages] == ["elicitation/create"]


def wanting(*methods: str) -> Any:
    async def want(call: Incoming) -> Any:
        if call.params.get("inputResponses"):
            return text(str(call.params["inputResponses"]))
        wanted = {f"k{n}": {"method": method, "params": {}} for n, method in enumerate(methods)}
        return {"resultType": "input_required", "inputRequests": wanted, "requestState": "theirs"}

    return want


@PATHS
@pytest.mark.parametrize("tool", ["read", "write"])
@pytest.mark.parametrize("asked", [["sampling/createMessage"], ["elicitation/create", "sampling/createMessage"]])
async def test_input_that_must_not_be_asked_ends_the_call_in_words_for_the_model(
    tmp_path: Path, path: str, tool: str, asked: list[str]
) -> None:
    handlers = {tool: wanting(*asked)}
    async with scripted(handlers=handlers) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        client = await proxy.connect(MODERN, path=path, capabilities=ABLE)
        live = client.calling(f"spy__{tool}" if path == "/mcp" else tool)
        answer = await (live.answer() if tool == "read" else proxy.decided(live, proxy.approve))

        assert answer.result["isError"] is True
        assert "inputRequests" not in answer.result
        assert "asked for `sampling/createMessage`" in answer.text
        assert "policy.yaml rule no-sampling" in answer.text
        assert spy.runs(tool) == 1


async def test_hidden_input_is_not_named(tmp_path: Path) -> None:
    async with scripted(handlers={"read": wanting("roots/list")}) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        answer = await (await proxy.connect(MODERN, capabilities=ABLE)).call("read")

        assert "roots" not in answer.text
        assert "no-roots" not in answer.text
        assert answer.result["isError"] is True


async def test_input_that_may_be_asked_goes_both_ways(tmp_path: Path) -> None:
    handlers = {"read": wanting("elicitation/create")}
    async with scripted(handlers=handlers) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        client = await proxy.connect(MODERN, capabilities=ABLE)
        first = await client.call("read")
        again = await client.call("read", inputResponses={"k0": {"action": "accept"}}, requestState="theirs")

        assert first.result["inputRequests"]["k0"]["method"] == "elicitation/create"
        assert again.text == "{'k0': {'action': 'accept'}}"


@pytest.mark.parametrize(("method", "params"), [("prompts/get", {"name": "p"}), ("resources/read", {"uri": "a:b"})])
async def test_prompts_and_resources_cannot_ask_what_tools_cannot(tmp_path: Path, method: str, params: Json) -> None:
    others = {method: wanting("sampling/createMessage")}
    async with scripted(others=others) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        answer = await (await proxy.connect(MODERN, capabilities=ABLE)).request(method, params)

        assert answer.error["code"] == -31_002
        assert "sampling/createMessage" in answer.error["message"]


async def test_elicitation_that_comes_as_an_error_is_judged_too(tmp_path: Path) -> None:
    """MCP 2025-11-25: -32042 sends the user to a URL of the server's choice."""

    async def ask(_: Incoming) -> Any:
        raise RpcError(-32042, "go there")

    layer = {
        **LAYER,
        "rules": [{"id": "e", "server_requests": "*__elicitation/create", "action": "deny"}, *LAYER["rules"]],
    }
    async with scripted(handlers={"read": ask}) as spy, world(tmp_path, spy, layer=layer) as proxy:
        answer = await (await proxy.connect(capabilities=ABLE)).call("read")

        assert answer.result["isError"] is True
        assert "elicitation/create" in answer.text


@ERAS
async def test_without_a_rule_about_them_requests_pass_and_unknown_ones_stay_refused(tmp_path: Path, era: str) -> None:
    if era == MODERN:
        async with scripted(handlers={"read": wanting(*METHODS)}) as spy, world(tmp_path, spy) as proxy:
            found = (await (await proxy.connect(MODERN, capabilities=ABLE)).call("read")).result
            assert [each["method"] for each in found["inputRequests"].values()] == METHODS
        return
    async with scripted(handlers={"read": asking("sampling/other")}) as spy, world(tmp_path, spy, layer=LAYER) as proxy:
        assert "Method not found" in (await (await proxy.connect(capabilities=ABLE)).call("read")).text
        assert await rows(proxy) == []
