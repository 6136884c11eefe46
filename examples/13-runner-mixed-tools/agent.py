"""MCP tools, functions of this program, a shell and a handoff in one run, under one policy and in one queue."""

import asyncio
from pathlib import Path
from typing import Any

import anyio

from holdshort.runner import (
    Agent,
    ApprovalProxy,
    RunContext,
    Runner,
    ShellAction,
    ShellTool,
    ToolContext,
    function_tool,
)

# `all`: the functions that need no approval here are asked about too, so that policy can forbid or ask.
proxy = ApprovalProxy("http://127.0.0.1:7411", ask_about="all")


def is_for_others(context: RunContext[Any], arguments: dict[str, Any], call_id: str) -> bool:
    return not arguments["to"].endswith("@example.com")


@function_tool(needs_approval=is_for_others)
async def send_note(to: str, text: str) -> str:
    """Send a note to somebody."""
    async with await anyio.open_file("sent.txt", "a") as file:
        await file.write(f"{to}: {text}\n")
    return "sent"


@function_tool
def forget_note(to: str) -> str:
    """Take back all notes to somebody."""
    Path("sent.txt").unlink()
    return "forgotten"


async def shell(context: ToolContext[Any], action: ShellAction) -> str:
    done = await anyio.run_process(["bash", "-c", "\n".join(action.commands)], check=False)
    return done.stdout.decode()


operator = Agent(
    "Operator",
    "Do what is asked.",
    tools=[send_note, forget_note, ShellTool(executor=shell)],
    proxy=proxy,
)
desk = Agent("Desk", "Hand over what needs hands.", handoffs=[operator])


async def main() -> None:
    result = await Runner.run(desk, "Send the time and the size of this folder to ben@elsewhere.example.")
    while result.interruptions:
        for call in result.interruptions:
            print(f"{call.agent} wants {call.kind} {call.name} {call.arguments} (interruption {call.id})", flush=True)
        state = result.to_state()
        await state.wait(need="all")
        result = await Runner.run(desk, state)
    for item in result.new_items:
        print(item.type, item.agent)
    print(result.final_output)


asyncio.run(main())
