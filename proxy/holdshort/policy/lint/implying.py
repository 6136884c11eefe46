"""When one rule of a layer is sure to speak wherever a later one would, by the shape of their conditions alone.

An error counts as true where a rule says ask, deny or hide, and as false where it says allow, so whether one condition
takes over from another depends on what their rules say.
"""

from holdshort.policy.cel.syntax import Binary, Call, Constant, Macro, Node, Unary, walk
from holdshort.policy.cel.text import text_of
from holdshort.policy.model import Action, Condition, Rule

__all__ = ["conjuncts", "opposite", "takes_over", "tree_of"]


def takes_over(earlier: Rule, later: Rule) -> bool:
    """Say whether `earlier` speaks of every call on which `later` would, both matching but for their conditions."""
    if earlier.when is None:
        return True
    if later.when is None:
        return False
    if earlier.action is Action.ALLOW and later.action is not Action.ALLOW:
        return False  # an error makes the later rule speak and the earlier one not
    if same(earlier.when, later.when):
        return True
    wide, narrow = tree_of(earlier.when), tree_of(later.when)
    if wide is None or narrow is None:
        return False
    if earlier.action is Action.ALLOW:
        # What costs more may fail where the cheaper one holds, and a rule that allows is then silent.
        return text_of(wide) in {text_of(part) for part in conjuncts(narrow)}
    if later.action is not Action.ALLOW and not _cheap(narrow):
        return False  # it may fail for its cost alone, where the earlier one is plainly false
    return _implies(narrow, wide)


def opposite(one: Rule, other: Rule) -> bool:
    """Say whether one of two rules speaks whatever the call, because their conditions are each other's opposite."""
    if one.when is None or other.when is None or (one.action is Action.ALLOW and other.action is Action.ALLOW):
        return False
    first, second = tree_of(one.when), tree_of(other.when)
    if first is None or second is None:
        return False
    return _negated(first) == text_of(second) or _negated(second) == text_of(first)


def same(one: Condition, other: Condition) -> bool:
    """Say whether two conditions are the same, however they are spaced."""
    first, second = tree_of(one), tree_of(other)
    if first is None or second is None:
        return one.text == other.text
    return text_of(first) == text_of(second)


def tree_of(condition: Condition | None) -> Node | None:
    """Return the tree of a condition that has one."""
    tree: Node | None = getattr(condition, "tree", None)
    return tree


def conjuncts(node: Node) -> list[Node]:
    """Return the parts of `a && b && c`."""
    if isinstance(node, Binary) and node.operator == "&&":
        return [*conjuncts(node.left), *conjuncts(node.right)]
    return [node]


def _implies(narrow: Node, wide: Node) -> bool:
    """Say whether `wide` is false only where `narrow` is false too, in CEL's logic with errors."""
    if text_of(narrow) == text_of(wide):
        return True
    if (
        isinstance(wide, Binary)
        and wide.operator == "||"
        and (_implies(narrow, wide.left) or _implies(narrow, wide.right))
    ):
        return True
    if (
        isinstance(wide, Binary)
        and wide.operator == "&&"
        and _implies(narrow, wide.left)
        and _implies(narrow, wide.right)
    ):
        return True
    if isinstance(narrow, Binary) and narrow.operator == "&&":
        return _implies(narrow.left, wide) or _implies(narrow.right, wide)
    if isinstance(narrow, Binary) and narrow.operator == "||":
        return _implies(narrow.left, wide) and _implies(narrow.right, wide)
    return False


def _negated(node: Node) -> str:
    return text_of(Unary("!", node))


def _cheap(node: Node) -> bool:
    """Say whether evaluating `node` costs the same for every call, so that it never fails for its cost."""
    for part in walk(node):
        if isinstance(part, (Macro, Call)):
            return False
        if (
            isinstance(part, Binary)
            and part.operator not in {"&&", "||"}
            and not isinstance(part.left, Constant)
            and not isinstance(part.right, Constant)
        ):
            return False
    return True
