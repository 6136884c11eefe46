"""The model's half of a turn: ask once, and take the answer in, all of it or nothing."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from holdshort.runner.config import filtered_input
from holdshort.runner.data import Entry, Source, UsageData
from holdshort.runner.errors import ModelError, PreviousResponseGone
from holdshort.runner.events import RawResponsesStreamEvent, StreamEvent
from holdshort.runner.ground import Ground, Stopped
from holdshort.runner.kinds.hosted import heard, telling, told
from holdshort.runner.model import answers
from holdshort.runner.output import output_schema
from holdshort.runner.requests import Request
from holdshort.runner.responses import Answer
from holdshort.runner.tool_params import tool_param
from holdshort.runner.toolbox import Toolbox
from holdshort.runner.turn import calls_in, input_for, without_doubles

__all__ = ["ask"]


async def ask(ground: Ground) -> AsyncGenerator[StreamEvent]:
    """Ask the model once, and take its answer in."""
    data = ground.data
    opened: list[Toolbox] = []

    async def look() -> None:
        opened.append(await ground.toolbox())

    await ground.watched(look)
    toolbox = opened[0]
    answer: Answer | None = None
    if data.awaited:
        await telling(await ground.desk())
    # Twice at most: the second time, everything since the beginning is sent, which builds on nothing.
    for _ in range(2):
        request = await _request(ground, toolbox)
        try:
            async with aclosing(_answers(ground, request)) as stream:
                async for event in stream:
                    if isinstance(event, Answer):
                        answer = event
                        continue
                    yield event
            break
        except PreviousResponseGone as gone:
            if not data.whole or data.previous_response_id is None:
                raise ModelError(
                    f"the response `{data.previous_response_id}` that this run builds on is gone at the service, and "
                    "what came before it is not known here; start anew with the whole conversation as input",
                ) from gone
            data.previous_response_id, data.known = None, 0
        except ModelError as problem:
            if data.awaited and not problem.taken:
                await told(await ground.desk(), arrived=False)
            raise
    if answer is None:
        raise ModelError("the model's answer ended without an end; go on from the state to ask again")
    for event in await _take_in(ground, answer, toolbox):
        yield event


async def _answers(ground: Ground, request: Request) -> AsyncGenerator[StreamEvent | Answer]:
    """Yield what the model says. Stopping at once ends it between two events or in the middle of a wait."""
    job, hooks = ground.job, ground.hooks()
    await hooks.llm_start(job.context, ground.agent, request.instructions, list(request.input))
    span = job.trace.model_started(ground.agent.name, request)
    try:
        async with aclosing(answers(job.client, request)) as stream:
            while True:
                event = await _next(ground, stream)
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


async def _next(ground: Ground, stream: AsyncGenerator[Any]) -> Any:
    if ground.job.cancellation.mode == "immediate":
        # What has arrived already would be read without a wait in which a scope could end.
        raise Stopped
    with ground.job.cancellation.watched() as scope:
        try:
            return await anext(stream)
        except StopAsyncIteration:
            return None
    if scope.cancelled_caught:
        raise Stopped
    return None


async def _request(ground: Ground, toolbox: Toolbox) -> Request:
    data, agent, config = ground.data, ground.agent, ground.job.config
    settings = agent.model_settings.resolve(config.model_settings)
    if agent.reset_tool_choice and agent.name in data.tools_used:
        settings = replace(settings, tool_choice=None)
    instructions = agent.instructions
    if callable(instructions):
        said = instructions(ground.job.context, agent)
        instructions = await said if inspect.isawaitable(said) else said
    given, instructions = await filtered_input(config, agent, ground.job.context, input_for(data), instructions)
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
        stream=ground.job.streaming,
        chained=data.chained,
        safe_to_repeat=data.conversation_id is None,
    )


async def _take_in(ground: Ground, answer: Answer, toolbox: Toolbox) -> Sequence[StreamEvent]:
    """Make the answer part of the run, all of it or nothing."""
    data = ground.data
    items = without_doubles(answer.items)
    calls = calls_in(items, data, toolbox, ground.outer)
    before = len(data.history)
    data.history += [Entry(item, Source.MODEL, data.agent, answer.response_id) for item in items]
    data.calls = calls
    data.turn += 1
    ground.silent = not items
    if not data.keeps_own_history and answer.response_id is not None:
        data.known = len(data.history)
    data.last_response_id = answer.response_id or data.last_response_id
    if data.chained:
        data.previous_response_id = answer.response_id or data.previous_response_id
    _count(ground, answer.usage)
    if data.awaited:
        desk = await ground.desk()
        await told(desk, arrived=True)
        await heard(desk, items)
    await ground.job.save()
    await ground.hooks().llm_end(ground.job.context, ground.agent, answer)
    return ground.told(data.history[before:])


def _count(ground: Ground, usage: UsageData) -> None:
    """Count what was used: here, in the runs around this one, and for the program to see."""
    ground.data.usage.add(usage)
    if not ground.is_outermost:
        ground.job.data.usage.add(usage)
