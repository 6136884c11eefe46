"""A link over the pipes of a child: nothing it writes breaks the link, only its death ends it, and nobody is left."""

import os
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gate.upstream.harness import (
    QUICK,
    Heard,
    Notes,
    alive,
    ask,
    call,
    deaf,
    initialize,
    initialized,
    request,
    small,
    stdio_spy,
    until,
    until_gone,
    upstream,
)
from holdshort.config import ServerConfig
from holdshort.gate.upstream import (
    Upstream,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamUnreachable,
)
from holdshort.wire import Frame


async def test_a_call_is_answered_with_its_own_id_whatever_its_type() -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        assert (await ask(link, initialize()))["protocolVersion"] == "2025-06-18"
        await link.send(initialized())

        for number in (1, "1", 0, -5, 'a"b', 2**53):
            assert await ask(link, call("echo", number, text="hi")) == {"given": {"text": "hi"}, "id": number}


async def test_a_message_with_line_ends_between_its_tokens_is_still_one_line() -> None:
    raw = (
        b'{"jsonrpc": "2.0",\r\n "id": 1,\n "method": "tools/call", "params": {"name": "echo",\n"arguments": {"a": 1}}}'
    )
    value: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    value["params"] = {"name": "echo", "arguments": {"a": 1}}
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        assert await ask(link, Frame(value, raw)) == {"given": {"a": 1}, "id": 1}


@pytest.mark.parametrize("noise", ["garbage", "dribble", "wrong_id"])
async def test_noise_between_messages_is_skipped_and_told_in_the_log(noise: str) -> None:
    log = Notes()
    async with upstream(stdio_spy(), log=log).run() as server, server.open(deaf) as link:
        assert await ask(link, call(noise)) == {"ok": True}
        assert await ask(link, call("echo", 2)) == {"given": {}, "id": 2}

    assert bool(log.of("upstream.noise")) is (noise != "dribble")
    assert "\x1b" not in str(log)


async def test_much_noise_is_told_a_few_times_only() -> None:
    log = Notes()
    async with upstream(stdio_spy(), log=log).run() as server, server.open(deaf) as link:
        assert await ask(link, call("garbage", count=200)) == {"ok": True}

    assert 1 <= len(log.of("upstream.noise")) <= 20


@pytest.mark.parametrize("fault", ["ff", "deep", "batch"])
async def test_an_unusable_answer_fails_its_exchange_at_once_and_no_other(fault: str) -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        with pytest.raises(UpstreamProtocol, match="sent an unusable answer") as caught:
            await ask(link, call(fault))

        assert caught.value.sent
        assert await ask(link, call("echo", 2)) == {"given": {}, "id": 2}


async def test_a_long_line_of_noise_fails_who_waits_but_not_the_link() -> None:
    """Whose answer it would have been cannot be told from its ends."""
    async with upstream(stdio_spy(), small(1_000_000)).run() as server, server.open(deaf) as link:
        with pytest.raises(UpstreamProtocol, match="at most 1000000 are read"):
            await ask(link, call("long_noise", count=50))

        assert await ask(link, call("echo", 2)) == {"given": {}, "id": 2}


@pytest.mark.parametrize("name", ["long_answer", "long_answer_id_last"])
async def test_an_answer_over_the_limit_fails_its_own_exchange_only(name: str) -> None:
    async with upstream(stdio_spy(), small(1_000_000)).run() as server, server.open(deaf) as link:
        other: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def wait_for_other() -> None:
                other.append(await ask(link, call("ask", 7)))

            tasks.start_soon(wait_for_other)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(UpstreamProtocol, match="sent an answer of"):
                await ask(link, call(name, 8, count=2))
            assert other == []
            await link.send(Frame({"jsonrpc": "2.0", "id": "from-server", "result": {"roots": []}}))

        assert other == [{"answered": {"roots": []}}]


async def test_an_answer_just_under_the_limit_passes() -> None:
    async with upstream(stdio_spy(), small(1_000_100)).run() as server, server.open(deaf) as link:
        assert len((await ask(link, call("long_answer")))["text"]) == 1_000_000


@pytest.mark.parametrize(
    ("fault", "how"),
    [("half", "exited with status 0"), ("die", "exited with status 3"), ("mute", "closed its output")],
)
async def test_death_fails_everybody_who_waits(fault: str, how: str) -> None:
    async with upstream(stdio_spy(env={"SPY_TOKEN": "very-secret"})).run() as server, server.open(deaf) as link:
        failures: list[UpstreamError] = []

        async def wait() -> None:
            try:
                await ask(link, call("silent", 1))
            except UpstreamError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(UpstreamLost, match=how) as caught:
                await ask(link, call(fault, 2))
            assert caught.value.sent
            assert "very-secret" not in str(caught.value)

        assert [type(error) for error in failures] == [UpstreamLost]
        assert failures[0].sent
        with anyio.fail_after(5):
            await link.closed.wait()
        assert isinstance(link.failure, UpstreamLost)
        with pytest.raises(UpstreamLost) as late:
            await ask(link, call("echo", 3))
        assert not late.value.sent


