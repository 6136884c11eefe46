"""Which server a resource is from, where only a template was listed (RFC 6570, as MCP servers use it)."""

import re
from functools import lru_cache

__all__ = ["matches_template"]

_EXPRESSION = re.compile(r"\{[^{}]*\}")


def matches_template(template: str, uri: str) -> bool:
    """Say whether `uri` can come from `template`; generous, because it only chooses among servers.

    The literal parts are looked for from left to right, each after the one before: linear, whatever a server lists.
    """
    first, *rest = _literals(template)
    if not rest:
        return uri == first
    *middle, last = rest
    if not uri.startswith(first) or not uri.endswith(last) or len(uri) < len(first) + len(last):
        return False
    at, end = len(first), len(uri) - len(last)
    for literal in middle:
        at = uri.find(literal, at, end)
        if at < 0:
            return False
        at += len(literal)
    return True


@lru_cache(maxsize=1024)
def _literals(template: str) -> tuple[str, ...]:
    return tuple(_EXPRESSION.split(template))
