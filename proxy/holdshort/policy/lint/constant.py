"""Conditions that say the same of every call, found by their shape: what is folded here is certain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from holdshort.policy.cel.syntax import Binary, Conditional, Constant, Has, Index, Node, Select, Unary
from holdshort.policy.cel.text import text_of
from holdshort.policy.lint.implying import conjuncts

__all__ = ["Always", "always"]

_MIRRORED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
_OPPOSITE: Final = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=", "!=": "=="}
_FOLDED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


@dataclass(frozen=True, slots=True)
class Always:
    """What a condition always is, unless it fails, and why."""

    value: bool
    words: str
    offset: int


@dataclass(frozen=True, slots=True)
class _Test:
    """`path operator constant`."""

    path: str
    operator: str
    value: bool | int | float | str


def always(node: Node) -> Always | None:
    """Say what `node` is for every call, apart from those for which it fails; None where that is not plain to see."""
    match node:
        case Constant("bool", value):
            return Always(bool(value), f"it is `{text_of(node)}`", node.offset)
        case Unary("!", operand):
            inner = always(operand)
            return Always(not inner.value, inner.words, inner.offset) if inner is not None else None
        case Binary("&&" | "||"):
            return _joined(node)
        case Binary(operator, Constant() as left, Constant() as right) if operator in _FOLDED:
            return _compared(node, left, right)
        case Binary("==" | "!=" | "<=" | ">=" | "<" | ">", left, right) if _is_path(left) and text_of(left) == text_of(
            right
        ):
            value = node.operator in {"==", "<=", ">="}
            return Always(value, f"`{text_of(node)}` compares a thing with itself", node.offset)
        case Conditional(test, then, otherwise):
            chosen = always(test)
            if chosen is not None:
                return always(then if chosen.value else otherwise)
            one, other = always(then), always(otherwise)
            return one if one is not None and other is not None and one.value is other.value else None
        case _:
            return None


def _joined(node: Binary) -> Always | None:
    """`&&` is false when a part is, or two parts exclude each other; `||` is true the other way round."""
    decisive = node.operator == "||"
    parts = _parts(node, node.operator)
    found = [always(part) for part in parts]
    certain = [one for one in found if one is not None]
    for one in certain:
        if one.value is decisive:
            return one
    if len(certain) == len(found):
        return certain[0]
    clash = _clash(parts, negated=decisive)
    if clash is None:
        return None
    first, second = map(text_of, clash)
    if decisive:
        return Always(True, f"one of `{first}` and `{second}` is always true", node.offset)
    return Always(False, f"`{first}` and `{second}` are never both true", node.offset)


def _parts(node: Node, operator: str) -> list[Node]:
    if operator == "&&":
        return conjuncts(node)
    if isinstance(node, Binary) and node.operator == "||":
        return [*_parts(node.left, "||"), *_parts(node.right, "||")]
    return [node]


def _clash(parts: Sequence[Node], *, negated: bool) -> tuple[Node, Node] | None:
    """Return two parts that exclude each other; with `negated`, two whose opposites do."""
    tests = [(part, _test(part, negated=negated)) for part in parts]
    for number, (part, test) in enumerate(tests):
        for earlier, other in tests[:number]:
            if text_of(Unary("!", earlier)) == text_of(part) or text_of(Unary("!", part)) == text_of(earlier):
                return earlier, part
            if test is not None and other is not None and test.path == other.path and _exclude(other, test):
                return earlier, part
    return None


def _test(node: Node, *, negated: bool) -> _Test | None:
    if isinstance(node, Unary) and node.operator == "!":
        return _test(node.operand, negated=not negated)
    if not isinstance(node, Binary) or node.operator not in _MIRRORED:
        return None
    left, right, operator = node.left, node.right, str(node.operator)
    if isinstance(left, Constant):
        left, right, operator = right, left, _MIRRORED[operator]
    if not isinstance(right, Constant) or not _is_path(left) or not isinstance(right.value, (bool, int, float, str)):
        return None
    return _Test(text_of(left), _OPPOSITE[operator] if negated else operator, right.value)


def _is_path(node: Node) -> bool:
    return isinstance(node, (Select, Has)) or (isinstance(node, Index) and isinstance(node.key, Constant))


def _exclude(one: _Test, other: _Test) -> bool:
    """Say whether no value passes both tests."""
    if _kind(one.value) is not _kind(other.value):
        return one.operator == other.operator == "=="
    if "!=" in {one.operator, other.operator}:
        same_value = one.value == other.value
        return same_value and "==" in {one.operator, other.operator}
    for tested in (one, other):
        if tested.operator == "==":
            against = other if tested is one else one
            return not _FOLDED[against.operator](tested.value, against.value)
    low, high = (one, other) if one.operator in {">", ">="} else (other, one)
    if low.operator not in {">", ">="} or high.operator not in {"<", "<="}:
        return False
    strict = low.operator == ">" or high.operator == "<"
    return _FOLDED[">=" if strict else ">"](low.value, high.value)


def _kind(value: object) -> type:
    if isinstance(value, bool):
        return bool
    return float if isinstance(value, (int, float)) else type(value)


def _compared(node: Binary, left: Constant, right: Constant) -> Always | None:
    if left.type not in {"int", "double", "string"} or _kind(left.value) is not _kind(right.value):
        return None
    value = _FOLDED[node.operator](left.value, right.value)
    return Always(bool(value), f"`{text_of(node)}` compares two constants", node.offset)
