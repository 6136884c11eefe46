"""Requests to one upstream over connections that are kept: no redirects, no compression, nothing sent twice.

A connection can be closed by the peer at the moment we use it again. Whether the request was read then, nobody knows;
so such a loss is reported as sent, and made rare: idle connections are dropped early and looked at before use.
"""

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import anyio

from holdshort.gate.upstream.http_connection import Connection
from holdshort.gate.upstream.link import (
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamUnreachable,
)

__all__ = ["HttpClient", "Origin", "Response", "default_tls", "header_lines"]

_OURS: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
    }
)
_HASTY_SECONDS: Final = 1.0
_DISTRUST_SECONDS: Final = 60.0


class Origin:
    """Where an `http:` or `https:` URL leads."""

    __slots__ = ("host", "host_header", "port", "secure", "target")

    def __init__(self, label: str, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UpstreamUnreachable(label, "has a `url` that is not an http or https address")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.secure else 80)
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.host_header = f"{name}:{port}" if port else name
        path = parts.path or "/"
        self.target = f"{path}?{parts.query}" if parts.query else path
        if not self.target.isascii() or any(ord(char) <= 32 for char in self.target + self.host_header):
            raise UpstreamUnreachable(label, "has a `url` with characters that must be percent-encoded")

    @property
    def key(self) -> tuple[bool, str, int]:
        """What makes two URLs the same origin."""
        return (self.secure, self.host, self.port)


