"""One child serves all agents: whatever they call their requests, each gets exactly its own answers back."""

from typing import Any

import anyio
import pytest

from gate.upstream.harness import MODERN_META, Heard, Notes, ask, call, deaf, request, small, stdio_spy, until, upstream
from holdshort.gate.upstream import (
    UpstreamBackoff,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamUnreachable,
)
from holdshort.wire import Frame

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LOG_LEVEL = {"io.modelcontextprotocol/logLevel": "debug"}


async def test_equal_ids_of_many_agents_do_not_mix() -> None:
    async with upstream(stdio_spy()).run() as server:
        link = server.shared()
        answers: dict[int, Any] = {}

        async def agent(number: int) -> None:
            answers[number] = (await ask(link, call("echo", 1 if number % 2 else "1", agent=number)))["given"]

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(agent, number)

        assert answers == {number: {"agent": number} for number in range(100)}


async def test_the_request_itself_is_left_as_it_was() -> None:
    async with upstream(stdio_spy()).run() as server:
        frame = call("progress", "mine", meta={"progressToken": "t"})
        before = bytes(frame.raw)
        await ask(server.shared(), frame)

        assert frame.value["params"]["_meta"]["progressToken"] == "t"
        assert Frame(frame.value).raw == before


async def test_progress_tokens_are_given_back_with_their_type() -> None:
    heard: dict[Any, Heard] = {"a": Heard(), "b": Heard(), "c": Heard()}
    tokens: dict[str, Any] = {"a": 1, "b": "1", "c": 1}
    async with upstream(stdio_spy()).run() as server, anyio.create_task_group() as tasks:
        for name, token in tokens.items():
            frame = call("progress", 1, meta={"progressToken": token}, count=3)
            tasks.start_soon(ask, server.shared(), frame, heard[name])

    for name, token in tokens.items():
        params = [value["params"] for value in heard[name].values]
        assert params == [{"progressToken": token, "progress": step} for step in (1, 2, 3)]
        assert all(type(param["progressToken"]) is type(token) for param in params)


async def test_large_numbers_in_a_result_keep_every_digit() -> None:
    async with upstream(stdio_spy()).run() as server:
        answer = await server.shared().request(call("big_number", "x"), deaf)

    assert b"123456789012345678901234567890" in answer.raw
    assert b"1.10" in answer.raw
    assert answer.raw.endswith(b'"id": "x"}')


@pytest.mark.parametrize("end", [None, "result", "cancelled"])
async def test_a_subscription_is_known_to_its_owner_by_the_owners_id(end: str | None) -> None:
    heard = Heard()
    results: list[Any] = []
    async with upstream(stdio_spy()).run() as server, anyio.create_task_group() as tasks:

        async def listen() -> None:
            frame = request("subscriptions/listen", "sub-1", {"_meta": MODERN_META, "end": end})
            results.append((await server.shared().request(frame, heard)).value)

        tasks.start_soon(listen)
        await heard.wait_for(3 if end == "cancelled" else 2)
        if end is None:
            await ask(server.shared(), call("echo"))
            tasks.cancel_scope.cancel()

    assert [value["params"]["_meta"][SUBSCRIPTION] for value in heard.values[:2]] == ["sub-1", "sub-1"]
    if end == "cancelled":
        assert heard.values[2]["params"] == {"requestId": "sub-1"}
    if end is not None:
        meta = {SUBSCRIPTION: "sub-1"}
        assert results == [{"jsonrpc": "2.0", "id": "sub-1", "result": {"resultType": "complete", "_meta": meta}}]


async def test_a_subscription_that_the_server_cancels_ends_even_without_a_response() -> None:
    heard = Heard()
    async with upstream(stdio_spy()).run() as server:
        frame = request("subscriptions/listen", "sub-1", {"_meta": MODERN_META, "end": "cancelled only"})
        with pytest.raises(UpstreamLost, match="ended the subscription"):
            await ask(server.shared(), frame, heard)

    assert heard.values[-1]["params"] == {"requestId": "sub-1"}


async def test_a_log_message_goes_to_the_one_exchange_that_asked_for_logs() -> None:
    mine, other = Heard(), Heard()
    async with upstream(stdio_spy()).run() as server, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, server.shared(), call("silent"), other)
        await anyio.wait_all_tasks_blocked()
        await ask(server.shared(), call("log", data="x", meta=LOG_LEVEL), mine)
        tasks.cancel_scope.cancel()

    assert [value["params"]["data"] for value in mine.values] == ["x"]
    assert other.frames == []


