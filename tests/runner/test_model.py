"""What is asked of the model arrives as it was meant, and its answer is kept to the letter, streamed or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from holdshort.runner.agent import ModelSettings
from holdshort.runner.data import UsageData
from holdshort.runner.errors import PreviousResponseGone, UserError
from holdshort.runner.model import close_default_client, default_client
from holdshort.runner.requests import body
from holdshort.runner.responses import refusal_of
from kit.responses_faults import Gone, Page, Stranger
from kit.responses_script import (
    Approval,
    Call,
    Custom,
    McpCall,
    McpTools,
    Patch,
    Reasoning,
    Refusal,
    Shell,
    Text,
    Turn,
    With,
)
from kit.responses_server import ResponsesServer
from runner.model_room import ask, asking, hear, texts

JSON = dict[str, Any]
EVERYTHING = Turn(
    Reasoning("Somebody must be paid, and then told."),
    With(Call("pay", {"to": "ana", "amount": 150}, call_id="call_1"), {"async": True, "namespace": "bank"}),
    With(Call("tell", "{not json", call_id="call_2"), {"shiny": {"a": [1, None, {"type": "b"}]}}),
    Custom("say", "anything at all", call_id="call_3"),
    With(Shell(["ls -l", "cat notes.txt"], call_id="call_4"), {"created_by": "service"}),
    With(Patch({"type": "update_file", "path": "a.txt", "diff": "@@\n-a\n+b"}, call_id="call_5"), {"created_by": "x"}),
    McpTools("docs", [{"name": "search", "input_schema": {"type": "object"}}]),
    McpCall("docs", "search", {"q": "holdshort"}, output="found"),
    Approval("docs", "delete", {"id": 7}),
    Refusal("I will not do that."),
    With(Text("Paid — and ünïcode survives. 🛩"), {"phase": "final_answer"}),
)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def made(server: ResponsesServer, response_id: str | None) -> list[JSON]:
    """What the service says that it answered."""
    return list(server.service.memory.responses[response_id or ""].body["output"])


@BOTH
async def test_every_item_is_kept_to_the_letter(stream: bool) -> None:
    async with asking(EVERYTHING) as (server, client):
        heard = await hear(client, ask(stream=stream))

        assert heard.answer.items == made(server, heard.answer.response_id)
        assert heard.answer.items[1]["async"] is True
        assert heard.answer.items[2]["shiny"] == {"a": [1, None, {"type": "b"}]}
        assert refusal_of(heard.answer.items) == "I will not do that."


@BOTH
async def test_an_item_that_is_not_what_the_client_expects_is_kept_to_the_letter(stream: bool) -> None:
    odd = [
        {"type": "message", "id": 7, "role": "robot", "content": "plain", "status": {"a": 1.0}},
        {"type": "function_call", "call_id": None, "arguments": {"a": 1}, "async": 3},
        {"type": "of_tomorrow", "model_config": {"x": []}},
    ]
    response = {"id": "resp_1", "output": odd, "status": "completed", "usage": {"input_tokens": "many"}}
    event = {"type": "response.completed", "response": response}
    page = Page(f"data: {json.dumps(event)}\n\n", "text/event-stream")
    async with asking(faults=(page if stream else Page(json.dumps(response), "application/json"),)) as (_, client):
        answer = (await hear(client, ask(stream=stream))).answer

    assert answer.items == odd
    assert answer.usage == UsageData(requests=1)


async def test_streamed_or_not_the_answer_is_the_same() -> None:
    answers: list[Any] = []
    for stream in (False, True):
        async with asking(EVERYTHING) as (_, client):
            answer = (await hear(client, ask(stream=stream))).answer
            answers.append((answer.items, answer.usage, answer.status, answer.response_id))

    assert answers[0] == answers[1]


@BOTH
async def test_what_was_answered_is_taken_back(stream: bool) -> None:
    outputs: list[JSON] = [
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
        {"type": "function_call_output", "call_id": "call_2", "output": "that was no JSON"},
        {"type": "custom_tool_call_output", "call_id": "call_3", "output": "said"},
        {"type": "shell_call_output", "call_id": "call_4", "output": []},
        {"type": "apply_patch_call_output", "call_id": "call_5", "status": "completed"},
    ]
    async with asking(EVERYTHING, Turn(Text("good"))) as (server, client):
        first = (await hear(client, ask(stream=stream))).answer
        request = next(item["id"] for item in first.items if item["type"] == "mcp_approval_request")
        approval: JSON = {"type": "mcp_approval_response", "approval_request_id": request, "approve": False}
        history: list[JSON] = [*ask().input, *first.items, *outputs, approval]
        second = (await hear(client, ask(input=history, stream=stream))).answer

        assert second.items[0]["content"][0]["text"] == "good"
        sent = server.asked[1].body["input"]
        kept = [{name: one for name, one in item.items() if name != "created_by"} for item in history]
        assert sent == kept
        assert sum("created_by" in item for item in history) == 2


@BOTH
async def test_reasoning_that_nobody_keeps_goes_back_sealed(stream: bool) -> None:
    settings = ModelSettings(store=False)
    turn = Turn(With(Reasoning("hm"), {"status": "completed"}), Call("pay", call_id="call_1"))
    async with asking(turn, Turn(Text("paid"))) as (server, client):
        first = (await hear(client, ask(settings=settings, stream=stream))).answer
        output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
        history = [*ask().input, *first.items, output]
        await hear(client, ask(input=history, settings=settings, stream=stream))

        sealed = first.items[0]["encrypted_content"]
        assert sealed in server.service.memory.sealed
        assert server.asked[1].body["input"][1]["encrypted_content"] == sealed
        assert server.service.memory.responses == {}


def a_full_request(**more: Any) -> Any:
    """One of each field."""
    closed = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    settings = ModelSettings(
        temperature=0.5,
        top_p=0.9,
        max_tokens=1000,
        tool_choice="pay",
        parallel_tool_calls=False,
        truncation="auto",
        reasoning={"effort": "low", "summary": "auto"},
        verbosity="low",
        metadata={"z": "1", "a": "2"},
        store=True,
        include=["message.output_text.logprobs"],
        prompt_cache_key="key",
        extra_body={"service_tier": "flex", "user": "someone"},
    )
    return ask(
        "grüß dich 🛩",
        instructions="Be kind.",
        tools=[{"type": "function", "name": "pay", "parameters": closed, "strict": True}],
        settings=settings,
        output_schema={**closed, "properties": {"paid": {"type": "boolean"}}, "required": ["paid"]},
        **more,
    )


@pytest.mark.parametrize("make", [ask, a_full_request], ids=["plain", "full"])
async def test_the_bytes_sent_are_the_same_but_for_the_stream(make: Callable[..., Any]) -> None:
    async with asking(Turn(Text("{}")), Turn(Text("{}"))) as (server, client):
        await hear(client, make(stream=False))
        await hear(client, make(stream=True))

        whole, streamed = texts(server)
        assert streamed == whole.removesuffix("}") + ',"stream":true}'
        assert list(json.loads(whole).items()) == list(body(make()).items())


async def test_a_chain_sends_only_what_is_new_and_counts_what_was_cached() -> None:
    async with asking(Turn(Reasoning("hm"), Text("one")), Turn(Text("two"))) as (server, client):
        first = (await hear(client, ask())).answer
        second = (await hear(client, ask("again", previous_response_id=first.response_id))).answer

        assert server.asked[1].body["previous_response_id"] == first.response_id
        assert len(server.asked[1].body["input"]) == 1
        assert (first.usage.requests, first.usage.cached_tokens) == (1, 0)
        assert first.usage.reasoning_tokens > 0
        assert second.usage.cached_tokens > 0
        assert second.usage.total_tokens == second.usage.input_tokens + second.usage.output_tokens


@BOTH
async def test_a_previous_response_that_is_gone_has_an_error_of_its_own(stream: bool) -> None:
    async with asking(Turn(Text("one")), faults=(None, Gone())) as (server, client):
        first = (await hear(client, ask(stream=stream))).answer
        with pytest.raises(PreviousResponseGone, match="previous_response_not_found") as caught:
            await hear(client, ask("again", previous_response_id=first.response_id, stream=stream))

        assert (caught.value.reason, caught.value.status, caught.value.taken) == (
            "previous_response_not_found",
            400,
            False,
        )
        assert len(server.asked) == 2


@BOTH
async def test_one_answer_may_have_one_call_id_twice(stream: bool) -> None:
    twice = Turn(Call("pay", call_id="call_1"), Call("pay", call_id="call_1"))
    async with asking(twice) as (_, client):
        items = (await hear(client, ask(stream=stream))).answer.items

    assert [item["call_id"] for item in items] == ["call_1", "call_1"]


async def test_events_of_a_type_that_nobody_knows_are_passed_on() -> None:
    async with asking(Turn(Text("hi")), faults=(Stranger(after=4),)) as (_, client):
        heard = await hear(client, ask(stream=True))

    assert heard.kinds[4] == "response.hum.delta"
    assert heard.events[4].to_dict(warnings=False)["pitch"] == 7
    assert (heard.kinds[0], heard.kinds[-1]) == ("response.created", "response.completed")
    assert heard.answer.items[0]["content"][0]["text"] == "hi"


async def test_a_client_of_its_own_is_made_once_for_each_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    async with asking(Turn(Text("one")), Turn(Text("two"))) as (server, _):
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        await hear(None, ask())
        here = default_client()
        await hear(None, ask())

        async def elsewhere() -> Any:
            there = default_client()
            await close_default_client()
            return there

        there = await anyio.to_thread.run_sync(partial(anyio.run, elsewhere))
        assert default_client() is here
        assert there is not here
        assert len(server.asked) == 2
        await close_default_client()
        assert default_client() is not here
        await close_default_client()


async def test_without_a_key_the_error_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="set `OPENAI_API_KEY`, or pass `client=`"):
        await hear(None, ask())


async def test_a_client_that_is_given_needs_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with asking(Turn(Text("hi"))) as (_, client):
        assert (await hear(client, ask())).answer.status == "completed"
