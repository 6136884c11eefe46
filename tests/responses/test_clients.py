"""The `openai` package runs whole loops of tools: at once and asynchronously, streamed or not, chained or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest
from openai import OpenAI
from pydantic import BaseModel

from kit.responses_script import Approval, Asked, Call, McpCall, Reasoning, Refusal, Script, Text, Turn
from kit.responses_server import serving_responses
from responses.conftest import Open

JSON = dict[str, Any]
CLOSED: JSON = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}},
    "required": ["amount"],
    "additionalProperties": False,
}
PAY: Any = {"type": "function", "name": "pay", "strict": True, "parameters": CLOSED}
LOOP = [
    Turn(Reasoning("twice"), Call("pay", {"amount": 5}), Call("pay", {"amount": 6})),
    Turn(Text("one more"), Call("pay", {"amount": 7})),
    Turn(Text("paid 18")),
]


def loop(create: Callable[..., Any], *, chained: bool) -> tuple[str, list[JSON]]:
    """The loop of tools that everybody writes; the last words, and all that was sent as input at last."""
    given: list[Any] = [{"role": "user", "content": "pay"}]
    previous: str | None = None
    while True:
        more = {"previous_response_id": previous} if previous else {}
        response = create(model="gpt-test", input=given, tools=[PAY], **more)
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text, given
        outputs = [
            {"type": "function_call_output", "call_id": one.call_id, "output": str(json.loads(one.arguments)["amount"])}
            for one in calls
        ]
        if chained:
            given, previous = outputs, response.id
        else:
            given = [*given, *[item.to_dict() for item in response.output], *outputs]


def streamed(client: OpenAI) -> Callable[..., Any]:
    """`create` by way of a stream."""

    def create(**asked: Any) -> Any:
        with client.responses.create(stream=True, **asked) as stream:
            *_, end = stream
        assert end.type == "response.completed"
        return end.response

    return create


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_in_the_synchronous_client(stream: bool, chained: bool) -> None:
    async with serving_responses(Script(LOOP)) as model:

        def run() -> tuple[str, list[JSON]]:
            with OpenAI(base_url=model.url, api_key="any", max_retries=0) as client:
                return loop(streamed(client) if stream else client.responses.create, chained=chained)

        said, sent = await anyio.to_thread.run_sync(run)

    assert said == "paid 18"
    assert len(sent) == (1 if chained else 9)
    assert [one.status for one in model.asked] == [200, 200, 200]


async def test_streamed_or_not_the_client_sends_the_same_bytes() -> None:
    texts: list[list[JSON]] = []
    for stream in (False, True):
        async with serving_responses(Script(LOOP)) as model:

            def run(stream: bool = stream, url: str = model.url) -> None:
                with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
                    loop(streamed(client) if stream else client.responses.create, chained=False)

            await anyio.to_thread.run_sync(run)
            texts.append([one.body["input"] for one in model.asked])

    assert json.dumps(texts[0]) == json.dumps(texts[1])


async def test_a_script_may_look_at_what_it_was_told(model: Open) -> None:
    def reply(asked: Asked) -> Turn:
        if not asked.outputs:
            return Turn(Call("pay", {"amount": 5}, call_id="call_1"))
        return Turn(Text(f"you said {asked.outputs['call_1']}, and last came a {asked.said_last['type']}"))

    async with model(script=Script(reply)) as (_, client):
        first = await client.responses.create(model="gpt-test", input="pay", tools=[PAY])
        output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "no"}
        second = await client.responses.create(model="gpt-test", input=[output], previous_response_id=first.id)

    assert second.output_text == "you said no, and last came a function_call_output"


async def test_a_hosted_tool_is_asked_for_approved_and_called(model: Open) -> None:
    def reply(asked: Asked) -> Turn:
        answers = [item for item in asked.history if item["type"] == "mcp_approval_response"]
        if not answers:
            return Turn(Approval("docs", "search", {"q": "x"}))
        if not answers[0]["approve"]:
            return Turn(Refusal(f"not allowed: {answers[0]['reason']}"))
        name = answers[0]["approval_request_id"]
        return Turn(McpCall("docs", "search", {"q": "x"}, output="found", approval_request_id=name), Text("found it"))

    docs: Any = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.test", "require_approval": "always"}
    said: list[JSON] = []
    async with model(script=Script(reply)) as (_, client):
        for approve in (True, False):
            first = await client.responses.create(model="gpt-test", input="look", tools=[docs])
            answer: Any = {
                "type": "mcp_approval_response",
                "approval_request_id": first.output[0].id,
                "approve": approve,
                "reason": "too late",
            }
            second = await client.responses.create(
                model="gpt-test", input=[answer], tools=[docs], previous_response_id=first.id
            )
            said.append(second.output[0].to_dict())

    assert (said[0]["type"], said[0]["output"]) == ("mcp_call", "found")
    assert said[1]["content"] == [{"type": "refusal", "refusal": "not allowed: too late"}]


class Paid(BaseModel):
    """What the model is to answer with."""

    amount: int
    to: str


async def test_a_structured_answer_is_parsed_by_the_client(model: Open) -> None:
    async with model(Turn(Text('{"amount": 5, "to": "ana"}'))) as (server, client):
        response = await client.responses.parse(model="gpt-test", input="pay", text_format=Paid)

    assert response.output_parsed == Paid(amount=5, to="ana")
    assert server.asked[0].body["text"]["format"]["strict"] is True


async def test_a_kept_response_is_what_was_answered_until_it_is_deleted(model: Open) -> None:
    async with model(Turn(Text("hello"))) as (_, client):
        made = await client.responses.create(model="gpt-test", input="hi", instructions="be kind")
        kept = await client.responses.retrieve(made.id)
        inputs = [item.to_dict() async for item in client.responses.input_items.list(made.id)]
        await client.responses.delete(made.id)
        with pytest.raises(Exception, match=r"Response with id .* not found"):
            await client.responses.retrieve(made.id)

    assert kept.to_dict() == made.to_dict()
    assert kept.instructions == "be kind"
    assert inputs[0]["content"] == [{"type": "input_text", "text": "hi"}]


async def test_the_record_has_the_bytes_that_were_sent(model: Open) -> None:
    async with model(Turn(Text("hello"))) as (server, client):
        await client.responses.create(model="gpt-test", input="grüß dich")

    [one] = server.asked
    assert one.text == '{"model":"gpt-test","input":"grüß dich"}'
    assert int(one.headers["content-length"]) == len(one.text.encode())
    assert "authorization" not in one.headers
