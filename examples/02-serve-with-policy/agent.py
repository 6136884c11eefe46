"""An agent of a served proxy: it asks for the time, reads a repository and commits to it."""

import os

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

URL = "http://127.0.0.1:7411/mcp"


async def main() -> None:
    key = {"Authorization": f"Bearer {os.environ['CI_BOT_TOKEN']}"}
    async with (
        httpx2.AsyncClient(headers=key, timeout=httpx2.Timeout(30, read=None)) as http,
        Client(streamable_http_client(URL, http_client=http)) as client,
    ):
        print("tools: ", *[tool.name for tool in (await client.list_tools()).tools])
        print("time:  ", text(await client.call_tool("clock__get_current_time", {"timezone": "UTC"})))
        print("status:", text(await client.call_tool("git__git_status", {"repo_path": "repo"})))
        said = ""
        while True:
            result = await client.call_tool("git__git_commit", {"repo_path": "repo", "message": "Say hello"})
            if text(result) != said:
                said = text(result)
                print("commit:", said, flush=True)
            if (result.meta or {}).get("holdshort/interruption", {}).get("state") not in ("pending", "approved"):
                return


def text(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


anyio.run(main)
