"""Checks of one tool's input and output. They let the call be, answer in its place, or end the run.

Those on the input run right before the tool does, on the arguments it will get: when a person approved in between, or
changed the arguments, after that. Those on the output run before the model sees it, never instead of reporting to the
proxy what the tool did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, TypeVar, cast, overload

from holdshort.runner.asking import answer_of, expect, name_of
from holdshort.runner.errors import (
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
)
from holdshort.runner.tools import ToolContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.tools import Tool

__all__ = [
    "WITHHELD",
    "AllowBehavior",
    "RaiseExceptionBehavior",
    "RejectContentBehavior",
    "ToolGuardrailFunctionOutput",
    "ToolInputGuardrail",
    "ToolInputGuardrailData",
    "ToolInputGuardrailResult",
    "ToolOutputGuardrail",
    "ToolOutputGuardrailData",
    "ToolOutputGuardrailResult",
    "check_tool_input",
    "check_tool_output",
    "tool_input_guardrail",
    "tool_output_guardrail",
]

TContext = TypeVar("TContext")

WITHHELD: Final = "The tool ran. A guardrail withholds its output. Do not call it again for that."
"""What a call is finished with when a guardrail on its output ends the run: so nobody runs the tool again for it."""


class AllowBehavior(TypedDict):
    """The call goes on."""

    type: Literal["allow"]


class RejectContentBehavior(TypedDict):
    """The model reads `message`: instead of a call of the tool, or of its output."""

    type: Literal["reject_content"]
    message: str


class RaiseExceptionBehavior(TypedDict):
    """The run ends."""

    type: Literal["raise_exception"]


_KINDS: Final = ("allow", "reject_content", "raise_exception")


@dataclass(slots=True)
class ToolGuardrailFunctionOutput:
    """What a guardrail on a tool says; made by `allow`, `reject_content` or `raise_exception`."""

    output_info: Any
    behavior: AllowBehavior | RejectContentBehavior | RaiseExceptionBehavior = field(
        default_factory=lambda: AllowBehavior(type="allow")
    )

    def __post_init__(self) -> None:
        said = cast("Mapping[str, object]", self.behavior)
        if said.get("type") not in _KINDS:
            raise UserError(f"the behavior of a tool guardrail has no `type` out of {', '.join(_KINDS)}")
        if said["type"] == "reject_content" and not isinstance(said.get("message"), str):
            raise UserError("a tool guardrail that rejects content needs a `message` for the model")

    @classmethod
    def allow(cls, output_info: Any = None) -> ToolGuardrailFunctionOutput:
        """Let the call go on."""
        return cls(output_info, AllowBehavior(type="allow"))

    @classmethod
    def reject_content(cls, message: str, output_info: Any = None) -> ToolGuardrailFunctionOutput:
        """Let the model read `message`: instead of a call of the tool, or of its output."""
        return cls(output_info, RejectContentBehavior(type="reject_content", message=message))

    @classmethod
    def raise_exception(cls, output_info: Any = None) -> ToolGuardrailFunctionOutput:
        """End the run."""
        return cls(output_info, RaiseExceptionBehavior(type="raise_exception"))


@dataclass(slots=True)
class ToolInputGuardrailData:
    """What a guardrail on a tool's input is asked about: `context.arguments` is the JSON text that would be run."""

    context: ToolContext[Any]
    agent: Agent[Any]


@dataclass(slots=True)
class ToolOutputGuardrailData(ToolInputGuardrailData):
    """The same, and what the tool returned."""

    output: Any


_InputFunction = Callable[
    [ToolInputGuardrailData], ToolGuardrailFunctionOutput | Awaitable[ToolGuardrailFunctionOutput]
]
_OutputFunction = Callable[
    [ToolOutputGuardrailData], ToolGuardrailFunctionOutput | Awaitable[ToolGuardrailFunctionOutput]
]


