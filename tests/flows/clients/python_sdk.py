"""The Python SDK, the version the proxy pins, in either era."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from flows.clients.python_tasks import Tasks
from flows.clients.repl import JSON, Session, run

__all__: list[str] = []


class SdkSession:
    """`mcp.Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, name: str, arguments: JSON) -> JSON:
        result = await self._client.call_tool(name, arguments)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def accept(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Say yes to everything, as a careless client would: that must never be the approval."""
    return types.ElicitResult(
        action="accept", content={} if isinstance(params, types.ElicitRequestFormParams) else None
    )


@asynccontextmanager
async def connect(target: JSON) -> AsyncGenerator[Session]:
    async with AsyncExitStack() as stack:
        transport: Any
        if "command" in target:
            command, *arguments = target["command"]
            transport = stdio_client(StdioServerParameters(command=command, args=arguments, env=target.get("env")))
        else:
            http = httpx2.AsyncClient(headers=target.get("headers"), timeout=httpx2.Timeout(30, read=None))
            transport = streamable_http_client(target["url"], http_client=await stack.enter_async_context(http))
        client = Client(
            transport,
            mode="legacy" if target["era"] == "legacy" else "2026-07-28",
            # It names itself so that a proxy cannot take it for a client whose patience it knows.
            client_info=types.Implementation(name="holdshort-flow", version="1"),
            elicitation_callback=accept if target["manner"] == "asked" else None,
            extensions=[Tasks()] if target["manner"] == "tasks" else None,
        )
        yield SdkSession(await stack.enter_async_context(client))


def error_of(problem: Exception) -> JSON | None:
    return {"code": problem.code, "message": problem.message} if isinstance(problem, MCPError) else None


if __name__ == "__main__":
    run(connect, error_of)
