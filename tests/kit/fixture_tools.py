"""The fixture's tools: a table of definitions with what each one does. Names and texts are the conformance suite's."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import PromptsListChanged, SubscriptionBus, ToolsListChanged
from mcp.shared.exceptions import MCPError

from kit.fixture_contents import picture, sound

__all__ = ["TOOLS", "Call", "FixtureTool", "definitions"]

JSON = dict[str, Any]
STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Call:
    """One `tools/call` as a tool sees it."""

    ctx: ServerRequestContext[Any, Any]
    params: types.CallToolRequestParams
    bus: SubscriptionBus

    @property
    def arguments(self) -> JSON:
        return self.params.arguments or {}

    @property
    def answers(self) -> Mapping[str, Any]:
        """The client's `inputResponses`, as they came."""
        return (self.ctx.params or {}).get("inputResponses") or {}

    @property
    def state(self) -> str | None:
        """The echoed `requestState`."""
        return self.params.request_state

    def accepted(self, key: str) -> JSON | None:
        """What the person entered for the question `key`, when it was answered with accept."""
        answer = self.answers.get(key)
        if isinstance(answer, dict) and answer.get("action") == "accept" and isinstance(answer.get("content"), dict):
            content: JSON = answer["content"]
            return content
        return None


@dataclass(frozen=True, slots=True)
class FixtureTool:
    """A tool's listing and its behaviour."""

    definition: JSON
    run: Callable[[Call], Awaitable[JSON]]


TOOLS: dict[str, FixtureTool] = {}


def definitions() -> list[JSON]:
    """The listing, in a fixed order."""
    return [tool.definition for tool in TOOLS.values()]


def tool(
    name: str, description: str, schema: JSON | None = None, **also: Any
) -> Callable[[Callable[[Call], Awaitable[JSON]]], Callable[[Call], Awaitable[JSON]]]:
    """Put a tool in the table; `schema` is its properties with the required ones, or nothing for no arguments."""
    input_schema = schema if schema is not None else {"type": "object", "properties": {}}

    def enter(run: Callable[[Call], Awaitable[JSON]]) -> Callable[[Call], Awaitable[JSON]]:
        definition = {"name": name, "description": description, "inputSchema": input_schema, **also}
        TOOLS[name] = FixtureTool(definition, run)
        return run

    return enter


