"""The OpenAI Agents SDK's MCP servers, called directly: no model, no runner. Stock settings, its 5 seconds included."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from flows.clients.repl import JSON, Session, run

__all__: list[str] = []

agents: Any = import_module("agents.mcp")
errors: Any = import_module("mcp.shared.exceptions")
# Named differently in the two major versions of the MCP library that this SDK runs on.
MCPError: type[Exception] = getattr(errors, "MCPError", None) or errors.McpError


class ServerSession:
    """`agents.mcp.MCPServer`."""

    def __init__(self, server: Any) -> None:
        self._server = server

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._server.list_tools()]

    async def call(self, name: str, arguments: JSON) -> JSON:
        result = await self._server.call_tool(name, arguments)
        dumped: JSON = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dumped


@asynccontextmanager
async def connect(target: JSON) -> AsyncGenerator[Session]:
    server: Any
    if "command" in target:
        command, *arguments = target["command"]
        parameters = {"command": command, "args": arguments, "env": target.get("env")}
        server = agents.MCPServerStdio(params=parameters)
    else:
        server = agents.MCPServerStreamableHttp(params={"url": target["url"], "headers": target.get("headers") or {}})
    async with server:
        yield ServerSession(server)


def error_of(problem: Exception) -> JSON | None:
    """The SDK wraps a server's error in its own; the cause has the code."""
    for one in (problem, problem.__cause__, problem.__context__):
        if isinstance(one, MCPError):
            error: Any = getattr(one, "error", None)
            return {"code": error.code, "message": error.message}
    return None


if __name__ == "__main__":
    run(connect, error_of)
