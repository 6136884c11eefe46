"""Runs whose processes are killed: the programs, the model that all of them ask, and the person who approves."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx2
from anyio.streams.buffered import BufferedByteReceiveStream

from holdshort.runner import RunState
from holdshort.runner.data import RunData
from kit.process import Running, kit_command, kit_environment, running, until_async
from kit.proxy import APPROVER_TOKEN
from kit.responses_faults import Fault
from kit.responses_script import Asked, Call, Script, Text, Turn
from kit.responses_server import ResponsesServer, serving_responses
from runner.crash_program import STATE, agent_of

__all__ = ["PLANS", "Ended", "Nest", "Person", "Program", "Tale", "asked_model", "person_at", "ready_nest", "told_by"]

Json = dict[str, Any]
_LONGEST = 60
_AT_ONCE = 8
_LONGEST_LINE = 1 << 22


@dataclass(frozen=True, slots=True)
class Plan:
    """Turns of a model; the argument `name` of each call is made of the run's id and the call's."""

    turns: Sequence[Mapping[str, str]]
    """The tool of each call, by call id."""

    def turn(self, run_id: str, outputs: Mapping[str, Any]) -> Turn:
        """What comes after these outputs, however often it is asked for."""
        for calls in self.turns:
            if not set(calls) <= set(outputs):
                return Turn(*(Call(tool, {"name": f"{run_id}-{call}"}, call) for call, tool in calls.items()))
        return Turn(Text("done"))


PLANS: Mapping[str, Plan] = {
    "mcp": Plan(
        [
            {"c1": "things__write_thing", "c2": "things__read_thing", "c3": "things__write_thing"},
            {"c4": "things__write_thing"},
        ]
    ),
    "function": Plan([{"c1": "write_line", "c2": "add_line", "c3": "write_line"}, {"c4": "write_line"}]),
    "one": Plan([{"c1": "things__write_thing"}]),
    "two": Plan([{"c1": "things__write_thing", "c2": "things__write_thing"}]),
    "slow": Plan([{"c1": "things__slow"}]),
    "crash": Plan([{"c1": "things__crash"}]),
    "again": Plan([{"c1": "things__write_thing"}, {"c4": "things__write_thing"}]),
    "read": Plan([{"c1": "things__read_thing"}]),
    "one-function": Plan([{"c1": "write_line"}]),
    "free-function": Plan([{"c1": "add_line"}]),
}


def told_by(asked: Asked) -> Turn:
    """The turn of a run whose first words are `Go: RUN PLAN`."""
    first = next(item for item in asked.history if item.get("role") == "user")
    words = first["content"] if isinstance(first["content"], str) else first["content"][0]["text"]
    _, run_id, plan = str(words).split()
    return PLANS[plan].turn(run_id, asked.outputs)


@dataclass(slots=True)
class Ended:
    """A program that has ended, and what it said."""

    status: int
    said: Json

    @property
    def killed_at(self) -> str | None:
        """The moment at which it ended itself."""
        assert ("killed_at" in self.said) <= (self.status == -signal.SIGKILL), self
        return self.said.get("killed_at")

    @property
    def is_done(self) -> bool:
        return self.said.get("final_output") is not None

    @property
    def waiting(self) -> list[Json]:
        """The calls that it said wait."""
        assert self.status == 0, self
        found: list[Json] = self.said["waiting"]
        return found


class Program:
    """One program that runs."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._lines = BufferedByteReceiveStream(stream)
        self.said: Json = {}

    async def until_said(self, word: str) -> Any:
        """Wait until it has said this, and return what."""
        with anyio.fail_after(_LONGEST):
            while word not in self.said:
                self.said |= json.loads(await self._lines.receive_until(b"\n", _LONGEST_LINE))
        return self.said[word]

    async def until_ended(self) -> Ended:
        """Wait for its end."""
        return Ended(await self.until_said("status"), self.said)


class Nest:
    """Where programs come from."""

    def __init__(self, port: int, process: Running) -> None:
        self._port = port
        self.places = anyio.CapacityLimiter(_AT_ONCE)
        """For runs that are told to their end: so many get on at once."""
        self.process = process

    @asynccontextmanager
    async def program(self, orders: Mapping[str, Any]) -> AsyncGenerator[Program]:
        """A program that was started; it is the caller's to wait for its end, or to kill it."""
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            await stream.send(json.dumps(orders).encode() + b"\n")
            yield Program(stream)

    async def run(self, orders: Mapping[str, Any]) -> Ended:
        """Run a program to its end."""
        async with self.program(orders) as one:
            return await one.until_ended()


@asynccontextmanager
async def ready_nest() -> AsyncGenerator[Nest]:
    """The process that all programs are forks of."""
    with running(kit_command("runner.crash_program"), env=kit_environment()) as process:
        port = await process.until_said(r"listening on (\d+)", 60)
        yield Nest(int(port[1]), process)


