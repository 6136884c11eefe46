"""One run with many turns, by our runner or by the OpenAI Agents SDK: each turn is one allowed MCP call.

`python runner_program.py ours|ours-saved|sdk MODEL_URL PROXY_URL RUNS`. Prints the seconds of each run but the first.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module
from typing import Any

__all__: list[str] = []

openai: Any = import_module("openai")


async def ours(client: Any, proxy: str, saved: bool) -> None:
    runner: Any = import_module("holdshort.runner")
    agent = runner.Agent("Ops", "Read things.", model="gpt-test", proxy=runner.ApprovalProxy(proxy))
    texts: list[str] = []
    more: dict[str, Any] = {"on_state": lambda state: texts.append(state.to_string())} if saved else {}
    result = await runner.Runner.run(agent, "Go.", client=client, max_turns=None, **more)
    assert result.final_output == "done"


async def sdk(client: Any, proxy: str) -> None:
    agents: Any = import_module("agents")
    mcp: Any = import_module("agents.mcp")
    agents.set_default_openai_client(client, use_for_tracing=False)
    agents.set_tracing_disabled(True)
    async with mcp.MCPServerStreamableHttp({"url": f"{proxy}/mcp"}) as server:
        agent = agents.Agent(name="Ops", instructions="Read things.", model="gpt-test", mcp_servers=[server])
        result = await agents.Runner.run(agent, "Go.", max_turns=10_000)
        assert result.final_output == "done"


async def main(who: str, model: str, proxy: str, runs: str) -> None:
    client = openai.AsyncOpenAI(base_url=model, api_key="any", max_retries=0)
    for number in range(int(runs) + 1):
        began = time.perf_counter()
        await (sdk(client, proxy) if who == "sdk" else ours(client, proxy, who == "ours-saved"))
        if number:
            print(time.perf_counter() - began, flush=True)


asyncio.run(main(*sys.argv[1:]))
