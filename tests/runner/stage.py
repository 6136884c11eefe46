"""A run on stage: a real proxy before a spy, a scripted model, and a person who decides."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from openai import AsyncOpenAI

from holdshort.runner import Agent, ApprovalProxy, Runner, RunResult, RunState
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, ProxyKit
from kit.responses_faults import Fault
from kit.responses_script import Script, Turn
from kit.responses_server import ResponsesServer, serving_responses
from kit.spy import SpyRecord

__all__ = ["LAYER", "Play", "Stage", "opened_play"]

LAYER: dict[str, Any] = {
    "version": 1,
    "default": "ask",
    "rules": [
        {"id": "reads", "tools": ["*__read_thing", "*__echo", "*__progress"], "action": "allow"},
        {"id": "never", "tools": ["*__crash", "shell:*__never"], "action": "deny"},
        {"id": "harmless", "tools": ["function:*__look_*", "agent:*__ask_freely"], "action": "allow"},
        {"id": "forbidden", "tools": "function:*__forbidden_*", "action": "deny"},
    ],
}


@dataclass(frozen=True, slots=True)
class Stage:
    """The proxy and the spy that all plays share; calls are told apart by the name of the thing."""

    folder: Path
    proxy: ProxyKit
    spy: SpyRecord

    def approval_proxy(self, *, approver: bool = False, **more: Any) -> ApprovalProxy:
        """The proxy as a program names it."""
        token = APPROVER_TOKEN if approver else None
        return ApprovalProxy(self.proxy.base, token=AGENT_TOKEN, approver_token=token, **more)


@dataclass(slots=True)
class Play:
    """One run: its model, its agent, and what is saved of it."""

    stage: Stage
    model: ResponsesServer
    client: AsyncOpenAI
    run_id: str = field(default_factory=lambda: f"run-{uuid4().hex[:12]}")
    saved: list[str] = field(default_factory=list[str])

    def agent(self, name: str = "Ops", *, approver: bool = False, **more: Any) -> Agent[Any]:
        """An agent with the proxy's tools."""
        more.setdefault("proxy", self.stage.approval_proxy(approver=approver))
        return Agent(name, "Manage things.", **more)

    def keep(self, state: RunState) -> None:
        """Keep every state, as text, as a program keeps it in a file."""
        self.saved.append(state.to_string())

    async def run(self, agent: Agent[Any], given: Any, *, streamed: bool = False, **more: Any) -> Any:
        """Run or go on; the result of either form, at its end."""
        more = {"client": self.client, "on_state": self.keep, **more}
        if not isinstance(given, RunState):
            more.setdefault("run_id", self.run_id)
        if not streamed:
            return await Runner.run(agent, given, **more)
        result = Runner.run_streamed(agent, given, **more)
        async for _ in result.stream_events():
            pass
        return result

    async def waiting(self) -> list[dict[str, Any]]:
        """The records of this run that wait, oldest first."""
        found = await self.stage.proxy.interruptions(state="pending", run_id=self.run_id)
        return sorted(found, key=lambda record: str(record["created_at"]))

    async def approve_all(self) -> list[dict[str, Any]]:
        """A person approves everything that this run waits for."""
        records = await self.waiting()
        for record in records:
            await self.stage.proxy.approve(record)
        return records

    async def again(self, agent: Agent[Any], result: RunResult | Any, **more: Any) -> Any:
        """Go on from a result, by way of text, as another process would."""
        state = await RunState.from_string(agent, result.to_state().to_string())
        return await self.run(agent, state, **more)

    def inputs(self) -> list[Any]:
        """The `input` of every request to the model."""
        return [one.body["input"] for one in self.model.asked]

    def last_outputs(self) -> dict[str, Any]:
        """What the model read of calls in its last request, by call id."""
        return {
            item["call_id"]: item["output"]
            for item in self.inputs()[-1]
            if str(item.get("type", "")).endswith("_call_output")
        }


@asynccontextmanager
async def opened_play(
    stage: Stage, turns: Sequence[Turn] | Script | Callable[..., Any], faults: Sequence[Fault | None] = ()
) -> AsyncGenerator[Play]:
    """A play with a model that tells these turns."""
    script = turns if isinstance(turns, Script) else Script(turns)
    async with (
        serving_responses(script, faults) as model,
        AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
    ):
        yield Play(stage, model, client)
