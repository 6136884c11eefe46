"""Guardrails: what trips them, what fails, what is kept, and that none passes by accident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import rfc8785
from pydantic import BaseModel

from holdshort.runner.agent import Agent
from holdshort.runner.errors import (
    GuardrailFailed,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
)
from holdshort.runner.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    OutputGuardrail,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailData,
    ToolOutputGuardrailData,
    check_input,
    check_output,
    check_tool_input,
    check_tool_output,
    input_guardrail,
    output_guardrail,
    tool_input_guardrail,
    tool_output_guardrail,
)
from holdshort.runner.tools import FunctionTool, RunContext, ToolContext

AGENT = Agent[Any]("Ops")
CONTEXT = RunContext(context={"user": "ana"}, run_id="run-1")
DATA = ToolInputGuardrailData(ToolContext(context=None, tool_name="mail", call_id="c1", arguments='{"to": "x"}'), AGENT)
OUTPUT_DATA = ToolOutputGuardrailData(DATA.context, AGENT, output="sent")

Given = RunContext[Any]


def says(name: str, tripped: bool = False, info: Any = None) -> InputGuardrail[Any]:
    """A guardrail on the input that always says the same."""

    @input_guardrail(name=name)
    def guardrail(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(info, tripped)

    return guardrail


def tool_with(*, before: list[Any] | None = None, after: list[Any] | None = None) -> FunctionTool:
    """A tool with these guardrails."""

    async def run(context: ToolContext[Any], arguments: str) -> str:
        return "sent"

    return FunctionTool(
        name="mail",
        description="",
        params_json_schema={"type": "object"},
        on_invoke_tool=run,
        tool_input_guardrails=before or [],
        tool_output_guardrails=after or [],
    )


async def test_a_guardrail_may_be_a_plain_or_an_async_function_with_or_without_a_name() -> None:
    @input_guardrail
    def plain(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput((context.context["user"], agent.name, given), False)

    @input_guardrail(name="its name")
    async def waits(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        await anyio.lowlevel.checkpoint()
        return GuardrailFunctionOutput(None, False)

    results = await check_input([plain, waits], CONTEXT, AGENT, "hello")

    assert [result.guardrail.get_name() for result in results] == ["plain", "its name"]
    assert results[0].output.output_info == ("ana", "Ops", "hello")


async def test_guardrails_on_the_input_run_side_by_side() -> None:
    both = anyio.Event()
    here: list[str] = []

    def meets(name: str) -> InputGuardrail[Any]:
        @input_guardrail(name=name)
        async def guardrail(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
            here.append(name)
            if len(here) == 2:
                both.set()
            await both.wait()
            return GuardrailFunctionOutput(None, False)

        return guardrail

    with anyio.fail_after(10):
        results = await check_input([meets("a"), meets("b")], CONTEXT, AGENT, "hello")

    assert [result.guardrail.name for result in results] == ["a", "b"]


async def test_the_first_tripwire_in_declared_order_wins_whoever_is_quickest() -> None:
    late = anyio.Event()

    @input_guardrail
    async def slow(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        await late.wait()
        return GuardrailFunctionOutput("slow", True)

    @input_guardrail
    async def quick(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        late.set()
        return GuardrailFunctionOutput("quick", True)

    with pytest.raises(InputGuardrailTripwireTriggered, match="`slow` stopped the run at its input") as caught:
        await check_input([says("calm"), slow, quick], CONTEXT, AGENT, "hello")

    assert caught.value.result.output.output_info == "slow"
    assert caught.value.guardrail_result is caught.value.result
    assert [result.guardrail.get_name() for result in caught.value.results] == ["calm", "slow", "quick"]


async def test_one_that_runs_first_keeps_the_others_from_being_asked_when_it_trips() -> None:
    asked: list[str] = []

    @input_guardrail
    def beside(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        asked.append("beside")
        return GuardrailFunctionOutput(None, False)

    @input_guardrail(run_in_parallel=False)
    def before(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        asked.append("before")
        return GuardrailFunctionOutput(None, given == "bad")

    with pytest.raises(InputGuardrailTripwireTriggered):
        await check_input([beside, before], CONTEXT, AGENT, "bad")
    assert asked == ["before"]

    await check_input([beside, before], CONTEXT, AGENT, "good")
    assert asked == ["before", "before", "beside"]


async def test_a_guardrail_that_raises_has_not_been_passed() -> None:
    @input_guardrail
    async def broken(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        raise LookupError("the secret word is swordfish")

    with pytest.raises(GuardrailFailed, match="`broken` raised LookupError") as caught:
        await check_input([says("calm"), broken, says("late", tripped=True)], CONTEXT, AGENT, "hello")

    assert isinstance(caught.value.__cause__, LookupError)
    assert "swordfish" not in str(caught.value)
    assert [result.guardrail.get_name() for result in caught.value.results] == ["calm", "late"]


async def test_a_tripwire_declared_before_a_failure_is_what_is_raised() -> None:
    @output_guardrail
    def broken(context: Given, agent: Agent[Any], output: Any) -> GuardrailFunctionOutput:
        raise LookupError

    @output_guardrail
    def trips(context: Given, agent: Agent[Any], output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output, True)

    with pytest.raises(OutputGuardrailTripwireTriggered, match="`trips` stopped the run at its output") as caught:
        await check_output([trips, broken], CONTEXT, AGENT, "the end")

    assert caught.value.result.agent_output == "the end"
    assert caught.value.result.agent is AGENT


@pytest.mark.parametrize("said", [None, False, "no", {"tripwire_triggered": False}], ids=str)
async def test_what_is_no_answer_does_not_pass(said: Any) -> None:
    guardrail = InputGuardrail[Any](lambda context, agent, given: said, name="vague")

    with pytest.raises(GuardrailFailed, match=r"`vague` returned a `.*`; return a `GuardrailFunctionOutput`"):
        await check_input([guardrail], CONTEXT, AGENT, "hello")


@pytest.mark.parametrize("said", [None, 0, "", "false"], ids=repr)
async def test_a_tripwire_is_true_or_false_and_nothing_else(said: Any) -> None:
    guardrail = InputGuardrail[Any](lambda context, agent, given: GuardrailFunctionOutput(None, said), name="vague")

    with pytest.raises(GuardrailFailed, match="`vague` raised UserError"):
        await check_input([guardrail], CONTEXT, AGENT, "hello")


async def test_a_bare_function_is_no_guardrail() -> None:
    def bare(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, False)

    for check, decorator in ((check_input, "input_guardrail"), (check_output, "output_guardrail")):
        with pytest.raises(UserError, match=f"is a `function`.*put `@{decorator}` on the function"):
            await check([bare], CONTEXT, AGENT, "hello")  # type: ignore[list-item]
    with pytest.raises(UserError, match="a guardrail of the tool `mail` is a `function`"):
        await check_tool_input(tool_with(before=[bare]), DATA)


async def test_guardrails_of_the_other_kind_are_not_taken() -> None:
    with pytest.raises(UserError, match="is a `InputGuardrail`, not a `OutputGuardrail`"):
        await check_output([says("wrong")], CONTEXT, AGENT, "the end")  # type: ignore[list-item]


class Reason(BaseModel):
    """What a model-backed guardrail has to say."""

    why: str


@dataclass
class Score:
    """The same as a dataclass."""

    value: int


@pytest.mark.parametrize(
    ("info", "kept"),
    [
        (Reason(why="maths"), {"output_info": {"why": "maths"}}),
        (Score(3), {"output_info": {"value": 3}}),
        ({"a": (1, 2)}, {"output_info": {"a": [1, 2]}}),
        ("text", {"output_info": "text"}),
        (None, {}),
        (object(), {}),
        (float("nan"), {}),
        ({"deep": {"n": 2**60}}, {}),
        ("\ud800", {}),
    ],
    ids=["model", "dataclass", "tuple", "text", "none", "object", "nan", "big", "surrogate"],
)
async def test_the_record_of_a_result_is_json_that_can_be_signed_whatever_it_says(info: Any, kept: Any) -> None:
    [result] = await check_input([says("a", info=info)], CONTEXT, AGENT, "hello")

    record = result.record()

    assert record == {"name": "a", "tripwire_triggered": False, **kept}
    assert rfc8785.dumps(record)


async def test_a_cyclic_info_is_left_out_of_the_record() -> None:
    info: list[Any] = []
    info.append(info)

    [result] = await check_input([says("a", info=info)], CONTEXT, AGENT, "hello")

    assert result.record() == {"name": "a", "tripwire_triggered": False}


async def test_the_output_itself_is_not_in_the_record_of_an_output_guardrail() -> None:
    guardrail = OutputGuardrail[Any](lambda context, agent, output: GuardrailFunctionOutput(None, False), name="a")

    [result] = await check_output([guardrail], CONTEXT, AGENT, "the end")

    assert result.record() == {"name": "a", "tripwire_triggered": False}


async def test_a_cancelled_check_is_cancelled_and_not_failed() -> None:
    entered = anyio.Event()
    ended: list[str] = []

    @input_guardrail
    async def forever(context: Given, agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        entered.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def check() -> None:
        try:
            await check_input([forever], CONTEXT, AGENT, "hello")
        except GuardrailFailed:
            ended.append("failed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(check)
        await entered.wait()
        tasks.cancel_scope.cancel()

    assert ended == []


async def test_tool_guardrails_are_asked_in_order_until_one_does_not_allow_the_call() -> None:
    asked: list[str] = []

    @tool_input_guardrail
    def allows(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        asked.append(data.context.arguments)
        return ToolGuardrailFunctionOutput.allow()

    @tool_input_guardrail(name="no mail")
    async def rejects(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.reject_content(f"{data.agent.name} sends no mail", output_info=1)

    @tool_input_guardrail
    def never(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        raise AssertionError

    assert await check_tool_input(tool_with(before=[allows, rejects, never]), DATA) == "Ops sends no mail"
    assert asked == ['{"to": "x"}']
    assert await check_tool_input(tool_with(before=[allows]), DATA) is None
    assert await check_tool_input(tool_with(), DATA) is None


async def test_a_tool_guardrail_can_end_the_run_before_and_after_the_tool() -> None:
    @tool_input_guardrail
    def before(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception(output_info="why")

    @tool_output_guardrail(name="after")
    def later(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception(output_info=data.output)

    with pytest.raises(
        ToolInputGuardrailTripwireTriggered, match="`before` stopped the run before the tool `mail`"
    ) as b:
        await check_tool_input(tool_with(before=[before]), DATA)
    with pytest.raises(
        ToolOutputGuardrailTripwireTriggered, match="`after` stopped the run after the tool `mail`"
    ) as a:
        await check_tool_output(tool_with(after=[later]), OUTPUT_DATA)

    assert b.value.result.output.output_info == "why"
    assert a.value.result.output.output_info == "sent"


async def test_a_guardrail_on_the_output_can_stand_in_for_it() -> None:
    @tool_output_guardrail
    async def redacts(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.reject_content(f"{len(data.output)} characters")

    assert await check_tool_output(tool_with(after=[redacts]), OUTPUT_DATA) == "4 characters"
    assert await check_tool_output(tool_with(), OUTPUT_DATA) is None


async def test_a_tool_guardrail_that_raises_or_says_nothing_ends_the_run() -> None:
    @tool_input_guardrail
    def broken(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        raise LookupError

    @tool_output_guardrail
    def silent(data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        return None  # type: ignore[return-value]

    with pytest.raises(GuardrailFailed, match="`broken` raised LookupError"):
        await check_tool_input(tool_with(before=[broken]), DATA)
    with pytest.raises(GuardrailFailed, match="`silent` returned a `NoneType`"):
        await check_tool_output(tool_with(after=[silent]), OUTPUT_DATA)


@pytest.mark.parametrize("behavior", [{}, {"type": "ok"}, {"type": "reject_content"}], ids=["none", "other", "no text"])
def test_a_behavior_made_by_hand_is_checked(behavior: Any) -> None:
    with pytest.raises(UserError, match="tool guardrail"):
        ToolGuardrailFunctionOutput(None, behavior)
