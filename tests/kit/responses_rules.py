"""What a request to the Responses service must look like before any history is read: parameters, items, tools.

`check_request` is the whole rule. Everything it knows of the wire format is in ITEMS; parameters are those that the
`openai` package can send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai.types.responses.response_create_params import ResponseCreateParamsBase

from kit.responses_refusals import Refused, missing_parameter, wrong_value
from kit.responses_schemas import check_strict

__all__ = ["ITEMS", "MODEL_MADE", "check_items", "check_request"]

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of item in an input."""

    required: tuple[str, ...] = ()
    prefix: str = ""
    """What its id begins with; empty where nothing is known."""
    by_model: bool = True


ITEMS: Mapping[str, Kind] = {
    "message": Kind(("role", "content"), "msg"),
    "reasoning": Kind(("summary",), "rs"),
    "function_call": Kind(("call_id", "name", "arguments"), "fc"),
    "function_call_output": Kind(("call_id", "output"), "fc", by_model=False),
    "custom_tool_call": Kind(("call_id", "name", "input"), "ctc"),
    "custom_tool_call_output": Kind(("call_id", "output"), by_model=False),
    "shell_call": Kind(("call_id", "action"), "sh"),
    "shell_call_output": Kind(("call_id", "output"), by_model=False),
    "apply_patch_call": Kind(("call_id", "operation", "status"), "apc"),
    "apply_patch_call_output": Kind(("call_id", "status"), by_model=False),
    "computer_call": Kind(("call_id",), "cu"),
    "computer_call_output": Kind(("call_id", "output"), by_model=False),
    "mcp_list_tools": Kind(("id", "server_label", "tools"), "mcpl"),
    "mcp_approval_request": Kind(("id", "server_label", "name", "arguments"), "mcpr"),
    "mcp_approval_response": Kind(("approval_request_id", "approve"), by_model=False),
    "mcp_call": Kind(("id", "server_label", "name", "arguments"), "mcp"),
    "web_search_call": Kind(("id",), "ws"),
    "file_search_call": Kind(("id",), "fs"),
    "code_interpreter_call": Kind(("id",), "ci"),
    "image_generation_call": Kind(("id",), "ig"),
    "compaction": Kind(("encrypted_content",)),
    "item_reference": Kind(("id",), by_model=False),
}
MODEL_MADE = frozenset(name for name, kind in ITEMS.items() if kind.by_model)
"""What a model writes; a message is the model's only when its role is `assistant`."""

OUTPUT_ONLY: Mapping[str, tuple[str, ...]] = {"reasoning": ("created_by", "status")}
"""Fields that the service sends and does not take back: users quote it for `status`; no input type has the other."""
PARAMETERS = frozenset(ResponseCreateParamsBase.__annotations__) | {"stream"}
ROLES = ("assistant", "system", "developer", "user")
NAME = r"^[a-zA-Z0-9_-]+$"
LONGEST_NAME = 64


