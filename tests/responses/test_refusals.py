"""What the offline service refuses, with the words and the exception classes of the real one."""

from __future__ import annotations

from typing import Any, cast

import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, Omit
from openai.types.responses import Response

from kit.responses_script import Approval, Call, Custom, Patch, Reasoning, Script, Shell, Text, Turn
from responses.conftest import Open

JSON = dict[str, Any]
USER: JSON = {"role": "user", "content": "pay"}
CALL: JSON = {"type": "function_call", "call_id": "call_1", "name": "pay", "arguments": "{}"}
OUTPUT: JSON = {"type": "function_call_output", "call_id": "call_1", "output": "paid"}
PAY: JSON = {"type": "function", "name": "pay", "parameters": {"type": "object", "properties": {}}}
OK = Turn(Text("ok"))


async def ask(client: AsyncOpenAI, given: Any, **more: Any) -> Response:
    response = await client.responses.create(model="gpt-test", input=given, **more)
    return cast(Response, response)


async def refused(client: AsyncOpenAI, given: Any, **more: Any) -> JSON:
    """The body of the 400 that this is answered with."""
    with pytest.raises(BadRequestError) as caught:
        await ask(client, given, **more)
    return cast(JSON, caught.value.body)


def error(message: str, param: str | None = "input", code: str | None = None) -> JSON:
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


PAIRS: list[tuple[JSON, JSON, str]] = [
    (CALL, OUTPUT, "function call"),
    (
        {"type": "custom_tool_call", "call_id": "call_1", "name": "say", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "said"},
        "custom tool call",
    ),
    (
        {"type": "shell_call", "call_id": "call_1", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "call_1", "output": []},
        "shell call",
    ),
    (
        {
            "type": "apply_patch_call",
            "call_id": "call_1",
            "status": "completed",
            "operation": {"type": "delete_file", "path": "a"},
        },
        {"type": "apply_patch_call_output", "call_id": "call_1", "status": "completed"},
        "apply patch call",
    ),
    (
        {"type": "computer_call", "call_id": "call_1", "action": {"type": "screenshot"}},
        {"type": "computer_call_output", "call_id": "call_1", "output": {"type": "computer_screenshot"}},
        "computer call",
    ),
]
by_kind = pytest.mark.parametrize(("call", "output", "words"), PAIRS, ids=[words for _, _, words in PAIRS])


@by_kind
async def test_a_call_needs_its_output(model: Open, call: JSON, output: JSON, words: str) -> None:
    async with model(OK) as (_, client):
        assert await refused(client, [USER, call]) == error(f"No tool output found for {words} call_1.")
        assert (await ask(client, [USER, call, output])).output_text == "ok"


@by_kind
async def test_an_output_needs_its_call_before_it(model: Open, call: JSON, output: JSON, words: str) -> None:
    async with model(OK) as (_, client):
        alone = error(f"No tool call found for {words} output with call_id call_1.")
        assert await refused(client, [USER, output]) == alone
        assert await refused(client, [USER, output, call]) == alone


@by_kind
async def test_a_call_is_answered_once(model: Open, call: JSON, output: JSON, words: str) -> None:
    async with model(OK) as (_, client):
        twice = error(f"Duplicate tool output found for {words} call_1.")
        assert await refused(client, [USER, call, output, output]) == twice


async def test_one_id_for_two_calls_wants_two_outputs(model: Open) -> None:
    async with model(OK) as (_, client):
        missing = error("No tool output found for function call call_1.")
        assert await refused(client, [USER, CALL, CALL, OUTPUT]) == missing
        assert (await ask(client, [USER, CALL, OUTPUT, CALL, OUTPUT])).output_text == "ok"


async def test_parallel_calls_may_be_answered_in_any_order(model: Open) -> None:
    async with model(OK) as (_, client):
        other = {**CALL, "call_id": "call_2"}, {**OUTPUT, "call_id": "call_2"}
        assert (await ask(client, [USER, CALL, other[0], other[1], OUTPUT])).output_text == "ok"


