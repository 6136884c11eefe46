"""A whole proxy in the test's own loop: real configuration, store, gate and front; servers as the test wants them.

Agents speak ASGI to the front, so that a test decides about every header, every byte and every hang-up. What needs a
real socket in front is tested in `tests/server`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from gate.scripted import Scripted, scripted
from holdshort.config import load_config
from holdshort.gate.front.http import HttpFront
from holdshort.gate.front.legacy_sse import LegacySseFront
from holdshort.interruption import Approve, Edit, Interruption, Reject, Respond, State, fingerprint
from holdshort.server.clock import utc_now
from holdshort.server.core import Core, open_core
from holdshort.server.serve import make_wiring
from holdshort.store import Query
from holdshort.store.folder import DATABASE
from kit.process import until

__all__ = [
    "ASK_WRITES",
    "BOT",
    "LEGACY",
    "MODERN",
    "OTHER",
    "Agent",
    "Answer",
    "Client",
    "Live",
    "Notes",
    "World",
    "interruption_of",
    "world",
]

Json = dict[str, Any]
PORT = 7411
META = "io.modelcontextprotocol/"
BOT, OTHER = "token-of-bot-that-is-long-enough", "token-of-other-that-is-long-enough"
LEGACY, MODERN = "2025-11-25", "2026-07-28"
ACCEPT = "application/json, text/event-stream"
INTERRUPTION = "holdshort/interruption"

ASK_WRITES: Json = {
    "version": 1,
    "default": "ask",
    "rules": [
        {"id": "hidden", "tools": "*__hidden*", "action": "hide"},
        {"id": "denied", "tools": "*__destroy", "action": "deny"},
        {"id": "reads", "tools": "*__read*", "action": "allow"},
    ],
}


class Notes:
    """A log that remembers."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []

    def debug(self, event: str, /, **facts: Any) -> None:
        self.entries.append((event, facts))

    info = warning = error = debug


@dataclass
class Answer:
    """One HTTP answer, taken apart."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    disconnected: bool = False

    @property
    def messages(self) -> list[Json]:
        """Every JSON-RPC message in it, in order."""
        if self.headers.get("content-type") != "text/event-stream":
            return [json.loads(self.body)] if self.body else []
        return [json.loads(data) for _, data in self.events if data]

    @property
    def events(self) -> list[tuple[str, str]]:
        """(id, data) of every event."""
        found: list[tuple[str, str]] = []
        for block in self.body.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
            if lines:
                found.append((lines.get("id", ""), lines.get("data", "")))
        return found

    @property
    def reply(self) -> Json:
        """The response: the last message."""
        return self.messages[-1]

    @property
    def result(self) -> Json:
        found: Json = self.reply["result"]
        return found

    @property
    def error(self) -> Json:
        found: Json = self.reply["error"]
        return found

    @property
    def text(self) -> str:
        """All texts of a tool's result."""
        return "\n".join(part.get("text", "") for part in self.result["content"])

    @property
    def interruption(self) -> Json:
        """What `_meta` says of the parked call."""
        found: Json = self.result["_meta"][INTERRUPTION]
        return found


def interruption_of(answer: Answer) -> str:
    """The id of the interruption that the answer is about."""
    return str(answer.interruption["id"])


