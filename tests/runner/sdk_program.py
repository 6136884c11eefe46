"""An agent of the OpenAI Agents SDK, unmodified, whose MCP server is the proxy. Runs in the SDK's own environment.

`python sdk_program.py MODEL_URL MCP_URL TOKEN`. Prints the last words.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import Any

__all__: list[str] = []

agents: Any = import_module("agents")
agents_mcp: Any = import_module("agents.mcp")
openai: Any = import_module("openai")


async def main(model: str, mcp: str, token: str) -> None:
    client = openai.AsyncOpenAI(base_url=model, api_key="any", max_retries=0)
    agents.set_default_openai_client(client, use_for_tracing=False)
    agents.set_tracing_disabled(True)
    server = agents_mcp.MCPServerStreamableHttp({"url": mcp, "headers": {"Authorization": f"Bearer {token}"}})
    async with server:
        agent = agents.Agent(name="Ops", instructions="Manage things.", model="gpt-test", mcp_servers=[server])
        result = await agents.Runner.run(agent, "Go.")
        print(result.final_output, flush=True)


asyncio.run(main(*sys.argv[1:]))
