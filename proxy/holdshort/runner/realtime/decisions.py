"""Decisions about the calls of a realtime session, sent to the proxy as an approver from beside the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdshort.runner.data import RunData
from holdshort.runner.interruption import Interruption
from holdshort.runner.state import RunState

if TYPE_CHECKING:
    from holdshort.runner.decisions import Always, Decision
    from holdshort.runner.job import Job
    from holdshort.runner.realtime.calls import Calls

__all__ = ["RealtimeDecisions"]


class RealtimeDecisions(ABC):
    """What a session lets a program decide, where its `ApprovalProxy` has an approver's token.

    Every method takes the call's id, the interruption's id, or the interruption as it was shown, and returns it as it
    is then; the call goes on by itself. They raise:

    - `DecisionError`: it was not taken (`DecisionConflict`, `ApprovalExpired`, `DefinitionChanged`, `OutcomeUnknown`);
    - `ProxyError`: the proxy refused it for another reason, or was not reached;
    - `UserError`: no such call waits or waited, several are meant, or there is no approver's token.
    """

    async def approve_tool_call(
        self, call: str | Interruption, *, always: bool | Always = False, message: str | None = None
    ) -> Interruption:
        """Let exactly this call run.

        Args:
            call: Which.
            always: Also let calls like it run unasked for a while: a standing grant at the proxy, for this agent and
                this tool of this server. `True` for the same arguments, or an `Always`.
            message: A note in the decision log.
        """
        return await self._decide(call, lambda state, shown: state.approve(shown, always=always, message=message))

    async def reject_tool_call(
        self, call: str | Interruption, *, always: bool | Always = False, rejection_message: str | None = None
    ) -> Interruption:
        """Do not run it.

        Args:
            call: Which.
            always: Also reject calls like it for the rest of this session, without asking: of this tool of this server,
                with the same arguments, or with any by `Always(arguments="any")`.
            rejection_message: Why; the model is told.
        """
        return await self._decide(
            call, lambda state, shown: state.reject(shown, always=always, rejection_message=rejection_message)
        )

    async def edit_tool_call(
        self, call: str | Interruption, arguments: Mapping[str, Any], *, note: str | None = None
    ) -> Interruption:
        """Let it run with other arguments, which schema and policy are asked about. The model is told what ran."""
        return await self._decide(call, lambda state, shown: state.edit(shown, arguments, note=note))

    async def respond_tool_call(self, call: str | Interruption, output: Any) -> Interruption:
        """Do not run it; give the model this in the tool's place: text, MCP content blocks, or other JSON as text."""
        return await self._decide(call, lambda state, shown: state.respond(shown, output))

    @abstractmethod
    def _open(self) -> tuple[Calls, Job]:
        """Return what is open.

        Raises:
            UserError: the session is not.
        """

    async def _decide(
        self, call: str | Interruption, made: Callable[[RunState, Interruption], Decision]
    ) -> Interruption:
        calls, job = self._open()
        shown, data = calls.shown(call), job.data
        # A state of the one call as it was shown: what is known of it by now is for its own task to read.
        alone = RunData(
            run_id=data.run_id,
            agent=data.first_agent,
            first_agent=data.first_agent,
            calls=[replace(shown.call)],
            rejections=data.rejections,
        )
        rejections = len(data.rejections)
        decision = made(RunState(job.agent, alone, proxy=shown.proxy), shown.interruption)
        try:
            then = await decision
        finally:
            calls.ring(shown.interruption.id)
        if len(data.rejections) != rejections:
            await job.save()
        return replace(then, agent_path=shown.interruption.agent_path)
