"""What can be known to be wrong with a condition before any call: names, types, and what a tool's schema rules out.

Only what is certain is reported. Arguments can be anything until a schema says otherwise, and a server need not enforce
its schema: a problem found against one says that the condition is not about calls as the tool takes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from holdshort.policy.cel.functions import FUNCTIONS, Function
from holdshort.policy.cel.schema import Absent, View, view_of
from holdshort.policy.cel.syntax import (
    MACROS,
    ORDERINGS,
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
from holdshort.policy.cel.values import NUMBERS, TYPE_NAMES, ConditionFailed, named
from holdshort.policy.cel.variables import VARIABLES, Variable
from holdshort.policy.model import Kind
from holdshort.policy.words import nearest, unknown

__all__ = ["ConditionProblem", "check_tree"]

Types = frozenset[str] | None
"""The types that a value can have; None when it can be anything."""

_BOOL: Final = frozenset({"bool"})
_NULL: Final = frozenset({"null_type"})
_STRING: Final = frozenset({"string"})
_LIST: Final = frozenset({"list"})
_MAP: Final = frozenset({"map"})
_ORDERED: Final = frozenset({"int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration"})
_ADDED: Final = frozenset({"int", "uint", "double", "string", "bytes", "list", "timestamp", "duration"})
_COUNTED: Final = {"%": frozenset({"int", "uint"}), "-": NUMBERS | {"timestamp", "duration"}, "+": _ADDED}


@dataclass(frozen=True, slots=True)
class ConditionProblem:
    """Something certainly wrong with a condition, at the character `offset` of its text.

    `tested` says that the condition itself asks first, with `has` or `type`, about what the problem is with: as it must
    where one rule speaks about tools with different arguments.
    """

    message: str
    offset: int
    tested: bool = False


@dataclass(frozen=True, slots=True)
class _Shape:
    types: Types = None
    view: View | None = None
    item: "_Shape | None" = None
    path: str | None = None


_ANY: Final = _Shape()


def check_tree(tree: Node, kind: Kind, input_schema: Mapping[str, Any] | None = None) -> list[ConditionProblem]:
    """Return what is certainly wrong with a condition of a rule of this `kind`, in the order of the text."""
    checker = _Checker(VARIABLES[kind], view_of(input_schema), _tested(tree))
    result = checker.shape(tree)
    if result.types is not None and "bool" not in result.types:
        checker.problem(f"a condition is true or false; this is {named(result.types)}", tree.offset)
    return sorted(checker.problems, key=lambda problem: problem.offset)


def _tested(tree: Node) -> frozenset[tuple[str, ...]]:
    asked: set[tuple[str, ...]] = set()
    for node in walk(tree):
        path = None
        match node:
            case Has(operand, field):
                above = path_of(operand)
                path = None if above is None else (*above, field)
            case Call("type", None, (argument,)):
                path = path_of(argument)
            case Binary("in", Constant("string", str(field)), group):
                above = path_of(group)
                path = None if above is None else (*above, field)
            case _:
                pass
        if path is not None:
            asked.add(path)
    return frozenset(asked)


class _Checker:
    def __init__(
        self, variables: Mapping[str, Variable], args: View | None, tested: frozenset[tuple[str, ...]]
    ) -> None:
        self.problems: list[ConditionProblem] = []
        self._variables = variables
        self._args = args
        self._tested = tested
        self._bound: dict[str, _Shape] = {}

    def problem(self, message: str, offset: int, *about: Node | None) -> None:
        paths = [path for path in map(_path, about) if path is not None]
        tested = any(path[: len(asked)] == asked for path in paths for asked in self._tested)
        self.problems.append(ConditionProblem(message, offset, tested))

    def shape(self, node: Node) -> _Shape:
        match node:
            case Constant(kind):
                return _Shape(frozenset({"null_type" if kind == "null" else kind}))
            case Identifier():
                return self._identifier(node)
            case Select(operand, field) | Has(operand, field):
                found = self._field(node, operand, field)
                return _Shape(_BOOL) if isinstance(node, Has) else found
            case Index():
                return self._index(node)
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary("!", operand):
                self._bool(operand, "!")
                return _Shape(_BOOL)
            case Unary(_, operand):
                types = self.shape(operand).types
                if types is not None and not types & {"int", "double"}:
                    self.problem(f"`-` takes a number, not {named(types)}", node.offset, operand)
                    return _ANY
                return _Shape(None if types is None else types & {"int", "double"})
            case Binary("||" | "&&", left, right):
                self._bool(left, node.operator)
                self._bool(right, node.operator)
                return _Shape(_BOOL)
            case Binary():
                return self._binary(node)
            case Conditional(test, then, otherwise):
                self._bool(test, "?")
                first, second = self.shape(then), self.shape(otherwise)
                known = first.types is not None and second.types is not None
                return _Shape((first.types or frozenset()) | (second.types or frozenset()) if known else None)
            case ListOf(items):
                shapes = [self.shape(item) for item in items]
                sure = [shape.types for shape in shapes if shape.types is not None]
                known = len(sure) == len(shapes)
                return _Shape(frozenset({"list"}), item=_Shape(frozenset().union(*sure) if known and sure else None))
            case MapOf(entries):
                for _, value in entries:
                    self.shape(value)
                return _Shape(frozenset({"map"}))

    def _bool(self, node: Node, operator: str) -> None:
        types = self.shape(node).types
        if types is not None and "bool" not in types:
            self.problem(f"`{operator}` takes true or false, not {named(types)}", node.offset, node)

    def _identifier(self, node: Identifier) -> _Shape:
        if node.name in self._bound:
            return self._bound[node.name]
        variable = self._variables.get(node.name)
        if variable is None:
            if node.name in TYPE_NAMES:
                return _Shape(frozenset({"type"}))
            if node.name in FUNCTIONS or node.name in MACROS:
                self.problem(f"`{node.name}` is a function; it is called as `{_usage(node.name)}`", node.offset)
            else:
                self.problem(unknown("variable", node.name, (*self._variables, *self._bound)), node.offset)
            return _ANY
        if variable.fields:
            example = next(iter(variable.fields))
            self.problem(f"`{node.name}` is asked for a field, as in `{node.name}.{example}`", node.offset)
            return _ANY
        return _Shape(variable.types, self._args if node.name == "args" else None, path=node.name)

    def _field(self, node: Select | Has, operand: Node, field: str) -> _Shape:
        if isinstance(operand, Identifier) and operand.name not in self._bound:
            variable = self._variables.get(operand.name)
            if variable is not None and variable.fields:
                return self._fact(operand.name, variable, field, node.offset)
        above = self.shape(operand)
        if above.types is not None and "map" not in above.types:
            self.problem(f"{named(above.types)} has no field `{field}`", node.offset, operand)
            return _ANY
        return self._below(node, above, field)

    def _fact(self, name: str, variable: Variable, field: str, offset: int) -> _Shape:
        fact = variable.fields.get(field)
        if fact is None:
            message = unknown("field", field, variable.fields).replace(f"`{field[:80]}`", f"`{name}.{field[:80]}`", 1)
            self.problem(message, offset)
            return _ANY
        return _Shape(fact[0], item=_Shape(_STRING) if "list" in fact[0] else None)

    def _below(self, node: Node, above: _Shape, field: str) -> _Shape:
        path = f"{above.path}.{field}" if above.path is not None else None
        if above.view is None:
            return _Shape(path=path)
        found = above.view.field(field)
        if isinstance(found, Absent):
            near = nearest(field, found.names)
            where = "" if above.path == "args" else f" in `{above.path}`" if above.path else " there"
            if near is not None:
                hint = f"; did you mean `{near}`?"
            elif found.names:
                hint = f"; it has {', '.join(f'`{name}`' for name in found.names[:8])}"
            else:
                hint = "; it has no fields"
            self.problem(f"the tool's input schema has no `{field[:80]}`{where}{hint}", node.offset, node)
            return _Shape(path=path)
        return _Shape(None if found is None else found.types(), found, _item_of(found), path)

    def _index(self, node: Index) -> _Shape:
        if isinstance(node.key, Constant) and isinstance(node.key.value, str):
            if isinstance(node.operand, Identifier) and node.operand.name not in self._bound:
                variable = self._variables.get(node.operand.name)
                if variable is not None and variable.fields:
                    return self._fact(node.operand.name, variable, node.key.value, node.key.offset)
            above = self.shape(node.operand)
            if above.types is not None and "map" not in above.types:
                self.problem(f"{named(above.types)} has no keys", node.offset, node.operand)
                return _ANY
            return self._below(node, above, node.key.value)
        above, key = self.shape(node.operand), self.shape(node.key)
        wanted = frozenset({"list", "map"}) if above.types is None else above.types & {"list", "map"}
        if not wanted:
            self.problem(f"{named(above.types or _NULL)} has no items", node.offset, node.operand)
            return _ANY
        keys = (frozenset({"int", "uint"}) if "list" in wanted else frozenset()) | (
            _STRING if "map" in wanted else set()
        )
        if key.types is not None and not key.types & keys:
            self.problem(f"an item is asked for by {named(keys)}, not by {named(key.types)}", node.key.offset, node.key)
        return above.item if above.item is not None and wanted == _LIST else _ANY

    def _call(self, node: Call) -> _Shape:
        function = FUNCTIONS.get(node.function)
        parts = (*(() if node.target is None else (node.target,)), *node.arguments)
        shapes = [self.shape(part) for part in parts]
        if function is None:
            if node.function in MACROS:
                self.problem(f"`{node.function}` follows a list: `x.{node.function}(item, ...)`", node.offset)
            else:
                self.problem(unknown("function", node.function, (*FUNCTIONS, *MACROS, "has")), node.offset)
            return _ANY
        right_way = function.plain if node.target is None else function.method
        least = len(function.takes) - function.optional
        if not right_way or not least <= len(parts) <= len(function.takes):
            self.problem(f"`{node.function}` is called as `{_usage(node.function)}`", node.offset)
            return _Shape(frozenset({function.gives}))
        for at, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
            self._argument(function, at, part, shape)
        return _Shape(frozenset({function.gives}))

    def _argument(self, function: Function, at: int, part: Node, shape: _Shape) -> None:
        if shape.types is not None and not shape.types & function.takes[at]:
            message = f"`{function.name}` takes {named(function.takes[at])}, not {named(shape.types)}"
            self.problem(message, part.offset, part)
            return
        written = isinstance(part, Constant) and isinstance(part.value, str)
        if at in function.literal and not written:
            self.problem(f"`{function.name}` takes a text here that is written out", part.offset)
        attempt = function.literal.get(at) or function.validated.get(at)
        if attempt is not None and isinstance(part, Constant) and isinstance(part.value, str):
            try:
                attempt(part.value)
            except ConditionFailed as error:
                self.problem(f"`{function.name}`: {error}", part.offset)

    def _macro(self, node: Macro) -> _Shape:
        target = self.shape(node.target)
        if target.types is not None and not target.types & {"list", "map"}:
            message = f"`{node.name}` goes through a list or a map, not {named(target.types)}"
            self.problem(message, node.offset, node.target)
        if node.variable in self._variables or node.variable in TYPE_NAMES:
            self.problem(f"`{node.variable}` is taken; choose another name for the items", node.offset)
            return _ANY
        if target.types == _MAP:
            item = _Shape(_STRING)
        elif target.types == _LIST and target.item is not None:
            item = target.item
        else:
            item = _ANY
        self._bound[node.variable] = item
        if node.guard is not None:
            self._bool(node.guard, node.name)
        if node.name == "map":
            body = self.shape(node.body)
        else:
            self._bool(node.body, node.name)
            body = item
        del self._bound[node.variable]
        if node.name in {"map", "filter"}:
            return _Shape(frozenset({"list"}), item=_Shape(body.types, body.view, body.item))
        return _Shape(_BOOL)

    def _binary(self, node: Binary) -> _Shape:
        left, right = self.shape(node.left), self.shape(node.right)
        if node.operator in {"==", "!="}:
            self._equality(node, left, right)
        elif node.operator in ORDERINGS:
            if left.types is not None and right.types is not None and not _any_pair(left.types, right.types, _ORDERED):
                self._mismatch(node, left, right)
        elif node.operator == "in":
            self._within(node, left, right)
        else:
            return self._arithmetic(node, left, right)
        return _Shape(_BOOL)

    def _mismatch(self, node: Binary, left: _Shape, right: _Shape) -> None:
        message = f"`{node.operator}` cannot compare {named(left.types or _NULL)} with {named(right.types or _NULL)}"
        self.problem(message, node.offset, node.left, node.right)

    def _equality(self, node: Binary, left: _Shape, right: _Shape) -> None:
        if left.types is None or right.types is None or _NULL in (left.types, right.types):
            return
        if not _any_pair(left.types, right.types, TYPE_NAMES):
            always = "false" if node.operator == "==" else "true"
            message = f"{named(left.types)} never equals {named(right.types)}, so this is always {always}"
            self.problem(message, node.offset, node.left, node.right)
            return
        for shape, other, side in ((left, node.right, node.left), (right, node.left, node.right)):
            if isinstance(other, Constant):
                self._listed(shape, side, other)

    def _within(self, node: Binary, left: _Shape, right: _Shape) -> None:
        if right.types is not None and not right.types & {"list", "map"}:
            hint = "; part of a text is `x.contains(...)`" if right.types == _STRING else ""
            message = f"`in` looks into a list or a map, not into {named(right.types)}{hint}"
            self.problem(message, node.offset, node.right)
            return
        if right.types == _MAP and left.types is not None and "string" not in left.types:
            self.problem(f"the keys of a map are texts, not {named(left.types)}", node.offset, node.left)
        items = None if right.item is None else right.item.types
        if left.types is None or items is None or right.types != _LIST:
            return
        if not _any_pair(left.types, items, TYPE_NAMES):
            message = f"{named(left.types)} never equals {named(items)}, so this is always false"
            self.problem(message, node.offset, node.left)
        elif isinstance(node.right, ListOf):
            for item in node.right.items:
                if isinstance(item, Constant):
                    self._listed(left, node.left, item)

    def _listed(self, shape: _Shape, side: Node, constant: Constant) -> None:
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
        self.problem(message, constant.offset, side)

    def _arithmetic(self, node: Binary, left: _Shape, right: _Shape) -> _Shape:
        fits = _COUNTED.get(node.operator, NUMBERS)
        if left.types is None and right.types is None:
            return _ANY
        times = frozenset({"timestamp", "duration"})
        first, second = left.types or fits, right.types or fits
        if first & times and second & times and node.operator in {"+", "-"}:
            return _ANY
        common = first & second & fits
        if not common:
            sides = f"{named(first)} and {named(second)}" if left.types and right.types else named(left.types or second)
            hint = "; `double(...)` makes a double of any number" if first <= NUMBERS and second <= NUMBERS else ""
            message = f"`{node.operator}` takes two values of one type, not {sides}{hint}"
            self.problem(message, node.offset, node.left, node.right)
            return _ANY
        return _Shape(common)


def _path(node: Node | None) -> tuple[str, ...] | None:
    if isinstance(node, Has):
        above = path_of(node.operand)
        return None if above is None else (*above, node.field)
    return None if node is None else path_of(node)


def _item_of(view: View | None) -> _Shape | None:
    item = None if view is None else view.item()
    return None if item is None else _Shape(item.types(), item)


def _any_pair(left: frozenset[str], right: frozenset[str], among: Iterable[str]) -> bool:
    """Say whether some type of `left` can be compared with some of `right`; numbers compare with numbers."""
    fit = frozenset(among)
    return bool(left & right & fit) or bool(left & NUMBERS and right & NUMBERS)


def _same(value: object, constant: Constant) -> bool:
    if isinstance(value, bool) or isinstance(constant.value, bool):
        return value is constant.value
    return value == constant.value


def _usage(name: str) -> str:
    if name in MACROS:
        return f"x.{name}(item, ...)"
    function = FUNCTIONS[name]
    count = len(function.takes) - function.optional
    letters: Sequence[str] = ("x", "y", "z")[:count]
    if function.method and not function.plain:
        return f"x.{name}({', '.join(letters[1:])})"
    return f"{name}({', '.join(letters)})"
