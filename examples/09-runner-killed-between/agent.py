"""An agent that may be killed at any moment. Its state is in `run.json`; who starts it again goes on from there."""

import asyncio
import os
from pathlib import Path

from holdshort.runner import Agent, ApprovalProxy, Runner, RunState

FILE = Path("run.json")
agent = Agent("Committer", "Commit what is staged in `repo`.", proxy=ApprovalProxy("http://127.0.0.1:7411"))


def keep(state: RunState) -> None:
    new = FILE.with_suffix(".new")
    new.write_text(state.to_string())
    new.replace(FILE)  # whole, or not at all


async def main() -> None:
    given: str | RunState = "Look at the repository, then commit."
    if FILE.exists():
        given = await RunState.from_string(agent, FILE.read_text())
        print("going on with", given.run_id)
    result = await Runner.run(agent, given, on_state=keep)
    while result.interruptions:
        for call in result.interruptions:
            print(
                f"waiting: {call.name} {call.arguments} (interruption {call.id}) in process {os.getpid()}", flush=True
            )
        state = result.to_state()
        await state.wait()
        result = await Runner.run(agent, state, on_state=keep)
    print(result.final_output)
    FILE.unlink()


asyncio.run(main())
