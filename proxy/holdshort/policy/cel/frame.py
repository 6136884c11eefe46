"""One evaluation of a condition: what it is about, what it may still cost, and what macros have bound."""

from collections.abc import Callable
from typing import Any, Final

from holdshort.policy.cel.values import ConditionFailed, Meter, named, type_of

__all__ = ["MAX_STEPS", "Frame", "Run", "no_bool"]

MAX_STEPS: Final = 50_000
"""Steps of one evaluation: 10 to 50 ms when all are used up, measured on two cores of 2026."""


class Frame(Meter):
    """One evaluation: the call, the steps left, and what macros have bound."""

    __slots__ = ("bound", "subject")

    def __init__(self, subject: Any) -> None:
        self.left = MAX_STEPS
        self.subject = subject
        self.bound: list[Any] = [None, None]


Run = Callable[[Frame], Any]
"""One part of a condition as a function."""


def no_bool(operator: str, value: object) -> ConditionFailed:
    """Return the failure of an operator that was given `value` where it takes true or false."""
    return ConditionFailed(f"`{operator}` takes true or false, not {named(type_of(value))}")
