"""What exactly is sent to the model for a request, and what is refused before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from holdshort.runner.agent import ModelSettings
from holdshort.runner.errors import UserError
from holdshort.runner.requests import Request, body, check_keeping, may_repeat

PAY = {"type": "function", "name": "pay", "parameters": {"type": "object", "properties": {}}, "strict": False}
DOCS = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.test", "authorization": "secret-of-docs"}
SAY = {"type": "custom", "name": "say"}
SHELL = {"type": "shell", "environment": {"type": "local"}}
SEARCH = {"type": "web_search"}
TOOLS = [PAY, DOCS, SAY, SHELL, SEARCH]
MESSAGE = {"role": "user", "content": "hello"}


def request(settings: Mapping[str, Any] | None = None, **more: Any) -> Request:
    plain = Request(agent="Ops", model="gpt-test", input=[MESSAGE], settings=ModelSettings(**(settings or {})))
    return replace(plain, **more)


def test_a_plain_request_says_nothing_that_nobody_asked_for() -> None:
    assert body(request()) == {"model": "gpt-test", "input": [MESSAGE]}


def test_the_fields_are_in_one_order_whatever_the_settings() -> None:
    settings = {"prompt_cache_key": "k", "store": True, "temperature": 0, "extra_body": {"user": "ana"}}
    sent = body(request(settings, instructions="Be kind.", tools=[PAY], stream=True))

    assert list(sent) == [
        "model",
        "instructions",
        "input",
        "tools",
        "store",
        "temperature",
        "prompt_cache_key",
        "user",
        "stream",
    ]


def test_settings_that_are_zero_or_false_are_said() -> None:
    sent = body(request({"temperature": 0.0, "top_p": 0.0, "store": False, "parallel_tool_calls": False}, tools=[PAY]))

    assert (sent["temperature"], sent["top_p"], sent["store"], sent["parallel_tool_calls"]) == (0.0, 0.0, False, False)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("pay", {"type": "function", "name": "pay"}),
        ("say", {"type": "custom", "name": "say"}),
        ("docs", {"type": "mcp", "server_label": "docs"}),
        ("shell", {"type": "shell"}),
        ("web_search", {"type": "web_search"}),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": []},
            {"type": "allowed_tools", "mode": "auto", "tools": []},
        ),
    ],
    ids=str,
)
def test_a_choice_of_a_tool_has_the_form_of_its_kind(choice: Any, sent: Any) -> None:
    assert body(request({"tool_choice": choice}, tools=TOOLS)).get("tool_choice") == sent


def test_a_function_may_be_named_like_a_word_of_the_service() -> None:
    shell = {**PAY, "name": "shell"}

    assert body(request({"tool_choice": "shell"}, tools=[shell, SHELL]))["tool_choice"] == {
        "type": "function",
        "name": "shell",
    }


@pytest.mark.parametrize(
    ("choice", "tools", "says"),
    [
        ("fly", TOOLS, "`tool_choice` names `fly`, which is none of its tools"),
        ("function", TOOLS, "`tool_choice` names `function`"),
        ("pay", [], "`tool_choice` names `pay`"),
        ("required", [], "`tool_choice` is `required`, and there are no tools"),
    ],
)
def test_a_choice_of_a_tool_that_is_not_there_is_an_error(choice: str, tools: list[Any], says: str) -> None:
    with pytest.raises(UserError, match=f"agent `Ops`: {says}"):
        body(request({"tool_choice": choice}, tools=tools))


def test_without_tools_nothing_is_said_of_calls_at_once() -> None:
    assert "parallel_tool_calls" not in body(request({"parallel_tool_calls": True}))


@pytest.mark.parametrize("store", [None, True, False])
def test_reasoning_is_asked_for_sealed_where_nobody_keeps_it(store: bool | None) -> None:
    settings = {"store": store, "include": ["reasoning.encrypted_content", "x"]}
    alone = body(request({"store": store})).get("include")

    assert alone == (["reasoning.encrypted_content"] if store is False else None)
    assert body(request(settings))["include"] == ["reasoning.encrypted_content", "x"]


def test_a_structured_answer_and_its_length_share_one_field() -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    sent = body(request({"verbosity": "low"}, output_schema=schema, output_strict=False))

    assert sent["text"] == {
        "format": {"type": "json_schema", "name": "final_output", "schema": schema, "strict": False},
        "verbosity": "low",
    }


@pytest.mark.parametrize(
    "more",
    [
        {"conversation_id": "conv_1", "previous_response_id": "resp_1"},
        {"conversation_id": "conv_1", "chained": True},
    ],
    ids=list,
)
def test_two_histories_at_once_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="two histories of one run"):
        body(request(**more))


@pytest.mark.parametrize(
    "more", [{"previous_response_id": "resp_1"}, {"chained": True}, {"conversation_id": "conv_1"}], ids=list
)
def test_a_history_that_is_not_kept_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="`store=False` keeps no"):
        body(request({"store": False}, **more))
    for store in (None, True):
        check_keeping(store, **more)


@pytest.mark.parametrize("name", ["input", "model", "stream", "background", "store", "conversation", "tools"])
def test_further_fields_cannot_say_what_the_run_says(name: str) -> None:
    with pytest.raises(UserError, match=f"agent `Ops`: `extra_body` cannot say `{name}`"):
        body(request({"extra_body": {name: True}}))


def test_fields_that_the_service_does_not_take_back_are_left_out_and_the_items_stay_as_they_are() -> None:
    given: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed", "created_by": "x"},
        {"type": "shell_call", "id": "sh_1", "call_id": "c", "action": {}, "status": "completed", "created_by": "x"},
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "a", "created_by": "x"}, "odd"]},
        {"type": "function_call", "call_id": "d", "name": "f", "arguments": "{}", "async": True, "status": "completed"},
        {"type": "never_seen", "created": "kept", "output": [{"created_by": "kept"}]},
    ]
    before = json.dumps(given)
    sent = body(request(input=given))["input"]

    assert sent == [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "shell_call", "id": "sh_1", "call_id": "c", "action": {}, "status": "completed"},
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "a"}, "odd"]},
        given[3],
        given[4],
    ]
    assert json.dumps(given) == before


def test_text_that_is_no_unicode_is_sent_as_near_as_can_be() -> None:
    sent = body(request(input=[{"role": "user", "content": "a\ud83d\ude00b\ud800c"}], instructions="ünïcode"))

    assert sent["input"][0]["content"] == "a😀b\ufffdc"
    assert sent["instructions"] == "ünïcode"


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()], ids=["nan", "set", "object"])
def test_what_json_cannot_say_is_an_error(value: Any) -> None:
    with pytest.raises(UserError, match="agent `Ops`: the request cannot be written as JSON"):
        body(request(input=[{"role": "user", "content": value}]))


@pytest.mark.parametrize(
    ("more", "may"),
    [
        ({}, True),
        ({"previous_response_id": "resp_1"}, True),
        ({"tools": [PAY, SAY, SHELL, SEARCH]}, True),
        ({"safe_to_repeat": False}, False),
        ({"conversation_id": "conv_1"}, False),
        ({"tools": [PAY, DOCS]}, False),
        ({"tools": [{"type": "code_interpreter"}]}, False),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, False),
        ({"tools": [{"type": "shell", "environment": {"type": "container_reference"}}]}, False),
        ({"tools": [{"type": "shell"}]}, False),
    ],
    ids=str,
)
def test_a_request_may_be_repeated_where_nothing_can_happen_twice(more: dict[str, Any], may: bool) -> None:
    assert may_repeat(request(**more)) is may


def test_the_repr_of_a_request_has_no_texts_and_no_tools() -> None:
    told = repr(request(instructions="secret instructions", tools=TOOLS, input=[MESSAGE]))

    assert "gpt-test" in told
    assert not [word for word in ("secret", "hello", "docs") if word in told]
