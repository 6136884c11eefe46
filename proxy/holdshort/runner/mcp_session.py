"""One client's conversation with an MCP endpoint over streamable HTTP, without a task of its own.

The official client keeps tasks and cancel scopes open for as long as a session lives. A run is an async generator that
may be left at any `yield` and closed from another task, and no scope may be open then. So here every request is one
coroutine that opens, reads and closes; between two requests there is a session id, and nothing that runs.

Both eras are spoken. The handshake era comes first: there a call goes on when its connection is lost, and its answer
can be fetched afterwards. Where that era is refused, or shows nothing, the stateless one is asked for. A request is
repeated by itself only where it is certain that it was not taken, or where taking it twice does no harm.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import Any, Final

import anyio
import httpx2

from holdshort.runner.connection import Connection, Patience, Sending, clip, where
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.mcp_answer import Answering
from holdshort.runner.mcp_terms import CLIENT_INFO, ENVELOPE, HANDSHAKE, STATELESS, UNAGREED, Terms, trace_headers
from holdshort.wire import Kind, encode, error_reply, result_reply

__all__ = ["McpSession"]

_UNSUPPORTED_VERSION: Final = "-32022"
_METHOD_NOT_FOUND: Final = -32601
_DELETE_SECONDS: Final = 1.0
_MOST_RENEWALS: Final = 2
_HARMLESS_TWICE: Final = ("initialize", "tools/list")

_log = logging.getLogger(__name__)


class _Renew(Exception):
    """The session is gone, or the endpoint speaks the other era by now: the request was certainly not taken."""


class McpSession:
    """What is known about one MCP endpoint, and one way to ask it."""

    def __init__(self, connection: Connection, url: str, token: str | None, timeout_s: float) -> None:
        self._connection = connection
        self._url = url
        self._token = token
        self._timeout_s = timeout_s
        self._terms: Terms | None = None
        self._beginning: anyio.Lock | None = None
        self._ids = itertools.count(1)
        self.tools_changed = False
        """Set when a server says that its tools are others now; whoever reads the list anew clears it."""

    def __repr__(self) -> str:
        return f"McpSession({self._url!r}, {self._terms.version if self._terms else 'not begun'})"

    async def request(
        self, method: str, params: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the result of one request. `headers` go with it in the stateless era only.

        Raises:
            ProxyError: the answer is an error; `reason` is the JSON-RPC code, or a word where there is none.
            ProxyUnreachable: there is no answer; `sent` says whether this request may have been taken.
        """
        sending = Sending()
        try:
            with anyio.fail_after(self._timeout_s):
                return await self._until_taken(method, params, headers or {}, sending)
        except TimeoutError:
            raise self._too_late(method, sent=sending.sent) from None

    async def change_era(self) -> bool:
        """Go over to the stateless era, where the endpoint has it and it is not spoken already; say whether.

        Raises:
            ProxyUnreachable: it did not say.
        """
        if self._terms is None or self._terms.is_stateless:
            return False
        with anyio.move_on_after(self._timeout_s):
            if not await self._knows_stateless():
                return False
            await self.close()
            self._terms = Terms(STATELESS)
            return True
        raise self._too_late("server/discover", sent=True)

    async def close(self) -> None:
        """Tell the proxy that the session is over, if that is quickly done; it would find out by itself."""
        terms, self._terms = self._terms, None
        if terms is None or terms.session_id is None or _loop_ends():
            return
        # Shielded: what ends a run, a cancellation too, must not leave its session behind.
        with anyio.move_on_after(_DELETE_SECONDS, shield=True):
            try:
                response = await self._connection.open("DELETE", self._url, headers=terms.headers(self._token))
                await response.aclose()
            except ProxyError as error:
                _log.debug("a session was not ended: %s", error)

    # -- one request, as often as it takes

    async def _until_taken(
        self, method: str, params: Mapping[str, Any], headers: Mapping[str, str], sending: Sending
    ) -> dict[str, Any]:
        patience, renewals = Patience(), 0
        while True:
            terms = await self._begun()
            try:
                return await self._ask(terms, method, params, headers, sending)
            except _Renew as gone:
                sending.sent = False
                if self._terms is terms:
                    self._terms = None
                renewals += 1
                if renewals > _MOST_RENEWALS:
                    words = f"the proxy at `{where(self._url)}` ends each session at once ({gone})"
                    raise ProxyError(words, reason="session_lost") from None
            except ProxyUnreachable as lost:
                if (lost.sent and method not in _HARMLESS_TWICE) or not await patience.pause():
                    raise

    async def _begun(self) -> Terms:
        """Return the terms, agreed upon first where there are none. Several requests at once agree upon them once."""
        if self._terms is not None:
            return self._terms
        if self._beginning is None:
            self._beginning = anyio.Lock()
        async with self._beginning:
            patience = Patience()
            while self._terms is None:
                try:
                    self._terms = await self._begin()
                except ProxyUnreachable as lost:
                    if not await patience.pause():
                        # Whatever became of the handshake: the request that it was for has not left.
                        raise ProxyUnreachable(str(lost), sent=False) from None
            return self._terms

    async def _begin(self) -> Terms:
        asked = {"protocolVersion": HANDSHAKE[0], "capabilities": {}, "clientInfo": CLIENT_INFO}
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": "initialize", "params": asked}
        response = await self._connection.open(
            "POST", self._url, headers=UNAGREED.headers(self._token), content=encode(message)
        )
        try:
            result = await self._answering(UNAGREED, message).result(response)
        except ProxyError as error:
            # The proxy's -32022, or whatever a server of the other era makes of a request that it does not know.
            if error.reason.startswith("-") and await self._knows_stateless():
                return Terms(STATELESS)
            raise
        finally:
            await response.aclose()
        version = result.get("protocolVersion")
        if version not in HANDSHAKE:
            words = f"the proxy at `{where(self._url)}` chose protocol `{clip(version)[:40]}`, which is not known"
            raise ProxyError(f"{words}; known are {', '.join(HANDSHAKE)}, {STATELESS}", reason=_UNSUPPORTED_VERSION)
        terms = Terms(str(version), response.headers.get("mcp-session-id"))
        await self._tell(terms, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        return terms

    async def _knows_stateless(self) -> bool:
        try:
            said = await self._ask(Terms(STATELESS), "server/discover", {}, {}, Sending())
        except ProxyUnreachable:
            raise
        except (ProxyError, _Renew):
            return False
        versions = said.get("supportedVersions")
        return isinstance(versions, list) and STATELESS in versions

    async def _ask(
        self, terms: Terms, method: str, params: Mapping[str, Any], more: Mapping[str, str], sending: Sending
    ) -> dict[str, Any]:
        said = dict(params)
        headers = terms.headers(self._token) | trace_headers(said.get("_meta"))
        if terms.is_stateless:
            said["_meta"] = {**said.get("_meta", {}), **ENVELOPE}
            headers |= {"mcp-method": method, **more}
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": said}
        response = await self._connection.open(
            "POST", self._url, headers=headers, content=_encoded(message), sending=sending
        )
        try:
            if response.status_code == 404 and terms.session_id is not None:
                # MCP 2025-11-25, transports: a session that is not there is answered with 404, before anything else.
                raise _Renew("404")
            return await self._answering(terms, message).result(response)
        except ProxyError as error:
            if terms.is_stateless and error.reason == _UNSUPPORTED_VERSION:
                raise _Renew(_UNSUPPORTED_VERSION) from None
            raise
        finally:
            await response.aclose()

    def _too_late(self, method: str, *, sent: bool) -> ProxyUnreachable:
        words = f"the proxy at `{where(self._url)}` did not answer `{method}` within {self._timeout_s:g} seconds"
        return ProxyUnreachable(words, sent=sent)

    async def _tell(self, terms: Terms, message: Mapping[str, Any]) -> None:
        """Send what has no answer."""
        headers = terms.headers(self._token)
        response = await self._connection.open("POST", self._url, headers=headers, content=encode(message))
        await response.aclose()

    # -- what belongs to a request

    def _answering(self, terms: Terms, message: Mapping[str, Any]) -> Answering:
        async def resume(last_id: str) -> httpx2.Response:
            headers = terms.headers(self._token) | {
                "accept": "text/event-stream",
                "last-event-id": last_id,
            }
            return await self._connection.open("GET", self._url, headers=headers)

        async def heard(kind: Kind, said: dict[str, Any]) -> None:
            await self._heard(terms, kind, said)

        return Answering(
            method=message["method"],
            request_id=message["id"],
            url=self._url,
            had_token=self._token is not None,
            heard=heard,
            resume=None if terms.session_id is None else resume,
        )

    async def _heard(self, terms: Terms, kind: Kind, said: dict[str, Any]) -> None:
        if said["method"] == "notifications/tools/list_changed":
            self.tools_changed = True
        if kind is not Kind.REQUEST or not terms.version or terms.is_stateless:
            return
        if said["method"] == "ping":
            reply = result_reply(said["id"], {})
        else:
            # A run has nobody to ask and nothing to offer, but the server must not wait for an answer.
            reply = error_reply(said["id"], _METHOD_NOT_FOUND, "Method not found")
        try:
            await self._tell(terms, reply)
        except ProxyUnreachable as error:
            _log.debug("a server's question was not answered: %s", error)


def _loop_ends() -> bool:
    """Say whether the event loop is closing what was left open: then nothing new can be begun in it without a warning.

    There is no public word for that. Where this one is missing too, the worst is such a warning.
    """
    return bool(getattr(asyncio.get_running_loop(), "_asyncgens_shutdown_called", False))


def _encoded(message: Mapping[str, Any]) -> bytes:
    try:
        return encode(message)
    except (UnicodeEncodeError, ValueError):
        raise ProxyError(
            "the arguments have half a character (a lone surrogate) or a number that JSON does not have; "
            "nothing was sent",
            reason="malformed",
        ) from None
