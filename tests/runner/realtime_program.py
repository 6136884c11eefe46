"""A program with a realtime session, to be killed: `python -m runner.realtime_program BASE RUN_ID FOLDER [CALL...]`.

A call is `CALL_ID=TOOL`; its argument `name` is `RUN_ID-CALL_ID`. With no calls it goes on from what is saved. It
writes what it hears to stdout. `look_long` and `write_long` note that they began, and never end by themselves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from holdshort.runner import Agent, ApprovalProxy, SQLiteRunStore, function_tool
from holdshort.runner.realtime import RealtimeSession
from kit.proxy import AGENT_TOKEN

__all__ = ["agent_in", "ledger"]


def ledger(folder: Path) -> list[str]:
    """What tools of this program wrote down when they began."""
    file = folder / "ledger"
    return file.read_text().splitlines() if file.exists() else []


def agent_in(base: str, folder: Path) -> Agent[None]:
    """The program's agent."""

    async def begun(name: str) -> None:
        with (folder / "ledger").open("a") as file:
            file.write(f"{name}\n")
        await anyio.sleep_forever()  # until the test stops it

    @function_tool
    async def look_long(name: str) -> None:
        """Looks for long."""
        await begun(name)

    @function_tool(needs_approval=True)
    async def write_long(name: str) -> None:
        """Writes for long."""
        await begun(name)

    return Agent("Voice", tools=[look_long, write_long], proxy=ApprovalProxy(base, token=AGENT_TOKEN))


async def main(base: str, run_id: str, folder: Path, *calls: str) -> None:
    """Keep a session until killed."""
    agent = agent_in(base, folder)
    store = SQLiteRunStore(folder / "runs.db")
    state = None if calls else await store.load(agent, run_id)
    async with RealtimeSession(agent, run_id=run_id, state=state, on_state=store.save) as session:
        for call in calls:
            call_id, tool = call.split("=")
            session.tool_called(call_id, tool, json.dumps({"name": f"{run_id}-{call_id}"}))
        async for event in session:
            print(event.type, getattr(event, "call_id", ""), flush=True)


if __name__ == "__main__":
    base, run_id, folder, *calls = sys.argv[1:]
    anyio.run(main, base, run_id, Path(folder), *calls)
