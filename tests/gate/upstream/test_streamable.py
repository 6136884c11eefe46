"""A legacy session over streamable HTTP: its headers, its own stream, streams that are picked up again, its end."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from gate.upstream.harness import (
    Heard,
    ask,
    call,
    deaf,
    http_server,
    http_spy,
    initialize,
    initialized,
    request,
    upstream,
)
from holdshort.gate.upstream import Link, SessionGone, Upstream, UpstreamLost, UpstreamProtocol
from holdshort.wire import Frame


@pytest.fixture
async def server() -> AsyncGenerator[Upstream, None]:
    async with http_server("http_spy.py") as port, upstream(http_spy(port)).run() as running:
        yield running


async def seen(link: Link) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(link, call("seen", 999)))["seen"]
    return found


async def until_seen(link: Link, **wanted: Any) -> dict[str, Any]:
    with anyio.fail_after(5):
        while True:
            for item in await seen(link):
                if all(item.get(name) == value for name, value in wanted.items()):
                    return item
            await anyio.sleep(0.01)


async def test_the_session_and_the_version_are_named_from_the_handshake_on(server: Upstream) -> None:
    async with server.open(deaf) as link:
        await ask(link, initialize())
        await link.send(initialized())
        await ask(link, request("tools/list", 2))
        first, *later = [item["headers"] for item in await seen(link) if item["http"] == "POST"]

    assert "mcp-session-id" not in first
    assert "mcp-protocol-version" not in first
    assert len(later) == 3
    for headers in later:
        assert headers["mcp-session-id"] == "session-1"
        assert headers["mcp-protocol-version"] == "2025-06-18"


async def test_the_sessions_own_stream_is_picked_up_where_it_ended(server: Upstream) -> None:
    heard = Heard()
    async with server.open(heard) as link:
        await ask(link, initialize())
        assert [item for item in await seen(link) if item["http"] == "GET"] == []
        await link.send(initialized())
        await heard.wait_for(2)
        first, second = [item["headers"] for item in await seen(link) if item["http"] == "GET"]

    assert [value["params"]["data"] for value in heard.values] == ["first stream", "second stream"]
    assert "last-event-id" not in first
    assert second["last-event-id"] == "get-1"
    assert second["mcp-session-id"] == "session-1"


async def test_a_server_without_a_stream_of_its_own_is_not_asked_twice() -> None:
    async with (
        http_server("http_spy.py", "--no-get") as port,
        upstream(http_spy(port)).run() as server,
        server.open(deaf) as link,
    ):
        await ask(link, initialize())
        await link.send(initialized())
        await until_seen(link, http="GET")
        await anyio.sleep(0.3)

        assert len([item for item in await seen(link) if item["http"] == "GET"]) == 1


@pytest.mark.parametrize("name", ["sse_poll", "sse_poll_cut"])
async def test_an_answer_that_stops_early_is_picked_up_by_its_last_event_id(server: Upstream, name: str) -> None:
    heard = Heard()
    async with server.open(deaf) as link:
        await ask(link, initialize())
        started = anyio.current_time()

        assert await ask(link, call(name, 5), heard) == {"resumed": True}
        assert anyio.current_time() - started >= 0.06
        assert [value["params"]["data"] for value in heard.values] == ["resumed"]
        assert (await until_seen(link, http="GET"))["headers"]["last-event-id"] == "poll-5"
        assert len([item for item in await seen(link) if (item.get("params") or {}).get("name") == name]) == 1


async def test_a_server_may_ask_in_the_middle_of_an_answer(server: Upstream) -> None:
    heard = Heard()
    async with server.open(deaf) as link:
        await ask(link, initialize())
        await ask(link, call("sse_request"), heard)
        await link.send(Frame({"jsonrpc": "2.0", "id": "from-server", "result": {"roots": []}}))

        assert [value["method"] for value in heard.values] == ["roots/list"]
        await until_seen(link, id="from-server", method=None)


async def test_giving_up_is_told_in_words_because_closing_means_nothing(server: Upstream) -> None:
    async with server.open(deaf) as link:
        await ask(link, initialize())
        with anyio.move_on_after(0.2):
            await link.request(call("hang", "mine"), deaf)

        told = await until_seen(link, method="notifications/cancelled")
        assert told["params"] == {"requestId": "mine"}
        assert told["headers"]["mcp-session-id"] == "session-1"


async def test_a_session_that_is_gone_ends_the_link_and_was_not_sent(server: Upstream) -> None:
    async with server.open(deaf) as link:
        await ask(link, initialize())
        await ask(link, call("forget", 1, session="session-1"))
        with pytest.raises(SessionGone) as caught:
            await ask(link, call("echo", 2))

        assert not caught.value.sent
        assert link.closed.is_set()
        assert isinstance(link.failure, SessionGone)
        with pytest.raises(SessionGone):
            await ask(link, call("echo", 3))


async def test_closing_ends_the_session_at_the_server(server: Upstream) -> None:
    async with server.open(deaf) as link:
        await ask(link, initialize())
    with pytest.raises(UpstreamLost):
        await ask(link, call("echo"))
    async with server.open(deaf) as other:
        assert (await until_seen(other, http="DELETE"))["headers"]["mcp-session-id"] == "session-1"


async def test_a_wrong_path_is_explained(server: Upstream) -> None:
    async with server.open(deaf) as link:
        await ask(link, initialize())
        with pytest.raises(UpstreamProtocol, match="HTTP status 401"):
            await ask(link, call("error_401"))
        with pytest.raises(UpstreamProtocol) as caught:
            await ask(link, call("redirect"))
        assert caught.value.status == 307


async def test_what_the_block_raises_comes_out_as_it_is(server: Upstream) -> None:
    async def use_a_link() -> None:
        async with server.open(deaf) as link:
            await ask(link, initialize())
            await link.send(initialized())
            await ask(link, call("html"))

    with pytest.raises(UpstreamProtocol):
        await use_a_link()
