"""Where the service keeps the conversation: only what is new is sent, also after one pause, and after two."""

from __future__ import annotations

from typing import Any

import pytest

from holdshort.runner import Agent, ModelError, ModelSettings, RunState, SQLiteSession, UserError
from kit.responses_faults import Gone, Lost
from kit.responses_script import Call, Text, Turn
from runner.conftest import Open
from runner.stage import Play, Stage
from runner.test_loop import BOTH_WAYS, READ, WRITE, thing


def two_pauses() -> list[Turn]:
    return [
        Turn(Call(WRITE, {"name": thing()}, "c1"), Call(READ, {"name": thing()}, "c2")),
        Turn(Call(WRITE, {"name": thing()}, "c3")),
        Turn(Text("done")),
    ]


async def through(one: Play, agent: Agent[Any], streamed: bool, **more: Any) -> Any:
    result = await one.run(agent, "Go.", streamed=streamed, **more)
    while result.interruptions:
        await one.approve_all()
        result = await one.again(agent, result, streamed=streamed)
    return result


def kinds(one: Play) -> list[list[str]]:
    return [[item.get("type", "message") for item in given] for given in one.inputs()]


@BOTH_WAYS
async def test_each_request_names_the_response_before_and_carries_the_new_outputs(play: Open, streamed: bool) -> None:
    async with play(two_pauses()) as one:
        result = await through(one, one.agent(), streamed, auto_previous_response_id=True)
        assert result.final_output == "done"
        output = "function_call_output"
        assert kinds(one) == [["message"], [output, output], [output]]
        before = [received.body.get("previous_response_id") for received in one.model.asked]
        assert before == [None, one.model.asked[0].response_id, one.model.asked[1].response_id]


@BOTH_WAYS
async def test_a_conversation_gets_each_item_once(play: Open, streamed: bool) -> None:
    async with play(two_pauses()) as one:
        conversation = (await one.client.conversations.create()).id
        result = await through(one, one.agent(), streamed, conversation_id=conversation)
        assert result.final_output == "done"
        kept = [item.type async for item in one.client.conversations.items.list(conversation, order="asc")]
        assert kept == [
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
            "function_call",
            "function_call_output",
            "message",
        ]


async def test_a_response_of_before_is_built_on(play: Open) -> None:
    async with play([Turn(Text("hello")), *two_pauses()]) as one:
        agent = one.agent()
        first = await one.run(agent, "Hello.")
        result = await one.run(agent, "Go.", previous_response_id=first.last_response_id, run_id=f"{one.run_id}-2")
        assert one.model.asked[1].body["previous_response_id"] == first.last_response_id
        assert len(result.interruptions) == 1


async def test_a_chain_that_the_service_forgot_is_sent_anew_once_from_what_is_saved(play: Open) -> None:
    async with play(two_pauses(), faults=(None, Gone())) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", auto_previous_response_id=True)
        await one.approve_all()
        result = await one.again(agent, result)
        assert len(result.interruptions) == 1
        assert one.model.asked[-1].body.get("previous_response_id") is None
        assert kinds(one)[-1] == ["message", "function_call", "function_call", *["function_call_output"] * 2]
        await one.approve_all()
        result = await one.again(agent, result)
        assert result.final_output == "done"
        assert kinds(one)[-1] == ["function_call_output"]


async def test_a_forgotten_response_of_before_is_a_clear_error(play: Open) -> None:
    async with play([Turn(Text("hello")), Turn(Text("done"))], faults=(None, Gone())) as one:
        agent = one.agent()
        first = await one.run(agent, "Hello.")
        with pytest.raises(ModelError, match="start anew with the whole conversation"):
            await one.run(agent, "Go.", previous_response_id=first.last_response_id, run_id=f"{one.run_id}-2")


async def test_a_lost_answer_in_a_conversation_is_not_asked_for_again_by_itself(play: Open) -> None:
    async with play([Turn(Text("done"))], faults=(Lost(),)) as one:
        conversation = (await one.client.conversations.create()).id
        with pytest.raises(ModelError):
            await one.run(one.agent(), "Go.", conversation_id=conversation)
        assert len(one.model.asked) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"conversation_id": "conv_1", "previous_response_id": "resp_1"}, "two histories"),
        ({"conversation_id": "conv_1", "auto_previous_response_id": True}, "two histories"),
        ({"conversation_id": "conv_1", "session": SQLiteSession("one")}, "two histories"),
        ({"previous_response_id": "resp_1", "session": SQLiteSession("one")}, "two histories"),
    ],
    ids=["conversation-response", "conversation-auto", "conversation-session", "response-session"],
)
async def test_two_histories_of_one_run_are_refused(play: Open, options: dict[str, Any], said: str) -> None:
    async with play([]) as one:
        with pytest.raises(UserError, match=said):
            await one.run(one.agent(), "Go.", **options)
        assert one.model.asked == []


async def test_a_chain_that_is_not_stored_is_refused(play: Open) -> None:
    async with play([]) as one:
        agent = one.agent(model_settings=ModelSettings(store=False))
        with pytest.raises(UserError, match="store=False"):
            await one.run(agent, "Go.", auto_previous_response_id=True)


@BOTH_WAYS
async def test_a_session_holds_whole_turns_and_each_item_once(play: Open, stage: Stage, streamed: bool) -> None:
    session = SQLiteSession("chat")
    async with play([*two_pauses(), Turn(Text("again"))]) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", session=session, streamed=streamed)
        assert await session.get_items() == []
        while result.interruptions:
            await one.approve_all()
            state = await RunState.from_string(agent, result.to_state().to_string())
            result = await one.run(agent, state, session=session, streamed=streamed)
        kept = await session.get_items()
        assert [item.get("type", "message") for item in kept] == [
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
            "function_call",
            "function_call_output",
            "message",
        ]
        await one.run(agent, "And now?", session=session, run_id=f"{one.run_id}-2", streamed=streamed)
        assert len(one.inputs()[-1]) == len(kept) + 1
        assert len(await session.get_items()) == len(kept) + 2


async def test_a_run_of_a_session_is_not_gone_on_with_without_it(play: Open) -> None:
    async with play(two_pauses()) as one:
        agent = one.agent()
        result = await one.run(agent, "Go.", session=SQLiteSession("chat"))
        with pytest.raises(UserError, match="session `chat`"):
            await one.again(agent, result)
