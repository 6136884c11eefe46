"""Following events of a real proxy, through its death and back, and being forgotten in the middle of it."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from holdshort.runner.connection import Connection
from holdshort.runner.endpoint import Endpoint
from holdshort.runner.errors import ProxyError
from holdshort.runner.feed import FeedEvent
from kit.ports import free_port
from kit.process import until_async
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, OTHER_AGENT_TOKEN, ProxyKit, kit_upstream, serving
from kit.spy import SpyRecord
from kit.together import together
from runner.wires import Heard, answer, relaying, rough

ASK: dict[str, Any] = {"version": 1, "default": "ask", "rules": []}


@asynccontextmanager
async def opened(url: str, token: str = AGENT_TOKEN) -> AsyncGenerator[Endpoint]:
    found = Endpoint(Connection(), url, token=token, approver_token=APPROVER_TOKEN)
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def proxied(folder: Path, **more: Any) -> AsyncGenerator[ProxyKit]:
    spy = {"spy": kit_upstream(SpyRecord(folder / "spy.jsonl").command())}
    async with serving(folder, spy, ASK, **more) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ProxyKit]:
    async with proxied(tmp_path_factory.mktemp("feed")) as proxy:
        yield proxy


async def parked(endpoint: Endpoint) -> str:
    """Park one call more; its id."""
    call = {"kind": "function", "tool": "send", "arguments": {}, "run_id": uuid4().hex, "call_id": "c"}
    asked = await endpoint.ask(call)
    assert asked.interruption is not None
    return str(asked.interruption["id"])


async def next_of(events: AsyncGenerator[FeedEvent]) -> FeedEvent:
    with anyio.fail_after(20):
        return await anext(events)


async def until_told(events: AsyncGenerator[FeedEvent], count: int) -> list[tuple[str, str]]:
    """The id and state of the next `count` changes."""
    told: list[tuple[str, str]] = []
    while len(told) < count:
        record = (await next_of(events)).record
        assert record is not None
        told.append((record["id"], record["state"]))
    return told


async def test_it_opens_with_where_it_is_and_then_tells_what_changes(kit: ProxyKit) -> None:
    async with opened(kit.base) as endpoint, aclosing(endpoint.events()) as events:
        first = await next_of(events)
        id = await parked(endpoint)  # noqa: A001
        told = await until_told(events, 1)
        await endpoint.withdraw(id)
        told += await until_told(events, 1)

    assert first.record is None
    assert told == [(id, "pending"), (id, "withdrawn")]


async def test_two_changes_while_nobody_listens_are_told_as_one(kit: ProxyKit) -> None:
    async with opened(kit.base) as endpoint, aclosing(endpoint.events()) as events:
        await next_of(events)
        id = await parked(endpoint)  # noqa: A001
        await endpoint.withdraw(id)
        last = await parked(endpoint)

        assert await until_told(events, 2) == [(id, "withdrawn"), (last, "pending")]


async def test_what_happened_before_is_told_to_who_knows_from_when_on(kit: ProxyKit) -> None:
    async with opened(kit.base) as endpoint:
        async with aclosing(endpoint.events()) as events:
            seen = (await next_of(events)).sequence
        ids = [await parked(endpoint) for _ in range(3)]
        async with aclosing(endpoint.events(after=seen)) as events:
            assert await next_of(events) == FeedEvent(seen, None)
            told = await until_told(events, 3)

    assert [id for id, _ in told] == ids  # noqa: A001


async def test_an_agent_hears_of_its_own_calls_and_an_approver_of_all(kit: ProxyKit) -> None:
    async with (
        opened(kit.base) as ours,
        opened(kit.base, OTHER_AGENT_TOKEN) as theirs,
        aclosing(ours.events()) as own,
        aclosing(ours.events(as_approver=True)) as every,
    ):
        await next_of(own)
        await next_of(every)
        foreign, mine = await parked(theirs), await parked(ours)

        assert await until_told(own, 1) == [(mine, "pending")]
        assert await until_told(every, 2) == [(foreign, "pending"), (mine, "pending")]


async def test_a_proxy_that_is_killed_costs_no_event(tmp_path: Path) -> None:
    async with proxied(tmp_path) as proxy, opened(proxy.base) as endpoint, aclosing(endpoint.events()) as events:
        await next_of(events)
        before = await parked(endpoint)
        told = await until_told(events, 1)
        missed = await parked(endpoint)
        await proxy.kill9()

        async def come_back() -> str:
            await proxy.start()
            return await parked(endpoint)

        after_kill, after = await together(until_told(events, 2), come_back())

    assert told == [(before, "pending")]
    assert after_kill == [(missed, "pending"), (after, "pending")]


async def test_a_wire_that_is_cut_again_and_again_costs_no_event(tmp_path: Path) -> None:
    wire = free_port()
    async with (
        proxied(tmp_path, allowed_hosts=[f"127.0.0.1:{wire}"]) as proxy,
        relaying(proxy.port, wire) as relay,
        opened(relay.url) as far,
        opened(proxy.base) as near,
        aclosing(far.events()) as events,
    ):
        await next_of(events)
        ids: list[str] = []
        told: list[tuple[str, str]] = []
        for _ in range(5):
            waiting = relay.count("GET")

            async def cut(waiting: int = waiting) -> str:
                async def listening() -> bool:
                    return relay.count("GET") > waiting

                await until_async(listening, "the next connection")
                relay.cut()
                return await parked(near)

            heard, id = await together(until_told(events, 1), cut())  # noqa: A001
            told += heard
            ids.append(id)

    assert told == [(id, "pending") for id in ids]  # noqa: A001


async def test_it_holds_no_connection_while_nobody_waits_for_it(kit: ProxyKit) -> None:
    async with opened(kit.base) as endpoint, aclosing(endpoint.events()) as events:
        await next_of(events)

        async def nobody() -> bool:
            text = (await kit.ask("GET", "/metrics")).text
            return "holdshort_event_streams 0" in text

        await until_async(nobody, "the stream to be closed")
        id = await parked(endpoint)  # noqa: A001

        assert await until_told(events, 1) == [(id, "pending")]


@pytest.mark.parametrize(("token", "reason"), [("nobody-has-this-token", "unauthenticated")])
async def test_who_may_not_listen_is_told_so(kit: ProxyKit, token: str, reason: str) -> None:
    async with opened(kit.base, token) as endpoint, aclosing(endpoint.events()) as events:
        with pytest.raises(ProxyError) as error:
            await next_of(events)

    assert error.value.reason == reason
    assert token not in str(error.value)


async def test_too_many_listeners_and_bad_moments_are_waited_out() -> None:
    hello = b"event: hello\nid: 4\ndata: {}\n\n"
    stream = {"content_type": "text/event-stream"}
    change = b'event: interruption\nid: 5\ndata: {"id": "i-5", "state": "pending"}\n\n'
    odd = b"event: other\nid: 9\ndata: {}\n\nevent: interruption\nid: x\ndata: {}\n\n"
    answers = [
        answer(429, {"error": {"code": "rate_limited", "message": "too many"}}, retry_after="0"),
        answer(502, b"<html>"), None, answer(200, odd, **stream), answer(200, hello, **stream),
        answer(200, hello, **stream), answer(200, hello + change, **stream),
    ]  # fmt: skip
    seen: list[str | None] = []

    def said(heard: Heard) -> bytes | None:
        seen.append(heard.headers.get("last-event-id"))
        return answers.pop(0)

    async with rough(said) as server, opened(server.url) as endpoint, aclosing(endpoint.events()) as events:
        first, second = await next_of(events), await next_of(events)

    assert first == FeedEvent(4, None)
    assert second == FeedEvent(5, {"id": "i-5", "state": "pending"})
    assert seen == [None] * 5 + ["4"] * 2


@pytest.mark.parametrize("data", ["[]", '{"a": 1, "a": 2}', "{"], ids=["no-object", "two-ways", "cut"])
async def test_an_event_that_is_none_is_an_error(data: str) -> None:
    stream = f"event: interruption\nid: 5\ndata: {data}\n\n".encode()
    say = answer(200, stream, content_type="text/event-stream")
    async with rough(lambda _: say) as server, opened(server.url) as endpoint, aclosing(endpoint.events()) as events:
        with pytest.raises(ProxyError) as error:
            await next_of(events)

    assert error.value.reason == "malformed"


FORGETFUL = '''
import asyncio, gc, sys

from holdshort.runner.proxy import ApprovalProxy

async def run(proxy):
    """As a streamed run is: it opens a link, and closes it when it is closed itself."""
    link = await proxy.open()
    try:
        events = link.endpoint.events()
        yield await anext(events)
        tools = await link.tools()
        echo = next(each for each in tools if each.tool == "echo")
        yield await link.call(echo, {}, meta={})
        async for event in events:
            yield event
    finally:
        await link.close()

async def main(url, token, steps, how):
    asyncio.get_running_loop().slow_callback_duration = 60
    left = run(ApprovalProxy(url, token=token))
    for _ in range(steps):
        await anext(left)
    if how == "closed-elsewhere":
        await asyncio.gather(left.aclose())
    elif how == "dropped":
        del left
        gc.collect()
        await asyncio.sleep(0)
    else:
        globals()["kept"] = left
    print("left")

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
'''


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("how", ["closed-elsewhere", "dropped", "kept-to-the-end"])
async def test_who_leaves_in_the_middle_leaves_nothing_behind(kit: ProxyKit, steps: int, how: str) -> None:
    """Real warnings of a real interpreter: open connections, pending tasks, scopes left in another task."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", FORGETFUL, kit.base, AGENT_TOKEN, str(steps), how]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, check=False)

    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "left\n", "")
