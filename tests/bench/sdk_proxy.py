"""The proxy one writes in an afternoon: the SDK's own low-level server in front, its own client behind, no policy.

One upstream session for everybody. It is the row that says what our edges save.

    python sdk_proxy.py (--http PORT | --stdio) (--url URL | --command CMD ARG...)
"""

import argparse
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

__all__ = ["main"]

Upstream = AbstractAsyncContextManager[ClientSession]


@asynccontextmanager
async def _over_http(url: str) -> AsyncGenerator[ClientSession]:
    async with streamable_http_client(url) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def _over_stdio(command: Sequence[str]) -> AsyncGenerator[ClientSession]:
    parameters = StdioServerParameters(command=command[0], args=list(command[1:]))
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


def _proxy(session: ClientSession) -> Server[Any]:
    async def list_tools(
        _: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return await session.list_tools(params=params)

    async def call_tool(_: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        return await session.call_tool(params.name, params.arguments)

    return Server("sdk-proxy", on_list_tools=list_tools, on_call_tool=call_tool)


async def _serve_http(upstream: Upstream, port: int) -> None:
    async with upstream as session:
        app = _proxy(session).streamable_http_app(json_response=True)
        await uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", loop="uvloop", http="httptools")
        ).serve()


async def _serve_stdio(upstream: Upstream) -> None:
    async with upstream as session, stdio_server() as (read, write):
        server = _proxy(session)
        await server.run(read, write, server.create_initialization_options())


def main() -> None:
    """Run the proxy until its standard input ends or it is told to stop."""
    parser = argparse.ArgumentParser(description="a plain proxy made of the SDK's server and client")
    front = parser.add_mutually_exclusive_group(required=True)
    front.add_argument("--http", type=int, metavar="PORT")
    front.add_argument("--stdio", action="store_true")
    back = parser.add_mutually_exclusive_group(required=True)
    back.add_argument("--url")
    back.add_argument("--command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    upstream = _over_http(options.url) if options.url else _over_stdio(options.command)
    serve = partial(_serve_stdio, upstream) if options.stdio else partial(_serve_http, upstream, options.http)
    anyio.run(serve, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
