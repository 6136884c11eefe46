"""An agent of the OpenAI Agents SDK, unmodified, with one tool that asks first. Runs in the SDK's own environment.

`python agents_program.py BASE_URL HOW`, where HOW has any of the words `stream`, `chained`, `conversation`, `session`.
Prints one JSON line: what was paid, how often it stopped, and the last words.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

__all__: list[str] = []

agents: Any = import_module("agents")
openai: Any = import_module("openai")

paid: list[Any] = []


async def ask_above_100(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
    return bool(arguments["amount"] > 100)


async def pay(to: str, amount: int) -> str:
    """Pay somebody."""
    paid.append([to, amount])
    return f"{to} got {amount}"


async def main(url: str, how: list[str]) -> None:
    client = openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0)
    agents.set_default_openai_client(client, use_for_tracing=False)
    agents.set_tracing_disabled(True)
    tool = agents.function_tool(pay, needs_approval=ask_above_100)
    agent = agents.Agent(name="Payer", instructions="Pay what is asked for.", model="gpt-test", tools=[tool])
    more: dict[str, Any] = {}
    if "chained" in how:
        more["auto_previous_response_id"] = True
    if "conversation" in how:
        more["conversation_id"] = (await client.conversations.create()).id
    if "session" in how:
        more["session"] = agents.OpenAIConversationsSession(openai_client=client)
    given: Any = "pay ana 150 and ben 20"
    stops = 0
    while True:
        if "stream" in how:
            result = agents.Runner.run_streamed(agent, given, **more)
            async for _ in result.stream_events():
                pass
        else:
            result = await agents.Runner.run(agent, given, **more)
        if not result.interruptions:
            break
        stops += 1
        # Through text, as an agent would that goes on in another process.
        given = await agents.RunState.from_string(agent, result.to_state().to_string())
        for interruption in given.get_interruptions():
            given.approve(interruption)
    if "session" in how:
        more["kept"] = [item.get("type", "message") for item in await more["session"].get_items()]
    said = {"paid": paid, "stops": stops, "said": result.final_output, "kept": more.get("kept")}
    print(json.dumps(said), flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2].split("+")))
