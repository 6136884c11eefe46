"""Checks around a run, in your own code. One that trips ends the run; one that fails ends it too, since nothing passed.

Guardrails on the input see what starts the run, before the model is asked for the first time; those on the output see
the final output. Both are for once in a run: a run that is gone on from does not repeat what is on record. Guardrails
on a tool are for each call (`tool_guardrails.py`).

None of this is an approval: what needs a person is policy, and that is the proxy's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from holdshort.runner.asking import all_of, answer_of, as_json, expect, name_of
from holdshort.runner.errors import (
    GuardrailFailed,
    GuardrailTripped,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    UserError,
)
from holdshort.runner.tool_guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolOutputGuardrail,
    ToolOutputGuardrailData,
    check_tool_input,
    check_tool_output,
    tool_input_guardrail,
    tool_output_guardrail,
)
from holdshort.runner.tools import RunContext

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.data import Item

__all__ = [
    "GuardrailFunctionOutput",
    "InputGuardrail",
    "InputGuardrailResult",
    "OutputGuardrail",
    "OutputGuardrailResult",
    "ToolGuardrailFunctionOutput",
    "ToolInputGuardrail",
    "ToolInputGuardrailData",
    "ToolOutputGuardrail",
    "ToolOutputGuardrailData",
    "check_input",
    "check_output",
    "check_tool_input",
    "check_tool_output",
    "input_guardrail",
    "output_guardrail",
    "tool_input_guardrail",
    "tool_output_guardrail",
]

TContext = TypeVar("TContext")


@dataclass(slots=True)
class GuardrailFunctionOutput:
    """What a guardrail on an input or an output says."""

    output_info: Any
    """Whatever you want to know of it later. It is kept with the run where it can be JSON."""
    tripwire_triggered: bool
    """Whether the run ends here."""

    def __post_init__(self) -> None:
        said = cast("object", self.tripwire_triggered)
        if not isinstance(said, bool):  # a None must not count as `passed`
            raise UserError(f"tripwire_triggered is a `{type(said).__name__}`; say True or False")

    def record(self, name: str) -> dict[str, Any]:
        """Return it as a state keeps it: `name`, `tripwire_triggered`, and `output_info` where that can be JSON."""
        info = as_json(self.output_info)
        kept = {} if info is None else {"output_info": info}
        return {"name": name, "tripwire_triggered": self.tripwire_triggered, **kept}


_InputFunction = Callable[
    [RunContext[TContext], "Agent[Any]", Any], GuardrailFunctionOutput | Awaitable[GuardrailFunctionOutput]
]
_OutputFunction = Callable[
    [RunContext[TContext], "Agent[Any]", Any], GuardrailFunctionOutput | Awaitable[GuardrailFunctionOutput]
]


@dataclass(slots=True)
class InputGuardrail(Generic[TContext]):
    """A check of what a run starts with. `input_guardrail` makes one from a function."""

    guardrail_function: _InputFunction[TContext]
    """Called with `(context, agent, input)`; may be async. A plain function runs in the event loop: keep it short."""
    name: str | None = None
    run_in_parallel: bool = True
    """Beside the other guardrails. False runs it before those that say True, which are then asked only if it passes.

    Either way all of them are through before the model is asked: nothing has happened when one trips.
    """

    def get_name(self) -> str:
        """Return its name, else that of its function."""
        return name_of(self)

    async def run(
        self, agent: Agent[Any], given: str | list[Item], context: RunContext[TContext]
    ) -> InputGuardrailResult:
        """Ask it.

        Raises:
            GuardrailFailed: it raised, or returned something else than a `GuardrailFunctionOutput`.
        """
        return InputGuardrailResult(self, await answer_of(self, GuardrailFunctionOutput, context, agent, given))


@dataclass(slots=True)
class OutputGuardrail(Generic[TContext]):
    """A check of a final output. `output_guardrail` makes one from a function."""

    guardrail_function: _OutputFunction[TContext]
    """Called with `(context, agent, output)`; may be async. A plain function runs in the event loop: keep it short."""
    name: str | None = None

    def get_name(self) -> str:
        """Return its name, else that of its function."""
        return name_of(self)

    async def run(self, context: RunContext[TContext], agent: Agent[Any], agent_output: Any) -> OutputGuardrailResult:
        """Ask it.

        Raises:
            GuardrailFailed: it raised, or returned something else than a `GuardrailFunctionOutput`.
        """
        output = await answer_of(self, GuardrailFunctionOutput, context, agent, agent_output)
        return OutputGuardrailResult(self, agent_output, agent, output)


@dataclass(slots=True)
class InputGuardrailResult:
    """What one guardrail said of the input."""

    guardrail: InputGuardrail[Any]
    output: GuardrailFunctionOutput

    def record(self) -> dict[str, Any]:
        """Return it as `RunData.input_guardrails` keeps it."""
        return self.output.record(self.guardrail.get_name())


@dataclass(slots=True)
class OutputGuardrailResult:
    """What one guardrail said of the final output."""

    guardrail: OutputGuardrail[Any]
    agent_output: Any
    agent: Agent[Any]
    output: GuardrailFunctionOutput

    def record(self) -> dict[str, Any]:
        """Return it as `RunData.output_guardrails` keeps it; the output itself is no part of it."""
        return self.output.record(self.guardrail.get_name())


async def check_input(
    guardrails: Sequence[InputGuardrail[Any]], context: RunContext[Any], agent: Agent[Any], given: str | list[Item]
) -> list[InputGuardrailResult]:
    """Ask `guardrails` about what a run of `agent` starts with, all at once; return their results in declared order.

    Raises:
        InputGuardrailTripwireTriggered: one tripped. `result` is the first in declared order, `results` are all.
        GuardrailFailed: one failed, and none declared before it tripped.
        UserError: something among them is no guardrail.
    """
    expect(guardrails, InputGuardrail, "input_guardrail", f"the agent `{agent.name}` or the run")
    said: list[Any] = []
    for beside_others in (False, True):
        asks = [partial(one.run, agent, given, context) for one in guardrails if one.run_in_parallel is beside_others]
        said += await all_of(asks)
        results = _passed(said, InputGuardrailTripwireTriggered, "input")
    return results


async def check_output(
    guardrails: Sequence[OutputGuardrail[Any]], context: RunContext[Any], agent: Agent[Any], output: Any
) -> list[OutputGuardrailResult]:
    """Ask `guardrails` about the final output, all at once; return their results in declared order.

    Raises:
        OutputGuardrailTripwireTriggered: one tripped. `result` is the first in declared order, `results` are all.
        GuardrailFailed: one failed, and none declared before it tripped.
        UserError: something among them is no guardrail.
    """
    expect(guardrails, OutputGuardrail, "output_guardrail", f"the agent `{agent.name}` or the run")
    said = await all_of([partial(one.run, context, agent, output) for one in guardrails])
    return _passed(said, OutputGuardrailTripwireTriggered, "output")


@overload
def input_guardrail(func: _InputFunction[TContext]) -> InputGuardrail[TContext]: ...


@overload
def input_guardrail(
    *, name: str | None = None, run_in_parallel: bool = True
) -> Callable[[_InputFunction[TContext]], InputGuardrail[TContext]]: ...


def input_guardrail(
    func: _InputFunction[TContext] | None = None, *, name: str | None = None, run_in_parallel: bool = True
) -> InputGuardrail[TContext] | Callable[[_InputFunction[TContext]], InputGuardrail[TContext]]:
    """Make an `InputGuardrail` of a function `(context, agent, input)`: `@input_guardrail` or with `name=...`."""

    def decorate(function: _InputFunction[TContext]) -> InputGuardrail[TContext]:
        return InputGuardrail(function, name, run_in_parallel)

    return decorate if func is None else decorate(func)


@overload
def output_guardrail(func: _OutputFunction[TContext]) -> OutputGuardrail[TContext]: ...


@overload
def output_guardrail(
    *, name: str | None = None
) -> Callable[[_OutputFunction[TContext]], OutputGuardrail[TContext]]: ...


def output_guardrail(
    func: _OutputFunction[TContext] | None = None, *, name: str | None = None
) -> OutputGuardrail[TContext] | Callable[[_OutputFunction[TContext]], OutputGuardrail[TContext]]:
    """Make an `OutputGuardrail` of a function `(context, agent, output)`: `@output_guardrail` or with `name=...`."""

    def decorate(function: _OutputFunction[TContext]) -> OutputGuardrail[TContext]:
        return OutputGuardrail(function, name)

    return decorate if func is None else decorate(func)


def _passed(said: Sequence[Any], tripped: type[GuardrailTripped], of: str) -> list[Any]:
    results = [one for one in said if not isinstance(one, GuardrailFailed)]
    for result in said:
        if isinstance(result, GuardrailFailed):
            result.results = tuple(results)
            raise result
        if result.output.tripwire_triggered:
            raise tripped(
                f"the guardrail `{result.guardrail.get_name()}` stopped the run at its {of}",
                result=result,
                results=results,
            )
    return results