class Response:
    """The answer to one request; its headers are complete, its body is read as it comes. Always `close` it."""

    __slots__ = ("_connection", "_give_back", "_label", "_limits", "status")

    def __init__(
        self, label: str, limits: UpstreamLimits, connection: Connection, give_back: Callable[[], None]
    ) -> None:
        self._label = label
        self._limits = limits
        self._connection = connection
        self._give_back: Callable[[], None] | None = give_back
        self.status = connection.status

    def header(self, name: bytes) -> str:
        """Return the value of the header with this lower-case name; empty where it is missing."""
        for found, value in self._connection.headers:
            if found == name:
                return value.decode("latin-1").strip()
        return ""

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    async def read(self, max_bytes: int | None = None) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamProtocol: it has more bytes than are read.
        """
        limit = self._limits.message.max_bytes if max_bytes is None else max_bytes
        first = await self._connection.chunk()
        second = await self._connection.chunk() if first else b""
        if not second:
            if len(first) > limit:
                raise self._too_large(limit)
            return first
        parts = [first, second]
        size = len(first) + len(second)
        while size <= limit:
            chunk = await self._connection.chunk()
            if not chunk:
                return b"".join(parts)
            size += len(chunk)
            parts.append(chunk)
        raise self._too_large(limit)

    async def chunk(self) -> bytes:
        """Return the next piece of the body, empty at its end."""
        return await self._connection.chunk()

    def close(self, *, abort: bool = False) -> None:
        """Give the connection back; `abort` closes it, which tells a modern server to stop working."""
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            return
        if abort:
            self._connection.abort()
        else:
            self._connection.release()
        give_back()

    def _too_large(self, limit: int) -> UpstreamProtocol:
        return UpstreamProtocol(
            self._label, f"sent an answer of more than {limit} bytes, which is the most that is read"
        )


class HttpClient:
    """The connections to one upstream."""

    def __init__(
        self,
        label: str,
        *,
        limits: UpstreamLimits,
        monotonic: Callable[[], float],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._label = label
        self._limits = limits
        self._monotonic = monotonic
        self._tls = tls
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._in_use = 0
        self._streams = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._distrusted_until = 0.0
        self.used = False
        self.last_error: UpstreamError | None = None

    @property
    def open_connections(self) -> int:
        """How many connections there are, used or not."""
        return len(self._all)

    async def request(
        self,
        origin: Origin,
        head: bytes,
        body: bytes = b"",
        *,
        on_sent: Callable[[], None] | None = None,
        stream: bool = False,
        resend: bool = False,
        seconds: float | None = None,
    ) -> Response:
        """Send one request and return its answer once the headers are there.

        `stream`: the answer only listens, so it takes no part in the cap on exchanges. `resend`: running it twice does
        no harm, so it may go out again when a kept connection turns out to be closed. `seconds`: deadline for headers.

        Raises:
            UpstreamError: no answer; `sent` says whether the request may have been read.
        """
        give_back = await self._slot(stream)
        self.used = True
        connection: Connection | None = None
        try:
            while True:
                connection = self._kept(resend) if not stream else None
                reused = connection is not None
                if connection is None:
                    connection = await self._connect(origin)
                if on_sent is not None:
                    on_sent()
                connection.send(head, body)
                try:
                    await connection.head(seconds)
                except UpstreamLost:
                    if reused and not connection.heard:
                        self._distrust()
                    if resend and reused and not connection.heard:
                        continue
                    raise
                response = Response(self._label, self._limits, connection, give_back)
                if response.header(b"content-encoding").lower() not in ("", "identity"):
                    raise UpstreamProtocol(
                        self._label, "sent a compressed answer, which was not asked for", status=response.status
                    )
                self.last_error = None
                return response
        except BaseException as error:
            if isinstance(error, UpstreamError):
                self.last_error = error
            if connection is not None:
                connection.abort()
            give_back()
            raise

    def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()

    async def _slot(self, stream: bool) -> Callable[[], None]:
        if stream:
            if self._streams >= self._limits.streams:
                raise UpstreamUnreachable(self._label, f"has {self._limits.streams} open streams already")
            self._streams += 1
            return self._end_stream
        if self._in_use >= self._limits.connections:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._end_exchange()
                raise
        else:
            self._in_use += 1
        return self._end_exchange

    def _end_stream(self) -> None:
        self._streams -= 1

    def _end_exchange(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                # The place goes from hand to hand: nobody can come in between.
                turn.set_result(None)
                return
        self._in_use -= 1

    def _kept(self, resend: bool) -> Connection | None:
        now = self._monotonic()
        if now < self._distrusted_until and not resend:
            return None
        while self._idle:
            connection = self._idle.pop()
            fresh = now - connection.idle_since < self._limits.idle_seconds
            if fresh and connection.usable and not _readable(connection.fd):
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        if self._closed:
            raise UpstreamUnreachable(self._label, "is not in use any more")
        loop = asyncio.get_running_loop()
        where = f"{origin.host}:{origin.port}"

        def make() -> Connection:
            return Connection(self._label, self._limits, on_idle=self._keep, on_gone=self._forget)

        failure: UpstreamError
        try:
            with anyio.fail_after(self._limits.connect_seconds):
                if origin.secure:
                    if self._tls is None:
                        self._tls = default_tls()
                    _, connection = await loop.create_connection(
                        make, origin.host, origin.port, ssl=self._tls, server_hostname=origin.host
                    )
                else:
                    _, connection = await loop.create_connection(make, origin.host, origin.port)
        except TimeoutError:
            seconds = f"{self._limits.connect_seconds:g}"
            failure = UpstreamUnreachable(
                self._label, f"did not accept a connection at {where} within {seconds} seconds"
            )
        except ssl.SSLCertVerificationError as error:
            failure = UpstreamUnreachable(self._label, f"has no valid certificate at {where}: {error.verify_message}")
        except ssl.SSLError:
            failure = UpstreamUnreachable(self._label, f"does not speak TLS properly at {where}")
        except OSError as error:
            reason = (error.strerror or "connection refused").lower().partition("[errno")[0].strip() or "no connection"
            failure = UpstreamUnreachable(self._label, f"cannot be reached at {where}: {reason}")
        except UnicodeError:
            failure = UpstreamUnreachable(self._label, "has a `url` whose host name is no host name")
        else:
            self._all.add(connection)
            return connection
        raise failure

    def _keep(self, connection: Connection) -> None:
        if self._closed:
            connection.abort()
            return
        connection.idle_since = self._monotonic()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._sweep)

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
            if self._monotonic() - connection.idle_since < _HASTY_SECONDS:
                self._distrust()

    def _distrust(self) -> None:
        """Use new connections for a while: this peer closes kept ones without a word, which can cost a call."""
        self._distrusted_until = self._monotonic() + _DISTRUST_SECONDS

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._monotonic() - self._limits.idle_seconds
        stale = [connection for connection in self._idle if connection.idle_since <= oldest]
        self._idle = [connection for connection in self._idle if connection.idle_since > oldest]
        for connection in stale:
            connection.abort()
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._sweep)


def default_tls() -> ssl.SSLContext:
    """Return the context that trusts what the operating system trusts."""
    try:
        import truststore
    except ImportError:
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def header_lines(label: str, headers: Mapping[str, str]) -> bytes:
    """Return header lines as bytes, without those that only the client itself may set.

    Raises:
        UpstreamProtocol: a name or value that would not stay on its line.
    """
    lines: list[bytes] = []
    for name, value in headers.items():
        if name.lower() in _OURS:
            continue
        if not _is_token(name) or not _is_value(value):
            raise UpstreamProtocol(
                label, f"cannot be sent the header `{name[:40]!a}`: it is not valid in HTTP", sent=False
            )
        lines.append(f"{name}: {value}\r\n".encode("latin-1"))
    return b"".join(lines)


def _is_token(name: str) -> bool:
    return bool(name) and name.isascii() and all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in name)


def _is_value(value: str) -> bool:
    return all(char == "\t" or 32 <= ord(char) < 127 or 128 <= ord(char) < 256 for char in value)


def _readable(fd: int) -> bool:
    """Whether an idle socket has something to say: the end, or bytes that nobody asked for. Either way it is spoilt."""
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
