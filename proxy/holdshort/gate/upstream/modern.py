"""Streamable HTTP from 2026-07-28 on: every exchange is one POST; closing the connection cancels it."""

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import anyio

from holdshort.gate.upstream.http_client import Response, header_lines
from holdshort.gate.upstream.link import NO_HEADERS, Emit, Era, UpstreamError, UpstreamLost, UpstreamProtocol
from holdshort.gate.upstream.posting import Endpoint, answer_of, unexpected
from holdshort.wire import MCP_META_PREFIX, Frame, Kind

__all__ = ["MODERN_VERSION", "ModernHttpLink", "header_value"]

MODERN_VERSION: Final = "2026-07-28"
_NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""MCP 2026-07-28 and its tasks extension, streamable HTTP, request headers: where `Mcp-Name` comes from."""
_PLAIN = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_ENCODED = re.compile(r"=\?base64\?.*\?=")
_RESERVED: Final = frozenset(
    {"mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", "authorization", "cookie"}
)


class ModernHttpLink:
    """The one link that all agents share: an exchange knows nothing of the one before."""

    era: Era = "modern"

    def __init__(self, endpoint: Endpoint) -> None:
        self.label = endpoint.label
        self.closed = anyio.Event()
        self.failure: UpstreamError | None = None
        self._endpoint = endpoint

    async def request(self, frame: Frame, emit: Emit, *, headers: Mapping[str, str] = NO_HEADERS) -> Frame:
        """Run one exchange; see `Link.request`. `headers` are `Mcp-Param-*`: the others are made from the body."""
        self._check()
        label = self.label

        async def notifications_only(found: Frame) -> None:
            if found.kind is not Kind.NOTIFICATION:
                raise UpstreamProtocol(label, "sent a request of its own, which this revision does not allow")
            await emit(found)

        response: Response | None = None
        answer: Frame | None = None
        listens = frame.value["method"] == "subscriptions/listen"
        try:
            response = await self._endpoint.post(frame, self._headers(frame, headers), stream=listens)
            answer = await answer_of(self._endpoint, response, frame, notifications_only, self._endpoint.events())
            if answer is None:
                raise UpstreamLost(label, "ended its answer before the response")
            return answer
        finally:
            if response is not None:
                response.close(abort=answer is None or listens)

    async def send(self, frame: Frame) -> None:
        """Send a notification (this revision has none over HTTP; extensions may)."""
        self._check()
        seconds = self._endpoint.limits.headers_seconds
        response = await self._endpoint.post(frame, self._headers(frame, NO_HEADERS), seconds=seconds)
        try:
            if response.status >= 300:
                raise unexpected(self.label, response)
        finally:
            response.close()

    async def close(self) -> None:
        """Refuse every further exchange."""
        self.closed.set()

    def _check(self) -> None:
        if self.closed.is_set():
            raise UpstreamLost(self.label, "is closed", sent=False)

    def _headers(self, frame: Frame, extra: Mapping[str, str]) -> bytes:
        method = str(frame.value.get("method", ""))
        params = frame.value.get("params") or {}
        meta = params.get("_meta")
        version = meta.get(f"{MCP_META_PREFIX}protocolVersion") if isinstance(meta, dict) else None
        name = params.get(_NAMED[method]) if method in _NAMED else None
        standard = _standard_headers(
            version if isinstance(version, str) else MODERN_VERSION, method, name if isinstance(name, str) else None
        )
        if not extra:
            return standard
        given = {key: value for key, value in extra.items() if key.lower() not in _RESERVED}
        return standard + header_lines(self.label, given)


@lru_cache(maxsize=1024)
def _standard_headers(version: str, method: str, name: str | None) -> bytes:
    lines = f"MCP-Protocol-Version: {header_value(version)}\r\nMcp-Method: {header_value(method)}\r\n"
    if name is not None:
        lines += f"Mcp-Name: {header_value(name)}\r\n"
    return lines.encode()


def header_value(text: str) -> str:
    """Return `text` as a header value (2026-07-28, value encoding): plain, or base64 where plain would not survive."""
    if _PLAIN.fullmatch(text) and not _ENCODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
