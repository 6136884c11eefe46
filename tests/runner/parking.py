"""Runs that wait, made by hand: real records of a real proxy, and the run's data around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

from holdshort.runner.agent import Agent
from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, RunData, RunStatus, Source
from holdshort.runner.proxy import ApprovalProxy
from holdshort.runner.state import RunState
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, SECOND_APPROVER_TOKEN, ProxyKit, Record, kit_upstream, serving
from kit.spy import SpyRecord

__all__ = ["LAYER", "approval_proxy", "call_of", "decided", "park", "parking", "run_of", "state_with"]

LAYER: dict[str, Any] = {
    "version": 1,
    "rules": [
        {"id": "two", "tools": "function:*__twice_*", "action": "ask", "required_approvals": 2},
        {"id": "people", "tools": "*", "action": "ask"},
    ],
}

_APPROVERS = cycle([APPROVER_TOKEN, SECOND_APPROVER_TOKEN])


def parking(folder: Path, layer: dict[str, Any] = LAYER, **more: Any) -> AbstractAsyncContextManager[ProxyKit]:
    """A proxy of its own, before a server that nobody calls."""
    folder.mkdir(exist_ok=True)
    spy = SpyRecord(folder / "spy.jsonl")
    return serving(folder / "proxy", {"things": kit_upstream(spy.command())}, layer, **more)


def approval_proxy(kit: ProxyKit, approver: str | None = APPROVER_TOKEN) -> ApprovalProxy:
    """The proxy as a program names it."""
    return ApprovalProxy(kit.base, token=AGENT_TOKEN, approver_token=approver)


async def decided(kit: ProxyKit, interruption: str, decision: str, **more: Any) -> None:
    """Somebody else decides."""
    response = await kit.decide(await kit.interruption(interruption), decision, token=next(_APPROVERS), **more)
    assert response.status_code == 200, response.text


async def park(
    kit: ProxyKit, tool: str, arguments: dict[str, Any], run_id: str, call_id: str, *, kind: str = "function"
) -> Record:
    """Ask about a call that the agent runs itself; the record of what waits now."""
    body = {"kind": kind, "tool": tool, "arguments": arguments, "run_id": run_id, "call_id": call_id}
    response = await kit.ask("POST", "/v1/calls", body, token=AGENT_TOKEN)
    assert response.status_code == 202, response.text
    record: Record = response.json()["interruption"]
    return record


def call_of(record: Record, *, agent: str = "Ops", call_id: str | None = None) -> CallData:
    """A call that waits for what `record` is about."""
    key = record["requested_by"]["call_id"]
    name = record["tool"]
    arguments = json.dumps(record["requested_arguments"])
    shown = call_id or key
    return CallData(
        call_id=shown,
        key=key,
        kind=CallKind(record["kind"]),
        name=name,
        server="local",
        tool=name,
        arguments=arguments,
        agent=agent,
        item={"type": "function_call", "call_id": shown, "name": name, "arguments": arguments},
        status=CallStatus.PARKED,
        interruption=record,
    )


def run_of(calls: Sequence[CallData], run_id: str, *, agent: str = "Ops") -> RunData:
    """A run whose open turn has these calls."""
    said = Entry({"role": "user", "content": "Write to Ana."}, Source.INPUT, agent)
    made = [Entry(call.item, Source.MODEL, agent, "resp_1") for call in calls]
    return RunData(
        run_id=run_id,
        agent=agent,
        first_agent=agent,
        status=RunStatus.WAITING,
        started=True,
        turn=1,
        history=[said, *made],
        calls=list(calls),
    )


async def state_with(kit: ProxyKit, *asked: tuple[str, dict[str, Any]], approver: str | None = "either") -> RunState:
    """A state that waits for these calls: a tool and its arguments each. Approvers take turns, for their pace is
    limited."""
    if approver == "either":
        approver = next(_APPROVERS)
    run_id = f"run-{uuid4().hex[:12]}"
    records = [await park(kit, tool, arguments, run_id, f"call-{n}") for n, (tool, arguments) in enumerate(asked)]
    agent = Agent[Any]("Ops", "Write mail.", proxy=approval_proxy(kit, approver))
    return RunState(agent, run_of([call_of(record) for record in records], run_id))
