"""The approval side on a real port over a real store, and short words for what tests do with it."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import anyio
import httpx2
import jsonschema_rs
import uvicorn
from starlette.applications import Starlette

from holdshort.approvals import build_app, close_streams
from holdshort.approvals.deps import ApprovalDeps
from holdshort.config.principals import Principals
from holdshort.gate.hold import HoldBudgets
from holdshort.gate.own import OwnCalls
from holdshort.gate.parking import ParkingDesk
from holdshort.interruption import (
    Claim,
    Finish,
    Interruption,
    Lose,
    Outcome,
    OutcomeKind,
    Requester,
    definition_digest,
    fingerprint,
)
from holdshort.policy import Because, Call, Caller, Layer, Policy, Terms, ToolFacts
from holdshort.server.clock import new_id
from holdshort.store import Store
from holdshort.store.sqlite import open_store
from kit.process import until_async

__all__ = ["ANA", "BEN", "BOT", "OTHER", "Clock", "Judge", "Named", "Site", "Wrong", "bearer", "parked", "serving_site"]

ANA, BEN, BOT, OTHER = ("ana-token-" + "a" * 30, "ben-token-" + "b" * 30, "bot-token-" + "c" * 30, "other-" + "d" * 30)

DEFINITION: dict[str, Any] = {
    "name": "delete_file",
    "title": "Delete a file",
    "description": "Deletes the file at `path`.",
    "inputSchema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "force": {"type": "boolean"}, "size": {"type": "integer"}},
        "required": ["path"],
    },
    "annotations": {"destructiveHint": True, "readOnlyHint": False},
}


@dataclass(frozen=True)
class Named:
    name: str
    token: str
    groups: tuple[str, ...] = ()


@dataclass
class Clock:
    """The real time, and what a test adds to it."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True)
class Wrong:
    message: str
    pointer: str = ""


