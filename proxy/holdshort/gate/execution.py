"""An approved call runs once: intent on disk, then the bytes, then the outcome on disk, then the answer.

The run belongs to the gate, not to the client's connection: a client that hangs up does not turn a running call into
an unknown one, and finds the stored result when it asks again.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from holdshort.errors import HoldshortError, StateError
from holdshort.gate.catalog import Definition
from holdshort.gate.exchange import Exchange
from holdshort.gate.headers import parameter_headers
from holdshort.gate.legs import without_review
from holdshort.gate.meta import without_our_keys, without_our_keys_in
from holdshort.gate.methods import Era
from holdshort.gate.upstream import Link, Log, UpstreamError
from holdshort.interruption import (
    Claim,
    Finish,
    Interruption,
    InterruptionError,
    Lose,
    NotRun,
    Outcome,
    OutcomeKind,
    State,
)
from holdshort.store import Store
from holdshort.store.faults import fault
from holdshort.wire import Frame, Limits, decode

__all__ = ["Executions", "Run", "shifted"]

CANCEL_GRACE_SECONDS: Final = 5.0
"""How long a running call may still answer after its client cancelled it."""

INPUT_SECONDS: Final = 600.0
"""How long a client may take to bring the input that a running call's server asked for."""

_RESULT_LIMITS: Final = Limits(max_bytes=sys.maxsize, max_depth=512, max_keys=sys.maxsize, max_string_bytes=sys.maxsize)
"""The link has held it to its limits; a result that is too much for us now would be one that ran and nobody saw."""


@dataclass(slots=True)
class Run:
    """One running call of this process."""

    record: Interruption
    token: int
    finished: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    resumed: anyio.Event = field(default_factory=anyio.Event)
    patience: float = 0.0
    """Seconds of silence before the call counts as lost."""
    cancelled: bool = False
    link: Link | None = None
    upstream_id: str = ""
    """The request's id at the server: ours, because whoever asks for the result may use the first one's again."""
    legs: int = 0
    wants_input: Mapping[str, Any] | None = None
    """The upstream's `input_required` result, while the call waits for the client to bring input."""


