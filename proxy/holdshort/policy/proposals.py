"""Proposing a grant: the narrowest one that would have answered for calls that people approved one by one.

Only looked at and shown, never made. What was rejected tells as much as what was approved: a grant that would have let
a rejected call through is not proposed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from holdshort.policy.grants import ANY_VALUE, BadScope, Scope, same_json, scope_from_json
from holdshort.policy.model import Call, Caller, ToolFacts

__all__ = ["ENOUGH", "PastCall", "Proposal", "propose"]

Json = Any

ENOUGH: Final = 3
"""This many approvals of one shape are worth a proposal."""

_FEW: Final = 5
_SHALLOWEST: Final = 2
"""A common folder with fewer parts than this is half the file system, and is not proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """A call that was decided as it was asked; an edited one is none of these."""

    id: str
    agent: str
    server: str
    tool: str
    definition_digest: str
    arguments: Mapping[str, Json]
    approved: bool
    by: tuple[str, ...]
    at: datetime

    def call(self) -> Call:
        """Return it as conditions see it; what a tool said of itself back then is not kept."""
        return Call(ToolFacts(self.server, self.tool), self.arguments, Caller(self.agent), self.at)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A scope, and every past call that it would have answered for, oldest first."""

    agent: str
    server: str
    tool: str
    definition_digest: str
    scope: Scope
    covers: tuple[PastCall, ...]


def propose(history: Iterable[PastCall]) -> list[Proposal]:
    """Return what could be granted, the most calls first; at most one proposal for each agent, tool and definition."""
    groups: dict[tuple[str, str, str, str, frozenset[str]], list[PastCall]] = {}
    for past in history:
        key = (past.agent, past.server, past.tool, past.definition_digest, frozenset(past.arguments))
        groups.setdefault(key, []).append(past)
    found: list[Proposal] = []
    for calls in groups.values():
        approved = sorted((past for past in calls if past.approved), key=lambda past: past.at)
        if len(approved) < ENOUGH:
            continue
        scope = _narrowest([past.arguments for past in approved])
        if scope is None or not all(_inside(scope, past) for past in approved):
            continue
        if any(_inside(scope, past) for past in calls if not past.approved):
            continue
        one = approved[0]
        found.append(Proposal(one.agent, one.server, one.tool, one.definition_digest, scope, tuple(approved)))
    return sorted(found, key=lambda each: (-len(each.covers), each.server, each.tool, each.agent))


def _narrowest(calls: Sequence[Mapping[str, Json]]) -> Scope | None:
    pins: dict[str, tuple[Json, ...] | None] = {}
    conditions: list[str] = []
    for name in calls[0]:
        values = _distinct(call[name] for call in calls)
        if len(values) <= _FEW and (len(values) == 1 or len(values) < len(calls)):
            pins[name] = tuple(values)
            continue
        folder = _common_folder(values)
        if folder is not None:
            pins[name] = ANY_VALUE
            conditions.append(f"under(args[{_quoted(name)}], {_quoted(folder)})")
        elif len(values) <= _FEW:
            pins[name] = tuple(values)
        else:
            return None
    try:
        arguments = {name: {"any": True} if v is None else {"in": list(v)} for name, v in pins.items()}
        return scope_from_json({"arguments": arguments, "when": " && ".join(conditions) or None})
    except BadScope:
        return None


def _distinct(values: Iterable[Json]) -> list[Json]:
    found: list[Json] = []
    for value in values:
        if not any(same_json(value, other) for other in found):
            found.append(value)
    return found


def _common_folder(values: Sequence[Json]) -> str | None:
    """Return the deepest folder that all of these absolute paths are in; None where they are none, or it is shallow."""
    parts: list[list[str]] = []
    for value in values:
        if not isinstance(value, str) or not value.startswith("/"):
            return None
        steps = value.split("/")[1:-1]
        if any(step in ("", ".", "..") for step in steps):
            return None
        parts.append(steps)
    common: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return f"/{'/'.join(common)}" if len(common) >= _SHALLOWEST else None


def _quoted(text: str) -> str:
    """Return `text` as a CEL string; whatever could end it, or be read in two ways, is spelled out."""
    out = "".join(c if c.isascii() and c.isprintable() and c not in "'\\" else _escape(c) for c in text)
    return f"'{out}'"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def _inside(scope: Scope, past: PastCall) -> bool:
    return scope.misfit(past.call()) is None
