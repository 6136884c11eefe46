"""A stream that nobody listens to any more is closed: at once, without a trace, and without harm to the next one."""

from __future__ import annotations

import gc
from contextlib import aclosing

import anyio
import pytest
from openai import AsyncOpenAI

from holdshort.runner.failures import Patience
from holdshort.runner.model import answers
from kit.process import until_async
from kit.responses_faults import Hold, Refuse, Stranger
from kit.responses_script import Text, Turn
from kit.responses_server import ResponsesServer
from kit.together import abandoned
from runner.model_room import HURRIED, Heard, ask, asking, hear

LONG, SHORT = Turn(Text("a long answer " * 20)), Turn(Text("short"))


async def listen_to(client: AsyncOpenAI, events: int) -> list[str]:
    """Listen to so many events and stop, as careless programs do."""
    kinds: list[str] = []
    async for event in answers(client, ask(stream=True), patience=HURRIED):
        kinds.append(getattr(event, "type", "the answer"))
        if len(kinds) == events:
            break
    return kinds


async def all_quiet(server: ResponsesServer) -> None:
    """Collect what was given up, and wait until its connections are closed."""
    gc.collect()
    await server.until_left()


@pytest.mark.parametrize("careful", [True, False], ids=["closed", "dropped"])
async def test_a_stream_that_is_left_closes_its_connection(careful: bool) -> None:
    async with asking(LONG, SHORT, faults=(Hold(after=6),)) as (server, client):
        if careful:
            async with aclosing(answers(client, ask(stream=True))) as events:
                async for event in events:
                    if getattr(event, "type", "") == "response.output_text.delta":
                        break
        else:
            assert len(await listen_to(client, 5)) == 5
        await all_quiet(server)
        server.release()

        assert (await hear(client, ask(stream=True))).answer.items[0]["content"][0]["text"] == "short"
        assert len(server.asked) == 2


async def test_a_stream_that_is_cancelled_in_its_middle_closes_its_connection_and_is_not_repeated() -> None:
    async with asking(LONG, SHORT, faults=(Hold(after=6),)) as (server, client):
        heard = Heard()

        async def some() -> bool:
            return len(heard.events) == 6

        await abandoned(hear(client, ask(stream=True), heard), until_async(some, "six events"))
        await all_quiet(server)
        server.release()
        await hear(client, ask(stream=True))

        assert len(server.asked) == 2
        assert len(heard.events) == 6


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_request_that_is_cancelled_closes_its_connection_and_is_not_repeated(stream: bool) -> None:
    async with asking(LONG, SHORT, faults=(Hold(),)) as (server, client):
        await abandoned(hear(client, ask(stream=stream)), server.until_asked(1))
        await all_quiet(server)
        server.release()
        await hear(client, ask(stream=stream))

        assert len(server.asked) == 2


async def test_a_wait_between_two_attempts_can_be_cancelled() -> None:
    async with asking(SHORT, faults=(Refuse(500),)) as (server, client):

        async def refused() -> bool:
            return [one.status for one in server.asked] == [500]

        patient = Patience(first_s=100, longest_s=100)
        await abandoned(hear(client, ask(), patience=patient), until_async(refused, "the refusal"))

        assert len(server.asked) == 1


async def test_one_connection_serves_one_stream_after_the_other() -> None:
    async with asking(*[LONG] * 3) as (server, client):
        await hear(client, ask(stream=True))
        before = set(server.connections)
        await hear(client, ask(stream=True))
        await hear(client, ask())

        assert set(server.connections) == before
        assert len(before) == 1


async def test_events_come_while_the_answer_is_made() -> None:
    async with asking(LONG, faults=(Hold(after=6),)) as (server, client):
        kinds: list[str] = []
        with anyio.fail_after(15):
            async for event in answers(client, ask(stream=True)):
                kinds.append(getattr(event, "type", "the answer"))
                if len(kinds) == 6:
                    server.release()

    assert kinds[-2:] == ["response.completed", "the answer"]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert len(kinds) > 10


async def test_signs_of_life_are_no_answer_yet_and_are_told_at_once_later() -> None:
    alive = {"type": "keepalive"}
    async with asking(SHORT, LONG, faults=(Stranger(alive, after=2), Stranger(alive, after=5))) as (_, client):
        early = (await hear(client, ask(stream=True))).kinds
        late = (await hear(client, ask(stream=True))).kinds

    assert early.index("keepalive") == 2
    assert late.index("keepalive") == 5


async def test_many_listeners_at_once_keep_their_answers_apart() -> None:
    said: list[str] = []
    async with asking(*[Turn(Text(f"answer {number}")) for number in range(8)]) as (_, client):

        async def listen() -> None:
            said.append((await hear(client, ask(stream=True))).answer.items[0]["content"][0]["text"])

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(listen)

    assert sorted(said) == [f"answer {number}" for number in range(8)]
