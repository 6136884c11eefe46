"""What goes for one run: filters that may not part what belongs together, texts for the model, handlers of errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from holdshort.runner.agent import Agent
from holdshort.runner.config import (
    CallModelData,
    ModelInputData,
    RunConfig,
    RunErrorHandlerInput,
    RunErrorHandlerResult,
    ToolErrorFormatterArgs,
    checked_handlers,
    filtered_input,
    handled,
)
from holdshort.runner.data import Entry, Item, RunData, Source
from holdshort.runner.errors import MaxTurnsExceeded, UserError
from holdshort.runner.model_input import check_filtered
from holdshort.runner.tools import RunContext

AGENT = Agent[Any]("Ops")
CONTEXT = RunContext[Any](context="mine", run_id="run-1")

USER: Item = {"role": "user", "content": "delete the logs"}
THOUGHT: Item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "sealed", "summary": []}
CALL: Item = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "rm", "arguments": "{}"}
SECOND: Item = {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "rm", "arguments": "{}"}
DONE: Item = {"type": "function_call_output", "call_id": "c1", "output": "gone"}
DONE_TOO: Item = {"type": "function_call_output", "call_id": "c2", "output": "gone"}
ASKED: Item = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "pay", "arguments": "{}", "server_label": "bank"}
ANSWERED: Item = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}
SAID: Item = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
WHOLE = [USER, THOUGHT, CALL, SECOND, DONE, DONE_TOO, ASKED, ANSWERED, SAID]


async def filtered(given: Callable[[CallModelData[Any]], Any], items: list[Item]) -> tuple[list[Item], str | None]:
    """What a filter makes of `items`."""
    return await filtered_input(RunConfig(call_model_input_filter=given), AGENT, CONTEXT, items, "Be kind.")


async def test_without_a_filter_everything_goes_as_it_is() -> None:
    assert await filtered_input(RunConfig(), AGENT, CONTEXT, WHOLE, "Be kind.") == (WHOLE, "Be kind.")


async def test_a_filter_gets_the_input_the_agent_and_the_programs_context_and_says_what_is_sent() -> None:
    seen: list[CallModelData[Any]] = []

    async def shorten(data: CallModelData[Any]) -> ModelInputData:
        seen.append(data)
        return ModelInputData(input=data.model_data.input[-1:], instructions="Be brief.")

    assert await filtered(shorten, [USER, SAID]) == ([SAID], "Be brief.")
    assert (seen[0].agent, seen[0].context, seen[0].model_data.instructions) == (AGENT, "mine", "Be kind.")


async def test_what_a_filter_does_to_its_copy_leaves_the_history_alone() -> None:
    items = copy.deepcopy([USER, CALL, DONE])

    def spoil(data: CallModelData[Any]) -> ModelInputData:
        data.model_data.input[0]["content"] = "something else"
        return data.model_data

    sent, _ = await filtered(spoil, items)

    assert sent[0]["content"] == "something else"
    assert items == [USER, CALL, DONE]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (None, "returned a `NoneType`; return a `ModelInputData`"),
        ([USER], "returned a `list`"),
        (ModelInputData(input="hello", instructions=None), "`input` that is no list"),  # type: ignore[arg-type]
        (ModelInputData(input=["hello"], instructions=None), "`input` that is no list"),  # type: ignore[list-item]
        (ModelInputData(input=[USER], instructions=7), "instructions that are a `int`"),  # type: ignore[arg-type]
    ],
    ids=["nothing", "items", "text", "texts", "instructions"],
)
async def test_a_filter_returns_what_it_should_or_the_run_ends(said: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        await filtered(lambda data: said, [USER])


@pytest.mark.parametrize(
    "after",
    [
        WHOLE,
        [USER, SAID],
        [],
        [THOUGHT, CALL, DONE],
        [THOUGHT, SECOND, DONE_TOO],
        [ASKED, ANSWERED],
        [{**THOUGHT, "id": None}, CALL, DONE],
        [THOUGHT, CALL, {**DONE, "output": "[cut]"}, SECOND, DONE_TOO],
        [{"role": "system", "content": "today is Friday"}, *WHOLE],
        [*WHOLE, {**CALL, "call_id": "example"}, {**DONE, "call_id": "example"}],
    ],
    ids=[
        "everything", "messages", "nothing", "a pair", "the other pair", "an approval", "no id", "cut output",
        "more messages", "an example pair",
    ],
)  # fmt: skip
def test_whole_pairs_may_go_and_what_is_left_may_change(after: list[Item]) -> None:
    check_filtered(WHOLE, after)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (WHOLE, [USER, DONE], "left out the call `c1` and kept its output"),
        (WHOLE, [THOUGHT, CALL, SAID], "left out the output of the call `c1` and kept the call"),
        (WHOLE, [ASKED], "left out the output of the call `mcpr_1` and kept the call"),
        (WHOLE, [ANSWERED], "left out the call `mcpr_1` and kept its output"),
        ([DONE], [], "left out the output of the call `c1` and the model waits for it"),
        ([USER, CALL], [USER], "left out the call `c1`"),
        (WHOLE, [THOUGHT, CALL, DONE, DONE], "sends the call `c1` or its output twice"),
        (WHOLE, [THOUGHT, CALL, CALL, DONE], "sends the call `c1` or its output twice"),
        (WHOLE, [*WHOLE, {**DONE, "call_id": "new"}], "put in half of a call `new`"),
        (WHOLE, [DONE, THOUGHT, CALL], "moved the output of the call `c1` before the call"),
        (WHOLE, [CALL, DONE], "left out the reasoning before the call `c1`"),
        (WHOLE, [THOUGHT, USER, CALL, DONE], "kept the reasoning `rs_1` and left out what came of it"),
        (WHOLE, [USER, THOUGHT], "kept the reasoning `rs_1` and left out what came of it"),
    ],
)
def test_what_belongs_together_is_not_parted(before: list[Item], after: list[Item], problem: str) -> None:
    with pytest.raises(UserError, match=f"^call_model_input_filter .*{problem}"):
        check_filtered(before, after)


def test_doubles_that_were_there_before_are_no_fault_of_the_filter() -> None:
    doubled = [CALL, DONE, CALL, DONE]

    check_filtered(doubled, doubled)


async def said(config: RunConfig) -> str:
    """What the model reads of a rejected call."""
    return await config.tool_error_text("approval_rejected", "rm", "c1", "the usual text", CONTEXT)


async def test_a_formatter_says_what_the_model_reads_or_leaves_it_as_it_is() -> None:
    seen: list[ToolErrorFormatterArgs[Any]] = []

    def words(args: ToolErrorFormatterArgs[Any]) -> str:
        seen.append(args)
        return f"{args.tool_name} is not for you"

    async def silent(args: ToolErrorFormatterArgs[Any]) -> None:
        return None

    assert await said(RunConfig()) == "the usual text"
    assert await said(RunConfig(tool_error_formatter=words)) == "rm is not for you"
    assert await said(RunConfig(tool_error_formatter=silent)) == "the usual text"
    assert (seen[0].kind, seen[0].call_id, seen[0].default_message) == ("approval_rejected", "c1", "the usual text")
    assert seen[0].run_context is CONTEXT


async def test_a_formatter_that_returns_something_else_ends_the_run() -> None:
    with pytest.raises(UserError, match="tool_error_formatter returned a `int`"):
        await said(RunConfig(tool_error_formatter=lambda args: 7))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"max_parallel_tools": 0}, "max_parallel_tools is 0"),
        ({"call_model_input_filter": "no"}, "call_model_input_filter is a `str`, not a function"),
        ({"tool_error_formatter": 1}, "tool_error_formatter is a `int`, not a function"),
        ({"session_input_callback": []}, "session_input_callback is a `list`, not a function"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_config_that_makes_no_sense_is_refused_where_it_is_made(given: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        RunConfig(**given)


def run() -> RunData:
    """A run that used up its turns."""
    history = [
        Entry({"role": "user", "content": "before"}, Source.SESSION, "Ops"),
        Entry(USER, Source.INPUT, "Ops"),
        Entry(CALL, Source.MODEL, "Ops"),
        Entry(DONE, Source.TOOL, "Ops"),
    ]
    return RunData(run_id="run-1", agent="Sales", first_agent="Ops", history=history)


PROBLEM = MaxTurnsExceeded("too many")
SALES = Agent[Any]("Sales")
OPS = Agent[Any]("Ops", handoffs=[SALES])


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (RunErrorHandlerResult("sorry"), RunErrorHandlerResult("sorry")),
        ({"final_output": "sorry", "include_in_history": False}, RunErrorHandlerResult("sorry", False)),
        ("sorry", RunErrorHandlerResult("sorry")),
        ({"answer": 1}, RunErrorHandlerResult({"answer": 1})),
        (None, None),
    ],
    ids=["result", "dict of it", "bare", "bare dict", "none"],
)
async def test_a_handler_ends_the_run_with_what_it_returns(outcome: Any, result: Any) -> None:
    async def handler(given: RunErrorHandlerInput[Any]) -> Any:
        return outcome

    assert await handled(handler, PROBLEM, OPS, run(), CONTEXT) == result


async def test_a_handler_sees_the_error_the_input_the_history_and_the_last_agent() -> None:
    seen: list[RunErrorHandlerInput[Any]] = []

    await handled(seen.append, PROBLEM, OPS, run(), CONTEXT)

    assert seen[0].error is PROBLEM
    assert seen[0].context is CONTEXT
    assert seen[0].run_data.input == [{"role": "user", "content": "before"}, USER]
    assert seen[0].run_data.history == [{"role": "user", "content": "before"}, USER, CALL, DONE]
    assert seen[0].run_data.last_agent is SALES


async def test_a_handlers_dict_has_nothing_that_no_result_has() -> None:
    with pytest.raises(UserError, match="a dict with `in_history`"):
        await handled(lambda given: {"final_output": "x", "in_history": True}, PROBLEM, OPS, run(), CONTEXT)


def test_only_errors_that_can_be_handled_have_handlers() -> None:
    assert checked_handlers(None) == {}
    assert checked_handlers({"max_turns": print}) == {"max_turns": print}
    with pytest.raises(UserError, match="error_handlers has `model_refusal`"):
        checked_handlers({"model_refusal": print})
    with pytest.raises(UserError, match="for `max_turns` is a `str`"):
        checked_handlers({"max_turns": "sorry"})
