"""A run that can be put away: saved as JSON, gone on from in any process, and decided about in the meantime.

Its interruptions are decided at the proxy and nowhere else. What is saved is a bookmark: whoever changes it can lose
the place, and can let nothing run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdshort.runner.agent import Agent
from holdshort.runner.data import Item, RunData, RunStatus
from holdshort.runner.decisions import Always, Decision, Outbox, answer_content, rejection_of, remember_of
from holdshort.runner.drift import DriftWarning, differences, fingerprint
from holdshort.runner.errors import BadEvent, UserError
from holdshort.runner.graph import agents_of, require_agents
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.items import input_items
from holdshort.runner.parked import Parked, find_parked, is_about, parked_calls, take
from holdshort.runner.plain import checked
from holdshort.runner.signing import Secret
from holdshort.runner.snapshot import Snapshot, read, read_text, write
from holdshort.runner.waiting import Changes, Need, Via, changes_of, reread, wait_for
from holdshort.runner.webhooks import Headers, WebhookSecret, read_event

if TYPE_CHECKING:
    from holdshort.runner.proxy import ApprovalProxy

__all__ = ["RunState"]

_EVENTS_KEPT = 1000


class RunState:
    """One run, its agents, and the proxy that decides. `Runner.run(agent, state)` goes on from here."""

    def __init__(self, agent: Agent[Any], data: RunData, *, proxy: ApprovalProxy | None = None) -> None:
        self.agent = agent
        """The agent that the run began with."""
        self.data = data
        self.proxy = proxy
        """In place of the agents' own proxies, where it is given."""
        self.is_running = False
        """Whether a run goes on from it right now; that run works on `data` itself."""
        self._outbox = Outbox(data)
        self._heard: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"RunState({self.run_id!r}, revision {self.revision}, {self.data.status.value})"

    @property
    def run_id(self) -> str:
        """Names the run, here and at the proxy."""
        return self.data.run_id

    @property
    def revision(self) -> int:
        """Grows with every durable point; of two states of one run, the later one is the one to go on from."""
        return self.data.revision

    @property
    def current_agent(self) -> Agent[Any]:
        """The agent whose turn it is.

        Raises:
            UserError: it cannot be reached from the first one.
        """
        agents = agents_of(self.agent)
        if self.data.agent not in agents:
            raise UserError(f"the run is at agent `{self.data.agent}`, which `{self.agent.name}` cannot reach")
        return agents[self.data.agent]

    def get_interruptions(self) -> list[Interruption]:
        """Return the calls that wait, in the model's order, those of runs inside included."""
        return [interruption_of(call, path) for call, path in self.data.open_calls()]

    def add_input(self, given: str | Sequence[Item]) -> None:
        """Say something more: it goes to the model after the outputs of the calls that are open.

        Raises:
            StateDamaged: an item is not plain JSON.
            UserError: the run is done.
        """
        if self.data.status is RunStatus.DONE:
            raise UserError("the run is done; begin another one with `result.to_input_list()` and what is to be said")
        self.data.queued.extend(checked(input_items(given)))
        self.data.revision += 1

    # -- deciding

    def approve(
        self,
        interruption: Interruption,
        always_approve: bool = False,
        *,
        always: bool | Always | None = None,
        message: str | None = None,
    ) -> Decision:
        """Let exactly this call run.

        Args:
            interruption: One of `get_interruptions()`.
            always_approve: The same as `always=True`.
            always: Also let calls like it run unasked for a while, as a standing grant that the proxy keeps: `True` for
                the same arguments, or an `Always`.
            message: A note in the decision log.

        Raises:
            UserError: it is not an interruption of this state.
            DecisionConflict: it has ended, and the model was told how.
            StateDamaged: what it shows is not what would be decided about.
        """
        remember = remember_of(always if always is not None else always_approve, interruption)
        said = {"message": message, "remember": remember}
        return self._decide("approve", interruption, {key: each for key, each in said.items() if each is not None})

    def edit(self, interruption: Interruption, arguments: Mapping[str, Any], *, note: str | None = None) -> Decision:
        """Let it run with other arguments, which schema and policy are asked about. The model is told what ran."""
        said: dict[str, Any] = {"arguments": checked(dict(arguments))}
        return self._decide("edit", interruption, said if note is None else {**said, "message": note})

    def reject(
        self,
        interruption: Interruption,
        always_reject: bool = False,
        *,
        message: str | None = None,
        rejection_message: str | None = None,
        always: bool | Always | None = None,
    ) -> Decision:
        """Do not run it.

        Args:
            interruption: One of `get_interruptions()`.
            always_reject: The same as `always=True`.
            message: The reason, which the model is told.
            rejection_message: The same.
            always: Also reject calls like it for the rest of this run, without asking: `True` for the same arguments,
                `Always(arguments="any")` for every call of this tool.

        Raises:
            UserError: it is not an interruption of this state, or `always` is limited as no rejection is.
        """
        reason = message if message is not None else rejection_message
        call = self._find(interruption).call
        beyond = rejection_of(always if always is not None else always_reject, interruption, call, reason)
        said = {} if reason is None else {"message": reason}
        return self._decide("reject", interruption, said, beyond)

    def respond(self, interruption: Interruption, output: Any) -> Decision:
        """Do not run it; give the model this in the tool's place: text, MCP content blocks, or other JSON as text."""
        return self._decide("respond", interruption, {"content": answer_content(output)})

    async def submit(self) -> None:
        """Send the decisions that were not awaited, in the order in which they were made. `Runner.run` does it first.

        Every one is tried. One that did not reach the proxy stays for the next time; one that it refused is gone.

        Raises:
            DecisionError: one was not taken: `DecisionConflict`, `ApprovalExpired`, `DefinitionChanged`,
                `OutcomeUnknown`. Where several went wrong this is the first, with the others as notes.
            ProxyError: the proxy refused for another reason, or was not reached.
            UserError: there is no approver's token.
        """
        await self._outbox.send_all()

    # -- looking, and waiting

    async def sync(self) -> Changes:
        """Read every call that waits at the proxy again, and say how they stand.

        Raises:
            ProxyError: one could not be read, or the proxy was not reached; what was read is kept.
            StateDamaged: a record is about another call, so the state was changed.
        """
        return self._noted(await reread(self._parked(), self.run_id))

    async def wait(self, timeout: float | None = None, need: Need = "any", via: Via = "sse") -> Changes:
        """Send what is decided here, then wait until it is worth going on, and return how the calls stand.

        Nothing is raised when time is up: `changes.enough(need)` says whether it was in time. Put `anyio.fail_after`
        around it to have it raise. The proxy may go away and come back meanwhile; only the first look needs it there.

        Args:
            timeout: Seconds; None waits as long as it takes. 0 only looks.
            need: `any`: one call is settled. `all`: none is pending or running elsewhere.
            via: `sse` follows the proxy's events; `poll` sends requests that wait, for networks that cut streams.

        Raises:
            DecisionError: a decision that was made here was not taken; see `submit`.
            ProxyError: the proxy refuses, or was not there at first.
            StateDamaged: a record is about another call, so the state was changed.
        """
        await self.submit()
        return self._noted(await wait_for(self._parked(), self.run_id, timeout=timeout, need=need, via=via))

    def apply_event(self, headers: Headers, body: bytes, secret: WebhookSecret) -> Changes:
        """Take a signed webhook for the hint that it is: show the newer record. Nothing is decided by it.

        An event about another run's call, or older than what is known, changes nothing. `body` is the bytes as they
        came, `secret` is `whsec_...`, or several while it is being replaced.

        Raises:
            BadEvent: not signed with the secret, more than 5 minutes off, heard by this state before, or no event.
        """
        event = read_event(headers, body, secret)
        if event.id in self._heard:
            raise BadEvent(f"the event `{event.id[:80]}` came before")
        self._heard[event.id] = None
        if len(self._heard) > _EVENTS_KEPT:
            del self._heard[next(iter(self._heard))]
        parked = self._parked()
        updated = [
            each.id
            for each in parked
            if each.id == event.record["id"]
            and is_about(event.record, each.call, self.run_id)
            and event.record["revision"] > int((each.call.interruption or {}).get("revision", -1))
            and take(each, event.record, self.run_id)
        ]
        return self._noted(changes_of(parked, updated))

    def _noted(self, changes: Changes) -> Changes:
        self.data.revision += bool(changes.updated)
        return changes

    def _decide(
        self, kind: Any, interruption: Interruption, said: Mapping[str, Any], rejection: dict[str, Any] | None = None
    ) -> Decision:
        return self._outbox.add(kind, interruption, self._find(interruption), said, rejection)

    def _find(self, interruption: Interruption) -> Parked:
        return find_parked(interruption, self.data, agents_of(self.agent), self.proxy)

    def _parked(self) -> Sequence[Parked]:
        return parked_calls(self.data, agents_of(self.agent), self.proxy)

    # -- saving

    def to_json(self, *, secret: Secret | None = None) -> dict[str, Any]:
        """Return the state as plain JSON, as `run-state.schema.json` says; signed if there is a secret.

        Raises:
            UserError: a decision is not sent yet, two agents have one name, or the secret is too short.
            StateDamaged: something in the run is no JSON; the message names the place.
        """
        if len(self._outbox):
            raise UserError("a decision is not sent yet, and is never kept in a state; `await` it or `state.submit()`")
        return write(self.data, fingerprint(self.agent), secret=secret)

    def to_string(self, *, secret: Secret | None = None) -> str:
        """Return the same as text. The order of keys is kept, so that requests after it are the same to the byte."""
        return json.dumps(self.to_json(secret=secret), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    async def from_json(
        cls,
        agent: Agent[Any],
        document: Mapping[str, Any],
        *,
        secret: Secret | None = None,
        proxy: ApprovalProxy | None = None,
    ) -> RunState:
        """Return the state that was saved, for the agent that the run began with. Nobody is asked, nothing is run.

        Warns with `DriftWarning` where agents are not what they were.

        Args:
            agent: The one that the run began with; all others are found from there, by name.
            document: As `to_json` returned it.
            secret: Where it was signed: the secret, or several of which one is right.
            proxy: In place of the agents' own.

        Raises:
            StateVersionError: this release does not read its version.
            StateTampered: its signature is wrong, missing, or there is no secret to check it with.
            StateDamaged: it is not what its schema says; the message names the place.
            UserError: it is another agent's state, or agents have one name.
        """
        return cls._restored(agent, read(document, secret=secret), proxy)

    @classmethod
    async def from_string(
        cls,
        agent: Agent[Any],
        text: str | bytes,
        *,
        secret: Secret | None = None,
        proxy: ApprovalProxy | None = None,
    ) -> RunState:
        """Return the state that was saved as text; see `from_json`."""
        return cls._restored(agent, read_text(text, secret=secret), proxy)

    @classmethod
    def _restored(cls, agent: Agent[Any], snapshot: Snapshot, proxy: ApprovalProxy | None) -> RunState:
        data, prints = snapshot
        require_agents(data, agent)
        if changed := differences(prints, agent):
            words = f"agents are not what they were when run `{data.run_id}` was saved: {'; '.join(changed)}"
            warnings.warn(words, DriftWarning, stacklevel=3)
        return cls(agent, data, proxy=proxy)