async def test_calls_that_the_service_keeps_need_their_outputs_too(model: Open) -> None:
    async with model(Turn(Call("pay"), Call("pay")), OK) as (_, client):
        first = await ask(client, "pay twice", tools=[PAY])
        one, two = [cast(Any, item).call_id for item in first.output]
        outputs = [{**OUTPUT, "call_id": one}, {**OUTPUT, "call_id": two}]
        half = await refused(client, outputs[:1], previous_response_id=first.id)
        again = await refused(client, [first.output[0].to_dict(), *outputs], previous_response_id=first.id)

        assert half == error(f"No tool output found for function call {two}.")
        assert again["message"].startswith(f"Duplicate item found with id {first.output[0].id}. Remove duplicate")
        assert (await ask(client, outputs, previous_response_id=first.id)).output_text == "ok"


async def test_an_output_that_was_sent_before_is_a_second_one(model: Open) -> None:
    async with model(Turn(Call("pay", call_id="call_1")), OK) as (_, client):
        first = await ask(client, "pay", tools=[PAY])
        second = await ask(client, [OUTPUT], previous_response_id=first.id)
        again = await refused(client, [OUTPUT, USER], previous_response_id=second.id)

        assert again == error("Duplicate tool output found for function call call_1.")


@pytest.mark.parametrize("stored", [True, False])
async def test_an_unknown_previous_response_is_refused_with_its_code(model: Open, stored: bool) -> None:
    async with model(OK, OK) as (server, client):
        first = await ask(client, "hello", store=stored)
        if stored:
            server.service.memory.forget(first.id)
        gone = await refused(client, "more", previous_response_id=first.id)

        message = f"Previous response with id '{first.id}' not found."
        assert gone == error(message, "previous_response_id", "previous_response_not_found")


async def test_a_response_that_is_not_kept_is_not_found(model: Open) -> None:
    async with model(OK) as (_, client):
        first = await ask(client, "hello", store=False)
        with pytest.raises(NotFoundError, match=f"Response with id '{first.id}' not found."):
            await client.responses.retrieve(first.id)


async def test_reasoning_is_followed_by_what_it_led_to(model: Open) -> None:
    async with model(Turn(Reasoning("hm"), Call("pay", call_id="call_1")), OK) as (_, client):
        first = await ask(client, "pay", tools=[PAY])
        reasoning, call = (item.to_dict() for item in first.output)
        lonely = error(
            f"Item '{reasoning['id']}' of type 'reasoning' was provided without its required following item."
        )
        bare = f"Item '{call['id']}' of type 'function_call' was provided without its required 'reasoning' item: "

        assert await refused(client, [USER, reasoning]) == lonely
        assert await refused(client, [USER, reasoning, USER]) == lonely
        assert await refused(client, [USER, reasoning, {**CALL, "id": "fc_other"}, OUTPUT]) == lonely
        assert await refused(client, [USER, call, OUTPUT]) == error(f"{bare}'{reasoning['id']}'.")
        assert (await ask(client, [USER, reasoning, call, OUTPUT])).output_text == "ok"


async def test_reasoning_that_was_not_kept_comes_back_encrypted_and_to_the_letter(model: Open) -> None:
    turn = Turn(Reasoning(), Call("pay", call_id="call_1"))
    async with model(turn, turn, OK) as (_, client):
        bare = await ask(client, "pay", tools=[PAY], store=False)
        with pytest.raises(NotFoundError) as caught:
            await ask(client, [USER, *[item.to_dict() for item in bare.output], OUTPUT])
        sealed = await ask(client, "pay", tools=[PAY], store=False, include=["reasoning.encrypted_content"])
        reasoning, call = (item.to_dict() for item in sealed.output)
        changed = {**reasoning, "encrypted_content": "gAAAAAother"}
        forged = await refused(client, [USER, changed, call, OUTPUT], store=False)

        assert "Items are not persisted when `store` is set to false." in caught.value.message
        assert forged["code"] == "invalid_encrypted_content"
        assert (await ask(client, [USER, reasoning, call, OUTPUT], store=False)).output_text == "ok"