@pytest.mark.parametrize("wanting", [0, 2])
async def test_a_log_message_that_could_be_anybodys_is_dropped(wanting: int) -> None:
    mine, other = Heard(), Heard()
    meta = LOG_LEVEL if wanting else {}
    async with upstream(stdio_spy()).run() as server, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, server.shared(), call("silent", meta=meta), other)
        await anyio.wait_all_tasks_blocked()
        await ask(server.shared(), call("log", data="x", meta=meta), mine)
        tasks.cancel_scope.cancel()

    assert mine.frames == other.frames == []


async def test_giving_up_names_the_request_by_the_id_the_child_knows() -> None:
    async with upstream(stdio_spy()).run() as server:
        link = server.shared()
        with anyio.move_on_after(0.2):
            await link.request(call("silent", "mine"), deaf)
        (known,) = (await ask(link, call("cancelled")))["cancelled"]

        assert known == 1


async def test_a_request_of_the_server_is_refused_and_reaches_nobody() -> None:
    heard = Heard()
    async with upstream(stdio_spy()).run() as server:
        answered = (await ask(server.shared(), call("ask"), heard))["answered"]

    assert answered["code"] == -32600
    assert heard.frames == []


@pytest.mark.parametrize("fault", ["ff", "deep", "batch", "long_answer"])
async def test_an_unusable_answer_fails_its_exchange_only(fault: str) -> None:
    async with upstream(stdio_spy(), small(500_000)).run() as server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.shared().request, call("silent"), deaf)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(UpstreamProtocol, match="unusable answer"):
            await ask(server.shared(), call(fault))

        assert (await ask(server.shared(), call("echo")))["given"] == {}
        tasks.cancel_scope.cancel()


async def test_garbage_is_skipped() -> None:
    async with upstream(stdio_spy()).run() as server:
        assert await ask(server.shared(), call("garbage")) == {"ok": True}
        assert await ask(server.shared(), call("wrong_id")) == {"ok": True}


async def test_a_dead_child_fails_who_waits_and_is_started_again_after_a_pause() -> None:
    limits = UpstreamLimits(restart_seconds=0.5, stop_seconds=0.5)
    async with upstream(stdio_spy(), limits).run() as server:
        failures: list[UpstreamError] = []
        pids: list[int | None] = []

        async def wait() -> None:
            try:
                await ask(server.shared(), call("silent"))
            except UpstreamError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            pids.append(server.health().pid)
            with pytest.raises(UpstreamLost, match="status 3"):
                await ask(server.shared(), call("die"))

        assert [(type(error), error.sent) for error in failures] == [(UpstreamLost, True)]
        with pytest.raises(UpstreamBackoff, match="started again in") as caught:
            await ask(server.shared(), call("echo"))
        assert not caught.value.sent
        assert server.health().state == "backoff"
        assert server.health().restarts == 1
        await until(lambda: server.health().state != "backoff")
        assert (await ask(server.shared(), call("echo")))["given"] == {}
        assert server.health().pid not in pids
        assert server.health().state == "up"


async def test_a_command_that_does_not_start_is_not_tried_at_once_again() -> None:
    config = stdio_spy()
    missing = type(config)(label="spy", transport="stdio", command="no-such-command-here")
    async with upstream(missing, UpstreamLimits(restart_seconds=60)).run() as server:
        with pytest.raises(UpstreamUnreachable):
            await ask(server.shared(), call("echo"))
        with pytest.raises(UpstreamBackoff, match="was not found"):
            await ask(server.shared(), call("echo"))


async def test_a_slow_reader_makes_nobody_else_wait() -> None:
    log, gate = Notes(), anyio.Event()

    async def stuck(frame: Frame) -> None:
        await gate.wait()

    async with upstream(stdio_spy(), log=log).run() as server, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, server.shared(), call("progress", meta={"progressToken": 1}, count=5000), stuck)
        await anyio.wait_all_tasks_blocked()
        for number in range(10):
            assert (await ask(server.shared(), call("echo", number), seconds=5))["given"] == {}
        gate.set()

    assert any("more notifications" in facts["why"] for facts in log.of("upstream.noise"))


async def test_after_close_nothing_is_started() -> None:
    async with upstream(stdio_spy()).run() as server:
        link = server.shared()
        await ask(link, call("echo"))
        await link.close()

        with pytest.raises(UpstreamLost, match="closed"):
            await ask(link, call("echo"))
