"""What every process of ours is made of: the store, the servers, the gate, and who may talk to it."""

import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio

from holdshort.config import Config
from holdshort.config.principals import ApproverToken, Principals, approver_token
from holdshort.gate.catalog import Catalog
from holdshort.gate.edits import EditJudge
from holdshort.gate.exchange import Emit
from holdshort.gate.gate import Gate
from holdshort.gate.hold import HoldBudgets
from holdshort.gate.listing import LeftOut, ListLimits
from holdshort.gate.on_decision import OnDecision
from holdshort.gate.own import OwnCalls
from holdshort.gate.parking import ParkingDesk
from holdshort.gate.pins import PinBook, scope_of
from holdshort.gate.recording import Recorder
from holdshort.gate.seal import Sealer, load_seal_key
from holdshort.gate.upstream import Eras, Link, Log, Upstream, UpstreamError, UpstreamLimits
from holdshort.policy import Call, Caller, PinMode, Policy, ToolFacts, explain
from holdshort.policy.facts import facts_of
from holdshort.policy.telling import explanation_json
from holdshort.server.clock import new_id, utc_now
from holdshort.server.decisions import DecisionsFollowed, runs_on_decision
from holdshort.server.hangup import reload_on_hangup
from holdshort.server.in_force import InForce
from holdshort.server.reloading import Again, Reloader
from holdshort.store import INSTRUCTIONS, Quotas, Store
from holdshort.store.sqlite import open_store
from holdshort.wire import Limits

__all__ = ["Core", "open_core", "request_limits"]


_PAGE_SECONDS: Final = 5.0
_SLOWEST_SECONDS = 5.0
"""How long what several servers answer together waits for the slowest of them to say what it speaks."""


