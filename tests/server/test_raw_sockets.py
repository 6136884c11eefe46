"""What comes over a real socket before any request is a request: the real `serve`, bytes as an attacker sends them."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from kit.ports import free_port
from kit.process import descendants, running, until
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, OTHER_AGENT_TOKEN, ProxyKit, serving
from kit.spy import SpyRecord
from kit.together import together

LAYER = {
    "version": 1,
    "default": "ask",
    "rules": [{"id": "reads", "tools": "*__read_thing", "action": "allow"}],
}
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ProxyKit]:
    """One proxy for all of them: none may hurt it for the next."""
    folder = tmp_path_factory.mktemp("sockets")
    port = free_port()
    record = SpyRecord(folder / "spy.jsonl")
    with running(record.command("--http", str(port))) as spy:
        url = f"http://127.0.0.1:{port}/mcp"
        await spy.until_answers(url)
        servers = {"things": {"url": url}}
        async with serving(folder, servers, LAYER, limits={"header_timeout": "500ms", "body_timeout": "500ms"}) as made:
            yield made
            assert record.executed("write_thing") == 0


@pytest.fixture(autouse=True)
async def still_works(proxy: ProxyKit) -> AsyncGenerator[None]:
    """Whatever a test did: the next good call works, and nothing waits."""
    yield
    answer = await call(proxy, "read_thing")
    assert answer["result"]["content"][0]["text"].startswith("read_thing done")
    assert await proxy.interruptions(state="pending") == []


def message(name: str) -> tuple[dict[str, str], bytes]:
    meta = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}, "_meta": meta}}
    headers = {
        "Authorization": f"Bearer {AGENT_TOKEN}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    return headers, json.dumps(body).encode()


async def call(proxy: ProxyKit, name: str) -> dict[str, Any]:
    headers, body = message(name)
    async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
        response = await client.post(proxy.server_url("things"), headers=headers, content=body)
    found: dict[str, Any] = response.json()
    return found


def request(proxy: ProxyKit, body: bytes, *extra: str, length: bool = True, **changes: str) -> bytes:
    headers, _ = message("write_thing")
    lines = {"Host": f"127.0.0.1:{proxy.port}", **headers, **changes}
    if length:
        lines["Content-Length"] = str(len(body))
    head = "\r\n".join(["POST /mcp/things HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items()), *extra])
    return head.encode("latin-1") + b"\r\n\r\n" + body


async def talk(proxy: ProxyKit, *pieces: bytes, within: float = 10) -> bytes:
    """Send the pieces and return everything until the other end closes, or has answered once."""

    def exchange() -> bytes:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=within) as connection:
            for piece in pieces:
                connection.sendall(piece)
            found = b""
            try:
                while chunk := connection.recv(65_536):
                    found += chunk
                    if b"\r\n\r\n" in found and b"connection: close" not in found.lower():
                        break
            except ConnectionResetError:
                pass
            return found

    with anyio.fail_after(within + 5):
        return await anyio.to_thread.run_sync(exchange)


async def test_headers_that_never_end_are_given_up(proxy: ProxyKit) -> None:
    assert b"200" not in await talk(proxy, b"POST /mcp/things HTTP/1.1\r\nHost: x\r\nX-Slow: ")


async def test_a_connection_that_says_nothing_is_given_up(proxy: ProxyKit) -> None:
    assert (await talk(proxy)).split(b"\r\n")[0] == b"HTTP/1.1 408 Request Timeout"


async def test_a_body_that_never_comes_is_given_up(proxy: ProxyKit) -> None:
    _, body = message("write_thing")
    head = request(proxy, body)[: -len(body)]

    assert b" 200 " not in await talk(proxy, head)
    assert b" 200 " not in await talk(proxy, head, body[:20])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"POST /mcp HTTP/9.9\r\n\r\n",
        b"POST /mcp/things HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"POST /mcp/things HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"\x00" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["tls", "words", "version", "no colon", "nul", "zeros", "http/2"],
)
async def test_what_is_no_request_gets_no_answer_worth_having(proxy: ProxyKit, raw: bytes) -> None:
    answer = await talk(proxy, raw)

    assert b" 200 " not in answer
    assert b"Traceback" not in answer


async def test_a_body_with_two_lengths_is_not_smuggled(proxy: ProxyKit) -> None:
    _, body = message("write_thing")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for raw in (
        request(proxy, chunked, "Transfer-Encoding: chunked"),
        request(proxy, body, f"Content-Length: {len(body) + 1}"),
        request(proxy, chunked, "Transfer-Encoding: chunked, identity", length=False),
        request(proxy, chunked, "Transfer-Encoding: xchunked", length=False),
    ):
        answer = await talk(proxy, raw)
        assert b" 200 " not in answer.split(b"\r\n")[0]


async def test_a_header_without_end_is_refused(proxy: ProxyKit) -> None:
    _, body = message("write_thing")
    for extra in (["X-Long: " + "a" * 1_000_000], [f"X-{number}: y" for number in range(100_000)]):
        answer = await talk(proxy, request(proxy, body, *extra))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


async def test_a_body_in_chunks_over_the_limit_is_413(proxy: ProxyKit) -> None:
    head = request(proxy, b"", "Transfer-Encoding: chunked", length=False)
    chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"

    def flood() -> bytes:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
            connection.sendall(head)
            try:
                for _ in range(100):
                    connection.sendall(chunk)
            except OSError:
                pass
            try:
                return connection.recv(65_536)
            except ConnectionResetError:
                return b""

    with anyio.fail_after(20):
        answer = await anyio.to_thread.run_sync(flood)
    assert b" 413 " in answer or answer == b""


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "", "127.0.0.1:{port}/x?", "127.0.0.1:{port} x"])
async def test_another_host_is_not_us_on_any_route(proxy: ProxyKit, host: str) -> None:
    for path in ("/mcp/things", "/sse/things", "/v1/interruptions", "/"):
        raw = f"GET {path} HTTP/1.1\r\nHost: {host.format(port=proxy.port)}\r\n\r\n".encode()
        assert (await talk(proxy, raw)).split(b"\r\n")[0].split(b" ")[1:2] in ([b"421"], [b"400"])


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("wrong", 401), (APPROVER_TOKEN, 403), (OTHER_AGENT_TOKEN, 404)]
)
async def test_tokens_open_only_their_own_doors(proxy: ProxyKit, token: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(timeout=20, trust_env=False) as client:
        session = {"Mcp-Session-Id": "somebody-elses", "Accept": "text/event-stream"}
        response = await client.get(proxy.server_url("things"), headers={**headers, **session})

    assert response.status_code == status


async def test_a_client_that_hangs_up_on_its_waiting_call_can_come_back_for_it(proxy: ProxyKit) -> None:
    headers, body = message("write_thing")
    with pytest.raises(httpx2.TimeoutException):
        async with httpx2.AsyncClient(timeout=httpx2.Timeout(5, read=0.3), trust_env=False) as client:
            await client.post(proxy.server_url("things"), headers=headers, content=body)
    (record,) = await proxy.pending()
    again, _ = await together(call(proxy, "write_thing"), proxy.reject(record, "no"))

    assert "REJECTED" in again["result"]["content"][0]["text"]
    assert len(await proxy.interruptions(agent="ci-bot")) == 1


async def test_being_told_to_stop_ends_everything_it_started(tmp_path: Path) -> None:
    record = SpyRecord(tmp_path / "spy.jsonl")
    command, *arguments = record.command("--stdio")
    servers = {"things": {"command": command, "args": arguments}}
    async with serving(tmp_path / "proxy", servers, LAYER, hold="60s") as own:
        headers, body = message("write_thing")

        async def wait() -> None:
            async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
                # Answered that it still waits, or cut off: both are fine, as long as it is soon.
                with suppress(httpx2.TransportError):
                    await client.post(own.server_url("things"), headers=headers, content=body)

        async def stop() -> tuple[set[int], int]:
            await own.pending()
            return own.process.descendants(), await own.process.terminate()

        _, (children, status) = await together(wait(), stop())
        await until(lambda: not (children & descendants(1)), "the end of every child")

        assert (status, bool(children)) == (0, True)
        assert record.executed("write_thing") == 0
