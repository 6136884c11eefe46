"""Handshake-era sessions: ids, cancellations, questions from servers, news, and servers that die and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import Drop, Incoming, scripted, text, tool
from gate.world import LEGACY, MODERN, Answer, Client, world

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
ALLOW: dict[str, Any] = {"version": 1, "default": "allow"}


# -- ids and progress


@ERAS
async def test_ids_of_any_kind_are_in_flight_together_and_come_back_as_they_were(tmp_path: Path, era: str) -> None:
    ids: list[Any] = [7, "7", 0, "", -5, 2**63 - 1, "\u00e9", "holdshort-initialize"]
    go_on = anyio.Event()

    async def wait(call: Incoming) -> Any:
        await go_on.wait()
        return text(str(call.arguments["n"]))

    async with scripted(handlers={"read": wait}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        lives = [client.calling("read", {"n": at}, number=number) for at, number in enumerate(ids)]
        await spy.until(lambda: spy.runs("read") == len(ids))
        go_on.set()
        replies = [(await live.answer()).reply for live in lives]

        assert [(type(reply["id"]), reply["id"]) for reply in replies] == [(type(number), number) for number in ids]
        assert [reply["result"]["content"][0]["text"] for reply in replies] == [str(at) for at in range(len(ids))]


@ERAS
async def test_progress_goes_to_whom_it_belongs_though_all_use_the_same_token(tmp_path: Path, era: str) -> None:
    async def steps(call: Incoming) -> Any:
        token = call.params["_meta"]["progressToken"]
        for step in (1, 2):
            params = {"progressToken": token, "progress": step, "message": str(call.arguments["n"])}
            await call.tell({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        return text("done")

    async with scripted(handlers={"read": steps}) as spy, world(tmp_path, spy) as proxy:
        clients = [await proxy.connect(era) for _ in range(3)]
        lives = [
            client.calling("read", {"n": number}, number=1, _meta={"progressToken": 1})
            for number, client in enumerate(clients)
        ]
        for number, live in enumerate(lives):
            answer = await live.answer()
            assert [each["params"]["progress"] for each in answer.messages[:-1]] == [1, 2]
            assert {each["params"]["message"] for each in answer.messages[:-1]} == {str(number)}


# -- cancelling what was forwarded


async def test_a_cancelled_call_tells_its_server_once_and_is_owed_no_answer(tmp_path: Path) -> None:
    async def hang(_: Incoming) -> Any:
        await anyio.sleep_forever()

    async with scripted(handlers={"read": hang}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        live = client.calling("read", number=4)
        await spy.until(lambda: spy.runs("read"))
        await client.notify("notifications/cancelled", {"requestId": 4})
        await client.notify("notifications/cancelled", {"requestId": 4})
        answer = await live.answer()
        await spy.until(lambda: spy.messages("notifications/cancelled"))
        await client.request("ping")

        assert answer.body == b""
        assert [each["params"]["requestId"] for each in spy.messages("notifications/cancelled")] == [4]


async def test_a_legacy_client_that_hangs_up_cancels_nothing_and_a_modern_one_does(tmp_path: Path) -> None:
    async def hang(_: Incoming) -> Any:
        await anyio.sleep_forever()

    async with scripted(handlers={"read": hang}) as spy, world(tmp_path, spy) as proxy:
        modern = await proxy.connect(MODERN)
        legacy = await proxy.connect(LEGACY)
        first = modern.calling("read", number=1)
        second = legacy.calling("read", number=2)
        await spy.until(lambda: spy.runs("read") == 2)
        first.hang_up()
        second.hang_up()
        await first.answer()
        await spy.until(lambda: spy.aborted)

        assert spy.aborted == [1]
        assert spy.messages("notifications/cancelled") == []


async def test_a_call_cancelled_before_it_was_sent_is_not_sent(tmp_path: Path) -> None:
    listing = anyio.Event()

    async def slow_list(call: Incoming) -> Any:
        await listing.wait()
        return {"tools": call.server.tools}

    async with scripted(others={"tools/list": slow_list}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        live = client.calling("read", number=4)
        await spy.until(lambda: spy.messages("tools/list"))
        await client.notify("notifications/cancelled", {"requestId": 4})
        listing.set()
        answer = await live.answer()

        assert answer.body == b""
        assert spy.executed == []


# -- what servers ask


QUESTIONS = {
    "sampling/createMessage": {"messages": [], "maxTokens": 123456789012345678901234567890},
    "elicitation/create": {"message": "sure?", "requestedSchema": {"type": "object"}},
    "roots/list": {},
    "ping": {},
}


@pytest.mark.parametrize(("method", "params"), QUESTIONS.items(), ids=QUESTIONS)
@pytest.mark.parametrize("number", ["from-server", 1, 0])
async def test_a_servers_question_reaches_the_client_and_its_answer_the_server(
    tmp_path: Path, method: str, params: dict[str, Any], number: Any
) -> None:
    """The id is ours on the way, because two servers may use the same."""

    async def ask(call: Incoming) -> Any:
        answer = await call.ask(method, number, params)
        return text(f"{answer['result']} {type(answer['id']).__name__}")

    async with scripted(handlers={"read": ask}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(capabilities={"sampling": {}, "elicitation": {}, "roots": {}})
        live = client.calling("read")
        seen = await live.until(lambda answer: answer.messages)
        question = seen.messages[0]
        await client.http({"jsonrpc": "2.0", "id": question["id"], "result": {"x": 1, "_meta": {"holdshort/x": 1}}})
        answer = await live.answer()

        assert (question["method"], question["params"]) == (method, params)
        assert answer.text == f"{{'x': 1, '_meta': {{}}}} {type(number).__name__}"


async def test_an_answer_nobody_asked_for_goes_nowhere(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        before = len(proxy.spy.received)
        for number in (1, "1", 99):
            answer = await client.http({"jsonrpc": "2.0", "id": number, "result": {}})
            assert answer.status == 202

        assert len(proxy.spy.received) == before


async def test_an_answer_of_another_session_goes_nowhere(tmp_path: Path) -> None:
    asked = anyio.Event()

    async def ask(call: Incoming) -> Any:
        asked.set()
        return text(str((await call.ask("roots/list", 1))["result"]))

    async with scripted(handlers={"read": ask}) as spy, world(tmp_path, spy) as proxy:
        client, stranger = await proxy.connect(), await proxy.connect()
        live = client.calling("read")
        question = (await live.until(lambda answer: answer.messages)).messages[0]
        await stranger.http({"jsonrpc": "2.0", "id": question["id"], "result": {"from": "stranger"}})
        await client.http({"jsonrpc": "2.0", "id": question["id"], "result": {"from": "client"}})

        assert (await live.answer()).text == "{'from': 'client'}"


@ERAS
async def test_a_question_the_protocol_does_not_know_is_refused_here(tmp_path: Path, era: str) -> None:
    async def ask(call: Incoming) -> Any:
        if call.modern:
            await call.tell({"jsonrpc": "2.0", "id": "q", "method": "holdshort/approve", "params": {}})
            return text("asked")
        return text(str((await call.ask("holdshort/approve", "q"))["error"]["code"]))

    async with scripted(handlers={"read": ask}) as spy, world(tmp_path, spy) as proxy:
        answer = await (await proxy.connect(era)).call("read")

        if era == LEGACY:
            assert answer.text == "-32601"
        else:
            assert answer.error["code"] == -31_000  # that revision has no questions of servers


async def test_elicitation_cannot_approve(tmp_path: Path) -> None:
    """A server that colludes asks the client in the proxy's words; what the client says to it decides nothing."""

    async def ask(call: Incoming) -> Any:
        answer = await call.ask("elicitation/create", 1, {"message": "Approve `write`?"})
        return text(answer["result"]["action"])

    async with scripted(handlers={"read": ask}) as spy, world(tmp_path, spy, hold={"default": "20ms"}) as proxy:
        client = await proxy.connect(capabilities={"elicitation": {}})
        await client.call("write")
        live = client.calling("read")
        question = (await live.until(lambda answer: answer.messages)).messages[0]
        await client.http({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})
        await live.answer()

        assert len(await proxy.pending()) == 1
        assert spy.runs("write") == 0


