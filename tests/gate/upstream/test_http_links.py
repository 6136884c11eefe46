"""Over HTTP too, nothing a server answers breaks more than its own exchange, and nothing is sent twice."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from gate.upstream.harness import (
    MODERN_META,
    QUICK,
    Heard,
    Notes,
    ask,
    call,
    deaf,
    http_server,
    http_spy,
    request,
    small,
    until,
    upstream,
)
from holdshort.config import ServerConfig
from holdshort.gate.upstream import (
    Link,
    StatusFrame,
    Upstream,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from holdshort.wire import Frame


@pytest.fixture
async def port() -> AsyncGenerator[int, None]:
    async with http_server("http_spy.py") as found:
        yield found


@pytest.fixture
async def server(port: int) -> AsyncGenerator[Upstream, None]:
    async with upstream(http_spy(port)).run() as running:
        yield running


@pytest.fixture(params=["modern", "legacy"])
async def link(request: pytest.FixtureRequest, server: Upstream) -> AsyncGenerator[Link, None]:
    """Both eras: without `initialize` a legacy link posts without a session, which this server takes."""
    if request.param == "modern":
        yield server.shared()
        return
    async with server.open(deaf) as opened:
        yield opened


async def seen(link: Link) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(link, call("seen", 999)))["seen"]
    return found


async def times_called(link: Link, name: str) -> int:
    return sum(1 for item in await seen(link) if (item.get("params") or {}).get("name") == name)


@pytest.mark.parametrize("name", ["chunked", "dribble", "to_the_end", "continue", "sse", "sse_garbage"])
async def test_an_answer_is_read_in_whatever_form_http_allows(link: Link, name: str) -> None:
    assert await ask(link, call(name)) == {"ok": True}
    assert await ask(link, call("echo", "2", text="é")) == {"given": {"text": "é"}}


async def test_connections_are_kept(link: Link) -> None:
    for number in range(20):
        await ask(link, call(["echo", "sse", "chunked"][number % 3], number))

    assert [item for item in await seen(link) if item["http"] == "CLOSED"] == []


async def test_a_stream_that_does_not_end_after_the_response_makes_nobody_wait(link: Link) -> None:
    assert await ask(link, call("sse_never_ends"), seconds=2) == {"ok": True}


async def test_what_comes_before_the_response_is_passed_on_in_order(link: Link) -> None:
    heard = Heard()
    await ask(link, call("sse", meta={"progressToken": 7}, count=1000), heard)

    assert [value["params"] for value in heard.values] == [
        {"progressToken": 7, "progress": step} for step in range(1000)
    ]


@pytest.mark.parametrize(
    ("name", "failure", "why"),
    [
        ("redirect", UpstreamProtocol, r"307, a redirect to `http://evil.example/mcp`; redirects are not followed"),
        ("gzip", UpstreamProtocol, "compressed"),
        ("te_gzip", UpstreamProtocol, "transfer coding"),
        ("wrong_id", UpstreamProtocol, "another request"),
        ("batch", UpstreamProtocol, "batches are not accepted"),
        ("not_http", UpstreamProtocol, "not HTTP/1.1"),
        ("upgrade", UpstreamProtocol, "change the protocol"),
        ("html", UpstreamProtocol, "HTTP status 200 and `text/html`"),
        ("error_401", UpstreamProtocol, "HTTP status 401; check the credentials"),
        ("error_500", UpstreamProtocol, "HTTP status 500"),
        ("close_first", UpstreamLost, "closed the connection before it answered"),
        ("sse_cut", UpstreamLost, "in the middle of its answer"),
        ("sse_no_answer", UpstreamLost, "ended its answer before the response"),
        ("sse_bad_answer", UpstreamProtocol, "unusable answer"),
        ("slow_headers", UpstreamTimeout, "took too long"),
    ],
)
async def test_an_answer_that_is_none_fails_its_exchange_only(
    link: Link, name: str, failure: type[UpstreamError], why: str
) -> None:
    with pytest.raises(failure, match=why) as caught:
        await ask(link, call(name), seconds=5)

    assert caught.value.sent
    assert "secret" not in str(caught.value)
    assert await ask(link, call("echo", 2)) == {"given": {}}
    assert await times_called(link, name) == 1


@pytest.mark.parametrize(("name", "status"), [("error_404", 404), ("error_400", 400)])
async def test_a_json_rpc_error_with_a_status_keeps_both(link: Link, name: str, status: int) -> None:
    answer = await link.request(call(name, "mine"), deaf)

    assert isinstance(answer, StatusFrame)
    assert answer.frame_status == status
    assert answer.value["id"] == "mine"
    assert answer.value["error"]["code"] in (-32601, -32020)
    assert Frame(answer.value).raw == answer.raw or b'"mine"' in answer.raw


@pytest.mark.parametrize("name", ["two_answers", "late_extra"])
async def test_bytes_that_nobody_asked_for_never_answer_another_request(link: Link, name: str) -> None:
    assert await ask(link, call(name, 1)) == {"ok": True}
    await anyio.sleep(0.1)

    assert await ask(link, call("echo", 2)) == {"given": {}}


@pytest.mark.parametrize("size", [60_000, 70_000, 300_000])
async def test_headers_are_capped(link: Link, size: int) -> None:
    with pytest.raises(UpstreamProtocol) as caught:
        await ask(link, call("huge_header", bytes=size))

    assert ("bytes of headers" in str(caught.value)) is (size > 65_536)


async def test_bodies_are_capped(port: int) -> None:
    async with upstream(http_spy(port), small(1_000_000)).run() as server:
        assert len((await ask(server.shared(), call("big", bytes=999_900)))["text"]) == 999_900
        with pytest.raises(UpstreamProtocol, match="more than 1000000 bytes"):
            await ask(server.shared(), call("big", bytes=1_000_001))
        with pytest.raises(UpstreamProtocol, match="sent too much at once"):
            await ask(server.shared(), call("sse_long", megabytes=50))
        assert await ask(server.shared(), call("echo", 2)) == {"given": {}}


async def test_a_large_answer_passes_whole(link: Link) -> None:
    assert len((await ask(link, call("big", bytes=8_000_000)))["text"]) == 8_000_000


async def test_a_call_is_never_sent_again_when_a_kept_connection_is_lost(port: int) -> None:
    async with upstream(http_spy(port)).run() as server:
        link = server.shared()
        await ask(link, call("echo"))
        with pytest.raises(UpstreamLost) as caught:
            await ask(link, call("close_first", 2))

        assert caught.value.sent
        assert await times_called(link, "close_first") == 1


async def test_a_server_that_closes_kept_connections_without_a_word_gets_new_ones(port: int) -> None:
    async with upstream(http_spy(port)).run() as server:
        client: Any = server
        assert await ask(server.shared(), call("close_after", 1)) == {"ok": True}
        await until(lambda: client._client.open_connections == 0)

        for number in range(50):
            assert await ask(server.shared(), call("close_after", number)) == {"ok": True}


async def test_an_idle_connection_is_closed_after_a_while(port: int) -> None:
    async with upstream(http_spy(port), UpstreamLimits(idle_seconds=0.1)).run() as server:
        await ask(server.shared(), call("echo"))
        client: Any = server
        await until(lambda: client._client.open_connections == 0)


async def test_nobody_listening_is_told_as_not_sent() -> None:
    config = ServerConfig(label="spy", transport="http", url="http://127.0.0.1:9/mcp")
    async with upstream(config).run() as server:
        with pytest.raises(UpstreamUnreachable, match=r"cannot be reached at 127\.0\.0\.1:9") as caught:
            await ask(server.shared(), call("echo"))

        assert not caught.value.sent
        assert server.health().state == "down"


async def test_a_host_that_does_not_answer_is_given_up_soon() -> None:
    config = ServerConfig(label="spy", transport="http", url="http://192.0.2.1/mcp")
    async with upstream(config, UpstreamLimits(connect_seconds=0.2)).run() as server:
        with pytest.raises(UpstreamUnreachable) as caught:
            await ask(server.shared(), call("echo"), seconds=5)

        assert not caught.value.sent


async def test_more_exchanges_than_connections_wait_for_their_turn(port: int) -> None:
    async with upstream(http_spy(port), UpstreamLimits(connections=4)).run() as server:
        answers: list[Any] = []
        client: Any = server

        async def one(number: int) -> None:
            answers.append(await ask(server.shared(), call("echo", number, order=number)))
            assert client._client.open_connections <= 4

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(one, number)

        assert sorted(answer["given"]["order"] for answer in answers) == list(range(200))


async def test_giving_up_frees_the_place_of_an_exchange(port: int) -> None:
    async with upstream(http_spy(port), UpstreamLimits(connections=2)).run() as server:
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(server.shared().request, call("hang", number), deaf)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()

        assert await ask(server.shared(), call("echo")) == {"given": {}}


async def test_streams_that_listen_take_no_place_from_exchanges(port: int) -> None:
    heard = Heard()
    limits = UpstreamLimits(connections=1)
    async with upstream(http_spy(port), limits).run() as server, anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(server.shared().request, request("subscriptions/listen", number, {}), heard)
        await heard.wait_for(5)

        assert await ask(server.shared(), call("echo")) == {"given": {}}
        tasks.cancel_scope.cancel()


async def test_a_modern_exchange_names_itself_in_its_headers(port: int) -> None:
    config = http_spy(port, headers={"Authorization": "Bearer ours", "Host": "evil.example", "X-Extra": "1"})
    async with upstream(config).run() as server:
        link = server.shared()
        extra = {"Mcp-Param-Region": "eu", "Authorization": "Bearer theirs", "Mcp-Name": "other", "Content-Length": "0"}
        await ask(link, call("echo"), headers=extra)
        await ask(link, request("resources/read", 2, {"uri": "file:///é", "_meta": MODERN_META}))
        await ask(link, request("prompts/get", 3, {"name": " padded", "_meta": MODERN_META}))
        await ask(link, request("tools/list", 4, {"_meta": MODERN_META}))
        first, second, third, fourth = [item["headers"] for item in await seen(link) if item["http"] == "POST"][:4]

    assert first["mcp-protocol-version"] == "2026-07-28"
    assert first["mcp-method"] == "tools/call"
    assert first["mcp-name"] == "echo"
    assert first["mcp-param-region"] == "eu"
    assert first["authorization"] == "Bearer ours"
    assert first["x-extra"] == "1"
    assert first["host"] == f"127.0.0.1:{port}"
    assert first["accept"] == "application/json, text/event-stream"
    assert first["accept-encoding"] == "identity"
    assert second["mcp-name"] == "=?base64?ZmlsZTovLy/DqQ==?="
    assert third["mcp-name"] == "=?base64?IHBhZGRlZA==?="
    assert "mcp-name" not in fourth
    assert fourth["mcp-method"] == "tools/list"


async def test_a_header_that_would_not_stay_on_its_line_is_refused_before_anything_is_sent(server: Upstream) -> None:
    with pytest.raises(UpstreamProtocol, match="not valid in HTTP") as caught:
        await ask(server.shared(), call("echo"), headers={"Mcp-Param-X": "a\r\nX-Evil: 1"})

    assert not caught.value.sent
    assert len(await seen(server.shared())) == 1


async def test_a_modern_server_may_not_ask(server: Upstream) -> None:
    heard = Heard()
    with pytest.raises(UpstreamProtocol, match="request of its own"):
        await ask(server.shared(), call("sse_request"), heard)

    assert heard.frames == []


async def test_giving_up_a_modern_exchange_closes_its_connection(server: Upstream) -> None:
    with anyio.move_on_after(0.2):
        await server.shared().request(call("hang"), deaf)

    async def closed() -> bool:
        return {"http": "CLOSED"} in await seen(server.shared())

    await until(closed)


async def test_a_flood_of_events_delays_other_servers_little(port: int) -> None:
    slowest = 0.0
    async with (
        http_server("http_spy.py") as other,
        upstream(http_spy(port)).run() as bad,
        upstream(http_spy(other)).run() as good,
        anyio.create_task_group() as tasks,
    ):
        await ask(good.shared(), call("echo", 0))
        tasks.start_soon(bad.shared().request, call("sse_flood", seconds=60), deaf)
        for number in range(1, 150):
            started = anyio.current_time()
            await ask(good.shared(), call("echo", number))
            slowest = max(slowest, anyio.current_time() - started)
            await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()
    assert 0 < slowest < 0.25


async def test_noise_in_the_log_is_capped(port: int) -> None:
    log = Notes()
    async with upstream(http_spy(port), log=log).run() as server:
        await ask(server.shared(), call("sse_garbage", count=1000))

    assert 1 <= len(log.of("upstream.noise")) <= 20


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://x:99999/", "http://x/a b", "http:///mcp"])
async def test_a_url_that_is_none_is_named(url: str) -> None:
    config = ServerConfig(label="spy", transport="http", url=url)
    async with upstream(config, QUICK).run() as server:
        with pytest.raises(UpstreamUnreachable, match="`url`"):
            await ask(server.shared(), call("echo"))
