"""What a stream says, in which order, and that both kinds of answer say the same."""

from __future__ import annotations

from typing import Any, cast

import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from kit.responses_script import (
    Approval,
    Call,
    Custom,
    McpCall,
    McpTools,
    Patch,
    Reasoning,
    Refusal,
    Script,
    Shell,
    Text,
    Turn,
    read_turns,
)
from kit.responses_server import serving_responses
from responses.conftest import Open

JSON = dict[str, Any]
EVERYTHING = Turn(
    Reasoning("Somebody must be paid, and then told."),
    Call("pay", {"to": "ana", "amount": 150}),
    Call("tell", "{not json"),
    Custom("say", "anything at all"),
    Shell(["ls -l", "cat notes.txt"]),
    Patch({"type": "update_file", "path": "a.txt", "diff": "@@\n-a\n+b"}),
    McpTools("docs", [{"name": "search", "input_schema": {"type": "object"}}]),
    McpCall("docs", "search", {"q": "holdshort"}, output="found"),
    Approval("docs", "delete", {"id": 7}),
    Refusal("I will not do that."),
    Text("Paid — and ünïcode survives."),
)


async def stream_of(client: AsyncOpenAI, turn_input: Any = "go", **more: Any) -> list[JSON]:
    """Every event, as the client gives it."""
    stream: Any = await client.responses.create(model="gpt-test", input=turn_input, stream=True, **more)
    return [event.to_dict() async for event in stream]


