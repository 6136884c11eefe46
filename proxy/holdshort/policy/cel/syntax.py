"""The syntax tree of a condition. Every node knows where it starts in the text it was read from.

The tree is plain data and everything that reasons about conditions walks it: the checker, the linter, the comparison of
policies, and the renderer that writes the text the engine compiles. `offset` counts characters from 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "ARITHMETIC",
    "MACROS",
    "ORDERINGS",
    "Binary",
    "BinaryOperator",
    "Call",
    "Conditional",
    "Constant",
    "ConstantType",
    "Has",
    "Identifier",
    "Index",
    "ListOf",
    "Macro",
    "MacroName",
    "MapOf",
    "Node",
    "Select",
    "Unary",
    "UnaryOperator",
    "children",
    "path_of",
    "walk",
]

ConstantType = Literal["null", "bool", "int", "uint", "double", "string", "bytes"]
UnaryOperator = Literal["!", "-"]
BinaryOperator = Literal["||", "&&", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%"]
MacroName = Literal["all", "exists", "exists_one", "map", "filter"]

ORDERINGS: Final = frozenset({"<", "<=", ">", ">="})
ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%"})
MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal. `type` is CEL's word for it: the Python value 1 may be an `int` or a `uint`, which differ."""

    type: ConstantType
    value: bool | int | float | str | bytes | None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Identifier:
    """A name: `args`, `tool`, or the variable of a macro."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`; `offset` is where the field's name starts."""

    operand: "Node"
    field: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Has:
    """`has(operand.field)`; `offset` is where the field's name starts."""

    operand: "Node"
    field: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Index:
    """`operand[key]`; `offset` is where the bracket is."""

    operand: "Node"
    key: "Node"
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`, or `target.function(arguments)`; `offset` is where the function's name starts."""

    function: str
    target: "Node | None"
    arguments: tuple["Node", ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Macro:
    """`target.name(variable, body)`, or for `map` also `target.map(variable, guard, body)`."""

    name: MacroName
    target: "Node"
    variable: str
    body: "Node"
    guard: "Node | None" = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Unary:
    """`!operand` or `-operand`."""

    operator: UnaryOperator
    operand: "Node"
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`; `offset` is where the operator is. `a && b && c` is `(a && b) && c`."""

    operator: BinaryOperator
    left: "Node"
    right: "Node"
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Conditional:
    """`test ? then : otherwise`; `offset` is where the question mark is."""

    test: "Node"
    then: "Node"
    otherwise: "Node"
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple["Node", ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class MapOf:
    """`{key: value}`."""

    entries: tuple[tuple["Node", "Node"], ...]
    offset: int = 0


Node = Constant | Identifier | Select | Has | Index | Call | Macro | Unary | Binary | Conditional | ListOf | MapOf


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below `node`, in the order they are written."""
    match node:
        case Constant() | Identifier():
            return ()
        case Select(operand) | Has(operand) | Unary(_, operand):
            return (operand,)
        case Index(operand, key):
            return (operand, key)
        case Call(_, target, arguments):
            return arguments if target is None else (target, *arguments)
        case Macro(_, target, _, body, guard):
            return (target, body) if guard is None else (target, guard, body)
        case Binary(_, left, right):
            return (left, right)
        case Conditional(test, then, otherwise):
            return (test, then, otherwise)
        case ListOf(items):
            return items
        case MapOf(entries):
            return tuple(part for entry in entries for part in entry)


def walk(node: Node) -> Iterator[Node]:
    """Yield `node` and everything below it, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def path_of(node: Node) -> tuple[str, ...] | None:
    """Return `("args", "filter", "owner")` for `args.filter.owner` or `args["filter"].owner`; None for anything else.

    A name that a macro binds looks the same: whoever walks into a macro has to know its variable.
    """
    match node:
        case Identifier(name):
            return (name,)
        case Select(operand, field):
            above = path_of(operand)
        case Index(operand, Constant("string", str(field))):
            above = path_of(operand)
        case _:
            return None
    return None if above is None else (*above, field)