@dataclass(slots=True)
class Core:
    """The parts, and the few questions that need several of them."""

    config: Config
    in_force: InForce
    state_dir: Path
    store: Store
    principals: Principals
    first_token: ApproverToken | None
    upstreams: Mapping[str, Upstream]
    gate: Gate
    log: Log
    left_out: LeftOut
    own: OwnCalls
    """Calls that agents run themselves and ask about."""
    reloader: Reloader | None = None
    """Takes up policy that changes on disk; None where there is nothing to read anew."""
    review_base: str | None = None
    """Where the review page is; known once something listens."""
    page_known: anyio.Event = field(default_factory=anyio.Event)

    def page_is_at(self, base: str) -> None:
        """Somebody serves the review page at this address."""
        self.review_base = self.config.public_url or base
        self.page_known.set()

    async def review_url(self, interruption: str) -> str | None:
        """Return the page about one call; it carries no secret. None when nobody serves it soon."""
        with anyio.move_on_after(_PAGE_SECONDS):
            await self.page_known.wait()
        return f"{self.review_base}/review/{interruption}" if self.review_base else None

    def trust_annotations(self, server: str) -> bool:
        """Whether policy may believe what this server says of its own tools."""
        return self.upstreams[server].config.trust_annotations

    def make_catalog(self, server: str) -> Catalog:
        """Return an empty catalog for a link to this server."""
        identity = self.upstreams[server].identity
        return Catalog(
            server,
            trust_annotations=self.trust_annotations(server),
            identity=identity,
            limits=ListLimits.of(self.config.limits),
            left_out=self.left_out,
            pins=None if self.gate.pins is None else self.gate.pins.of(server),
        )

    def open_link(self, server: str, on_frame: Emit) -> AbstractAsyncContextManager[Link]:
        """Open a link of a session's own."""
        return self.upstreams[server].open(on_frame)

    async def probe(self, labels: Sequence[str] | None = None) -> Mapping[str, Eras]:
        """Return what each of these servers (None: of all) speaks, if it can be asked.

        Several are waited for only so long: one that hangs must not keep the others' clients waiting. It is asked on.
        """
        wanted = tuple(self.upstreams) if labels is None else labels
        unknown = [label for label in wanted if self.upstreams[label].spoken is None]

        async def ask(label: str) -> None:
            with contextlib.suppress(UpstreamError):
                await self.upstreams[label].eras()

        if unknown:
            with anyio.move_on_after(_SLOWEST_SECONDS if len(wanted) > 1 else math.inf):
                async with anyio.create_task_group() as tasks:
                    for label in unknown:
                        tasks.start_soon(ask, label)
        spoken = {label: self.upstreams[label].spoken for label in wanted}
        return {label: eras for label, eras in spoken.items() if eras is not None}

    def facts_of(self, server: str, definition: Mapping[str, Any]) -> ToolFacts:
        """Return what policy may know of a tool with this definition."""
        trusted = server in self.upstreams and self.trust_annotations(server)
        return Catalog(server, trust_annotations=trusted).facts_of(definition)

    def groups_of(self, agent: str) -> frozenset[str]:
        """Return an agent's groups."""
        return next((known.groups for known in self.config.agents if known.name == agent), frozenset())

    def judge(self) -> EditJudge:
        """Return who checks edited arguments."""
        return EditJudge(
            self.in_force.policy, utc_now, self.groups_of, self.facts_of, was_in_force=self.in_force.was_in_force
        )

    def health(self) -> list[dict[str, Any]]:
        """Return one line per server for operators."""
        return [asdict(upstream.health()) for upstream in self.upstreams.values()]

    def policy_view(self) -> dict[str, Any]:
        """Return the policy in force as approvers see it."""
        policy = self.in_force.policy()
        layers = [
            {
                "layer": layer.name,
                "default": layer.default,
                "rules": [
                    {"id": rule.id, "action": rule.action, "place": str(rule.place or "")} for rule in layer.rules
                ],
            }
            for layer in policy.layers
        ]
        return {"digest": policy.digest, "layers": layers, **self.in_force.view}

    async def explain(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return what policy would say about a call, layer by layer; `facts_from` says where its facts are from.

        Raises:
            StateError: the pins cannot be read.
        """
        facts, source = await self._known_facts(question["server"], question["tool"])
        groups = frozenset(question["groups"]) or self.groups_of(question["agent"])
        call = Call(facts, question["arguments"], Caller(question["agent"], groups, question.get("client")), utc_now())
        policy = self.in_force.policy()
        told = explanation_json(explain(policy, call), call)
        return {"action": told["verdict"], **told, "facts_from": source, "policy_digest": policy.digest}

    async def _known_facts(self, server: str, tool: str) -> tuple[ToolFacts, str | None]:
        """Return what is known of a tool: as its server listed it last, else as it is in the store, else nothing."""
        if server in self.upstreams and self.gate.pins is not None:
            pins = self.gate.pins.of(server)
            shown = pins.shown(tool)
            if shown is not None:
                return shown.facts, "as its server listed it last"
            kept = await pins.kept(tool)
            if kept is not None and tool != INSTRUCTIONS:
                pinned = kept.state == "pinned" or self.in_force.policy().pins is PinMode.OFF
                trusted = self.trust_annotations(server)
                return facts_of(server, kept.seen.words, trusted=trusted, pinned=pinned), "as it is pinned"
        return self.facts_of(server, {"name": tool}), None


def request_limits(config: Config) -> Limits:
    """Return what one message of an agent may cost."""
    limits = config.limits
    return Limits(limits.request_bytes, limits.json_depth, limits.json_keys, limits.string_bytes)


def _pin_scopes(upstreams: Mapping[str, Upstream]) -> Mapping[str, tuple[str, str]]:
    return {
        label: (scope_of(label, upstream.identity, configured=upstream.config.configured), upstream.identity)
        for label, upstream in upstreams.items()
    }


def _recorder(config: Config, policy: Callable[[], Policy]) -> Recorder | None:
    record = config.record
    if record is None:
        return None
    return Recorder(policy, timedelta(seconds=record.keep), record.arguments, record.max_bytes, record.redact)


def _acts_for(config: Config) -> Callable[[str], str | None]:
    if not config.separation_of_duties:
        return lambda agent: None
    persons = {agent.name: agent.acts_for for agent in config.agents}
    return persons.get


@asynccontextmanager
async def open_core(
    config: Config, state_dir: Path, log: Log, *, again: Again | None = None, stop_seconds: float = 2.0
) -> AsyncGenerator[Core]:
    """Build everything and run it; leaving stops it in reverse order.

    With `again`, policy that changes on disk is taken up.
    `stop_seconds` is the patience with a child at each step of stopping it.

    Raises:
        StateError: the state folder cannot be used.
    """
    limits = config.limits
    quotas = Quotas(
        per_agent=limits.pending_per_agent, per_server=limits.pending_per_server, total=limits.pending_total
    )
    async with contextlib.AsyncExitStack() as stack:
        retention = timedelta(seconds=limits.result_retention)
        opened = open_store(state_dir, clock=utc_now, quotas=quotas, retention=retention)
        store = await stack.enter_async_context(opened)
        in_force = InForce(config.policy, utc_now(), config.path)
        await in_force.begin(store)
        principals = Principals(agents=config.agents, approvers=config.approvers)
        first_token: ApproverToken | None = None
        if not principals.has_approvers:
            first_token = approver_token(state_dir)
            principals = principals.with_approver(first_token.token)
        upstreams = {
            server.label: Upstream(server, log=log, limits=UpstreamLimits.of(limits, stop_seconds=stop_seconds))
            for server in config.servers
        }
        sealers: list[Sealer] = []

        def sealer() -> Sealer:
            if not sealers:
                sealers.append(Sealer(load_seal_key(state_dir)))
            return sealers[0]

        core: Core

        desk = ParkingDesk(
            store=store,
            clock=utc_now,
            new_id=new_id,
            policy=in_force.policy,
            was_in_force=in_force.was_in_force,
            budgets=HoldBudgets(config.hold.default, config.hold.clients),
            sealer=sealer,
            review_url=lambda interruption: core.review_url(interruption),
            acts_for=_acts_for(config),
            approver_groups=principals.approver_groups,
            dispatch_window=timedelta(seconds=limits.dispatch_deadline),
            recorder=_recorder(config, in_force.policy),
            pins=PinBook(store, in_force.policy, utc_now, log, _pin_scopes(upstreams)),
        )
        timeouts = {server.label: server.timeout for server in config.servers if server.timeout is not None}
        gate = Gate(
            desk,
            timeout_seconds=limits.upstream_timeout,
            timeouts=timeouts,
            several_agents=len(config.agents) > 1,
            log=log,
        )
        own = OwnCalls(desk, lambda agent: core.groups_of(agent))
        core = Core(
            config, in_force, state_dir, store, principals, first_token, upstreams, gate, log, LeftOut(log), own
        )
        for upstream in upstreams.values():
            await stack.enter_async_context(upstream.run())
        await stack.enter_async_context(gate.run())
        runner = OnDecision(gate, store, upstreams, make_catalog=core.make_catalog, groups_of=core.groups_of, log=log)
        decisions = DecisionsFollowed(runner)
        if runs_on_decision(config.policy):
            await stack.enter_async_context(decisions.now())
        if again is not None:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)

            async def after(before: Policy, now: Policy) -> None:
                if runs_on_decision(now) and not decisions.followed:
                    await tasks.start(decisions.from_now_on)
                told = gate.audience.policy_changed(before, now)
                log.info("policy.told", clients=told)

            gate.audience.active = True
            core.reloader = Reloader(config, again, in_force, store, utc_now, log, after=after)
            tasks.start_soon(core.reloader.run)
            tasks.start_soon(reload_on_hangup, core.reloader)
        yield core
