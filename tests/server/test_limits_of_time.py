"""How long things may take: up to the configured time they do, and after it they do not.

Where a moment can be named, both sides of it are tried; where time has to pass, something a little shorter and
something a little longer.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from gate.scripted import Incoming, scripted, text
from gate.world import MODERN, world
from holdshort.config import LimitsConfig, Listen
from holdshort.gate.front.streams import Streams
from holdshort.gate.upstream import UpstreamBackoff, UpstreamUnreachable
from holdshort.interruption import Claim, Expired, State, advance
from holdshort.server.serve import make_wiring
from holdshort.server.sockets import bind
from holdshort.server.web import WebServer
from holdshort.store.sqlite import SQLiteStore

Json = dict[str, Any]
TICK = timedelta(microseconds=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# -- what a client sends


async def says_its_length(_: Any, receive: Any, send: Any) -> None:
    """An application that reads the whole body, then tells how long it was."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(limits: LimitsConfig) -> AsyncGenerator[SocketStream]:
    """A raw connection to a server with these limits."""
    bound = bind(Listen(port=0))
    server = WebServer(says_its_length, limits)
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await server.serve(sockets=[bound])

        tasks.start_soon(serve)
        async with await anyio.connect_tcp("127.0.0.1", bound.getsockname()[1]) as stream:
            yield stream
        server.should_exit = True


async def rest_of(stream: SocketStream) -> tuple[bytes, float]:
    """What comes until the connection is closed, and how long that took."""
    began, found = time.monotonic(), b""
    with anyio.fail_after(10):
        try:
            while True:
                found += await stream.receive()
        except anyio.EndOfStream:
            return found, time.monotonic() - began


@pytest.mark.parametrize("started", [b"", b"POST / HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_may_take_their_time_and_no_longer(started: bytes) -> None:
    async with connected(LimitsConfig(header_timeout=0.6)) as stream:
        if started:
            await stream.send(started)
        answer, seconds = await rest_of(stream)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 0.5 < seconds < 2


async def test_a_body_may_take_its_time_and_no_longer() -> None:
    async with connected(LimitsConfig(header_timeout=0.2, body_timeout=0.6)) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        answer, seconds = await rest_of(stream)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 0.5 < seconds < 2


async def test_a_request_that_comes_in_pieces_but_in_time_is_answered_and_so_is_the_next() -> None:
    async with connected(LimitsConfig(header_timeout=1, body_timeout=1)) as stream:
        for _ in range(2):
            for piece in (b"POST / HTTP/1.1\r\n", b"Host: x\r\nContent-Length: 3\r\n\r\n", b"a", b"bc"):
                await stream.send(piece)
                await anyio.sleep(0.3)
            assert (await stream.receive()).endswith(b"\r\n\r\n3")


async def test_a_connection_with_nothing_under_way_is_not_in_a_hurry() -> None:
    async with connected(LimitsConfig(header_timeout=0.3, body_timeout=0.3)) as stream:
        for _ in range(2):
            await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive()).endswith(b"\r\n\r\n0")
            await anyio.sleep(0.9)


# -- what a server sends


@pytest.mark.parametrize("name", ["read", "write"])
async def test_a_server_may_be_silent_for_its_time_and_no_longer(tmp_path: Path, name: str) -> None:
    async with scripted() as spy, world(tmp_path, spy, limits={"upstream_timeout": "1s"}) as proxy:
        client = await proxy.connect(MODERN)

        async def call(seconds: float, says: int = 0) -> Json:
            """Call a tool that works for `seconds`, and says so `says` times in between."""

            async def work(incoming: Incoming) -> Json:
                for number in range(says):
                    await anyio.sleep(seconds / (says + 1))
                    token = incoming.params["_meta"]["progressToken"]
                    params = {"progressToken": token, "progress": number + 1}
                    await incoming.tell({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
                await anyio.sleep(seconds / (says + 1))
                return text("worked")

            spy.handlers[name] = work
            live = client.calling(name, {"for": seconds}, _meta={"progressToken": 5})
            if name == "write":
                await proxy.approve((await proxy.pending())[0])
            return (await live.answer()).reply

        assert "worked" in str(await call(0.6))
        assert "worked" in str(await call(2.1, says=2))
        late = str(await call(1.9))
        assert "did not answer" in late or "OUTCOME UNKNOWN" in late.upper(), late


async def test_connecting_may_take_its_time_and_no_longer(tmp_path: Path) -> None:
    """192.0.2.1 is nobody's address; where the network refuses it at once, nothing is waited for."""
    limits = {"connect_timeout": "400ms"}
    async with world(tmp_path, mcpServers={"spy": {"url": "http://192.0.2.1/mcp"}}, limits=limits) as proxy:
        began = time.monotonic()
        with pytest.raises(UpstreamUnreachable):
            await proxy.core.upstreams["spy"].eras()

        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("limits", "again"),
    [
        ({"restart_backoff": "30s"}, UpstreamBackoff),
        ({"restart_backoff": "1ms"}, UpstreamUnreachable),
        ({"restart_backoff": "30s", "restart_backoff_max": "1ms"}, UpstreamUnreachable),
    ],
)
async def test_a_server_that_does_not_start_is_tried_again_after_the_wait_and_not_before(
    tmp_path: Path, limits: Json, again: type[Exception]
) -> None:
    servers = {"spy": {"command": "/nowhere/to/be/found"}}
    async with world(tmp_path, mcpServers=servers, limits=limits) as proxy:
        upstream = proxy.core.upstreams["spy"]
        with pytest.raises(UpstreamUnreachable):
            await upstream.eras()
        await anyio.sleep(0.02)

        with pytest.raises(again):
            await upstream.eras()


# -- streams


async def test_a_stream_is_silent_for_its_time_and_no_longer(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, limits={"keepalive": "600ms"}) as proxy:
        done = anyio.Event()

        async def wait(_: Incoming) -> Json:
            await done.wait()
            return text("done")

        spy.handlers["read"] = wait
        client = await proxy.connect()
        began = time.monotonic()
        live = client.calling("read")
        await live.until(lambda answer: answer.body.count(b": ping") == 2)
        seconds = time.monotonic() - began
        done.set()
        answer = await live.answer()

        assert 1.1 < seconds < 3
        assert answer.text == "done"


async def test_a_stream_keeps_as_many_messages_as_may_be_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"event_buffer": 3}) as proxy:
        stream = Streams(make_wiring(proxy.core, 1).buffered_events).new()

    for number in range(1, 4):
        stream.add(b"{}")
        assert [at for at, _ in stream.after(0)] == list(range(1, number + 1))
    stream.add(b"{}")
    assert [at for at, _ in stream.after(0)] == [2, 3, 4]


