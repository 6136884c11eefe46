"""A condition, part by part: where it comes apart, and which one unknown each part asks about."""

from collections.abc import Callable, Iterator
from typing import Final

from holdshort.policy.cel.condition import CelCondition
from holdshort.policy.cel.parse import parse
from holdshort.policy.cel.syntax import (
    Binary,
    Conditional,
    Constant,
    Has,
    Identifier,
    Macro,
    Node,
    Unary,
    path_of,
    walk,
)
from holdshort.policy.conditions import ReadOnlyTools
from holdshort.policy.loosening.names import Glob
from holdshort.policy.loosening.wants import Want, recognize
from holdshort.policy.loosening.worlds import Both, Either, Fixed, If, Not, Question
from holdshort.policy.model import Condition

__all__ = ["FLAGS", "leaves", "place_globs", "shape", "subject_of", "texts_of_places", "tree_of"]

FLAGS: Final = ("read_only", "destructive", "idempotent", "open_world", "pinned")
"""What conditions can ask of a tool that is true or false."""

_THINGS: Final = frozenset({"tool", "resource", "prompt", "request"})
_OF_CALLER: Final = frozenset({"agent", "groups", "client", "client_version"})
_PLACES: Final = frozenset({"server", "name", "uri", "method"})


def tree_of(when: Condition) -> Node | None:
    """Return the syntax tree of a condition; None for one that is not written in CEL."""
    if isinstance(when, ReadOnlyTools):
        return parse(when.text)
    return when.tree if isinstance(when, CelCondition) else None


def place_globs(tree: Node | None) -> tuple[list[Glob], list[Glob]]:
    """Return the globs over server and name that the parts of a condition amount to."""
    servers: list[Glob] = []
    names: list[Glob] = []
    for node in () if tree is None else leaves(tree):
        want = Want()
        if subject_of(node) == "" and recognize(node, want) is not None:
            for thing in want.below.values():
                for place, asked in thing.below.items():
                    (servers if place == "server" else names).extend(asked.texts)
    return servers, names


def subject_of(node: Node) -> str | None:
    """Return the one unknown that `node` asks about; "" for server and name alone, None when there is more to it."""
    found: set[str | None] = set()
    inner: set[int] = set()
    for part in walk(node):
        if id(part) in inner:
            continue
        path = path_of(part)
        if isinstance(part, Macro):
            return None
        if path is not None:
            inner.update(map(id, walk(part)))
            found.add(_subject(path, node))
        elif isinstance(part, Has):
            inner.update(map(id, walk(part)))
            above = path_of(part.operand)
            found.add(None if above is None else _subject((*above, part.field), node))
    if None in found:
        return None
    found.discard("")
    return "" if not found else found.pop() if len(found) == 1 else None


def _subject(path: tuple[str, ...], node: Node) -> str | None:
    match path:
        case ("args",):
            # `"x" in args` asks about the argument `x`; anything else about all of them.
            match node:
                case Binary("in", Constant("string", str(name)), Identifier("args")):
                    return f"args.{name}"
                case _:
                    return None
        case ("args", name, *_):
            return f"args.{name}"
        case (thing, name) if thing in _THINGS:
            if name in _PLACES:
                return ""
            return f"tool.{name}" if name in FLAGS or name == "title" else None
        case ("caller", name) if name in _OF_CALLER:
            return f"caller.{name}"
        case _:
            return None


def texts_of_places(want: Want) -> list[Glob]:
    """Return what is asked about server and name, if that is nothing but texts."""
    asked = [place for thing in want.below.values() for place in thing.below.values()]
    if any(one.numbers or one.items or one.sizes or one.below for one in asked):
        return []
    return [text for one in asked for text in one.texts]


def shape(node: Node, ask: Callable[[Node], Question]) -> Question:
    """Return the question that a condition is: `ask` is given the parts that are no `&&`, `||`, `!` or `? :`."""
    match node:
        case Unary("!", operand):
            return Not(shape(operand, ask))
        case Binary("&&", left, right):
            return Both(shape(left, ask), shape(right, ask))
        case Binary("||", left, right):
            return Either(shape(left, ask), shape(right, ask))
        case Conditional(test, then, otherwise):
            return If(shape(test, ask), shape(then, ask), shape(otherwise, ask))
        case Constant(_, value):
            return Fixed(value if isinstance(value, bool) else None)
        case _:
            return ask(node)


def leaves(node: Node) -> Iterator[Node]:
    """Yield the parts that `shape` asks for."""
    match node:
        case Unary("!", operand):
            yield from leaves(operand)
        case Binary("&&" | "||", left, right):
            yield from leaves(left)
            yield from leaves(right)
        case Conditional(test, then, otherwise):
            for part in (test, then, otherwise):
                yield from leaves(part)
        case Constant():
            return
        case _:
            yield node
