"""An agent's program that keeps its state in a file, run as often as a test likes and killed where the test says.

    python -m runner.crash_program

says `listening on PORT` and runs one program for each connection, in a process of its own: a fork, because importing
takes longer than the program does. A connection gives one line, the orders as JSON, and hears lines: the `pid`, what
the program has to say, and the `status` that it ended with, negative for a signal.

A program passes moments: before and after each state is written, when a request is sent and when its answer is there,
when a tool begins and ends. It ends itself with SIGKILL at the moment that its orders name.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
from openai import AsyncOpenAI

from holdshort.runner import Agent, ApprovalProxy, Runner, RunState, SQLiteRunStore, function_tool
from kit.proxy import AGENT_TOKEN
from kit.responses_script import Call, Script, Text, Turn
from kit.responses_server import serving_responses

__all__ = ["STATE", "agent_of", "ledger"]

Json = dict[str, Any]
STATE = "run.json"
TOOL_SECONDS = 1
"""What the tools say they take at most; a claim that nobody answers for is good for 30 seconds more."""
_IDS = re.compile(r"/interruptions/[^/?]+")


class Moments:
    """Counts the moments of one program, and ends it at one of them."""

    def __init__(self, kill: int | str | None, say: Callable[[Json], None]) -> None:
        self._kill, self._say = kill, say
        self._seen: Counter[str] = Counter()
        self.passed: list[str] = []

    def reach(self, name: str) -> None:
        """Pass a moment. Orders name one by its number among all, or by its name and its number among those."""
        self._seen[name] += 1
        self.passed.append(name)
        if self._kill in (len(self.passed), f"{name} {self._seen[name]}"):
            self._say({"killed_at": f"{name} {self._seen[name]}", "number": len(self.passed)})
            os.kill(os.getpid(), signal.SIGKILL)


class Watched(httpx2.AsyncHTTPTransport):
    """Tells when a request is on its way, and when all of its answer is here and nobody has seen it."""

    def __init__(self, moments: Moments) -> None:
        super().__init__(verify=False)  # plain HTTP on this machine
        self._moments = moments

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        what = f"{request.method} {_IDS.sub('/interruptions/*', request.url.path)}"
        if request.url.path.startswith("/mcp"):
            what = f"mcp {json.loads(await request.aread() or b'{}').get('method', request.method)}"

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith("send_request_body.complete"):
                self._moments.reach(f"{what} sent")
            elif event.endswith("receive_response_body.complete"):
                self._moments.reach(f"{what} read")

        request.extensions["trace"] = trace
        return await super().handle_async_request(request)


def ledger(folder: Path) -> list[str]:
    """What the tools of this program wrote."""
    file = folder / "ledger"
    return file.read_text().splitlines() if file.exists() else []


def agent_of(orders: Mapping[str, Any], moments: Moments | None = None) -> Agent[Any]:
    """The agent, as every process of the run makes it."""
    folder = Path(orders["folder"])
    client = None if moments is None else httpx2.AsyncClient(transport=Watched(moments), trust_env=False)

    def write(name: str) -> str:
        if moments is not None:
            moments.reach("tool began")
        with (folder / "ledger").open("a") as file:
            file.write(f"{name}\n")
        if moments is not None:
            moments.reach("tool ended")
        return f"wrote {name}"

    @function_tool(needs_approval=True, timeout=TOOL_SECONDS)
    async def write_line(name: str) -> str:
        """Writes a line."""
        return write(name)

    @function_tool
    async def add_line(name: str) -> str:
        """Writes a line that nobody needs to approve."""
        return write(name)

    proxy = ApprovalProxy(orders["proxy"], token=AGENT_TOKEN, http_client=client, hold_s=orders.get("hold_s", 0))
    tools = [write_line, add_line] if orders.get("kind") == "function" else []
    return Agent("Ops", "Do as you are told.", model="gpt-5.6", tools=tools, proxy=proxy)


async def play(orders: Json, say: Callable[[Json], None]) -> None:
    """Begin the run, or go on from its file, until it is done or waits."""
    folder, moments = Path(orders["folder"]), Moments(orders.get("kill"), say)
    agent, file = agent_of(orders, moments), folder / STATE
    store = SQLiteRunStore(folder / "runs.db") if orders.get("store") else None

    async def keep(state: RunState) -> None:
        moments.reach("save began")
        if store is not None:
            await store.save(state)
        new = folder / f"{STATE}.{os.getpid()}"
        new.write_text(state.to_string())
        new.replace(file)
        moments.reach("save ended")

    if orders.get("from") is not None:
        given: str | RunState = await RunState.from_string(agent, await anyio.Path(orders["from"]).read_text())
    elif store is not None and any(saved.run_id == orders["run_id"] for saved in await store.list()):
        given = await store.load(agent, orders["run_id"])
    elif file.exists():
        given = await RunState.from_string(agent, file.read_text())
    else:
        given = f"Go: {orders['run_id']} {orders['plan']}"
    options: Json = {"on_state": keep, **orders.get("options", {})}
    if isinstance(given, RunState):
        if "say" in orders:
            given.add_input(orders["say"])
        if orders.get("ready"):
            say({"ready": True})
            await anyio.to_thread.run_sync(_until_told, folder / "go")
    else:
        options |= {"run_id": orders["run_id"], **orders.get("beginning", {})}
    options["client"] = AsyncOpenAI(
        base_url=orders["model"],
        api_key="any",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=Watched(moments), trust_env=False, timeout=60),
    )
    if orders.get("streamed"):
        result: Any = Runner.run_streamed(agent, given, **options)
        async for _ in result.stream_events():
            pass
    else:
        result = await Runner.run(agent, given, **options)
    waiting = [{"call_id": each.call_id, "id": each.id, "status": each.status} for each in result.interruptions]
    say({"final_output": result.final_output, "waiting": waiting, "moments": moments.passed})


def _until_told(go: Path) -> None:
    while not go.exists():
        time.sleep(0.001)


def _run(orders: Json, say: Callable[[Json], None]) -> int:
    try:
        anyio.run(play, orders, say)
    except BaseException as problem:  # noqa: BLE001  # whatever it is, the test is told
        say({"error": type(problem).__name__, "message": str(problem), "reason": getattr(problem, "reason", None)})
        return 1
    return 0


def _supervise(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def say(what: Json) -> None:
        connection.sendall(json.dumps(what).encode() + b"\n")

    with connection.makefile() as lines:
        orders = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        os._exit(_run(orders, say))
    say({"pid": pid})
    _, status = os.waitpid(pid, 0)
    say({"status": os.waitstatus_to_exitcode(status)})


async def _rehearse() -> None:
    """Run something once, so that no fork has to make what the first run of a process makes."""
    turns = [Turn(Call("look", {"name": "it"})), Turn(Text("done"))]

    @function_tool
    async def look(name: str) -> str:
        """Looks."""
        return name

    agent: Agent[Any] = Agent("Warm", tools=[look])
    async with (
        serving_responses(Script([*turns, *turns])) as model,
        AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0) as client,
    ):
        result = await Runner.run(agent, "Go.", client=client)
        await RunState.from_string(agent, result.to_state().to_string())
        streamed = Runner.run_streamed(agent, "Go.", client=client)
        async for _ in streamed.stream_events():
            pass


def main() -> None:
    """Run programs until killed."""
    anyio.run(_rehearse)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who supervise are not waited for
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(f"listening on {listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _supervise(connection)
                os._exit(0)
            connection.close()


if __name__ == "__main__":
    main()
