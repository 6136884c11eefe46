"""What may go wrong on the way to a model and back: each fault as the real client meets it."""

from __future__ import annotations

from typing import Any

import pytest
from openai import APIConnectionError, APIError, AsyncOpenAI, BadRequestError, InternalServerError, RateLimitError

from kit.responses_faults import Cut, ErrorEvent, Fail, Garbage, Gone, Hold, Lost, Page, Refuse, Stranger, read_fault
from kit.responses_script import Text, Turn
from kit.together import together
from responses.conftest import Open

ONE, TWO = Turn(Text("the first answer")), Turn(Text("the second answer"))


async def say(client: AsyncOpenAI, **more: Any) -> str:
    response = await client.responses.create(model="gpt-test", input="hello", **more)
    return str(response.output_text)


async def kinds(client: AsyncOpenAI) -> list[str]:
    stream: Any = await client.responses.create(model="gpt-test", input="hello", stream=True)
    return [event.type async for event in stream]


async def listen(stream: Any, heard: list[str]) -> None:
    async for event in stream:
        heard.append(event.type)  # noqa: PERF401 (what was heard before an error counts)


async def test_too_many_requests_names_the_seconds_to_wait_and_keeps_the_turn(model: Open) -> None:
    async with model(ONE, faults=(Refuse(429, "slow down", retry_after=7),)) as (server, client):
        with pytest.raises(RateLimitError, match="slow down") as caught:
            await say(client)

        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.code == "rate_limit_exceeded"
        assert await say(client) == "the first answer"
        assert [(one.status, one.fault) for one in server.asked] == [(429, "Refuse"), (200, None)]


async def test_the_client_s_own_retry_sends_the_same_bytes_again(model: Open) -> None:
    async with model(ONE, faults=(Refuse(500), Refuse(429, retry_after=0.001))) as (server, client):
        assert await say(client.with_options(max_retries=2)) == "the first answer"

        assert len({one.text for one in server.asked}) == 1
        assert [one.headers["x-stainless-retry-count"] for one in server.asked] == ["0", "1", "2"]


async def test_an_error_of_the_server_keeps_the_turn(model: Open) -> None:
    async with model(ONE, faults=(Refuse(500),)) as (_, client):
        with pytest.raises(InternalServerError):
            await say(client)

        assert await say(client) == "the first answer"


async def test_a_failed_response_is_an_answer_that_says_so(model: Open) -> None:
    async with model(ONE, faults=(Fail("rate_limit_exceeded", "try later"), Fail())) as (_, client):
        failed = await client.responses.create(model="gpt-test", input="hello")
        streamed = await kinds(client)

        assert failed.status == "failed"
        assert failed.error is not None
        assert (failed.error.code, failed.error.message, failed.output) == ("rate_limit_exceeded", "try later", [])
        assert streamed == ["response.created", "response.in_progress", "response.failed"]
        assert await say(client) == "the first answer"


async def test_an_error_in_a_stream_is_an_event(model: Open) -> None:
    async with model(ONE, TWO, faults=(ErrorEvent(after=3),)) as (_, client):
        assert (await kinds(client))[2:] == ["response.output_item.added", "error"]
        assert await say(client) == "the second answer"


async def test_a_lost_response_was_told_and_kept_all_the_same(model: Open) -> None:
    async with model(ONE, TWO, faults=(Lost(), Lost())) as (server, client):
        with pytest.raises(APIConnectionError):
            await say(client)
        lost = server.asked[0]
        kept = await client.responses.retrieve(lost.response_id or "")

        assert (lost.status, lost.fault, kept.output_text) == (0, "Lost", "the first answer")
        with pytest.raises(APIConnectionError):
            await kinds(client)
        assert len(server.service.memory.responses) == 2


async def test_a_stream_that_is_cut_politely_simply_ends(model: Open) -> None:
    async with model(ONE, faults=(Cut(after=4, politely=True),)) as (_, client):
        assert await kinds(client) == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]


async def test_a_stream_that_is_cut_in_an_event_is_a_broken_connection(model: Open) -> None:
    async with model(ONE, TWO, faults=(Cut(after=3),)) as (server, client):
        stream: Any = await client.responses.create(model="gpt-test", input="hello", stream=True)
        heard: list[str] = []
        with pytest.raises(APIConnectionError):
            await listen(stream, heard)

        assert heard == ["response.created", "response.in_progress", "response.output_item.added"]
        assert server.asked[0].response_id in server.service.memory.responses
        assert await say(client) == "the second answer"


