"""What can be known to be wrong with the two sides of an operator: values that never fit together."""

from collections.abc import Iterable
from typing import Final, Protocol

from holdshort.policy.cel.shapes import ANY, BOOL, LIST, MAP, NULL, STRING, Shape
from holdshort.policy.cel.syntax import ORDERINGS, Binary, Constant, ListOf, Node
from holdshort.policy.cel.values import NUMBERS, TYPE_NAMES, named
from holdshort.policy.words import nearest

__all__ = ["Report", "check_two"]

_ORDERED: Final = frozenset({"int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration"})
_ADDED: Final = frozenset({"int", "uint", "double", "string", "bytes", "list", "timestamp", "duration"})
_COUNTED: Final = {"%": frozenset({"int", "uint"}), "-": NUMBERS | {"timestamp", "duration"}, "+": _ADDED}


class Report(Protocol):
    """Takes one problem, where it is, and what it is about."""

    def __call__(self, message: str, offset: int, *about: Node | None) -> None: ...


def check_two(report: Report, node: Binary, left: Shape, right: Shape) -> Shape:
    """Report what is certainly wrong with the two sides of an operator; returns what comes out."""
    if node.operator in {"==", "!="}:
        _equality(report, node, left, right)
    elif node.operator in ORDERINGS:
        if left.types is not None and right.types is not None and not _any_pair(left.types, right.types, _ORDERED):
            _mismatch(report, node, left, right)
    elif node.operator == "in":
        _within(report, node, left, right)
    else:
        return _arithmetic(report, node, left, right)
    return Shape(BOOL)


def _mismatch(report: Report, node: Binary, left: Shape, right: Shape) -> None:
    message = f"`{node.operator}` cannot compare {named(left.types or NULL)} with {named(right.types or NULL)}"
    report(message, node.offset, node.left, node.right)


def _equality(report: Report, node: Binary, left: Shape, right: Shape) -> None:
    if left.types is None or right.types is None or NULL in (left.types, right.types):
        return
    if not _any_pair(left.types, right.types, TYPE_NAMES):
        always = "false" if node.operator == "==" else "true"
        message = f"{named(left.types)} never equals {named(right.types)}, so this is always {always}"
        report(message, node.offset, node.left, node.right)
        return
    for shape, other, side in ((left, node.right, node.left), (right, node.left, node.right)):
        if isinstance(other, Constant):
            _listed(report, shape, side, other)


def _within(report: Report, node: Binary, left: Shape, right: Shape) -> None:
    if right.types is not None and not right.types & {"list", "map"}:
        hint = "; part of a text is `x.contains(...)`" if right.types == STRING else ""
        message = f"`in` looks into a list or a map, not into {named(right.types)}{hint}"
        report(message, node.offset, node.right)
        return
    if right.types == MAP and left.types is not None and "string" not in left.types:
        report(f"the keys of a map are texts, not {named(left.types)}", node.offset, node.left)
    items = None if right.item is None else right.item.types
    if left.types is None or items is None or right.types != LIST:
        return
    if not _any_pair(left.types, items, TYPE_NAMES):
        message = f"{named(left.types)} never equals {named(items)}, so this is always false"
        report(message, node.offset, node.left)
    elif isinstance(node.right, ListOf):
        for item in node.right.items:
            if isinstance(item, Constant):
                _listed(report, left, node.left, item)


def _listed(report: Report, shape: Shape, side: Node, constant: Constant) -> None:
    values = None if shape.view is None else shape.view.values()
    if not values or constant.type in {"null", "bytes"}:
        return
    if any(_same(value, constant) for value in values):
        return
    path = f"`{shape.path}`" if shape.path else "this"
    texts = [value for value in values if isinstance(value, str)]
    near = nearest(str(constant.value), texts) if isinstance(constant.value, str) else None
    hint = f"; did you mean `{near}`?" if near else f"; it is one of {', '.join(f'`{text}`' for text in texts[:8])}"
    message = f"{path} is never `{str(constant.value)[:80]}` in the tool's input schema{hint if texts else ''}"
    report(message, constant.offset, side)


def _arithmetic(report: Report, node: Binary, left: Shape, right: Shape) -> Shape:
    fits = _COUNTED.get(node.operator, NUMBERS)
    if left.types is None and right.types is None:
        return ANY
    times = frozenset({"timestamp", "duration"})
    first, second = left.types or fits, right.types or fits
    if first & times and second & times and node.operator in {"+", "-"}:
        return ANY
    common = first & second & fits
    if not common:
        sides = f"{named(first)} and {named(second)}" if left.types and right.types else named(left.types or second)
        hint = "; `double(...)` makes a double of any number" if first <= NUMBERS and second <= NUMBERS else ""
        message = f"`{node.operator}` takes two values of one type, not {sides}{hint}"
        report(message, node.offset, node.left, node.right)
        return ANY
    return Shape(common)


def _any_pair(left: frozenset[str], right: frozenset[str], among: Iterable[str]) -> bool:
    """Say whether some type of `left` can be compared with some of `right`; numbers compare with numbers."""
    fit = frozenset(among)
    return bool(left & right & fit) or bool(left & NUMBERS and right & NUMBERS)


def _same(value: object, constant: Constant) -> bool:
    if isinstance(value, bool) or isinstance(constant.value, bool):
        return value is constant.value
    return value == constant.value