def needs(**properties: JSON) -> JSON:
    """A schema with these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def text(words: str, **also: Any) -> JSON:
    """A result of one text."""
    return {"content": [{"type": "text", "text": words}], **also}


READS = {"annotations": {"readOnlyHint": True}}


@tool("test_simple_text", "Answers with a text", **READS)
async def simple_text(call: Call) -> JSON:
    return text("This is a simple text response for testing.")


@tool("test_image_content", "Answers with a picture", **READS)
async def image_content(call: Call) -> JSON:
    return {"content": [{"type": "image", "data": picture(), "mimeType": "image/png"}]}


@tool("test_audio_content", "Answers with a sound", **READS)
async def audio_content(call: Call) -> JSON:
    return {"content": [{"type": "audio", "data": sound(), "mimeType": "audio/wav"}]}


@tool("test_embedded_resource", "Answers with a resource", **READS)
async def embedded_resource(call: Call) -> JSON:
    resource = {
        "uri": "test://embedded-resource",
        "mimeType": "text/plain",
        "text": "This is an embedded resource content.",
    }
    return {"content": [{"type": "resource", "resource": resource}]}


@tool("test_multiple_content_types", "Answers with a text, a picture and a resource", **READS)
async def multiple_content_types(call: Call) -> JSON:
    resource = {
        "uri": "test://mixed-content-resource",
        "mimeType": "application/json",
        "text": json.dumps({"test": "data", "value": 123}, separators=(",", ":")),
    }
    return {
        "content": [
            {"type": "text", "text": "Multiple content types test:"},
            {"type": "image", "data": picture(), "mimeType": "image/png"},
            {"type": "resource", "resource": resource},
        ]
    }


@tool("test_error_handling", "Always fails")
async def error_handling(call: Call) -> JSON:
    return text("This tool intentionally returns an error for testing", isError=True)


async def _log(call: Call, words: str) -> None:
    await call.ctx.session.send_log_message(  # pyright: ignore[reportDeprecated]
        "info", words, logger="fixture", related_request_id=call.ctx.request_id
    )


@tool("test_tool_with_logging", "Logs three times while it runs")
async def with_logging(call: Call) -> JSON:
    await _log(call, "Tool execution started")
    await anyio.sleep(STEP_SECONDS)
    await _log(call, "Tool processing data")
    await anyio.sleep(STEP_SECONDS)
    await _log(call, "Tool execution completed")
    return text("Logged three times.")


@tool("test_logging_tool", "Logs once, if the request asks for logs")
async def logging_tool(call: Call) -> JSON:
    await _log(call, "Only for those who asked")
    return text("Logged if asked.")


@tool("test_tool_with_progress", "Reports progress three times")
async def with_progress(call: Call) -> JSON:
    token = (call.ctx.meta or {}).get("progress_token")
    for progress in (0, 50, 100):
        if token is not None:
            await call.ctx.session.send_progress_notification(
                token, progress, total=100, message=f"{progress} of 100", related_request_id=str(call.ctx.request_id)
            )
        if progress < 100:
            await anyio.sleep(STEP_SECONDS)
    return text("Progress was reported.")


@tool("test_sampling", "Asks the client's model", needs(prompt={"type": "string", "description": "What to ask"}))
async def sampling(call: Call) -> JSON:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=call.arguments["prompt"]))
    answer = await call.ctx.session.create_message(  # pyright: ignore[reportDeprecated]
        [message], max_tokens=100, related_request_id=call.ctx.request_id
    )
    said = answer.content.text if isinstance(answer.content, types.TextContent) else "something that is not text"
    return text(f"LLM response: {said}")


async def _elicit(call: Call, message: str, schema: JSON) -> types.ElicitResult:
    return await call.ctx.session.elicit_form(message, schema, related_request_id=call.ctx.request_id)


@tool("test_elicitation", "Asks the person", needs(message={"type": "string", "description": "What to ask"}))
async def elicitation(call: Call) -> JSON:
    schema = needs(
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    answer = await _elicit(call, call.arguments["message"], schema)
    return text(f"User response: action={answer.action}, content={json.dumps(answer.content)}")


@tool("test_elicitation_sep1034_defaults", "Asks the person with a default for each kind of field")
async def elicitation_defaults(call: Call) -> JSON:
    properties: JSON = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    answer = await _elicit(call, "Check these defaults", {"type": "object", "properties": properties, "required": []})
    return text(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}")


@tool("test_elicitation_sep1330_enums", "Asks the person with every way to choose")
async def elicitation_enums(call: Call) -> JSON:
    plain = ["option1", "option2", "option3"]

    def titled(noun: str) -> list[JSON]:
        return [{"const": f"value{n}", "title": f"{word} {noun}"} for n, word in enumerate(ORDINALS, start=1)]

    properties: JSON = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }
    answer = await _elicit(call, "Choose", {"type": "object", "properties": properties, "required": []})
    return text(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}")


ORDINALS = ("First", "Second", "Third")


@tool("test_reconnection", "Drops its stream in the middle, so that the client must come back for the answer")
async def reconnection(call: Call) -> JSON:
    if call.ctx.close_sse_stream is not None:
        await anyio.sleep(STEP_SECONDS)  # so that the stream has begun before it ends
        await call.ctx.close_sse_stream()
        await anyio.sleep(STEP_SECONDS * 2)
    return text("The stream was closed and this came after it.")


@tool(
    "test_x_mcp_header",
    "Has an argument that is also a header",
    {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region", "description": "Where to run"}},
        "required": ["region"],
    },
)
async def x_mcp_header(call: Call) -> JSON:
    return text(f"Region: {call.arguments.get('region')}")


@tool(
    "json_schema_2020_12_tool",
    "Its schema uses the newer half of JSON Schema",
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {
            "address": {"$anchor": "place", "type": "object", "properties": {"street": {"type": "string"}}},
        },
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "by": {"enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"by": {"const": "phone"}}, "required": ["by"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def json_schema(call: Call) -> JSON:
    return text(json.dumps(call.arguments, sort_keys=True))


@tool("test_trigger_tool_change", "Says that the tools changed")
async def trigger_tool_change(call: Call) -> JSON:
    await call.bus.publish(ToolsListChanged())
    return text("Said so.")


@tool("test_trigger_prompt_change", "Says that the prompts changed")
async def trigger_prompt_change(call: Call) -> JSON:
    await call.bus.publish(PromptsListChanged())
    return text("Said so.")


def _declared(call: Call) -> Mapping[str, Any]:
    """The capabilities this very request declared (2026-07-28)."""
    meta = (call.ctx.params or {}).get("_meta") or {}
    declared: Mapping[str, Any] = meta.get("io.modelcontextprotocol/clientCapabilities") or {}
    return declared


@tool("test_missing_capability", "Needs a client with a model")
async def missing_capability(call: Call) -> JSON:
    if "sampling" not in _declared(call):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs the sampling capability",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return text("The client has a model.")
