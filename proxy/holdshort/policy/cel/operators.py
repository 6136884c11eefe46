"""Operators, fields and items as functions: each takes the functions of its parts and returns its own."""

from typing import Any

from holdshort.policy.cel.frame import Frame, Run, no_bool
from holdshort.policy.cel.values import (
    ConditionFailed,
    UInt,
    added,
    checked,
    compared,
    divided,
    equal,
    multiplied,
    named,
    remainder,
    subtracted,
    type_of,
)

__all__ = ["choice", "either", "field_of", "has_field", "inverted", "item_at", "two_sided"]


def field_of(inner: Run, field: str, said: str) -> Run:
    """`x.field`; `said` names x in errors."""

    def run(frame: Frame) -> Any:
        operand = inner(frame)
        if type(operand) is not dict:
            raise ConditionFailed(f"{said} is {named(type_of(operand))}, and has no field `{field}`")
        try:
            value = operand[field]
        except KeyError:
            raise ConditionFailed(f"{said} has no `{field}`") from None
        return value if type(value) is str else checked(value)

    return run


def has_field(inner: Run, field: str, said: str) -> Run:
    """`has(x.field)`."""

    def run(frame: Frame) -> bool:
        operand = inner(frame)
        if type(operand) is not dict:
            raise ConditionFailed(f"{said} is {named(type_of(operand))}, and has no fields")
        return field in operand

    return run


def item_at(inner: Run, key: Run) -> Run:
    """`x[key]`."""

    def run(frame: Frame) -> Any:
        operand, at = inner(frame), key(frame)
        if type(operand) is dict and type(at) is str:
            if at not in operand:
                raise ConditionFailed("a map does not have this key")
            return checked(operand[at])
        if type(operand) is list and type(at) in {int, UInt}:
            if not 0 <= at < len(operand):
                raise ConditionFailed("a list does not have so many items")
            return checked(operand[at])
        raise ConditionFailed(f"{named(type_of(operand))} cannot be asked for {named(type_of(at))}")

    return run


def inverted(inner: Run) -> Run:
    """`!x`."""

    def run(frame: Frame) -> bool:
        value = inner(frame)
        if value is True:
            return False
        if value is False:
            return True
        raise ConditionFailed(f"`!` takes true or false, not {named(type_of(value))}")

    return run


def either(left: Run, right: Run, *, winner: bool) -> Run:
    """`||` when `winner` is true, `&&` when it is false: one side that is the winner decides, whatever the other is."""
    operator, loser = ("||", False) if winner else ("&&", True)

    def run(frame: Frame) -> bool:
        failure: ConditionFailed | None = None
        try:
            first = left(frame)
        except ConditionFailed as error:
            first, failure = None, error
        else:
            if first is winner:
                return not loser
            if first is not loser:
                failure = no_bool(operator, first)
        second = right(frame)
        if second is winner:
            return not loser
        if failure is not None:
            raise failure
        if second is loser:
            return not winner
        raise no_bool(operator, second)

    return run


def choice(test: Run, then: Run, otherwise: Run) -> Run:
    """`test ? then : otherwise`."""

    def run(frame: Frame) -> Any:
        value = test(frame)
        if value is True:
            return then(frame)
        if value is False:
            return otherwise(frame)
        raise no_bool("?", value)

    return run


def two_sided(operator: str, left: Run, right: Run) -> Run:
    """The other operators: comparisons, arithmetic and `in`."""
    match operator:
        case "==":
            return lambda frame: equal(left(frame), right(frame), frame)
        case "!=":
            return lambda frame: not equal(left(frame), right(frame), frame)
        case "in":
            return _within(left, right)
        case "+":
            return lambda frame: added(left(frame), right(frame), frame)
        case "-" | "*" | "/" | "%":
            work = {"-": subtracted, "*": multiplied, "/": divided, "%": remainder}[operator]
            return lambda frame: work(left(frame), right(frame))
        case _:
            return lambda frame: compared(operator, left(frame), right(frame))


def _within(left: Run, right: Run) -> Run:
    def run(frame: Frame) -> bool:
        value, group = left(frame), right(frame)
        if type(group) is list:
            frame.charge(len(group))
            return any(equal(value, checked(item), frame) for item in group)
        if type(group) is dict:
            if type(value) is not str:
                raise ConditionFailed(f"the keys of a map are texts; `in` was asked for {named(type_of(value))}")
            return value in group
        raise ConditionFailed(f"`in` looks into a list or a map, not into {named(type_of(group))}")

    return run
