"""The server as a process: callers are killed and started again, and the record says what each of them asked."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, AsyncOpenAI

from kit.process import kit_command, kit_environment, running, until_async
from kit.responses_script import Asked, Call, Script, Text, Turn, read_turns

SCRIPT: dict[str, Any] = {
    "pick": "history",
    "turns": [
        {"items": [{"reasoning": "hm"}, {"call": "pay", "arguments": {"amount": 5}, "call_id": "call_1"}]},
        {"items": [{"text": "one more"}, {"call": "pay", "arguments": {"amount": 5}, "call_id": "call_2"}]},
        {"items": [{"json": {"paid": 10}}]},
    ],
}

CALLER = """
import sys
from openai import OpenAI
given = [{"role": "user", "content": "pay"}]
with OpenAI(base_url=sys.argv[1], api_key="any", max_retries=0, timeout=60) as client:
    response = client.responses.create(model="gpt-test", input=given)
    print("said", [item.type for item in response.output], flush=True)
"""


@asynccontextmanager
async def served(folder: Path, **more: Any) -> AsyncGenerator[tuple[AsyncOpenAI, httpx2.AsyncClient]]:
    """The process with the script above; the client of its API, and one for what it recorded."""
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT | more))
    command = kit_command("kit.responses_server", "--script", str(script))
    with running(command, env=kit_environment()) as process:
        url = (await process.until_said(r"^listening on (\S+)$"))[1]
        async with (
            AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client,
            httpx2.AsyncClient(base_url=url.removesuffix("/v1"), trust_env=False) as kit,
        ):
            yield client, kit


async def recorded(kit: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await kit.get("/kit/requests")).json()
    return found


async def test_a_caller_that_was_killed_is_told_the_same_again(tmp_path: Path) -> None:
    async with served(tmp_path, faults=[{"hold": {}}]) as (client, kit):
        url = str(client.base_url)

        async def asked() -> bool:
            return bool(await recorded(kit))

        with running([sys.executable, "-c", CALLER, url]) as caller:
            await until_async(asked, "the first request")
            await caller.kill9()
            assert not caller.said("said")
        await kit.post("/kit/release")
        with running([sys.executable, "-c", CALLER, url]) as caller:
            assert await caller.until_exit() == 0, caller.told()
        first, second = await recorded(kit)

    assert caller.said(r"said \['reasoning', 'function_call'\]")
    assert first["text"] == second["text"]
    assert (first["fault"], second["fault"]) == ("Hold", None)
    assert first["response_id"] != second["response_id"]


async def test_a_lost_answer_is_told_again_to_who_asks_the_same(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, kit):
        await kit.post("/kit/faults", json=[None, {"lost": {}}])
        first = await client.responses.create(model="gpt-test", input="pay")
        output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "paid"}
        more: Any = {"model": "gpt-test", "input": [output], "previous_response_id": first.id}
        with pytest.raises(APIConnectionError):
            await client.responses.create(**more)
        again = await client.responses.create(**more)
        lost, heard = (await recorded(kit))[1:]

    assert again.output_text == "one more"
    assert (lost["status"], heard["status"]) == (0, 200)
    assert lost["text"] == heard["text"]


async def test_a_stream_of_the_process_is_cut_after_the_events_that_were_let_through(tmp_path: Path) -> None:
    async with served(tmp_path, faults=[{"cut": {"after": 4}}]) as (client, _):
        heard: list[int] = []
        stream: Any = await client.responses.create(model="gpt-test", input="pay", stream=True)

        async def listen() -> None:
            async for event in stream:
                heard.append(event.sequence_number)  # noqa: PERF401 (what was heard before an error counts)

        with pytest.raises(APIConnectionError):
            await listen()

    assert heard == [0, 1, 2, 3]


async def test_stored_responses_are_forgotten_on_demand(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, kit):
        first = await client.responses.create(model="gpt-test", input="pay")
        await kit.post("/kit/forget", json={"id": first.id})
        with pytest.raises(Exception, match="Previous response with id") as caught:
            await client.responses.create(model="gpt-test", input="more", previous_response_id=first.id)

    assert getattr(caught.value, "code", None) == "previous_response_not_found"


def told(*history: Any) -> Turn:
    """The turn that a script by history has for this history."""
    turns = [
        Turn(Call("pay", call_id="call_1"), Call("pay", call_id="call_2")),
        Turn(Text("ok")),
        Turn(Text("ok"), Call("tell", {"to": "ana"})),
        Turn(Text("end")),
    ]
    return Script(turns, pick="history").turn(Asked(1, {}, list(history)))


def call(call_id: str) -> Any:
    return {"type": "function_call", "name": "pay", "arguments": "{}", "call_id": call_id}


def output(call_id: str) -> Any:
    return {"type": "function_call_output", "call_id": call_id, "output": "x"}


USER: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}
OK: Any = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]}
TELL: Any = {"type": "function_call", "name": "tell", "arguments": '{"to": "ana"}', "call_id": "call_9"}


def test_a_script_by_history_goes_on_after_the_last_turn_that_is_shown() -> None:
    paid = (USER, call("call_1"), call("call_2"), output("call_2"), output("call_1"))

    assert len(told(USER).items) == 2
    assert told(*paid).items == (Text("ok"),)
    assert told(*paid, OK, USER).items[1:] == (Call("tell", {"to": "ana"}),)
    assert told(*paid, OK, USER, OK, TELL, output("call_9")).items == (Text("end"),)
    one_by_one = (USER, call("call_1"), output("call_1"), call("call_2"), output("call_2"))
    assert told(*one_by_one).items == (Text("ok"),)


def test_an_item_that_a_script_cannot_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"no item of a script: \{'cal': 'pay'\}"):
        read_turns([{"items": [{"cal": "pay"}]}])
