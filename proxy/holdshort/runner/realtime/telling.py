"""What a realtime session says of its calls, each thing once; and which of them it has shown as waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdshort.runner.data import CallData
from holdshort.runner.errors import GuardrailTripped, UserError
from holdshort.runner.interruption import Interruption, interruption_of
from holdshort.runner.realtime.call import LiveCall, Shown
from holdshort.runner.realtime.events import (
    Mailbox,
    RealtimeError,
    RealtimeGuardrailTripped,
    RealtimeHandoffEvent,
    RealtimeToolApprovalRequired,
    RealtimeToolEnd,
    RealtimeToolStart,
    text_for_model,
)

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.parked import Parked

__all__ = ["Telling"]


class Telling:
    """Makes the events of calls."""

    def __init__(self, mailbox: Mailbox, agents: Mapping[str, Agent[Any]]) -> None:
        self._mailbox = mailbox
        self._agents = agents
        self._shown: dict[str, Shown] = {}

    def start(self, live: LiveCall, call: CallData, tool: Any, arguments: str) -> None:
        """A tool is about to run."""
        if not live.started:
            live.started = True
            agent = self._agents[call.agent]
            self._mailbox.put(RealtimeToolStart(agent=agent, tool=tool, call_id=call.call_id, arguments=arguments))

    def waiting(self, live: LiveCall, parked: Parked) -> None:
        """A call waits for a person, or what waits is another by now."""
        shown, before = parked.shown(), self._shown.get(parked.id)
        if shown.status != "pending" or (before and before.interruption.fingerprint == shown.fingerprint):
            return
        self._shown[parked.id] = Shown(shown, replace(parked.call), parked.proxy)
        self._mailbox.put(
            RealtimeToolApprovalRequired(
                interruption=shown,
                agent=self._agents[parked.path[-1]],
                tool=live.tool if parked.call is live.call else None,
                call_id=shown.call_id,
                arguments=shown.arguments,
            )
        )

    def end(self, live: LiveCall, call: CallData) -> None:
        """A call has its output."""
        item = call.output or {}
        output, agent = item.get("output", ""), self._agents[call.agent]
        self._mailbox.put(
            RealtimeToolEnd(
                agent=agent,
                tool=live.tool,
                call_id=call.call_id,
                arguments=call.arguments,
                output=output,
                item={**item, "output": text_for_model(output)},
                call_item=call.item,
                interruption=None if call.interruption is None else interruption_of(call, (agent.name,)),
            )
        )

    def handoff(self, before: Agent[Any], after: Agent[Any]) -> None:
        """Another agent has the session."""
        self._mailbox.put(RealtimeHandoffEvent(from_agent=before, to_agent=after))

    def error(self, problem: Exception, call_id: str | None) -> None:
        """Something is wrong with a call, or with an event stream."""
        if isinstance(problem, GuardrailTripped) and call_id is not None:
            results = problem.results or (problem.result,)
            self._mailbox.put(
                RealtimeGuardrailTripped(call_id=call_id, message=str(problem), guardrail_results=results)
            )
        else:
            self._mailbox.put(RealtimeError(error=problem, call_id=call_id))

    def shown(self, which: str | Interruption) -> Shown:
        """Return the call that is meant: by its id, its interruption's, or its interruption as it was shown.

        Raises:
            UserError: none is, or several are.
        """
        if isinstance(which, Interruption):
            known, name = self._shown.get(which.id), which.id
            found = [] if known is None else [replace(known, interruption=which)]
        else:
            every, name = self._shown.values(), which
            found = [each for each in every if which in (each.interruption.id, each.interruption.call_id)]
        # One that was superseded has a successor under the same key.
        if len({each.call.key for each in found}) > 1:
            raise UserError(f"several calls that wait are called `{name}`; pass the interruption of one of them")
        if not found:
            raise UserError(f"no call `{name}` of this session waits, or waited, for approval")
        return found[-1]