class Live:
    """A request under way."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = anyio.Event()
        self._gone = anyio.Event()
        self._grown = anyio.Event()

    async def until(self, condition: Callable[[Answer], Any], seconds: float = 10) -> Answer:
        """Wait until what came so far fulfils `condition`."""
        with anyio.fail_after(seconds):
            while not (self.status and condition(self.so_far)):
                await self._grown.wait()
        return self.so_far

    async def answer(self, seconds: float = 15) -> Answer:
        """Wait for the end of the answer."""
        with anyio.fail_after(seconds):
            await self.done.wait()
        return self.so_far

    @property
    def so_far(self) -> Answer:
        return Answer(self.status, self.headers, self.body)

    def hang_up(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def run(self, front: Any, scope: Json, body: Sequence[bytes]) -> None:
        chunks = list(body)

        async def receive() -> Json:
            if chunks:
                chunk = chunks.pop(0)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Json) -> None:
            assert not self.done.is_set(), "something was sent after the end of the answer"
            if message["type"] == "http.response.start":
                assert not self.status, "the answer started twice"
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            elif not self._gone.is_set():
                self.body += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.done.set()
            self._grown.set()
            self._grown = anyio.Event()

        try:
            await front(scope, receive, send)
        finally:
            self.done.set()
            self._grown.set()


@dataclass(repr=False)
class Agent:
    """Whoever has this token."""

    world: World
    token: str | None
    path: str = "/mcp/spy"
    session: str | None = None
    client: tuple[str, int] = ("127.0.0.1", 50_000)
    _numbers: int = 0

    def start(
        self,
        body: Any = None,
        *,
        verb: str = "POST",
        headers: Mapping[str, str | None] | None = None,
        lines: Sequence[tuple[str, str]] = (),
        path: str | None = None,
        chunks: Sequence[bytes] | None = None,
        query: str = "",
    ) -> Live:
        """Begin one HTTP request. `headers` of None leave a standard one out; `lines` come on top as they are."""
        standard: dict[str, str | None] = {"host": f"127.0.0.1:{PORT}", "accept": ACCEPT}
        if verb == "POST":
            standard["content-type"] = "application/json"
        if self.token is not None:
            standard["authorization"] = f"Bearer {self.token}"
        if self.session is not None:
            standard["mcp-session-id"] = self.session
        standard |= dict(headers or {})
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        found = [(name, value) for name, value in standard.items() if value is not None] + list(lines)
        where = path or self.path
        scope: Json = {
            "type": "http",
            "method": verb,
            "path": where,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in found],
            "client": self.client,
        }
        live = Live()
        front = self.world.legacy_sse if where.startswith("/sse/") else self.world.front
        self.world.tasks.start_soon(live.run, front, scope, chunks or [raw])
        return live

    async def http(self, body: Any = None, **more: Any) -> Answer:
        """One HTTP request to its end."""
        return await self.start(body, **more).answer()

    def number(self) -> int:
        self._numbers += 1
        return self._numbers


class Client(Agent):
    """A client that follows the protocol, of either era."""

    era: str = LEGACY
    name: str = "test-client"
    capabilities: Json

    def message(self, method: str, params: Json | None = None, number: Any = None) -> Json:
        """A request as this client would send it."""
        params = dict(params or {})
        if self.era == MODERN:
            envelope = {
                f"{META}protocolVersion": MODERN,
                f"{META}clientInfo": {"name": self.name, "version": "1"},
                f"{META}clientCapabilities": self.capabilities,
            }
            params["_meta"] = {**envelope, **params.get("_meta", {})}
        return {"jsonrpc": "2.0", "id": self.number() if number is None else number, "method": method, "params": params}

    def headers_for(self, message: Json) -> dict[str, str | None]:
        """The headers that go with a message."""
        if self.era == LEGACY:
            return {"mcp-protocol-version": LEGACY}
        params = message.get("params", {})
        name = params.get("name", params.get("uri"))
        named = {"mcp-name": name} if message["method"] in ("tools/call", "prompts/get", "resources/read") else {}
        return {"mcp-protocol-version": MODERN, "mcp-method": message["method"], **named}

    def begin(self, method: str, params: Json | None = None, number: Any = None, **more: Any) -> Live:
        """Begin a request."""
        message = self.message(method, params, number)
        headers = {**self.headers_for(message), **more.pop("headers", {})}
        return self.start(message, headers=headers, **more)

    async def request(self, method: str, params: Json | None = None, number: Any = None, **more: Any) -> Answer:
        """One request to its answer."""
        return await self.begin(method, params, number, **more).answer()

    async def notify(self, method: str, params: Json | None = None) -> Answer:
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        return await self.http(message, headers=self.headers_for(message))

    def calling(self, name: str, arguments: Json | None = None, *, number: Any = None, **params: Any) -> Live:
        """Begin a call."""
        return self.begin("tools/call", {"name": name, "arguments": arguments or {}, **params}, number)

    async def call(self, name: str, arguments: Json | None = None, **params: Any) -> Answer:
        """One call to its answer."""
        return await self.calling(name, arguments, **params).answer()

    async def until_settled(self, name: str, arguments: Json | None = None) -> Answer:
        """Repeat the same call as a pending answer tells one to."""
        with anyio.fail_after(15):
            while True:
                answer = await self.call(name, arguments)
                meta = answer.reply.get("result", {}).get("_meta", {}).get(INTERRUPTION)
                if meta is None or meta["state"] not in ("pending", "approved"):
                    return answer


@dataclass(repr=False)
class World:
    """The proxy."""

    core: Core
    front: HttpFront
    legacy_sse: LegacySseFront
    tasks: TaskGroup
    servers: list[Scripted]
    log: Notes
    folder: Path
    fallen: list[str] = field(default_factory=list)

    @property
    def spy(self) -> Scripted:
        return self.servers[0]

    def agent(self, token: str | None = BOT) -> Agent:
        return Agent(self, token)

    async def connect(
        self,
        era: str = LEGACY,
        *,
        token: str = BOT,
        path: str = "/mcp/spy",
        capabilities: Json | None = None,
        name: str = "test-client",
    ) -> Client:
        """A client that is ready to call."""
        client = Client(self, token, path)
        client.era, client.capabilities, client.name = era, capabilities or {}, name
        if era == LEGACY:
            params = {
                "protocolVersion": LEGACY,
                "capabilities": client.capabilities,
                "clientInfo": {"name": name, "version": "1"},
            }
            answer = await client.http({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
            assert "result" in answer.reply, answer.body
            client.session = answer.headers["mcp-session-id"]
            assert (await client.notify("notifications/initialized")).status == 202
        return client

    # -- the approver's side

    async def pending(self, count: int = 1) -> list[Interruption]:
        """Wait until that many calls are pending, oldest first."""
        return await self.in_state(State.PENDING, count)

    async def in_state(self, state: State, count: int = 1) -> list[Interruption]:
        async with self.core.store.subscribe(after=await self.core.store.sequence()) as changes:
            with anyio.fail_after(10):
                while True:
                    page = await self.core.store.list(Query(states=frozenset({state}), limit=200))
                    if len(page.items) >= count:
                        assert len(page.items) == count, page.items
                        return list(reversed(page.items))
                    await anext(changes)

    async def everything(self) -> list[Interruption]:
        """Every interruption there ever was, oldest first."""
        return list(reversed((await self.core.store.list(Query(limit=500))).items))

    async def get(self, interruption_id: str) -> Interruption:
        return await self.core.store.get(interruption_id)

    async def reaches(self, interruption_id: str, state: State) -> Interruption:
        """Wait until an interruption is in a state."""
        with anyio.fail_after(10):
            record = await self.get(interruption_id)
            while record.state is not state:
                record = await self.core.store.wait_change(interruption_id, record.revision)
        return record

    async def delivered(self, interruption_id: str) -> Interruption:
        """Wait until the agent was told how it ended."""
        with anyio.fail_after(10):
            record = await self.get(interruption_id)
            while record.delivered_at is None:
                record = await self.core.store.wait_change(interruption_id, record.revision)
        return record

    async def nobody_holds(self) -> None:
        """Wait until no request under way waits for any call."""
        with closing(sqlite3.connect(self.folder / "s" / DATABASE)) as database:
            await until(lambda: not database.execute("SELECT 1 FROM hold").fetchall(), "nobody to hold a call")

    async def approve(self, record: Interruption, by: str = "ana") -> Interruption:
        return await self.core.store.apply(record.id, Approve(at=utc_now(), by=by, fingerprint=record.fingerprint))

    async def reject(self, record: Interruption, message: str | None = None) -> Interruption:
        event = Reject(at=utc_now(), by="ana", fingerprint=record.fingerprint, message=message)
        return await self.core.store.apply(record.id, event)

    async def edit(self, record: Interruption, arguments: Json) -> Interruption:
        new = fingerprint(record.server, record.tool, arguments)
        event = Edit(at=utc_now(), by="ana", fingerprint=record.fingerprint, arguments=arguments, new_fingerprint=new)
        return await self.core.store.apply(record.id, event)

    async def respond(self, record: Interruption, content: Any) -> Interruption:
        event = Respond(at=utc_now(), by="ana", fingerprint=record.fingerprint, content=content)
        return await self.core.store.apply(record.id, event)

    async def decided(self, live: Live, decide: Callable[[Interruption], Awaitable[Any]]) -> Answer:
        """Decide about the one call that is pending while it is held; its answer."""
        (record,) = await self.pending()
        await decide(record)
        return await live.answer()

    async def log_kinds(self) -> list[str]:
        """The kinds of the rows about calls, in order; those about policy and about pinned tools are none."""
        kinds = [str(entry.fields["kind"]) async for entry in self.core.store.entries()]
        return [kind for kind in kinds if kind not in ("policy", "pin")]


CONFIG: Json = {
    "version": 1,
    "agents": [
        {"name": "bot", "token": BOT},
        {"name": "other", "token": OTHER},
    ],
    "approvers": [
        {"name": "ana", "token": "token-of-ana-that-is-long-enough"},
        {"name": "ben", "token": "token-of-ben-that-is-long-enough"},
    ],
    "hold": {"default": "10s"},
    "policy": ["policy.yaml"],
}


@asynccontextmanager
async def world(
    folder: Path, *servers: Scripted, layer: Json | None = None, commands: Json | None = None, **config: Any
) -> AsyncGenerator[World]:
    """A proxy in front of `servers` (one, called `spy`, when none is given). `config` overrides the file's keys.

    `commands` are further entries of `mcpServers`.
    """
    log = Notes()
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        found = list(servers) or [await stack.enter_async_context(scripted())]
        entries = {server.label: server.config() for server in found} | (commands or {})
        document = {**CONFIG, "mcpServers": entries, **config}
        for key in [key for key, value in document.items() if value is None]:
            del document[key]
        (folder / "policy.yaml").write_text(json.dumps(layer or ASK_WRITES))
        (folder / "holdshort.yaml").write_text(json.dumps(document))
        core = await stack.enter_async_context(open_core(load_config(folder / "holdshort.yaml", {}), folder / "s", log))
        core.page_is_at("http://127.0.0.1:7411")
        wiring = make_wiring(core, PORT)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        front = await stack.enter_async_context(HttpFront(wiring).run())
        legacy = await stack.enter_async_context(LegacySseFront(wiring).run())
        made = World(core, front, legacy, tasks, found, log, folder)
        try:
            yield made
        except Exception as error:  # noqa: BLE001
            # Carried past the task groups by hand: what a test finds is not to be read in groups of one.
            failure = error
        front.close()
        legacy.close()
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
