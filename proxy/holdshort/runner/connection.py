"""HTTP to one proxy: what leaves, what comes back, and how sure it is that something left.

No redirect is followed and no proxy of the environment is used: a token goes where it was meant to go, nowhere else.
"""

from __future__ import annotations

import functools
import random
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import httpx2

from holdshort import __version__
from holdshort.errors import WireError
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.sse import MAX_BYTES
from holdshort.wire import Limits, decode

__all__ = ["ANSWER_LIMITS", "Connection", "Patience", "Sending", "chunks_of", "clip", "decoded", "read_body", "where"]

ANSWER_LIMITS: Final = Limits(max_bytes=MAX_BYTES, max_depth=512, max_keys=1_000_000, max_string_bytes=MAX_BYTES)
"""The proxy has held a server's message to limits of its own; these only keep our memory."""
_CONNECT_SECONDS: Final = 5.0
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
"""What goes wrong before the first byte of a request."""
_LONGEST_WORDS: Final = 1000


@dataclass(slots=True)
class Sending:
    """Whether the request under way may have arrived."""

    sent: bool = False


@dataclass(slots=True)
class Patience:
    """How long something is tried again: pauses that double, with jitter, for a few seconds in all."""

    first_seconds: float = 0.1
    longest_seconds: float = 1.6
    budget_seconds: float = 5.0
    """Of pauses; infinite where somebody else ends it."""
    _next: float = field(default=0.0, init=False)

    async def pause(self, at_least: float = 0.0) -> bool:
        """Wait, and say whether to try again; False, at once, when the pause is more than there is patience for."""
        self._next = min(self._next * 2, self.longest_seconds) or self.first_seconds
        # Half of it is random: several runs that lost one proxy must not come back at the same moment.
        seconds = max(at_least, self._next * random.uniform(0.5, 1.0))  # noqa: S311
        if seconds > self.budget_seconds:
            return False
        self.budget_seconds -= seconds
        await anyio.sleep(seconds)
        return True

    def reset(self) -> None:
        """Begin with short pauses again: it worked."""
        self._next = 0.0


class Connection:
    """The HTTP client of one link. A client that was given is used and never closed."""

    def __init__(self, client: httpx2.AsyncClient | None = None) -> None:
        self._given = client
        self._own: httpx2.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"Connection({'given' if self._given is not None else 'own'} client)"

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        idle_seconds: float | None = None,
        sending: Sending | None = None,
    ) -> httpx2.Response:
        """Send a request and return its answer with the body unread; it has to be closed.

        The deadline is the caller's; `idle_seconds` is how long the answer may say nothing at all.

        Raises:
            ProxyUnreachable: there is no answer; `sent` says whether the request may have arrived.
        """
        sending = sending if sending is not None else Sending()
        timeout = httpx2.Timeout(None, connect=_CONNECT_SECONDS, read=idle_seconds)
        # Uncompressed, so that what is counted against the cap is what arrives.
        told = {"user-agent": f"holdshort-runner/{__version__}", "accept-encoding": "identity", **headers}
        client = self._client()
        request = client.build_request(method, url, headers=told, content=content, timeout=timeout)
        sending.sent = True
        try:
            return await client.send(request, stream=True, auth=None, follow_redirects=False)
        except _NOT_SENT as error:
            sending.sent = False
            raise ProxyUnreachable(
                f"the proxy at `{where(url)}` cannot be reached ({_words(error)}); is it running, and is `url` right?",
                sent=False,
            ) from None
        except httpx2.HTTPError as error:
            raise lost(url, error) from None

    async def close(self) -> None:
        """Close what is ours."""
        if self._own is not None:
            own, self._own = self._own, None
            await own.aclose()

    def _client(self) -> httpx2.AsyncClient:
        if self._given is not None:
            return self._given
        if self._own is None:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
            self._own = httpx2.AsyncClient(verify=_tls(), trust_env=False, follow_redirects=False, limits=limits)
        return self._own


@functools.cache
def _tls() -> ssl.SSLContext:
    # Made once: reading the certificates takes longer than the whole of a short run.
    return httpx2.create_ssl_context(trust_env=False)


def lost(url: str, error: Exception) -> ProxyUnreachable:
    """Return the error for an answer that broke off, or never began."""
    return ProxyUnreachable(f"the answer of the proxy at `{where(url)}` was lost ({_words(error)})", sent=True)


async def chunks_of(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """Yield the body as it arrives.

    Raises:
        ProxyUnreachable: it broke off; `sent` is True.
    """
    try:
        async with aclosing(response.aiter_bytes()) as chunks:
            async for chunk in chunks:
                yield chunk
    except httpx2.HTTPError as error:
        raise lost(str(response.request.url), error) from None


async def read_body(response: httpx2.Response) -> bytes:
    """Return the whole body.

    Raises:
        ProxyUnreachable: it broke off.
        ProxyError: it is over the cap.
    """
    body = bytearray()
    async with aclosing(chunks_of(response)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BYTES:
                raise ProxyError(f"an answer of the proxy has more than {MAX_BYTES} bytes", reason="too_large")
    return bytes(body)


def decoded(raw: bytes, what: str, status: int) -> Any:
    """Return the one JSON value that `raw` is.

    Raises:
        ProxyError: it is none, or can be read in two ways. Whether the request was acted on is not known.
    """
    try:
        return decode(raw, ANSWER_LIMITS)
    except WireError as error:
        raise ProxyError(
            f"the proxy's answer to `{what}` cannot be used: {error}", reason="malformed", status=status
        ) from None


def clip(words: object) -> str:
    """Return what somebody else wrote as one line of bounded length."""
    text = "".join(char if char.isprintable() else " " for char in str(words))
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}..."


def where(url: str) -> str:
    """Return scheme, host and port of a URL: what an error may name."""
    parts = httpx2.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode('ascii', 'replace')}"


def _words(error: Exception) -> str:
    return clip(str(error).lower() or type(error).__name__)