# -- parked calls


async def test_a_parked_call_waits_for_a_decision_until_it_expires(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"pending_expiry": "90s"}) as proxy:
        live = (await proxy.connect()).calling("write")
        (record,) = await proxy.pending()
        live.hang_up()

        assert record.expires_at == record.created_at + timedelta(seconds=90)
        assert await proxy.core.store.expire_due(record.expires_at - TICK) == []
        (expired,) = await proxy.core.store.expire_due(record.expires_at)
        assert expired.state is State.EXPIRED


async def test_an_approval_waits_for_the_agent_until_its_deadline_and_no_longer(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"dispatch_deadline": "5m"}, hold=0) as proxy:
        client = await proxy.connect()
        assert "NOT EXECUTED YET" in (await client.call("write")).text
        (record,) = await proxy.pending()
        approved = await proxy.approve(record)
        approved_at = approved.decisions[0].at

        def claim(at: Any) -> Claim:
            return Claim(
                at=at,
                agent="bot",
                fingerprint=approved.fingerprint,
                definition_digest=approved.definition_digest,
                policy_digest=approved.policy_digest,
                owner="somebody",
                token=1,
            )

        deadline = approved_at + timedelta(minutes=5)
        assert advance(approved, claim(deadline - TICK)).state is State.EXECUTING
        with pytest.raises(Expired):
            advance(approved, claim(deadline))
        assert (await client.call("write")).text == "write done"
        assert proxy.spy.runs("write") == 1


async def test_an_approval_nobody_came_back_for_has_expired_and_the_call_asks_again(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"dispatch_deadline": "300ms"}, hold=0) as proxy:
        client = await proxy.connect()
        await client.call("write")
        (record,) = await proxy.pending()
        await proxy.approve(record)
        await proxy.reaches(record.id, State.EXPIRED)

        late = await client.call("write")
        assert late.interruption["state"] == "expired"
        again = await client.call("write")
        assert again.interruption["state"] == "pending"
        assert again.interruption["id"] != record.id
        assert proxy.spy.runs("write") == 0


async def test_an_agent_that_repeats_its_call_late_gets_it_run_however_short_results_are_kept(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"result_retention": "1ms"}, hold=0) as proxy:
        client = await proxy.connect()
        await client.call("write")
        (record,) = await proxy.pending()
        await proxy.approve(record)
        await anyio.sleep(0.05)

        assert (await client.call("write")).text == "write done"


async def test_a_result_is_kept_for_its_time_and_no_longer(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"result_retention": "10m"}) as proxy:
        await proxy.decided((await proxy.connect()).calling("write", {"secret": 5}), proxy.approve)
        (record,) = await proxy.everything()
        with anyio.fail_after(10):
            while record.delivered_at is None:
                record = await proxy.core.store.wait_change(record.id, record.revision)
        store = proxy.core.store
        assert isinstance(store, SQLiteStore)

        await store.settle(record.delivered_at + timedelta(minutes=10))
        assert (await store.get(record.id)).arguments == {"secret": 5}
        await store.settle(record.delivered_at + timedelta(minutes=10) + TICK)
        purged = await store.get(record.id)
        assert purged.arguments == {}
        assert purged.outcome is not None
        assert purged.outcome.result is None
