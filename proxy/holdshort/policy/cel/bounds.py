"""How big a condition may be, so that every later step with its tree is cheap."""

from typing import Final

from holdshort.policy.cel.syntax import Node, children
from holdshort.policy.cel.tokens import BadCondition

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "MAX_LOOPS", "MAX_NESTING", "MAX_NODES", "measure"]

MAX_NODES: Final = 500
"""Nodes of one tree."""
MAX_DEPTH: Final = 100
"""Levels of one tree: `a.b.c` has three, and so has `a && b && c`."""
MAX_NESTING: Final = 24
"""Brackets of any kind inside one another."""
MAX_ITEMS: Final = 200
"""Items of one list or map, and arguments of one call."""
MAX_LOOPS: Final = 2
"""Macros inside one another's bodies."""


def measure(tree: Node) -> None:
    """Refuse a tree that is too deep or too big; a loop, because a tree that is too deep cannot be walked."""
    waiting = [(tree, 1)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise BadCondition(
                f"more than {MAX_DEPTH} levels; a long chain of `||` is better an `in [...]`", node.offset
            )
        if count > MAX_NODES:
            raise BadCondition(f"more than {MAX_NODES} parts; split it into several rules", node.offset)
        waiting.extend((child, depth + 1) for child in children(node))
