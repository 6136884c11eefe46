"""Answers that no proxy of ours gives: whoever stands in between, or something else at the address, may."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdshort import __version__
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.mcp_link import McpTool, ProxyLink
from holdshort.runner.proxy import ApprovalProxy
from runner.wires import Answerer, Heard, Rough, answer, rough, rpc

TOKEN = "the-token-of-an-agent-that-nobody-else-may-see"
ECHO = McpTool(name="spy__echo", server="spy", tool="echo", wire_name="spy__echo", input_schema={"type": "object"})
LISTED = {"name": "spy__echo", "inputSchema": {"type": "object"}}
DONE = {"content": [{"type": "text", "text": "done"}]}
STREAM = {"content_type": "text/event-stream"}

Say = Callable[[Heard], bytes | None]


def session(call: Say, **others: Say) -> Answerer:
    """A server of the handshake era that answers calls with `call`."""

    def answers(heard: Heard) -> bytes | None:
        if heard.verb != "POST":
            other = others.get(heard.verb.lower())
            return answer(200) if other is None else other(heard)
        method = heard.message.get("method", "answer")
        if method == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
            return answer(200, {"jsonrpc": "2.0", "id": heard.message["id"], "result": result}, mcp_session_id="s-1")
        if "id" not in heard.message or method == "answer":
            return answer(202)
        if method == "tools/list" and "tools_list" not in others:
            return rpc(heard, result={"tools": [LISTED]})
        return call(heard) if method == "tools/call" else others[method.replace("/", "_")](heard)

    return answers


def event(message: dict[str, Any], id: str = "") -> str:  # noqa: A002
    return (f"id: {id}\n" if id else "") + f"data: {json.dumps(message)}\n\n"


@asynccontextmanager
async def opened(answers: Answerer, **more: Any) -> AsyncGenerator[tuple[Rough, ProxyLink]]:
    async with rough(answers) as server:
        link = await ApprovalProxy(server.url, token=TOKEN, **more).open()
        try:
            yield server, link
        finally:
            await link.close()


async def refused(say: Say) -> ProxyError:
    async with opened(session(say)) as (server, link):
        with pytest.raises(ProxyError) as error:
            await link.call(ECHO, {}, meta={})
        calls = [heard for heard in server.heard if b"tools/call" in heard.body]
    assert len(calls) == 1
    assert TOKEN not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    "body",
    [
        '{"jsonrpc": "2.0", "id": 3, "result": {}, "result": {"content": []}}',
        '{"jsonrpc": "2.0", "id": 3, "result": {"content": NaN}}',
        '{"jsonrpc": "2.0", "id": 99, "result": {}}',
        '{"jsonrpc": "2.0", "id": null, "result": {}}',
        '{"jsonrpc": "2.0", "id": 3}',
        '{"jsonrpc": "2.0", "id": 3, "method": "ping"}',
        '[{"jsonrpc": "2.0", "id": 3, "result": {}}]',
        '{"jsonrpc": "2.0", "id": 3, "result": {}',
        "",
    ],
    ids=["a-key-twice", "nan", "another-id", "no-id", "neither", "a-request", "a-batch", "cut-off", "nothing"],
)
async def test_an_answer_that_can_be_read_in_two_ways_is_none(body: str) -> None:
    error = await refused(lambda _: answer(200, body))

    assert error.reason == "malformed"
    assert not isinstance(error, ProxyUnreachable)


async def test_the_same_holds_inside_of_a_stream() -> None:
    twice = 'data: {"jsonrpc": "2.0", "id": 3, "result": {"a": 1, "a": 2}}\n\n'
    error = await refused(lambda _: answer(200, twice.encode(), **STREAM))

    assert error.reason == "malformed"


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateway_that_gave_up_may_have_passed_the_call_on(status: int) -> None:
    error = await refused(lambda _: answer(status, b"<html>"))

    assert isinstance(error, ProxyUnreachable)
    assert error.sent is True


async def test_a_connection_that_ends_without_an_answer_may_have_taken_the_call() -> None:
    error = await refused(lambda _: None)

    assert isinstance(error, ProxyUnreachable)
    assert error.sent is True


async def test_a_stream_that_ends_without_a_response_and_cannot_be_taken_up_is_lost() -> None:
    error = await refused(lambda _: answer(200, b": ping\n\n", **STREAM))

    assert isinstance(error, ProxyUnreachable)
    assert error.sent is True


@pytest.mark.parametrize("status", [404, 400, 200])
async def test_a_stream_whose_rest_is_not_there_any_more_is_lost(status: int) -> None:
    begun = b"id: 1.0\ndata: \n\n"
    gone: Say = lambda _: answer(status, b"", **(STREAM if status == 200 else {}))  # noqa: E731
    async with opened(session(lambda _: answer(200, begun, **STREAM), get=gone)) as (server, link):
        with pytest.raises(ProxyUnreachable) as error:
            await link.call(ECHO, {}, meta={})
        asked = [heard.headers.get("last-event-id") for heard in server.heard if heard.verb == "GET"]

    assert error.value.sent is True
    assert set(asked) == {"1.0"}


async def test_the_rest_of_a_broken_stream_is_fetched_and_the_call_is_sent_once() -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}

    def rest(heard: Heard) -> bytes:
        seen = heard.headers["last-event-id"]
        if seen == "1.0":
            return answer(200, event(note, "1.1").encode(), **STREAM)
        return answer(200, event({"jsonrpc": "2.0", "id": 3, "result": DONE}, "1.2").encode(), **STREAM)

    begun = b"id: 1.0\ndata: \n\n"
    async with opened(session(lambda _: answer(200, begun, **STREAM), get=rest)) as (server, link):
        result = await link.call(ECHO, {}, meta={})
        asked = [heard.headers["last-event-id"] for heard in server.heard if heard.verb == "GET"]

    assert result == DONE
    assert asked == ["1.0", "1.1"]


async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere() -> None:
    async with rough(lambda _: answer(200)) as elsewhere:
        error = await refused(lambda _: answer(307, b"", location=f"{elsewhere.url}/mcp"))

        assert elsewhere.heard == []
    assert error.reason == "redirect"


async def test_what_a_server_asks_is_answered_while_the_call_goes_on() -> None:
    asked: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": "q1", "method": "sampling/createMessage", "params": {}},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
        {"jsonrpc": "2.0", "id": 77, "result": {"not": "ours"}},
    ]

    def call(heard: Heard) -> bytes:
        done = {"jsonrpc": "2.0", "id": heard.message["id"], "result": DONE}
        return answer(200, b": hello\n\n" + "".join(event(each) for each in [*asked, done]).encode(), **STREAM)

    listed: Say = lambda heard: rpc(heard, result={"tools": [LISTED]})  # noqa: E731
    async with opened(session(call, tools_list=listed)) as (server, link):
        first = await link.tools()
        result = await link.call(ECHO, {}, meta={})
        second = await link.tools()
        replies = [heard.message for heard in server.heard if heard.verb == "POST" and b'"method"' not in heard.body]

    assert result == DONE
    assert replies == [
        {"jsonrpc": "2.0", "id": "q1", "error": {"code": -32601, "message": "Method not found"}},
        {"jsonrpc": "2.0", "id": 2, "result": {}},
    ]
    assert second is not first


async def test_a_result_that_wants_something_of_the_client_is_an_error() -> None:
    error = await refused(lambda heard: rpc(heard, result={"resultType": "input_required", "requestState": "s"}))

    assert error.reason == "input_required"


async def test_a_json_rpc_error_keeps_its_code_and_words_on_one_line() -> None:
    error = await refused(lambda heard: rpc(heard, error={"code": -31000, "message": "gone\nfor\x1b[2J" + "x" * 5000}))

    assert error.reason == "-31000"
    assert str(error).startswith("`tools/call` was refused: gone for [2J")
    assert len(str(error)) < 1100


async def test_every_request_says_who_asks_in_which_revision() -> None:
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b"}
    async with opened(session(lambda heard: rpc(heard, result=DONE))) as (server, link):
        await link.call(ECHO, {"n": 1}, meta={**trace, "holdshort/park": "now"})
    first, second, _, third, last = server.heard

    assert [heard.path for heard in server.heard] == ["/mcp"] * 5
    assert {heard.headers["authorization"] for heard in server.heard} == {f"Bearer {TOKEN}"}
    assert first.message["params"]["clientInfo"] == {"name": "holdshort-runner", "version": __version__}
    assert first.message["params"]["protocolVersion"] == "2025-11-25"
    assert first.headers["user-agent"] == f"holdshort-runner/{__version__}"
    assert second.message == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (third.headers["mcp-session-id"], third.headers["mcp-protocol-version"]) == ("s-1", "2025-11-25")
    assert third.message["params"] == {
        "name": "spy__echo", "arguments": {"n": 1}, "_meta": {**trace, "holdshort/park": "now"},
    }  # fmt: skip
    assert {name: third.headers[name] for name in trace} == trace
    assert (last.verb, last.headers["mcp-session-id"]) == ("DELETE", "s-1")


async def test_a_proxy_of_the_stateless_era_alone_is_asked_in_that_one() -> None:
    def answers(heard: Heard) -> bytes:
        method = heard.message["method"]
        if method == "initialize":
            error = {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": ["2026-07-28"]}}
            return answer(400, {"jsonrpc": "2.0", "id": heard.message["id"], "error": error})
        if method == "server/discover":
            return rpc(heard, result={"supportedVersions": ["2026-07-28"]})
        return rpc(heard, result={"resultType": "complete", "tools": [LISTED], **DONE})

    async with opened(answers) as (server, link):
        await link.call(ECHO, {"n": 1}, meta={"holdshort/park": "now"})
    call = server.heard[-1]

    assert [heard.message["method"] for heard in server.heard[:3]] == ["initialize", "server/discover", "tools/list"]
    assert len(server.heard) == 4
    assert call.message["params"]["_meta"] == {
        "holdshort/park": "now",
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "holdshort-runner", "version": __version__},
    }
    wanted = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "spy__echo"}
    assert {name: call.headers[name] for name in wanted} == wanted
    assert "mcp-session-id" not in call.headers


async def test_a_proxy_that_gives_up_the_stateless_era_is_met_in_the_other() -> None:
    """As when a server of the older era is added to the configuration: the request was refused unread."""
    handshake = False

    def answers(heard: Heard) -> bytes | None:
        nonlocal handshake
        unsupported = {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": []}}
        method = heard.message.get("method") if heard.body else None
        if handshake:
            stateless = "mcp-method" in heard.headers
            refusal = (
                answer(400, {"jsonrpc": "2.0", "id": heard.message["id"], "error": unsupported}) if stateless else None
            )
            return refusal or session(lambda call: rpc(call, result=DONE))(heard)
        if method == "initialize":
            return answer(400, {"jsonrpc": "2.0", "id": heard.message["id"], "error": unsupported})
        if method == "server/discover":
            return rpc(heard, result={"supportedVersions": ["2026-07-28"]})
        handshake = method == "tools/call"
        return rpc(heard, result={"tools": [LISTED], **DONE})

    async with opened(answers) as (server, link):
        first = await link.call(ECHO, {"n": 1}, meta={})
        second = await link.call(ECHO, {"n": 2}, meta={})
        methods = [heard.message.get("method") for heard in server.heard]

    assert (first["content"], second) == (DONE["content"], DONE)
    assert methods[3:] == ["tools/call", "tools/call", "initialize", "notifications/initialized", "tools/call"]


async def test_sessions_that_never_hold_are_an_error_and_no_endless_loop() -> None:
    async with opened(session(lambda _: answer(404))) as (server, link):
        with pytest.raises(ProxyError, match="ends each session at once") as error:
            await link.call(ECHO, {}, meta={})
        calls = [heard for heard in server.heard if b"tools/call" in heard.body]

    assert error.value.reason == "session_lost"
    assert len(calls) == 3


async def test_a_revision_that_nobody_asked_for_is_an_error() -> None:
    result = {"protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    async with opened(lambda heard: rpc(heard, result=result)) as (_, link):
        with pytest.raises(ProxyError, match="chose protocol `1999-01-01`"):
            await link.tools()


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([{"tools": [{"name": "bare", "inputSchema": {}}]}], "no server in its name"),
        ([{"tools": None}], "is none"),
        ([{"tools": [], "nextCursor": "c"}] * 2, "no end"),
        ([{"tools": [], "nextCursor": 7}], "no end"),
    ],
    ids=["foreign", "none", "circle", "number"],
)
async def test_a_list_that_cannot_be_a_proxys_is_an_error(pages: list[Any], words: str) -> None:
    left = iter(pages)
    async with opened(session(lambda _: None, tools_list=lambda heard: rpc(heard, result=next(left)))) as (_, link):
        with pytest.raises(ProxyError, match=words):
            await link.tools()


async def test_all_pages_of_a_list_are_read_and_unusable_entries_left_out(caplog: pytest.LogCaptureFixture) -> None:
    entries: list[Any] = [
        {"name": "a__x", "inputSchema": {"type": "object"}, "title": "X", "outputSchema": {"type": "object"}},
        {"name": "a__y"}, {"name": 7, "inputSchema": {}}, {"name": "", "inputSchema": {}}, "no object",
        {"name": "a__x", "inputSchema": {"type": "array"}},
        {"name": "b_c__d__e", "inputSchema": {}, "description": 7, "annotations": []},
    ]  # fmt: skip
    seen: list[Any] = []

    def listed(heard: Heard) -> bytes:
        at = int(heard.message["params"].get("cursor", "0"))
        seen.append(heard.message["params"])
        more = {"nextCursor": str(at + 1)} if at + 1 < len(entries) else {}
        return rpc(heard, result={"tools": [entries[at]], **more})

    async with opened(session(lambda _: None, tools_list=listed)) as (_, link):
        tools = await link.tools()

    assert [(each.server, each.tool, each.title) for each in tools] == [("a", "x", "X"), ("b_c", "d__e", None)]
    assert (tools[0].output_schema, tools[1].description, tools[1].annotations) == ({"type": "object"}, "", {})
    assert len(seen) == len(entries)
    assert seen[0] == {}
    assert len(caplog.records) == 3


async def test_arguments_that_no_json_can_carry_are_not_sent() -> None:
    async with opened(session(lambda heard: rpc(heard, result=DONE))) as (server, link):
        with pytest.raises(ProxyError, match="half a character"):
            await link.call(ECHO, {"text": "\ud800"}, meta={})
        assert not any(b"tools/call" in heard.body for heard in server.heard)


async def test_what_has_no_length_limit_still_has_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.runner.connection.MAX_BYTES", 1000)
    error = await refused(lambda heard: rpc(heard, result={"content": ["x" * 2000]}))

    assert error.reason == "too_large"


async def test_sixteen_megabytes_are_no_trouble() -> None:
    text = "x" * (16 * 1024 * 1024)

    def call(heard: Heard) -> bytes:
        done = {"jsonrpc": "2.0", "id": heard.message["id"], "result": {"content": [{"type": "text", "text": text}]}}
        return answer(200, event(done).encode(), **STREAM)

    async with opened(session(call)) as (_, link):
        result = await link.call(ECHO, {}, meta={})

    assert result["content"][0]["text"] == text