# -- news


NEWS = [
    ("notifications/tools/list_changed", {}),
    ("notifications/prompts/list_changed", {}),
    ("notifications/resources/list_changed", {}),
    ("notifications/resources/updated", {"uri": "a:b", "n": 1.50}),
]


@pytest.mark.parametrize(("method", "params"), NEWS, ids=[method for method, _ in NEWS])
async def test_news_go_to_the_sessions_own_stream(tmp_path: Path, method: str, params: dict[str, Any]) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        listening = client.start(verb="GET")
        await listening.until(lambda answer: answer.body)
        await proxy.spy.push({"jsonrpc": "2.0", "method": method, "params": params})
        seen = await listening.until(lambda answer: answer.messages)
        listening.hang_up()

        assert seen.messages == [{"jsonrpc": "2.0", "method": method, "params": params}]


async def test_news_wait_for_a_client_that_listens_later_and_are_not_lost_when_it_reconnects(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        for number in range(3):
            await proxy.spy.push(updated(number))
        first = client.start(verb="GET")
        seen = await first.until(lambda answer: len(answer.messages) == 3)
        first.hang_up()
        await first.answer()
        await proxy.spy.push(updated(3))
        second = client.start(verb="GET", headers={"last-event-id": seen.events[1][0]})
        resumed = await second.until(lambda answer: len(answer.messages) == 2)
        second.hang_up()

        assert [each["params"]["uri"] for each in resumed.messages] == ["a:2", "a:3"]


def updated(number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": f"a:{number}"}}


async def test_what_no_revision_defines_is_not_passed_on(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        listening = client.start(verb="GET")
        await proxy.spy.push({"jsonrpc": "2.0", "method": "notifications/holdshort/approved", "params": {}})
        await proxy.spy.push(updated(1))
        seen = await listening.until(lambda answer: answer.messages)
        listening.hang_up()
        told = await client.notify("notifications/holdshort/approve", {"id": "x"})

        assert [each["method"] for each in seen.messages] == ["notifications/resources/updated"]
        assert told.status == 202
        assert proxy.spy.messages("notifications/holdshort/approve") == []


async def test_a_list_that_changed_is_read_again_before_the_next_call_is_judged(tmp_path: Path) -> None:
    """A tool that becomes dangerous is judged as that at once, not when somebody next lists."""
    rules = [{"id": "hide", "tools": "*__hidden*", "action": "hide"}]
    async with world(tmp_path, layer={"version": 1, "default": "allow", "rules": rules}) as proxy:
        client = await proxy.connect()
        await client.call("read")
        proxy.spy.tools = [tool("write")]
        listening = client.start(verb="GET")
        await proxy.spy.push({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await listening.until(lambda answer: answer.messages)
        listening.hang_up()

        assert (await client.call("read")).error["code"] == -32602


# -- everything else passes


@ERAS
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/list", {"cursor": "abc"}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "a:b"}),
        ("prompts/list", {}),
        ("prompts/get", {"name": "p", "arguments": {"a": "b"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}),
    ],
)
async def test_what_policy_does_not_rule_passes_as_it_is(
    tmp_path: Path, era: str, method: str, params: dict[str, Any]
) -> None:
    async def echo(call: Incoming) -> Any:
        call.raw_result = b'{"resultType":"complete", "vendor": [1.50]}'
        return {}

    async with scripted(others={method: echo}) as spy, world(tmp_path, spy) as proxy:
        answer = await (await proxy.connect(era)).request(method, params)
        seen = {key: value for key, value in spy.messages(method)[0]["params"].items() if key != "_meta"}

        assert seen == params
        assert b'"vendor": [1.50]' in answer.body


async def test_subscribing_and_levels_of_logging_pass_in_a_session(tmp_path: Path) -> None:
    async def empty(_: Incoming) -> Any:
        return {}

    methods = ["resources/subscribe", "resources/unsubscribe", "logging/setLevel"]
    async with scripted(others=dict.fromkeys(methods, empty)) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        for method in methods:
            assert (await client.request(method, {"uri": "a:b", "level": "info"})).result == {}


async def test_listening_carries_the_clients_own_id(tmp_path: Path) -> None:
    key = "io.modelcontextprotocol/subscriptionId"

    async def listen(call: Incoming) -> Any:
        meta = {key: call.message["id"]}
        for method in ("notifications/subscriptions/acknowledged", "notifications/tools/list_changed"):
            await call.tell({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta}})
        await anyio.sleep_forever()

    async with scripted(others={"subscriptions/listen": listen}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN)
        live = client.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "my-id")
        seen = await live.until(lambda answer: len(answer.messages) == 2)
        live.hang_up()
        await spy.until(lambda: spy.aborted)

        assert [each["params"]["_meta"][key] for each in seen.messages] == ["my-id", "my-id"]


# -- servers that go away


async def test_a_session_the_server_forgot_is_made_anew_for_the_next_call(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        await client.call("read")
        proxy.spy.forget_sessions()
        answer = await client.call("read", {"n": 2})

        assert answer.text == "read done"
        assert len(proxy.spy.sessions) == 2
        assert proxy.spy.executed == [("read", {}), ("read", {"n": 2})]
        hello = proxy.spy.messages("initialize")[-1]["params"]
        assert hello["clientInfo"]["name"] == "test-client"


@ERAS
async def test_a_call_under_way_at_a_server_that_dies_is_not_repeated(tmp_path: Path, era: str) -> None:
    async def die(_: Incoming) -> Any:
        raise Drop

    async with scripted(handlers={"read": die}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        answer = await client.call("read")
        del spy.handlers["read"]
        after = await client.call("read")

        assert answer.error["code"] == -31_000
        assert after.text == "read done"
        assert spy.runs("read") == 2


async def test_requests_that_race_to_a_server_wait_for_its_handshake(tmp_path: Path) -> None:
    """The second request of a session must not reach a server that has not been greeted."""
    async with world(tmp_path) as proxy:
        client = await proxy.connect(path="/mcp")
        lives = [client.calling("spy__read", {"n": number}) for number in range(5)]
        for live in lives:
            assert (await live.answer()).text == "read done"

        order = [
            message["method"]
            for message, headers in proxy.spy.received
            if "mcp-session-id" in headers or message["method"] == "initialize"
        ]
        first_call = order.index("tools/call")
        assert order[:first_call].count("initialize") == 1
        assert "notifications/initialized" in order[:first_call]


@ERAS
async def test_a_server_that_says_nothing_is_given_up_after_its_time(tmp_path: Path, era: str) -> None:
    async def hang(_: Incoming) -> Any:
        await anyio.sleep_forever()

    limits = {"upstream_timeout": "300ms"}
    async with scripted(handlers={"read": hang, "write": hang}) as spy, world(tmp_path, spy, limits=limits) as proxy:
        client = await proxy.connect(era)
        allowed = await client.call("read")
        approved = await proxy.decided(client.calling("write"), proxy.approve)

        assert "did not answer within" in allowed.error["message"]
        assert "may still take effect" in allowed.error["message"]
        assert approved.interruption["state"] == "unknown"


# -- one bad server beside a good one


async def soon(client: Client) -> Answer:
    with anyio.fail_after(4):
        return await client.call("good__read")


@ERAS
async def test_a_deaf_server_delays_nobody_else(tmp_path: Path, era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.server.core._SLOWEST_SECONDS", 0.2)
    monkeypatch.setattr("holdshort.gate.fleet.SLOWEST_SECONDS", 0.2)
    two = scripted(label="good"), scripted(label="bad", deaf=True)
    async with two[0] as good, two[1] as bad, world(tmp_path, good, bad) as proxy:
        alone = await proxy.connect(era, path="/mcp/good")
        with anyio.fail_after(2):
            assert (await alone.call("read")).text == "read done"
        client = await proxy.connect(era, path="/mcp")
        assert (await soon(client)).text == "read done"
        names = [each["name"] for each in (await client.request("tools/list")).result["tools"]]

        assert names == ["good__read", "good__write", "good__destroy"]
        assert any(facts.get("server") == "bad" for event, facts in proxy.log.entries if "left out" in event)


@ERAS
async def test_a_dead_server_takes_nothing_of_the_others_with_it(tmp_path: Path, era: str) -> None:
    async with scripted(label="good") as good, scripted(label="bad") as bad:
        bad.port = 9  # nobody listens there
        async with world(tmp_path, good, bad) as proxy:
            client = await proxy.connect(era, path="/mcp")
            names = [each["name"] for each in (await client.request("tools/list")).result["tools"]]
            dead = await client.call("bad__read")

            assert names == ["good__read", "good__write", "good__destroy"]
            assert dead.error["code"] == -31_000
            assert (await soon(client)).text == "read done"


@ERAS
async def test_a_flooding_server_delays_nobody_else(tmp_path: Path, era: str) -> None:
    async def flood(call: Incoming) -> Any:
        with anyio.move_on_after(3):
            while True:
                params = {"level": "info", "data": "x" * 10_000}
                await call.tell({"jsonrpc": "2.0", "method": "notifications/message", "params": params})
        return text("done")

    two = scripted(label="good"), scripted(label="bad", handlers={"read": flood})
    async with two[0] as good, two[1] as bad, world(tmp_path, good, bad) as proxy:
        client = await proxy.connect(era, path="/mcp")
        flooded = client.calling("bad__read")
        await bad.until(lambda: bad.runs("read"))
        began = anyio.current_time()
        assert (await soon(client)).text == "read done"
        flooded.hang_up()

        assert anyio.current_time() - began < 2