@dataclass
class Judge:
    """Checks an edit against the tool's schema, and has one rule: nothing under `/etc`."""

    asked: list[Mapping[str, Any]] = field(default_factory=list)
    overtaken: str | None = None

    def call_of(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Call:
        facts = ToolFacts(interruption.server, interruption.tool)
        return Call(facts, arguments, Caller(interruption.requested_by.agent), interruption.created_at)

    async def overruled(self, interruption: Interruption) -> str | None:
        return self.overtaken

    async def check_edit(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Wrong | None:
        self.asked.append(arguments)
        schema = (interruption.definition or {}).get("inputSchema", {})
        for error in jsonschema_rs.validator_for(schema).iter_errors(dict(arguments)):
            return Wrong(error.message, "".join(f"/{step}" for step in error.instance_path))
        if str(arguments.get("path", "")).startswith("/etc"):
            return Wrong("policy denies this: rule `no-etc`", "/path")
        return None


@dataclass
class Rules:
    """The policy by which calls that agents run themselves are judged; a test puts its own layer in its place."""

    layer: Layer = Layer("own.yaml")  # noqa: RUF009 (frozen)

    def __call__(self) -> Policy:
        return Policy([self.layer])


@dataclass
class Site:
    """A running approval side."""

    url: str
    port: int
    store: Store
    deps: ApprovalDeps
    clock: Clock
    judge: Judge
    rules: Rules
    app: Starlette
    client: httpx2.AsyncClient
    """Sends no credential of its own."""

    async def park(self, **changes: Any) -> Interruption:
        """Park a call; `changes` are fields of the interruption."""
        return await self.store.park(parked(self.clock(), **changes))

    async def get(self, path: str, token: str | None = ANA, **kwargs: Any) -> httpx2.Response:
        return await self.client.get(path, headers={**bearer(token), **kwargs.pop("headers", {})}, **kwargs)

    async def post(self, path: str, body: Any, token: str | None = ANA, **kwargs: Any) -> httpx2.Response:
        return await self.client.post(path, json=body, headers={**bearer(token), **kwargs.pop("headers", {})}, **kwargs)

    async def decide(self, record: Interruption, decision: str, token: str = ANA, **more: Any) -> httpx2.Response:
        body = {"decision": decision, "fingerprint": record.fingerprint, **more}
        return await self.post(f"/v1/interruptions/{record.id}/decision", body, token)

    async def run(self, record: Interruption, result: Any = None) -> Interruption:
        """Claim an approved call and finish it, as the gate does."""
        claimed = await self.claim(record)
        assert claimed.claim is not None
        outcome = Outcome(kind=OutcomeKind.OK, at=self.clock(), result=result or {"content": []})
        return await self.store.apply(record.id, Finish(at=self.clock(), token=claimed.claim.token, outcome=outcome))

    async def claim(self, record: Interruption) -> Interruption:
        now = await self.store.get(record.id)
        return await self.store.apply(
            record.id,
            Claim(
                at=self.clock(),
                agent=record.requested_by.agent,
                fingerprint=now.fingerprint,
                definition_digest=now.definition_digest,
                policy_digest=now.policy_digest,
            ),
        )

    async def lose(self, record: Interruption) -> Interruption:
        """Claim an approved call and lose its answer."""
        claimed = await self.claim(record)
        assert claimed.claim is not None
        return await self.store.apply(
            record.id, Lose(at=self.clock(), token=claimed.claim.token, reason="the server went away")
        )


_count = 0


def parked(now: datetime, **changes: Any) -> Interruption:
    """A pending call of `bot`, as the gate would park it."""
    global _count
    _count += 1
    server, tool = changes.pop("server", "files"), changes.pop("tool", "delete_file")
    arguments = changes.pop("arguments", {"path": f"/data/report-{_count}.txt", "force": True})
    agent = changes.pop("agent", "bot")
    definition = changes.pop("definition", DEFINITION)
    print_ = fingerprint(server, tool, arguments)
    base = Interruption(
        id=changes.pop("id", f"i-{_count:04d}-{now:%f}"),
        server=server,
        tool=tool,
        arguments=arguments,
        requested_arguments=arguments,
        fingerprint=print_,
        requested_fingerprint=print_,
        definition=definition,
        definition_digest=definition_digest(definition or {}),
        policy_digest="0" * 64,
        requested_by=changes.pop("requested_by", Requester(agent=agent, client="cursor", client_version="1.2")),
        created_at=now,
        expires_at=now + changes.pop("expires_after", timedelta(hours=1)),
        because=(Because("policies/team.yaml", "writes-ask"),),
        terms=changes.pop("terms", Terms()),
    )
    return replace(base, **changes)


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


async def explain(call: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"action": "ask", "because": [{"layer": "x", "rule": "y"}], "call": dict(call)}


def own_desk(store: Store, clock: Clock, rules: Rules, principals: Principals) -> ParkingDesk:
    """What the gate needs to judge and park calls that agents run themselves; nothing here is ever sent."""

    async def review_url(interruption: str) -> str:
        return f"http://127.0.0.1/review/{interruption}"

    def sealer() -> NoReturn:
        raise AssertionError("nothing is sealed here")

    return ParkingDesk(
        store=store,
        clock=clock,
        new_id=new_id,
        policy=rules,
        budgets=HoldBudgets(),
        sealer=sealer,
        review_url=review_url,
        acts_for=lambda agent: "ben" if agent == "other-bot" else None,
        approver_groups=principals.approver_groups,
    )


@asynccontextmanager
async def serving_site(folder: Path, *, agents: bool = True, port: int = 0, **deps: Any) -> AsyncGenerator[Site]:
    """Serve the approval side over the store in `folder` until the block ends."""
    clock, judge = deps.pop("clock", None) or Clock(), Judge()
    principals = deps.pop("principals", None) or Principals(
        agents=[Named("bot", BOT), Named("other-bot", OTHER)] if agents else [],
        approvers=[Named("ana", ANA, ("finance",)), Named("ben", BEN)],
    )
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]
    async with open_store(folder, clock=clock) as store:
        views: dict[str, Any] = {
            "policy": lambda: {"digest": "0" * 64, "layers": []},
            "explain": explain,
            "servers": lambda: [{"label": "files", "state": "ready"}],
        }
        rules = Rules()
        calls = OwnCalls(own_desk(store, clock, rules, principals), lambda agent: frozenset())
        ready = ApprovalDeps(
            store=store, principals=principals, judge=judge, clock=clock, calls=calls, **{**views, **deps}
        )
        app = build_app(ready)
        server = uvicorn.Server(
            uvicorn.Config(
                app, lifespan="off", proxy_headers=False, server_header=False, log_level="warning", access_log=False
            )
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            url = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:

                async def started() -> bool:
                    return server.started

                await until_async(started, "uvicorn to start")
                yield Site(url, port, store, ready, clock, judge, rules, app, client)
            close_streams(app)
            server.should_exit = True
