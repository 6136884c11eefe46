"""Spans: one trace over all pauses, parents that are right, and nothing in them that is nobody's business."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import anyio
import pytest
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode, format_span_id, format_trace_id

from holdshort.runner import Agent, RunConfig, Runner, RunState, tracing
from holdshort.runner.data import CallData, CallKind, CallStatus, RunData, UsageData
from holdshort.runner.requests import Request
from holdshort.runner.responses import Answer
from holdshort.runner.tracing import RunTrace
from kit.responses_script import Call, Text, Turn
from runner.conftest import Open
from runner.stage import Stage

SECRET = "swordfish"


class Spans:
    """What was traced, once it ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def ended(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def clear(self) -> None:
        self._exporter.clear()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """A real OpenTelemetry SDK, for this test only."""
    recorded = Spans()
    monkeypatch.setattr(tracing, "get_tracer", recorded.provider.get_tracer)
    return recorded


def about(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def context_of(span: ReadableSpan) -> SpanContext:
    context: SpanContext | None = span.context
    assert context is not None
    return context


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    same_trace = context_of(span).trace_id == context_of(parent).trace_id
    return same_trace and span.parent is not None and span.parent.span_id == context_of(parent).span_id


def traceparent_of(span: ReadableSpan) -> str:
    context = context_of(span)
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"


def run_data(**more: Any) -> RunData:
    return RunData(run_id="run-1", agent="Ops", first_agent="Ops", **more)


def traced(data: RunData, **config: Any) -> RunTrace:
    return RunTrace(RunConfig(**config), data, Agent("Ops"))


def call(**more: Any) -> CallData:
    return CallData(
        call_id="c1",
        key="c1",
        kind=CallKind.FUNCTION,
        name="mail",
        server="local",
        tool="mail",
        arguments=json.dumps({"to": SECRET}),
        agent="Ops",
        item={"type": "function_call"},
        **more,
    )


def request() -> Request:
    return Request(
        agent="Ops", model="gpt-5.6", instructions=f"Keep {SECRET}.", input=[{"role": "user", "content": SECRET}]
    )


def answer() -> Answer:
    usage = UsageData(requests=1, input_tokens=9, cached_tokens=2, output_tokens=5, reasoning_tokens=1, total_tokens=14)
    return Answer(response_id="resp_1", items=[{"type": "message", "content": SECRET}], usage=usage)


def everything(run: RunTrace) -> None:
    """Start and end one span of each kind."""
    run.begin()
    asked = run.model_started("Ops", request())
    asked.answered(answer())
    asked.end()
    one = call()
    tool = run.tool_started("Ops", one)
    one.status, one.output = CallStatus.DONE, {"type": "function_call_output", "output": SECRET}
    tool.settled(one)
    run.end("done")


def test_spans_are_named_and_described_as_the_conventions_say(spans: Spans) -> None:
    data = run_data(session_id="user-1")
    everything(traced(data, group_id="chat-7", trace_metadata={"team": "blue"}, workflow_name="Cleaning"))

    run, asked, tool = spans.one("invoke_agent Ops"), spans.one("chat gpt-5.6"), spans.one("execute_tool mail")
    assert run.parent is None
    assert is_child(asked, run)
    assert is_child(tool, run)
    assert (run.kind.name, asked.kind.name, tool.kind.name) == ("INTERNAL", "CLIENT", "INTERNAL")
    assert (
        about(run).items()
        >= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "Ops",
            "gen_ai.conversation.id": "user-1",
            "gen_ai.workflow.name": "Cleaning",
            "holdshort.run_id": "run-1",
            "holdshort.group_id": "chat-7",
            "holdshort.metadata.team": "blue",
            "holdshort.status": "done",
            "holdshort.paused": False,
        }.items()
    )
    assert (
        about(asked).items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5.6",
            "gen_ai.response.id": "resp_1",
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 2,
            "gen_ai.conversation.id": "user-1",
            "holdshort.run_id": "run-1",
        }.items()
    )
    assert (
        about(tool).items()
        >= {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "mail",
            "gen_ai.tool.call.id": "c1",
            "gen_ai.tool.type": "function",
            "gen_ai.agent.name": "Ops",
            "holdshort.call.kind": "function",
            "holdshort.call.status": "done",
            "holdshort.run_id": "run-1",
        }.items()
    )
    assert "holdshort.decision" not in about(tool)


