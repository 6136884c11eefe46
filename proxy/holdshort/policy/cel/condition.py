"""A condition: read, checked and compiled once; then a question to ask of each call."""

from collections.abc import Mapping
from typing import Any, Final

from holdshort.policy.cel.check import ConditionProblem, check_tree
from holdshort.policy.cel.evaluate import build
from holdshort.policy.cel.frame import Frame
from holdshort.policy.cel.parse import parse
from holdshort.policy.cel.syntax import Identifier, Node, walk
from holdshort.policy.cel.tokens import BadCondition
from holdshort.policy.cel.values import ConditionFailed, named, type_of
from holdshort.policy.model import Access, Call, Kind

__all__ = ["CelCondition", "check_condition", "compile_condition"]


class CelCondition:
    """The `when` of a rule. Equal when text and kind are; asking it changes nothing, so threads may share it.

    `static` says that only facts of the tool (or resource, prompt, request) and of the caller matter.
    """

    __slots__ = ("_run", "kind", "reads_arguments", "reads_time", "static", "text", "tree")

    def __init__(self, text: str, kind: Kind, tree: Node) -> None:
        names = {node.name for node in walk(tree) if isinstance(node, Identifier)}
        self.text: Final = text
        self.kind: Final = kind
        self.tree: Final = tree
        self.reads_arguments: Final = "args" in names
        self.reads_time: Final = "now" in names
        self.static: Final = not (self.reads_arguments or self.reads_time)
        self._run: Final = build(tree, kind)

    def __call__(self, call: Call | Access) -> bool:
        """Say whether the condition holds for `call`.

        Raises:
            ConditionFailed: it cannot be evaluated for this call.
            TooCostly: it takes too many steps for this call.
        """
        answer = self._run(Frame(call))
        if answer is True:
            return True
        if answer is False:
            return False
        raise ConditionFailed(f"the condition gave {named(type_of(answer))}, not true or false")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CelCondition) and (self.text, self.kind) == (other.text, other.kind)

    def __hash__(self) -> int:
        return hash((self.text, self.kind))

    def __repr__(self) -> str:
        return f"CelCondition({self.text!r}, {self.kind.value})"


def compile_condition(text: str, kind: Kind = Kind.TOOL) -> CelCondition:
    """Compile the `when` of a rule about this `kind`.

    Raises:
        BadCondition: the text is no condition, or certainly a wrong one; `offset` says where.
    """
    tree = parse(text)
    for problem in check_tree(tree, kind):
        raise BadCondition(problem.message, problem.offset)
    return CelCondition(text, kind, tree)


def check_condition(condition: CelCondition, input_schema: Mapping[str, Any]) -> list[ConditionProblem]:
    """Return what is certainly wrong with `condition` for a tool whose input schema this is."""
    return check_tree(condition.tree, condition.kind, input_schema)
