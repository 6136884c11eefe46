"""The same links against servers made with the SDK: nothing here was written to fit us."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from gate.upstream.harness import (
    MODERN_META,
    SERVERS,
    Heard,
    ask,
    call,
    deaf,
    http_server,
    http_spy,
    initialize,
    initialized,
    request,
    until,
    upstream,
)
from holdshort.config import ServerConfig
from holdshort.gate.upstream import Link, UpstreamLost
from holdshort.wire import Frame
from kit.ports import free_port

BIN = Path(sys.executable).parent


def time_server() -> ServerConfig:
    command = str(BIN / "mcp-server-time")
    return ServerConfig(label="time", transport="stdio", command=command, args=("--local-timezone", "UTC"))


async def repository(folder: Path) -> ServerConfig:
    await anyio.run_process(["git", "init", "-q", str(folder)])
    (folder / "new.txt").write_text("new", encoding="utf-8")
    args = ("--repository", str(folder))
    return ServerConfig(label="git", transport="stdio", command=str(BIN / "mcp-server-git"), args=args)


def tool(name: str, number: Any = 1, *, meta: dict[str, Any] | None = None, **arguments: Any) -> Frame:
    return call(name, number, meta=meta, **arguments)


async def shake_hands(link: Link) -> dict[str, Any]:
    result = await ask(link, initialize())
    await link.send(initialized())
    return result


async def test_the_time_server_speaks_both_eras_over_pipes() -> None:
    async with upstream(time_server()).run() as server:
        eras = await server.eras()
        assert (eras.legacy, eras.modern, eras.versions) == (True, True, ("2026-07-28",))
        modern = await ask(server.shared(), tool("get_current_time", timezone="UTC"))
        async with server.open(deaf) as link:
            await shake_hands(link)
            params = {"name": "get_current_time", "arguments": {"timezone": "UTC"}}
            legacy = await ask(link, request("tools/call", "x", params))

    assert modern["structuredContent"]["timezone"] == legacy["structuredContent"]["timezone"] == "UTC"


async def test_the_git_server_answers_over_pipes(tmp_path: Path) -> None:
    async with upstream(await repository(tmp_path)).run() as server:
        listed = await ask(server.shared(), request("tools/list", 1, {"_meta": MODERN_META}))
        status = await ask(server.shared(), tool("git_status", 2, repo_path=str(tmp_path)))

    assert len(listed["tools"]) == 12
    assert "new.txt" in status["content"][0]["text"]


@pytest.fixture(params=["--json", "--sse-answers"])
async def port(request: pytest.FixtureRequest) -> AsyncGenerator[int, None]:
    async with http_server("sdk_http.py", request.param) as found:
        yield found


async def test_an_sdk_server_speaks_both_eras_over_http(port: int) -> None:
    async with upstream(http_spy(port, label="sdk")).run() as server:
        eras = await server.eras()
        assert (eras.legacy, eras.modern) == (True, True)
        modern = await ask(server.shared(), tool("echo", 1, text="é"))
        async with server.open(deaf) as link:
            assert (await shake_hands(link))["protocolVersion"] == "2025-11-25"
            legacy = await ask(link, request("tools/call", 1, {"name": "echo", "arguments": {"text": "é"}}))

    assert modern["content"] == legacy["content"] == [{"type": "text", "text": "é"}]


async def test_an_sdk_server_refuses_with_a_status_that_is_kept(port: int) -> None:
    async with upstream(http_spy(port, label="sdk")).run() as server:
        answer: Any = await server.shared().request(request("no/such", 1, {"_meta": MODERN_META}), deaf)

    assert answer.frame_status == 404
    assert answer.value["error"]["code"] == -32601


async def test_progress_and_questions_of_an_sdk_server_arrive() -> None:
    progress, session = Heard(), Heard()

    async def answer(frame: Frame) -> None:
        await session(frame)
        root = {"uri": "file:///here", "name": "here"}
        await link.send(Frame({"jsonrpc": "2.0", "id": frame.value["id"], "result": {"roots": [root]}}))

    async with http_server("sdk_http.py") as port, upstream(http_spy(port, label="sdk")).run() as server:
        await ask(server.shared(), tool("steps", 1, meta={"progressToken": "t"}, count=3), progress)
        async with server.open(answer) as link:
            await shake_hands(link)
            result = await ask(link, request("tools/call", 1, {"name": "ask", "arguments": {}}))

    assert [value["method"] for value in session.values] == ["roots/list"]
    assert [value["params"]["progress"] for value in progress.values] == [1, 2, 3]
    assert result["content"] == [{"type": "text", "text": "here"}]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_sdk_server_stops_working_on_what_was_given_up(era: str) -> None:
    command = [sys.executable, str(SERVERS / "sdk_http.py")]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        output = BufferedByteReceiveStream(process.stdout)
        port = int(await output.receive_until(b"\n", 100))
        async with upstream(http_spy(port, label="sdk")).run() as server, server.open(deaf) as link:
            await shake_hands(link)
            with anyio.move_on_after(0.5):
                await (server.shared() if era == "modern" else link).request(tool("wait", 5), deaf)
            with anyio.fail_after(5):
                said = await output.receive_until(b"\n", 100)
        process.kill()

    assert said == b"cancelled"


async def test_an_sdk_server_over_legacy_sse_answers_asks_and_ends() -> None:
    async with http_server("sdk_http.py", "--sse") as port:
        config = ServerConfig(label="sdk", transport="sse", url=f"http://127.0.0.1:{port}/sse")
        async with upstream(config).run() as server:
            session = Heard()

            async def answer(frame: Frame) -> None:
                await session(frame)
                root = {"uri": "file:///here", "name": "here"}
                await link.send(Frame({"jsonrpc": "2.0", "id": frame.value["id"], "result": {"roots": [root]}}))

            async with server.open(answer) as link:
                await shake_hands(link)
                echoed = await ask(link, request("tools/call", 1, {"name": "echo", "arguments": {"text": "x"}}))
                asked = await ask(link, request("tools/call", 2, {"name": "ask", "arguments": {}}))
            with pytest.raises(UpstreamLost):
                await ask(link, request("ping", 3))

    assert echoed["content"] == [{"type": "text", "text": "x"}]
    assert asked["content"] == [{"type": "text", "text": "here"}]
    assert [value["method"] for value in session.values] == ["roots/list"]


@asynccontextmanager
async def fixture_server() -> AsyncGenerator[int, None]:
    """The server that the conformance suite expects, with an event store."""
    port = free_port()
    command = [sys.executable, "-m", "kit.fixture_server", "--http", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(SERVERS.parents[2])}
    async with await anyio.open_process(command, env=environment, stdout=None, stderr=None) as process:

        async def listens() -> bool:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                return False
            return True

        try:
            await until(listens)
            yield port
        finally:
            process.kill()


async def test_a_stream_that_an_sdk_server_closes_early_is_polled_for_the_rest() -> None:
    """MCP 2025-11-25, transports: a server may close the stream of a request, and the client comes back for more."""
    async with fixture_server() as port, upstream(http_spy(port)).run() as server, server.open(deaf) as link:
        await shake_hands(link)
        result = await ask(link, request("tools/call", 1, {"name": "test_reconnection", "arguments": {}}))

    assert result["content"][0]["text"]
    assert not result.get("isError")
