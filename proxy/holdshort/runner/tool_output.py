"""What a tool gave back, as the model reads it. Nothing is lost on the way that a model could read, and nothing raises.

An output stays in the history for good, and a history that the service refuses ends every later turn as well. So text
is made clean, and an image or a file goes out as one only where its bytes are what they are called.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import to_json

__all__ = ["ToolOutputFileContent", "ToolOutputImage", "ToolOutputText", "mcp_output", "tool_output"]

Part = dict[str, Any]
"""A content part of the Responses API: `input_text`, `input_image` or `input_file`."""

SIGNATURES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF.{4}WEBP",
}
"""The images that models take, by how they begin."""

TEXTUAL = re.compile(r"text/.*|application/(?:[\w.-]+\+)?(?:json|xml|yaml|x-yaml|toml|javascript|sql)|image/svg\+xml")
_UNSAID = frozenset({"type", "_meta", "annotations", "icons"})
SAYS_ERROR = re.compile(r"\b(?:error|errors|fail|fails|failed|failure|exception|traceback)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ToolOutputText:
    """Text, beside images and files in a list."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolOutputImage:
    """An image, by its URL (`data:` URLs included) or as a file that was uploaded to the service."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None

    def __post_init__(self) -> None:
        if self.image_url is None and self.file_id is None:
            raise ValueError("an image needs an `image_url` or a `file_id`")


@dataclass(frozen=True, slots=True)
class ToolOutputFileContent:
    """A file: its content as a base64 `data:` URL, where to fetch it, or as one that was uploaded to the service."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None

    def __post_init__(self) -> None:
        if self.file_data is None and self.file_url is None and self.file_id is None:
            raise ValueError("a file needs `file_data`, a `file_url` or a `file_id`")


RICH = (ToolOutputText, ToolOutputImage, ToolOutputFileContent)


def tool_output(value: Any) -> str | list[Part]:
    """Return what a model reads of a Python value.

    Text is itself. The three classes above, alone or in a list, are content parts; other things among them become text.
    Everything else is JSON, once; what JSON cannot say is `str()` of it.
    """
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, RICH):
        return [_part(value)]
    if isinstance(value, list | tuple) and any(isinstance(each, RICH) for each in value):
        return [_part(each) if isinstance(each, RICH) else _text_part(_as_text(each)) for each in value]
    return _as_text(value)


def mcp_output(result: Mapping[str, Any]) -> str | list[Part]:
    """Return what a model reads of the result of an MCP call.

    Texts are joined by a line break. With an image or a PDF among them it is a list of parts, in order. What a model
    cannot be shown (sound, archives) is named with its type and size. `structuredContent` speaks where nothing else
    does. An error that does not say so begins with `Error:`.
    """
    content = result.get("content")
    blocks: Sequence[Any] = content if isinstance(content, list) else [] if content is None else [content]
    parts = [part for block in blocks for part in _block(block)]
    if all(part["type"] == "input_text" and not part["text"].strip() for part in parts):
        structured = result.get("structuredContent")
        parts = [] if structured is None else [_text_part(_as_text(structured))]
    if not parts:
        parts = [_text_part("The tool gave nothing back.")]
    if result.get("isError") is True:
        parts = _marked(parts)
    if all(part["type"] == "input_text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _marked(parts: list[Part]) -> list[Part]:
    first = parts[0]
    if first["type"] != "input_text":
        return [_text_part("Error:"), *parts]
    if SAYS_ERROR.search(first["text"][:200]):
        return parts
    return [_text_part(f"Error: {first['text']}"), *parts[1:]]


def _block(block: Any) -> list[Part]:
    """Return the parts for one content block of MCP (schema 2026-07-28, `ContentBlock`)."""
    match block:
        case {"type": "text", "text": str(text)}:
            return [_text_part(text)]
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return [_binary(kind, data, block.get("mimeType"), None)]
        case {"type": "resource", "resource": {"text": str(text)}}:
            return [_text_part(f"[resource {_named(block['resource'])}]\n{text}")]
        case {"type": "resource", "resource": {"blob": str(data)}}:
            return [_binary("resource", data, block["resource"].get("mimeType"), block["resource"].get("uri"))]
        case {"type": "resource_link", "uri": _}:
            words = {key: said for key, said in block.items() if key not in _UNSAID}
            return [_text_part(f"[link to a resource] {_as_text(words)}")]
        case str():
            return [_text_part(block)]
        case _:
            return [_text_part(_as_text(block))]


def _binary(kind: str, data: str, media: Any, uri: Any) -> Part:
    media = str(media or "application/octet-stream").lower()
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return _text_part(f"[{kind} {_named({'uri': uri, 'mimeType': media})}, which is not valid base64]")
    for image, begins in SIGNATURES.items():
        if re.match(begins, raw, re.DOTALL):
            return {"type": "input_image", "image_url": f"data:{image};base64,{data}", "detail": "auto"}
    if raw.startswith(b"%PDF-"):
        name = str(uri or "").rsplit("/", 1)[-1] or "file.pdf"
        return {"type": "input_file", "filename": _clean(name), "file_data": f"data:application/pdf;base64,{data}"}
    named = _named({"uri": uri, "mimeType": media})
    if TEXTUAL.fullmatch(media.split(";")[0].strip()):
        try:
            return _text_part(f"[{kind} {named}]\n{raw.decode()}")
        except UnicodeDecodeError:
            pass
    return _text_part(f"[{kind} {named}, {len(raw)} bytes, which cannot be shown here]")


def _named(about: Mapping[str, Any]) -> str:
    uri, media = about.get("uri"), about.get("mimeType")
    return (
        " ".join(word for word in (str(uri) if uri else "", f"({media})" if media else "") if word) or "without a name"
    )


def _part(rich: Any) -> Part:
    if isinstance(rich, ToolOutputText):
        return _text_part(rich.text)
    kind = "input_image" if isinstance(rich, ToolOutputImage) else "input_file"
    said = {name: getattr(rich, name) for name in rich.__slots__}
    return {"type": kind, **{name: value for name, value in said.items() if value is not None}}


def _text_part(text: str) -> Part:
    return {"type": "input_text", "text": _clean(text)}


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return _clean(value)
    try:
        # `to_json` knows pydantic models, dataclasses, dates and whatever else a type of the user's is made of.
        return to_json(value, bytes_mode="base64", inf_nan_mode="strings", fallback=_spelled).decode()
    except Exception:  # noqa: BLE001  # a loop in it, or the user's own code: the tool ran, its output is not lost
        return _spelled(value)


def _spelled(value: Any) -> str:
    try:
        return _clean(str(value))
    except Exception:  # noqa: BLE001  # from the user's own `__str__`
        return f"<{type(value).__qualname__}>"


def _clean(text: str) -> str:
    """Return `text` without half characters, which no request could carry."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
