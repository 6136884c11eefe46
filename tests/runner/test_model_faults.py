"""Whatever goes wrong on the way to the model: an answer after all or an error with the reason; how often it asked."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAIError

from holdshort.runner.agent import ModelSettings
from holdshort.runner.errors import ModelError, PreviousResponseGone
from holdshort.runner.failures import Patience
from kit.ports import free_port
from kit.responses_faults import (
    NAMES,
    Cut,
    ErrorEvent,
    Fail,
    Fault,
    Garbage,
    Gone,
    Hold,
    Lost,
    Page,
    Refuse,
    Stranger,
)
from kit.responses_script import Reasoning, Text, Turn
from kit.together import together
from runner.model_room import HURRIED, Heard, ask, asking, hear, texts

ONE, TWO = Turn(Text("the first answer")), Turn(Text("the second answer"))
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@dataclass(frozen=True)
class Case:
    """One fault, and what comes of it: how often the model is asked, and the reason of the error, if there is one."""

    name: str
    fault: Fault
    whole: tuple[int, str | None]
    streamed: tuple[int, str | None]
    status: int = 0


ANSWERED, REPEATED, GARBAGE = (1, None), (2, None), (1, "garbage")
JSON, EVENTS = "application/json", "text/event-stream"
CASES = [
    Case("too many requests", Refuse(429, retry_after=0.001), REPEATED, REPEATED),
    Case("no quota", Refuse(429, code="insufficient_quota"), (1, "insufficient_quota"), (1, "insufficient_quota"), 429),
    Case("slow request", Refuse(408), REPEATED, REPEATED),
    Case("conflict", Refuse(409), REPEATED, REPEATED),
    Case("locked", Refuse(400, code="conversation_locked"), REPEATED, REPEATED),
    Case("server error", Refuse(500), REPEATED, REPEATED),
    Case("overloaded", Refuse(503), REPEATED, REPEATED),
    Case("told not to", Refuse(503, code="busy", headers={"x-should-retry": "false"}), (1, "busy"), (1, "busy"), 503),
    Case("told to", Refuse(418, headers={"x-should-retry": "true"}), REPEATED, REPEATED),
    Case("bad request", Refuse(400, code="invalid_value"), (1, "invalid_value"), (1, "invalid_value"), 400),
    Case("bad key", Refuse(401), (1, "invalid_api_key"), (1, "invalid_api_key"), 401),
    Case("no such model", Refuse(404, code="model_not_found"), (1, "model_not_found"), (1, "model_not_found"), 404),
    Case("failed", Fail(), REPEATED, REPEATED),
    Case("failed for good", Fail("invalid_prompt", "no"), (1, "invalid_prompt"), (1, "invalid_prompt")),
    Case("error before anything", ErrorEvent(after=2), REPEATED, REPEATED),
    Case("error at once", ErrorEvent(after=0), REPEATED, REPEATED),
    Case("error in the middle", ErrorEvent(after=4), REPEATED, (1, "server_error")),
    Case("lost", Lost(), REPEATED, REPEATED),
    Case("cut before anything", Cut(after=2), REPEATED, REPEATED),
    Case("cut in the middle", Cut(after=4), REPEATED, (1, "lost")),
    Case("cut politely before anything", Cut(after=2, politely=True), REPEATED, REPEATED),
    Case("cut politely at once", Cut(after=0, politely=True), REPEATED, REPEATED),
    Case("cut politely in the middle", Cut(after=5, politely=True), REPEATED, (1, "cut_off")),
    Case("cut before the end", Cut(after=9, politely=True), REPEATED, (1, "cut_off")),
    Case("garbage at once", Garbage(after=0), ANSWERED, GARBAGE),
    Case("garbage", Garbage(after=4), ANSWERED, GARBAGE),
    Case("stranger", Stranger(), ANSWERED, ANSWERED),
    Case("page", Page(), GARBAGE, GARBAGE),
    Case("list", Page("[]", JSON), GARBAGE, GARBAGE),
    Case("null", Page("null", JSON), GARBAGE, GARBAGE),
    Case("half", Page('{"id": "resp_1", "outp', JSON), GARBAGE, GARBAGE),
    Case("deep", Page("[" * 100_000, JSON), GARBAGE, GARBAGE),
    Case("no output", Page('{"id": "resp_1"}', JSON), GARBAGE, GARBAGE),
    Case("odd output", Page('{"output": {"a": 1}}', JSON), GARBAGE, GARBAGE),
    Case("odd item", Page('{"output": [7]}', JSON), GARBAGE, GARBAGE),
    Case("item without type", Page('{"output": [{"id": "x"}]}', JSON), GARBAGE, GARBAGE),
    Case("not yet", Page('{"output": [], "status": "queued"}', JSON), (1, "unfinished"), GARBAGE),
    Case(
        "half a character",
        Page('{"output": [{"type": "message", "x": "\\ud800"}]}', JSON),
        GARBAGE,
        GARBAGE,
    ),
    Case(
        "error in a body",
        Page('{"error": {"message": "not today", "code": "closed"}}', JSON),
        (1, "closed"),
        GARBAGE,
    ),
    Case("no response", Page('data: {"no": "type"}\n\n', EVENTS), GARBAGE, GARBAGE),
    Case("list of events", Page("data: [1]\n\n", EVENTS), GARBAGE, GARBAGE),
    Case("nothing", Page("", EVENTS), GARBAGE, REPEATED),
    Case("end without response", Page('data: {"type": "response.completed"}\n\n', EVENTS), GARBAGE, GARBAGE),
    Case(
        "error in an error event",
        Page('data: {"type": "error", "error": {"type": "server_error", "code": null, "message": "oh"}}\n\n', EVENTS),
        GARBAGE,
        REPEATED,
    ),
    Case(
        "error in an event",
        Page('data: {"error": {"message": "not today", "code": "closed"}}\n\n', EVENTS),
        GARBAGE,
        (1, "closed"),
    ),
]


@STREAMED
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
async def test_a_fault_is_mended_or_named(case: Case, stream: bool) -> None:
    times, reason = case.streamed if stream else case.whole
    heard = Heard()
    async with asking(ONE, TWO, TWO, faults=(case.fault,)) as (server, client):
        if reason is None:
            await hear(client, ask(stream=stream), heard)
            assert heard.answer.items[0]["content"][0]["text"] in ("the first answer", "the second answer")
            assert heard.kinds.count("response.created") == (1 if stream else 0)
        else:
            with pytest.raises(ModelError) as caught:
                await hear(client, ask(stream=stream), heard)
            assert (caught.value.reason, caught.value.status) == (reason, case.status)
            assert heard.answers == []

        assert len(server.asked) == times
        assert len(set(texts(server))) == 1
        assert {one.headers["x-stainless-retry-count"] for one in server.asked} == {"0"}


def test_every_fault_that_the_service_can_have_is_tried() -> None:
    assert {type(case.fault) for case in CASES} == set(NAMES.values()) - {Gone, Hold}


@STREAMED
async def test_an_answer_that_is_late_is_waited_for(stream: bool) -> None:
    async with asking(ONE, faults=(Hold(),)) as (server, client):

        async def release() -> None:
            await server.until_asked(1)
            server.release()

        heard, _ = await together(hear(client, ask(stream=stream)), release())

    assert heard.answer.items[0]["content"][0]["text"] == "the first answer"


@STREAMED
@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
async def test_an_answer_that_ended_early_says_why(reason: Any, stream: bool) -> None:
    async with asking(Turn(Reasoning("hm"), Text("half an ans"), incomplete=reason)) as (server, client):
        heard = Heard()
        with pytest.raises(ModelError, match=f"incomplete: .*{reason.split('_')[0]}") as caught:
            await hear(client, ask(stream=stream), heard)

    assert (caught.value.reason, caught.value.taken, heard.answers) == (reason, True, [])
    assert len(server.asked) == 1


async def test_the_error_has_the_service_s_own_words_and_the_number_of_the_request() -> None:
    async with asking(ONE, faults=(Refuse(400, "Invalid 'temperature'.", code="invalid_value"),)) as (_, client):
        with pytest.raises(ModelError) as caught:
            await hear(client, ask())

    assert str(caught.value) == (
        "the model's service answered 400 `invalid_value`: Invalid 'temperature'. (request req_" + "1".zfill(32) + ")"
    )


async def test_it_is_asked_a_bounded_number_of_times() -> None:
    async with asking(ONE, faults=(Refuse(503),) * 9) as (server, client):
        with pytest.raises(ModelError, match=r"\(asked 5 times\)") as caught:
            await hear(client, ask())
        assert len(server.asked) == 5
        with pytest.raises(ModelError):
            await hear(client, ask(), patience=Patience(first_s=0.001, attempts=1))

        assert len(server.asked) == 6
        assert caught.value.taken


@STREAMED
async def test_a_wait_that_is_too_long_is_not_waited(stream: bool) -> None:
    async with asking(ONE, faults=(Refuse(429, "slow down", retry_after=3600),)) as (server, client):
        with pytest.raises(ModelError, match=r"slow down.*; it asks to wait 3600 s"):
            await hear(client, ask(stream=stream))

        assert len(server.asked) == 1


async def test_a_service_that_is_not_there_is_named_without_what_its_address_hides() -> None:
    url = f"http://someone:secretword@127.0.0.1:{free_port()}/v1?token=secretword"
    async with AsyncOpenAI(base_url=url, api_key="any") as client:
        with pytest.raises(ModelError, match=r"at http://127.0.0.1:\d+ was not reached.*asked 5 times") as caught:
            await hear(client, ask(conversation_id="conv_1"))

    assert (caught.value.reason, caught.value.taken) == ("unreachable", False)
    assert "secretword" not in str(caught.value)


PASSING = [Refuse(500), Refuse(503), Refuse(408), Refuse(409), Fail(), ErrorEvent(after=1), Lost(), Cut(after=1)]
REFUSED = [Refuse(429, retry_after=0.001), Refuse(400, code="conversation_locked")]
HOSTED = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.test", "require_approval": "never"}
CONTAINER = {"type": "shell", "environment": {"type": "container_auto"}}
DELICATE: dict[str, dict[str, Any]] = {
    "conversation": {"conversation_id": "made"},
    "said so": {"safe_to_repeat": False},
    "hosted tools": {"tools": [HOSTED]},
    "container": {"tools": [CONTAINER]},
    "code": {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
}


async def delicate(client: AsyncOpenAI, more: dict[str, Any], stream: bool) -> Any:
    """A request that must not be repeated when it may have arrived."""
    if "conversation_id" in more:
        more = {"conversation_id": (await client.conversations.create()).id}
    return ask(stream=stream, **more)


@STREAMED
@pytest.mark.parametrize("more", DELICATE.values(), ids=DELICATE)
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: repr(fault).split(",")[0])
async def test_what_may_have_happened_is_not_asked_again_where_that_does_harm(
    fault: Fault, more: dict[str, Any], stream: bool
) -> None:
    async with asking(ONE, TWO, faults=(fault,)) as (server, client):
        with pytest.raises(ModelError) as caught:
            await hear(client, await delicate(client, more, stream))

        assert caught.value.taken
        assert len(server.asked) == 1


@STREAMED
@pytest.mark.parametrize("more", DELICATE.values(), ids=DELICATE)
@pytest.mark.parametrize("fault", REFUSED, ids=["too-many", "locked"])
async def test_what_was_refused_is_asked_again_always(fault: Fault, more: dict[str, Any], stream: bool) -> None:
    async with asking(ONE, faults=(fault,)) as (server, client):
        await hear(client, await delicate(client, more, stream))

        assert len(server.asked) == 2


async def test_a_conversation_gets_the_items_of_a_lost_answer_once() -> None:
    async with asking(ONE, TWO, faults=(Lost(),)) as (server, client):
        conversation = (await client.conversations.create()).id
        with pytest.raises(ModelError, match="was lost"):
            await hear(client, ask(conversation_id=conversation))
        kept = [item["type"] for item in server.service.memory.conversations[conversation].items]

    assert kept == ["message", "message"]


@STREAMED
async def test_a_conversation_that_is_busy_is_waited_for(stream: bool) -> None:
    async with asking(ONE, TWO, faults=(Hold(after=3),)) as (server, client):
        conversation = (await client.conversations.create()).id
        first = ask(conversation_id=conversation, stream=True)
        second = ask(conversation_id=conversation, stream=stream)

        async def wait_and_release() -> Heard:
            await server.until_asked(1)

            async def release() -> None:
                await server.until_asked(3)
                server.release()

            heard, _ = await together(
                hear(client, second, patience=Patience(first_s=0.02, longest_s=0.02, attempts=500)), release()
            )
            return heard

        one, two = await together(hear(client, first), wait_and_release())

    assert one.answer.items[0]["content"][0]["text"] == "the first answer"
    assert two.answer.items[0]["content"][0]["text"] == "the second answer"


KEYS = ["sk-proj-abcdefghijklmnop", "gateway-key-7f3a9"]


@STREAMED
@pytest.mark.parametrize("key", KEYS)
async def test_no_error_has_a_key_in_it(key: str, stream: bool) -> None:
    said = f"Incorrect API key provided: {key}. The tool server said Bearer-of-tokens."
    tool = {**HOSTED, "authorization": "Bearer-of-tokens", "headers": {"x-key": "another-secret"}}
    page = Page(json.dumps({"error": said}), JSON)
    faults = (Refuse(401, said), Fail("invalid_prompt", f"{said} another-secret"), page)
    async with asking(ONE, faults=faults, key=key) as (_, client):
        for _ in faults:
            request = ask(stream=stream, tools=[tool])
            with pytest.raises(ModelError) as caught:
                await hear(client, request)
            told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(request)
            for secret in (key, "Bearer-of-tokens", "another-secret"):
                assert secret not in told


async def test_a_key_that_the_service_masks_is_masked_whole() -> None:
    async with asking(ONE, faults=(Refuse(401, "Incorrect API key provided: sk-abc*****xyz9."),)) as (_, client):
        with pytest.raises(ModelError, match=r"provided: sk-…\.?; set `OPENAI_API_KEY`") as caught:
            await hear(client, ask())

    assert "xyz9" not in str(caught.value)


async def test_a_key_that_cannot_be_had_is_an_error_before_anything_is_sent() -> None:
    async def no_key() -> str:
        raise OpenAIError("the vault is closed")

    async with asking(ONE) as (server, _), AsyncOpenAI(base_url=server.url, api_key=no_key) as client:
        for stream in (False, True):
            with pytest.raises(ModelError, match="was not asked: the vault is closed") as caught:
                await hear(client, ask(stream=stream))

            assert (caught.value.reason, caught.value.taken) == ("unsent", False)
        assert server.received == []


async def test_a_client_without_a_key_for_the_model_asks_nothing() -> None:
    async with (
        asking(ONE) as (server, _),
        AsyncOpenAI(base_url=server.url, admin_api_key="admin-key-12345") as client,
    ):
        with pytest.raises(ModelError, match=r"client failed: TypeError: .*authentication") as caught:
            await hear(client, ask())

        assert caught.value.reason == "client"
        assert server.received == []


async def test_a_gone_response_is_not_asked_for_again() -> None:
    async with asking(ONE, faults=(Gone(),)) as (server, client):
        with pytest.raises(PreviousResponseGone):
            await hear(client, ask(previous_response_id="resp_1", settings=ModelSettings(store=True)), patience=HURRIED)

        assert len(server.asked) == 1
