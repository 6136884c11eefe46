"""Before: openai-agents 0.24. A person at the terminal lets calls run; the state goes through a file."""

import asyncio
from pathlib import Path

from agents import Agent, Runner, RunState, function_tool
from agents.mcp import MCPServerStdio

FILE = Path("state.json")
PARAMS = {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}


@function_tool(needs_approval=True)
async def send_note(to: str, text: str) -> str:
    """Send a note to somebody."""
    return f"sent to {to}"


async def main() -> None:
    async with MCPServerStdio(PARAMS, require_approval={"convert_time": "always"}) as server:
        agent = Agent("Desk", instructions="Be brief.", model="gpt-5.6", tools=[send_note], mcp_servers=[server])
        result = await Runner.run(agent, "It is noon in Madrid. Write to Aiko what time it is in Tokyo.")
        while result.interruptions:
            FILE.write_text(result.to_state().to_string())
            state = await RunState.from_string(agent, FILE.read_text())
            for interruption in state.get_interruptions():
                print(f"{interruption.agent.name} wants {interruption.name} {interruption.arguments}")
                if input("Let it run? [y/n] ") == "y":
                    state.approve(interruption)
                else:
                    state.reject(interruption, rejection_message="The user says no.")
            result = await Runner.run(agent, state)
        print(result.final_output)


asyncio.run(main())
