"""What an `ApprovalProxy` is made of: what is refused, and what it never shows."""

from __future__ import annotations

import asyncio
import ssl
import traceback
import warnings
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdshort.runner.errors import ProxyUnreachable, UserError
from holdshort.runner.proxy import ApprovalProxy
from kit.ports import free_port
from runner.wires import answer, rough

TOKEN = "agent-token-that-nobody-may-see"
APPROVER = "approver-token-that-nobody-may-see"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:7411", "must begin with"),
        ("ftp://127.0.0.1", "must begin with"),
        ("http://", "must begin with"),
        ("http://[::1", "is no URL"),
        ("http://user:hunter2@127.0.0.1:7411", "name or password"),
        ("http://127.0.0.1:7411?token=hunter2", "query"),
        ("http://127.0.0.1:7411/#hunter2", "query or a fragment"),
        ("http://127.0.0.1:7411/mcp", "without `/mcp`"),
        ("http://127.0.0.1:7411/mcp/files/", "narrow it to one server"),
    ],
    ids=["bare", "scheme", "no-host", "broken", "password", "query", "fragment", "mcp", "mcp-server"],
)
def test_an_address_that_cannot_be_meant_is_refused_without_showing_it(url: str, words: str) -> None:
    for name in ("url", "approvals_url"):
        given: dict[str, Any] = {"url": "http://127.0.0.1:7411", name: url}
        with pytest.raises(UserError, match=words) as error:
            ApprovalProxy(**given)
        assert f"`{name}`" in str(error.value)
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"token": ""}, "`token` is empty"),
        ({"token": "a secret\nwith lines"}, "`token` is empty or has characters"),
        ({"approver_token": "größe"}, "`approver_token`"),
        ({"token": TOKEN, "approver_token": TOKEN}, "never decides about its own calls"),
        ({"server": "a__b"}, "label of a server"),
        ({"server": "../v1"}, "label of a server"),
        ({"ask_about": "some"}, "`gated` or `all`"),
        ({"hold_s": -1}, "`hold_s`"),
        ({"hold_s": 60, "timeout_s": 60}, "`hold_s`"),
    ],
    ids=["empty", "lines", "umlaut", "the-same", "underscores", "path", "word", "negative", "too-long"],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        ApprovalProxy("http://127.0.0.1:7411", **given)

    assert TOKEN not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_token_over_plain_http_to_another_machine_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="`url` is plain http to another machine") as caught:
        ApprovalProxy("http://proxy.example:7411", token=TOKEN)

    assert caught[0].filename == __file__
    assert TOKEN not in str(caught[0].message)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://127.0.0.1:7411", TOKEN),
        ("http://127.8.8.8", TOKEN),
        ("http://[::1]:7411", TOKEN),
        ("http://localhost:7411/", TOKEN),
        ("http://holdshort.localhost", TOKEN),
        ("https://proxy.example", TOKEN),
        ("http://proxy.example", None),
    ],
    ids=["loopback", "net-127", "ipv6", "localhost", "sub", "https", "no-token"],
)
def test_nobody_is_warned_where_nobody_can_listen(url: str, token: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ApprovalProxy(url, token=token)


def test_a_base_may_have_a_path_and_a_slash_too_many() -> None:
    proxy = ApprovalProxy("https://tools.example/holdshort/", server="files")

    assert (proxy.url, proxy.mcp_url) == (
        "https://tools.example/holdshort",
        "https://tools.example/holdshort/mcp/files",
    )
    assert proxy.approvals_url == proxy.url


async def test_no_token_is_in_anything_that_is_printed() -> None:
    proxy = ApprovalProxy(f"http://127.0.0.1:{free_port()}", token=TOKEN, approver_token=APPROVER, server="files")
    link = await proxy.open()
    shown = [repr(proxy), str(proxy), repr(link), repr(link.endpoint), f"{vars(link)}", f"{vars(link.endpoint)}"]
    with pytest.raises(ProxyUnreachable) as error:
        await link.call(_tool(), {}, meta={})
    await link.close()
    shown += [str(error.value), *traceback.format_exception(error.value)]

    assert repr(proxy).endswith("server='files', token=..., approver_token=...)")
    assert not any(secret in text for secret in (TOKEN, APPROVER) for text in shown)


def _tool() -> Any:
    from holdshort.runner.mcp_link import McpTool

    return McpTool(name="x", server="files", tool="x", wire_name="x")


async def test_a_client_that_was_given_is_used_and_left_open() -> None:
    listed = {"tools": [{"name": "files__x", "inputSchema": {}}]}
    initialized = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}

    def said(heard: Any) -> bytes:
        message = heard.message if heard.body else {}
        results = {"initialize": initialized, "tools/list": listed}
        if message.get("method") not in results:
            return answer(202)
        return answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})

    async with rough(said) as server, httpx2.AsyncClient(headers={"x-mine": "yes"}, follow_redirects=True) as client:
        link = await ApprovalProxy(server.url, token=TOKEN, http_client=client).open()
        tools = await link.tools()
        await link.close()

        assert not client.is_closed
        assert {heard.headers["x-mine"] for heard in server.heard} == {"yes"}
    assert [each.name for each in tools] == ["files__x"]


def self_signed(folder: Path) -> Path:
    """A certificate for this machine that nobody but itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "self-signed.pem"
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem))
    return file


async def test_a_certificate_that_nobody_vouches_for_gets_no_token(tmp_path: Path) -> None:
    file = self_signed(tmp_path)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(file)
    ready = answer(200, {"status": "ready", "missing": []})
    async with rough(lambda _: ready, ours) as server:
        link = await ApprovalProxy(server.url, token=TOKEN).open()
        with pytest.raises(ProxyUnreachable, match="certificate") as error:
            await link.endpoint.health()
        await link.close()

        assert (error.value.sent, server.heard) == (False, [])
        async with httpx2.AsyncClient(verify=ssl.create_default_context(cafile=file)) as client:
            health = await ApprovalProxy(server.url, token=TOKEN, http_client=client).health()
    assert health.ready


async def test_a_run_in_another_thread_does_not_share_the_link_of_this_one() -> None:
    proxy = ApprovalProxy(f"http://127.0.0.1:{free_port()}")
    async with proxy:
        here = await proxy.open()
        there = await anyio.to_thread.run_sync(lambda: asyncio.run(proxy.open()))

        assert await proxy.open() is here
    assert there is not here


async def test_approvals_may_live_at_another_address() -> None:
    async with rough(lambda _: answer(200, {"status": "ready", "missing": []})) as approvals:
        proxy = ApprovalProxy(f"http://127.0.0.1:{free_port()}", approvals_url=approvals.url)
        health = await proxy.health()

    assert health.ready
    assert [heard.path for heard in approvals.heard] == ["/readyz"]
