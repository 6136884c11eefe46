"""Ending a run that would fail with a result instead. For now that is for a run that used up its turns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from holdshort.runner.data import Source
from holdshort.runner.errors import MaxTurnsExceeded, UserError
from holdshort.runner.graph import agents_of
from holdshort.runner.tools import RunContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.data import Item, RunData

__all__ = [
    "ErrorHandlers",
    "RunErrorData",
    "RunErrorHandler",
    "RunErrorHandlerInput",
    "RunErrorHandlerResult",
    "RunErrorHandlers",
    "checked_handlers",
    "handled",
]

TContext = TypeVar("TContext")


@dataclass(slots=True, kw_only=True)
class RunErrorData:
    """The run as it stands."""

    input: list[Item]
    """What it was started with, a session's items included."""
    history: list[Item]
    """Everything said, `input` included."""
    last_agent: Agent[Any]


@dataclass(slots=True, kw_only=True)
class RunErrorHandlerInput(Generic[TContext]):
    """What an error handler is asked about."""

    error: MaxTurnsExceeded
    context: RunContext[TContext]
    run_data: RunErrorData


@dataclass(slots=True)
class RunErrorHandlerResult:
    """How the run ends instead."""

    final_output: Any
    include_in_history: bool = True
    """Whether a text goes into the history as the assistant's last message."""


RunErrorHandler = Callable[[RunErrorHandlerInput[Any]], Any]
"""Returns a `RunErrorHandlerResult`, a dict of its fields, the bare final output, or None to let the error be raised.

May be async.
"""


class RunErrorHandlers(TypedDict, total=False):
    """Handlers by what went wrong: what `Runner.run(error_handlers=...)` takes."""

    max_turns: RunErrorHandler


ErrorHandlers = RunErrorHandlers


def checked_handlers(given: Mapping[str, Any] | None) -> RunErrorHandlers:
    """Return the handlers of a run.

    Raises:
        UserError: one is for an error that cannot be handled, or is no function.
    """
    handlers = RunErrorHandlers()
    for name, handler in (given or {}).items():
        if name != "max_turns":
            raise UserError(f"error_handlers has `{name}`; the only error that can be handled is `max_turns`")
        if not callable(handler):
            raise UserError(f"the error handler for `{name}` is a `{type(handler).__name__}`, not a function")
        handlers["max_turns"] = handler
    return handlers


async def handled(
    handler: RunErrorHandler, error: MaxTurnsExceeded, agent: Agent[Any], data: RunData, context: RunContext[Any]
) -> RunErrorHandlerResult | None:
    """Ask the handler how the run ends; None when the error is to be raised. `agent` is the run's first.

    Raises:
        UserError: it returned a dict that is no result.
    """
    given = [entry.item for entry in data.history if entry.source in (Source.INPUT, Source.SESSION)]
    run_data = RunErrorData(
        input=given, history=[entry.item for entry in data.history], last_agent=agents_of(agent)[data.agent]
    )
    outcome: object = handler(RunErrorHandlerInput(error=error, context=context, run_data=run_data))
    if inspect.isawaitable(outcome):
        outcome = await outcome
    if outcome is None or isinstance(outcome, RunErrorHandlerResult):
        return outcome
    if isinstance(outcome, dict) and "final_output" in outcome:
        if unknown := set(outcome) - {"final_output", "include_in_history"}:
            raise UserError(f"the error handler returned a dict with `{min(unknown)}`, which no result has")
        return RunErrorHandlerResult(**outcome)
    return RunErrorHandlerResult(final_output=outcome)
