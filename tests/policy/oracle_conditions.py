"""Conditions as nested tuples: written out as CEL for the engine, and read naively here, in a few lines of Python.

`("says", answer, static)` is no CEL: a condition that gives its answer, whatever that is, or fails.
"""

import json
import re
from datetime import datetime
from typing import Any

__all__ = ["Tree", "Wrong", "holds", "reads", "written"]

Tree = tuple[Any, ...]

FAILURES = ("error", "panic", "text")


class Wrong(Exception):
    """The condition cannot be evaluated for this question."""


def holds(tree: Tree, question: dict[str, Any]) -> bool:
    """Say whether it is true; raises `Wrong` where it is neither true nor false."""
    return truth(value(tree, question, None))


def reads(tree: Tree, *, time: bool = True) -> bool:
    """Say whether its answer may change with arguments or (unless that is left aside) with the time."""
    if tree[0] == "says":
        return not tree[2]
    if tree[0] in ("args", "has") or (time and tree[0] in ("now", "hour")):
        return True
    return any(reads(each, time=time) for each in tree[1:] if isinstance(each, tuple))


def written(tree: Tree) -> str:
    """Return the CEL of it."""
    kind, *rest = tree
    match kind:
        case "is":
            return json.dumps(rest[0], ensure_ascii=False)
        case "args":
            return "args" + "".join(f".{name}" for name in rest)
        case "has":
            return f"has(args{''.join(f'.{name}' for name in rest)})"
        case "of":
            return f"{rest[0]}.{rest[1]}"
        case "item":
            return "item"
        case "now":
            return "now"
        case "time":
            return f'timestamp("{rest[0]}")'
        case "hour":
            return "now.getHours()"
        case "not":
            return f"!({written(rest[0])})"
        case "and" | "or" | "compare" | "in" | "add":
            sign = {"and": "&&", "or": "||", "in": "in", "add": "+"}.get(kind, rest[0])
            return f"({written(rest[-2])}) {sign} ({written(rest[-1])})"
        case "if":
            return f"({written(rest[0])}) ? ({written(rest[1])}) : ({written(rest[2])})"
        case "list":
            return f"[{', '.join(map(written, rest))}]"
        case "size":
            return f"size({written(rest[0])})"
        case "text":
            return f"({written(rest[1])}).{rest[0]}({written(rest[2])})"
        case "any" | "every":
            return f"({written(rest[0])}).{'exists' if kind == 'any' else 'all'}(item, {written(rest[1])})"
        case _:
            raise AssertionError(kind)


def truth(found: Any) -> bool:
    if found is True or found is False:
        return bool(found)
    raise Wrong


def value(tree: Tree, asked: dict[str, Any], item: Any) -> Any:
    kind, *rest = tree
    match kind:
        case "says":
            answer = asked["args"].get("answer", rest[0]) if rest[0] == "argument" else rest[0]
            if answer in FAILURES:
                raise Wrong
            return answer
        case "is":
            return rest[0]
        case "args" | "has":
            found: Any = asked["args"]
            for depth, name in enumerate(rest, 1):
                if not isinstance(found, dict):
                    raise Wrong
                if name not in found:
                    if kind == "has" and depth == len(rest):
                        return False
                    raise Wrong
                found = found[name]
            if kind == "has":
                return True
            if type(found) is int and not -(2**63) <= found < 2**63:
                raise Wrong  # beyond what conditions count with
            return found
        case "of":
            return about(rest[0], rest[1], asked)
        case "item":
            return item
        case "now":
            return asked["now"]
        case "time":
            return datetime.fromisoformat(rest[0])
        case "hour":
            return asked["now"].hour
        case "not":
            return not truth(value(rest[0], asked, item))
        case "and" | "or":
            return either(kind == "or", [(rest[0], item), (rest[1], item)], asked)
        case "any" | "every":
            items = value(rest[0], asked, item)
            if not isinstance(items, list):
                raise Wrong
            return either(kind == "any", [(rest[1], each) for each in items], asked)
        case "if":
            return value(rest[1] if truth(value(rest[0], asked, item)) else rest[2], asked, item)
        case "list":
            return [value(each, asked, item) for each in rest]
        case _:
            return operation(tree, [value(each, asked, item) for each in rest if isinstance(each, tuple)])


def either(decisive: bool, parts: list[tuple[Tree, Any]], asked: dict[str, Any]) -> bool:
    """One part that decides is enough, in whatever order, and even beside one that fails."""
    failed = False
    for tree, item in parts:
        try:
            if truth(value(tree, asked, item)) is decisive:
                return decisive
        except Wrong:
            failed = True
    if failed:
        raise Wrong
    return not decisive


def operation(tree: Tree, given: list[Any]) -> Any:
    kind = tree[0]
    if kind == "size":
        if not isinstance(given[0], str | list | dict):
            raise Wrong
        return len(given[0])
    one, other = given
    if kind == "compare":
        return compared(tree[1], one, other)
    if kind == "in":
        if isinstance(other, dict):
            if not isinstance(one, str):
                raise Wrong
            return one in other
        if not isinstance(other, list):
            raise Wrong
        return any(equal(one, each) for each in other)
    if kind == "add":
        if type(one) is not type(other) or not isinstance(one, int | float | str | list) or isinstance(one, bool):
            raise Wrong
        if isinstance(one, int) and abs(one + other) >= 2**63:
            raise Wrong
        return one + other
    if not isinstance(one, str) or not isinstance(other, str):
        raise Wrong
    match tree[1]:
        case "startsWith":
            return one[: len(other)] == other
        case "endsWith":
            return one[len(one) - len(other) :] == other if len(other) <= len(one) else False
        case "contains":
            return one.find(other) >= 0
        case _:
            return re.search(other, one) is not None


def compared(sign: str, one: Any, other: Any) -> bool:
    if sign in ("==", "!="):
        return equal(one, other) is (sign == "==")
    kinds = {"number" if type(each) in (int, float) else type(each) for each in (one, other)}
    if kinds not in ({"number"}, {str}, {bool}, {datetime}):
        raise Wrong
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign])


def equal(one: Any, other: Any) -> bool:
    if type(one) in (int, float) and type(other) in (int, float):
        return bool(one == other)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return set(one) == set(other) and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


def about(variable: str, name: str, asked: dict[str, Any]) -> Any:
    if variable == "caller":
        return sorted(asked["groups"]) if name == "groups" else asked[name]
    if variable == "tool":
        return asked["facts"][name]
    return asked["server"] if name == "server" else asked["name"]
