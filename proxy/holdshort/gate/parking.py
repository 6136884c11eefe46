"""The wait ladder: a parked call is held while its client has patience, then answered so that it can be resumed.

1. Hold the request open. A decision in time is invisible to any client.
2. Then, by what the client declared: a task handle; or `input_required` legs, each held by us, where input can be
   given; or an error result that says that nothing was executed and how to go on. Repeating the same call joins the
   same interruption.

Only the record in the store has authority; whatever comes back through the agent merely names it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import anyio

from holdshort.errors import HoldshortError, StateError
from holdshort.gate import answers
from holdshort.gate.catalog import Catalog, Definition, envelope
from holdshort.gate.exchange import Exchange, Reply
from holdshort.gate.execution import Executions, Run
from holdshort.gate.hold import HEARTBEAT_SECONDS, HoldBudgets
from holdshort.gate.keyed import CallKey, KeyedCalls, Known
from holdshort.gate.legs import MAX_LEGS, Legs
from holdshort.gate.meta import CALL_KEY, PARK_KEY, RUN_KEY
from holdshort.gate.methods import Era
from holdshort.gate.pins import PinBook
from holdshort.gate.recording import Recorder
from holdshort.gate.seal import BrokenSeal, Leg, Sealer
from holdshort.gate.tasks import task_handle
from holdshort.gate.upstream import SessionGone, UpstreamError
from holdshort.interruption import (
    DEFAULT_DISPATCH_WINDOW,
    Deliver,
    Interruption,
    InterruptionError,
    Requester,
    State,
    Supersede,
    Withdraw,
    fingerprint,
)
from holdshort.policy import AGENT_LAYER, Action, ApproverGroups, Because, Call, Policy, Verdict
from holdshort.store import EntryKind, InterruptionNotFound, NewEntry, NewRecording, QuotaExceeded, Store
from holdshort.wire import Frame, result_reply

__all__ = ["OPEN_STATES", "Parking", "ParkingDesk", "UpstreamNotReady", "overruled"]

OPEN_STATES: Final = frozenset({State.PENDING, State.APPROVED, State.EXECUTING})


_NEVER_RAN: Final = frozenset({State.PENDING, State.EXPIRED, State.WITHDRAWN, State.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class ParkingDesk:
    """What parking needs from outside: the store, time, and the policy in force."""

    store: Store
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    policy: Callable[[], Policy]
    budgets: HoldBudgets
    sealer: Callable[[], Sealer]
    review_url: Callable[[str], Awaitable[str | None]]
    """The page about one interruption; it may take a moment to be there."""
    was_in_force: Callable[[str], bool] = lambda digest: False
    """Whether a policy, by its digest, counts or has counted in this process."""
    acts_for: Callable[[str], str | None] = lambda agent: None
    """The person an agent acts for, where that person may not decide about its calls."""
    approver_groups: ApproverGroups = lambda name: None
    """The groups of an approver of this name; None, and no grant of theirs answers, where there is no such approver."""
    pins: PinBook | None = None
    """None where definitions are not compared with anything."""
    dispatch_window: timedelta = DEFAULT_DISPATCH_WINDOW
    """How long an approval waits for the agent to come back."""
    recorder: Recorder | None = None
    """None where calls are not recorded."""


class Parking:
    """Parks, holds, resumes and answers."""

    def __init__(self, desk: ParkingDesk, executions: Executions) -> None:
        self._desk = desk
        self._store = desk.store
        self._executions = executions
        self._legs = Legs(desk.store, desk.clock, desk.new_id, desk.sealer)
        self._keyed = KeyedCalls(desk.store, desk.clock)

    async def known(self, exchange: Exchange, catalog: Catalog, tool: str, arguments: dict[str, Any]) -> Known | Reply:
        """Return what is on record of a call with a key; a reply where policy has no more say in what came of it.

        That it ran, runs, or never will, stays true whatever policy says of the tool today.

        Raises:
            CallIdReused: the key is another call's.
        """
        key = exchange.key
        if key is None:
            raise ValueError("a call without a key is found by its arguments")
        mark = fingerprint(exchange.server, tool, arguments)
        known = await self._keyed.find(exchange.caller.agent, key, mark)
        record = known.record
        if record is None or record.state in (State.PENDING, State.APPROVED):
            return known
        if record.state is State.EXECUTING and Sealer.is_ours(exchange.params.get("requestState")):
            return known  # it may bring what its server asked for
        try:
            leg = await self._opened(exchange, mark)
        except BrokenSeal as error:
            return Reply(Frame(answers.invalid_params(exchange.id, str(error))))
        return await self._see_through(exchange, catalog, record, "", legs=leg.number if leg is not None else 0)

    async def park(
        self, exchange: Exchange, catalog: Catalog, definition: Definition, verdict: Verdict, policy_digest: str
    ) -> Reply:
        """Answer a call that policy says to ask about: now, after a hold, or as something to come back to.

        `policy_digest` is of the policy that said so; another one may be in force by the time the call is kept.
        """
        arguments = exchange.params.get("arguments") or {}
        mark = fingerprint(exchange.server, definition.name, arguments)
        holder = f"{self._store.owner}/{self._desk.new_id()}"
        try:
            leg = await self._opened(exchange, mark)
            if leg is not None and leg.token is not None:
                return await self._with_input(exchange, catalog, definition, leg)
            known = await self._joined(exchange, mark, holder)
            record = known.record
            if record is None and leg is not None:
                # What the leg stands for has ended while the client was away, and is told, not asked again.
                record = await self._store.get(leg.interruption)
            if record is None:
                record = await self._new(
                    exchange, definition, verdict, arguments, mark, policy_digest, known.interruption
                )
                if catalog.pins is not None and not definition.facts.pinned:
                    record = replace(record, pinned=await catalog.pins.pinned_definition(definition))
                recording = None
                if self._desk.recorder is not None:
                    call = Call(definition.facts, arguments, exchange.caller, record.created_at)
                    recording = self._desk.recorder.call(call)
                record = await self._kept(exchange, record, holder, recording)
        except (BrokenSeal, InterruptionNotFound) as error:
            return Reply(Frame(answers.invalid_params(exchange.id, str(error))))
        except QuotaExceeded as error:
            return Reply(Frame(answers.over_quota(exchange.id, str(error), exchange.peer.era)))
        return await self._see_through(exchange, catalog, record, holder, legs=leg.number if leg is not None else 0)

    async def resume(self, exchange: Exchange, catalog: Catalog, definition: Definition) -> Reply | None:
        """Policy allows the call by now. Return how it ended, or goes on, if it was parked before; None to run it.

        What ran, or runs, must not run a second time, and what still waits must not run later, beside this.

        Raises:
            CallIdReused: its key is another call's.
        """
        comes_back = Sealer.is_ours(exchange.params.get("requestState")) and exchange.peer.era is Era.MODERN
        if exchange.key is None and not comes_back and not await self._store.has_parked(exchange.caller.agent):
            return None
        mark = fingerprint(exchange.server, definition.name, exchange.params.get("arguments") or {})
        try:
            leg = await self._opened(exchange, mark) if comes_back else None
        except BrokenSeal as error:
            return Reply(Frame(answers.invalid_params(exchange.id, str(error))))
        if leg is not None and leg.token is not None:
            return await self._with_input(exchange, catalog, definition, leg)
        reply = await self.take_up(exchange, catalog, definition)
        if reply is not None or leg is None:
            return reply
        record = await self._store.get(leg.interruption)
        if record.state in _NEVER_RAN:
            return None
        return await self._see_through(exchange, catalog, record, "", legs=leg.number)

    async def take_up(self, exchange: Exchange, catalog: Catalog, definition: Definition) -> Reply | None:
        """The same call may be parked, and may run without approval now: see the parked one through, or put it away.

        Returns None when the call is to run: nothing like it was parked, or it still waited and now never runs.

        Raises:
            CallIdReused: its key is another call's.
        """
        mark = fingerprint(exchange.server, definition.name, exchange.params.get("arguments") or {})
        holder = f"{self._store.owner}/{self._desk.new_id()}"
        may_have_run = exchange.key is not None and exchange.key.repeated
        # Ends with the last of them; each turn puts one away for good.
        while (record := (await self._joined(exchange, mark, holder)).record) is not None:
            if record.state is not State.PENDING:
                return await self._see_through(exchange, catalog, record, holder, legs=0)
            reason = "the call needs no approval any more, and was made again"
            try:
                await self._store.apply(record.id, Supersede(at=self._desk.clock(), reason=reason))
                may_have_run = False
            except InterruptionError:
                # Somebody decided at this very moment, which the next look finds; or the same call, sent twice at
                # once, was put away by the other one, and that one runs.
                may_have_run = exchange.key is not None
            finally:
                await self._let_go(record.id, holder)
        return await self.not_repeated(exchange, definition) if may_have_run else None

    async def not_repeated(self, exchange: Exchange, definition: Definition) -> Reply:
        """It would run without approval, and may have run before without a trace: it is not sent again."""
        entry = NewEntry(
            kind=EntryKind.VERDICT,
            at=self._desk.clock(),
            server=exchange.server,
            tool=definition.name,
            agent=exchange.caller.agent,
            action=Action.DENY.value,
            because=(Because(AGENT_LAYER, "repeat"),),
            detail={"code": "not_repeated"},
        )
        await self._store.record(entry)
        return Reply(Frame(answers.not_repeated(exchange.id, definition.name, exchange.peer.era)))

    async def _joined(self, exchange: Exchange, mark: str, holder: str) -> Known:
        """Return what the call is already, by its key or, where it has none, by its arguments."""
        agent = exchange.caller.agent
        if exchange.key is not None:
            return await self._keyed.find(agent, exchange.key, mark)
        found = await self._store.attach(agent, mark, holder, now=self._desk.clock())
        return Known(found, self._desk.new_id())

    async def _kept(
        self, exchange: Exchange, record: Interruption, holder: str, recording: NewRecording | None
    ) -> Interruption:
        """Keep a new interruption; where the same key was kept at this very moment, return that one."""
        key = exchange.key
        if key is None:
            return await self._store.park(record, holder=holder, recording=recording)
        try:
            return await self._store.park(record, recording=recording)
        except (StateError, QuotaExceeded):
            # The other one may have taken the last place, too.
            first = (await self._keyed.find(exchange.caller.agent, key, record.requested_fingerprint)).record
            if first is None:
                raise
            return first

    async def _opened(self, exchange: Exchange, mark: str) -> Leg | None:
        """Return the leg that a request brings back, as `Legs.opened`, if it is of this call.

        A client may leave our keys out of what it sends with a leg; then the leg says which call it is.
        """
        leg = await self._legs.opened(exchange, mark)
        if leg is None:
            return None
        with suppress(InterruptionNotFound):
            record = await self._store.get(leg.interruption)
            if exchange.key is None:
                exchange.key = CallKey.of(record)
            elif not exchange.key.names(record):
                raise BrokenSeal("the `requestState` belongs to another call; send this call without it")
        return leg

    async def _see_through(
        self, exchange: Exchange, catalog: Catalog, record: Interruption, holder: str, *, legs: int
    ) -> Reply:
        now_please = exchange.meta.get(PARK_KEY) == "now"
        budget = 0.0 if now_please else self._desk.budgets.seconds(exchange.caller.client)
        exchange.ends_with_client = True
        asked: Run | None = None
        delivering = False
        try:
            with anyio.CancelScope() as scope:
                exchange.scope = scope
                if exchange.left:
                    scope.cancel()
                try:
                    record, asked = await self._hold(exchange, catalog, record, budget)
                except UpstreamNotReady as error:
                    reason = str(error.cause)
                    return Reply(Frame(answers.not_ready(exchange.id, error.record, reason, exchange.peer.era)))
            if scope.cancelled_caught:
                return await self._client_left(exchange, record, holder, legs)
            if asked is not None:
                return Reply(self._legs.asking(exchange, record, dict(asked.wants_input or {}), asked.token))
            if record.state not in OPEN_STATES:
                frame = Frame(answers.settled(exchange.id, record, exchange.peer.era))
                delivering = True
                return Reply(frame, _Receipt(self._store, self._desk.clock, record.id, holder))
            return Reply(self._come_back(exchange, record, legs, plain=now_please))
        finally:
            if not delivering:
                await self._let_go(record.id, holder)

    async def _let_go(self, interruption: str, holder: str) -> None:
        """The request is over without delivering: the same call may now come back for it, whatever happened here."""
        if not holder:
            return
        with anyio.CancelScope(shield=True), suppress(StateError):
            await self._store.detach(interruption, holder)

    async def _hold(
        self, exchange: Exchange, catalog: Catalog, record: Interruption, budget: float
    ) -> tuple[Interruption, Run | None]:
        """Wait until the call has ended, or the client's patience has; run the call when it is approved."""
        give_up = anyio.current_time() + budget
        while record.state in OPEN_STATES:
            if record.state is State.APPROVED:
                record = await self._dispatch(exchange, catalog, record)
                continue
            run = self._executions.find(record.id)
            if run is not None:
                # Running here: now the client waits for the tool, as it would without us, and gives up by itself.
                await run.finished.wait()
                if run.wants_input is not None:
                    return run.record, run
                record = run.record
                continue
            left = give_up - anyio.current_time()
            if left <= 0:
                break
            # An `executing` record of another process ends when that process, or the recovery after it, says so.
            changed = None
            with anyio.move_on_after(min(HEARTBEAT_SECONDS, left)):
                changed = await self._store.wait_change(record.id, record.revision)
            if changed is not None:
                record = changed
            elif anyio.current_time() < give_up:
                await self._beat(exchange, record)
        return record, None

    async def _dispatch(self, exchange: Exchange, catalog: Catalog, record: Interruption) -> Interruption:
        """Run an approved call, if everything it was approved under still holds."""
        try:
            await self._refresh(exchange, catalog)
        except UpstreamError as error:
            # Not claimed, so still approved: the same call can come back for it when the server does.
            raise UpstreamNotReady(record, error) from error
        definition = catalog.find(record.tool)
        changed = self.what_changed(exchange, record, definition)
        try:
            if changed is not None or definition is None:
                reason = changed or "the tool is gone"
                return await self._store.apply(record.id, Supersede(at=self._desk.clock(), reason=reason))
            run = await self._executions.start(record, definition, exchange)
        except InterruptionError as error:
            # Somebody was faster, or time was up; the record says which.
            return error.interruption
        return run.record

    async def _refresh(self, exchange: Exchange, catalog: Catalog) -> None:
        try:
            await catalog.refresh(exchange.link, exchange.peer)
        except SessionGone:
            if exchange.renew is None:
                raise
            exchange.link = await exchange.renew()
            await catalog.refresh(exchange.link, exchange.peer)

    def what_changed(self, exchange: Exchange, record: Interruption, definition: Definition | None) -> str | None:
        """Say in a few words why an approval no longer applies; None when it does."""
        if definition is None:
            return "its server no longer lists the tool"
        if definition.digest != record.definition_digest:
            return "the tool's definition changed after the call was parked"
        call = Call(definition.facts, record.arguments, exchange.caller, self._desk.clock())
        return overruled(self._desk.policy().decide(call), record)

    async def run_task(self, exchange: Exchange, catalog: Catalog, record: Interruption) -> Interruption:
        """The agent looks after its task and the call is approved: start it, and return where it stands."""
        # Nobody could be asked for input, so the server is not told of anybody who could.
        params = {"_meta": envelope()}
        body = {"jsonrpc": "2.0", "id": exchange.id, "method": "tools/call", "params": params}
        # Nobody listens on the exchange that only asked how things are.
        alone = replace(exchange, frame=Frame(body), left=True, scope=None)
        try:
            return await self._dispatch(alone, catalog, record)
        except UpstreamNotReady:
            return record

    def receipt(self, record: Interruption) -> Callable[[bool], Awaitable[None]]:
        """Return what counts this ended call as delivered once its answer is written."""
        return _Receipt(self._store, self._desk.clock, record.id, "")

    async def _beat(self, exchange: Exchange, record: Interruption) -> None:
        token = exchange.progress_token
        if token is None:
            return
        exchange.heartbeats += 1
        params = {
            "progressToken": token,
            "progress": exchange.heartbeats,
            "message": answers.status_text(record),
        }
        await exchange.emit(Frame({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))

    async def _new(
        self,
        exchange: Exchange,
        definition: Definition,
        verdict: Verdict,
        arguments: dict[str, Any],
        mark: str,
        policy_digest: str,
        fresh: str,
    ) -> Interruption:
        now = self._desk.clock()
        because, key = verdict.because, exchange.key
        if key is not None and key.repeated:
            # Who decides has to know: it may have run at a time when nobody needed to be asked.
            because = (*because, Because(AGENT_LAYER, "repeat"))
        meta = exchange.meta
        return Interruption(
            id=fresh,
            server=exchange.server,
            tool=definition.name,
            arguments=arguments,
            requested_arguments=arguments,
            fingerprint=mark,
            requested_fingerprint=mark,
            definition=dict(definition.raw),
            definition_digest=definition.digest,
            policy_digest=policy_digest,
            requested_by=Requester(
                agent=exchange.caller.agent,
                client=exchange.caller.client,
                client_version=exchange.caller.client_version,
                run_id=_word(meta.get(RUN_KEY)),
                call_id=_word(meta.get(CALL_KEY)),
                agent_path=_path(meta.get("holdshort/agent_path")),
                acts_for=self._desk.acts_for(exchange.caller.agent),
            ),
            because=because,
            terms=verdict.terms,
            created_at=now,
            expires_at=now + verdict.terms.expires_after,
            dispatch_window=self._desk.dispatch_window,
            review_url=await self._desk.review_url(fresh),
            keyed=key is not None,
        )

    async def _client_left(self, exchange: Exchange, record: Interruption, holder: str, legs: int) -> Reply:
        run = self._executions.find(record.id)
        if not exchange.withdrawn and run is not None and exchange.peer.era is Era.LEGACY:
            # The client may repeat the call, which joins the run, or resume the stream (MCP 2025-11-25, transports),
            # where it finds the result.
            await self._let_go(record.id, holder)
            with anyio.CancelScope() as exchange.scope:
                await run.finished.wait()
        if not exchange.withdrawn:
            # For the replay buffer of a session whose client may yet resume the stream.
            record = await self._store.get(record.id)
            if record.state not in OPEN_STATES:
                return Reply(Frame(answers.settled(exchange.id, record, exchange.peer.era)))
            return Reply(self._come_back(exchange, record, legs, plain=True))
        self._executions.cancel(record.id)
        try:
            event = Withdraw(at=self._desk.clock(), by=exchange.caller.agent, reason="the client cancelled it")
            await self._store.apply(record.id, event)
        except InterruptionError:
            pass  # decided or running by now; cancelling cannot undo that
        return Reply(None)

    def _come_back(self, exchange: Exchange, record: Interruption, legs: int, *, plain: bool) -> Frame:
        peer = exchange.peer
        if not plain and peer.supports_tasks():
            return Frame(result_reply(exchange.id, {"resultType": "task", **task_handle(record, self._desk.clock())}))
        if not plain and peer.comes_back() and legs < MAX_LEGS:
            return self._legs.waiting(exchange, record, legs + 1)
        return Frame(answers.waiting(exchange.id, record, peer.era))

    async def _with_input(self, exchange: Exchange, catalog: Catalog, definition: Definition, leg: Leg) -> Reply:
        """The client brings the input that a running call waits for; it is still the same one run."""
        run = self._executions.find(leg.interruption)
        holder = f"{self._store.owner}/{self._desk.new_id()}"
        if run is not None and run.token == leg.token and run.wants_input is not None:
            self._executions.resume(run, leg.upstream_state, definition, exchange)
            return await self._see_through(exchange, catalog, run.record, holder, legs=0)
        try:
            record = await self._store.get(leg.interruption)
        except InterruptionNotFound:
            reason = "the `requestState` belongs to a call this proxy no longer knows"
            return Reply(Frame(answers.invalid_params(exchange.id, reason)))
        return await self._see_through(exchange, catalog, record, holder, legs=0)


def overruled(verdict: Verdict, record: Interruption) -> str | None:
    """Say in a few words why what was parked is not what policy says now; None when an approval of it still counts."""
    if verdict.action in (Action.DENY, Action.HIDE):
        return "policy forbids the call now"
    # Whether a grant could have answered is over once a person has; accepting a definition alone changes it.
    if verdict.action is Action.ASK and replace(verdict.terms, grants=record.terms.grants) != record.terms:
        return "policy now asks for approval on other terms"
    return None


class UpstreamNotReady(HoldshortError):
    """Raised when an approved call cannot be sent because its server cannot be reached; it stays approved."""

    code = "upstream_not_ready"

    def __init__(self, record: Interruption, cause: UpstreamError) -> None:
        super().__init__(f"interruption `{record.id}` is approved but cannot run yet: {cause}")
        self.record = record
        self.cause = cause


class _Receipt:
    """Counts an outcome as delivered once the edge has written it; otherwise leaves it for the next call to fetch."""

    __slots__ = ("_clock", "_holder", "_id", "_store")

    def __init__(self, store: Store, clock: Callable[[], datetime], interruption: str, holder: str) -> None:
        self._store = store
        self._clock = clock
        self._id = interruption
        self._holder = holder

    async def __call__(self, delivered: bool) -> None:
        # The client has its answer either way; what cannot be noted now is delivered once more.
        with anyio.CancelScope(shield=True), suppress(StateError):
            if delivered:
                await self._store.apply(self._id, Deliver(at=self._clock()))
            else:
                await self._store.detach(self._id, self._holder)


_LONGEST_PATH: Final = 32


def _path(value: object) -> tuple[str, ...]:
    steps = value[:_LONGEST_PATH] if isinstance(value, list) else []
    return tuple(step[:200] for step in steps if isinstance(step, str))


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 200 else None