def check_request(body: Mapping[str, Any]) -> list[Item]:
    """Return the items of the input, none of them checked against a history yet.

    Raises:
        Refused: as the service refuses it.
    """
    for name in body:
        if name not in PARAMETERS:
            raise Refused(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if not body.get("model"):
        raise missing_parameter("model")
    if body.get("previous_response_id") is not None and body.get("conversation") is not None:
        both = "'previous_response_id' and 'conversation'"
        one = "'previous_response_id' or 'conversation'"
        message = f"Mutually exclusive parameters: {both}. Ensure you are only providing one of: {one}."
        raise Refused(message, param="previous_response_id", code="mutually_exclusive_parameters")
    if body.get("background"):
        raise Refused("Unsupported parameter: 'background'.", param="background", code="unsupported_parameter")
    given: Any = body.get("input")
    if given is None:
        if not (body.get("previous_response_id") or body.get("conversation")):
            message = 'One of "input" or "previous_response_id" or "prompt" or "conversation_id" must be provided.'
            raise Refused(message, param="input", code="missing_required_parameter")
        given = []
    if not isinstance(given, str | list):
        expected = "one of an array of input items or a string"
        raise wrong_value("input", f"Invalid type for 'input': expected {expected}.", "invalid_type")
    items: list[Item] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    check_items(items)
    _check_tools(body.get("tools") or [], body.get("tool_choice"))
    _check_format((body.get("text") or {}).get("format"))
    return items


def check_items(items: Sequence[Item], param: str = "input") -> None:
    """Check the form of each item by itself."""
    for index, item in enumerate(items):
        _check_item(item, f"{param}[{index}]")


def _check_item(item: Any, at: str) -> None:
    if not isinstance(item, Mapping):
        raise wrong_value(at, f"Invalid type for '{at}': expected an input item.", "invalid_type")
    word = item.get("type", "message")
    kind = ITEMS.get(word)
    if kind is None:
        known = ", ".join(f"'{name}'" for name in ITEMS)
        raise wrong_value(f"{at}.type", f"Invalid value: '{word}'. Supported values are: {known}.")
    for name in kind.required:
        if item.get(name) is None:
            raise missing_parameter(f"{at}.{name}")
    for name in OUTPUT_ONLY.get(word, ("created_by",)):
        if name in item:
            raise Refused(f"Unknown parameter: '{at}.{name}'.", param=f"{at}.{name}", code="unknown_parameter")
    item_id = item.get("id")
    if item_id is not None and word != "item_reference" and not str(item_id).startswith(kind.prefix):
        raise wrong_value(
            f"{at}.id", f"Invalid '{at}.id': '{item_id}'. Expected an ID that begins with '{kind.prefix}'."
        )
    call_id = item.get("call_id")
    if call_id == "":
        expected = "Expected a string with minimum length 1, but got an empty string instead."
        raise wrong_value(f"{at}.call_id", f"Invalid '{at}.call_id': empty string. {expected}", "empty_string")
    if isinstance(call_id, str) and len(call_id) > LONGEST_NAME:
        raise _too_long(f"{at}.call_id", call_id)
    for name in ("arguments", "input", "name", "call_id"):
        if name in item and not isinstance(item[name], str):
            raise wrong_value(f"{at}.{name}", f"Invalid type for '{at}.{name}': expected a string.", "invalid_type")
    if word == "message":
        _check_message(item, at)
    if word in ("function_call_output", "custom_tool_call_output"):
        _check_output(item["output"], f"{at}.output")


def _check_message(item: Item, at: str) -> None:
    role, content = item["role"], item["content"]
    if role not in ROLES:
        known = ", ".join(f"'{name}'" for name in ROLES)
        raise wrong_value(f"{at}.role", f"Invalid value: '{role}'. Supported values are: {known}.")
    if isinstance(content, str):
        return
    allowed = ("output_text", "refusal") if role == "assistant" else ("input_text", "input_image", "input_file")
    for index, part in enumerate(content):
        if part.get("type") not in allowed:
            known = " and ".join(f"'{name}'" for name in allowed)
            message = f"Invalid value: '{part.get('type')}'. Supported values are: {known}."
            raise wrong_value(f"{at}.content[{index}]", message)


def _check_output(output: Any, at: str) -> None:
    if not isinstance(output, str | list):
        expected = "expected one of an array of objects or string, but got an object instead"
        raise wrong_value(at, f"Invalid type for '{at}': {expected}.", "invalid_type")


def _check_tools(tools: Sequence[Item], choice: Any) -> None:
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if tool.get("type") in ("function", "custom"):
            name = tool.get("name")
            if not name:
                raise missing_parameter(f"{at}.name")
            if not re.fullmatch(NAME, name):
                expected = f"Expected a string that matches the pattern '{NAME}'."
                raise wrong_value(f"{at}.name", f"Invalid '{at}.name': string does not match pattern. {expected}")
            if len(name) > LONGEST_NAME:
                raise _too_long(f"{at}.name", name)
            if tool.get("strict"):
                check_strict(tool.get("parameters") or {}, f"function '{name}'", f"{at}.parameters")
        elif tool.get("type") == "mcp":
            if not tool.get("server_label"):
                raise missing_parameter(f"{at}.server_label")
            if not (tool.get("server_url") or tool.get("connector_id")):
                raise missing_parameter(f"{at}.server_url")
        elif not tool.get("type"):
            raise missing_parameter(f"{at}.type")
    if choice == "required" and not tools:
        raise Refused("Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
    forced = choice.get("name") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    if forced and forced not in [tool.get("name") for tool in tools]:
        raise Refused("Tool choice 'function' not found in 'tools' parameter.", param="tool_choice")


def _check_format(wanted: Mapping[str, Any] | None) -> None:
    if wanted and wanted.get("type") == "json_schema":
        for name in ("name", "schema"):
            if not wanted.get(name):
                raise missing_parameter(f"text.format.{name}")
        if wanted.get("strict"):
            words = f"response_format '{wanted['name']}'"
            check_strict(wanted["schema"], words, "text.format.schema", "invalid_json_schema")


def _too_long(at: str, text: str) -> Refused:
    expected = (
        f"Expected a string with maximum length {LONGEST_NAME}, but got a string with length {len(text)} instead."
    )
    return wrong_value(at, f"Invalid '{at}': string too long. {expected}", "string_above_max_length")
