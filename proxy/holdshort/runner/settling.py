"""The desk at which one call is settled: what the modules in `kinds/` get of the run around it.

A call is settled when it has an output, or is parked. Whatever must not be forgotten is saved before it is acted on:
that a call is begun, before it is; what came of it, before the model is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdshort.runner.data import CallData, CallKind, CallStatus, Item, RunData
from holdshort.runner.errors import UserError
from holdshort.runner.items import answer_item
from holdshort.runner.tools import RunContext, ToolContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.config import RunConfig
    from holdshort.runner.hooks import Hooks
    from holdshort.runner.mcp_link import ProxyLink
    from holdshort.runner.tracing import RunTrace

__all__ = ["Desk"]

RunInside = Callable[["Desk", CallData, "Agent[Any]", str, int | None], Awaitable[RunData]]


@dataclass(slots=True, eq=False)
class Desk:
    """What settling a call needs, for one agent's open turn."""

    agent: Agent[Any]
    data: RunData
    link: ProxyLink | None
    """Where its approvals are decided; None where nothing is."""
    context: RunContext[Any]
    config: RunConfig
    hooks: Hooks
    trace: RunTrace
    run_id: str
    """Of the outermost run: the proxy knows all calls under it."""
    path: tuple[str, ...]
    """Names of agents, from the outermost run's to this one."""
    saver: Callable[[], Awaitable[None]]
    inner: RunInside
    root_rejections: Sequence[Mapping[str, Any]] = ()
    """What is always rejected in this run: `RunData.rejections` of the outermost."""
    earlier: frozenset[str] = field(default=frozenset())
    """Keys of calls that another process may have begun: found as sent in the state that was gone on from."""

    def repeated(self, call: CallData) -> bool:
        """Whether the call may have been begun before this process took it over."""
        return call.key in self.earlier

    def tool_context(self, call: CallData, arguments: str) -> ToolContext[Any]:
        """Return what a tool is given: `arguments` is the JSON text that is run."""
        return ToolContext(
            context=self.context.context,
            run_id=self.run_id,
            usage=self.context.usage,
            tool_name=call.name,
            call_id=call.call_id,
            arguments=arguments,
            agent=self.agent,
            key=f"{self.run_id}:{call.key}",
        )

    def require_link(self, call: CallData) -> ProxyLink:
        """Return the proxy that decides.

        Raises:
            UserError: there is none, so the call cannot be approved by anybody.
        """
        if self.link is None:
            raise UserError(
                f"`{call.name}` needs approval, and agent `{self.agent.name}` has no proxy that could give it; "
                "pass `proxy=ApprovalProxy(...)`"
            )
        return self.link

    async def save(self) -> None:
        """Make what is known durable before going on."""
        await self.saver()

    async def parked(self, call: CallData, record: Mapping[str, Any]) -> None:
        """The call waits for a person."""
        call.status, call.interruption = CallStatus.PARKED, dict(record)
        await self.save()

    async def claimed(self, call: CallData, record: Mapping[str, Any], token: int) -> None:
        """The call was taken and is about to run."""
        call.status, call.interruption, call.token = CallStatus.CLAIMED, dict(record), token
        await self.save()

    async def finish(self, call: CallData, output: str | list[Item] | Item) -> None:
        """The call has its output: a text or parts for the model, or the whole item."""
        call.output, call.status = answer_item(call, output), CallStatus.DONE
        await self.save()

    def accept(self, call: CallData) -> bool:
        """Let a handoff count, unless another one of this turn does."""
        if any(other.accepted for other in self.data.calls if other is not call):
            return False
        call.accepted = call.kind is CallKind.HANDOFF
        return call.accepted

    async def rejection_text(self, call: CallData, text: str) -> str:
        """Return what the model is told about a rejected call: the program's own words, where it has any."""
        return await self.config.tool_error_text("approval_rejected", call.name, call.call_id, text, self.context)

    async def run_inside(self, call: CallData, agent: Agent[Any], given: str, max_turns: int | None) -> RunData:
        """Run `agent` for this call, or go on with the run that it has; it may come back waiting."""
        return await self.inner(self, call, agent, given, max_turns)
