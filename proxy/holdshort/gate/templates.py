"""URI templates (RFC 6570, as MCP servers use them): which server a resource is from, and what a template makes."""

import re
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["filled", "matches_template"]

_EXPRESSION = re.compile(r"\{[^{}]*\}")
_NAMES = re.compile(r"\{[+#./;?&]?([A-Za-z0-9_.%,*:]*)\}")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the template with the variables that have a value written out as they are; the others stay."""

    def fill(found: re.Match[str]) -> str:
        names = [name.partition(":")[0].rstrip("*") for name in found.group(1).split(",")]
        if not all(name in values for name in names):
            return found.group()
        lead = found.group()[1]
        return (lead if lead in "#./" else "") + ",".join(values[name] for name in names)

    return _NAMES.sub(fill, template)


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