async def test_an_answer_given_just_before_death_still_counts() -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        assert await ask(link, call("answer_and_die")) == {"ok": True}


async def test_the_first_of_two_answers_counts() -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        assert await ask(link, call("twice")) == {"first": True}
        assert await ask(link, call("echo", 2)) == {"given": {}, "id": 2}


async def test_progress_goes_to_its_exchange_in_order_and_before_the_response() -> None:
    session, mine = Heard(), Heard()
    async with upstream(stdio_spy()).run() as server, server.open(session) as link:
        result = await ask(link, call("progress", meta={"progressToken": "t"}, count=600), mine)

    assert result == {"token": "t"}
    assert [value["params"]["progress"] for value in mine.values] == list(range(1, 601))
    assert session.frames == []


async def test_what_belongs_to_no_exchange_goes_to_the_session_before_a_later_response() -> None:
    heard: list[Any] = []

    async def slow(frame: Frame) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(frame.value["params"]["data"])

    async with upstream(stdio_spy()).run() as server, server.open(slow) as link:
        await ask(link, call("flood_notifications", count=2000))

        assert heard == list(range(2000))


async def test_a_reader_that_takes_nothing_makes_the_child_wait_and_loses_nothing() -> None:
    gate = anyio.Event()
    heard: list[Any] = []

    async def stuck(frame: Frame) -> None:
        await gate.wait()
        heard.append(frame.value["params"]["data"])

    async with upstream(stdio_spy(), UpstreamLimits(buffered_frames=16)).run() as server, server.open(stuck) as link:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, link, call("flood_notifications", count=20_000), deaf)
            await anyio.wait_all_tasks_blocked()
            board: Any = link
            await until(lambda: board._board._held)
            assert len(board._board._outbox) <= 32
            gate.set()

        assert heard == list(range(20_000))


async def test_a_server_may_ask_and_is_answered() -> None:
    async def answer(frame: Frame) -> None:
        await link.send(Frame({"jsonrpc": "2.0", "id": frame.value["id"], "result": {"roots": ["here"]}}))

    async with upstream(stdio_spy()).run() as server, server.open(answer) as link:
        assert await ask(link, call("ask")) == {"answered": {"roots": ["here"]}}


async def test_giving_up_tells_the_server_and_a_late_answer_disturbs_nobody() -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        with anyio.move_on_after(0.2):
            await link.request(call("silent", 41), deaf)

        assert await ask(link, call("cancelled", 42)) == {"cancelled": [41]}
        with pytest.raises(UpstreamProtocol, match="abandoned") as caught:
            await ask(link, call("echo", 41))
        assert not caught.value.sent


async def test_an_id_that_still_waits_is_refused() -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link, anyio.create_task_group() as tasks:
        tasks.start_soon(link.request, call("silent", 1), deaf)
        await anyio.wait_all_tasks_blocked()

        with pytest.raises(UpstreamProtocol, match="same id") as caught:
            await ask(link, call("echo", 1))
        assert not caught.value.sent
        tasks.cancel_scope.cancel()


async def test_a_server_that_reads_nothing_costs_no_memory_and_what_was_not_written_was_not_sent() -> None:
    heard = Heard()
    async with upstream(stdio_spy()).run() as server, server.open(heard) as link:
        outcomes: list[bool] = []

        async def send(number: int, name: str = "echo") -> None:
            try:
                await link.request(call(name, number, text="x" * 100_000), deaf)
            except UpstreamError as error:
                outcomes.append(error.sent)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 1000, "deaf")
            await heard.wait_for(1)
            for number in range(50):
                tasks.start_soon(send, number)
            await anyio.wait_all_tasks_blocked()
            await link.close()

    assert len(outcomes) == 51
    assert 1 <= outcomes.count(True) <= 5


