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
from holdshort.runner.data import Item, RunData
from holdshort.runner.drift import DriftWarning, differences, fingerprint
from holdshort.runner.errors import UserError
from holdshort.runner.graph import agents_of
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.items import input_items
from holdshort.runner.plain import checked
from holdshort.runner.signing import Secret
from holdshort.runner.snapshot import Snapshot, read, read_text, write

if TYPE_CHECKING:
    from holdshort.runner.proxy import ApprovalProxy

__all__ = ["RunState"]


class RunState:
    """One run, its agents, and the proxy that decides. `Runner.run(agent, state)` goes on from here."""

    def __init__(self, agent: Agent[Any], data: RunData, *, proxy: ApprovalProxy | None = None) -> None:
        self.agent = agent
        """The agent that the run began with."""
        self.data = data
        self.proxy = proxy
        """In place of the agents' own proxies, where it is given."""

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
        """
        self.data.queued.extend(checked(input_items(given)))

    # -- saving

    def to_json(self, *, secret: Secret | None = None) -> dict[str, Any]:
        """Return the state as plain JSON, as `run-state.schema.json` says; signed if there is a secret.

        Raises:
            UserError: two agents have one name, or the secret is too short.
            StateDamaged: something in the run is no JSON; the message names the place.
        """
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
        if data.first_agent != agent.name:
            raise UserError(f"the state is of a run that began with agent `{data.first_agent}`, not `{agent.name}`")
        agents = agents_of(agent)
        for name in dict.fromkeys(_agents_needed(data)):
            if name not in agents:
                raise UserError(f"the state needs agent `{name}`, which `{agent.name}` cannot reach")
        changed = differences(prints, agent)
        if changed:
            warnings.warn(
                f"agents are not what they were when run `{data.run_id}` was saved: {'; '.join(changed)}",
                DriftWarning,
                stacklevel=3,
            )
        return cls(agent, data, proxy=proxy)


def _agents_needed(data: RunData) -> list[str]:
    inner = [name for call in data.calls if call.run is not None for name in _agents_needed(call.run)]
    return [data.agent, data.first_agent, *(call.agent for call in data.calls), *inner]
