"""Two calls that run and one that waits, so that there is something in the log."""

import os

import anyio
from mcp import Client, StdioServerParameters
from mcp_types import TextContent

COMMAND = ["wrap", "-c", "holdshort.yaml", "--name", "clock", "--", "mcp-server-time", "--local-timezone", "UTC"]
NOON = {"source_timezone": "Europe/Madrid", "time": "12:00", "target_timezone": "Asia/Tokyo"}


async def main() -> None:
    async with Client(StdioServerParameters(command="holdshort", args=COMMAND, env=dict(os.environ))) as client:
        for name, arguments in [
            ("get_current_time", {"timezone": "UTC"}),
            ("get_current_time", {"timezone": "Asia/Tokyo"}),
            ("convert_time", NOON),
        ]:
            result = await client.call_tool(name, arguments)
            print(name, *[block.text for block in result.content if isinstance(block, TextContent)])


anyio.run(main)
