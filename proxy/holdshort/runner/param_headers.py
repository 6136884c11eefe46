"""The `Mcp-*` headers of a stateless request, made from its body (MCP 2026-07-28, transports: request headers).

A tool's input schema may mark parameters with `x-mcp-header`; their arguments are repeated in `Mcp-Param-NAME`, and the
proxy refuses a call whose headers say otherwise than its body.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["parameter_headers", "safe_value"]

_MARK: Final = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_WRAPPED = re.compile(r"=\?base64\?.*\?=")
_MARKABLE: Final = ("string", "integer", "boolean")
_ONE: Final = (
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_TABLES: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties")
"""Where JSON Schema 2020-12 has schemas inside a schema; anything else is data, not a place for a mark."""


def safe_value(text: str) -> str:
    """Return `text` as a header's value; what HTTP would not carry unchanged is wrapped in base64."""
    if not text or (_PLAIN.fullmatch(text) and not _WRAPPED.fullmatch(text)):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def parameter_headers(schema: object, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the `Mcp-Param-*` headers of a call; none where a mark of the schema is wrong, as the proxy has it."""
    paths = _marked(schema)
    found: dict[str, str] = {}
    for name, path in (paths or {}).items():
        text = _text(_at(arguments, path))
        if text is not None:
            found[f"Mcp-Param-{name}"] = safe_value(text)
    return found


def _marked(schema: object) -> dict[str, tuple[str, ...]] | None:
    paths: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for path, node in _schemas(schema):
        if _MARK not in node:
            continue
        name = node[_MARK]
        if not path or not isinstance(name, str) or not _TOKEN.fullmatch(name) or name.lower() in seen:
            return None
        if node.get("type") not in _MARKABLE:
            return None
        seen.add(name.lower())
        paths[name] = path
    return paths


def _schemas(root: object) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Yield every schema with its path of properties; None where more than properties lead to it."""
    waiting: list[tuple[tuple[str, ...] | None, object]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        properties = node.get("properties")
        if isinstance(properties, dict):
            waiting += [(None if path is None else (*path, name), each) for name, each in properties.items()]
        waiting += [(None, node[word]) for word in _ONE if word in node]
        for word in _LISTS:
            if isinstance(node.get(word), list):
                waiting += [(None, each) for each in node[word]]
        for word in _TABLES:
            if isinstance(node.get(word), dict):
                waiting += [(None, each) for each in node[word].values()]


def _at(arguments: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(arguments, Mapping):
            return None
        arguments = arguments.get(name)
    return arguments


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        return None
    try:
        return str(value)
    except ValueError:
        return None  # more digits than Python writes out; the other side cannot either