def kinds(events: list[JSON]) -> list[str]:
    """The types without repeats and without their common beginning."""
    names = [event["type"].removeprefix("response.") for event in events]
    return [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


async def test_a_text_comes_in_the_order_of_the_service(model: Open) -> None:
    async with model(Turn(Text("hello, everybody"))) as (_, client):
        events = await stream_of(client)

    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


async def test_reasoning_and_a_call_come_in_the_order_of_the_service(model: Open) -> None:
    async with model(Turn(Reasoning("hm"), Call("pay", {"amount": 5}))) as (_, client):
        events = await stream_of(client)

    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


async def test_every_event_is_one_that_the_client_knows(model: Open) -> None:
    known: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    async with model(EVERYTHING) as (_, client):
        events = await stream_of(client)

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        read = known.validate_python(event, strict=True)
        assert read.type == event["type"]
        assert set(read.model_extra or {}) <= {"item_id", "name", "logprobs"}


async def test_the_pieces_of_a_stream_are_the_whole(model: Open) -> None:
    async with model(EVERYTHING) as (_, client):
        events = await stream_of(client)

    whole = events[-1]["response"]["output"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    pieces: dict[tuple[int, int], str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            inner = next(
                (event[name] for name in ("content_index", "summary_index", "command_index") if name in event), 0
            )
            key = (event["output_index"], inner)
            pieces[key] = pieces.get(key, "") + event["delta"]
    assert done == whole
    assert pieces == {
        (0, 0): "Somebody must be paid, and then told.",
        (1, 0): '{"to": "ana", "amount": 150}',
        (2, 0): "{not json",
        (3, 0): "anything at all",
        (4, 0): "ls -l",
        (4, 1): "cat notes.txt",
        (7, 0): '{"q": "holdshort"}',
        (9, 0): "I will not do that.",
        (10, 0): "Paid — and ünïcode survives.",
    }


async def test_nothing_is_told_before_its_time(model: Open) -> None:
    async with model(Turn(Reasoning("hm"), Call("pay", {"amount": 5}), Text("paid"))) as (_, client):
        events = await stream_of(client)

    begun = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert [event["response"]["output"] for event in events[:2]] == [[], []]
    assert {event["response"]["status"] for event in events[:2]} == {"in_progress"}
    assert [item.get("status") for item in begun] == [None, "in_progress", "in_progress"]
    assert (begun[0]["summary"], begun[1]["arguments"], begun[2]["content"]) == ([], "", [])


async def test_a_streamed_response_is_the_one_that_is_not_streamed(model: Open) -> None:
    bodies: list[JSON] = []
    for stream in (True, False):
        async with model(EVERYTHING) as (_, client):
            if stream:
                body = (await stream_of(client))[-1]["response"]
            else:
                plain = await client.responses.create(model="gpt-test", input="go")
                body = cast(JSON, plain.to_dict())
        bodies.append({name: value for name, value in body.items() if not name.endswith("_at")})

    assert bodies[0] == bodies[1]


async def test_a_response_is_whole_to_the_client_s_own_types(model: Open) -> None:
    async with model(EVERYTHING) as (_, client):
        response = await client.responses.create(model="gpt-test", input="go")

    read = Response.model_validate(response.to_dict(), strict=True)
    assert [item.type for item in read.output] == [said.made()["type"] for said in EVERYTHING.items]
    assert set(read.model_extra or {}) == {"store"}  # the service sends it, and the client has no name for it


async def test_the_helper_of_the_client_reads_a_stream_to_its_end(model: Open) -> None:
    async with (
        model(Turn(Text("hello, everybody"))) as (_, client),
        client.responses.stream(model="gpt-test", input="go") as stream,
    ):
        final = await stream.get_final_response()

    assert final.output_text == "hello, everybody"


async def test_an_incomplete_response_ends_with_its_reason_and_is_kept(model: Open) -> None:
    async with model(Turn(Text("once upon a"), incomplete="max_output_tokens"), Turn(Text("time"))) as (_, client):
        end = (await stream_of(client))[-1]
        kept = await client.responses.retrieve(end["response"]["id"])
        more = await client.responses.create(model="gpt-test", input="go on", previous_response_id=kept.id)

    assert end["type"] == "response.incomplete"
    assert end["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert end["response"]["output"][0]["status"] == "incomplete"
    assert (kept.status, more.output_text) == ("incomplete", "time")


async def test_a_refused_request_is_no_stream(model: Open) -> None:
    async with model() as (_, client):
        with pytest.raises(Exception, match="No tool call found") as caught:
            await stream_of(client, [{"type": "function_call_output", "call_id": "call_1", "output": ""}])

    assert cast(Any, caught.value).status_code == 400


async def test_ids_are_the_same_in_two_runs_of_one_script() -> None:
    runs: list[list[str]] = []
    for _ in range(2):
        async with (
            serving_responses(Script([EVERYTHING])) as server,
            AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client,
        ):
            events = await stream_of(client)
            runs.append([str(item.get("call_id") or item["id"]) for item in events[-1]["response"]["output"]])

    assert runs[0] == runs[1]


async def test_items_may_have_fields_that_nobody_knows_yet(model: Open) -> None:
    [turn] = read_turns([{"items": [{"with": {"async": True, "new": {"a": 1}}, "call": "pay", "call_id": "call_1"}]}])
    async with model(turn, turn) as (_, client):
        whole = (await client.responses.create(model="gpt-test", input="go")).output[0].to_dict()
        streamed = (await stream_of(client))[-1]["response"]["output"][0]

    assert (whole["async"], whole["new"], whole["name"]) == (True, {"a": 1}, "pay")
    assert streamed == whole | {"id": streamed["id"]}


async def test_tokens_that_were_kept_and_tokens_of_thought_are_counted(model: Open) -> None:
    async with model(Turn(Reasoning("a long thought"), Text("one")), Turn(Text("two"))) as (_, client):
        first = await client.responses.create(model="gpt-test", input="hi")
        second = await client.responses.create(model="gpt-test", input="more", previous_response_id=first.id)

    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.input_tokens_details.cached_tokens == 0
    assert 0 < first.usage.output_tokens_details.reasoning_tokens < first.usage.output_tokens
    assert 0 < second.usage.input_tokens_details.cached_tokens < second.usage.input_tokens
