"""The MCP servers of the OpenAI Agents SDK behind the proxy, over HTTP and over stdio. No model: tools are called here.

With one, it is `Agent(name="…", mcp_servers=[server])`; the model reads the same answers and repeats the call itself.
"""

import asyncio
import os
from typing import Any

from agents.mcp import MCPServer, MCPServerStdio, MCPServerStreamableHttp

SERVED = "http://127.0.0.1:7411/mcp/clock"
WRAPPED: Any = {
    "command": "holdshort",
    "args": ["wrap", "-c", "holdshort.yaml", "--name", "clock", "--", "mcp-server-time", "--local-timezone", "UTC"],
    "env": dict(os.environ),
}
NOON = {"source_timezone": "Europe/Madrid", "time": "12:00", "target_timezone": "Asia/Tokyo"}


async def main() -> None:
    for how, server in [
        ("served", MCPServerStreamableHttp({"url": SERVED})),
        ("wrapped", MCPServerStdio(WRAPPED)),
    ]:
        async with server:
            print(how, "now:", text(await server.call_tool("get_current_time", {"timezone": "UTC"})))
            await convert(how, server)


async def convert(how: str, server: MCPServer) -> None:
    said = ""
    while True:
        # Each answer comes within 4 seconds, before this SDK's own 5 are over.
        result = await server.call_tool("convert_time", NOON)
        if text(result) != said:
            said = text(result)
            print(how, "noon:", said, flush=True)
        if (result.meta or {}).get("holdshort/interruption", {}).get("state") not in ("pending", "approved"):
            return


def text(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


asyncio.run(main())
