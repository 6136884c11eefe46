"""Guardrails, hooks and settings at work in runs: when they are asked, what they stop, what a pause changes of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from holdshort.runner import (
    Agent,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    RunConfig,
    RunHooks,
    RunState,
    UserError,
    handoff,
)
from holdshort.runner.config import CallModelData, ModelInputData, ToolErrorFormatterArgs
from holdshort.runner.errors import GuardrailFailed
from holdshort.runner.guardrails import GuardrailFunctionOutput, input_guardrail, output_guardrail
from holdshort.runner.hooks import AgentHooks
from holdshort.runner.tools import RunContext
from kit.responses_script import Call, Text, Turn
from runner.conftest import Open
from runner.stage import Stage

READ, WRITE = "things__read_thing", "things__write_thing"
BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


def thing() -> str:
    return f"thing-{uuid4().hex[:8]}"


class Guard:
    """A guardrail of either kind that counts, and trips on a word."""

    def __init__(self, word: str = "bad") -> None:
        self.word = word
        self.asked: list[tuple[str, Any, Any]] = []

    def on_input(self) -> Any:
        @input_guardrail(name="no bad words in")
        async def guardrail(context: RunContext[Any], agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
            return self._says(context, agent, given)

        return guardrail

    def on_output(self) -> Any:
        @output_guardrail(name="no bad words out")
        def guardrail(context: RunContext[Any], agent: Agent[Any], output: Any) -> GuardrailFunctionOutput:
            return self._says(context, agent, output)

        return guardrail

    def _says(self, context: RunContext[Any], agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        self.asked.append((agent.name, context.context, given))
        return GuardrailFunctionOutput({"asked": len(self.asked)}, self.word in str(given))


@BOTH_WAYS
async def test_an_input_guardrail_that_trips_stops_the_run_before_the_model_is_asked(
    play: Open, streamed: bool
) -> None:
    guard = Guard()
    async with play([Turn(Text("never"))]) as one:
        agent = one.agent(input_guardrails=[guard.on_input()])

        with pytest.raises(InputGuardrailTripwireTriggered, match="`no bad words in` stopped the run") as caught:
            await one.run(agent, "A bad thing.", streamed=streamed, context="mine")

        assert one.model.asked == []
        assert guard.asked == [("Ops", "mine", "A bad thing.")]
        assert caught.value.state is not None
        assert caught.value.state.data.input_guardrails == [
            {"name": "no bad words in", "tripwire_triggered": True, "output_info": {"asked": 1}}
        ]
        with pytest.raises(InputGuardrailTripwireTriggered):
            await one.run(agent, caught.value.state)  # it has still not passed
        assert one.model.asked == []


async def test_a_guardrail_that_raises_stops_the_run_as_well(play: Open) -> None:
    @input_guardrail
    def broken(context: RunContext[Any], agent: Agent[Any], given: Any) -> GuardrailFunctionOutput:
        raise LookupError

    async with play([Turn(Text("never"))]) as one:
        with pytest.raises(GuardrailFailed, match="`broken` raised LookupError"):
            await one.run(one.agent(), "Hello.", run_config=RunConfig(input_guardrails=[broken]))

        assert one.model.asked == []


@BOTH_WAYS
async def test_guardrails_on_the_input_are_for_once_in_a_run_whatever_pauses_come(play: Open, streamed: bool) -> None:
    before, after = Guard(), Guard()
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("fine"))]) as one:
        agent = one.agent(input_guardrails=[before.on_input()], output_guardrails=[after.on_output()])
        result = await one.run(agent, "Write it.", streamed=streamed)
        assert (len(before.asked), len(after.asked)) == (1, 0)

        await one.approve_all()
        done = await one.again(agent, result, streamed=streamed)

        assert done.final_output == "fine"
        assert (len(before.asked), len(after.asked)) == (1, 1)
        passed = {"tripwire_triggered": False, "output_info": {"asked": 1}}
        assert done.input_guardrail_results == [{"name": "no bad words in", **passed}]
        assert done.output_guardrail_results == [{"name": "no bad words out", **passed}]


async def test_an_output_guardrail_that_trips_keeps_the_output_from_being_the_result(play: Open) -> None:
    guard = Guard()
    async with play([Turn(Text("a bad end"))]) as one:
        with pytest.raises(OutputGuardrailTripwireTriggered) as caught:
            await one.run(one.agent(), "Hello.", run_config=RunConfig(output_guardrails=[guard.on_output()]))

        assert caught.value.result.agent_output == "a bad end"
        assert caught.value.state is not None
        assert caught.value.state.data.final_output is None
        assert [record["tripwire_triggered"] for record in caught.value.state.data.output_guardrails] == [True]


async def test_after_a_handoff_the_output_is_for_the_guardrails_of_who_took_over(play: Open) -> None:
    first, second, of_the_run = Guard(), Guard(), Guard()
    async with play([Turn(Call("transfer_to_sales", {}, "c1")), Turn(Text("sold"))]) as one:
        sales = Agent[Any]("Sales", output_guardrails=[second.on_output()], input_guardrails=[second.on_input()])
        agent = one.agent(handoffs=[handoff(sales)], output_guardrails=[first.on_output()], tools=[], proxy=None)
        config = RunConfig(output_guardrails=[of_the_run.on_output()])

        result = await one.run(agent, "Sell it.", run_config=config)

        assert result.final_output == "sold"
        assert first.asked == []
        assert [name for name, _, _ in second.asked] == ["Sales"]
        assert [name for name, _, _ in of_the_run.asked] == ["Sales"]


class Diary(RunHooks[Any]):
    """Writes down what a run tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def on_agent_start(self, context: Any, agent: Agent[Any]) -> None:
        self.lines.append(f"start {agent.name}")

    async def on_agent_end(self, context: Any, agent: Agent[Any], output: Any) -> None:
        self.lines.append(f"end {agent.name} {output}")

    async def on_llm_start(self, context: Any, agent: Agent[Any], system_prompt: Any, input_items: Any) -> None:
        self.lines.append(f"ask {agent.name} {system_prompt} {len(input_items)}")

    async def on_llm_end(self, context: Any, agent: Agent[Any], response: Any) -> None:
        self.lines.append(f"answer {agent.name} {len(response.items)}")

    async def on_tool_start(self, context: Any, agent: Agent[Any], tool: Any) -> None:
        self.lines.append(f"tool {agent.name} {tool.name} {context.call_id}")

    async def on_tool_end(self, context: Any, agent: Agent[Any], tool: Any, result: Any) -> None:
        self.lines.append(f"done {agent.name} {tool.name}")

    async def on_handoff(self, context: Any, from_agent: Agent[Any], to_agent: Agent[Any]) -> None:
        self.lines.append(f"handoff {from_agent.name} {to_agent.name}")


