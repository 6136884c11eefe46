"""An agent whose every call waits for a person."""

import sys

import anyio
from mcp import Client
from mcp_types import TextContent


async def main(timezone: str) -> None:
    async with Client("http://127.0.0.1:7411/mcp/clock") as client:
        while True:
            result = await client.call_tool("get_current_time", {"timezone": timezone})
            if (result.meta or {}).get("holdshort/interruption", {}).get("state") not in ("pending", "approved"):
                break
        print(*[block.text for block in result.content if isinstance(block, TextContent)])


anyio.run(main, sys.argv[1])
