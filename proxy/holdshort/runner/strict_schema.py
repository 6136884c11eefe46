"""JSON Schemas as a model can be held to them: every object closed, every property required, few words.

What the service's strict decoding does not take falls in three groups (OpenAI, Structured Outputs, "Supported
schemas"). Bounds that our own check enforces anyway are said in the description instead. `oneOf` becomes `anyOf`, and
a reference with words beside it becomes a copy of what it means. The rest cannot be kept, and is an error that names
the place.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from holdshort.runner.errors import UserError

__all__ = ["strict_schema"]

SAID_INSTEAD = ("default", "minLength", "maxLength", "uniqueItems", "examples")
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
DROPPED = (
    "discriminator",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
    "contentEncoding",
    "contentSchema",
)
REFUSED = (
    *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "propertyNames"),
    *("prefixItems", "contains", "minContains", "maxContains", "minProperties", "maxProperties"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
REASONS = {
    "prefixItems": "is a tuple of different things, which strict schemas cannot say: name them as fields",
    "patternProperties": "takes keys by pattern, which strict schemas cannot say",
}
MOST_NODES = 10_000
"""Copies of referenced schemas are bounded: a small schema can refer to itself a great many times."""


def strict_schema(schema: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return `schema` in the strict form; `owner` is who the errors speak of, such as "the function tool `pay`".

    Raises:
        UserError: it cannot be put like that; the message names the place.
    """
    strict = _Strict(copy.deepcopy(dict(schema)), owner)
    made = strict.schema(strict.root, ())
    if made.get("type") != "object":
        raise UserError(f"the schema of {owner} is no object at its root")
    return made


class _Strict:
    def __init__(self, root: dict[str, Any], owner: str) -> None:
        self.root, self.owner, self.left = root, owner, MOST_NODES

    def schema(self, node: Any, place: tuple[str, ...], met: tuple[str, ...] = ()) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0:
            raise UserError(f"the schema of {self.owner} grows without end when its references are written out")
        if not isinstance(node, dict) or not node:
            raise self._error(place, "has no type: annotate it")
        if "$ref" in node:
            return self._reference(node, place, met)
        for word in REFUSED:
            if word in node:
                raise self._error(place, REASONS.get(word, f"uses `{word}`, which strict schemas cannot say"))
        if "allOf" in node:
            node = self._merged(node, place)
        made = self._told({key: value for key, value in node.items() if key not in DROPPED})
        if "oneOf" in made:
            made["anyOf"] = [*made.get("anyOf", ()), *made.pop("oneOf")]
        if made.get("type") == "object" or "properties" in made:
            self._close(made, place)
        if made.get("type") == "array" or "items" in made:
            made["items"] = self.schema(made.get("items"), (*place, "[]"))
        if "anyOf" in made:
            made["anyOf"] = [self.schema(each, place) for each in made["anyOf"]]
        for word in ("$defs", "definitions"):
            if word in made:
                made[word] = {name: self.schema(each, (name,)) for name, each in made[word].items()}
        if not made.keys() & {"type", "anyOf", "enum", "const"}:
            raise self._error(place, "has no type: annotate it")
        return made

    def _reference(self, node: dict[str, Any], place: tuple[str, ...], met: tuple[str, ...]) -> dict[str, Any]:
        if len(node) == 1:
            return node
        name = str(node["$ref"])
        if name in met:
            raise self._error(place, f"refers to `{name}`, which is nothing but itself")
        meant = self._meant(name, place)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return self.schema({**meant, **beside}, place, (*met, name))

    def _meant(self, name: str, place: tuple[str, ...]) -> dict[str, Any]:
        found: Any = self.root
        for step in name.removeprefix("#/").split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not name.startswith("#/") or not isinstance(found, dict):
            raise self._error(place, f"refers to `{name}`, which is not in the schema")
        return copy.deepcopy(found)

    def _merged(self, node: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
        if len(node["allOf"]) != 1 or "$ref" in node["allOf"][0]:
            raise self._error(place, "uses `allOf`, which strict schemas cannot say")
        return {**node["allOf"][0], **{key: value for key, value in node.items() if key != "allOf"}}

    def _told(self, made: dict[str, Any]) -> dict[str, Any]:
        """Move what only our own check knows of into the description."""
        notes = [f"{word}: {_shown(made[word])}" for word in SAID_INSTEAD if made.get(word) not in (None, False)]
        if made.get("default") is False:
            notes.insert(0, "default: false")
        if made.get("format") not in {*FORMATS, None}:
            notes.append(f"format: {made.pop('format')}")
        made = {key: value for key, value in made.items() if key not in SAID_INSTEAD}
        if notes:
            made["description"] = " ".join(part for part in (made.get("description"), f"({'; '.join(notes)})") if part)
        return made

    def _close(self, made: dict[str, Any], place: tuple[str, ...]) -> None:
        if made.get("additionalProperties", False) is not False:
            raise self._error(place, "takes keys that have no name in the schema: name its fields")
        properties = made.get("properties", {})
        made["properties"] = {name: self.schema(each, (*place, name)) for name, each in properties.items()}
        made["required"] = list(properties)
        made["additionalProperties"] = False

    def _error(self, place: tuple[str, ...], fault: str) -> UserError:
        where = f"`{'.'.join(place)}`" if place else "the root"
        return UserError(f"in the schema of {self.owner}, {where} {fault}, or do without a strict schema")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