@dataclass(slots=True)
class ToolInputGuardrail(Generic[TContext]):
    """A check of a tool's arguments, right before it runs."""

    guardrail_function: _InputFunction
    name: str | None = None

    def get_name(self) -> str:
        """Return its name, else that of its function."""
        return name_of(self)

    async def run(self, data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        """Ask it.

        Raises:
            GuardrailFailed: it raised, or returned something else than a `ToolGuardrailFunctionOutput`.
        """
        return await answer_of(self, ToolGuardrailFunctionOutput, data)


@dataclass(slots=True)
class ToolOutputGuardrail(Generic[TContext]):
    """A check of what a tool returned, before the model sees it."""

    guardrail_function: _OutputFunction
    name: str | None = None

    def get_name(self) -> str:
        """Return its name, else that of its function."""
        return name_of(self)

    async def run(self, data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        """Ask it.

        Raises:
            GuardrailFailed: it raised, or returned something else than a `ToolGuardrailFunctionOutput`.
        """
        return await answer_of(self, ToolGuardrailFunctionOutput, data)


@dataclass(slots=True)
class ToolInputGuardrailResult:
    """What one guardrail said of a tool's input."""

    guardrail: ToolInputGuardrail[Any]
    output: ToolGuardrailFunctionOutput


@dataclass(slots=True)
class ToolOutputGuardrailResult:
    """What one guardrail said of a tool's output."""

    guardrail: ToolOutputGuardrail[Any]
    output: ToolGuardrailFunctionOutput


async def check_tool_input(tool: Tool, data: ToolInputGuardrailData) -> str | None:
    """Ask the tool's guardrails one after the other, until one does not allow the call.

    Returns what the model reads instead of a call of the tool; None to call it.

    Raises:
        ToolInputGuardrailTripwireTriggered: one ends the run.
        GuardrailFailed: one failed.
        UserError: something among them is no guardrail.
    """
    declared: list[ToolInputGuardrail[Any]] = list(getattr(tool, "tool_input_guardrails", ()))
    expect(declared, ToolInputGuardrail, "tool_input_guardrail", f"the tool `{tool.name}`")
    for guardrail in declared:
        output = await guardrail.run(data)
        behavior = output.behavior
        if behavior["type"] == "reject_content":
            return behavior["message"]
        if behavior["type"] == "raise_exception":
            result = ToolInputGuardrailResult(guardrail, output)
            message = f"the guardrail `{guardrail.get_name()}` stopped the run before the tool `{tool.name}`"
            raise ToolInputGuardrailTripwireTriggered(message, result=result, results=[result])
    return None


async def check_tool_output(tool: Tool, data: ToolOutputGuardrailData) -> str | None:
    """Ask the tool's guardrails one after the other, until one does not allow the output.

    Returns what the model reads instead of the output; None for the output itself. By now the tool has run: report that
    to the proxy first, and where this raises, finish the call with `WITHHELD` before passing the error on. Else the
    output would wait in the state for whoever goes on from it, or the tool would run again.

    Raises:
        ToolOutputGuardrailTripwireTriggered: one ends the run.
        GuardrailFailed: one failed.
        UserError: something among them is no guardrail.
    """
    declared: list[ToolOutputGuardrail[Any]] = list(getattr(tool, "tool_output_guardrails", ()))
    expect(declared, ToolOutputGuardrail, "tool_output_guardrail", f"the tool `{tool.name}`")
    for guardrail in declared:
        output = await guardrail.run(data)
        behavior = output.behavior
        if behavior["type"] == "reject_content":
            return behavior["message"]
        if behavior["type"] == "raise_exception":
            result = ToolOutputGuardrailResult(guardrail, output)
            message = f"the guardrail `{guardrail.get_name()}` stopped the run after the tool `{tool.name}`"
            raise ToolOutputGuardrailTripwireTriggered(message, result=result, results=[result])
    return None


@overload
def tool_input_guardrail(func: _InputFunction) -> ToolInputGuardrail[Any]: ...


@overload
def tool_input_guardrail(*, name: str | None = None) -> Callable[[_InputFunction], ToolInputGuardrail[Any]]: ...


def tool_input_guardrail(
    func: _InputFunction | None = None, *, name: str | None = None
) -> ToolInputGuardrail[Any] | Callable[[_InputFunction], ToolInputGuardrail[Any]]:
    """Make a `ToolInputGuardrail` of a function `(data)`: `@tool_input_guardrail` or with `name=...`."""

    def decorate(function: _InputFunction) -> ToolInputGuardrail[Any]:
        return ToolInputGuardrail(function, name)

    return decorate if func is None else decorate(func)


@overload
def tool_output_guardrail(func: _OutputFunction) -> ToolOutputGuardrail[Any]: ...


@overload
def tool_output_guardrail(*, name: str | None = None) -> Callable[[_OutputFunction], ToolOutputGuardrail[Any]]: ...


def tool_output_guardrail(
    func: _OutputFunction | None = None, *, name: str | None = None
) -> ToolOutputGuardrail[Any] | Callable[[_OutputFunction], ToolOutputGuardrail[Any]]:
    """Make a `ToolOutputGuardrail` of a function `(data)`: `@tool_output_guardrail` or with `name=...`."""

    def decorate(function: _OutputFunction) -> ToolOutputGuardrail[Any]:
        return ToolOutputGuardrail(function, name)

    return decorate if func is None else decorate(func)
