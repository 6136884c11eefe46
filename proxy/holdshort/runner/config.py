"""What goes for one run, whichever agents take part in it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from holdshort.runner.error_handlers import (
    ErrorHandlers,
    RunErrorData,
    RunErrorHandler,
    RunErrorHandlerInput,
    RunErrorHandlerResult,
    RunErrorHandlers,
    checked_handlers,
    handled,
)
from holdshort.runner.errors import UserError
from holdshort.runner.model_input import CallModelData, CallModelInputFilter, ModelInputData, checked_filtered
from holdshort.runner.tools import RunContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent, ModelSettings
    from holdshort.runner.data import Item
    from holdshort.runner.guardrails import InputGuardrail, OutputGuardrail
    from holdshort.runner.session import SessionSettings

__all__ = [
    "CallModelData",
    "CallModelInputFilter",
    "ErrorHandlers",
    "ModelInputData",
    "RunConfig",
    "RunErrorData",
    "RunErrorHandler",
    "RunErrorHandlerInput",
    "RunErrorHandlerResult",
    "RunErrorHandlers",
    "SessionInputCallback",
    "ToolErrorFormatter",
    "ToolErrorFormatterArgs",
    "checked_filtered",
    "checked_handlers",
    "filtered_input",
    "handled",
]

TContext = TypeVar("TContext")


@dataclass(slots=True, kw_only=True)
class ToolErrorFormatterArgs(Generic[TContext]):
    """What a tool error formatter is asked about."""

    kind: Literal["approval_rejected", "tool_error"]
    tool_name: str
    call_id: str
    default_message: str
    """What the model reads if the formatter returns None."""
    run_context: RunContext[TContext]


ToolErrorFormatter = Callable[[ToolErrorFormatterArgs[Any]], "Awaitable[str | None] | str | None"]
SessionInputCallback = Callable[["list[Item]", "list[Item]"], "list[Item] | Awaitable[list[Item]]"]


@dataclass(slots=True, kw_only=True)
class RunConfig:
    """What goes for one run, whichever agents take part in it."""

    model: str | None = None
    """Instead of every agent's own."""
    model_settings: ModelSettings | None = None
    """What it says goes before the agents' own settings."""
    input_guardrails: Sequence[InputGuardrail[Any]] = ()
    """Asked together with those of the first agent."""
    output_guardrails: Sequence[OutputGuardrail[Any]] = ()
    """Asked together with those of the last agent."""
    workflow_name: str = "Agent workflow"
    """Says in traces what kind of run it is."""
    group_id: str | None = None
    """Holds the traces of several runs together: the id of a chat, say."""
    trace_metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further attributes of the run's span, under `holdshort.metadata.`."""
    tracing_disabled: bool = False
    trace_include_sensitive_data: bool = False
    """Whether spans carry arguments, results and texts."""
    session_input_callback: SessionInputCallback | None = None
    """Called with the session's items and the new ones; returns what the run starts with, in place of both."""
    session_settings: SessionSettings | None = None
    """How a session is read, in place of its own settings."""
    call_model_input_filter: CallModelInputFilter | None = None
    """Called with a `CallModelData` right before the model is asked; returns the `ModelInputData` to send instead.

    It changes one request, never the history. It may not part calls from their outputs: `checked_filtered` looks.
    """
    tool_error_formatter: ToolErrorFormatter | None = None
    """Returns what the model reads of a rejected call or a failed tool; None for the usual text."""
    max_parallel_tools: int | None = None
    """So many calls of one turn run at a time; None is all of them."""

    def __post_init__(self) -> None:
        if self.max_parallel_tools is not None and self.max_parallel_tools < 1:
            raise UserError(f"max_parallel_tools is {self.max_parallel_tools}; it must be 1 or more, or None for all")
        for name in ("call_model_input_filter", "tool_error_formatter", "session_input_callback"):
            if (given := getattr(self, name)) is not None and not callable(given):
                raise UserError(f"{name} is a `{type(given).__name__}`, not a function")

    async def tool_error_text(
        self,
        kind: Literal["approval_rejected", "tool_error"],
        tool_name: str,
        call_id: str,
        default_message: str,
        context: RunContext[Any],
    ) -> str:
        """Return what the model reads of a rejected call or a failed tool.

        Raises:
            UserError: the formatter returned neither a text nor None.
        """
        if self.tool_error_formatter is None:
            return default_message
        asked = ToolErrorFormatterArgs(
            kind=kind, tool_name=tool_name, call_id=call_id, default_message=default_message, run_context=context
        )
        text = cast("object", self.tool_error_formatter(asked))
        if inspect.isawaitable(text):
            text = await text
        if text is None:
            return default_message
        if not isinstance(text, str):
            raise UserError(f"tool_error_formatter returned a `{type(text).__name__}`; return a text, or None")
        return text


async def filtered_input(
    config: RunConfig, agent: Agent[Any], context: RunContext[Any], items: Sequence[Item], instructions: str | None
) -> tuple[list[Item], str | None]:
    """Return what the model is sent: `items` and `instructions`, or what the run's filter makes of them.

    Raises:
        UserError: the filter returned something else, or parted what belongs together.
    """
    if config.call_model_input_filter is None:
        return list(items), instructions
    data = await checked_filtered(config.call_model_input_filter, agent, context, instructions, items)
    return data.input, data.instructions
