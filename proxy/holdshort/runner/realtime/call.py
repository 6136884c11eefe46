"""One call of a realtime session while a task works for it, and what an error in the middle of it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from holdshort.runner import texts
from holdshort.runner.connection import Patience
from holdshort.runner.data import CallData, CallKind, Item
from holdshort.runner.errors import ProxyError, ProxyUnreachable, RunnerError, UserError
from holdshort.runner.hooks import Hooks
from holdshort.runner.interruption import Interruption
from holdshort.runner.parked import is_passing
from holdshort.runner.tools import RunContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.hooks import RunHooks
    from holdshort.runner.proxy import ApprovalProxy
    from holdshort.runner.toolbox import AnyTool

__all__ = ["LiveCall", "Shown", "TellingHooks", "last_words", "may_have_run", "passes", "patience"]

_TRY_SECONDS: Final = 60.0
"""So much time, in pauses, a call is tried for that no person knows of yet: later it would be a surprise."""
_LONGEST_PAUSE_SECONDS: Final = 5.0


def patience() -> Patience:
    """Return how long a call is tried for while the proxy is away."""
    return Patience(longest_seconds=_LONGEST_PAUSE_SECONDS, budget_seconds=_TRY_SECONDS)


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call that a task brings to its end."""

    item: Item
    agent: Agent[Any]
    call: CallData | None = None
    """None until it is known what it calls."""
    tool: AnyTool | None = None
    started: bool = False
    """Whether `tool_start` was told."""
    repeated: bool = False
    """Whether it may have been begun, or sent, before."""
    trouble: str | None = None
    """What was told last of an error that is not over."""
    patience: Patience = field(default_factory=patience)


@dataclass(frozen=True, slots=True)
class Shown:
    """A call that waits, as it was shown: what a decision is about."""

    interruption: Interruption
    call: CallData
    """As it was then; nothing changes it any more."""
    proxy: ApprovalProxy


class TellingHooks(Hooks):
    """The program's hooks, and `tell` when they have let a tool start."""

    def __init__(
        self, run: RunHooks[Any] | None, agent: Agent[Any], tell: Callable[[RunContext[Any], Any], None]
    ) -> None:
        """As for `Hooks`; `tell` gets the call's context and the tool."""
        super().__init__(run, agent)
        self._tell = tell

    async def tool_start(self, context: RunContext[Any], agent: Agent[Any], tool: Any) -> None:
        """Tell that `tool` is about to be called."""
        await super().tool_start(context, agent, tool)
        self._tell(context, tool)


def passes(problem: Exception) -> bool:
    """Say whether an error is about the proxy, or a server, at this moment."""
    if isinstance(problem, ProxyError) and problem.reason == "upstream_not_ready":
        return True
    return isinstance(problem, RunnerError) and is_passing(problem)


def may_have_run(live: LiveCall, call: CallData, problem: Exception) -> bool:
    """Say whether a call may have been begun by now, when `problem` came in the middle of it."""
    if call.kind is not CallKind.MCP:
        return live.started
    if isinstance(problem, ProxyUnreachable):
        return problem.sent
    if isinstance(problem, ProxyError):
        return problem.reason != "call_id_reused" and not 400 <= problem.status < 500
    return not isinstance(problem, UserError)


def last_words(live: LiveCall, call: CallData) -> str:
    """Return what the model is told of a call that is given up after an error, which the program was told."""
    if call.run is not None:
        return texts.agent_failed(call.name, "it stopped with an error")
    if live.repeated:
        return texts.sent_and_lost(call.name, "there was an error on the way")
    return texts.not_called(call.name)
