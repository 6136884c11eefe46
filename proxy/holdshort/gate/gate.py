"""The gate: every request of every transport and revision comes through `handle`, and nothing else reaches a server.

An allowed call pays for policy (a table look-up) and one row in the decision log, committed before its bytes leave.
"""

import asyncio
import contextlib
import math
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

import anyio

from holdshort.errors import StateError
from holdshort.gate import answers
from holdshort.gate.access import AccessGuard
from holdshort.gate.audience import Audience
from holdshort.gate.catalog import Catalog, Definition
from holdshort.gate.exchange import Exchange, Reply
from holdshort.gate.execution import Executions
from holdshort.gate.granting import POLICY_DIGITS, Granting, Judged
from holdshort.gate.headers import parameter_headers
from holdshort.gate.keyed import BadKey, CallIdReused, Known, key_in
from holdshort.gate.legs import without_review
from holdshort.gate.meta import CALL_KEY, REPEAT_KEY, without_our_keys, without_our_keys_in
from holdshort.gate.methods import CLIENT_REQUESTS, Era
from holdshort.gate.parking import OPEN_STATES, Parking, ParkingDesk
from holdshort.gate.pins import admitted
from holdshort.gate.tasks import TaskOwners, task_view
from holdshort.gate.upstream import Link, Log, SessionGone, UpstreamError
from holdshort.interruption import Interruption, InterruptionError, State, Withdraw
from holdshort.policy import AGENT_LAYER, Action, Because, Call, Caller, Policy
from holdshort.store import EntryKind, InterruptionNotFound, NewEntry, NewRecording, Store
from holdshort.wire import Frame, MalformedMessage, result_reply

__all__ = ["Gate"]

_WATCH_SECONDS: Final = 0.25
_LONGEST_NAME: Final = 200
_TASK_METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel", "tasks/result"})