async def test_an_item_may_be_named_by_the_id_under_which_it_is_kept(model: Open) -> None:
    async with model(Turn(Call("pay", call_id="call_1")), OK) as (_, client):
        first = await ask(client, "pay", tools=[PAY])
        named = {"type": "item_reference", "id": first.output[0].id}
        with pytest.raises(NotFoundError, match="Item with id 'fc_unknown' not found"):
            await ask(client, [USER, {**named, "id": "fc_unknown"}, OUTPUT])

        assert (await ask(client, [USER, named, OUTPUT])).output_text == "ok"


async def test_an_approval_request_is_answered_once(model: Open) -> None:
    async with model(Turn(Approval("docs", "search", {"q": "x"})), OK) as (_, client):
        first = await ask(client, "look")
        request = first.output[0].to_dict()
        answer = {"type": "mcp_approval_response", "approval_request_id": first.output[0].id, "approve": False}
        chained = {"previous_response_id": first.id}

        assert "No approval response found" in (await refused(client, [USER, request]))["message"]
        assert "No approval response found" in (await refused(client, [USER], **chained))["message"]
        assert "No approval request found" in (await refused(client, [USER, answer]))["message"]
        assert "Duplicate approval response" in (await refused(client, [answer, answer], **chained))["message"]
        assert (await ask(client, [{**answer, "reason": "no"}], **chained)).output_text == "ok"


async def test_a_model_is_required(model: Open) -> None:
    async with model() as (_, client):
        with pytest.raises(BadRequestError) as caught:
            await client.responses.create(input="hello")
        assert caught.value.body == error("Missing required parameter: 'model'.", "model", "missing_required_parameter")


async def test_a_key_is_required(model: Open) -> None:
    async with model() as (_, client):
        with pytest.raises(AuthenticationError, match="You didn't provide an API key"):
            await ask(client, "hello", extra_headers={"Authorization": Omit()})


OPEN: JSON = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED: JSON = {**OPEN, "additionalProperties": False}
BAD_TOOLS: list[tuple[JSON, str, str]] = [
    ({**PAY, "name": "pay now"}, "string does not match pattern", "invalid_value"),
    ({**PAY, "name": "p" * 65}, "maximum length 64, but got a string with length 65", "string_above_max_length"),
    ({**PAY, "strict": True, "parameters": OPEN}, "'additionalProperties' is required", "invalid_function_parameters"),
    (
        {**PAY, "strict": True, "parameters": {**CLOSED, "required": []}},
        "including every key in properties. Missing 'a'.",
        "invalid_function_parameters",
    ),
    (
        {**PAY, "strict": True, "parameters": {**CLOSED, "properties": {"a": OPEN}}},
        "In context=('properties', 'a'), 'additionalProperties'",
        "invalid_function_parameters",
    ),
    ({"type": "mcp", "server_url": "https://x.test"}, "tools[0].server_label", "missing_required_parameter"),
    ({"type": "mcp", "server_label": "x"}, "tools[0].server_url", "missing_required_parameter"),
]


@pytest.mark.parametrize(("tool", "words", "code"), BAD_TOOLS, ids=[words for _, words, _ in BAD_TOOLS])
async def test_a_tool_that_the_service_would_not_take(model: Open, tool: JSON, words: str, code: str) -> None:
    async with model() as (_, client):
        problem = await refused(client, "hello", tools=[tool])

        assert words in problem["message"]
        assert problem["code"] == code
        assert problem["param"].startswith("tools[0]")


BAD_INPUTS: list[tuple[Any, str, str]] = [
    ("hello", "Invalid type for 'input[0]': expected an input item.", "input[0]"),
    ({"type": "call"}, "Invalid value: 'call'. Supported values are:", "input[0].type"),
    ({**CALL, "id": "call_1"}, "Invalid 'input[0].id': 'call_1'. Expected an ID that begins with 'fc'.", "input[0].id"),
    ({**CALL, "call_id": ""}, "Invalid 'input[0].call_id': empty string.", "input[0].call_id"),
    ({**CALL, "call_id": "c" * 65}, "Invalid 'input[0].call_id': string too long.", "input[0].call_id"),
    ({**CALL, "arguments": {}}, "Invalid type for 'input[0].arguments'", "input[0].arguments"),
    ({"type": "function_call", "call_id": "c"}, "Missing required parameter: 'input[0].name'.", "input[0].name"),
    ({**OUTPUT, "output": {"a": 1}}, "Invalid type for 'input[0].output'", "input[0].output"),
    ({"role": "robot", "content": "x"}, "Invalid value: 'robot'. Supported values are: 'assistant'", "input[0].role"),
    (
        {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]},
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        "input[0].content[0]",
    ),
]


