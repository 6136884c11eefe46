"""The fixture's resources and prompts, and the smallest picture and sound there are."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mcp_types as types

__all__ = ["PROMPTS", "RESOURCES", "TEMPLATES", "Prompt", "picture", "prompts", "read", "sound"]

Content = dict[str, Any]


def picture() -> str:
    """One red pixel, as base64 of a PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + pixel + chunk(b"IEND", b"")).decode()


def sound() -> str:
    """A hundredth of a second of silence, as base64 of a WAV."""
    samples = b"\x80" * 80
    shape = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + shape + b"data" + struct.pack("<I", len(samples)) + samples
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(body)) + body).decode()


RESOURCES: list[Content] = [
    {
        "uri": "test://static-text",
        "name": "static-text",
        "description": "A text that never changes",
        "mimeType": "text/plain",
    },
    {
        "uri": "test://static-binary",
        "name": "static-binary",
        "description": "A picture that never changes",
        "mimeType": "image/png",
    },
    {
        "uri": "test://watched-resource",
        "name": "watched-resource",
        "description": "A text that can be subscribed to",
        "mimeType": "text/plain",
    },
]

TEMPLATES: list[Content] = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Made from the id in its address",
        "mimeType": "application/json",
    }
]


def read(uri: str) -> Content | None:
    """The content at `uri`, or None."""
    if uri == "test://static-text":
        return {"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."}
    if uri == "test://static-binary":
        return {"uri": uri, "mimeType": "image/png", "blob": picture()}
    if uri == "test://watched-resource":
        return {"uri": uri, "mimeType": "text/plain", "text": "Watched."}
    if found := re.fullmatch(r"test://template/([^/]+)/data", uri):
        body = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(body, separators=(",", ":"))}
    return None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's listing and what `prompts/get` answers."""

    definition: Content
    get: Callable[[types.GetPromptRequestParams], Content]


def _says(*contents: Content) -> Content:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


def _text(text: str) -> Content:
    return {"type": "text", "text": text}


def _arguments(params: types.GetPromptRequestParams) -> dict[str, str]:
    return dict(params.arguments or {})


def _with_arguments(params: types.GetPromptRequestParams) -> Content:
    given = _arguments(params)
    return _says(_text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"))


def _with_resource(params: types.GetPromptRequestParams) -> Content:
    uri = _arguments(params).get("resourceUri", "test://static-text")
    resource = {"uri": uri, "mimeType": "text/plain", "text": "Embedded resource content for testing."}
    return _says({"type": "resource", "resource": resource}, _text("Please process the embedded resource above."))


def _with_image(params: types.GetPromptRequestParams) -> Content:
    image = {"type": "image", "data": picture(), "mimeType": "image/png"}
    return _says(image, _text("Please analyze the image above."))


def _needs_input(params: types.GetPromptRequestParams) -> Content:
    answers = params.model_dump(mode="json", by_alias=True).get("inputResponses") or {}
    answer = answers.get("user_context")
    if isinstance(answer, dict) and answer.get("action") == "accept":
        return _says(_text(f"In the context of {answer['content'].get('context')}"))
    schema = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}
    question = {"mode": "form", "message": "What context should the prompt use?", "requestedSchema": schema}
    return {
        "resultType": "input_required",
        "inputRequests": {"user_context": {"method": "elicitation/create", "params": question}},
    }


def _argument(name: str, description: str) -> Content:
    return {"name": name, "description": description, "required": True}


def _prompt(
    name: str, description: str, get: Callable[[types.GetPromptRequestParams], Content], *needs: Content
) -> Prompt:
    return Prompt({"name": name, "description": description, "arguments": list(needs)}, get)


PROMPTS: dict[str, Prompt] = {
    prompt.definition["name"]: prompt
    for prompt in (
        _prompt("test_simple_prompt", "Says one thing", lambda _: _says(_text("This is a simple prompt for testing."))),
        _prompt(
            "test_prompt_with_arguments",
            "Says what it was given",
            _with_arguments,
            _argument("arg1", "First test argument"),
            _argument("arg2", "Second test argument"),
        ),
        _prompt(
            "test_prompt_with_embedded_resource",
            "Holds a resource",
            _with_resource,
            _argument("resourceUri", "The resource to embed"),
        ),
        _prompt("test_prompt_with_image", "Holds a picture", _with_image),
        _prompt("test_input_required_result_prompt", "Asks before it answers", _needs_input),
    )
}


def prompts() -> list[Content]:
    """The listing, in a fixed order."""
    return [prompt.definition for prompt in PROMPTS.values()]
