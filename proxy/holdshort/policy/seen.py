"""What a condition saw: each of its parts with its value, and the values that the part is about."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdshort.policy.cel import CelCondition
from holdshort.policy.cel.evaluate import evaluate
from holdshort.policy.cel.syntax import Binary, Conditional, Has, Identifier, Macro, Node, Unary, children, path_of
from holdshort.policy.cel.text import text_of
from holdshort.policy.model import Access, Call, Condition
from holdshort.policy.shown import MOST_CHARS, escaped, shown

__all__ = ["Seen", "see"]

_MOST_PARTS: Final = 40
_MOST_VALUES: Final = 8
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Seen:
    """One part of a condition. `depth` is how far it is nested in the whole; `values` are those it is about."""

    text: str
    value: str
    values: tuple[str, ...] = ()
    depth: int = 0

    def __str__(self) -> str:
        about = f" ({'; '.join(self.values)})" if self.values else ""
        return f"{self.text}: {self.value}{about}"


def see(condition: Condition, question: Call | Access) -> tuple[Seen, ...]:
    """Return the parts of `condition` with their values for `question`, the whole first.

    A part behind an operator that needs it no more is shown all the same: it tells what would have been.
    """
    if not isinstance(condition, CelCondition):
        return (Seen(condition.text, _asked(condition, question)),)
    return tuple(part for part, _ in zip(_parts(condition.tree, question, 0), range(_MOST_PARTS), strict=False))


def _parts(node: Node, question: Call | Access, depth: int) -> Iterator[Seen]:
    inner = _booleans(node)
    text = escaped(text_of(node))
    text = text if len(text) <= 2 * MOST_CHARS else f"{text[: 2 * MOST_CHARS]}..."
    yield Seen(
        text,
        _asked(lambda asked: evaluate(node, asked), question),
        () if inner else tuple(_values(node, question)),
        depth,
    )
    for part in inner:
        yield from _parts(part, question, depth + 1)


def _booleans(node: Node) -> list[Node]:
    """Return the parts of a node that are conditions themselves."""
    match node:
        case Binary("&&" | "||", left, right):
            return [*_flat(node.operator, left), *_flat(node.operator, right)]
        case Unary("!", operand) if _booleans(operand):
            return [operand]
        case Conditional(test, then, otherwise):
            return [test, then, otherwise]
        case _:
            return []


def _flat(operator: str, node: Node) -> list[Node]:
    if isinstance(node, Binary) and node.operator == operator:
        return [*_flat(operator, node.left), *_flat(operator, node.right)]
    return [node]


def _asked(condition: Callable[[Any], Any], question: Call | Access) -> str:
    try:
        return shown(condition(question))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with a condition is what it is shown for
        return f"cannot be evaluated: {escaped(str(error)) or type(error).__name__}"


def _values(node: Node, question: Call | Access) -> Iterator[str]:
    told: dict[tuple[str, ...], None] = dict.fromkeys(_paths(node, frozenset()))
    for path in list(told)[:_MOST_VALUES]:
        value = _at(path, question)
        name = escaped(".".join(path))
        yield f"{name} is not given" if value is _MISSING else f"{name} is {shown(value)}"


def _paths(node: Node, bound: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """The longest paths in `node`, without those that start at a name which a macro binds."""
    path = path_of(node)
    if isinstance(node, Has):
        above = path_of(node.operand)
        path = (*above, node.field) if above is not None else None
    root = next(iter(path), "") if path is not None else ""
    if path is not None and root not in bound and (len(path) > 1 or root in {"args", "now"}):
        yield path
    elif isinstance(node, Macro):
        yield from _paths(node.target, bound)
        for part in children(node)[1:]:
            yield from _paths(part, bound | {node.variable})
    elif not isinstance(node, Identifier):
        for child in children(node):
            yield from _paths(child, bound)


def _at(path: tuple[str, ...], question: Call | Access) -> Any:
    if path[0] == "now":
        return question.now
    value: Any
    if path[0] == "args":
        value = question.arguments
    elif path[0] == "caller":
        value = _fields(question.caller)
    elif isinstance(question, Call):
        value = _fields(question.tool)
    else:
        value = {"server": question.server, "uri": question.name, "name": question.name, "method": question.name}
    for step in path[1:]:
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value


def _fields(facts: Any) -> Mapping[str, Any]:
    return {name: getattr(facts, name) for name in facts.__slots__}
