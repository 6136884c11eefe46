"""Real clients as agents: each is a program of its own library, driven one order at a time over its stdin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from kit.missing import require
from kit.node import node_kit
from kit.process import TESTS
from kit.venvs import MCP_1, OPENAI_AGENTS, OPENAI_AGENTS_MCP_1, side_python

__all__ = ["CLIENTS", "Agent", "Answer", "ClientKind", "connected"]

CLIENTS_FOLDER = TESTS / "flows" / "clients"
META_KEY = "holdshort/interruption"
ANSWER_SECONDS = 40.0
LEAVE_SECONDS = 3.0
LINE_BYTES = 1 << 24
PASSED_ON = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
"""Client libraries pass little of their own environment on; what the commands we give them need is named here."""


@dataclass(frozen=True, slots=True)
class ClientKind:
    """A client library and the protocol era it is made to speak."""

    name: str
    era: str
    program: str
    """A module under `flows.clients` for Python, a file there for Node."""
    requirements: tuple[str, ...] | None = None
    """For a side environment; None runs in this one."""
    manner: str = "plain"
    """`asked`: declares elicitation and accepts whatever it is asked. `tasks`: declares the tasks extension."""

    def command(self) -> list[str]:
        """How the program starts; skips the test where the machine cannot have it."""
        if self.program.endswith(".mjs"):
            node = require(node_kit)
            return [str(node.node), str(CLIENTS_FOLDER / self.program)]
        requirements = self.requirements
        python = sys.executable if requirements is None else str(require(lambda: side_python(requirements)))
        return [python, "-m", f"flows.clients.{self.program}"]

    def environment(self) -> dict[str, str]:
        """What the program needs beside what this process has."""
        if self.program.endswith(".mjs"):
            return {"HOLDSHORT_NODE_MODULES": str(require(node_kit).modules)}
        return {"PYTHONPATH": str(TESTS)}


CLIENTS: dict[str, ClientKind] = {
    kind.name: kind
    for kind in (
        ClientKind("python-2.3-legacy", "legacy", "python_sdk"),
        ClientKind("python-2.3-modern", "modern", "python_sdk"),
        ClientKind("python-2.3-asked", "modern", "python_sdk", manner="asked"),
        ClientKind("python-2.3-tasks", "modern", "python_sdk", manner="tasks"),
        ClientKind("python-1.30", "legacy", "python_sdk_1", MCP_1),
        ClientKind("typescript-1.32", "legacy", "typescript_sdk.mjs"),
        ClientKind("typescript-2.4-legacy", "legacy", "typescript_client.mjs"),
        ClientKind("typescript-2.4-modern", "modern", "typescript_client.mjs"),
        ClientKind("typescript-2.4-asked", "modern", "typescript_client.mjs", manner="asked"),
        ClientKind("openai-agents-legacy", "legacy", "openai_agents", OPENAI_AGENTS_MCP_1),
        ClientKind("openai-agents-modern", "modern", "openai_agents", OPENAI_AGENTS),
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got for one call."""

    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None = None

    @property
    def is_error(self) -> bool:
        """The tool result's own flag, or a JSON-RPC error."""
        return self.error is not None or bool((self.result or {}).get("isError"))

    @property
    def text(self) -> str:
        """All texts of the result, or the error's message."""
        if self.error is not None:
            return str(self.error["message"])
        return "\n".join(part.get("text", "") for part in (self.result or {}).get("content", []))

    @property
    def interruption(self) -> Mapping[str, Any] | None:
        """The record of the interruption that this answer is about."""
        meta = (self.result or {}).get("_meta") or {}
        found: Mapping[str, Any] | None = meta.get(META_KEY)
        return found

    @property
    def state(self) -> str | None:
        """The state of that interruption."""
        return None if self.interruption is None else str(self.interruption["state"])


@dataclass(slots=True)
class Agent:
    """A connected client program."""

    _process: Process
    _lines: BufferedByteReceiveStream
    _stderr: IO[bytes]

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tools(self) -> list[str]:
        """The names of the tools it sees."""
        answer = await self._ask({"list": True})
        if "error" in answer:
            raise RuntimeError(f"tools/list failed: {answer['error']}")
        names: list[str] = answer["tools"]
        return names

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        """Call a tool once and wait for what the client library makes of it."""
        answer = await self._ask({"call": tool, "arguments": dict(arguments or {})})
        return Answer(answer.get("result"), answer.get("error"))

    async def call_until_settled(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        """Call, and repeat the same call as a pending answer tells one to."""
        with anyio.fail_after(ANSWER_SECONDS):
            while True:
                answer = await self.call(tool, arguments)
                if answer.state not in ("pending", "approved"):
                    return answer

    async def introduce(self, target: Mapping[str, Any]) -> None:
        """Tell the program where to connect and wait until it has."""
        assert await self._ask(target) == {"ready": True}

    async def leave(self) -> None:
        """Let it end by itself, as a client does when its host quits; a few seconds later, without asking."""
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        with anyio.move_on_after(LEAVE_SECONDS):
            await self._process.wait()
        if self.alive:
            await self.kill9()

    async def kill9(self) -> None:
        """End the client program, not its children, with no chance to say goodbye."""
        self._process.kill()
        await self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def said(self) -> str:
        """The end of its stderr."""
        self._stderr.seek(0)
        return self._stderr.read()[-6000:].decode("utf-8", "replace")

    async def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        await self._process.stdin.send(json.dumps(order).encode() + b"\n")
        return await self._hear()

    async def _hear(self) -> dict[str, Any]:
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                line = await self._lines.receive_until(b"\n", LINE_BYTES)
        except (TimeoutError, anyio.IncompleteRead, anyio.EndOfStream) as problem:
            raise RuntimeError(f"the client gave no answer ({type(problem).__name__}):\n{self.said()}") from problem
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def connected(
    kind: ClientKind,
    *,
    url: str | None = None,
    token: str | None = None,
    command: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncGenerator[Agent]:
    """A client of this kind, connected to a URL or to a command over stdio."""
    target: dict[str, Any] = {"era": kind.era, "manner": kind.manner}
    if command is not None:
        target |= {"command": list(command), "env": {**PASSED_ON, **(env or {})}}
    else:
        target |= {"url": url, "headers": {"Authorization": f"Bearer {token}"} if token else {}}
    # Its stderr goes to a file, so that no task of ours must drain it: a fixture may hold this open across tests.
    with tempfile.TemporaryFile() as stderr:
        process = await anyio.open_process(
            kind.command(),
            env={**os.environ, **kind.environment()},
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        assert process.stdout is not None
        agent = Agent(process, BufferedByteReceiveStream(process.stdout), stderr)
        try:
            await agent.introduce(target)
            yield agent
        finally:
            with anyio.CancelScope(shield=True):
                await agent.leave()
                await process.aclose()
