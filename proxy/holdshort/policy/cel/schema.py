"""What a tool's input schema says for certain: fields, types and values. Whatever is not certain is `None`: anything.

A schema can say things in ways that are not followed here, and then nothing is concluded. A field that the schema does
not name is taken as missing even where extra fields are not forbidden, because nearly no schema forbids them; where it
allows them in so many words (`additionalProperties`, `patternProperties`), any name is possible.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Absent", "View", "view_of"]

_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"string"}),
    # 1.0 is an integer to JSON Schema.
    "integer": frozenset({"int", "double"}),
    "number": frozenset({"int", "double"}),
    "boolean": frozenset({"bool"}),
    "null": frozenset({"null_type"}),
    "array": frozenset({"list"}),
    "object": frozenset({"map"}),
}
_JSON_TYPES: Final[Mapping[type, frozenset[str]]] = {
    str: frozenset({"string"}),
    bool: frozenset({"bool"}),
    int: frozenset({"int", "double"}),
    float: frozenset({"int", "double"}),
    type(None): frozenset({"null_type"}),
    list: frozenset({"list"}),
    dict: frozenset({"map"}),
}
_REFERS: Final = frozenset({"$dynamicRef", "$recursiveRef"})
_OPENS: Final = frozenset({"patternProperties", "unevaluatedProperties"})
_MAX_PARTS: Final = 200


class _Unclear(Exception):
    """Raised where a schema is not followed any further."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A field that the schema does not have; `names` are those that it has instead."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One place in the values that a schema describes: any of `schemas` may describe what stands there."""

    schemas: tuple[Any, ...]
    root: Any

    def types(self) -> frozenset[str] | None:
        """Return the types that a value here can have."""
        try:
            found = [_types(schema, self.root, 0) for schema in self.schemas]
        except _Unclear:
            return None
        return _union(found)

    def field(self, name: str) -> "View | Absent | None":
        """Return the view of a field of what stands here."""
        schemas: list[Any] = []
        names: dict[str, None] = {}
        try:
            for schema in self.schemas:
                declared = False
                for part in _parts(schema, self.root):
                    if not isinstance(part, dict) or part.keys() & _OPENS:
                        return None
                    extra = part.get("additionalProperties", False)
                    properties = part.get("properties")
                    if isinstance(properties, dict):
                        declared = True
                        names.update(dict.fromkeys(map(str, properties)))
                        if name in properties:
                            schemas.append(properties[name])
                            continue
                    if extra is not False:
                        return None
                if not declared:
                    return None
        except _Unclear:
            return None
        return View(tuple(schemas), self.root) if schemas else Absent(tuple(names))

    def item(self) -> "View | None":
        """Return the view of the items of a list that stands here."""
        found: list[Any] = []
        for schema in self.schemas:
            if not isinstance(schema, dict) or schema.keys() & {"prefixItems", "additionalItems", "$ref", *_COMBINES}:
                return None
            if not isinstance(schema.get("items"), dict):
                return None
            found.append(schema["items"])
        return View(tuple(found), self.root) if found else None

    def values(self) -> tuple[Any, ...] | None:
        """Return every value that can stand here, where the schema lists them."""
        found: list[Any] = []
        for schema in self.schemas:
            if not isinstance(schema, dict) or schema.keys() & {"$ref", "nullable", *_COMBINES}:
                return None
            if "const" in schema:
                found.append(schema["const"])
            elif isinstance(schema.get("enum"), list):
                found.extend(schema["enum"])
            else:
                return None
        return tuple(found)


_COMBINES: Final = frozenset({"allOf", "anyOf", "oneOf", *_REFERS})
_BRANCHES: Final = ("allOf", "anyOf", "oneOf")


def view_of(input_schema: Any) -> View | None:
    """Return the view of the arguments that `input_schema` describes."""
    return View((input_schema,), input_schema) if isinstance(input_schema, dict) else None


def _parts(schema: Any, root: Any) -> Iterator[Any]:
    """Yield `schema` and whatever else in the document speaks of the same value, or may."""
    waiting = [schema]
    count = 0
    while waiting:
        part = waiting.pop()
        count += 1
        if count > _MAX_PARTS:
            raise _Unclear
        yield part
        if not isinstance(part, dict):
            continue
        if part.keys() & _REFERS:
            raise _Unclear
        if "$ref" in part:
            waiting.append(_resolved(part["$ref"], root))
        for key in _BRANCHES:
            branches = part.get(key, [])
            if not isinstance(branches, list):
                raise _Unclear
            waiting.extend(branches)
        waiting.extend(part[key] for key in ("if", "then", "else") if key in part)
        dependent = part.get("dependentSchemas", {})
        if isinstance(dependent, dict):
            waiting.extend(dependent.values())
        if "dependencies" in part:
            raise _Unclear


def _types(schema: Any, root: Any, depth: int) -> frozenset[str] | None:
    if depth > 20:
        raise _Unclear
    if not isinstance(schema, dict):
        return None
    if schema.keys() & _REFERS:
        return None
    found: list[frozenset[str] | None] = [_declared(schema)]
    if "$ref" in schema:
        found.append(_types(_resolved(schema["$ref"], root), root, depth + 1))
    for key in schema.keys() & {"anyOf", "oneOf"}:
        found += [_union([_types(branch, root, depth + 1) for branch in _listed(schema[key])])]
    found.extend(_types(branch, root, depth + 1) for branch in _listed(schema.get("allOf", [])))
    types: frozenset[str] | None = None
    for some in found:
        if some is not None:
            types = some if types is None else types & some
    if types is not None and schema.get("nullable") is True:
        types |= {"null_type"}
    # Nothing at all fits: a mistake in the schema, from which nothing follows.
    return types or None


def _declared(schema: Mapping[str, Any]) -> frozenset[str] | None:
    if "const" in schema:
        return _JSON_TYPES.get(type(schema["const"]))
    if isinstance(schema.get("enum"), list):
        return _union([_JSON_TYPES.get(type(value)) for value in schema["enum"]])
    said = schema.get("type")
    if isinstance(said, str):
        return _TYPES.get(said)
    if isinstance(said, list):
        return _union([_TYPES.get(word) if isinstance(word, str) else None for word in said])
    return None


def _union(found: list[frozenset[str] | None]) -> frozenset[str] | None:
    sure = [types for types in found if types is not None]
    if not found or len(sure) != len(found):
        return None
    return frozenset().union(*sure)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Unclear
    return value


def _resolved(reference: Any, root: Any) -> Any:
    """Return what a reference inside the document points to; no other document is ever looked at."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise _Unclear
    if "$id" in root or (reference != "#" and not reference.startswith("#/")) or "%" in reference:
        raise _Unclear
    found = root
    for step in reference[2:].split("/") if reference != "#" else []:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            raise _Unclear
        found = found[name]
    return found
