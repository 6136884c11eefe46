"""What can be known to be wrong with a condition before any call: names, types, and what a tool's schema rules out.

Only what is certain is reported. Arguments can be anything until a schema says otherwise, and a server need not enforce
its schema: a problem found against one says that the condition is not about calls as the tool takes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdshort.policy.cel.functions import FUNCTIONS, Function, usage
from holdshort.policy.cel.schema import Absent, View, view_of
from holdshort.policy.cel.shapes import ANY, BOOL, LIST, MAP, NULL, STRING, Shape, item_of
from holdshort.policy.cel.sides import check_two
from holdshort.policy.cel.syntax import (
    MACROS,
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
from holdshort.policy.cel.values import TYPE_NAMES, ConditionFailed, named
from holdshort.policy.cel.variables import VARIABLES, Variable
from holdshort.policy.model import Kind
from holdshort.policy.words import nearest, unknown

__all__ = ["ConditionProblem", "check_tree"]


@dataclass(frozen=True, slots=True)
class ConditionProblem:
    """Something certainly wrong with a condition, at the character `offset` of its text.

    `tested` says that the condition itself asks first, with `has` or `type`, about what the problem is with: as it must
    where one rule speaks about tools with different arguments.
    """

    message: str
    offset: int
    tested: bool = False


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
        self._bound: dict[str, Shape] = {}

    def problem(self, message: str, offset: int, *about: Node | None) -> None:
        paths = [path for path in map(_path, about) if path is not None]
        tested = any(path[: len(asked)] == asked for path in paths for asked in self._tested)
        self.problems.append(ConditionProblem(message, offset, tested))

    def shape(self, node: Node) -> Shape:
        match node:
            case Constant(kind):
                return Shape(frozenset({"null_type" if kind == "null" else kind}))
            case Identifier():
                return self._identifier(node)
            case Select(operand, field) | Has(operand, field):
                found = self._field(node, operand, field)
                return Shape(BOOL) if isinstance(node, Has) else found
            case Index():
                return self._index(node)
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary("!", operand):
                self._bool(operand, "!")
                return Shape(BOOL)
            case Unary(_, operand):
                types = self.shape(operand).types
                if types is not None and not types & {"int", "double"}:
                    self.problem(f"`-` takes a number, not {named(types)}", node.offset, operand)
                    return ANY
                return Shape(None if types is None else types & {"int", "double"})
            case Binary("||" | "&&", left, right):
                self._bool(left, node.operator)
                self._bool(right, node.operator)
                return Shape(BOOL)
            case Binary():
                return check_two(self.problem, node, self.shape(node.left), self.shape(node.right))
            case Conditional(test, then, otherwise):
                self._bool(test, "?")
                first, second = self.shape(then), self.shape(otherwise)
                known = first.types is not None and second.types is not None
                return Shape((first.types or frozenset()) | (second.types or frozenset()) if known else None)
            case ListOf(items):
                shapes = [self.shape(item) for item in items]
                sure = [shape.types for shape in shapes if shape.types is not None]
                known = len(sure) == len(shapes)
                return Shape(frozenset({"list"}), item=Shape(frozenset().union(*sure) if known and sure else None))
            case MapOf(entries):
                for _, value in entries:
                    self.shape(value)
                return Shape(frozenset({"map"}))

    def _bool(self, node: Node, operator: str) -> None:
        types = self.shape(node).types
        if types is not None and "bool" not in types:
            self.problem(f"`{operator}` takes true or false, not {named(types)}", node.offset, node)

    def _identifier(self, node: Identifier) -> Shape:
        if node.name in self._bound:
            return self._bound[node.name]
        variable = self._variables.get(node.name)
        if variable is None:
            if node.name in TYPE_NAMES:
                return Shape(frozenset({"type"}))
            if node.name in FUNCTIONS or node.name in MACROS:
                self.problem(f"`{node.name}` is a function; it is called as `{usage(node.name)}`", node.offset)
            else:
                self.problem(unknown("variable", node.name, (*self._variables, *self._bound)), node.offset)
            return ANY
        if variable.fields:
            example = next(iter(variable.fields))
            self.problem(f"`{node.name}` is asked for a field, as in `{node.name}.{example}`", node.offset)
            return ANY
        return Shape(variable.types, self._args if node.name == "args" else None, path=node.name)

    def _field(self, node: Select | Has, operand: Node, field: str) -> Shape:
        if isinstance(operand, Identifier) and operand.name not in self._bound:
            variable = self._variables.get(operand.name)
            if variable is not None and variable.fields:
                return self._fact(operand.name, variable, field, node.offset)
        above = self.shape(operand)
        if above.types is not None and "map" not in above.types:
            self.problem(f"{named(above.types)} has no field `{field}`", node.offset, operand)
            return ANY
        return self._below(node, above, field)

    def _fact(self, name: str, variable: Variable, field: str, offset: int) -> Shape:
        fact = variable.fields.get(field)
        if fact is None:
            message = unknown("field", field, variable.fields).replace(f"`{field[:80]}`", f"`{name}.{field[:80]}`", 1)
            self.problem(message, offset)
            return ANY
        return Shape(fact[0], item=Shape(STRING) if "list" in fact[0] else None)

    def _below(self, node: Node, above: Shape, field: str) -> Shape:
        path = f"{above.path}.{field}" if above.path is not None else None
        if above.view is None:
            return Shape(path=path)
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
            return Shape(path=path)
        return Shape(None if found is None else found.types(), found, item_of(found), path)

    def _index(self, node: Index) -> Shape:
        if isinstance(node.key, Constant) and isinstance(node.key.value, str):
            if isinstance(node.operand, Identifier) and node.operand.name not in self._bound:
                variable = self._variables.get(node.operand.name)
                if variable is not None and variable.fields:
                    return self._fact(node.operand.name, variable, node.key.value, node.key.offset)
            above = self.shape(node.operand)
            if above.types is not None and "map" not in above.types:
                self.problem(f"{named(above.types)} has no keys", node.offset, node.operand)
                return ANY
            return self._below(node, above, node.key.value)
        above, key = self.shape(node.operand), self.shape(node.key)
        wanted = frozenset({"list", "map"}) if above.types is None else above.types & {"list", "map"}
        if not wanted:
            self.problem(f"{named(above.types or NULL)} has no items", node.offset, node.operand)
            return ANY
        keys = (frozenset({"int", "uint"}) if "list" in wanted else frozenset()) | (
            STRING if "map" in wanted else set()
        )
        if key.types is not None and not key.types & keys:
            self.problem(f"an item is asked for by {named(keys)}, not by {named(key.types)}", node.key.offset, node.key)
        return above.item if above.item is not None and wanted == LIST else ANY

    def _call(self, node: Call) -> Shape:
        function = FUNCTIONS.get(node.function)
        parts = (*(() if node.target is None else (node.target,)), *node.arguments)
        shapes = [self.shape(part) for part in parts]
        if function is None:
            if node.function in MACROS:
                self.problem(f"`{node.function}` follows a list: `x.{node.function}(item, ...)`", node.offset)
            else:
                self.problem(unknown("function", node.function, (*FUNCTIONS, *MACROS, "has")), node.offset)
            return ANY
        right_way = function.plain if node.target is None else function.method
        least = len(function.takes) - function.optional
        if not right_way or not least <= len(parts) <= len(function.takes):
            self.problem(f"`{node.function}` is called as `{usage(node.function)}`", node.offset)
            return Shape(frozenset({function.gives}))
        for at, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
            self._argument(function, at, part, shape)
        return Shape(frozenset({function.gives}))

    def _argument(self, function: Function, at: int, part: Node, shape: Shape) -> None:
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

    def _macro(self, node: Macro) -> Shape:
        target = self.shape(node.target)
        if target.types is not None and not target.types & {"list", "map"}:
            message = f"`{node.name}` goes through a list or a map, not {named(target.types)}"
            self.problem(message, node.offset, node.target)
        if node.variable in self._variables or node.variable in TYPE_NAMES:
            self.problem(f"`{node.variable}` is taken; choose another name for the items", node.offset)
            return ANY
        if target.types == MAP:
            item = Shape(STRING)
        elif target.types == LIST and target.item is not None:
            item = target.item
        else:
            item = ANY
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
            return Shape(frozenset({"list"}), item=Shape(body.types, body.view, body.item))
        return Shape(BOOL)


def _path(node: Node | None) -> tuple[str, ...] | None:
    if isinstance(node, Has):
        above = path_of(node.operand)
        return None if above is None else (*above, node.field)
    return None if node is None else path_of(node)
