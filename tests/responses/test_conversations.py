"""Conversations: items that the service keeps, with the rules of a history that is sent whole."""

from __future__ import annotations

from typing import Any

import pytest
from openai import BadRequestError, NotFoundError

from kit.responses_script import Call, Text, Turn
from responses.conftest import Open

HELLO: Any = {"role": "user", "content": "hello"}
OUTPUT: Any = {"type": "function_call_output", "call_id": "call_1", "output": "paid"}


async def test_a_conversation_keeps_what_is_asked_and_answered(model: Open) -> None:
    async with model(Turn(Call("pay", call_id="call_1")), Turn(Text("paid"))) as (_, client):
        conversation = await client.conversations.create(items=[HELLO], metadata={"for": "ana"})
        first = await client.responses.create(model="gpt-test", input="pay", conversation=conversation.id)
        second = await client.responses.create(model="gpt-test", input=[OUTPUT], conversation=conversation.id)
        listed = client.conversations.items.list(conversation.id, order="asc", limit=2)
        items = [item.to_dict() async for item in listed]

    assert [item["type"] for item in items] == [
        "message",
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert len({item["id"] for item in items}) == 5
    assert conversation.metadata == {"for": "ana"}
    assert first.conversation is not None
    assert (first.conversation.id, second.output_text) == (conversation.id, "paid")


async def test_the_items_of_a_conversation_are_listed_newest_first(model: Open) -> None:
    async with model() as (_, client):
        conversation = await client.conversations.create()
        added = await client.conversations.items.create(
            conversation.id, items=[HELLO, {"role": "assistant", "content": "hi"}]
        )
        items = [item async for item in client.conversations.items.list(conversation.id)]

    assert [item.id for item in items] == [item.id for item in reversed(added.data)]
    assert items[0].to_dict()["content"] == [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]


async def test_a_call_in_a_conversation_needs_its_output_too(model: Open) -> None:
    async with model(Turn(Call("pay", call_id="call_1")), Turn(Text("paid"))) as (_, client):
        conversation = await client.conversations.create()
        await client.responses.create(model="gpt-test", input="pay", conversation=conversation.id)
        with pytest.raises(BadRequestError, match="No tool output found for function call call_1"):
            await client.responses.create(model="gpt-test", input="well?", conversation=conversation.id)
        kept = [item async for item in client.conversations.items.list(conversation.id)]

    assert len(kept) == 2


async def test_a_conversation_that_is_unknown_or_deleted_is_not_found(model: Open) -> None:
    async with model() as (_, client):
        conversation = await client.conversations.create()
        await client.conversations.delete(conversation.id)
        for name in (conversation.id, "conv_unknown"):
            with pytest.raises(NotFoundError, match=f"Conversation with id '{name}' not found"):
                await client.responses.create(model="gpt-test", input="hello", conversation=name)
            with pytest.raises(NotFoundError):
                await client.conversations.retrieve(name)


async def test_an_item_is_taken_out_of_a_conversation_once(model: Open) -> None:
    async with model() as (_, client):
        conversation = await client.conversations.create(items=[HELLO])
        [item] = [item async for item in client.conversations.items.list(conversation.id)]
        await client.conversations.items.delete(str(item.id), conversation_id=conversation.id)
        with pytest.raises(NotFoundError):
            await client.conversations.items.delete(str(item.id), conversation_id=conversation.id)

        assert [item async for item in client.conversations.items.list(conversation.id)] == []


async def test_at_most_twenty_items_are_added_at_a_time(model: Open) -> None:
    async with model() as (_, client):
        with pytest.raises(
            BadRequestError, match=r"array too long\. Expected an array with maximum length 20"
        ) as caught:
            await client.conversations.create(items=[HELLO] * 21)

    assert caught.value.code == "array_above_max_length"
