"""The answer to one MCP request: plain JSON, or a stream of messages of which one is the response.

Everything is decoded strictly: what two readers could read in two ways is no answer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpx2

from holdshort.errors import WireError
from holdshort.runner.connection import Patience, chunks_of, clip, decoded, read_body, where
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.sse import EventReader
from holdshort.wire import Kind, MalformedMessage, classify

__all__ = ["Answering"]

_DRAIN_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answering:
    """One request that was sent, and how to go on with what is not its response."""

    method: str
    request_id: int
    url: str
    had_token: bool
    heard: Callable[[Kind, dict[str, Any]], Awaitable[None]]
    """Gets every notification, and every request of a server, on the way to the response."""
    resume: Callable[[str], Awaitable[httpx2.Response]] | None = None
    """Takes up a stream after the event with this id; None where a stream that broke is over."""

    async def result(self, response: httpx2.Response) -> dict[str, Any]:
        """Return the result that `response` brings.

        Raises:
            ProxyError: it brings an error, or nothing that can be used.
            ProxyUnreachable: it broke off before that.
        """
        status = response.status_code
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream" and status == 200:
            return self._result_in(await self._from_stream(response), status)
        if kind == "application/json":
            value = decoded(await read_body(response), self.method, status)
            if self._kind(value) is Kind.RESPONSE:
                return self._result_in(value, status)
        raise self._no_response(status)

    def _result_in(self, reply: dict[str, Any], status: int) -> dict[str, Any]:
        error = reply.get("error")
        if reply["id"] != self.request_id and (error is None or reply["id"] is not None):
            raise self._no_response(status)
        if error is None:
            result: dict[str, Any] = reply["result"]
            return result
        said = clip(error["message"])
        if reply["id"] is None and status in (401, 403, 404):
            raise self._no_response(status, said)
        raise ProxyError(f"`{self.method}` was refused: {said}", reason=str(error["code"]), status=status)

    # -- streams

    async def _from_stream(self, response: httpx2.Response) -> dict[str, Any]:
        reader, patience = EventReader(), Patience()
        found, ended = await self._read(response, reader)
        while found is None:
            # Only a broken stream is taken up again, never the request.
            if self.resume is None or reader.last_id is None or not await patience.pause():
                raise ended
            try:
                stream = await self.resume(reader.last_id)
            except ProxyUnreachable:
                continue
            try:
                if stream.status_code != 200:
                    raise ended
                found, ended = await self._read(stream, reader)
            finally:
                await stream.aclose()
        return found

    async def _read(
        self, response: httpx2.Response, reader: EventReader
    ) -> tuple[dict[str, Any] | None, ProxyUnreachable]:
        """Return the response, or None and why there is none."""
        try:
            async with aclosing(chunks_of(response)) as chunks:
                async for chunk in chunks:
                    found = await self._take(chunk, reader)
                    if found is not None:
                        await _drain(chunks)
                        return found, _NO_FAULT
        except ProxyUnreachable as lost:
            return None, lost
        words = f"the proxy at `{where(self.url)}` ended its answer to `{self.method}` before the response"
        return None, ProxyUnreachable(words, sent=True)

    async def _take(self, chunk: bytes, reader: EventReader) -> dict[str, Any] | None:
        try:
            events = reader.feed(chunk)
        except WireError as error:
            raise ProxyError(str(error), reason="malformed") from None
        found: dict[str, Any] | None = None
        for event in events:
            value = decoded(event.data, self.method, 200)
            kind = self._kind(value)
            if kind is not Kind.RESPONSE:
                await self.heard(kind, value)
            elif value["id"] == self.request_id:
                found = value
        return found

    def _kind(self, value: Any) -> Kind:
        try:
            return classify(value)
        except MalformedMessage as error:
            raise ProxyError(
                f"the proxy's answer to `{self.method}` cannot be used: {error}", reason="malformed"
            ) from None

    # -- what is no response

    def _no_response(self, status: int, said: str = "") -> ProxyError:
        place, because = where(self.url), f": {said}" if said else ""
        if status in (401, 403):
            token = "`token` is not one of its agents'" if self.had_token else "it wants the `token` of an agent"
            reason = "unauthenticated" if status == 401 else "forbidden"
            words = f"the proxy at `{place}` lets nobody in like this ({status}), {token}{because}"
            return ProxyError(words, reason=reason, status=status)
        if status == 404:
            words = f"there is no MCP endpoint at `{clip(self.url)}`; check `url` and `server`{because}"
            return ProxyError(words, reason="not_found", status=status)
        if 300 <= status < 400:
            words = (
                f"`{place}` answers with a redirect, which is not followed; give the address that it leads to as `url`"
            )
            return ProxyError(words, reason="redirect", status=status)
        if status in (502, 503, 504):
            # Said by whoever stands in between: the request may have gone through before that.
            return ProxyUnreachable(f"`{place}` answers `{self.method}` with status {status}{because}", sent=True)
        words = f"the answer of `{place}` to `{self.method}` cannot be used (status {status}); is it a holdshort proxy?"
        return ProxyError(f"{words}{because}", reason="malformed", status=status)


_NO_FAULT: Final = ProxyUnreachable("", sent=True)


async def _drain(chunks: AsyncGenerator[bytes]) -> None:
    """Read to the end of a stream that has said what it had to: then its connection is good for the next request."""
    with anyio.move_on_after(_DRAIN_SECONDS):
        try:
            async for _ in chunks:
                pass
        except ProxyUnreachable as error:
            _log.debug("a stream broke after its response: %s", error)
