"""The Python SDK's first major version. Runs in a side environment; the names are looked up there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any

from flows.clients.repl import JSON, Session, run

__all__: list[str] = []

mcp: Any = import_module("mcp")
http: Any = import_module("mcp.client.streamable_http")
McpError: type[Exception] = import_module("mcp.shared.exceptions").McpError


class SdkSession:
    """`mcp.ClientSession`."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._session.list_tools()).tools]

    async def call(self, name: str, arguments: JSON) -> JSON:
        result = await self._session.call_tool(name, arguments)
        dumped: JSON = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dumped


@asynccontextmanager
async def connect(target: JSON) -> AsyncGenerator[Session]:
    async with AsyncExitStack() as stack:
        if "command" in target:
            command, *arguments = target["command"]
            parameters = mcp.StdioServerParameters(command=command, args=arguments, env=target.get("env"))
            read, write = await stack.enter_async_context(mcp.stdio_client(parameters))
        else:
            opened = http.streamablehttp_client(target["url"], headers=target.get("headers"))
            read, write, _ = await stack.enter_async_context(opened)
        session = await stack.enter_async_context(mcp.ClientSession(read, write))
        await session.initialize()
        yield SdkSession(session)


def error_of(problem: Exception) -> JSON | None:
    if isinstance(problem, McpError):
        error: Any = getattr(problem, "error", None)
        return {"code": error.code, "message": error.message}
    return None


if __name__ == "__main__":
    run(connect, error_of)