def test_arguments_texts_and_results_are_told_only_when_asked_for(spans: Spans) -> None:
    everything(traced(run_data()))
    assert SECRET not in "".join(span.to_json() for span in spans.ended())

    spans.clear()
    everything(traced(run_data(), trace_include_sensitive_data=True))

    told = {span.name: span.to_json().count(SECRET) for span in spans.ended()}
    assert told == {"chat gpt-5.6": 3, "execute_tool mail": 2, "invoke_agent Ops": 0}
    assert about(spans.one("execute_tool mail"))["gen_ai.tool.call.arguments"] == json.dumps({"to": SECRET})
    assert about(spans.one("execute_tool mail"))["gen_ai.tool.call.result"] == json.dumps(SECRET)


def test_errors_are_told_by_their_type_and_in_their_words_only_when_asked_for(spans: Spans) -> None:
    for tells_all in (False, True):
        spans.clear()
        run = traced(run_data(), trace_include_sensitive_data=tells_all)
        span = run.model_started("Ops", request())
        span.failed(LookupError(SECRET))
        span.end()
        run.end("failed", LookupError(SECRET))

        for ended in spans.ended():
            assert ended.status.status_code is StatusCode.ERROR
            assert about(ended)["error.type"] == "LookupError"
            assert (SECRET in json.dumps([dict(event.attributes or {}) for event in ended.events])) is tells_all


def test_the_trace_is_kept_in_the_run_and_whoever_goes_on_continues_it(spans: Spans) -> None:
    data = run_data()
    first = traced(data)
    first.begin()
    first.end("waiting")
    beginning = spans.one("invoke_agent Ops")
    assert data.trace == {"traceparent": traceparent_of(beginning)}
    assert about(beginning)["holdshort.paused"] is True

    for _ in range(2):
        spans.clear()
        kept = run_data(trace=dict(data.trace))
        everything(traced(kept))

        later = spans.one("invoke_agent Ops")
        assert is_child(later, beginning)
        assert is_child(spans.one("chat gpt-5.6"), later)
        assert kept.trace == data.trace


