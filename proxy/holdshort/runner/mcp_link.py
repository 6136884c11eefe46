"""The tools behind the proxy, for one run or for all runs of an entered `ApprovalProxy`.

A link needs no task and no open scope, and does nothing until it is asked: `open` is free, the handshake comes with the
first request. Closing it never cancels a call that waits: that is what a person is about to decide.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import anyio

from holdshort.runner.connection import Connection, clip
from holdshort.runner.endpoint import Endpoint
from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.mcp_session import McpSession
from holdshort.runner.param_headers import parameter_headers, safe_value
from holdshort.runner.tool_names import McpTool, model_names, split_name

__all__ = ["McpTool", "ProxyLink"]

_BELIEVED_SECONDS: Final = 30.0
"""How long a list is used again: a change that was told to nobody is seen after this. The proxy believes as long."""
_MOST_PAGES: Final = 1000
_HEADER_MISMATCH: Final = "-32020"
_INVALID_PARAMS: Final = "-32602"

_log = logging.getLogger(__name__)


class ProxyLink:
    """One MCP session, and the approval endpoint beside it. Several calls may be under way at once."""

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        session: McpSession,
        *,
        server: str | None = None,
        shared: bool = False,
        ask_about: Literal["gated", "all"] = "gated",
        hold_s: float = 0,
    ) -> None:
        self.ask_about: Literal["gated", "all"] = ask_about
        """Which calls that run here are asked about."""
        self.hold_s = hold_s
        """Whether the proxy may hold a call, instead of answering at once that it waits."""
        self.endpoint = endpoint
        self._connection = connection
        self._session = session
        self._server = server
        self._shared = shared
        self._tools: Sequence[McpTool] | None = None
        self._read_at = 0.0

    def __repr__(self) -> str:
        return f"ProxyLink({self._session!r})"

    async def tools(self, *, refresh: bool = False) -> Sequence[McpTool]:
        """Return every tool this agent is shown, in the proxy's order.

        Raises:
            ProxyError, ProxyUnreachable: the list was not to be had.
        """
        stale = self._session.tools_changed or anyio.current_time() - self._read_at > _BELIEVED_SECONDS
        if self._tools is None or stale or refresh:
            # Cleared before: a change that is told while the list is read makes it stale again.
            self._session.tools_changed = False
            listed = await self._pages()
            if not listed and await self._session.change_era():
                # A server of the stateless era alone is missing from the other era's list, and nobody says so.
                listed = await self._pages()
            self._tools = tools_of(listed, self._server)
            self._read_at = anyio.current_time()
        return self._tools

    def unlisted(self, server: str, tool: str) -> McpTool:
        """Return a tool that was listed once and is not any more, as far as a call of it needs one."""
        wire_name = tool if self._server is not None else f"{server}__{tool}"
        return McpTool(name=wire_name, server=server, tool=tool, wire_name=wire_name)

    async def call(self, tool: McpTool, arguments: dict[str, Any], *, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool and return the result as it came, `isError` and `_meta` included.

        Raises:
            ProxyError: a JSON-RPC error (`reason` is its code) or an answer that cannot be used (`malformed`,
                `too_large`; the call may have run then).
            ProxyUnreachable: no answer; with `sent` the call may have been taken.
        """
        if self._tools is None:
            await self._listed()
        params: dict[str, Any] = {"name": tool.wire_name, "arguments": arguments}
        if meta:
            params["_meta"] = dict(meta)
        try:
            result = await self._session.request("tools/call", params, headers=_headers(tool, arguments))
        except ProxyError as error:
            if error.reason == _INVALID_PARAMS:
                self._session.tools_changed = True
            if error.reason != _HEADER_MISMATCH:
                raise
            # Refused before it was looked at: the tool's schema has other marks by now than when it was listed.
            tool = replace(tool, input_schema=await self._schema_now(tool))
            result = await self._session.request("tools/call", params, headers=_headers(tool, arguments))
        kind = result.get("resultType", "complete")
        if kind != "complete":
            raise ProxyError(
                f"`{tool.wire_name}` answers with `{clip(kind)[:40]}`, which a run cannot go on with",
                reason=clip(kind)[:40],
            )
        return result

    async def close(self) -> None:
        """End the session and the connections; a shared link ends with its `async with`, not here."""
        if not self._shared:
            await self.end()

    async def end(self) -> None:
        """End it, shared or not."""
        try:
            await self._session.close()
        finally:
            await self._connection.close()

    async def _listed(self) -> None:
        """Read the list before the first call: it tells which era the servers are to be met in."""
        try:
            await self.tools()
        except ProxyUnreachable as lost:
            # What may have left was not the call.
            raise ProxyUnreachable(str(lost), sent=False) from None

    async def _schema_now(self, tool: McpTool) -> dict[str, Any]:
        for each in await self.tools(refresh=True):
            if each.wire_name == tool.wire_name:
                return each.input_schema
        return tool.input_schema

    async def _pages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: object = None
        for _ in range(_MOST_PAGES):
            page = await self._session.request("tools/list", {} if cursor is None else {"cursor": cursor})
            tools = page.get("tools")
            if not isinstance(tools, list):
                raise ProxyError("the proxy's list of tools is none", reason="malformed")
            found += [each for each in tools if isinstance(each, dict)]
            before, cursor = cursor, page.get("nextCursor")
            if cursor is None:
                return found
            if not isinstance(cursor, str) or cursor == before:
                break
        raise ProxyError("the proxy's list of tools has no end", reason="malformed")


def tools_of(listed: Sequence[Mapping[str, Any]], server: str | None) -> list[McpTool]:
    """Return the tools of a list as it came. What has no usable name or schema is left out, and the log says so.

    Raises:
        ProxyError: names have no server in them where they must, so this is not a proxy's list.
    """
    usable: dict[str, Mapping[str, Any]] = {}
    for each in listed:
        name = each.get("name")
        if isinstance(name, str) and name and isinstance(each.get("inputSchema"), dict):
            usable.setdefault(name, each)
        else:
            _log.warning("a tool is left out, it has no usable name or schema: %s", clip(name)[:80])
    names = model_names(usable)
    found: list[McpTool] = []
    for wire_name, each in usable.items():
        place = split_name(wire_name, server)
        if place is None:
            raise ProxyError(
                f"the tool `{clip(wire_name)[:80]}` has no server in its name; is `url` that of a holdshort proxy?",
                reason="malformed",
            )
        found.append(
            McpTool(
                name=names[wire_name],
                server=place[0],
                tool=place[1],
                wire_name=wire_name,
                description=_text(each.get("description")) or "",
                input_schema=each["inputSchema"],
                output_schema=_object(each.get("outputSchema")),
                annotations=_object(each.get("annotations")) or {},
                title=_text(each.get("title")),
            )
        )
    return found


def _headers(tool: McpTool, arguments: Mapping[str, Any]) -> dict[str, str]:
    try:
        return {"mcp-name": safe_value(tool.wire_name), **parameter_headers(tool.input_schema, arguments)}
    except UnicodeEncodeError:
        return {}  # such arguments are refused where the body is written


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
