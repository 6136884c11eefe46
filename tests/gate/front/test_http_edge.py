"""The HTTP front against requests that no client library would send: refused, harmless, and the next call works."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from gate.scripted import scripted, tool
from gate.world import BOT, LEGACY, MODERN, OTHER, Client, World, world

META = "io.modelcontextprotocol/"
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path) as made:
        yield made
        # Whatever was sent: nothing ran that was not asked for, nothing waits, and the next call works.
        assert [name for name, _ in made.spy.executed] in ([], ["read"])
        assert await made.everything() == []
        for era in (LEGACY, MODERN):
            assert (await (await made.connect(era)).call("read")).text == "read done"
        assert [event for event, _ in made.log.entries if event == "gate.failed"] == []


def call_of(client: Client, **more: Any) -> dict[str, Any]:
    return {**client.message("tools/call", {"name": "write", "arguments": {}}), **more}


# -- who may come in


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": None}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": f"Basic {BOT}"}, 401),
        ({"authorization": BOT}, 401),
        ({"authorization": f"Bearer {BOT} x"}, 401),
        ({"authorization": f"Bearer {BOT.upper()}"}, 401),
        ({"authorization": "Bearer token-of-ana-that-is-long-enough"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:7411.evil.example"}, 421),
        ({"host": "127.0.0.1:7411/x?"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": None}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:7411.evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": None}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-16"}, 415),
        ({"accept": "text/html"}, 406),
    ],
)
@ERAS
async def test_the_wrong_headers_end_at_the_door(
    proxy: World, era: str, headers: dict[str, str | None], status: int
) -> None:
    client = await proxy.connect(era)
    message = call_of(client)
    answer = await client.http(message, headers={**client.headers_for(message), **headers})

    assert answer.status == status
    assert "error" in answer.reply
    assert BOT not in answer.body.decode()
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers", [{"host": "LOCALHOST:7411"}, {"host": "[::1]:7411"}, {"origin": "http://localhost:7411"}]
)
async def test_the_right_headers_pass_in_any_case(proxy: World, headers: dict[str, str | None]) -> None:
    client = await proxy.connect(MODERN)
    message = client.message("tools/call", {"name": "read", "arguments": {}})

    assert (await client.http(message, headers={**client.headers_for(message), **headers})).text == "read done"


TWICE = {
    LEGACY: ["host", "authorization", "content-type", "mcp-session-id", "mcp-protocol-version"],
    MODERN: ["host", "authorization", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name"],
}


@pytest.mark.parametrize(("era", "name"), [(era, name) for era, names in TWICE.items() for name in names])
async def test_a_header_that_decides_something_and_came_twice_is_refused(proxy: World, era: str, name: str) -> None:
    client = await proxy.connect(era)
    message = call_of(client)
    answer = await client.http(message, headers=client.headers_for(message), lines=[(name, "something else")])

    assert answer.status == 400


@pytest.mark.parametrize("name", ["origin", "content-length"])
@ERAS
async def test_a_header_that_may_be_missing_may_not_be_there_twice(proxy: World, era: str, name: str) -> None:
    client = await proxy.connect(era)
    message = call_of(client)
    lines = [(name, "http://localhost:7411"), (name, "http://localhost:7411")]

    assert (await client.http(message, headers=client.headers_for(message), lines=lines)).status == 400


async def test_an_agent_may_be_local_only_while_no_agents_are_configured(tmp_path: Path) -> None:
    async with world(tmp_path, agents=None) as proxy:
        agent = proxy.agent(token=None)
        ping = {"jsonrpc": "2.0", "method": "notifications/x"}
        here = await agent.http(ping, headers={"mcp-protocol-version": MODERN})
        forwarded = await agent.http(ping, headers={"mcp-protocol-version": MODERN, "x-forwarded-for": "10.0.0.1"})
        agent.client = ("10.0.0.1", 5)
        elsewhere = await agent.http(ping, headers={"mcp-protocol-version": MODERN})

        assert (here.status, forwarded.status, elsewhere.status) == (202, 401, 401)


# -- paths and methods


@pytest.mark.parametrize("path", ["/mcp/nobody", "/mcp/spy/x", "/mcp/../mcp/nobody", "/mcp/%73py", "/mcp/SPY"])
async def test_a_path_that_leads_nowhere_is_404(proxy: World, path: str) -> None:
    client = await proxy.connect(MODERN)
    message = call_of(client)

    assert (await client.http(message, headers=client.headers_for(message), path=path)).status == 404


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
async def test_a_verb_that_means_nothing_is_405(proxy: World, verb: str) -> None:
    answer = await (await proxy.connect()).http(verb=verb)

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, POST, DELETE"


# -- bodies


BAD_BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a duplicate key": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","name":"write"}}',
    "a duplicate method": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{}}',
    "half a character, twice": b'{"\\ud800":1,"\\ud800":2}',
    "a batch": b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
    "an empty batch": b"[]",
    "a null id": b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    "a float id": b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}',
    "a byte order mark": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
    "UTF-16": '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
    "NaN": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"x":NaN}}}',
    "too deep": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 100 + b"]" * 100 + b"}}",
    "params that are a list": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
    "a number": b"1",
    "text": b'"x"',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
@ERAS
async def test_a_body_that_is_no_message_is_refused(proxy: World, era: str, body: bytes) -> None:
    client = await proxy.connect(era)
    answer = await client.http(body, headers={"mcp-protocol-version": era, "mcp-method": "tools/call"})

    assert answer.status in (400, 413)
    assert answer.error["code"] in (-32700, -32600)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_413_before_it_is_read(proxy: World, announced: bool) -> None:
    client = await proxy.connect(MODERN)
    whole = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"x":"' + b"a" * 5_000_000 + b'"}}'
    chunks = [whole[at : at + 65_536] for at in range(0, len(whole), 65_536)]
    headers = {"content-length": str(len(whole))} if announced else {}
    answer = await client.http(headers=headers, chunks=chunks)

    assert answer.status == 413


async def test_a_body_in_pieces_is_one_body(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    message = client.message("tools/call", {"name": "read", "arguments": {}})
    raw = json.dumps(message).encode()
    answer = await client.http(headers=client.headers_for(message), chunks=[raw[:10], b"", raw[10:]])

    assert answer.text == "read done"


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_does_no_harm(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    live = client.start(headers={"content-length": "100"}, chunks=[b'{"jsonrpc":'])
    live.hang_up()

    assert (await live.answer()).status == 400


# -- eras


async def test_a_modern_request_needs_its_envelope(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    for gone in ("protocolVersion", "clientCapabilities"):
        message = call_of(client)
        del message["params"]["_meta"][META + gone]
        answer = await client.http(message, headers=client.headers_for(message))

        assert answer.status == 400
        assert answer.error["code"] in (-32602, -32020)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"mcp-protocol-version": None}, -32020),
        ({"mcp-protocol-version": LEGACY}, -32020),
        ({"mcp-protocol-version": "2099-01-01"}, -32020),
        ({"mcp-method": None}, -32020),
        ({"mcp-method": "tools/list"}, -32020),
        ({"mcp-method": "TOOLS/CALL"}, -32020),
        ({"mcp-name": None}, -32020),
        ({"mcp-name": "read"}, -32020),
        ({"mcp-name": "=?base64?cmVhZA==?="}, -32020),
    ],
)
async def test_headers_that_say_something_else_than_the_body_are_refused(
    proxy: World, headers: dict[str, str | None], code: int
) -> None:
    client = await proxy.connect(MODERN)
    message = call_of(client)
    answer = await client.http(message, headers={**client.headers_for(message), **headers})

    assert answer.status == 400
    assert answer.error["code"] == code


async def test_white_space_around_a_header_is_no_part_of_it(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    message = client.message("tools/call", {"name": "read", "arguments": {}})
    headers: dict[str, str | None] = {**client.headers_for(message), "mcp-name": "read \t", "mcp-method": " tools/call"}

    assert (await client.http(message, headers=headers)).text == "read done"


async def test_a_version_nobody_knows_is_answered_with_those_we_know(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    message = call_of(client)
    message["params"]["_meta"][META + "protocolVersion"] = "2099-01-01"
    answer = await client.http(message, headers={**client.headers_for(message), "mcp-protocol-version": "2099-01-01"})

    assert answer.status == 400
    assert answer.error["code"] == -32022
    assert MODERN in answer.error["data"]["supported"]


async def test_a_modern_header_over_a_legacy_body_is_refused(proxy: World) -> None:
    client = await proxy.connect(LEGACY)
    message = call_of(client)
    answer = await client.http(message, headers={"mcp-protocol-version": MODERN})

    assert answer.status == 400
    assert "error" in answer.reply


async def test_initialize_does_not_exist_in_the_modern_era(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    answer = await client.request("initialize", {"protocolVersion": MODERN})

    assert answer.status == 404
    assert answer.error["code"] == -32601


async def test_modern_notifications_go_nowhere_and_responses_are_refused(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    headers: dict[str, str | None] = {"mcp-protocol-version": MODERN}
    before = len(proxy.spy.received)
    told = await client.http({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}}, headers=headers)
    answered = await client.http({"jsonrpc": "2.0", "id": 1, "result": {}}, headers=headers)

    assert (told.status, answered.status) == (202, 400)
    assert len(proxy.spy.received) == before


async def test_a_modern_client_before_a_legacy_server_learns_what_to_speak(tmp_path: Path) -> None:
    async with scripted(eras={"legacy"}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN)
        answer = await client.request("server/discover")

        assert answer.status == 400
        assert answer.error["code"] == -32022
        assert LEGACY in answer.error["data"]["supported"]


async def test_a_task_is_named_in_the_header_as_in_the_body(proxy: World) -> None:
    client = await proxy.connect(MODERN)
    message = client.message("tasks/get", {"taskId": "t-1"})
    answer = await client.http(message, headers={**client.headers_for(message), "mcp-name": "t-2"})

    assert answer.error["code"] == -32020


# -- sessions


async def test_without_a_session_there_is_nothing_to_call(proxy: World) -> None:
    client = await proxy.connect()
    answer = await client.http(call_of(client), headers={"mcp-session-id": None})

    assert answer.status == 400


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
async def test_an_unknown_session_is_404(proxy: World, verb: str) -> None:
    client = await proxy.connect()
    client.session = "made-up"

    assert (await client.http(call_of(client) if verb == "POST" else None, verb=verb)).status == 404


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
async def test_somebody_elses_session_reads_like_an_unknown_one(proxy: World, verb: str) -> None:
    client = await proxy.connect()
    thief = await proxy.connect(token=OTHER)
    unknown = await thief.http(
        call_of(thief, id=1) if verb == "POST" else None, verb=verb, headers={"mcp-session-id": "x"}
    )
    stolen = await thief.http(
        call_of(thief, id=1) if verb == "POST" else None, verb=verb, headers={"mcp-session-id": client.session}
    )

    assert (stolen.status, stolen.body) == (404, unknown.body)
    assert (await client.call("read")).text == "read done"


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
async def test_a_session_belongs_to_its_endpoint(proxy: World, verb: str) -> None:
    client = await proxy.connect()

    assert (await client.http(call_of(client) if verb == "POST" else None, verb=verb, path="/mcp")).status == 404


async def test_a_deleted_session_is_gone(proxy: World) -> None:
    client = await proxy.connect()

    assert (await client.http(verb="DELETE")).status == 200
    assert (await client.http(call_of(client))).status == 404
    assert (await client.http(verb="DELETE")).status == 404


@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
async def test_a_session_refuses_versions_that_have_none(proxy: World, verb: str) -> None:
    client = await proxy.connect()
    answer = await client.http(
        call_of(client) if verb == "POST" else None, verb=verb, headers={"mcp-protocol-version": "1999-01-01"}
    )

    assert answer.status == 400


async def test_listening_needs_a_session_and_the_right_accept(proxy: World) -> None:
    client = await proxy.connect()

    assert (await client.http(verb="GET", headers={"mcp-session-id": None})).status == 405
    assert (await client.http(verb="GET", headers={"accept": "application/json"})).status == 406


async def test_one_connection_listens_at_a_time(proxy: World) -> None:
    client = await proxy.connect()
    first = client.start(verb="GET")
    await first.until(lambda answer: answer.body)
    second = await client.http(verb="GET")
    first.hang_up()
    await first.answer()
    third = client.start(verb="GET")
    await third.until(lambda answer: answer.body)
    third.hang_up()

    assert second.status == 409


@pytest.mark.parametrize("last", ["x", "99.1", "1", ".1", "1.x", "1.-1", "1.\u0661"])
async def test_an_event_id_that_is_none_is_refused(proxy: World, last: str) -> None:
    client = await proxy.connect()
    live = client.start(verb="GET", lines=[("last-event-id", last.encode().decode("latin-1"))])

    assert (await live.answer()).status == 400


async def test_an_id_that_is_in_use_is_not_used_again(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        first = client.calling("write", {"n": 1}, number=5)
        (record,) = await proxy.pending()
        second = await client.calling("write", {"n": 2}, number=5).answer()
        text_id = client.calling("write", {"n": 3}, number="5")
        await proxy.pending(2)
        await proxy.approve(record)

        assert second.error["code"] == -32600
        assert (await first.answer()).reply["id"] == 5
        text_id.hang_up()


async def test_an_agent_may_only_have_so_many_sessions_and_loses_idle_ones_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdshort.gate.front.http.Sessions", lambda: _few())
    async with world(tmp_path) as proxy:
        oldest = await proxy.connect()
        used = await proxy.connect()
        await oldest.call("read")
        newest = await proxy.connect()
        stranger = await proxy.connect(token=OTHER)

        assert (await used.http(call_of(used))).status == 404
        for client in (oldest, newest, stranger):
            assert (await client.call("read")).text == "read done"


async def test_an_agent_whose_sessions_are_all_at_work_gets_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdshort.gate.front.http.Sessions", lambda: _few())
    async with world(tmp_path) as proxy:
        clients = [await proxy.connect() for _ in range(2)]
        held = [client.calling("write", {"n": number}) for number, client in enumerate(clients)]
        await proxy.pending(2)
        agent = proxy.agent()
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        answer = await agent.http({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})

        assert answer.status == 429
        for live in held:
            live.hang_up()


def _few() -> Any:
    from holdshort.gate.front.sessions import Sessions

    return Sessions(most_per_agent=2)


async def test_header_parameters_are_checked_and_made_anew(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with scripted(tools=[tool("read", inputSchema=schema)]) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN)
        message = client.message("tools/call", {"name": "read", "arguments": {"region": "eu"}})
        headers = client.headers_for(message)
        wrong = await client.http(message, headers={**headers, "mcp-param-region": "us"})
        right = await client.http(message, headers={**headers, "mcp-param-region": "eu", "mcp-param-other": "x"})
        seen = next(h for m, h in spy.received if m.get("method") == "tools/call")

        assert wrong.error["code"] == -32020
        assert right.text == "read done"
        assert seen["mcp-param-region"] == "eu"
        assert "mcp-param-other" not in seen
