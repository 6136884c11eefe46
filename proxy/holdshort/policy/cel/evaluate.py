"""From tree to closures: what a condition says about one call, exactly, and within a number of steps.

We evaluate our own tree rather than hand its text to a CEL library. Measured on `common-expression-language` 0.10.0,
the best of those we tried and the oracle of our tests: it writes argument values into its errors; 9007199254740993
equals 9007199254740992.0 in it; negating the least integer wraps; it cannot be interrupted, crashes on deep values,
knows no place of an error, and takes 0.5 s to import.

The cost of everything that grows with a call is counted: items of a list that are looked at, characters that are read.
Outside of that an evaluation is bounded by the size of the tree. When `MAX_STEPS` are used up the condition fails.

Errors as in CEL: `a || b` is true when one side is, even if the other fails, and likewise for `&&`, `all` and `exists`;
everywhere else a failure is the failure of the whole. Only `ConditionFailed` can be survived; nothing else can.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from holdshort.policy.cel.functions import FUNCTIONS, Function
from holdshort.policy.cel.syntax import (
    Binary,
    Call,
    Conditional,
    Constant,
    Has,
    Identifier,
    Index,
    ListOf,
    Macro,
    MapOf,
    Node,
    Select,
    Unary,
    path_of,
    walk,
)
from holdshort.policy.cel.tokens import BadCondition
from holdshort.policy.cel.values import (
    TYPE_NAMES,
    ConditionFailed,
    Meter,
    TypeName,
    UInt,
    added,
    checked,
    compared,
    divided,
    equal,
    multiplied,
    named,
    negated,
    remainder,
    subtracted,
    type_of,
)
from holdshort.policy.cel.variables import VARIABLES, Variable
from holdshort.policy.model import Access, Kind
from holdshort.policy.model import Call as PolicyCall

__all__ = ["MAX_STEPS", "Frame", "Reader", "build", "evaluate"]

MAX_STEPS: Final = 50_000
"""Steps of one evaluation: 10 to 50 ms when all are used up, measured on two cores of 2026."""


class Frame(Meter):
    """One evaluation: the call, the steps left, and what macros have bound."""

    __slots__ = ("bound", "subject")

    def __init__(self, subject: Any) -> None:
        self.left = MAX_STEPS
        self.subject = subject
        self.bound: list[Any] = [None, None]


Reader = Callable[[Any], Any]
"""Takes a value from the call that is judged."""

Run = Callable[[Frame], Any]
Readers = Mapping[str, Reader | Mapping[str, Reader]]
"""The variables: read as a whole, or by field."""


def build(tree: Node, kind: Kind) -> Run:
    """Return `tree` as a function, in a rule of this `kind`. The tree has passed the checker."""
    return _Builder(_READERS[kind]).run(tree)


def evaluate(node: Node, subject: PolicyCall | Access) -> Any:
    """Return the value of a part of a condition for `subject`; slowly, for explaining one verdict.

    Raises:
        ConditionFailed: it cannot be evaluated for this call.
        TooCostly: it takes too many steps.
        LookupError: it speaks of what a macro around it binds.
    """
    kind = subject.kind if isinstance(subject, Access) else Kind.TOOL
    return build(node, kind)(Frame(subject))


def _readers(variables: Mapping[str, Variable]) -> Readers:
    return {
        name: variable.read
        if variable.read is not None
        else {field: read for field, (_, read) in variable.fields.items()}
        for name, variable in variables.items()
    }


_READERS: Final = {kind: _readers(variables) for kind, variables in VARIABLES.items()}


class _Builder:
    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._names: list[str] = []

    def run(self, node: Node) -> Run:
        match node:
            case Constant():
                return _constant(node)
            case Identifier(name):
                return self._identifier(name)
            case Select():
                return self._select(node)
            case Has(operand, field):
                return _has(self.run(operand), field, _said(operand))
            case Index(operand, key):
                return _index(self.run(operand), self.run(key))
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary("!", operand):
                return _not(self.run(operand))
            case Unary(_, operand):
                inner = self.run(operand)
                return lambda frame: negated(inner(frame))
            case Binary("||", left, right):
                return _either(self.run(left), self.run(right), winner=True)
            case Binary("&&", left, right):
                return _either(self.run(left), self.run(right), winner=False)
            case Binary(operator, left, right):
                return _binary(operator, self.run(left), self.run(right))
            case Conditional(test, then, otherwise):
                return _conditional(self.run(test), self.run(then), self.run(otherwise))
            case ListOf(items):
                runs = tuple(self.run(item) for item in items)
                return lambda frame: [run(frame) for run in runs]
            case MapOf(entries):
                pairs = tuple((str(key.value), self.run(value)) for key, value in entries if isinstance(key, Constant))
                return lambda frame: {key: run(frame) for key, run in pairs}

    def _identifier(self, name: str) -> Run:
        if name in self._names:
            slot = self._names.index(name)
            return lambda frame: frame.bound[slot]
        reader = self._readers.get(name)
        if reader is None:
            if name not in TYPE_NAMES:
                raise LookupError(name)
            type_name = TypeName(name)
            return lambda _: type_name
        if callable(reader):
            return lambda frame: reader(frame.subject)
        fields = tuple(reader.items())
        return lambda frame: {field: read(frame.subject) for field, read in fields}

    def _select(self, node: Select) -> Run:
        if isinstance(node.operand, Identifier) and node.operand.name not in self._names:
            fields = self._readers.get(node.operand.name)
            if fields is not None and not callable(fields):
                read = fields[node.field]
                return lambda frame: read(frame.subject)
        return _field(self.run(node.operand), node.field, _said(node.operand))

    def _call(self, node: Call) -> Run:
        function = FUNCTIONS[node.function]
        parts = (*(() if node.target is None else (node.target,)), *node.arguments)
        runs: list[Run] = []
        for at, part in enumerate(parts):
            if at in function.literal:
                runs.append(_prepared(function, at, part))
            else:
                runs.append(_typed(self.run(part), function, at))
        return _function(function, tuple(runs))

    def _macro(self, node: Macro) -> Run:
        items = _items(self.run(node.target), node.name)
        slot = len(self._names)
        self._names.append(node.variable)
        body = self.run(node.body)
        guard = None if node.guard is None else self.run(node.guard)
        self._names.pop()
        steps = 1 + sum(1 for _ in walk(node.body)) + (0 if node.guard is None else sum(1 for _ in walk(node.guard)))
        if node.name in {"all", "exists"}:
            return _any(items, body, slot, steps, winner=node.name == "exists")
        if node.name == "exists_one":
            return _one(items, body, slot, steps)
        if node.name == "filter":
            return _filter(items, body, slot, steps)
        return _map(items, guard, body, slot, steps)


def _said(node: Node) -> str:
    path = path_of(node)
    return f"`{'.'.join(path)}`" if path is not None else "a value"


def _constant(node: Constant) -> Run:
    value = UInt(int(str(node.value))) if node.type == "uint" else node.value
    return lambda _: value


def _field(inner: Run, field: str, said: str) -> Run:
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


def _has(inner: Run, field: str, said: str) -> Run:
    def run(frame: Frame) -> bool:
        operand = inner(frame)
        if type(operand) is not dict:
            raise ConditionFailed(f"{said} is {named(type_of(operand))}, and has no fields")
        return field in operand

    return run


def _index(inner: Run, key: Run) -> Run:
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


def _prepared(function: Function, at: int, part: Node) -> Run:
    if not isinstance(part, Constant) or not isinstance(part.value, str):
        raise BadCondition(f"`{function.name}` takes a text here that is written out", part.offset)
    try:
        value = function.literal[at](part.value)
    except ConditionFailed as error:
        raise BadCondition(f"`{function.name}`: {error}", part.offset) from None
    return lambda _: value


def _typed(inner: Run, function: Function, at: int) -> Run:
    takes, name = function.takes[at], function.name

    def run(frame: Frame) -> Any:
        value = inner(frame)
        found = type_of(value)
        if found not in takes:
            raise ConditionFailed(f"`{name}` takes {named(takes)}, not {named(found)}")
        return value

    return run


def _function(function: Function, runs: tuple[Run, ...]) -> Run:
    work, name, cost, steps = function.run, function.name, function.cost, function.steps
    per_step = function.characters_per_step

    def run(frame: Frame) -> Any:
        values = [part(frame) for part in runs]
        if cost is not None:
            frame.charge(cost(*values))
        elif per_step:
            frame.charge(steps + sum(len(value) for value in values if type(value) in {str, bytes}) // per_step)
        try:
            return work(*values)
        except ConditionFailed as error:
            raise ConditionFailed(f"`{name}`: {error}") from None

    return run


def _not(inner: Run) -> Run:
    def run(frame: Frame) -> bool:
        value = inner(frame)
        if value is True:
            return False
        if value is False:
            return True
        raise ConditionFailed(f"`!` takes true or false, not {named(type_of(value))}")

    return run


def _either(left: Run, right: Run, *, winner: bool) -> Run:
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
                failure = _no_bool(operator, first)
        second = right(frame)
        if second is winner:
            return not loser
        if failure is not None:
            raise failure
        if second is loser:
            return not winner
        raise _no_bool(operator, second)

    return run


def _no_bool(operator: str, value: object) -> ConditionFailed:
    return ConditionFailed(f"`{operator}` takes true or false, not {named(type_of(value))}")


def _conditional(test: Run, then: Run, otherwise: Run) -> Run:
    def run(frame: Frame) -> Any:
        value = test(frame)
        if value is True:
            return then(frame)
        if value is False:
            return otherwise(frame)
        raise _no_bool("?", value)

    return run


def _binary(operator: str, left: Run, right: Run) -> Run:
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
                failure = failure or _no_bool(operator, value)
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
        raise _no_bool(name, value)

    return run
