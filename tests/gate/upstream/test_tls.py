"""Over TLS a server must show a certificate that we trust, for the name we asked for."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gate.upstream.harness import QUICK, Notes, ask, call
from holdshort.config import ServerConfig
from holdshort.gate.upstream import Upstream, UpstreamUnreachable

ANSWER = b'{"jsonrpc":"2.0","id":1,"result":{"ok":true}}'


@dataclass(frozen=True, slots=True)
class Secure:
    port: int
    certificate: Path

    def config(self, host: str = "127.0.0.1") -> ServerConfig:
        return ServerConfig(label="tls", transport="http", url=f"https://{host}:{self.port}/mcp")


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    path = folder / "server.pem"
    path.write_bytes(pem)
    return path


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n" + ANSWER)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncGenerator[Secure, None]:
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield Secure(server.sockets[0].getsockname()[1], path)
    server.close()


def trusting(secure: Secure) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(secure.certificate))


async def test_a_trusted_server_is_talked_to_over_kept_connections(secure: Secure) -> None:
    async with Upstream(secure.config(), log=Notes(), limits=QUICK, tls=trusting(secure)).run() as server:
        for _ in range(5):
            assert await ask(server.shared(), call("echo")) == {"ok": True}


async def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Secure) -> None:
    async with Upstream(secure.config(), log=Notes(), limits=QUICK).run() as server:
        with pytest.raises(UpstreamUnreachable, match="no valid certificate") as caught:
            await ask(server.shared(), call("echo"))

    assert not caught.value.sent


async def test_a_certificate_for_another_name_is_refused(secure: Secure) -> None:
    async with Upstream(secure.config("localhost"), log=Notes(), limits=QUICK, tls=trusting(secure)).run() as server:
        with pytest.raises(UpstreamUnreachable, match="no valid certificate"):
            await ask(server.shared(), call("echo"))