@asynccontextmanager
async def asked_model(
    faults: Sequence[Fault | None] = (), turn: Callable[[Asked], Turn] = told_by
) -> AsyncGenerator[ResponsesServer]:
    """The model of every run."""
    async with serving_responses(Script(turn), faults) as model:
        yield model


class Person:
    """An approver with one connection."""

    def __init__(self, base: str) -> None:
        headers = {"Authorization": f"Bearer {APPROVER_TOKEN}"}
        transport = httpx2.AsyncHTTPTransport(verify=False)
        self.http = httpx2.AsyncClient(transport=transport, base_url=base, headers=headers, timeout=20)

    async def calls(self, run_id: str, **query: str) -> list[Json]:
        """The records of a run, oldest first."""
        answer = await self.http.get("/v1/interruptions", params={"run_id": run_id, **query})
        answer.raise_for_status()
        return sorted(answer.json()["interruptions"], key=lambda record: str(record["created_at"]))

    async def decide(self, record: Json, decision: str = "approve", **more: Any) -> httpx2.Response:
        body = {"decision": decision, "fingerprint": record["fingerprint"], **more}
        return await self.http.post(f"/v1/interruptions/{record['id']}/decision", json=body)

    async def approve_all(self, run_id: str) -> list[Json]:
        """Approve whatever waits."""
        found = await self.calls(run_id, state="pending")
        for record in found:
            answer = await self.decide(record)
            assert answer.status_code == 200, answer.text
        return found

    async def until_settled(self, run_id: str) -> None:
        """Wait until no call of the run is running; a claim that is lost ends with its time."""

        async def settled() -> bool:
            return not await self.calls(run_id, state="executing")

        await until_async(settled, f"no call of {run_id} to be running", _LONGEST)


@dataclass(slots=True)
class Tale:
    """One run, over all of its processes."""

    nest: Nest
    person: Person
    orders: Json
    ends: list[Ended] = field(default_factory=list[Ended])

    @classmethod
    def begin(cls, nest: Nest, person: Person, folder: Path, plan: str, **orders: Any) -> Tale:
        """A run of its own, with a folder of its own."""
        run_id = f"run-{uuid4().hex[:12]}"
        own = folder / run_id
        own.mkdir()
        kind = "function" if "function" in plan else "mcp"
        said = {"run_id": run_id, "folder": str(own), "plan": plan, "kind": kind, **orders}
        return cls(nest, person, said)

    @property
    def run_id(self) -> str:
        return str(self.orders["run_id"])

    @property
    def folder(self) -> Path:
        return Path(self.orders["folder"])

    def name(self, call_id: str) -> str:
        """The argument of a call."""
        return f"{self.run_id}-{call_id}"

    async def go(self, kill: int | str | None = None, **more: Any) -> Ended:
        """Run one process of it to its end."""
        ended = await self.nest.run({**self.orders, "kill": kill, **more})
        self.ends.append(ended)
        return ended

    async def to_the_end(self, kill: Callable[[int], int | str | None] = lambda number: None, most: int = 12) -> None:
        """Process after process, with everything approved in between; each may be killed at a moment."""
        while len(self.ends) < most:
            async with self.nest.places:
                if await self._as_far_as_it_goes(kill, most):
                    return
            await self.person.until_settled(self.run_id)
        raise AssertionError(f"not done after {most} processes: {self.told()}")

    async def _as_far_as_it_goes(self, kill: Callable[[int], int | str | None], most: int) -> bool:
        """Whether it is done; False where a claim that a dead process had stands in the way, or it is no use."""
        while len(self.ends) < most:
            ended = await self.go(kill(len(self.ends)))
            assert "error" not in ended.said, (self.told(), ended)
            if ended.is_done:
                return True
            await self.person.approve_all(self.run_id)
            if ended.status == 0 and any(each["status"] == "executing" for each in ended.waiting):
                break
        return False

    async def data(self) -> RunData:
        """The run as it is in the file."""
        return (await self.state()).data

    async def state(self) -> RunState:
        return await RunState.from_string(agent_of(self.orders), (self.folder / STATE).read_text())

    async def outputs(self) -> dict[str, str]:
        """What the model read of each call; each call of the history must have one output, after it."""
        history = [entry.item for entry in (await self.data()).history]
        calls = [item["call_id"] for item in history if item.get("type") == "function_call"]
        answers = [(item["call_id"], item["output"]) for item in history if item.get("type") == "function_call_output"]
        assert sorted(calls) == sorted(call for call, _ in answers), history
        assert len(set(calls)) == len(calls), history
        return dict(answers)

    def told(self) -> str:
        """How its processes ended, for failure messages."""
        return f"{self.run_id} {[each.killed_at or each.said.get('error') or 'by itself' for each in self.ends]}"


@asynccontextmanager
async def person_at(base: str) -> AsyncGenerator[Person]:
    """An approver."""
    one = Person(base)
    async with one.http:
        yield one
