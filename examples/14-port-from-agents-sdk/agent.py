"""After: holdshort.runner. A person at the terminal lets calls run; the state goes through a file."""

import asyncio
import os
from pathlib import Path

from holdshort.runner import Agent, ApprovalProxy, Runner, RunState, function_tool

FILE = Path("state.json")
URL, TOKEN = "http://127.0.0.1:7411", os.environ["HOLDSHORT_APPROVER_TOKEN"]


@function_tool(needs_approval=True)
async def send_note(to: str, text: str) -> str:
    """Send a note to somebody."""
    return f"sent to {to}"


async def main() -> None:
    async with ApprovalProxy(URL, approver_token=TOKEN, server="clock") as server:
        agent = Agent("Desk", instructions="Be brief.", model="gpt-5.6", tools=[send_note], proxy=server)
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