def test_a_run_belongs_to_its_callers_trace_and_a_resumed_one_is_linked_to_it(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("the program")
    data = run_data()
    with tracer.start_as_current_span("first request") as first:
        run = traced(data)
    run.begin()
    run.end("waiting")
    assert spans.one("invoke_agent Ops").parent == first.get_span_context()

    spans.clear()
    with tracer.start_as_current_span("second request") as second:
        again = traced(data)
    again.begin()
    again.end("done")

    later = spans.one("invoke_agent Ops")
    assert context_of(later).trace_id == first.get_span_context().trace_id
    assert [link.context for link in later.links] == [second.get_span_context()]


@pytest.mark.parametrize("kept", ["", "nonsense", "00-0-0-00", "ff-" + "1" * 32 + "-" + "2" * 16 + "-01"])
def test_a_damaged_trace_in_a_state_begins_a_new_one(spans: Spans, kept: str) -> None:
    data = run_data(trace={"traceparent": kept})

    everything(traced(data))

    assert spans.one("invoke_agent Ops").parent is None


def test_what_a_tool_does_is_a_child_of_its_call(spans: Spans) -> None:
    run = traced(run_data())
    one = call()
    span = run.tool_started("Ops", one)
    with spans.provider.get_tracer("the program").start_as_current_span("POST /mail"):
        pass
    carried = run.carrier()
    carried_for_the_call = run.carrier(one)
    with run.agent_started("Helper"):
        asked = run.model_started("Helper", request())
        asked.end()
    span.settled(one)
    outside = run.carrier(one)
    run.end("done")

    tool, helper = spans.one("execute_tool mail"), spans.one("invoke_agent Helper")
    assert is_child(spans.one("POST /mail"), tool)
    assert is_child(helper, tool)
    assert is_child(spans.one("chat gpt-5.6"), helper)
    assert carried == carried_for_the_call == {"traceparent": traceparent_of(tool)}
    assert run.carrier() == outside == {"traceparent": traceparent_of(spans.one("invoke_agent Ops"))}
    assert otel_trace.get_current_span().get_span_context().is_valid is False


async def test_calls_side_by_side_do_not_become_each_others_parents(spans: Spans) -> None:
    run = traced(run_data())
    run.begin()
    here: list[str] = []
    both = anyio.Event()

    async def settle(name: str) -> None:
        one = call()
        one.key = one.name = name
        span = run.tool_started("Ops", one)
        here.append(name)
        if len(here) == 2:
            both.set()
        await both.wait()
        with spans.provider.get_tracer("the program").start_as_current_span(f"inside {name}"):
            await anyio.lowlevel.checkpoint()
        span.settled(one)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, "a")
            tasks.start_soon(settle, "b")
    run.end("done")

    for name in "ab":
        assert is_child(spans.one(f"execute_tool {name}"), spans.one("invoke_agent Ops"))
        assert is_child(spans.one(f"inside {name}"), spans.one(f"execute_tool {name}"))


def test_a_call_says_what_was_decided_about_it(spans: Spans) -> None:
    run = traced(run_data())
    for status, state, decisions in (
        (CallStatus.PARKED, "pending", []),
        (CallStatus.DONE, "executed", [{"decision": "edit"}, {"decision": "approve"}]),
    ):
        one = call(status=status, interruption={"id": "i-1", "state": state, "decisions": decisions})
        run.tool_started("Ops", one).settled(one)
    run.end("done")

    parked, decided = map(about, spans.named("execute_tool mail"))
    assert (parked["holdshort.interruption.id"], parked["holdshort.paused"]) == ("i-1", True)
    assert "holdshort.decision" not in parked
    assert (decided["holdshort.decision"], decided["holdshort.paused"]) == ("approve", False)


def test_usage_of_a_run_span_is_that_of_its_own_part_of_the_run(spans: Spans) -> None:
    data = run_data(usage=UsageData(input_tokens=100, output_tokens=50))
    run = traced(data)
    run.begin()
    data.usage.add(UsageData(input_tokens=7, output_tokens=3))
    run.end("done")

    told = about(spans.one("invoke_agent Ops"))
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (7, 3)


def test_a_run_that_nobody_read_to_its_end_is_abandoned_and_one_that_never_began_has_no_span(spans: Spans) -> None:
    traced(run_data()).end("failed")
    assert spans.ended() == ()

    run = traced(run_data())
    run.begin()
    run.end("failed")
    assert about(spans.one("invoke_agent Ops"))["holdshort.status"] == "abandoned"


def test_a_run_that_is_not_traced_leaves_no_mark_and_the_programs_own_span_current(spans: Spans) -> None:
    data = run_data()
    with spans.provider.get_tracer("the program").start_as_current_span("request") as mine:
        run = traced(data, tracing_disabled=True, trace_include_sensitive_data=True)
        run.begin()
        one = call()
        span = run.tool_started("Ops", one)
        assert otel_trace.get_current_span() is mine
        assert run.carrier() == run.carrier(one) == {}
        span.settled(one)
        run.end("done")

    assert [ended.name for ended in spans.ended()] == ["request"]
    assert data.trace == {}


def test_without_an_sdk_nothing_happens() -> None:
    data = run_data()
    run = traced(data, trace_include_sensitive_data=True)
    run.begin()

    assert run.carrier() == {}
    everything(run)
    assert data.trace == {}


