"""What a server speaks is found out once, whatever it does when asked; what a server is has a digest."""

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.upstream.harness import QUICK, ask, call, deaf, http_server, http_spy, stdio_spy, upstream
from holdshort.config import LimitsConfig, ServerConfig
from holdshort.gate.upstream import (
    Eras,
    UpstreamBackoff,
    UpstreamLimits,
    UpstreamLost,
    UpstreamTimeout,
    UpstreamUnreachable,
    identity_digest,
)
from holdshort.wire import Limits


@pytest.mark.parametrize(
    ("options", "modern", "versions"),
    [
        ((), True, ("2026-07-28",)),
        (("--legacy",), False, ("2025-06-18",)),
        (("--crash",), False, ("2025-06-18",)),
        (("--slow-start", "1"), True, ("2026-07-28",)),
    ],
)
async def test_a_child_is_asked_what_it_speaks(
    options: tuple[str, ...], modern: bool, versions: tuple[str, ...]
) -> None:
    async with upstream(stdio_spy(*options)).run() as server:
        eras = await server.eras()

        assert (eras.legacy, eras.modern, eras.versions) == (True, modern, versions)
        assert (eras.discovered is not None) is modern
        assert server.health().pid is None


async def test_a_child_that_ignores_the_question_is_asked_the_old_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.gate.upstream.probe._SILENCE_SECONDS", 0.3)
    monkeypatch.setattr("holdshort.gate.upstream.probe._LATE_SECONDS", 0.1)
    async with upstream(stdio_spy("--silent")).run() as server:
        eras = await server.eras()

    assert (eras.legacy, eras.modern) == (True, False)


async def test_a_slow_start_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.gate.upstream.probe._SILENCE_SECONDS", 0.2)
    async with upstream(stdio_spy("--slow-start", "1")).run() as server:
        eras = await server.eras()

    assert (eras.legacy, eras.modern) == (True, True)


@pytest.mark.parametrize(("options", "modern"), [((), True), (("--legacy",), False), (("--modern",), True)])
async def test_a_server_over_http_is_asked_what_it_speaks(options: tuple[str, ...], modern: bool) -> None:
    """One that answers as modern is not asked the old way: sessions are assumed until it refuses one."""
    async with http_server("http_spy.py", *options) as port, upstream(http_spy(port)).run() as server:
        eras = await server.eras()

    assert (eras.legacy, eras.modern) == (True, modern)
    assert (eras.initialized is None) is modern


async def test_many_who_ask_at_once_cause_one_probe_and_it_outlives_the_first_of_them() -> None:
    async with upstream(stdio_spy("--slow-start", "0.3")).run() as server:
        found: list[Eras] = []

        async def one() -> None:
            found.append(await server.eras())

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.1):
                await server.eras()
            for _ in range(10):
                tasks.start_soon(one)

        assert len({id(eras) for eras in found}) == 1
        assert await server.eras() is found[0]
        server.forget_eras()
        assert await server.eras() is not found[0]


async def test_a_server_that_cannot_be_asked_is_asked_again_after_a_pause() -> None:
    missing = ServerConfig(label="x", transport="stdio", command="no-such-command-here")
    async with upstream(missing, UpstreamLimits(restart_seconds=60)).run() as server:
        with pytest.raises(UpstreamUnreachable):
            await server.eras()
        with pytest.raises(UpstreamBackoff, match="was not found"):
            await server.eras()
        assert server.health().state == "backoff"


async def test_a_server_over_http_that_is_down_is_asked_again_at_once() -> None:
    config = ServerConfig(label="x", transport="http", url="http://127.0.0.1:9/mcp")
    async with upstream(config).run() as server:
        for _ in range(3):
            with pytest.raises(UpstreamUnreachable):
                await server.eras()
        assert server.health().state == "down"


async def test_a_child_that_never_answers_is_given_up() -> None:
    config = ServerConfig(
        label="x", transport="stdio", command=sys.executable, args=("-c", "import time; time.sleep(1000)")
    )
    async with upstream(config, UpstreamLimits(probe_seconds=0.5, stop_seconds=0.2)).run() as server:
        with pytest.raises(UpstreamTimeout, match=r"within 0\.5 seconds"):
            await server.eras()


async def test_a_command_that_is_no_server_says_so_with_its_last_words() -> None:
    config = ServerConfig(
        label="x", transport="stdio", command=sys.executable, args=("-c", "raise SystemExit('usage: x FILE')")
    )
    async with upstream(config).run() as server:
        with pytest.raises(UpstreamLost, match="exited with status 1; its last words: usage: x FILE"):
            await server.eras()


async def test_health_is_told_without_asking() -> None:
    async with upstream(stdio_spy()).run() as server:
        idle = server.health()
        await ask(server.shared(), call("echo"))
        up = server.health()
        async with server.open(deaf):
            assert server.health().links == 1

    assert (idle.state, idle.pid, idle.restarts, idle.last_error) == ("idle", None, 0, None)
    assert up.state == "up"
    assert up.pid is not None
    assert server.health().state == "idle"


def digest(**facts: Any) -> str:
    return identity_digest(ServerConfig(**facts))


def test_a_servers_identity_is_its_command_or_url_and_no_credential() -> None:
    base: dict[str, Any] = {"label": "a", "transport": "stdio", "command": "npx", "args": ("x",)}
    web: dict[str, Any] = {"label": "a", "transport": "http", "url": "https://x.example/mcp"}

    assert len(digest(**base)) == 64
    assert digest(**base) == digest(**base, env={"TOKEN": "x"}, timeout=3.0)
    others: list[dict[str, Any]] = [{"label": "b"}, {"command": "uvx"}, {"args": ("x", "y")}, {"cwd": Path("/tmp")}]
    assert len({digest(**base), *(digest(**{**base, **other}) for other in others)}) == 5
    assert digest(**web) == digest(**web, headers={"Authorization": "x"})
    assert digest(**web) == digest(**{**web, "url": "https://user:pass@x.example/mcp"})
    assert digest(**web) != digest(**{**web, "url": "https://x.example/other"})


def test_the_configured_limits_are_those_in_force() -> None:
    said = LimitsConfig(
        response_bytes=5,
        json_depth=3,
        connect_timeout=7,
        header_timeout=8,
        event_buffer=9,
        restart_backoff=2,
        restart_backoff_max=11,
    )
    limits = UpstreamLimits.of(said, stop_seconds=0.5)

    assert limits.message == Limits(max_bytes=5, max_depth=3, max_string_bytes=5)
    assert (limits.connect_seconds, limits.headers_seconds, limits.buffered_frames) == (7, 8, 9)
    assert (limits.restart_seconds, limits.restart_max_seconds, limits.stop_seconds) == (2, 11, 0.5)
    assert QUICK.connections == UpstreamLimits().connections == 128
