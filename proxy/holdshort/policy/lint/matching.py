"""Rules and globs that can match nothing, as far as servers, tools and agents are known."""

import re
from collections.abc import Iterable
from typing import Final

from holdshort.policy.globs import ToolPattern
from holdshort.policy.lint.findings import Finding, Surroundings
from holdshort.policy.model import Kind, Layer, Rule
from holdshort.policy.own import may_be_own
from holdshort.policy.words import nearest

__all__ = ["find_dead"]

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.*?-]")
"""What no tool that is listed has in its name (`gate/listing.py`)."""


def find_dead(layer: Layer, rule: Rule, around: Surroundings) -> Iterable[Finding]:
    """Yield `dead` for a rule that matches nothing, and `dead-glob` for a glob of one that does."""
    if around.agents is not None and rule.agents:
        words = {word for name, groups in around.agents.items() for word in (name, *groups)}
        if not any(pattern.matches(word) for pattern in rule.agents for word in words):
            named = ", ".join(f"`{pattern.text}`" for pattern in rule.agents)
            yield Finding("dead", f"no agent or group is called {named}", layer.name, rule.id, rule.place)
            return
    patterns = rule.tools if rule.kind is Kind.TOOL else rule.targets
    reasons = [(pattern, _why(pattern, rule, around)) for pattern in patterns]
    wrong = [(pattern, why) for pattern, why in reasons if why is not None]
    if patterns and len(wrong) == len(patterns):
        yield Finding("dead", "; ".join(why for _, why in wrong), layer.name, rule.id, rule.place)
        return
    for _, why in wrong:
        yield Finding("dead-glob", why, layer.name, rule.id, rule.place)


def _why(pattern: ToolPattern, rule: Rule, around: Surroundings) -> str | None:
    if rule.kind is Kind.TOOL and not pattern.literal and _FOREIGN.search(pattern.tool):
        return f"`{pattern.text}`: no tool has `{_first(pattern.tool)}` in its name"
    if around.servers is None:
        return None
    servers = [label for label in sorted(around.servers) if pattern.matches_server(label)]
    if not servers and rule.kind is Kind.TOOL and may_be_own(pattern.server):
        return None
    if not servers:
        near = nearest(pattern.server, around.servers)
        return f"`{pattern.text}`: no server is called so{f'; did you mean `{near}`?' if near else ''}"
    if rule.kind is not Kind.TOOL or any(label not in around.tools for label in servers):
        return None
    known = {name for label in servers for name in around.tools[label]}
    if any(pattern.matches_tool(name) for name in known):
        return None
    near = nearest(pattern.tool.strip("*?"), known)
    return f"`{pattern.text}`: no such tool is listed{f'; did you mean `{near}`?' if near else ''}"


def _first(text: str) -> str:
    found = _FOREIGN.search(text)
    return found.group() if found is not None else ""
