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

from holdshort.policy.cel.frame import Frame, Run
from holdshort.policy.cel.functions import FUNCTIONS, Function
from holdshort.policy.cel.loops import loop
from holdshort.policy.cel.operators import choice, either, field_of, has_field, inverted, item_at, two_sided
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
from holdshort.policy.cel.values import TYPE_NAMES, ConditionFailed, TypeName, UInt, named, negated, type_of
from holdshort.policy.cel.variables import VARIABLES, Variable
from holdshort.policy.model import Access, Kind
from holdshort.policy.model import Call as PolicyCall

__all__ = ["Reader", "build", "evaluate"]

Reader = Callable[[Any], Any]
"""Takes a value from the call that is judged."""

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
                return has_field(self.run(operand), field, _said(operand))
            case Index(operand, key):
                return item_at(self.run(operand), self.run(key))
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary("!", operand):
                return inverted(self.run(operand))
            case Unary(_, operand):
                inner = self.run(operand)
                return lambda frame: negated(inner(frame))
            case Binary("||", left, right):
                return either(self.run(left), self.run(right), winner=True)
            case Binary("&&", left, right):
                return either(self.run(left), self.run(right), winner=False)
            case Binary(operator, left, right):
                return two_sided(operator, self.run(left), self.run(right))
            case Conditional(test, then, otherwise):
                return choice(self.run(test), self.run(then), self.run(otherwise))
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
        return field_of(self.run(node.operand), node.field, _said(node.operand))

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
        target = self.run(node.target)
        slot = len(self._names)
        self._names.append(node.variable)
        body = self.run(node.body)
        guard = None if node.guard is None else self.run(node.guard)
        self._names.pop()
        steps = 1 + sum(1 for _ in walk(node.body)) + (0 if node.guard is None else sum(1 for _ in walk(node.guard)))
        return loop(node.name, target, guard, body, slot=slot, steps=steps)


def _said(node: Node) -> str:
    path = path_of(node)
    return f"`{'.'.join(path)}`" if path is not None else "a value"


def _constant(node: Constant) -> Run:
    value = UInt(int(str(node.value))) if node.type == "uint" else node.value
    return lambda _: value


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
