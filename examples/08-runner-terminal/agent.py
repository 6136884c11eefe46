"""An agent whose calls the person at this terminal decides about."""

import asyncio
import os

from holdshort.runner import Agent, ApprovalProxy, Runner

# Two credentials in one program: the agent's (none, on this machine) asks, the approver's decides.
proxy = ApprovalProxy("http://127.0.0.1:7411", approver_token=os.environ["HOLDSHORT_APPROVER_TOKEN"])
agent = Agent("Clock", "Answer in one sentence.", proxy=proxy)


async def main() -> None:
    result = await Runner.run(agent, "It is noon in Madrid. What time is it in Tokyo, and what in Lima?")
    while result.interruptions:
        state = result.to_state()
        for call in state.get_interruptions():
            print(f"{call.agent} wants {call.name} {call.arguments}")
            if input("Let it run? [y/n] ") == "y":
                await state.approve(call)
            else:
                await state.reject(call, message=input("Why not? "))
        result = await Runner.run(agent, state)
    print(result.final_output)


asyncio.run(main())