async def test_a_body_that_is_cut_is_a_broken_connection(model: Open) -> None:
    async with model(ONE, faults=(Cut(),)) as (_, client):
        with pytest.raises(APIConnectionError):
            await say(client)


async def test_an_event_that_is_no_json_is_an_error_of_the_client(model: Open) -> None:
    async with model(ONE, faults=(Garbage(after=2),)) as (_, client):
        with pytest.raises(ValueError, match=r"Unterminated string"):
            await kinds(client)


async def test_an_event_of_another_time_comes_in_between(model: Open) -> None:
    async with model(ONE, faults=(Stranger({"type": "response.new", "x": 1}, after=2),)) as (_, client):
        heard = await kinds(client)

    assert heard[:4] == ["response.created", "response.in_progress", "response.new", "response.output_item.added"]


async def test_a_page_in_place_of_an_answer_keeps_the_turn(model: Open) -> None:
    async with model(ONE, faults=(Page("<html>", "text/html"), Page("<html>", "text/html"))) as (server, client):
        page: Any = await client.responses.create(model="gpt-test", input="hello")

        assert page == "<html>"
        assert await kinds(client) == []
        assert await say(client) == "the first answer"
        assert [one.status for one in server.asked] == [200, 200, 200]


async def test_a_refusal_may_have_a_code_and_headers_of_its_own(model: Open) -> None:
    fault = read_fault(
        {"refuse": {"status": 429, "code": "insufficient_quota", "headers": {"x-should-retry": "false"}}}
    )
    async with model(ONE, faults=(fault,)) as (_, client):
        with pytest.raises(RateLimitError) as caught:
            await say(client)

    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_who_is_connected_is_known(model: Open) -> None:
    async with model(ONE) as (server, client):
        assert len(server.connections) == 0
        await say(client)
        assert len(server.connections) == 1
        await client.close()
        await server.until_left()


async def test_an_answer_is_held_until_it_is_released(model: Open) -> None:
    async with model(ONE, TWO, faults=(Hold(), None)) as (server, client):

        async def pass_and_release() -> tuple[str, int | None]:
            await server.until_asked(1)
            other = await say(client)
            status = server.asked[0].status
            server.release()
            return other, status

        said, (other, status) = await together(say(client), pass_and_release())

        assert (said, other, status) == ("the second answer", "the first answer", None)


async def test_a_stream_is_held_in_its_middle(model: Open) -> None:
    async with model(ONE, faults=(Hold(after=3),)) as (server, client):
        stream: Any = await client.responses.create(model="gpt-test", input="hello", stream=True)
        heard: list[str] = []
        async for event in stream:
            heard.append(event.type)
            if len(heard) == 3:
                server.release()

        assert heard[-1] == "response.completed"


async def test_a_previous_response_that_is_gone_has_its_own_code(model: Open) -> None:
    async with model(ONE, TWO, faults=(None, Gone())) as (_, client):
        first = await client.responses.create(model="gpt-test", input="hello")
        with pytest.raises(BadRequestError) as caught:
            await say(client, previous_response_id=first.id)

        assert caught.value.code == "previous_response_not_found"
        assert await say(client) == "the second answer"


async def test_a_fault_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="no fault: `cutt`; there are refuse, fail"):
        read_fault({"cutt": {}})


async def test_a_conversation_takes_one_request_at_a_time(model: Open) -> None:
    async with model(ONE, TWO, faults=(Hold(after=2),)) as (server, client):
        conversation = await client.conversations.create()
        stream: Any = await client.responses.create(
            model="gpt-test", input="hello", conversation=conversation.id, stream=True
        )
        with pytest.raises(BadRequestError) as caught:
            await say(client, conversation=conversation.id)
        server.release()
        ended = [event.type async for event in stream][-1]

        assert caught.value.code == "conversation_locked"
        assert ended == "response.completed"
        assert await say(client, conversation=conversation.id) == "the second answer"


async def test_an_error_event_without_a_stream_is_an_error_of_the_server(model: Open) -> None:
    async with model(ONE, faults=(ErrorEvent(),)) as (_, client):
        with pytest.raises(APIError) as caught:
            await say(client)

        assert isinstance(caught.value, InternalServerError)
