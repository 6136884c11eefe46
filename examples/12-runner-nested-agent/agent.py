"""An agent that is a tool of another one. What its calls wait for surfaces outside, with the way to it."""

import asyncio
from pathlib import Path

from holdshort.runner import Agent, ApprovalProxy, Runner, RunState

FILE = Path("run.json")
clock = Agent("Clock", "Answer with times.", proxy=ApprovalProxy("http://127.0.0.1:7411"))
planner = Agent(
    "Planner",
    "Plan the meeting. Ask the clock about times.",
    tools=[clock.as_tool("ask_clock", "Answers questions about times.")],
)


async def main() -> None:
    result = await Runner.run(planner, "The meeting is at noon in Madrid. When does Aiko in Tokyo dial in?")
    while result.interruptions:
        for call in result.interruptions:
            path = " > ".join(call.agent_path)
            print(f"{path} wants {call.name} {call.arguments} (interruption {call.id})", flush=True)
        # The runs inside are in the state of the outermost.
        FILE.write_text(result.to_state().to_string())
        state = await RunState.from_string(planner, FILE.read_text())
        await state.wait()
        result = await Runner.run(planner, state)
    print(result.final_output)
    print("requests to the model:", result.usage.requests)


asyncio.run(main())