async def test_a_child_sees_only_what_it_is_meant_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("TERM", "() { :; }")
    ours, theirs = os.pipe()
    os.set_inheritable(ours, True)
    async with upstream(stdio_spy(env={"SPY_TOKEN": "t"})).run() as server, server.open(deaf) as link:
        seen = await ask(link, call("environ"))
    os.close(ours)
    os.close(theirs)

    allowed = {"HOME", "LOGNAME", "PATH", "SHELL", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SPY_TOKEN"}
    assert {name for name in seen["environ"] if not name.startswith("LC_")} <= allowed
    assert seen["environ"]["SPY_TOKEN"] == "t"
    assert seen["environ"]["LC_TIME"] == "C"
    assert seen["pgid"] == seen["pid"]
    assert seen["pgid"] != os.getpgid(0)
    assert len(seen["fds"]) <= 4


async def test_closing_leaves_no_process_not_even_a_grandchild() -> None:
    async with upstream(stdio_spy()).run() as server:
        async with server.open(deaf) as link:
            child = server.health().pid
            grandchild = (await ask(link, call("grandchild")))["pid"]
            assert child is not None
            assert alive(grandchild)
        assert not alive(child)
        assert not alive(grandchild)


async def test_a_grandchild_does_not_outlive_a_child_that_dies() -> None:
    async with upstream(stdio_spy()).run() as server, server.open(deaf) as link:
        grandchild = (await ask(link, call("grandchild")))["pid"]
        with pytest.raises(UpstreamLost):
            await ask(link, call("die", 2))

        await until_gone(grandchild)


async def test_a_child_that_ignores_every_polite_word_is_killed() -> None:
    async with upstream(stdio_spy("--stubborn")).run() as server:
        async with server.open(deaf) as link:
            child = server.health().pid
            await ask(link, call("echo"))
            assert child is not None
            started = anyio.current_time()
        assert not alive(child)
        assert 0.9 < anyio.current_time() - started < 3


async def test_leaving_the_server_stops_every_link_of_it() -> None:
    pids: list[int] = []
    async with upstream(stdio_spy("--stubborn")).run() as server:
        server.shared()
        await ask(server.shared(), call("echo"))
        pids.append(server.health().pid or 0)

    assert [alive(pid) for pid in pids] == [False]


async def test_what_a_child_says_on_stderr_is_passed_on_harmless_and_capped() -> None:
    log = Notes()
    async with (
        upstream(stdio_spy(env={"SPY_TOKEN": "very-secret"}), log=log).run() as server,
        server.open(deaf) as link,
    ):
        await ask(link, call("stderr", count=1, text="very-secret"))
        await ask(link, call("stderr", 2, count=5000))
        await until(lambda: len(log.of("upstream.stderr")) >= 100)

    lines = log.of("upstream.stderr")
    assert lines[0] == {"server": "spy", "line": "line 0\\x1b[2J ***"}
    assert len(lines) <= 400


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (ServerConfig(label="x", transport="stdio", command="no-such-command-here"), "was not found"),
        (ServerConfig(label="x", transport="stdio", command="/etc/passwd"), "was not found"),
        (stdio_spy(cwd=Path("/no/such/folder")), "`cwd` does not exist"),
    ],
)
async def test_a_command_that_does_not_start_is_named(config: ServerConfig, why: str) -> None:
    async with upstream(config).run() as server:
        with pytest.raises(UpstreamUnreachable, match=why) as caught:
            async with server.open(deaf):
                pass

        assert not caught.value.sent
        assert server.health().state == "down"


async def test_a_raw_link_passes_every_frame_that_is_no_response() -> None:
    session, mine = Heard(), Heard()
    async with upstream(stdio_spy()).run() as server, server.dedicated(session) as link:
        await ask(link, call("progress", meta={"progressToken": 1}, count=3), mine)

        assert link.era == "modern"
    assert [value["method"] for value in session.values] == ["notifications/progress"] * 3
    assert mine.frames == []


async def test_a_raw_link_that_starts_with_initialize_is_a_legacy_one() -> None:
    async with upstream(stdio_spy()).run() as server, server.dedicated(deaf) as link:
        await ask(link, initialize())
        await ask(link, request("tools/list"))

        assert link.era == "legacy"


async def test_a_flood_of_garbage_delays_other_servers_little() -> None:
    slowest = 0.0
    async with (
        upstream(stdio_spy(label="flood")).run() as bad,
        upstream(stdio_spy(label="good")).run() as good,
        bad.open(deaf) as flooding,
        good.open(deaf) as link,
        anyio.create_task_group() as tasks,
    ):
        await ask(link, call("echo", 0))
        tasks.start_soon(ask, flooding, call("flood", seconds=1), deaf)
        for number in range(1, 200):
            started = anyio.current_time()
            await ask(link, call("echo", number))
            slowest = max(slowest, anyio.current_time() - started)
            await anyio.sleep(0.005)
    assert 0 < slowest < 0.25


async def test_a_server_that_is_not_running_is_not_used() -> None:
    server = Upstream(stdio_spy(), log=Notes(), limits=QUICK)

    with pytest.raises(UpstreamLost, match="not running"):
        async with server.open(deaf):
            pass
    assert server.health().state == "idle"
