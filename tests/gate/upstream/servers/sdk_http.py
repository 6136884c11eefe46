"""A real server, made with the SDK, over HTTP. Prints its port. Options: `--json`, `--sse` (2024-11-05 transport)."""

import socket
import sys

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdk")


@server.tool()
async def echo(text: str) -> str:
    return text


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    for index in range(count):
        await ctx.report_progress(index + 1, count)
    return "done"


@server.tool()
async def wait(ctx: Context) -> str:
    try:
        await anyio.sleep_forever()
    finally:
        print("cancelled", flush=True)
    return "never"


@server.tool()
async def ask(ctx: Context) -> str:
    roots = await ctx.session.list_roots()  # pyright: ignore
    return ",".join(root.name or "" for root in roots.roots)


app = server.sse_app() if "--sse" in sys.argv else server.streamable_http_app(json_response="--json" in sys.argv)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
