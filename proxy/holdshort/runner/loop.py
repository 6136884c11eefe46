"""The loop of one run: settle the open turn, stop if somebody must decide, else ask the model, until it is done.

An async generator of events, the same for streamed and plain runs. Whatever it learns is saved before it is acted on,
so that a process that is killed anywhere loses at most one answer of the model. No task group and no cancel scope is
open across a `yield`: a stream may be abandoned at any event.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from holdshort.runner.agent import Agent
from holdshort.runner.config import filtered_input
from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, Item, RunData, RunStatus, Source, UsageData
from holdshort.runner.error_handlers import handled
from holdshort.runner.errors import (
    GuardrailFailed,
    GuardrailTripped,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelError,
    PreviousResponseGone,
    RunError,
    RunnerError,
    UserError,
)
from holdshort.runner.events import (
    AgentUpdatedStreamEvent,
    RawResponsesStreamEvent,
    RunItemStreamEvent,
    StreamEvent,
    ToolApprovalRequired,
)
from holdshort.runner.guardrails import check_input, check_output
from holdshort.runner.hooks import Hooks
from holdshort.runner.interruption import interruption_of
from holdshort.runner.items import event_name, message_text, run_item
from holdshort.runner.job import Job
from holdshort.runner.kinds.handoff import handed_over
from holdshort.runner.kinds.hosted import forget, heard
from holdshort.runner.model import answers
from holdshort.runner.output import output_schema
from holdshort.runner.requests import Request
from holdshort.runner.responses import Answer, refusal_of
from holdshort.runner.session import add_once
from holdshort.runner.settle import settle_call
from holdshort.runner.settling import Desk
from holdshort.runner.tool_params import tool_param
from holdshort.runner.toolbox import Toolbox, handoffs_of, open_toolbox
from holdshort.runner.turn import calls_in, close_turn, has_last_words, input_for, take_queued, without_doubles

if TYPE_CHECKING:
    from holdshort.runner.mcp_link import ProxyLink

__all__ = ["Loop"]


class Stopped(Exception):  # it is no error
    """Raised inside when the program wishes the run to stop."""


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
        self._job = job
        self._agents = agents
        self.data = data
        self._path = path
        self._outer = outer
        self._inherited = inherited
        self._earlier = frozenset(call.key for call in data.calls if call.status is CallStatus.SENT and not call.run)

    @property
    def agent(self) -> Agent[Any]:
        """Whose turn it is."""
        return self._agents[self.data.agent]

    async def events(self) -> AsyncGenerator[StreamEvent]:
        """Go on until the run is done, waits for somebody, or fails. `data.status` says which of the first two.

        Raises:
            RunnerError: the run cannot go on; what is saved is whole.
            Stopped: the program wished so.
        """
        data = self.data
        data.status = RunStatus.RUNNING
        yield AgentUpdatedStreamEvent(self.agent)
        if not data.started:
            await self._begin()
        while True:
            if data.calls:
                before = len(data.history)
                await self._watched(self._settle())
                waiting = list(data.open_calls())
                if waiting:
                    data.status = RunStatus.WAITING
                    await self._job.save()
                    for event in self._waiting(waiting):
                        yield event
                    return
                if any(call.is_open for call in data.calls):
                    raise RunError("a call is neither answered nor waiting; go on from the state")
                switched = await self._close_turn()
                for event in self._told(data.history[before:]):
                    yield event
                if switched:
                    yield AgentUpdatedStreamEvent(self.agent)
            take_queued(data)
            if has_last_words(data):
                # Said before a process died, or before a guardrail ended the run: the model is not asked twice.
                await self._finish()
                return
            self._stop_if_wished()
            if data.max_turns is not None and data.turn >= data.max_turns:
                await self._too_many_turns()
                return
            async with aclosing(self._ask()) as asked:
                async for event in asked:
                    yield event

    # -- the beginning

    async def _begin(self) -> None:
        """Once for each run, never again after a pause: guardrails on the input."""
        data, job = self.data, self._job
        given = [entry.item for entry in data.history if entry.source is Source.INPUT]
        guardrails = [*self.agent.input_guardrails, *(job.config.input_guardrails if self._is_outermost else ())]
        try:
            results = await check_input(guardrails, job.context, self.agent, given)
        except (GuardrailTripped, GuardrailFailed) as tripped:
            data.input_guardrails = [result.record() for result in tripped.results]
            raise
        data.input_guardrails = [result.record() for result in results]
        data.started = True
        await self._hooks().agent_start(job.context, self.agent)
        await job.save()

    # -- the tools' half of a turn

    async def _settle(self) -> None:
        """Bring every open call as far as it goes now, side by side."""
        data = self.data
        calls = [call for call in data.calls if call.is_open]
        if not calls:
            return
        toolbox = await self._toolbox()
        desk = await self._desk()
        fresh = [call for call in calls if call.status is CallStatus.NEW]
        for call in fresh:
            call.status = CallStatus.SENT
        if fresh:
            # From here on a process that finds this state cannot know whether they ran.
            await self._job.save()
        limiter = anyio.CapacityLimiter(self._job.config.max_parallel_tools or len(calls))
        problems: list[Exception] = []

        async def settle_one(call: CallData) -> None:
            async with limiter:
                try:
                    await settle_call(desk, toolbox.of(call), call)
                except Exception as problem:  # noqa: BLE001
                    # The others go on: to stop one in the middle would leave its outcome unknown.
                    problems.append(problem)

        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(settle_one, call)
        if problems:
            raise next((each for each in problems if isinstance(each, RunnerError)), problems[0])

    async def _close_turn(self) -> bool:
        """Put the outputs into the history and hand over, if a handoff counts. Returns whether the agent is another."""
        data = self.data
        before = self.agent
        taken = next((call for call in data.calls if call.accepted), None)
        toolbox = await self._toolbox() if taken is not None else None
        if any(call.kind is not CallKind.HANDOFF for call in data.calls) and data.agent not in data.tools_used:
            data.tools_used.append(data.agent)
        close_turn(data)
        await self._keep_in_session()
        if taken is not None and toolbox is not None:
            given = toolbox.named[taken.name]
            data.agent = given.agent.name  # type: ignore[union-attr]
            input_filter = getattr(given, "input_filter", None)
            if input_filter is not None:
                self._filter_history(given)
            await self._hooks().handoff(self._job.context, before, self.agent)
            await self._hooks().agent_start(self._job.context, self.agent)
        await self._job.save()
        return taken is not None

    def _filter_history(self, given: Any) -> None:
        data = self.data
        if not data.keeps_own_history:
            raise UserError("a handoff with an `input_filter` cannot be used where the service keeps the conversation")
        kept = handed_over(given, [entry.item for entry in data.history])
        data.history = [Entry(item, Source.INPUT, data.agent) for item in kept]
        data.saved = len(data.history) if self._job.session is not None else 0

    async def _keep_in_session(self) -> None:
        """Write what is settled into the session, so that no call in it ever lacks its output."""
        session, data = self._job.session, self.data
        if session is None or not self._is_outermost:
            return
        fresh = [entry.item for entry in data.history[data.saved :] if entry.source is not Source.SESSION]
        await add_once(session, fresh, run_id=data.run_id, position=data.saved)
        data.saved = len(data.history)

    # -- the model's half

    async def _ask(self) -> AsyncGenerator[StreamEvent]:
        """Ask the model once, and take its answer in."""
        data = self.data
        toolbox = await self._toolbox()
        answer: Answer | None = None
        try:
            request = await self._request(toolbox)
            async with aclosing(self._answers(request)) as stream:
                async for event in stream:
                    if isinstance(event, Answer):
                        answer = event
                        continue
                    yield event
        except PreviousResponseGone as gone:
            if not data.whole:
                raise ModelError(
                    f"the response `{data.previous_response_id}` that this run builds on is gone at the service, and "
                    "what came before it is not known here; start anew with the whole conversation as input",
                ) from gone
            # Everything since the beginning is here: send it once more, and go on from the new response.
            data.previous_response_id, data.known = None, 0
            request = await self._request(toolbox)
            async with aclosing(self._answers(request)) as stream:
                async for event in stream:
                    if isinstance(event, Answer):
                        answer = event
                        continue
                    yield event
        if answer is None:
            raise ModelError("the model's answer ended without an end; go on from the state to ask again")
        for event in await self._take_in(answer, toolbox):
            yield event

    async def _answers(self, request: Request) -> AsyncGenerator[StreamEvent | Answer]:
        """Yield what the model says. Stopping at once ends it between two events or in the middle of a wait."""
        job, hooks = self._job, self._hooks()
        await hooks.llm_start(job.context, self.agent, request.instructions, list(request.input))
        span = job.trace.model_started(self.agent.name, request)
        try:
            async with aclosing(answers(job.client, request)) as stream:
                while True:
                    event = await self._next(stream)
                    if event is None:
                        return
                    if isinstance(event, Answer):
                        span.answered(event)
                        yield event
                    else:
                        yield RawResponsesStreamEvent(event)
        except Exception as problem:
            span.failed(problem)
            raise
        finally:
            span.end()

    async def _next(self, stream: AsyncGenerator[Any]) -> Any:
        if self._job.cancellation.mode == "immediate":
            # What has arrived already would be read without a wait in which a scope could end.
            raise Stopped
        with self._job.cancellation.watch(anyio.CancelScope()) as scope:
            try:
                return await anext(stream)
            except StopAsyncIteration:
                return None
        if scope.cancelled_caught:
            raise Stopped
        return None

    async def _request(self, toolbox: Toolbox) -> Request:
        data, agent, config = self.data, self.agent, self._job.config
        settings = agent.model_settings.resolve(config.model_settings)
        if agent.reset_tool_choice and agent.name in data.tools_used:
            settings = replace(settings, tool_choice=None)
        instructions = agent.instructions
        if callable(instructions):
            said = instructions(self._job.context, agent)
            instructions = await said if inspect.isawaitable(said) else said
        given, instructions = await filtered_input(config, agent, self._job.context, input_for(data), instructions)
        output = output_schema(agent.output_type)
        return Request(
            agent=agent.name,
            model=config.model or agent.model,
            instructions=instructions,
            input=given,
            tools=[tool_param(tool) for tool in toolbox.listed],
            previous_response_id=data.previous_response_id if data.chained else None,
            conversation_id=data.conversation_id,
            settings=settings,
            output_schema=None if output is None else output.schema,
            output_strict=output is None or output.strict,
            stream=self._job.streaming,
            chained=data.chained,
            safe_to_repeat=data.conversation_id is None,
        )

    async def _take_in(self, answer: Answer, toolbox: Toolbox) -> Sequence[StreamEvent]:
        """Make the answer part of the run, all of it or nothing."""
        data = self.data
        items = without_doubles(answer.items)
        calls = calls_in(items, data, toolbox, self._outer)
        before = len(data.history)
        data.history += [Entry(item, Source.MODEL, data.agent, answer.response_id) for item in items]
        data.calls = calls
        data.turn += 1
        if not data.keeps_own_history and answer.response_id is not None:
            data.known = len(data.history)
        data.last_response_id = answer.response_id or data.last_response_id
        if data.chained:
            data.previous_response_id = answer.response_id or data.previous_response_id
        self._count(answer.usage)
        if data.awaited:
            await heard(await self._desk(), items)
        await self._job.save()
        await self._hooks().llm_end(self._job.context, self.agent, answer)
        return self._told(data.history[before:])

    def _count(self, usage: UsageData) -> None:
        """Count what was used: here, in the runs around this one, and for the program to see."""
        self.data.usage.add(usage)
        if not self._is_outermost:
            self._job.data.usage.add(usage)

    # -- the end

    async def _finish(self) -> None:
        """Take the model's last words as the result."""
        data, agent = self.data, self.agent
        last = data.last_response_id
        said = [entry for entry in data.history if entry.source is Source.MODEL and entry.response_id == last]
        text = "".join(message_text(entry.item) for entry in said)
        output = output_schema(agent.output_type)
        value: Any = text
        if output is not None:
            refused = refusal_of([entry.item for entry in said])
            if refused is not None:
                raise ModelBehaviorError(f"the model refused: {refused}")
            value = output.parse(text)
        data.final_output = text if output is None else output.to_json(value)
        guardrails = [*agent.output_guardrails, *(self._job.config.output_guardrails if self._is_outermost else ())]
        try:
            results = await check_output(guardrails, self._job.context, agent, value)
        except (GuardrailTripped, GuardrailFailed) as tripped:
            data.output_guardrails = [result.record() for result in tripped.results]
            data.final_output = None
            raise
        data.output_guardrails = [result.record() for result in results]
        await self._end(value)

    async def _end(self, value: Any) -> None:
        data = self.data
        await self._keep_in_session()
        if data.awaited:
            await forget(await self._desk())
        data.status = RunStatus.DONE
        await self._job.save()
        await self._hooks().agent_end(self._job.context, self.agent, value)

    async def _too_many_turns(self) -> None:
        data, job = self.data, self._job
        problem = MaxTurnsExceeded(
            f"the model was asked {data.turn} times and is not done; go on from the state with a larger `max_turns`"
        )
        handler = job.error_handlers.get("max_turns")
        result = None
        if handler is not None and self._is_outermost:
            result = await handled(handler, problem, self.agent, data, job.context)
        if result is None:
            raise problem
        data.final_output = result.final_output
        if result.include_in_history and isinstance(result.final_output, str):
            message = {"role": "assistant", "content": result.final_output}
            data.history.append(Entry(message, Source.INPUT, data.agent))
        await self._end(result.final_output)

    # -- small things

    @property
    def _is_outermost(self) -> bool:
        return self.data is self._job.data

    def _hooks(self) -> Hooks:
        return Hooks(self._job.hooks, *self._agents.values())

    async def _link(self) -> ProxyLink | None:
        """Where this agent's calls are decided: at its own proxy, or that of the agents around it or before it."""
        own = await self._job.link(self.agent)
        return own or self._inherited or await self._job.link(self._job.agent)

    async def _toolbox(self) -> Toolbox:
        return await open_toolbox(self.agent, await self._job.link(self.agent), self._job.context)

    async def _desk(self) -> Desk:
        job = self._job
        return Desk(
            agent=self.agent,
            data=self.data,
            link=await self._link(),
            context=job.context,
            config=job.config,
            hooks=self._hooks(),
            trace=job.trace,
            run_id=job.data.run_id,
            path=(*self._path, self.data.agent),
            saver=job.save,
            inner=self._run_inside,
            earlier=self._earlier,
            root_rejections=job.data.rejections,
        )

    async def _run_inside(
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
            inner = Loop(self._job, self._agents, call.run, path=desk.path, outer=call.key, inherited=desk.link)
            async with aclosing(inner.events()) as events:
                async for _ in events:
                    pass
        return call.run

    async def _watched(self, work: Any) -> None:
        """Do it, unless the run is to stop at once."""
        with self._job.cancellation.watch(anyio.CancelScope()) as scope:
            await work
        if scope.cancelled_caught:
            raise Stopped

    def _stop_if_wished(self) -> None:
        if self._job.cancellation.mode is not None:
            raise Stopped

    def _told(self, entries: Sequence[Entry]) -> list[StreamEvent]:
        names = {each.tool_name for agent in self._agents.values() for each in handoffs_of(agent)}
        calls = [entry.item for entry in self.data.history if entry.item.get("type") == "function_call"]
        handoffs = frozenset(str(item.get("call_id")) for item in calls if item.get("name") in names)
        shown = [run_item(entry, handoffs) for entry in entries if entry.source in (Source.MODEL, Source.TOOL)]
        return [RunItemStreamEvent(event_name(item), item) for item in shown]

    def _waiting(self, waiting: Sequence[tuple[CallData, tuple[str, ...]]]) -> list[StreamEvent]:
        if not self._is_outermost:
            return []
        return [ToolApprovalRequired(interruption_of(call, path)) for call, path in waiting]
