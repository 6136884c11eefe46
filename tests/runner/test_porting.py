"""What a script for the OpenAI Agents SDK reads, gives and imports is here, or is missed in words that help."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseTextDeltaEvent
from openai.types.shared import Reasoning
from pydantic import BaseModel

from holdshort import runner
from holdshort.runner import (
    Agent,
    FunctionTool,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    ItemHelpers,
    ModelBehaviorError,
    ModelSettings,
    RunConfig,
    RunContextWrapper,
    RunHooks,
    Runner,
    RunState,
    ShellTool,
    ToolContext,
    UserError,
    function_tool,
    handoff,
    input_guardrail,
)
from kit.responses_script import Call, Refusal, Text, Turn
from runner.conftest import Open
from runner.stage import Stage
from runner.test_loop import BOTH_WAYS, READ, WRITE, thing


async def test_a_result_has_what_scripts_read_of_it(play: Open) -> None:
    async with play([Turn(Call(READ, {"name": thing()}, "c1")), Turn(Text("done"))]) as one:
        result = await Runner.run(starting_agent=one.agent(), input="Go.", context="mine", client=one.client)

        assert result.input == "Go."
        assert result.context_wrapper.context == "mine"
        assert result.context_wrapper.usage is result.usage
        assert (result.usage.requests, result.current_turn, result.max_turns) == (2, 2, 10)
        assert result.last_agent is result.current_agent
        assert result.final_output_as(str, raise_if_incorrect_type=True) == "done"
        assert [item.tool_name for item in result.new_items] == [READ, None, None]


async def test_the_usual_loop_over_a_stream_sees_texts_calls_and_outputs(play: Open, stage: Stage) -> None:
    name, seen = thing(), list[str]()
    async with play([Turn(Call(WRITE, {"name": name}, "c1")), Turn(Text("all done"))]) as one:
        agent = one.agent(approver=True)

        async def show(result: Any) -> None:
            deltas = ""
            async for event in result.stream_events():
                if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                    deltas += event.data.delta
                elif event.type == "agent_updated_stream_event":
                    seen.append(f"agent {event.new_agent.name}")
                elif event.type == "run_item_stream_event" and event.item.type == "tool_call_item":
                    seen.append(f"call {event.item.tool_name} by {event.item.agent.name}")
                elif event.type == "run_item_stream_event" and event.item.type == "tool_call_output_item":
                    seen.append(f"output {event.item.output}")
                elif event.type == "run_item_stream_event" and event.item.type == "message_output_item":
                    seen.append(ItemHelpers.text_message_output(event.item))
            seen.append(f"deltas {deltas}")

        result = Runner.run_streamed(agent, input="Go.", client=one.client)
        await show(result)
        while result.interruptions:
            state = result.to_state()
            for interruption in result.interruptions:
                state.approve(interruption)
            result = Runner.run_streamed(agent, state, client=one.client)
            await show(result)

    assert seen == [
        "agent Ops",
        f"call {WRITE} by Ops",
        "deltas ",
        "agent Ops",
        f"output write_thing done: {name}",
        "all done",
        "deltas all done",
    ]
    assert result.is_complete


async def test_a_state_file_is_decided_with_the_interruptions_of_the_result(play: Open, stage: Stage) -> None:
    good, bad = thing(), thing()
    calls = Turn(Call(WRITE, {"name": good}, "c1"), Call(WRITE, {"name": bad}, "c2"))
    async with play([calls, Turn(Text("done"))]) as one:
        agent = one.agent(approver=True)
        result = await one.run(agent, "Go.")
        state = await RunState.from_json(agent, result.to_state().to_json())
        for interruption in result.interruptions:
            if good in interruption.arguments:
                state.approve(interruption, always_approve=False)
            else:
                state.reject(interruption, always_reject=False, rejection_message="not that one")
        done = await one.run(agent, state)

        assert done.final_output == "done"
        assert [stage.spy.executed("write_thing", {"name": each}) for each in (good, bad)] == [1, 0]
        assert "not that one" in one.last_outputs()["c2"]


async def test_tools_and_hooks_find_their_call_under_both_names(play: Open) -> None:
    seen = list[object]()

    @function_tool
    def look(context: RunContextWrapper[str], at: str) -> str:
        """Look at something."""
        assert isinstance(context, ToolContext)
        seen.extend([context.context, context.tool_name, context.tool_call_id, context.tool_arguments])
        return "seen"

    class Hooks(RunHooks[str]):
        async def on_llm_end(self, context: Any, agent: Agent[Any], response: Any) -> None:
            seen.append([item["type"] for item in response.output])

    async with play([Turn(Call("look", {"at": "it"}, "c1")), Turn(Text("done"))]) as one:
        await one.run(one.agent(tools=[look]), "Go.", context="mine", hooks=Hooks())

    assert seen == [["function_call"], "mine", "look", "c1", '{"at": "it"}', ["message"]]


@pytest.mark.parametrize("given", ["Go.", [{"role": "user", "content": "Go."}, {"role": "user", "content": "Now."}]])
async def test_guardrails_see_the_input_as_it_was_given(play: Open, given: Any) -> None:
    seen = list[object]()

    @input_guardrail
    async def listens(context: Any, agent: Any, said: Any) -> GuardrailFunctionOutput:
        seen.append(said)
        return GuardrailFunctionOutput(output_info={"math": True}, tripwire_triggered=len(seen) > 1)

    async with play([Turn(Text("done"))]) as one:
        agent = one.agent(input_guardrails=[listens])
        assert (await one.run(agent, given)).input == given
        with pytest.raises(InputGuardrailTripwireTriggered) as raised:
            await one.run(agent, given, run_id=f"{one.run_id}-2")

    assert seen == [given, given]
    assert raised.value.guardrail_result.output.output_info == {"math": True}


async def test_reasoning_may_be_given_as_the_clients_own_object(play: Open) -> None:
    async with play([Turn(Text("done"))]) as one:
        await one.run(one.agent(model_settings=ModelSettings(reasoning=Reasoning(effort="low"))), "Go.")
        assert one.model.asked[0].body["reasoning"] == {"effort": "low"}


@BOTH_WAYS
async def test_a_refusal_where_a_type_is_due_ends_the_run_with_the_models_words(play: Open, streamed: bool) -> None:
    class Report(BaseModel):
        count: int

    async with play([Turn(Refusal("I would rather not."))]) as one:
        with pytest.raises(ModelBehaviorError, match="the model refused: I would rather not") as raised:
            await one.run(one.agent(output_type=Report), "Go.", streamed=streamed)
        assert raised.value.state is not None


async def test_a_run_without_a_limit_goes_on_past_the_usual_one(play: Open) -> None:
    turns = [Turn(Call(READ, {"name": thing()}, f"c{number}")) for number in range(12)]
    async with play([*turns, Turn(Text("done"))]) as one:
        result = await one.run(one.agent(), "Go.", max_turns=None)
        assert (result.final_output, result.current_turn, result.max_turns) == ("done", 13, None)


def test_servers_in_an_agent_are_missed_where_they_are_given() -> None:
    given: Any = [object()]
    with pytest.raises(UserError, match=r"agent `Ops`: `mcp_servers`.*`proxy=ApprovalProxy"):
        Agent("Ops", mcp_servers=given)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ToolCallItem", "`item.type`"),
        ("ToolApprovalItem", "`Interruption`"),
        ("AgentsException", "`RunnerError`"),
        ("MCPServerStdio", "`proxy=ApprovalProxy"),
        ("trace", "OpenTelemetry"),
        ("WebSearchTool", "`RawTool"),
        ("set_default_openai_client", "`client="),
    ],
)
def test_a_name_that_is_not_here_says_what_is(name: str, words: str) -> None:
    with pytest.raises(ImportError, match=words):
        exec(f"from holdshort.runner import {name}", {})  # noqa: S102 (the import is what is tested)


def test_a_name_that_nobody_knows_is_missed_as_in_any_module() -> None:
    assert not hasattr(runner, "no_such_name")


def test_no_name_is_both_here_and_missed() -> None:
    for name in runner.__all__:
        assert getattr(runner, name) is not None


@function_tool
def harmless() -> str:
    """Do nothing."""
    return ""


def gated(needs_approval: Any) -> FunctionTool:
    """A tool whose approval somebody misspelt."""
    return function_tool(harmless.on_invoke_tool.function, name_override="erase", needs_approval=needs_approval)  # type: ignore[attr-defined]


def other(**more: Any) -> Agent[Any]:
    return Agent("Other", **more)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        pytest.param("Ops", "a `str` stands where an `Agent`", id="no agent"),
        pytest.param(Agent("", "text"), "its name", id="no name"),
        pytest.param(Agent("Ops", 5), "`instructions` is a `int`", id="instructions"),  # type: ignore[arg-type]
        pytest.param(other(model=object()), "the name of a model", id="model"),
        pytest.param(other(model_settings={}), "make a `ModelSettings`", id="settings"),
        pytest.param(other(proxy="http://127.0.0.1:1"), "`proxy` is a `str`", id="proxy"),
        pytest.param(other(tools=[print]), "make it a tool with `function_tool`", id="a function"),
        pytest.param(other(tools=[Agent("Third")]), "as_tool", id="an agent as it is"),
        pytest.param(other(tools=[{"type": "web_search"}]), "`RawTool", id="a dict"),
        pytest.param(other(tools=[handoff(Agent("Third"))]), "name it in `handoffs`", id="a handoff among tools"),
        pytest.param(other(tools=["erase"]), "a `str` is among its tools", id="a text"),
        pytest.param(other(handoffs=["Third"]), "a `str` is among its handoffs", id="handoffs"),
        pytest.param(other(tools=[gated("never")]), "`needs_approval` of `erase` is 'never'", id="a word"),
        pytest.param(other(tools=[gated(None)]), "`needs_approval` of `erase` is None", id="none"),
        pytest.param(
            other(tools=[ShellTool(executor=print, needs_approval=0)]),  # type: ignore[arg-type]
            "`needs_approval` of `shell` is 0",
            id="a number",
        ),
        pytest.param(other(input_guardrails=[print]), "`@input_guardrail`", id="input guardrails"),
        pytest.param(other(output_guardrails=[print]), "`@output_guardrail`", id="output guardrails"),
        pytest.param(Agent("Ops", tools=[other(tools=[print]).as_tool()]), "agent `Other`", id="an agent inside"),
        pytest.param(Agent("Ops", handoffs=[other(tools=[print])]), "agent `Other`", id="an agent after"),
    ],
)
def test_an_agent_that_is_put_together_wrongly_is_told_before_anything_happens(agent: Any, words: str) -> None:
    with pytest.raises(UserError) as raised:
        Runner.run_streamed(agent, "Go.")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_turns": 0}, "`max_turns` is 0"),
        ({"max_turns": True}, "`max_turns` is True"),
        ({"max_turns": "3"}, "`max_turns` is '3'"),
        ({"run_config": {"model": "gpt-5.6"}}, "`run_config` is a `dict`"),
        ({"run_config": RunConfig(model_settings={})}, "`run_config.model_settings`"),  # type: ignore[arg-type]
        ({"run_config": RunConfig(input_guardrails=[print])}, "`@input_guardrail`"),  # type: ignore[list-item]
    ],
    ids=["zero", "a bool", "a text", "config", "settings in config", "guardrails in config"],
)
def test_options_that_make_no_sense_are_told_before_anything_happens(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as raised:
        Runner.run_streamed(Agent("Ops"), "Go.", **options)
    assert words in str(raised.value)


@pytest.mark.parametrize("given", [None, 5, b"text", [None], ["text"], {"role": "user"}], ids=repr)
def test_input_that_is_none_is_told_before_anything_happens(given: Any) -> None:
    with pytest.raises(UserError, match="the input"):
        Runner.run_streamed(Agent("Ops"), given)
