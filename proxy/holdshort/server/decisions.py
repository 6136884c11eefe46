"""Whether approved calls that run at once are looked after: as soon as a policy has such a rule, and from then on."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus

from holdshort.gate.on_decision import OnDecision
from holdshort.policy import Policy

__all__ = ["DecisionsFollowed", "runs_on_decision"]


def runs_on_decision(policy: Policy) -> bool:
    """Say whether a rule says `execute: on_decision`."""
    return any(rule.execute == "on_decision" for layer in policy.layers for rule in layer.rules)


class DecisionsFollowed:
    """Starts `runner` once. A process without such rules need not hear of every change to every parked call."""

    def __init__(self, runner: OnDecision) -> None:
        self.followed = False
        self._runner = runner

    @asynccontextmanager
    async def now(self) -> AsyncGenerator[None]:
        """Follow for as long as the block lasts."""
        self.followed = True
        async with self._runner.run():
            yield

    async def from_now_on(self, *, task_status: TaskStatus[None]) -> None:
        """Follow until cancelled."""
        async with self.now():
            task_status.started()
            # Ends with the process.
            await anyio.sleep_forever()
