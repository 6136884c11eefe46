"""Resources and prompts under policy, on the wire of both eras: lists, uses, and every other way to one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import Incoming, RpcError, Scripted, scripted, text
from gate.world import ASK_WRITES, BOT, LEGACY, MODERN, OTHER, Answer, Client, World, world

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
PATHS = pytest.mark.parametrize("path", ["/mcp/spy", "/mcp"])
Json = dict[str, Any]

LAYER: Json = {
    **ASK_WRITES,
    "rules": [
        {"id": "open", "resources": "spy__note://shut/open/*", "action": "allow"},
        {"id": "shut", "resources": "spy__note://shut/*", "action": "deny"},
        {"id": "gone", "resources": ["spy__note://gone/*", "spy__file:///etc/*"], "action": "hide"},
        {"id": "no-other", "resources": "spy__note://team/*", "agents": ["other"], "action": "hide"},
        {"id": "no-draft", "prompts": "spy__draft", "action": "deny"},
        {"id": "no-ghost", "prompts": "spy__ghost*", "action": "hide"},
        *ASK_WRITES["rules"],
    ],
}
LISTED = [
    "note://free/a",
    "note://shut/a",
    "note://shut/open/a",
    "note://gone/a",
    "note://team/a",
    "file:///etc/passwd",
]
TEMPLATES = ["note://free/{id}", "note://shut/{id}", "note://gone/{id}", "note://gone/{a}/{b}", "note://{folder}/{id}"]
PROMPTS = ["plain", "draft", "ghost"]


def resource(uri: str) -> Json:
    return {"uri": uri, "name": uri, "x-own": [1]}


def handlers() -> Json:
    async def resources(_: Incoming) -> Any:
        return {"resources": [resource(uri) for uri in LISTED], "ttlMs": 9, "cacheScope": "public", "nextCursor": "n"}

    async def templates(_: Incoming) -> Any:
        return {"resourceTemplates": [{"uriTemplate": each, "name": each} for each in TEMPLATES]}

    async def read(call: Incoming) -> Any:
        uri = call.params["uri"]
        if uri.endswith("/none"):
            raise RpcError(-32603, "the server's own words for what it does not have")
        return {"contents": [{"uri": uri, "text": f"content of {uri}"}]}

    async def prompts(_: Incoming) -> Any:
        return {"prompts": [{"name": name, "x-own": 1} for name in PROMPTS]}

    async def prompt(call: Incoming) -> Any:
        if call.params["name"] not in PROMPTS:
            raise RpcError(-32602, "no such prompt here")
        return {"messages": [{"role": "user", "content": {"type": "text", "text": call.params["name"]}}]}

    async def complete(call: Incoming) -> Any:
        return {"completion": {"values": ["a", "b"]}}

    async def empty(_: Incoming) -> Any:
        return {}

    return {
        "resources/list": resources,
        "resources/templates/list": templates,
        "resources/read": read,
        "resources/subscribe": empty,
        "resources/unsubscribe": empty,
        "prompts/list": prompts,
        "prompts/get": prompt,
        "completion/complete": complete,
    }


@asynccontextmanager
async def site(folder: Path, *, layer: Json = LAYER, **given: Any) -> AsyncGenerator[tuple[World, Scripted]]:
    others = {**handlers(), **given.pop("others", {})}
    async with scripted(others=others, **given) as spy, world(folder, spy, layer=layer) as proxy:
        yield proxy, spy


async def rows(proxy: World) -> list[tuple[Any, ...]]:
    """(agent, action, rule, detail) of every verdict."""
    return [
        (row.fields["agent"], row.fields["action"], row.fields["because"][0]["rule"], row.fields.get("detail"))
        async for row in proxy.core.store.entries()
        if row.fields["kind"] == "verdict"
    ]


async def uris(client: Client) -> list[str]:
    return [each["uri"] for each in (await client.request("resources/list")).result["resources"]]


# -- lists


@ERAS
@PATHS
async def test_lists_show_what_is_not_hidden_as_the_server_wrote_it(tmp_path: Path, era: str, path: str) -> None:
    async with site(tmp_path) as (proxy, _):
        client = await proxy.connect(era, path=path)
        listed = (await client.request("resources/list")).result
        templates = (await client.request("resources/templates/list")).result["resourceTemplates"]
        prompts = (await client.request("prompts/list")).result["prompts"]
        prefix = "spy__" if path == "/mcp" else ""

        assert listed["resources"] == [resource(uri) for uri in LISTED if "gone" not in uri and "etc" not in uri]
        assert "nextCursor" in listed
        assert [each["uriTemplate"] for each in templates] == [each for each in TEMPLATES if "gone" not in each]
        assert prompts == [{"name": f"{prefix}{name}", "x-own": 1} for name in ("plain", "draft")]
        if era == MODERN:
            assert listed["cacheScope"] == "private"


@ERAS
async def test_each_agent_sees_its_own_list(tmp_path: Path, era: str) -> None:
    async with site(tmp_path) as (proxy, _):
        bot, other = await proxy.connect(era), await proxy.connect(era, token=OTHER)

        assert "note://team/a" in await uris(bot)
        assert "note://team/a" not in await uris(other)


@ERAS
async def test_a_list_without_any_rule_about_its_kind_is_the_servers_bytes(tmp_path: Path, era: str) -> None:
    raw = b'{"resources": [{"uri": "a:b", "size": 1.50, "uri2": 12345678901234567890123}], "cacheScope": "public"}'

    async def listed(call: Incoming) -> Any:
        call.raw_result = raw
        return {}

    async with site(tmp_path, layer=ASK_WRITES, others={"resources/list": listed}) as (proxy, _):
        assert raw in (await (await proxy.connect(era)).request("resources/list")).body


# -- uses

USES: list[tuple[str, Json]] = [
    ("resources/read", {"uri": "note://{}/a"}),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "note://{}/{id}"}, "argument": {}}),
]


def filled(params: Json, word: str) -> Json:
    return {
        key: filled(value, word)
        if isinstance(value, dict)
        else value.replace("{}", word)
        if isinstance(value, str)
        else value
        for key, value in params.items()
    }


def uses(era: str) -> list[tuple[str, Json]]:
    subscribing: tuple[str, Json] = ("resources/subscribe", {"uri": "note://{}/a"})
    return [*USES, *([subscribing] if era == LEGACY else [])]


@ERAS
@PATHS
async def test_what_is_denied_is_refused_with_the_rule_and_reaches_no_server(
    tmp_path: Path, era: str, path: str
) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era, path=path)
        await client.request("resources/templates/list")
        for method, params in uses(era):
            answer = await client.request(method, filled(params, "shut"))
            assert answer.error["code"] == -31_002, method
            assert "policy.yaml rule shut" in answer.error["message"]
            assert answer.status == 200
            assert spy.messages(method) == []

        prompt = await client.request("prompts/get", {"name": "spy__draft" if path == "/mcp" else "draft"})
        assert prompt.error["code"] == -31_002
        assert spy.messages("prompts/get") == []


@ERAS
@PATHS
async def test_what_is_hidden_answers_as_what_is_not_there(tmp_path: Path, era: str, path: str) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era, path=path)
        hidden = await client.request("resources/read", {"uri": "note://gone/none"}, 7)
        absent = await client.request("resources/read", {"uri": "note://free/none"}, 7)

        assert hidden.body == absent.body.replace(b"free", b"gone")
        assert (hidden.status, hidden.headers) == (absent.status, absent.headers)
        assert hidden.error["code"] == (-32002 if era == LEGACY else -32602)
        assert [each["params"]["uri"] for each in spy.messages("resources/read")] == ["note://free/none"]


@ERAS
@PATHS
async def test_a_hidden_prompt_answers_as_one_that_is_not_there(tmp_path: Path, era: str, path: str) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era, path=path)
        prefix = "spy__" if path == "/mcp" else ""
        hidden = await client.request("prompts/get", {"name": f"{prefix}ghost"}, 7)
        absent = await client.request("prompts/get", {"name": f"{prefix}other"}, 7)
        completed = await client.request(
            "completion/complete", {"ref": {"type": "ref/prompt", "name": f"{prefix}ghost"}, "argument": {}}, 7
        )

        assert hidden.body == absent.body.replace(b"other", b"ghost") == completed.body
        assert hidden.error == {"code": -32602, "message": f"Unknown prompt: {prefix}ghost"}
        assert [each["params"]["name"] for each in spy.messages("prompts/get")] == ["other"]
        assert spy.messages("completion/complete") == []


@ERAS
async def test_what_is_hidden_costs_the_server_a_trip_as_what_is_not_there(tmp_path: Path, era: str) -> None:
    """Otherwise the time to the same answer would tell them apart."""
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era)
        await client.request("prompts/list")  # the first trip finds out what the server speaks
        trips = [len(spy.received)]
        for uri in ("note://gone/none", "note://free/none"):
            await client.request("resources/read", {"uri": uri})
            trips.append(len(spy.received))

        assert trips[1] - trips[0] == trips[2] - trips[1] == 1


@ERAS
@PATHS
@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "file:///srv/../etc/passwd",
        "file:///srv/%2e%2e/etc/passwd",
        "file:///srv/%252e%252e/etc/passwd",
        "file:///etc//passwd",
        "file:///etc/passwd#x",
        "file:///etc/passwd?x",
        "file:///ETC/passwd.",
        "/etc/passwd",
        "note://GONE/a",
        "note://free/../gone/a",
        "NOTE://gone/%61",
    ],
)
async def test_no_spelling_of_something_hidden_reaches_the_server(
    tmp_path: Path, era: str, path: str, uri: str
) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era, path=path)
        methods = ["resources/read", *(["resources/subscribe"] if era == LEGACY else [])]
        for method in methods:
            message = client.message(method, {"uri": uri})
            answer = await client.http(message, headers=client.headers_for(message))
            assert answer.error["code"] == (-32002 if era == LEGACY else -32602), answer.body
            assert spy.messages(method) == []


@ERAS
async def test_what_is_allowed_is_read_and_the_exception_in_what_is_denied_too(tmp_path: Path, era: str) -> None:
    async with site(tmp_path) as (proxy, _):
        client = await proxy.connect(era)
        for uri in ("note://free/a", "note://shut/open/a"):
            answer = await client.request("resources/read", {"uri": uri})
            assert answer.result["contents"] == [{"uri": uri, "text": f"content of {uri}"}]
        dodge = await client.request("resources/read", {"uri": "note://shut/open/%2e%2e/a"})

        assert dodge.error["code"] == -31_002


@ERAS
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": 5}),
        ("resources/read", {}),
        ("prompts/get", {"name": ["draft"]}),
        ("prompts/get", {"name": "plain", "arguments": "x"}),
        ("completion/complete", {"ref": "draft"}),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}),
    ],
)
async def test_a_use_that_does_not_say_what_of_is_refused(tmp_path: Path, era: str, method: str, params: Json) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era)
        message = client.message(method, params)
        answer = await client.http(message, headers={**client.headers_for(message), "mcp-name": None})

        assert answer.error["code"] in (-32602, -32020)
        assert spy.messages(method) == []


async def test_a_reference_is_judged_by_all_that_it_names(tmp_path: Path) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect()
        both = {"type": "ref/prompt", "name": "plain", "uri": "note://shut/{id}"}

        assert (await client.request("completion/complete", {"ref": both, "argument": {}})).error["code"] == -31_002
        assert spy.messages("completion/complete") == []


async def test_what_one_agent_was_shown_locates_nothing_for_another(tmp_path: Path) -> None:
    """At the endpoint of all servers, where a resource is found by what was listed."""
    async with site(tmp_path, others={"resources/templates/list": handlers()["prompts/list"]}) as (proxy, _):
        bot, other = [await proxy.connect(path="/mcp", token=token) for token in (BOT, OTHER)]
        assert "note://team/a" in await uris(bot)
        hidden = await other.request("resources/read", {"uri": "note://team/a"}, 7)
        absent = await other.request("resources/read", {"uri": "note://nowhere"}, 7)

        assert hidden.body == absent.body.replace(b"nowhere", b"team/a")
        assert (await bot.request("resources/read", {"uri": "note://team/a"})).result["contents"]


# -- the log


async def test_every_use_has_its_row_and_no_row_holds_a_query_or_an_argument(tmp_path: Path) -> None:
    async with site(tmp_path) as (proxy, _):
        client = await proxy.connect()
        await client.request("resources/list")
        await client.request("resources/read", {"uri": "note://free/a?token=secret"})
        await client.request("resources/read", {"uri": "note://gone/a"})
        await client.request("resources/subscribe", {"uri": "note://shut/a"})
        await client.request("resources/unsubscribe", {"uri": "note://shut/a"})
        await client.request("prompts/get", {"name": "plain", "arguments": {"password": "secret"}})
        completing = {"ref": {"type": "ref/prompt", "name": "plain"}, "argument": {}}
        await client.request("completion/complete", completing)
        found = await rows(proxy)

        def row(action: str, rule: str, kind: str, name: str, method: str) -> tuple[Any, ...]:
            return ("bot", action, rule, {"kind": kind, "name": name, "method": method})

        assert found == [
            row("allow", "pass", "resource", "note://free/a?", "resources/read"),
            row("hide", "gone", "resource", "note://gone/a", "resources/read"),
            row("deny", "shut", "resource", "note://shut/a", "resources/subscribe"),
            row("allow", "pass", "prompt", "plain", "prompts/get"),
        ]


# -- resources inside of results

LINK: Json = {"type": "resource_link", "uri": "note://{}/a", "name": "x"}
EMBEDDED: Json = {"type": "resource", "resource": {"uri": "note://{}/a", "text": "SECRET"}}


def blocks(*words: str) -> list[Json]:
    return [each for word in words for each in (filled(LINK, word), filled(EMBEDDED, word))]


SHUT_TEXT = {"type": "text", "text": "[Withheld by policy: the resource `note://shut/a` (policy.yaml rule shut)]"}


async def full(_: Incoming) -> Any:
    return {
        "content": [{"type": "text", "text": "t"}, *blocks("free", "shut", "gone")],
        "structuredContent": {"kept": filled(LINK, "gone")},
        "vendor": {"big": 12345678901234567890123},
    }


def cleaned(content: list[Json]) -> bool:
    return content == [{"type": "text", "text": "t"}, *blocks("free"), SHUT_TEXT, SHUT_TEXT]


@ERAS
@PATHS
async def test_links_and_embedded_resources_are_withheld_from_a_tools_result(
    tmp_path: Path, era: str, path: str
) -> None:
    async with site(tmp_path, handlers={"read": full}) as (proxy, _):
        client = await proxy.connect(era, path=path)
        result = (await client.call("spy__read" if path == "/mcp" else "read")).result

        assert cleaned(result["content"])
        assert result["vendor"] == {"big": 12345678901234567890123}
        assert result["structuredContent"] == {"kept": filled(LINK, "gone")}
        assert (await rows(proxy))[-1][1:] == (
            "hide",
            "gone",
            {"kind": "resource", "name": "note://gone/a", "method": "tools/call", "number": 2},
        )


@ERAS
async def test_they_are_withheld_from_a_parked_calls_result_before_it_is_kept(tmp_path: Path, era: str) -> None:
    async with site(tmp_path, handlers={"write": full}) as (proxy, _):
        client = await proxy.connect(era)
        answer = await proxy.decided(client.calling("write"), proxy.approve)
        record = (await proxy.everything())[0]

        assert cleaned(answer.result["content"])
        assert record.outcome is not None
        assert record.outcome.result is not None
        assert cleaned(record.outcome.result["content"])


@ERAS
async def test_they_are_withheld_from_prompts_and_from_reads_of_several(tmp_path: Path, era: str) -> None:
    async def prompt(_: Incoming) -> Any:
        return {"messages": [{"role": "user", "content": block} for block in blocks("free", "shut", "gone")]}

    async def read(_: Incoming) -> Any:
        return {"contents": [{"uri": f"note://{word}/a", "text": "x"} for word in ("free", "shut", "gone")]}

    async with site(tmp_path, others={"prompts/get": prompt, "resources/read": read}) as (proxy, _):
        client = await proxy.connect(era)
        messages = (await client.request("prompts/get", {"name": "plain"})).result["messages"]
        contents = (await client.request("resources/read", {"uri": "note://free/"})).result["contents"]

        assert [each["content"] for each in messages] == [*blocks("free"), SHUT_TEXT, SHUT_TEXT]
        assert contents == [
            {"uri": "note://free/a", "text": "x"},
            {"uri": "note://shut/a", "mimeType": "text/plain", "text": SHUT_TEXT["text"]},
        ]


@ERAS
async def test_a_result_is_not_touched_where_nothing_is_withheld(tmp_path: Path, era: str) -> None:
    raw = b'{"content": [{"type": "resource_link", "uri": "note://free/a"}], "n": 1.50}'

    async def answer(call: Incoming) -> Any:
        call.raw_result = raw
        return {}

    async with site(tmp_path, handlers={"read": answer}) as (proxy, _):
        assert raw in (await (await proxy.connect(era)).call("read")).body


@ERAS
async def test_a_result_that_can_be_read_in_two_ways_is_not_passed_on_half_cleaned(tmp_path: Path, era: str) -> None:
    async def answer(call: Incoming) -> Any:
        call.raw_result = b'{"content": [{"type": "resource_link", "uri": "note://free/a", "uri": "note://gone/a"}]}'
        return {}

    async with site(tmp_path, handlers={"read": answer}) as (proxy, _):
        assert (await (await proxy.connect(era)).call("read")).error["code"] == -31_000


# -- news


async def test_news_of_what_a_client_may_not_read_do_not_reach_it(tmp_path: Path) -> None:
    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect()
        listening = client.start(verb="GET")
        await listening.until(lambda answer: answer.body)
        for uri in ("note://gone/a", "note://shut/a", "note://GONE/a", 5, "note://free/a"):
            await spy.push({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
        seen = await listening.until(lambda answer: answer.messages)
        listening.hang_up()

        assert [each["params"]["uri"] for each in seen.messages] == ["note://free/a"]


async def test_listening_leaves_out_what_a_client_may_not_read(tmp_path: Path) -> None:
    key = "io.modelcontextprotocol/subscriptionId"

    async def listen(call: Incoming) -> Any:
        meta = {key: call.message["id"]}
        honoured = {"notifications": call.params["notifications"], "_meta": meta}
        await call.tell({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": honoured})
        for uri in ("note://gone/a", "note://free/a"):
            params = {"uri": uri, "_meta": meta}
            await call.tell({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
        await anyio.sleep_forever()

    wanted = {"resourceSubscriptions": ["note://gone/a", "note://free/a", "note://shut/a"]}
    async with site(tmp_path, others={"subscriptions/listen": listen}) as (proxy, spy):
        client = await proxy.connect(MODERN)
        live = client.begin("subscriptions/listen", {"notifications": wanted})
        seen = await live.until(lambda answer: len(answer.messages) == 2)
        live.hang_up()
        await spy.until(lambda: spy.aborted)

        assert seen.messages[0]["params"]["notifications"] == {"resourceSubscriptions": ["note://free/a"]}
        assert seen.messages[1]["params"]["uri"] == "note://free/a"
        assert spy.messages("subscriptions/listen")[0]["params"]["notifications"] == {
            "resourceSubscriptions": ["note://free/a"]
        }
        assert [row[1] for row in await rows(proxy)] == ["hide", "allow"]


def texts(answer: Answer) -> str:
    return str(answer.messages)


@ERAS
async def test_a_store_that_cannot_write_lets_nothing_be_read(
    tmp_path: Path, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdshort.errors import StateError

    async def broken(*_: Any) -> Any:
        raise StateError("the disk is full")

    async with site(tmp_path) as (proxy, spy):
        client = await proxy.connect(era)
        monkeypatch.setattr(proxy.core.store, "record", broken)
        answer = await client.request("resources/read", {"uri": "note://free/a"})
        monkeypatch.undo()

        assert "content of" not in texts(answer)
        assert spy.messages("resources/read") == []


@ERAS
async def test_a_tools_text_reads_as_before(tmp_path: Path, era: str) -> None:
    async def answer(_: Incoming) -> Any:
        return text("see note://gone/a")

    async with site(tmp_path, handlers={"read": answer}) as (proxy, _):
        assert (await (await proxy.connect(era)).call("read")).text == "see note://gone/a"
