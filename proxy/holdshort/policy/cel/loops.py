"""Macros as functions: loops over a list, or over the keys of a map, each round of which has its price."""

from collections.abc import Callable
from typing import Any

from holdshort.policy.cel.frame import Frame, Run, no_bool
from holdshort.policy.cel.syntax import MacroName
from holdshort.policy.cel.values import ConditionFailed, checked, named, type_of

__all__ = ["loop"]


def loop(name: MacroName, target: Run, guard: Run | None, body: Run, *, slot: int, steps: int) -> Run:
    """Return the macro `name` over `target`: each item is bound in `slot`, and costs `steps`."""
    items = _items(target, name)
    match name:
        case "all" | "exists":
            return _any(items, body, slot, steps, winner=name == "exists")
        case "exists_one":
            return _one(items, body, slot, steps)
        case "filter":
            return _filter(items, body, slot, steps)
        case "map":
            return _map(items, guard, body, slot, steps)


def _items(inner: Run, name: str) -> Callable[[Frame], list[Any]]:
    def run(frame: Frame) -> list[Any]:
        group = inner(frame)
        if type(group) is list:
            return group
        if type(group) is dict:
            frame.charge(len(group))
            return list(group)
        raise ConditionFailed(f"`{name}` goes through a list or a map, not {named(type_of(group))}")

    return run


def _any(items: Callable[[Frame], list[Any]], body: Run, slot: int, steps: int, *, winner: bool) -> Run:
    operator, loser = ("exists", False) if winner else ("all", True)

    def run(frame: Frame) -> bool:
        failure: ConditionFailed | None = None
        for item in items(frame):
            frame.charge(steps)
            try:
                frame.bound[slot] = checked(item)
                value = body(frame)
            except ConditionFailed as error:
                failure = failure or error
                continue
            if value is winner:
                return not loser
            if value is not loser:
                failure = failure or no_bool(operator, value)
        if failure is not None:
            raise failure
        return loser

    return run


def _one(items: Callable[[Frame], list[Any]], body: Run, slot: int, steps: int) -> Run:
    keeps = _keeps(body, slot, steps, "exists_one")

    def run(frame: Frame) -> bool:
        # No stop at the second one: a later item that fails has to be heard.
        return sum(1 for item in items(frame) if keeps(frame, item)) == 1

    return run


def _filter(items: Callable[[Frame], list[Any]], body: Run, slot: int, steps: int) -> Run:
    keeps = _keeps(body, slot, steps, "filter")
    return lambda frame: [item for item in items(frame) if keeps(frame, item)]


def _map(items: Callable[[Frame], list[Any]], guard: Run | None, body: Run, slot: int, steps: int) -> Run:
    keeps = None if guard is None else _keeps(guard, slot, steps, "map")

    def run(frame: Frame) -> list[Any]:
        made: list[Any] = []
        for item in items(frame):
            if keeps is not None:
                if not keeps(frame, item):
                    continue
            else:
                frame.charge(steps)
                frame.bound[slot] = checked(item)
            made.append(body(frame))
        return made

    return run


def _keeps(body: Run, slot: int, steps: int, name: str) -> Callable[[Frame, Any], bool]:
    def run(frame: Frame, item: Any) -> bool:
        frame.charge(steps)
        frame.bound[slot] = checked(item)
        value = body(frame)
        if value is True or value is False:
            return bool(value)
        raise no_bool(name, value)

    return run
