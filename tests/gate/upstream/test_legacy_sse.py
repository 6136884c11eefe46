"""The 2024-11-05 transport: one stream for all answers, an address to post to that must be at the same origin."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from gate.upstream.harness import Heard, ask, call, deaf, http_server, initialize, initialized, request, until, upstream
from holdshort.config import ServerConfig
from holdshort.gate.upstream import Link, Upstream, UpstreamLost, UpstreamProtocol, UpstreamTimeout, UpstreamUnreachable


def spy(port: int) -> ServerConfig:
    return ServerConfig(label="spy", transport="sse", url=f"http://127.0.0.1:{port}/sse")


@pytest.fixture
async def server() -> AsyncGenerator[Upstream, None]:
    async with http_server("sse_spy.py") as port, upstream(spy(port)).run() as running:
        yield running


@pytest.fixture
async def link(server: Upstream) -> AsyncGenerator[Link, None]:
    async with server.open(deaf) as opened:
        yield opened


async def test_answers_come_on_the_stream(link: Link) -> None:
    assert await ask(link, initialize()) == {"method": "initialize", "protocolVersion": "2024-11-05"}
    await link.send(initialized())
    assert (await ask(link, request("tools/list", "2")))["method"] == "tools/list"


async def test_an_answer_may_come_before_its_post_is_accepted(link: Link) -> None:
    assert await ask(link, call("slow_accept"), seconds=2) == {"ok": True}


async def test_progress_goes_to_its_exchange(link: Link) -> None:
    heard = Heard()
    await ask(link, call("progress", meta={"progressToken": 9}), heard)

    assert [value["params"]["progress"] for value in heard.values] == [0, 1, 2]


async def test_garbage_is_skipped(link: Link) -> None:
    assert await ask(link, call("garbage")) == {"ok": True}


async def test_a_refused_post_fails_its_exchange_only(link: Link) -> None:
    with pytest.raises(UpstreamProtocol, match="HTTP status 500"):
        await ask(link, call("refuse"))

    assert (await ask(link, request("ping", 2)))["method"] == "ping"


async def test_the_end_of_the_stream_fails_everybody_who_waits(link: Link) -> None:
    with pytest.raises(UpstreamLost, match="stream") as caught:
        await ask(link, call("end"))

    assert caught.value.sent
    assert link.closed.is_set()
    with pytest.raises(UpstreamLost) as late:
        await ask(link, call("echo"))
    assert not late.value.sent


async def test_giving_up_is_told(link: Link) -> None:
    with anyio.move_on_after(0.2):
        await link.request(call("silent", 77), deaf)

    async def told() -> bool:
        return ["notifications/cancelled", 77] in (await ask(link, call("seen", 78)))["seen"]

    await until(told)


async def test_an_address_at_another_origin_gets_nothing() -> None:
    async with http_server("sse_spy.py", "--elsewhere") as port, upstream(spy(port)).run() as server:
        with pytest.raises(UpstreamProtocol, match="another origin"):
            async with server.open(deaf):
                pass


async def test_a_server_that_names_no_address_is_given_up() -> None:
    async with http_server("sse_spy.py", "--no-endpoint") as port, upstream(spy(port)).run() as server:
        with pytest.raises(UpstreamTimeout, match="did not say where to post"):
            async with server.open(deaf):
                pass


async def test_it_has_sessions_only(server: Upstream) -> None:
    with pytest.raises(UpstreamUnreachable, match="sessions only"):
        server.shared()
    eras = await server.eras()

    assert not eras.modern
