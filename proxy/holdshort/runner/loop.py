"""The loop of one run: settle the open turn, stop if somebody must decide, else ask the model, until it is done.

An async generator of events, the same for streamed and plain runs. Whatever it learns is saved before it is acted on,
so that a process that is killed anywhere loses at most one answer of the model. No task group and no cancel scope is
open across a `yield`: a stream may be abandoned at any event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from holdshort.runner.agent import Agent
from holdshort.runner.data import CallData, Entry, Item, RunData, RunStatus, Source
from holdshort.runner.error_handlers import handled
from holdshort.runner.errors import (
    GuardrailFailed,
    GuardrailTripped,
    MaxTurnsExceeded,
    ModelBehaviorError,
    RunError,
)
from holdshort.runner.events import AgentUpdatedStreamEvent, StreamEvent, ToolApprovalRequired
from holdshort.runner.ground import Ground
from holdshort.runner.guardrails import check_input, check_output
from holdshort.runner.interruption import interruption_of
from holdshort.runner.items import as_given, message_text
from holdshort.runner.job import Job
from holdshort.runner.kinds.hosted import forget
from holdshort.runner.model_half import ask
from holdshort.runner.output import output_schema
from holdshort.runner.responses import refusal_of
from holdshort.runner.settling import Desk
from holdshort.runner.tool_half import close, settle
from holdshort.runner.turn import has_last_words, take_queued

if TYPE_CHECKING:
    from holdshort.runner.mcp_link import ProxyLink

__all__ = ["Loop"]


class Loop:
    """One run: the outermost, or one that a tool started."""

    def __init__(
        self,
        job: Job,
        agents: dict[str, Agent[Any]],
        data: RunData,
        *,
        path: tuple[str, ...] = (),
        outer: str = "",
        inherited: ProxyLink | None = None,
    ) -> None:
        self.data = data
        self.ground = Ground(job, agents, data, self.run_inside, path, outer, inherited)

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """Go on until the run is done, waits for somebody, or fails. `data.status` says which of the first two.

        Raises:
            RunnerError: the run cannot go on; what is saved is whole.
            Stopped: the program wished so.
        """
        ground, data = self.ground, self.data
        data.status = RunStatus.RUNNING
        yield AgentUpdatedStreamEvent(ground.agent)
        if not data.started:
            await self._begin()
        while True:
            if data.calls:
                await ground.watched(partial(settle, ground))
                waiting = list(data.open_calls())
                if waiting:
                    data.status = RunStatus.WAITING
                    await ground.job.save()
                    if ground.is_outermost:
                        for call, path in waiting:
                            yield ToolApprovalRequired(interruption_of(call, path))
                    return
                if any(call.is_open for call in data.calls):
                    raise RunError("a call is neither answered nor waiting; go on from the state")
                events, switched = await close(ground)
                for event in events:
                    yield event
                if switched:
                    yield AgentUpdatedStreamEvent(ground.agent)
            silent = ground.silent and not data.queued
            take_queued(data)
            if silent or has_last_words(data):
                # Said before a process died, or before a guardrail ended the run: the model is not asked twice.
                await self._finish()
                return
            ground.stop_if_wished()
            if data.max_turns is not None and data.turn >= data.max_turns:
                await self._too_many_turns()
                return
            async with aclosing(ask(ground)) as asked:
                async for event in asked:
                    yield event

    # -- the beginning

    async def _begin(self) -> None:
        """Once for each run, never again after a pause: guardrails on the input."""
        data, job, agent = self.data, self.ground.job, self.ground.agent
        given = as_given([entry.item for entry in data.history if entry.source is Source.INPUT])
        guardrails = [
            *self.ground.agent.input_guardrails,
            *(job.config.input_guardrails if self.ground.is_outermost else ()),
        ]
        try:
            results = await check_input(guardrails, job.context, agent, given)
        except (GuardrailTripped, GuardrailFailed) as tripped:
            data.input_guardrails = [result.record() for result in tripped.results]
            raise
        data.input_guardrails = [result.record() for result in results]
        data.started = True
        await self.ground.hooks().agent_start(job.context, agent)
        await job.save()

    # -- the end

    async def _finish(self) -> None:
        """Take the model's last words as the result."""
        data, agent = self.data, self.ground.agent
        last = data.last_response_id
        said = [entry for entry in data.history if entry.source is Source.MODEL and entry.response_id == last]
        # The last message, as far as there are several: those before it are on the way there.
        messages = [entry.item for entry in said if entry.item.get("type", "message") == "message"]
        text = message_text(messages[-1]) if messages else ""
        output = output_schema(agent.output_type)
        value: Any = text
        if output is not None:
            refused = refusal_of([entry.item for entry in said])
            if refused is not None:
                raise ModelBehaviorError(f"the model refused: {refused}")
            value = output.parse(text)
        data.final_output = text if output is None else output.to_json(value)
        guardrails = [
            *agent.output_guardrails,
            *(self.ground.job.config.output_guardrails if self.ground.is_outermost else ()),
        ]
        try:
            results = await check_output(guardrails, self.ground.job.context, agent, value)
        except (GuardrailTripped, GuardrailFailed) as tripped:
            data.output_guardrails = [result.record() for result in tripped.results]
            data.final_output = None
            raise
        data.output_guardrails = [result.record() for result in results]
        await self._end(value)

    async def _end(self, value: Any) -> None:
        data = self.data
        await self.ground.keep_in_session()
        if data.awaited:
            await forget(await self.ground.desk())
        data.status = RunStatus.DONE
        await self.ground.job.save()
        await self.ground.hooks().agent_end(self.ground.job.context, self.ground.agent, value)

    async def _too_many_turns(self) -> None:
        data, job = self.data, self.ground.job
        problem = MaxTurnsExceeded(
            f"the model was asked {data.turn} times and is not done; go on from the state with a larger `max_turns`"
        )
        handler = job.error_handlers.get("max_turns")
        result = None
        if handler is not None and self.ground.is_outermost:
            result = await handled(handler, problem, self.ground.agent, data, job.context)
        if result is None:
            raise problem
        data.final_output = result.final_output
        if result.include_in_history and isinstance(result.final_output, str):
            message = {"role": "assistant", "content": result.final_output}
            data.history.append(Entry(message, Source.INPUT, data.agent))
        await self._end(result.final_output)

    # -- runs inside

    async def run_inside(
        self, desk: Desk, call: CallData, agent: Agent[Any], given: str, max_turns: int | None
    ) -> RunData:
        """Run an agent for a call of this run, or go on with the run it has."""
        if call.run is None:
            item: Item = {"role": "user", "content": given}
            call.run = RunData(
                run_id=desk.run_id,
                agent=agent.name,
                first_agent=agent.name,
                max_turns=max_turns,
                history=[Entry(item, Source.INPUT, agent.name)],
            )
            await desk.save()
        if call.run.status is not RunStatus.DONE:
            inner = Loop(
                self.ground.job, self.ground.agents, call.run, path=desk.path, outer=call.key, inherited=desk.link
            )
            with self.ground.job.trace.agent_started(agent.name):
                async with aclosing(inner.events()) as events:
                    async for _ in events:
                        pass
        return call.run
