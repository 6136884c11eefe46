"""Function tools: asked about where they must be, run once, and told to the proxy and the model as it was."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
import pytest

from holdshort.runner import (
    RunHooks,
    Runner,
    RunState,
    ToolFailed,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    UserError,
    function_tool,
    tool_input_guardrail,
    tool_output_guardrail,
)
from holdshort.runner.tools import FunctionTool, ToolContext
from kit.process import until_async
from kit.responses_script import Call, Text, Turn
from runner.conftest import Open
from runner.deciding import decide, decided_all, record_of, records_of
from runner.stage import Stage

BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


@dataclass(slots=True)
class Post:
    """A post office that counts."""

    sent: list[str] = field(default_factory=list[str])
    error: Exception | None = None

    def tool(self, **more: Any) -> FunctionTool:
        """Its one tool."""

        said: dict[str, Any] = {"name_override": "send_mail", "needs_approval": True, **more}

        @function_tool(**said)
        async def send(to: str) -> dict[str, Any]:
            """Send a mail."""
            self.sent.append(to)
            if self.error is not None:
                raise self.error
            return {"sent": to}

        return send


def script(arguments: Any = None, name: str = "send_mail") -> list[Turn]:
    return [Turn(Call(name, {"to": "ana"} if arguments is None else arguments, "c1")), Turn(Text("done"))]


@BOTH_WAYS
async def test_a_tool_that_needs_no_approval_runs_at_once_and_nobody_is_asked(play: Open, streamed: bool) -> None:
    post = Post()
    async with play(script()) as one:
        result = await one.run(one.agent(tools=[post.tool(needs_approval=False)]), "Go.", streamed=streamed)

        assert result.final_output == "done"
        assert one.last_outputs() == {"c1": '{"sent":"ana"}'}
        assert (post.sent, await records_of(one)) == (["ana"], [])


@BOTH_WAYS
async def test_a_gated_tool_waits_runs_once_and_its_outcome_is_on_record(play: Open, streamed: bool) -> None:
    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.", streamed=streamed)

        [waiting] = result.interruptions
        assert (waiting.kind, waiting.server, waiting.tool_name) == ("function", "local", "send_mail")
        assert waiting.parsed_arguments == {"to": "ana"}
        assert post.sent == []
        await decided_all(one)
        done = await one.again(agent, result, streamed=streamed)

        assert (done.final_output, post.sent) == ("done", ["ana"])
        assert one.last_outputs() == {"c1": '{"sent":"ana"}'}
        record = await record_of(one, "c1")
        assert record["state"] == "executed"
        assert record["outcome"]["result"] == {"output": '{"sent":"ana"}'}


async def test_a_snapshot_that_is_gone_on_from_twice_runs_the_tool_once_and_says_the_same_twice(play: Open) -> None:
    post = Post()
    turns = [*script(), Turn(Text("done again"))]
    async with play(turns) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        first = await one.again(agent, result)
        heard = one.last_outputs()
        second = await one.again(agent, result)

        assert (first.final_output, second.final_output) == ("done", "done again")
        assert one.last_outputs() == heard == {"c1": '{"sent":"ana"}'}
        assert post.sent == ["ana"]


async def test_what_a_person_edited_is_what_runs_and_the_model_is_told(play: Open) -> None:
    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.")
        [record] = await one.waiting()
        refused = await one.stage.proxy.decide(record, "edit", arguments={"to": 5})
        assert refused.status_code == 422
        await decide(one, record, "edit", arguments={"to": "ben"})
        await one.again(agent, result)

        assert post.sent == ["ben"]
        told = one.last_outputs()["c1"]
        assert told.startswith("EDITED BEFORE IT RAN")
        assert '{"to": "ben"}' in told
        assert told.endswith('{"sent":"ben"}')


@pytest.mark.parametrize(
    ("decision", "more", "told"),
    [
        ("reject", {"message": "not on a Friday"}, "not on a Friday"),
        ("respond", {"content": "I sent it by hand"}, "I sent it by hand"),
    ],
)
async def test_a_tool_that_a_person_stopped_does_not_run(play: Open, decision: str, more: Any, told: str) -> None:
    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.")
        await decided_all(one, decision, **more)
        done = await one.again(agent, result)

        assert (done.final_output, post.sent) == ("done", [])
        assert told in one.last_outputs()["c1"]
        assert "not executed" in one.last_outputs()["c1"]


@pytest.mark.parametrize("arguments", ['{"to": 5}', '{"to": "a", "to": "b"}', "{", "[]", '{"to": NaN}', "{}"])
async def test_nobody_is_asked_about_arguments_that_cannot_be_run(play: Open, arguments: str) -> None:
    post = Post()
    async with play(script(arguments)) as one:
        result = await one.run(one.agent(tools=[post.tool()]), "Go.")

        assert (result.final_output, post.sent, await records_of(one)) == ("done", [], [])
        assert one.last_outputs()["c1"].startswith("NOT EXECUTED: the arguments of `send_mail` cannot be used")


async def test_what_policy_forbids_does_not_run(play: Open) -> None:
    post = Post()
    async with play(script(name="forbidden_mail")) as one:
        result = await one.run(one.agent(tools=[post.tool(name_override="forbidden_mail")]), "Go.")

        assert (result.final_output, post.sent) == ("done", [])
        assert one.last_outputs()["c1"].startswith("REFUSED BY POLICY")


async def test_a_tool_may_ask_depending_on_its_arguments(play: Open) -> None:
    post, asked = Post(), list[Any]()

    async def abroad(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        asked.append((arguments, call_id))
        return bool(arguments["to"] == "ben")

    turns = [Turn(Call("send_mail", {"to": "ana"}, "c1"), Call("send_mail", {"to": "ben"}, "c2")), Turn(Text("done"))]
    async with play(turns) as one:
        result = await one.run(one.agent(tools=[post.tool(needs_approval=abroad)]), "Go.")

        assert [each.call_id for each in result.interruptions] == ["c2"]
        assert post.sent == ["ana"]
        assert sorted(asked, key=str) == [({"to": "ana"}, "c1"), ({"to": "ben"}, "c2")]


async def test_a_question_that_cannot_be_answered_means_that_somebody_is_asked(play: Open) -> None:
    def broken(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        raise KeyError("nobody knows")

    post = Post()
    async with play(script()) as one:
        result = await one.run(one.agent(tools=[post.tool(needs_approval=broken)]), "Go.")
        assert (len(result.interruptions), post.sent) == (1, [])


async def test_a_gated_tool_of_an_agent_without_a_proxy_does_not_run(play: Open) -> None:
    post = Post()
    async with play(script()) as one:
        with pytest.raises(UserError, match="proxy"):
            await one.run(one.agent(tools=[post.tool()], proxy=None), "Go.")
        assert post.sent == []


async def test_a_program_may_have_every_call_asked_about(play: Open, stage: Stage) -> None:
    post = Post()
    look = Post()
    turns = [Turn(Call("send_mail", {"to": "ana"}, "c1"), Call("look_up", {"to": "x"}, "c2")), Turn(Text("done"))]
    tools = [post.tool(needs_approval=False), look.tool(needs_approval=False, name_override="look_up")]
    async with play(turns) as one:
        agent = one.agent(tools=tools, proxy=stage.approval_proxy(ask_about="all"))
        result = await one.run(agent, "Go.")

        assert ([each.call_id for each in result.interruptions], post.sent, look.sent) == (["c1"], [], ["x"])


async def test_a_tool_may_be_made_by_hand(play: Open) -> None:
    seen = list[str]()

    async def invoke(context: ToolContext[Any], arguments: str) -> dict[str, int]:
        seen.append(arguments)
        return {"seen": len(seen)}

    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tool = FunctionTool(
        name="count", description="Count.", params_json_schema=schema, on_invoke_tool=invoke, strict_json_schema=False
    )
    turns = [Turn(Call("count", '{"a": 1}', "c1"), Call("count", '{"a": 1, "a": 2}', "c2")), Turn(Text("done"))]
    async with play(turns) as one:
        await one.run(one.agent(tools=[tool]), "Go.")

        assert seen == ['{"a": 1}']
        outputs = one.last_outputs()
        assert outputs["c1"] == '{"seen":1}'
        assert outputs["c2"].startswith("NOT EXECUTED: the arguments of `count`")


# -- what goes wrong while it runs


async def test_a_tool_that_raises_is_told_as_it_was_and_not_run_again(play: Open) -> None:
    post = Post(error=ValueError("no such box"))
    async with play([*script(), Turn(Text("again"))]) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        done = await one.again(agent, result)
        told = one.last_outputs()["c1"]
        await one.again(agent, result)

        assert (done.final_output, post.sent) == ("done", ["ana"])
        assert "`send_mail` failed: ValueError: no such box" in told
        assert "Do not repeat it unchanged" in told
        assert one.last_outputs()["c1"] == told
        record = await record_of(one, "c1")
        assert (record["state"], record["outcome"]["kind"]) == ("executed", "tool_error")


async def test_a_program_may_say_itself_what_a_failure_is(play: Open) -> None:
    def words(context: Any, error: Exception) -> str:
        return f"sorry: {error}"

    post = Post(error=ValueError("no such box"))
    async with play(script()) as one:
        await one.run(one.agent(tools=[post.tool(needs_approval=False, failure_error_function=words)]), "Go.")
        assert one.last_outputs() == {"c1": "sorry: no such box"}


@pytest.mark.parametrize("gated", [False, True])
async def test_a_failure_may_end_the_run_and_going_on_does_not_run_the_tool_again(play: Open, gated: bool) -> None:
    post = Post(error=ValueError("no such box"))
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(needs_approval=gated, failure_error_function=None)])
        if gated:
            result = await one.run(agent, "Go.")
            await decided_all(one)
            with pytest.raises(ToolFailed, match="no such box") as raised:
                await one.again(agent, result)
        else:
            with pytest.raises(ToolFailed, match="no such box") as raised:
                await one.run(agent, "Go.")
        assert isinstance(raised.value.__cause__, ValueError)
        assert raised.value.state is not None
        done = await one.run(agent, raised.value.state)

        assert (done.final_output, post.sent) == ("done", ["ana"])
        assert "no such box" in one.last_outputs()["c1"]


@pytest.mark.parametrize("threaded", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize("gated", [False, True], ids=["free", "gated"])
async def test_a_tool_whose_time_is_up_has_an_outcome_that_nobody_knows(
    play: Open, threaded: bool, gated: bool
) -> None:
    began, end = list[str](), threading.Event()

    def block(to: str) -> None:
        began.append(to)
        end.wait(20)

    async def sleep(to: str) -> None:
        began.append(to)
        await anyio.sleep_forever()

    function: Any = block if threaded else sleep
    tool = function_tool(function, name_override="send_mail", timeout=0.2, needs_approval=gated)
    async with play(script()) as one:
        agent = one.agent(tools=[tool])
        result = await one.run(agent, "Go.")
        if gated:
            await decided_all(one)
            result = await one.again(agent, result)
        end.set()

        assert (result.final_output, began) == ("done", ["ana"])
        told = one.last_outputs()["c1"]
        assert told.startswith("OUTCOME UNKNOWN: `send_mail` did not end within 0.2 seconds")
        assert "Do NOT repeat it" in told
        if gated:
            assert (await record_of(one, "c1"))["state"] == "unknown"


@pytest.mark.parametrize("gated", [False, True], ids=["free", "gated"])
async def test_a_run_that_is_stopped_in_the_middle_says_that_nobody_knows(play: Open, gated: bool) -> None:
    began = anyio.Event()
    runs = list[str]()

    @function_tool(name_override="send_mail", needs_approval=gated)
    async def slow(to: str) -> None:
        runs.append(to)
        began.set()
        await anyio.sleep_forever()

    async with play(script()) as one:
        agent = one.agent(tools=[slow])
        given: Any = "Go."
        if gated:
            result = await one.run(agent, given)
            await decided_all(one)
            given = result.to_state()
        more: dict[str, Any] = {} if gated else {"run_id": one.run_id}
        streamed = Runner.run_streamed(agent, given, client=one.client, on_state=one.keep, **more)

        async def stop() -> None:
            await began.wait()
            streamed.cancel()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                async for _ in streamed.stream_events():
                    pass
        if gated:
            assert (await record_of(one, "c1"))["state"] == "unknown"
        done = await one.again(agent, streamed)

        assert (done.final_output, runs) == ("done", ["ana"])
        assert one.last_outputs()["c1"].startswith("OUTCOME UNKNOWN")


async def test_a_tool_that_cancels_itself_has_failed_and_the_run_goes_on(play: Open) -> None:
    @function_tool(name_override="send_mail")
    async def odd(to: str) -> None:
        raise asyncio.CancelledError("mine")

    async with play(script()) as one:
        result = await one.run(one.agent(tools=[odd]), "Go.")

        assert result.final_output == "done"
        assert "cancelled from within" in one.last_outputs()["c1"]


async def test_errors_of_a_group_are_all_told(play: Open) -> None:
    post = Post(error=ExceptionGroup("several", [ValueError("one"), KeyError("two")]))
    async with play(script()) as one:
        await one.run(one.agent(tools=[post.tool(needs_approval=False)]), "Go.")
        assert "ValueError: one; KeyError: 'two'" in one.last_outputs()["c1"]


async def test_tools_of_one_answer_run_side_by_side(play: Open) -> None:
    there, both = list[str](), anyio.Event()

    @function_tool
    async def meet(name: str) -> str:
        there.append(name)
        if len(there) == 2:
            both.set()
        with anyio.fail_after(20):
            await both.wait()
        return name

    turns = [Turn(Call("meet", {"name": "a"}, "c1"), Call("meet", {"name": "b"}, "c2")), Turn(Text("done"))]
    async with play(turns) as one:
        await one.run(one.agent(tools=[meet]), "Go.")
        assert one.last_outputs() == {"c1": "a", "c2": "b"}


# -- another process


def at(saved: list[str], status: str) -> str:
    """The first state in which the call is that far."""
    return next(text for text in saved if [call["status"] for call in json.loads(text)["run"]["calls"]] == [status])


async def test_a_process_that_finds_a_claim_of_one_that_finished_says_what_that_one_said(play: Open) -> None:
    post = Post()
    async with play([*script(), Turn(Text("again"))]) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        await one.again(agent, result)
        state = await RunState.from_string(agent, at(one.saved, "claimed"))
        done = await one.run(agent, state)

        assert (done.final_output, post.sent) == ("again", ["ana"])
        assert one.last_outputs() == {"c1": '{"sent":"ana"}'}


async def test_a_process_that_finds_a_claim_of_one_that_died_does_not_run_the_tool(play: Open) -> None:
    died = list[str]()

    @function_tool(name_override="send_mail", needs_approval=True)
    async def deadly(to: str) -> str:
        died.append(to)
        return "sent"

    class Died(Exception):
        pass

    def until_claimed(state: RunState) -> None:
        text = state.to_string()
        one.saved.append(text)
        if '"claimed"' in text:
            raise Died

    async with play(script()) as one:
        agent = one.agent(tools=[deadly])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        with pytest.raises(Died):
            await one.run(agent, result.to_state(), on_state=until_claimed)
        assert (await record_of(one, "c1"))["state"] == "executing"
        done = await one.run(agent, await RunState.from_string(agent, at(one.saved, "claimed")))

        assert (done.final_output, died) == ("done", [])
        assert one.last_outputs()["c1"].startswith("OUTCOME UNKNOWN")
        assert (await record_of(one, "c1"))["state"] == "unknown"


async def test_a_tool_without_approval_that_may_have_begun_is_not_run_again(play: Open) -> None:
    post = Post()
    async with play([*script(), Turn(Text("again"))]) as one:
        agent = one.agent(tools=[post.tool(needs_approval=False)])
        await one.run(agent, "Go.")
        done = await one.run(agent, await RunState.from_string(agent, at(one.saved, "sent")))

        assert (done.final_output, post.sent) == ("again", ["ana"])
        assert one.last_outputs()["c1"].startswith("OUTCOME UNKNOWN")


# -- guardrails and hooks


async def test_a_guardrail_on_the_input_sees_what_was_approved_and_may_still_stop_it(play: Open) -> None:
    seen = list[str]()

    @tool_input_guardrail
    def only_ana(data: Any) -> ToolGuardrailFunctionOutput:
        seen.append(data.context.arguments)
        if "ben" in data.context.arguments:
            return ToolGuardrailFunctionOutput.reject_content("not to ben")
        return ToolGuardrailFunctionOutput.allow()

    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(tool_input_guardrails=[only_ana])])
        result = await one.run(agent, "Go.")
        assert seen == []
        await decided_all(one, "edit", arguments={"to": "ben"})
        await one.again(agent, result)

        assert (seen, post.sent) == (['{"to": "ben"}'], [])
        assert one.last_outputs() == {"c1": "not to ben"}
        assert (await record_of(one, "c1"))["state"] == "failed"


async def test_a_guardrail_on_the_input_that_ends_the_run_keeps_the_tool_from_running(play: Open) -> None:
    strict = [True]

    @tool_input_guardrail
    def trip(data: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception() if strict[0] else ToolGuardrailFunctionOutput.allow()

    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(tool_input_guardrails=[trip])])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        with pytest.raises(ToolInputGuardrailTripwireTriggered) as raised:
            await one.again(agent, result)
        assert post.sent == []
        assert (await record_of(one, "c1"))["state"] == "failed"
        assert raised.value.state is not None

        strict[0] = False
        again = await one.run(agent, await RunState.from_string(agent, raised.value.state.to_string()))
        assert (again.final_output, post.sent) == (None, [])
        assert len(again.interruptions) == 1
        await decided_all(one)
        done = await one.again(agent, again)
        assert (done.final_output, post.sent) == ("done", ["ana"])


async def test_a_guardrail_on_the_output_decides_what_model_and_record_get(play: Open) -> None:
    @tool_output_guardrail
    def hide(data: Any) -> ToolGuardrailFunctionOutput:
        assert data.output == {"sent": "ana"}
        return ToolGuardrailFunctionOutput.reject_content("(sent)")

    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(tool_output_guardrails=[hide])])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        await one.again(agent, result)

        assert one.last_outputs() == {"c1": "(sent)"}
        assert (await record_of(one, "c1"))["outcome"]["result"] == {"output": "(sent)"}


@pytest.mark.parametrize("gated", [False, True], ids=["free", "gated"])
async def test_a_guardrail_on_the_output_that_ends_the_run_does_not_make_the_tool_run_again(
    play: Open, gated: bool
) -> None:
    @tool_output_guardrail
    def trip(data: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception()

    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(needs_approval=gated, tool_output_guardrails=[trip])])
        given: Any = "Go."
        if gated:
            result = await one.run(agent, given)
            await decided_all(one)
            given = result.to_state()
        with pytest.raises(ToolOutputGuardrailTripwireTriggered) as raised:
            await one.run(agent, given)
        assert raised.value.state is not None
        done = await one.run(agent, raised.value.state)

        assert (done.final_output, post.sent) == ("done", ["ana"])
        assert "withholds its output" in one.last_outputs()["c1"]
        if gated:
            assert (await record_of(one, "c1"))["state"] == "executed"


class Listening(RunHooks[Any]):
    """Hooks that remember, and fail on demand."""

    def __init__(self, fail: str = "") -> None:
        self.told: list[tuple[str, Any]] = []
        self.fail = fail

    def heard(self, word: str, what: Any) -> None:
        self.told.append((word, what))
        if self.fail == word:
            self.fail = ""
            raise RuntimeError(f"{word} failed")

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        assert isinstance(context, ToolContext)
        self.heard("start", context.arguments)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        self.heard("end", result)


async def test_hooks_hear_of_a_tool_when_it_runs_and_not_when_it_waits(play: Open) -> None:
    post, hooks = Post(), Listening()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool()])
        result = await one.run(agent, "Go.", hooks=hooks)
        assert hooks.told == []
        await decided_all(one)
        await one.again(agent, result, hooks=hooks)

        assert hooks.told == [("start", '{"to": "ana"}'), ("end", '{"sent":"ana"}')]


async def test_a_hook_that_fails_before_a_tool_leaves_it_to_be_run(play: Open) -> None:
    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(needs_approval=False)])
        with pytest.raises(RuntimeError, match="start failed"):
            await one.run(agent, "Go.", hooks=Listening("start"))
        assert post.sent == []
        done = await one.run(agent, await RunState.from_string(agent, one.saved[-1]))
        assert (done.final_output, post.sent) == ("done", ["ana"])


async def test_a_hook_that_fails_after_a_tool_loses_no_output(play: Open) -> None:
    post = Post()
    async with play(script()) as one:
        agent = one.agent(tools=[post.tool(needs_approval=False)])
        with pytest.raises(RuntimeError, match="end failed"):
            await one.run(agent, "Go.", hooks=Listening("end"))
        done = await one.run(agent, await RunState.from_string(agent, one.saved[-1]))

        assert (done.final_output, post.sent) == ("done", ["ana"])
        assert one.last_outputs() == {"c1": '{"sent":"ana"}'}


async def test_a_tool_gets_your_own_object_and_a_key_that_is_its_own(play: Open) -> None:
    seen = list[Any]()

    @function_tool
    def note(context: ToolContext[dict[str, str]], text: str) -> None:
        seen.append((context.context["who"], context.call_id, context.tool_name, context.key, context.arguments))

    async with play([Turn(Call("note", {"text": "a"}, "c1")), Turn(Text("done"))]) as one:
        await one.run(one.agent(tools=[note]), "Go.", context={"who": "me"})
        assert seen == [("me", "c1", "note", f"{one.run_id}:c1", '{"text": "a"}')]


async def test_another_process_that_runs_the_call_is_waited_for(play: Open) -> None:
    go, began, runs = anyio.Event(), anyio.Event(), list[str]()

    @function_tool(name_override="send_mail", needs_approval=True)
    async def slow(to: str) -> str:
        runs.append(to)
        began.set()
        await go.wait()
        return f"sent {uuid4()}"

    async with play([*script(), Turn(Text("again"))]) as one:
        agent = one.agent(tools=[slow])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        results = list[Any]()

        async def resume() -> None:
            results.append(await one.again(agent, result))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(resume)
                await began.wait()
                tasks.start_soon(resume)

                async def both_at_it() -> bool:
                    return len(one.saved) > 4

                await until_async(both_at_it, "the second run to go on", 10)
                go.set()

        assert runs == ["ana"]
        assert len({json.dumps(each.to_input_list()[2]) for each in results}) == 1
