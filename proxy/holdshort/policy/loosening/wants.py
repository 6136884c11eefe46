"""What a part of a condition asks about one value, where that is of a form that a few values settle for good.

The forms are comparisons of one path with constants, `in` a list of constants, a constant `in` the value, `has`,
`startsWith`, `endsWith`, `contains` and `size`, and a path by itself. For these, values on both sides of each number,
texts of each combination, and one value of each type are all that there is. Anything else is not recognised, and then
its answer is taken to be anything.
"""

from dataclasses import dataclass, field
from typing import Final

from holdshort.policy.cel.syntax import ORDERINGS, Binary, Call, Constant, Has, ListOf, Node, Unary, path_of
from holdshort.policy.loosening.names import Glob, contains, ends_with, equals, starts_with

__all__ = ["Number", "Want", "recognize"]

Number = int | float
Path = tuple[str, ...]

_EXACT: Final = 2**53
_TEXT: Final = {"startsWith": starts_with, "endsWith": ends_with, "contains": contains}


@dataclass(slots=True)
class Want:
    """What is asked about the value at the end of a path, and about what lies below it."""

    read: bool = False
    """False while only its presence counts."""
    numbers: set[Number] = field(default_factory=set[Number])
    texts: set[Glob] = field(default_factory=set[Glob])
    items: dict[str, object] = field(default_factory=dict[str, object])
    sizes: set[int] = field(default_factory=set[int])
    below: dict[str, "Want"] = field(default_factory=dict[str, "Want"])

    def at(self, path: Path) -> "Want":
        """Return what is asked at `path` from here, to add to."""
        here = self
        for step in path:
            here = here.below.setdefault(step, Want())
        return here


def recognize(node: Node, wants: Want) -> Path | None:
    """Return the path that `node` asks about, and add what it asks to `wants`; None when it is of no such form.

    Nothing is added for a node that is not recognised.
    """
    path, want = _recognized(node)
    if path is None or want is None:
        return None
    here = wants.at(path)
    here.read = here.read or want.read
    here.numbers |= want.numbers
    here.texts |= want.texts
    here.items |= want.items
    here.sizes |= want.sizes
    for item in want.items.values():
        if isinstance(item, str):
            # In a map, a text is looked for among the keys.
            here.below.setdefault(item, Want())
    return path


def _recognized(node: Node) -> tuple[Path | None, Want | None]:
    match node:
        case Has(operand, name):
            above = path_of(operand)
            return (None, None) if above is None else ((*above, name), Want())
        case Binary("in", Constant(), right) if path_of(right) is not None:
            item = _constant(node.left)
            if item is None:
                return None, None
            of = path_of(right) or ()
            if len(of) == 1:
                # A key of `args` itself, which is a map for certain.
                return ((*of, item[0]), Want()) if isinstance(item[0], str) else (None, None)
            return of, Want(read=True, items={repr(item[0]): item[0]})
        case Binary("in", left, ListOf(items)):
            return _compared(left, [_constant(item) for item in items], ordered=False)
        case Binary(operator, left, right) if operator in {"==", "!="} or operator in ORDERINGS:
            sized = _sized(left, right) or _sized(right, left)
            if sized is not None:
                return sized
            if path_of(left) is None:
                left, right = right, left
            return _compared(left, [_constant(right)], ordered=operator in ORDERINGS)
        case Call(function, target, (Constant("string", str(text)),)) if function in _TEXT and target is not None:
            return path_of(target), Want(read=True, texts={_TEXT[function](text)})
        case _:
            return path_of(node), Want(read=True)


def _compared(left: Node, constants: list[tuple[object] | None], *, ordered: bool) -> tuple[Path | None, Want | None]:
    path = path_of(left)
    if path is None:
        return None, None
    want = Want(read=True)
    for one in constants:
        match one:
            case (bool() | None,):
                pass
            case ((int() | float()) as number,) if abs(number) < _EXACT:
                want.numbers.add(number)
            case (str(text),) if not ordered:
                want.texts.add(equals(text))
            case _:
                return None, None
    return path, want


def _sized(left: Node, right: Node) -> tuple[Path | None, Want | None] | None:
    match left:
        case Call("size", None, (operand,)) | Call("size", operand, ()) if operand is not None:
            path, size = path_of(operand), _constant(right)
        case _:
            return None
    match size:
        case (int(number),) if path is not None and not isinstance(number, bool) and -10 < number <= 1000:
            return path, Want(read=True, sizes={number})
        case _:
            return None, None


def _constant(node: Node) -> tuple[object] | None:
    match node:
        case Constant("bytes"):
            return None
        case Constant(_, value):
            return (value,)
        case Unary("-", Constant("int" | "double", (int() | float()) as value)):
            return (-value,)
        case _:
            return None