@BOTH_WAYS
async def test_hooks_tell_a_run_over_its_pause_and_nothing_twice(play: Open, streamed: bool) -> None:
    diary = Diary()
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("fine"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Write it.", streamed=streamed, hooks=diary)
        assert diary.lines == ["start Ops", "ask Ops Manage things. 1", "answer Ops 1"]

        await one.approve_all()
        await one.again(agent, result, streamed=streamed, hooks=diary)

    assert diary.lines[3:] == [
        f"tool Ops {WRITE} c1",
        f"done Ops {WRITE}",
        "ask Ops Manage things. 3",
        "answer Ops 1",
        "end Ops fine",
    ]


async def test_hooks_tell_of_a_handoff_between_the_two_agents(play: Open) -> None:
    diary = Diary()
    async with play([Turn(Call("transfer_to_sales", {}, "c1")), Turn(Text("sold"))]) as one:
        agent = Agent[Any]("Ops", handoffs=[Agent[Any]("Sales")])

        await one.run(agent, "Sell it.", hooks=diary)

    told = [line for line in diary.lines if line.split()[0] in ("start", "handoff", "end")]
    assert told == ["start Ops", "handoff Ops Sales", "start Sales", "end Sales sold"]


class Breaks(RunHooks[Any]):
    """Raises once, at one of the hooks."""

    def __init__(self, name: str) -> None:
        self.left = 1
        setattr(self, name, self._break)

    async def _break(self, *told: Any) -> None:
        if self.left:
            self.left = 0
            raise LookupError("a hook")


@pytest.mark.parametrize("name", ["on_llm_start", "on_llm_end", "on_tool_start", "on_tool_end", "on_agent_start"])
async def test_a_hook_that_raises_ends_the_run_and_nothing_is_lost_or_done_twice(
    play: Open, stage: Stage, name: str
) -> None:
    item = thing()
    hooks = Breaks(name)
    async with play([Turn(Call(READ, {"name": item}, "c1")), Turn(Text("read"))]) as one:
        agent = one.agent()
        with pytest.raises(LookupError, match="a hook"):
            await one.run(agent, "Read it.", hooks=hooks)

        state = await RunState.from_string(agent, one.saved[-1]) if one.saved else None
        again = await one.run(agent, state or "Read it.", hooks=hooks)

        assert again.final_output == "read"
        assert stage.spy.executed("read_thing", {"name": item}) == 1
        assert len(one.model.asked) == 2


async def test_hooks_that_are_none_are_refused_before_anything_happens(play: Open) -> None:
    async with play([Turn(Text("never"))]) as one:
        with pytest.raises(UserError, match="the hooks of the run are a `AgentHooks`"):
            await one.run(one.agent(), "Hello.", hooks=AgentHooks())
        with pytest.raises(UserError, match="the hooks of the agent `Ops` are a `list`"):
            await one.run(one.agent(hooks=[]), "Hello.")

        assert one.model.asked == []


async def test_a_filter_changes_one_request_and_never_the_history(play: Open) -> None:
    def short(data: CallModelData[Any]) -> ModelInputData:
        kept = [item for item in data.model_data.input if item.get("role") != "user"]
        return ModelInputData(input=[{"role": "user", "content": "short"}, *kept], instructions="Be brief.")

    async with play([Turn(Call(READ, {"name": thing()}, "c1")), Turn(Text("read"))]) as one:
        result = await one.run(one.agent(), "A long story.", run_config=RunConfig(call_model_input_filter=short))

        assert [each[0]["content"] for each in one.inputs()] == ["short", "short"]
        assert [asked.body["instructions"] for asked in one.model.asked] == ["Be brief.", "Be brief."]
        assert result.to_input_list()[0]["content"] == "A long story."


async def test_a_filter_that_drops_an_output_ends_the_run_before_the_model_is_asked_and_the_call_is_not_repeated(
    play: Open, stage: Stage
) -> None:
    item = thing()

    def forgetful(data: CallModelData[Any]) -> ModelInputData:
        kept = [each for each in data.model_data.input if each.get("type") != "function_call_output"]
        return ModelInputData(input=kept, instructions=data.model_data.instructions)

    async with play([Turn(Call(READ, {"name": item}, "c1")), Turn(Text("read"))]) as one:
        agent = one.agent()
        with pytest.raises(UserError, match="left out the output of the call `c1`"):
            await one.run(agent, "Read it.", run_config=RunConfig(call_model_input_filter=forgetful))
        assert len(one.model.asked) == 1

        done = await one.run(agent, await RunState.from_string(agent, one.saved[-1]))

        assert done.final_output == "read"
        assert stage.spy.executed("read_thing", {"name": item}) == 1


async def test_a_program_may_say_itself_that_a_call_was_rejected(play: Open, stage: Stage) -> None:
    def words(args: ToolErrorFormatterArgs[Any]) -> str | None:
        return f"{args.kind}: {args.tool_name}" if args.kind == "approval_rejected" else None

    config = RunConfig(tool_error_formatter=words)
    async with play([Turn(Call(WRITE, {"name": thing()}, "c1")), Turn(Text("fine"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Write it.", run_config=config)
        [record] = await one.waiting()
        await stage.proxy.reject(record, message="")

        await one.again(agent, result, run_config=config)

        assert one.last_outputs() == {"c1": f"approval_rejected: {WRITE}"}