class Gate:
    """The enforcement point. One per process; enter `run()` before the first exchange."""

    def __init__(
        self,
        desk: ParkingDesk,
        *,
        timeout_seconds: float,
        timeouts: dict[str, float] | None = None,
        several_agents: bool = False,
        log: Log,
    ) -> None:
        self._owners = TaskOwners() if several_agents else None
        self._log = log
        self.audience = Audience(log)
        """Who is told when a reload of policy changes what lists show."""
        self.pins = desk.pins
        """What tools are pinned to; None where definitions are not compared with anything."""
        self._store: Store = desk.store
        self._clock: Callable[[], datetime] = desk.clock
        self._policy: Callable[[], Policy] = desk.policy
        self._was_in_force = desk.was_in_force
        self._timeout = timeout_seconds
        self._timeouts = timeouts or {}
        self._forwarded: set[Exchange] = set()
        self.access = AccessGuard(desk.store, desk.clock, desk.policy, desk.recorder)
        self._recorder = desk.recorder
        self._executions = Executions(desk.store, desk.clock, self.timeout_of, log, self.access.answered)
        self._parking = Parking(desk, self._executions)
        self._granting = Granting(
            desk.store, desk.clock, desk.policy, desk.approver_groups, desk.acts_for, desk.recorder
        )

    def timeout_of(self, server: str) -> float:
        """Return how many seconds a call of this server may be silent before it counts as lost."""
        return self._timeouts.get(server, self._timeout)

    async def server_of_task(self, task_id: str, agent: str) -> str | None:
        """Return the server of a parked call of this agent that is looked after as a task; None if there is none."""
        try:
            record = await self._store.get(task_id)
        except InterruptionNotFound:
            return None
        return record.server if record.requested_by.agent == agent and not record.is_own else None

    def heard_from(self, link: Link) -> None:
        """A server said something that belongs to no exchange: none of those on this link is silent."""
        now = asyncio.get_running_loop().time()
        for exchange in self._forwarded:
            if exchange.link is link and not math.isinf(exchange.silent_until):
                exchange.silent_until = now + self.timeout_of(exchange.server)
        self._executions.heard_from(link)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator["Gate"]:
        """Own the running calls. Leaving waits for none of them: what was sent and not answered becomes unknown."""
        async with anyio.create_task_group() as tasks:
            self._executions.enter(tasks)
            self.audience.enter(tasks)
            tasks.start_soon(self._watch)
            yield self
            tasks.cancel_scope.cancel()

    async def drain(self, seconds: float) -> None:
        """Let approved calls that are running end, for a while; a call cut off in the middle ends as unknown."""
        with anyio.move_on_after(seconds):
            await self._executions.drain()

    async def _watch(self) -> None:
        """End what a server has been silent on for too long. One watch for all: a timer each would cost every call."""
        clock = asyncio.get_running_loop().time
        # Ends with the gate.
        while True:
            await anyio.sleep(_WATCH_SECONDS)
            now = clock()
            for exchange in [each for each in self._forwarded if each.silent_until < now]:
                if exchange.scope is not None:
                    exchange.scope.cancel()

    async def run_alone(self, exchange: Exchange, catalog: Catalog, record: Interruption) -> None:
        """Run an approved call that nobody waits for, and wait for its end.

        Does nothing where it is not this process's to run: another server stands behind the label here, another
        policy is in force and was, or somebody else was faster.

        Raises:
            UpstreamError: the server cannot be asked for its tools; nothing was sent.
        """
        await catalog.refresh(exchange.link, exchange.peer)
        definition = catalog.find(record.tool)
        same = definition is not None and self._was_in_force(record.policy_digest)
        if definition is None or not same or self._parking.what_changed(exchange, record, definition) is not None:
            return
        with contextlib.suppress(InterruptionError):
            run = await self._executions.start(record, definition, exchange)
            await run.finished.wait()

    async def handle(self, exchange: Exchange, catalog: Catalog) -> Reply:
        """Take one request through policy to its answer. No exception leaves: an error never lets a call through."""
        try:
            try:
                return await self._judge(exchange, catalog)
            except SessionGone:
                if exchange.renew is None:
                    raise
                # The server restarted and knows nothing of the request: a new session, and once more.
                exchange.link = await exchange.renew()
                return await self._judge(exchange, catalog)
        except UpstreamError as error:
            return Reply(Frame(answers.upstream_failed(exchange.id, str(error))))
        except StateError:
            return Reply(Frame(answers.no_record(exchange.id, exchange.peer.era)))
        except Exception as error:  # noqa: BLE001
            # Ours, and unforeseen. Its text may hold arguments, so it goes to nobody; its place goes to the log.
            self._log.warning("gate.failed", server=exchange.server, error=type(error).__name__, at=_place_of(error))
            return Reply(Frame(answers.failed_inside(exchange.id)))

    async def _judge(self, exchange: Exchange, catalog: Catalog) -> Reply:
        method: str = exchange.frame.value["method"]
        if method == "tools/call":
            meta = exchange.params.get("_meta")
            if type(meta) is dict and (CALL_KEY in meta or REPEAT_KEY in meta):
                return await self._call_by_key(exchange, catalog)
            return await self._call_tool(exchange, catalog)
        if method not in CLIENT_REQUESTS[exchange.peer.era]:
            return Reply(Frame(answers.unknown_method(exchange.id, method)))
        if method in _TASK_METHODS:
            ours = await self._our_task(exchange, catalog, method)
            if ours is not None:
                return ours
        foreign = None if self._owners is None else self._owners.foreign_task(exchange)
        if foreign is not None:
            # A task of somebody else reads like one that never was.
            return Reply(Frame(answers.unknown_task(exchange.id, foreign)))
        refused = await self.access.refuse(exchange, method)
        if refused is not None:
            return Reply(Frame(refused))
        reply = await self._forward(exchange)
        if method == "tasks/list" and reply is not None and self._owners is not None:
            reply = self._owners.only_own(exchange, reply)
        if method == "server/discover" and reply is not None:
            reply = await admitted(catalog.pins, reply)
        if method == "tools/list" and reply is not None:
            first = "cursor" not in exchange.params
            reply = await catalog.filter_list(
                reply, self._policy(), exchange.caller, first_page=first, rename=exchange.prefix
            )
        return Reply(reply)

    async def _call_by_key(self, exchange: Exchange, catalog: Catalog) -> Reply:
        """Take a call that may have its run's and its own id; then they, not its arguments, say which call it is."""
        name, arguments = exchange.params.get("name"), exchange.params.get("arguments", {})
        try:
            key = exchange.key = key_in(exchange.meta)
            if key is None or not isinstance(name, str) or not isinstance(arguments, dict):
                return await self._call_tool(exchange, catalog)
            known = await self._parking.known(exchange, catalog, name, arguments)
            if isinstance(known, Reply):
                return self._noted(exchange, await self._shown(exchange, known))
            return await self._call_tool(exchange, catalog, known)
        except BadKey as error:
            return Reply(Frame(answers.invalid_params(exchange.id, str(error))))
        except CallIdReused as error:
            name = str(name)
            await self._store.record(_reused_entry(exchange, name, self._clock(), error))
            call_id = "" if exchange.key is None else exchange.key.call_id
            return Reply(Frame(answers.call_id_reused(exchange.id, call_id, name, exchange.peer.era)))

    async def _call_tool(self, exchange: Exchange, catalog: Catalog, known: Known | None = None) -> Reply:
        params = exchange.params
        name = params.get("name")
        arguments = params.get("arguments", {})
        if not isinstance(name, str):
            return Reply(Frame(answers.invalid_params(exchange.id, "`name` must be a string")))
        if not isinstance(arguments, dict):
            return Reply(Frame(answers.invalid_params(exchange.id, "`arguments` must be an object")))
        definition = catalog.find(name)
        if definition is None or self._policy().hides(definition.facts, exchange.caller):
            definition = await catalog.ensure(name, exchange.link, exchange.peer)
        now = self._clock()
        if definition is None:
            await self._store.record(_absent_entry(exchange, name, now))
            return Reply(Frame(answers.unknown_tool(exchange.id, exchange.prefix + name)))
        policy = self._policy()
        call = Call(definition.facts, arguments, exchange.caller, now)
        judged = Judged(definition, policy.decide(call), policy.digest)
        if known is not None and await self._leaves_doubt(exchange, call, judged, known):
            return await self._parking.not_repeated(exchange, definition)
        if judged.verdict.action is Action.ASK:
            judged = await self._granting.answer(exchange, catalog, call, judged, known)
        definition, verdict = judged.definition, judged.verdict
        if verdict.action is Action.ASK:
            parked = await self._parking.park(exchange, catalog, definition, verdict, judged.policy_digest)
            return self._noted(exchange, await self._shown(exchange, parked))
        if verdict.action is Action.ALLOW:
            by_grant = judged.recorded
            resumed = await (self._parking.take_up if by_grant else self._parking.resume)(exchange, catalog, definition)
            if resumed is not None:
                return self._noted(exchange, await self._shown(exchange, resumed))
        if not judged.recorded:
            recorder = self._recorder
            recording = None if recorder is None else recorder.call(replace(call, tool=definition.facts))
            await self._store.record(_verdict_entry(exchange, name, judged, now, recording))
        if verdict.action is Action.HIDE:
            return Reply(Frame(answers.unknown_tool(exchange.id, exchange.prefix + name)))
        if verdict.action is not Action.ALLOW:
            return Reply(Frame(answers.denied(exchange.id, verdict, name, exchange.peer.era)))
        if exchange.peer.era is Era.MODERN:
            exchange.headers = parameter_headers(definition, arguments)
        return self._noted(exchange, Reply(await self._forward(exchange)))

    async def _leaves_doubt(self, exchange: Exchange, call: Call, judged: Judged, known: Known) -> bool:
        """Say whether a repeated call, of which nothing is on record, may have run before without being asked about."""
        if exchange.key is None or not exchange.key.repeated or known.record is not None:
            return False
        if judged.verdict.action is Action.ASK:
            return await self._granting.covers(call, judged)
        return judged.verdict.action is Action.ALLOW

    def _noted(self, exchange: Exchange, reply: Reply) -> Reply:
        if self._owners is not None and reply.frame is not None:
            self._owners.note(exchange.server, exchange.caller.agent, reply.frame)
        return reply

    async def _shown(self, exchange: Exchange, reply: Reply) -> Reply:
        """Return what a parked call came to, as policy shows it now: the result may be older than the policy."""
        try:
            if reply.frame is not None:
                reply.frame = await self.access.kept(exchange, reply.frame)
        except StateError:
            if reply.settle is not None:
                await reply.settle(False)
            raise
        return reply

    def hides(self, definition: Definition, caller: Caller) -> bool:
        """Whether this caller must not learn that the tool exists."""
        return self._policy().hides(definition.facts, caller)

    async def _forward(self, exchange: Exchange) -> Frame | None:
        """Pass the request on and return the response; None when the client cancelled and is owed none.

        What goes out is written anew from the value that was judged, never the agent's own text: a number with more
        digits than were read must not mean something else to the server.
        """
        value = exchange.frame.value
        params = value.get("params")
        if params is not None:
            cleaned = without_review(without_our_keys(params))
            if cleaned is not params:
                value = {**value, "params": cleaned}
        frame = Frame(value, kind=exchange.frame.kind)
        exchange.ends_with_client = exchange.peer.era is Era.MODERN
        if exchange.left and (exchange.withdrawn or exchange.ends_with_client):
            return None  # given up before a byte of it was sent
        method = frame.value["method"]
        endless = method == "subscriptions/listen"
        patience = math.inf if endless else self.timeout_of(exchange.server)
        clock = asyncio.get_running_loop().time
        exchange.silent_until = clock() + patience

        async def emit(message: Frame) -> None:
            exchange.silent_until = clock() + patience
            await exchange.emit(message)

        self._forwarded.add(exchange)
        with anyio.CancelScope() as scope:
            exchange.scope = scope
            try:
                reply = await exchange.link.request(frame, emit, headers=exchange.headers)
            finally:
                self._forwarded.discard(exchange)
            try:
                return await self.access.answered(exchange, method, without_our_keys_in(reply))
            except MalformedMessage as error:
                return Frame(
                    answers.upstream_failed(exchange.id, f"server `{exchange.server}` answered badly: {error}")
                )
        if exchange.left:
            return None
        reason = (
            f"server `{exchange.server}` did not answer within {patience:g} seconds; the call may still take effect"
        )
        return Frame(answers.upstream_failed(exchange.id, reason))

    async def _our_task(self, exchange: Exchange, catalog: Catalog, method: str) -> Reply | None:
        """Answer for a task whose id is one of our interruptions; None when it is the upstream's own."""
        task_id = exchange.params.get("taskId")
        if not isinstance(task_id, str):
            return Reply(Frame(answers.invalid_params(exchange.id, "`taskId` must be a string")))
        try:
            record = await self._store.get(task_id)
        except InterruptionNotFound:
            return None
        if record.requested_by.agent != exchange.caller.agent or record.server != exchange.server:
            return Reply(Frame(answers.unknown_task(exchange.id, task_id)))
        if method == "tasks/cancel":
            self._executions.cancel(task_id)
            with contextlib.suppress(InterruptionError):  # it has ended or is running; `tasks/get` tells
                await self._store.apply(task_id, Withdraw(at=self._clock(), by=exchange.caller.agent))
            return Reply(Frame(result_reply(exchange.id, {"resultType": "complete"})))
        if method == "tasks/update":
            return Reply(Frame(result_reply(exchange.id, {"resultType": "complete"})))
        if record.state is State.APPROVED:
            record = await self._parking.run_task(exchange, catalog, record)
        frame = Frame(result_reply(exchange.id, task_view(record, self._clock())))
        receipt = None if record.state in OPEN_STATES else self._parking.receipt(record)
        return await self._shown(exchange, Reply(frame, receipt))


