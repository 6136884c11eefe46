"""What values are in a condition: their types, when two are equal, which is less, and sums that never wrap or round.

Where CEL leaves a surprise, a condition gets an error instead: no integer beyond 64 bits, no infinity, no NaN. A number
compares with any other number exactly, also an integer beyond 2^53 with a double. A bool is never a number. No message
quotes a value: values are arguments, and arguments may be secrets.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from holdshort.errors import HoldshortError
from holdshort.policy.cel.tokens import INT_MAX, INT_MIN, UINT_MAX

__all__ = [
    "MAX_VALUE_DEPTH",
    "NUMBERS",
    "TYPE_NAMES",
    "ConditionFailed",
    "Meter",
    "TooCostly",
    "TypeName",
    "UInt",
    "Unknown",
    "added",
    "checked",
    "compared",
    "divided",
    "equal",
    "multiplied",
    "named",
    "negated",
    "remainder",
    "subtracted",
    "type_of",
]

MAX_VALUE_DEPTH: Final = 64
"""How deep two values are compared."""

_FREE_CHARACTERS: Final = 4096


class ConditionFailed(HoldshortError):
    """Raised when a condition cannot be evaluated for this call; `a || b` survives it when the other side decides."""

    code = "condition_failed"


class TooCostly(HoldshortError):
    """Raised when a condition has used up its steps; nothing survives it."""

    code = "condition_too_costly"


class UInt(int):
    """An unsigned integer, `5u`: a type of its own in CEL, though equal to 5."""

    __slots__ = ()


class Unknown:
    """In place of a value that is not known any more. What needs it fails, and `asked` tells `why`, for replays."""

    __slots__ = ("asked", "why")

    def __init__(self, why: Any, asked: set[Any]) -> None:
        self.why = why
        self.asked = asked


class TypeName(str):
    """What `type(x)` gives, and what `int`, `string` and the like mean as values."""

    __slots__ = ()


class Meter:
    """The steps an evaluation has left. A step is a fraction of a microsecond; see `evaluate.MAX_STEPS`."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def charge(self, steps: int) -> None:
        """Take `steps` away.

        Raises:
            TooCostly: so many are not left.
        """
        self.left -= steps
        if self.left < 0:
            raise TooCostly("too costly: the values are too many or too long for this condition")


_NAMES: Final[dict[type, str]] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    datetime: "timestamp",
    timedelta: "duration",
    TypeName: "type",
}
_CLASSES: Final = {name: python for python, name in _NAMES.items()}
TYPE_NAMES: Final = frozenset(_NAMES.values())
NUMBERS: Final = frozenset({"int", "uint", "double"})
_NUMBER_CLASSES: Final = frozenset(_CLASSES[name] for name in NUMBERS)
_PLAIN: Final = frozenset({str, bool, dict, list, type(None)})


def type_of(value: object) -> str:
    """Return CEL's name of the type of `value`.

    Raises:
        ConditionFailed: the value is of no type that CEL has.
    """
    name = _NAMES.get(type(value))
    if name is None:
        if isinstance(value, Unknown):
            value.asked.add(value.why)
            raise ConditionFailed("a value is not known, because it was not recorded")
        raise ConditionFailed("a value is of a kind that JSON does not have")
    return name


def named(types: frozenset[str] | str) -> str:
    """Return types in words: "a string", "a list or null"."""
    words = sorted([types] if isinstance(types, str) else types)
    if {"double", "int"} <= set(words):
        words = [word for word in words if word not in NUMBERS] + ["number"]
    said = ["null" if word == "null_type" else f"{'an' if word[0] in 'aiu' else 'a'} {word}" for word in words]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} or {said[-1]}"


