"""An agent with one wrapped server: its read runs at once, its write waits for a person."""

import json
import os
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent


async def main(entry: dict[str, Any]) -> None:
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=dict(os.environ))
    async with Client(server) as client:
        print("read: ", text(await client.call_tool("read_text_file", {"path": "today.txt"})))
        said = ""
        while True:
            # Exactly the same call each time: it joins the one that waits, and runs once.
            result = await client.call_tool("write_file", {"path": "tomorrow.txt", "content": "buy bread\n"})
            if text(result) != said:
                said = text(result)
                print("write:", said, flush=True)
            if (result.meta or {}).get("holdshort/interruption", {}).get("state") not in ("pending", "approved"):
                return


def text(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


anyio.run(main, json.loads(Path("mcp.json").read_text())["mcpServers"]["notes"])
