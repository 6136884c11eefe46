"""Strict JSON Schemas: every object closed, every property required, nothing the service cannot decode by.

The sentences are the service's; `context` is its way to say where, a tuple of the keys on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.responses_refusals import Refused

__all__ = ["check_strict"]

REFUSED_WORDS = ("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "patternProperties")


def check_strict(schema: Mapping[str, Any], words: str, param: str, code: str = "invalid_function_parameters") -> None:
    """Raise what the service says of a schema that is called strict and is not; `words` names its owner.

    Raises:
        Refused: the first fault, in the order of the document.
    """

    def refuse(fault: str) -> Refused:
        return Refused(f"Invalid schema for {words}: {fault}", param=param, code=code)

    if schema.get("type") != "object":
        raise refuse(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'.")

    def look(node: Any, context: tuple[str, ...]) -> None:
        if not isinstance(node, Mapping):
            return
        for word in REFUSED_WORDS:
            if word in node:
                raise refuse(f"In context={context}, '{word}' is not permitted.")
        if node.get("type") == "object" or "properties" in node:
            if node.get("additionalProperties") is not False:
                said = "'additionalProperties' is required to be supplied and to be false."
                raise refuse(f"In context={context}, {said}")
            properties: Mapping[str, Any] = node.get("properties", {})
            required = node.get("required", [])
            for name in properties:
                if name not in required:
                    said = "'required' is required to be supplied and to be an array including every key in properties."
                    raise refuse(f"In context={context}, {said} Missing '{name}'.")
            for name in required:
                if name not in properties:
                    raise refuse(f"In context={context}, 'required' names '{name}', which is no property.")
            for name, inner in properties.items():
                look(inner, (*context, "properties", name))
        if node.get("type") == "array" and "items" not in node:
            raise refuse(f"In context={context}, array schema missing items.")
        look(node.get("items"), (*context, "items"))
        for index, inner in enumerate(node.get("anyOf", [])):
            look(inner, (*context, "anyOf", str(index)))
        for word in ("$defs", "definitions"):
            for name, inner in node.get(word, {}).items():
                look(inner, (*context, word, name))

    look(schema, ())