def test_without_an_sdk_a_trace_that_others_keep_is_passed_on() -> None:
    kept = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    data = run_data(trace=dict(kept))
    run = traced(data)
    run.begin()

    assert run.carrier() == kept
    run.end("waiting")
    assert data.trace == kept


# -- with a run


async def test_one_trace_holds_a_run_over_its_pause_and_the_proxy_hears_of_it(
    play: Open, stage: Stage, spans: Spans
) -> None:
    name = f"thing-{uuid4().hex[:8]}"
    turns = [Turn(Call("things__write_thing", {"name": name}, "c1")), Turn(Text("written"))]
    async with play(turns) as one:
        agent = one.agent()
        result = await one.run(agent, "Write it.")
        [waiting] = result.interruptions
        before = spans.ended()
        await one.approve_all()
        state = await RunState.from_string(agent, one.saved[-1])
        done = await one.run(agent, state, streamed=True)
        assert done.final_output == "written"

    ended = spans.ended()
    assert [span.name for span in ended] == [
        "chat gpt-5.6",
        "execute_tool things__write_thing",
        "invoke_agent Ops",
        "execute_tool things__write_thing",
        "chat gpt-5.6",
        "invoke_agent Ops",
    ]
    assert len(before) == 3  # a pause leaves no span open
    assert len({context_of(span).trace_id for span in ended}) == 1
    first, second = spans.named("invoke_agent Ops")
    assert is_child(second, first)
    assert (about(first)["holdshort.paused"], about(second)["holdshort.paused"]) == (True, False)
    assert about(first)["holdshort.interruption.ids"] == (waiting.id,)
    parked, ran = spans.named("execute_tool things__write_thing")
    assert (about(parked)["holdshort.call.status"], about(ran)["holdshort.call.status"]) == ("parked", "done")
    assert about(parked)["holdshort.interruption.id"] == waiting.id == about(ran)["holdshort.interruption.id"]
    assert is_child(parked, first)
    assert is_child(ran, second)
    assert name not in "".join(span.to_json() for span in ended)
    [heard] = [sent for sent in stage.spy.received("tools/call") if sent["params"].get("arguments") == {"name": name}]
    assert heard["params"]["_meta"]["traceparent"] == traceparent_of(ran)


async def test_an_agent_inside_another_has_its_spans_under_the_call_of_it(play: Open, spans: Spans) -> None:
    turns = [
        Turn(Call("ask_freely", {"input": "read it"}, "c1")),
        Turn(Call("things__write_thing", {"name": "x"}, "c2")),
    ]
    async with play(turns) as one:
        helper = one.agent("Helper")
        agent = Agent[Any]("Ops", tools=[helper.as_tool("ask_freely")], proxy=helper.proxy)
        result = await one.run(agent, "Have it read.")

    assert len(result.interruptions) == 1
    outer, inner = spans.one("invoke_agent Ops"), spans.one("invoke_agent Helper")
    asked, asked_inside = spans.named("chat gpt-5.6")
    assert is_child(spans.one("execute_tool ask_freely"), outer)
    assert is_child(inner, spans.one("execute_tool ask_freely"))
    assert is_child(spans.one("execute_tool things__write_thing"), inner)
    assert (is_child(asked, outer), is_child(asked_inside, inner)) == (True, True)


async def test_a_stream_that_is_abandoned_leaves_no_span_open(play: Open, spans: Spans) -> None:
    async with play([Turn(Text("never read"))]) as one:
        result = Runner.run_streamed(one.agent(), "Hello.", client=one.client)
        stream = result.stream_events()
        assert isinstance(stream, AsyncGenerator)
        async with aclosing(stream) as events:
            async for event in events:
                if event.type == "raw_response_event":
                    break

    assert sorted(span.name for span in spans.ended()) == ["chat gpt-5.6", "invoke_agent Ops"]
    assert about(spans.one("invoke_agent Ops"))["holdshort.status"] in ("abandoned", "cancelled")
    assert otel_trace.get_current_span().get_span_context().is_valid is False