class Executions:
    """Every call this process is running or has just run."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        timeout_of: Callable[[str], float],
        log: Log,
        answered: Callable[[Exchange, str, Frame], Awaitable[Frame]],
    ) -> None:
        self._log = log
        self._answered = answered
        self._store = store
        self._clock = clock
        self._timeout_of = timeout_of
        self._runs: dict[str, Run] = {}
        self._tasks: TaskGroup | None = None

    def enter(self, tasks: TaskGroup) -> None:
        """Runs live in `tasks` from now on."""
        self._tasks = tasks

    def find(self, interruption: str) -> Run | None:
        """Return the run of this process for that interruption."""
        return self._runs.get(interruption)

    async def start(self, record: Interruption, definition: Definition, exchange: Exchange) -> Run:
        """Claim the approved call and send it; returns as soon as the claim is on disk.

        The caller has judged the call again: policy still asks for it on the same terms.

        Raises:
            InterruptionError: it may not run (any more): decided otherwise, expired, or claimed by somebody else.
            StateError: the claim cannot be recorded, so nothing is sent.
        """
        claimed = await self._store.apply(
            record.id,
            Claim(
                at=self._clock(),
                agent=exchange.caller.agent,
                fingerprint=record.fingerprint,
                definition_digest=definition.digest,
                policy_digest=record.policy_digest,
            ),
        )
        if claimed.claim is None:
            raise StateError(f"interruption `{record.id}` is running without a claim; restart the proxy")
        run = Run(claimed, claimed.claim.token)
        params = without_our_keys(exchange.params) | {"name": claimed.tool, "arguments": claimed.arguments}
        params.pop("requestState", None)
        params.pop("inputResponses", None)
        self._launch(run, params, definition, exchange)
        return run

    def resume(self, run: Run, upstream_state: str | None, definition: Definition, exchange: Exchange) -> None:
        """Bring a running call the input it waits for (MCP 2026-07-28, multi round-trip requests)."""
        run.resumed.set()
        run.resumed, run.finished, run.wants_input = anyio.Event(), anyio.Event(), None
        run.scope = anyio.CancelScope()
        params = without_review(without_our_keys(exchange.params))
        params = params | {"name": run.record.tool, "arguments": run.record.arguments}
        if upstream_state is not None:
            params["requestState"] = upstream_state
        self._launch(run, params, definition, exchange)

    async def drain(self) -> None:
        """Wait until no call of this process is running. The caller sets the deadline."""
        while self._runs:
            await next(iter(self._runs.values())).finished.wait()
            await anyio.lowlevel.checkpoint()

    def heard_from(self, link: Link) -> None:
        """A server said something on this link: what runs there is not silent."""
        for run in self._runs.values():
            if run.link is link and not run.cancelled:
                run.scope.deadline = anyio.current_time() + run.patience

    def cancel(self, interruption: str) -> None:
        """The client cancelled a running call: its server is told, and may still answer where it has a way to."""
        run = self._runs.get(interruption)
        if run is None or run.cancelled or self._tasks is None:
            return
        run.cancelled = True
        if run.link is not None and run.link.era == "legacy":
            run.scope.deadline = min(run.scope.deadline, anyio.current_time() + CANCEL_GRACE_SECONDS)
            self._tasks.start_soon(_tell_cancelled, run.link, run.upstream_id)
        else:
            # Here giving the exchange up is the cancellation (MCP 2026-07-28, cancellation), and ends all talk of it.
            run.scope.cancel()

    def _launch(self, run: Run, params: dict[str, Any], definition: Definition, exchange: Exchange) -> None:
        if self._tasks is None:
            raise StateError("the gate is not running")
        self._runs[run.record.id] = run
        modern = exchange.peer.era is Era.MODERN
        headers = parameter_headers(definition, run.record.arguments) if modern else {}
        run.legs += 1
        run.link, run.upstream_id = exchange.link, f"holdshort-{run.token}-{run.legs}"
        body = {"jsonrpc": "2.0", "id": run.upstream_id, "method": "tools/call", "params": params}
        self._tasks.start_soon(self._run, run, Frame(body), headers, exchange)

    async def _run(self, run: Run, frame: Frame, headers: Mapping[str, str], exchange: Exchange) -> None:
        try:
            await self._send(run, frame, headers, exchange)
        except anyio.get_cancelled_exc_class():
            await self._stopped(run)
            raise

    async def _send(self, run: Run, frame: Frame, headers: Mapping[str, str], exchange: Exchange) -> None:
        link: Link = exchange.link
        run.patience = self._timeout_of(run.record.server)
        run.scope.deadline = anyio.current_time() + run.patience
        server = run.record.server
        late = f"server `{server}` did not answer in time"
        event: Finish | NotRun | Lose = Lose(at=self._clock(), token=run.token, reason=late)
        with run.scope:
            try:
                fault("send.half")
                reply = await link.request(frame, _Relay(exchange, run), headers=headers)
                fault("reply.read")
                # What is kept is what the agent may see: no reader of the record is shown what was withheld from it.
                reply = await self._answered(exchange, "tools/call", reply)
                event = self._judge(run, reply)
            except UpstreamError as error:
                now = self._clock()
                if error.sent:
                    event = Lose(at=now, token=run.token, reason=str(error))
                else:
                    event = NotRun(at=now, token=run.token, reason=str(error))
            except Exception as error:  # noqa: BLE001
                # One call that trips us up must not end the others; what became of it nobody can say.
                self._log.warning("execution.failed", server=server, error=type(error).__name__)
                event = Lose(at=self._clock(), token=run.token, reason="the proxy failed while it ran")
        if run.scope.cancelled_caught:
            reason = "the client cancelled it while it ran" if run.cancelled else late
            event = Lose(at=self._clock(), token=run.token, reason=reason)
        if run.wants_input is not None:
            run.finished.set()
            await self._await_input(run)
            return
        await self._conclude(run, event)

    async def _stopped(self, run: Run) -> None:
        """We are being stopped in the middle: nobody will hear the answer, so it is unknown from now on."""
        reason = "the proxy was stopped while the call ran"
        await self._conclude(run, Lose(at=self._clock(), token=run.token, reason=reason))

    def _judge(self, run: Run, reply: Frame) -> Finish | Lose:
        now = self._clock()
        try:
            value = decode(without_our_keys_in(reply).raw, _RESULT_LIMITS)
        except HoldshortError as error:
            reason = f"the answer of server `{run.record.server}` cannot be kept: {error}"
            return Lose(at=now, token=run.token, reason=reason)
        if "error" in value:
            outcome = Outcome(kind=OutcomeKind.UPSTREAM_ERROR, at=now, error=value["error"])
            return Finish(at=now, token=run.token, outcome=outcome)
        result = value["result"]
        if result.get("resultType") == "input_required":
            run.wants_input = result
        kind = OutcomeKind.TOOL_ERROR if result.get("isError") is True else OutcomeKind.OK
        return Finish(at=now, token=run.token, outcome=Outcome(kind=kind, at=now, result=result))

    async def _await_input(self, run: Run) -> None:
        with anyio.move_on_after(INPUT_SECONDS):
            # Ended by the client that brings the input (another task then owns the run), or by the deadline.
            await run.resumed.wait()
            return
        reason = "its server asked for input that the client never brought"
        await self._conclude(run, Lose(at=self._clock(), token=run.token, reason=reason))

    async def _conclude(self, run: Run, event: Finish | NotRun | Lose) -> None:
        with anyio.CancelScope(shield=True):
            try:
                run.record = await self._store.apply(run.record.id, event)
            except InterruptionError as error:
                # Somebody settled it first (an operator, or the recovery of another process): theirs stands.
                run.record = error.interruption
            except StateError:
                # Sent, and the outcome cannot be recorded: nobody may be told that it ran. The row is found as
                # `executing` of a dead owner at the next start, and becomes unknown for good.
                run.record = _as_unknown(run.record)
            self._runs.pop(run.record.id, None)
            run.finished.set()


class _Relay:
    """Passes what the server says during the call to the client, while there is one."""

    __slots__ = ("_exchange", "_run")

    def __init__(self, exchange: Exchange, run: Run) -> None:
        self._exchange = exchange
        self._run = run

    async def __call__(self, frame: Frame) -> None:
        exchange, run = self._exchange, self._run
        if not run.cancelled:
            # A sign of life: the server is at it.
            run.scope.deadline = anyio.current_time() + run.patience
        if exchange.withdrawn or (exchange.left and exchange.peer.era is Era.MODERN):
            return  # a handshake-era client may yet resume its stream
        try:
            await self._pass_on(frame)
        except Exception:  # noqa: BLE001
            # Trouble on the way to the client is no trouble of the call.
            exchange.left = True

    async def _pass_on(self, frame: Frame) -> None:
        exchange = self._exchange
        if exchange.heartbeats and frame.value.get("method") == "notifications/progress":
            frame = shifted(frame, exchange.heartbeats)
        await exchange.emit(frame)


async def _tell_cancelled(link: Link, upstream_id: str) -> None:
    params = {"requestId": upstream_id, "reason": "the client cancelled it"}
    with suppress(UpstreamError):  # a server that is gone runs nothing any more
        await link.send(Frame({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))


def shifted(frame: Frame, by: int) -> Frame:
    """Return progress that goes on from ours: it must increase (MCP, progress), and ours came first."""
    value = json.loads(frame.raw)  # read anew: the fast reader rounds large integers
    params = dict(value.get("params") or {})
    for key in ("progress", "total"):
        if isinstance(params.get(key), int | float):
            params[key] += by
    return Frame({**value, "params": params}, kind=frame.kind)


def _as_unknown(record: Interruption) -> Interruption:
    return replace(record, state=State.UNKNOWN, reason="the proxy could not record its outcome")
