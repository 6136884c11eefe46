"""A realtime session as a program has it: one task passes calls on, another reads what comes of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio

from holdshort.runner import Agent
from holdshort.runner.realtime import RealtimeSession
from kit.process import until
from runner.stage import Stage

__all__ = ["READ", "WRITE", "Room", "opened", "run_id", "thing", "voice"]

READ, WRITE = "things__read_thing", "things__write_thing"


def thing() -> str:
    """A name that no other test uses."""
    return f"thing-{uuid4().hex[:8]}"


def run_id() -> str:
    """An id that no other session has."""
    return f"run-{uuid4().hex[:12]}"


def voice(stage: Stage, *, approver: bool = False, **more: Any) -> Agent[Any]:
    """An agent with the proxy's tools."""
    return Agent("Voice", "Talk.", proxy=stage.approval_proxy(approver=approver), **more)


class Room:
    """A session, and everything that it has told."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.events: list[Any] = []

    async def read(self) -> None:
        """Read to the end."""
        async for event in self.session:
            self.events.append(event)

    def call(self, name: str, call_id: str, /, **arguments: Any) -> None:
        """The model makes a call."""
        self.session.tool_called(call_id, name, json.dumps(arguments))

    def told(self, kind: str, call_id: str | None = None) -> list[Any]:
        """The events of a kind so far, of one call if it is named."""
        return [each for each in self.events if each.type == kind and (call_id is None or each.call_id == call_id)]

    async def heard(self, kind: str, call_id: str | None = None, times: int = 1) -> Any:
        """Wait for an event, and return the last of its kind."""

        def there() -> list[Any] | None:
            found = self.told(kind, call_id)
            return found if len(found) >= times else None

        return (await until(there, f"{times} `{kind}` of {call_id} among {self.kinds()}"))[-1]

    async def waits(self, call_id: str) -> Any:
        """Wait until a call waits for a person, and return its interruption."""
        return (await self.heard("tool_approval_required", call_id)).interruption

    async def output(self, call_id: str) -> Any:
        """Wait for the end of a call, and return what the model is told."""
        return (await self.heard("tool_end", call_id)).output

    def kinds(self) -> list[tuple[str, str | None]]:
        """What was told, in order."""
        return [(each.type, getattr(each, "call_id", None)) for each in self.events]


@asynccontextmanager
async def opened(agent: Agent[Any], **more: Any) -> AsyncGenerator[Room]:
    """A session that is read to its end, which comes when the block ends."""
    if "state" not in more:
        more.setdefault("run_id", run_id())
    async with RealtimeSession(agent, **more) as session:
        room = Room(session)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.read)
            yield room
            await session.close()
    ends = [call_id for kind, call_id in room.kinds() if kind == "tool_end"]
    assert len(ends) == len(set(ends))
    assert [kind for kind, _ in room.kinds()].count("session_ended") == 1
    assert room.kinds()[-1] == ("session_ended", None)