@pytest.mark.parametrize(("item", "words", "param"), BAD_INPUTS, ids=[words for _, words, _ in BAD_INPUTS])
async def test_an_item_that_the_service_would_not_take(model: Open, item: Any, words: str, param: str) -> None:
    async with model() as (_, client):
        problem = await refused(client, [item])

        assert words in problem["message"]
        assert problem["param"] == param


BAD_REQUESTS: list[tuple[JSON, str, str]] = [
    ({"tool_choice": "required"}, "Tool choice 'required' must be specified with 'tools'", "tool_choice"),
    (
        {"tools": [PAY], "tool_choice": {"type": "function", "name": "buy"}},
        "Tool choice 'function' not found in 'tools' parameter.",
        "tool_choice",
    ),
    ({"extra_body": {"modle": "x"}}, "Unknown parameter: 'modle'.", "modle"),
    (
        {"previous_response_id": "resp_1", "conversation": "conv_1"},
        "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
        "previous_response_id",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "paid", "strict": True, "schema": OPEN}}},
        "Invalid schema for response_format 'paid': In context=(), 'additionalProperties'",
        "text.format.schema",
    ),
    ({"background": True}, "Unsupported parameter: 'background'.", "background"),
]


@pytest.mark.parametrize(("more", "words", "param"), BAD_REQUESTS, ids=[words for _, words, _ in BAD_REQUESTS])
async def test_a_request_that_the_service_would_not_take(model: Open, more: JSON, words: str, param: str) -> None:
    async with model() as (_, client):
        problem = await refused(client, "hello", **more)

        assert words in problem["message"]
        assert problem["param"] == param


async def test_a_refused_request_uses_up_no_turn_and_is_recorded(model: Open) -> None:
    async with model(OK) as (server, client):
        await refused(client, [OUTPUT])
        answer = await ask(client, "hello")

        assert answer.output_text == "ok"
        assert [(one.status, one.response_id) for one in server.asked] == [(400, None), (200, answer.id)]


async def test_a_script_that_is_over_says_so(model: Open) -> None:
    async with model(OK) as (_, client):
        await ask(client, "hello")

        assert (await refused(client, "hello"))["code"] == "script_exhausted"


async def test_every_kind_that_a_caller_answers_can_be_in_a_script(model: Open) -> None:
    operation = {"type": "update_file", "path": "a", "diff": "@@"}
    turn = Turn(Call("pay"), Custom("say", "x"), Shell(["ls"]), Patch(operation))
    async with model(script=Script([turn, OK])) as (_, client):
        made = [item.to_dict() for item in (await ask(client, "go")).output]
        outputs: list[JSON] = []
        for item in made:
            more: JSON = {"status": "completed"} if item["type"] == "apply_patch_call" else {"output": "done"}
            if item["type"] == "shell_call":
                more = {"output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]}
            outputs.append({"type": f"{item['type']}_output", "call_id": item["call_id"], **more})

        assert (await ask(client, [USER, *made, *outputs])).output_text == "ok"


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ({"type": "reasoning", "summary": [], "status": "completed"}, "status"),
        ({"type": "reasoning", "summary": [], "created_by": "x"}, "created_by"),
        ({"type": "shell_call", "call_id": "call_1", "action": {"commands": []}, "created_by": "x"}, "created_by"),
        (CALL | {"created_by": "x"}, "created_by"),
    ],
)
async def test_fields_of_answers_that_are_none_of_inputs_are_unknown(model: Open, item: JSON, name: str) -> None:
    async with model(OK) as (_, client):
        body = await refused(client, [USER, item])

    assert body == error(f"Unknown parameter: 'input[1].{name}'.", f"input[1].{name}", "unknown_parameter")