def checked(value: Any) -> Any:
    """Return a value that came from outside, if a condition can speak of it.

    Raises:
        ConditionFailed: an integer beyond 64 bits, a number that is not finite, or no JSON value.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        if INT_MIN <= value <= INT_MAX:
            return value
        raise ConditionFailed("an integer is beyond 64 bits")
    if kind is float:
        if math.isfinite(value):
            return value
        raise ConditionFailed("a number is not finite")
    if kind is tuple:
        return list(value)
    type_of(value)
    return value


def equal(left: Any, right: Any, meter: Meter, depth: int = 0) -> bool:
    """Say whether two values are equal. Values of different types are not, but numbers compare by what they are.

    Raises:
        ConditionFailed: nested too deeply, or with a value inside that no condition can speak of.
    """
    kind, other = type(left), type(right)
    if kind is other:
        if kind is str:
            if len(left) > _FREE_CHARACTERS:
                meter.charge(len(left) // _FREE_CHARACTERS)
            return bool(left == right)
        if kind is list:
            return _equal_lists(left, right, meter, depth)
        if kind is dict:
            return _equal_maps(left, right, meter, depth)
        return bool(left == right)
    return kind in _NUMBER_CLASSES and other in _NUMBER_CLASSES and bool(left == right)


def _equal_lists(left: list[Any], right: list[Any], meter: Meter, depth: int) -> bool:
    if depth >= MAX_VALUE_DEPTH:
        raise ConditionFailed(f"a value is nested more than {MAX_VALUE_DEPTH} deep")
    if len(left) != len(right):
        return False
    meter.charge(2 * len(left))
    return all(equal(checked(a), checked(b), meter, depth + 1) for a, b in zip(left, right, strict=True))


def _equal_maps(left: dict[str, Any], right: dict[str, Any], meter: Meter, depth: int) -> bool:
    if depth >= MAX_VALUE_DEPTH:
        raise ConditionFailed(f"a value is nested more than {MAX_VALUE_DEPTH} deep")
    if left.keys() != right.keys():
        return False
    meter.charge(2 * len(left))
    return all(equal(checked(value), checked(right[key]), meter, depth + 1) for key, value in left.items())


def compared(operator: str, left: Any, right: Any) -> bool:
    """Return `left operator right` for `<`, `<=`, `>` or `>=`.

    Raises:
        ConditionFailed: the two have no order.
    """
    kind, other = type(left), type(right)
    ordered = (kind in _NUMBER_CLASSES and other in _NUMBER_CLASSES) or (
        kind is other and kind in {str, bytes, bool, datetime, timedelta}
    )
    if not ordered:
        raise ConditionFailed(f"`{operator}` compares numbers or texts, not {_two(left, right)}")
    # Python compares an int with a float exactly, without turning the one into the other.
    match operator:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case _:
            return bool(left >= right)


def added(left: Any, right: Any, meter: Meter) -> Any:
    """Return `left + right`."""
    kind, other = type(left), type(right)
    if kind is other and kind in {str, bytes, list}:
        meter.charge((len(left) + len(right)) // (1 if kind is list else 256))
        return left + right
    if kind in {datetime, timedelta} and other in {datetime, timedelta} and not (kind is other is datetime):
        return _time(lambda: left + right)
    return _sum("+", left, right, lambda a, b: a + b)


def subtracted(left: Any, right: Any) -> Any:
    """Return `left - right`."""
    if type(left) in {datetime, timedelta} and type(right) is timedelta:
        return _time(lambda: left - right)
    if type(left) is datetime and type(right) is datetime:
        return _time(lambda: left - right)
    return _sum("-", left, right, lambda a, b: a - b)


def multiplied(left: Any, right: Any) -> Any:
    """Return `left * right`."""
    return _sum("*", left, right, lambda a, b: a * b)


def divided(left: Any, right: Any) -> Any:
    """Return `left / right`; integers are cut toward zero."""
    if type(left) is type(right) and type(left) in _NUMBER_CLASSES and right == 0:
        raise ConditionFailed("a division by zero")
    return _sum("/", left, right, lambda a, b: a / b if type(a) is float else _quotient(a, b))


def remainder(left: Any, right: Any) -> Any:
    """Return `left % right`, with the sign of `left`."""
    if float in {type(left), type(right)}:
        raise ConditionFailed(f"`%` takes two integers, not {_two(left, right)}")
    if type(left) is type(right) and type(left) in _NUMBER_CLASSES and right == 0:
        raise ConditionFailed("a division by zero")
    return _sum("%", left, right, lambda a, b: a - b * _quotient(a, b))


def negated(value: Any) -> Any:
    """Return `-value`."""
    if type(value) is float:
        return -value
    if type(value) is int:
        return _sum("-", 0, value, lambda a, b: a - b)
    raise ConditionFailed(f"`-` takes a number, not {named(type_of(value))}")


def _quotient(left: int, right: int) -> int:
    size = abs(int(left)) // abs(int(right))
    return size if (left < 0) == (right < 0) else -size


def _sum(operator: str, left: Any, right: Any, work: Callable[[Any, Any], Any]) -> Any:
    kind = type(left)
    if kind is not type(right) or kind not in _NUMBER_CLASSES:
        hint = "; `double(...)` makes a double of any number" if {kind, type(right)} <= _NUMBER_CLASSES else ""
        raise ConditionFailed(f"`{operator}` takes two values of one type, not {_two(left, right)}{hint}")
    if kind is float:
        try:
            value = work(left, right)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise ConditionFailed(f"the result of `{operator}` is no finite number")
        return value
    value = work(int(left), int(right))
    low, high = (0, UINT_MAX) if kind is UInt else (INT_MIN, INT_MAX)
    if not low <= value <= high:
        raise ConditionFailed(f"the result of `{operator}` is beyond 64 bits")
    return kind(value)


def _time(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except OverflowError:
        raise ConditionFailed("a time is out of range") from None


def _two(left: object, right: object) -> str:
    return f"{named(type_of(left))} and {named(type_of(right))}"