def _absent_entry(exchange: Exchange, tool: str, now: datetime) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=now,
        server=exchange.server,
        tool=tool[:_LONGEST_NAME],
        agent=exchange.caller.agent,
        action=Action.HIDE.value,
        detail={"errors": ["the server lists no such tool"]},
    )


def _reused_entry(exchange: Exchange, tool: str, now: datetime, error: CallIdReused) -> NewEntry:
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=now,
        server=exchange.server,
        tool=tool[:_LONGEST_NAME],
        agent=exchange.caller.agent,
        action=Action.DENY.value,
        because=(Because(AGENT_LAYER, error.code),),
        detail={"code": error.code},
    )


def _place_of(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{PurePath(last[0].filename).name}:{last[0].lineno}" if last else ""


def _verdict_entry(
    exchange: Exchange, tool: str, judged: Judged, now: datetime, recording: NewRecording | None
) -> NewEntry:
    verdict = judged.verdict
    # Several processes with policies of their own may write to one log; half a microsecond and 35 bytes a row.
    detail: dict[str, Any] = {"policy": judged.policy_digest[:POLICY_DIGITS]}
    if verdict.errors:
        detail["errors"] = list(verdict.errors)
    return NewEntry(
        kind=EntryKind.VERDICT,
        at=now,
        server=exchange.server,
        tool=tool,
        agent=exchange.caller.agent,
        action=verdict.action.value,
        because=verdict.because,
        detail=detail,
        recording=recording,
    )
