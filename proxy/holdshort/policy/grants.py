"""Standing grants: what approvers said yes to in advance, and nothing wider.

A grant is about one agent, one tool of one server, one definition of that tool, and a scope: which arguments, each
with which values. Every further check only takes away. There are no globs, and what cannot be evaluated is not covered.

1. A grant turns ask into allow. It is not looked at for allow, deny or hide.
2. It answers only where the terms in force let a grant answer, and offer `approve` at all.
3. Everyone who made it must be an approver today whom today's terms would let decide, and there must be as many of
   them as approvals are required.
4. The call must be of its agent, to its tool, with its definition, inside its scope, in its time, with a use left.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, cast

from holdshort.errors import HoldshortError
from holdshort.policy import cel
from holdshort.policy.model import Action, Because, Call, Condition, PolicyError, Terms, Verdict

__all__ = [
    "ANY_VALUE",
    "DEFAULT_LIFETIME",
    "DEFAULT_MAX_USES",
    "GRANT_LAYER",
    "ApproverGroups",
    "BadScope",
    "Grant",
    "GrantState",
    "Scope",
    "Wish",
    "answers",
    "covers",
    "exactly",
    "find_grants",
    "granted",
    "same_json",
    "scope_from_json",
]

Json = Any

DEFAULT_LIFETIME: Final = timedelta(hours=24)
DEFAULT_MAX_USES: Final = 10
"""What an approver gets who asks for a grant and says no more."""

GRANT_LAYER: Final = "grant"
"""Stands in place of a layer where the reason of a verdict is a grant."""

ANY_VALUE: Final = None
"""In place of a list of values: this argument, by name, may be anything."""

_MOST_ARGUMENTS: Final = 100
_MOST_VALUES: Final = 100
_LONGEST_CONDITION: Final = 4000

ApproverGroups = Callable[[str], frozenset[str] | None]
"""Returns the groups that the approver of this name is in today; None where there is no such approver."""


class BadScope(PolicyError):
    """Raised when a scope is none, or would be wider than a grant may be. `pointer` is the place in it."""

    code = "invalid_remember"

    def __init__(self, problem: str, pointer: str = "") -> None:
        super().__init__(problem)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Scope:
    """Which arguments are covered: exactly those named, each with one of its values.

    `pins` maps an argument's name to the values it may have, or to `ANY_VALUE`. A call with another argument, or
    without one of these, is not covered. `when` narrows further.
    """

    pins: Mapping[str, tuple[Json, ...] | None]
    when: Condition | None = None

    def __post_init__(self) -> None:
        if len(self.pins) > _MOST_ARGUMENTS:
            raise BadScope(f"at most {_MOST_ARGUMENTS} arguments can be named", "/arguments")
        for name, values in self.pins.items():
            if values is not None and not 1 <= len(values) <= _MOST_VALUES:
                problem = f"`{name[:80]}` needs one to {_MOST_VALUES} values; for any value write {{any: true}}"
                raise BadScope(problem, _pointer(name))
        if self.pins and all(values is None for values in self.pins.values()) and not _reads_arguments(self.when):
            raise BadScope(
                "a grant for any value of every argument is as wide as the tool; pin an argument, give a `when` that "
                "reads arguments, or write a policy rule",
                "/arguments",
            )
        object.__setattr__(self, "pins", MappingProxyType(dict(self.pins)))

    @property
    def exact(self) -> bool:
        """Whether only one set of arguments is covered."""
        return all(values is not None and len(values) == 1 for values in self.pins.values())

    def misfit(self, call: Call) -> str | None:
        """Say why `call` is outside, naming arguments but not their values; None where it is inside."""
        misfit = self.misfit_of(call.arguments)
        if misfit is not None or self.when is None:
            return misfit
        problem = _unmet(self.when, call)
        return None if problem is None else f"its `when` {problem}"

    def misfit_of(self, arguments: Mapping[str, Json]) -> str | None:
        """Say why `arguments` are outside, whatever `when` says; None where they are inside."""
        for name in arguments:
            if name not in self.pins:
                return f"the call has an argument `{name[:80]}` that the grant does not name"
        for name, values in self.pins.items():
            if name not in arguments:
                return f"the call has no argument `{name[:80]}`"
            if values is not None and not any(same_json(arguments[name], value) for value in values):
                return f"the value of `{name[:80]}` is not among those of the grant"
        return None

    def to_json(self) -> dict[str, Json]:
        """Return the scope as `scope_from_json` reads it."""
        arguments = {
            name: {"any": True} if values is None else {"in": list(values)} for name, values in self.pins.items()
        }
        return {"arguments": arguments, "when": None if self.when is None else self.when.text}


@dataclass(frozen=True, slots=True)
class Wish:
    """What an approver asks to have remembered together with an approval."""

    scope: Scope
    lifetime: timedelta = DEFAULT_LIFETIME
    max_uses: int = DEFAULT_MAX_USES

    def __post_init__(self) -> None:
        if self.lifetime < timedelta(seconds=1):
            raise BadScope("a grant lasts a second at least", "/for")
        if self.max_uses < 1:
            raise BadScope("a grant can be used once at least", "/max_uses")

    def to_json(self) -> dict[str, Json]:
        """Return the wish as it is kept with a decision."""
        return {**self.scope.to_json(), "seconds": int(self.lifetime.total_seconds()), "max_uses": self.max_uses}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "Wish":
        """Return the wish that `to_json` wrote."""
        return cls(scope_from_json(value), timedelta(seconds=value["seconds"]), value["max_uses"])


class GrantState(StrEnum):
    """Whether a grant can still answer. All but `active` are for good."""

    ACTIVE = "active"
    REVOKED = "revoked"
    USED_UP = "used_up"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One standing grant as it stands. `definition_digest` has the identity of the tool's server in it."""

    id: str
    agent: str
    server: str
    tool: str
    definition_digest: str
    scope: Scope | None
    """None once erased: nothing is covered then."""
    scope_digest: str
    """SHA-256 of the scope; what the decision log says instead of it."""
    made_by: tuple[str, ...]
    """Everyone who approved and asked for this very grant."""
    made_at: datetime
    from_interruption: str
    expires_at: datetime
    max_uses: int
    uses: int = 0
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    def state(self, now: datetime) -> GrantState:
        """Return where it stands at `now`."""
        if self.revoked_at is not None:
            return GrantState.REVOKED
        if self.uses >= self.max_uses:
            return GrantState.USED_UP
        return GrantState.EXPIRED if now >= self.expires_at else GrantState.ACTIVE


def covers(grant: Grant, call: Call, definition_digest: str, now: datetime) -> bool:
    """Say whether `call`, to a tool that is defined so now, is one that `grant` is about (4). Never raises."""
    return (
        grant.agent == call.caller.agent
        and grant.server == call.tool.server
        and grant.tool == call.tool.name
        and grant.definition_digest == definition_digest
        and grant.state(now) is GrantState.ACTIVE
        and grant.scope is not None
        and grant.scope.misfit(call) is None
    )


def answers(grant: Grant, terms: Terms, groups_of: ApproverGroups, acts_for: str | None) -> bool:
    """Say whether the makers of `grant` could decide together, today, on `terms` (2, 3).

    `acts_for` is the person behind the agent, where duties are separated.
    """
    if not terms.grants or "approve" not in terms.decisions:
        return False
    makers = set(grant.made_by)
    if len(makers) < terms.required_approvals or grant.agent in makers or acts_for in makers:
        return False
    for maker in makers:
        groups = groups_of(maker)
        if groups is None or not terms.eligible(maker, groups):
            return False
    return True


def find_grants(
    grants: Iterable[Grant],
    verdict: Verdict,
    call: Call,
    definition_digest: str,
    *,
    now: datetime,
    groups_of: ApproverGroups,
    acts_for: str | None = None,
) -> Iterator[Grant]:
    """Yield those of `grants` that may answer for `call` in place of a person; nothing unless `verdict` is ask (1)."""
    if verdict.action is not Action.ASK:
        return
    for grant in grants:
        if covers(grant, call, definition_digest, now) and answers(grant, verdict.terms, groups_of, acts_for):
            yield grant


def granted(verdict: Verdict, grant: Grant) -> Verdict:
    """Return what an ask becomes once a use of `grant` was taken for it; any other verdict stays as it is (1)."""
    if verdict.action is not Action.ASK:
        return verdict
    return Verdict(Action.ALLOW, (Because(GRANT_LAYER, grant.id),), verdict.errors, verdict.terms)


def exactly(arguments: Mapping[str, Json]) -> Scope:
    """Return the scope that covers these arguments and no others."""
    return Scope({name: (value,) for name, value in arguments.items()})


def scope_from_json(value: Mapping[str, Json]) -> Scope:
    """Read `{"arguments": {NAME: {"in": [...]} | {"any": true}}, "when": TEXT | null}`.

    Raises:
        BadScope: it is not that, is too wide, or its condition is none.
    """
    named = value.get("arguments")
    if not isinstance(named, Mapping):
        raise BadScope('expected a map of argument names, or "exact"', "/arguments")
    pins: dict[str, tuple[Json, ...] | None] = {}
    for name, allowed in cast("Mapping[str, Json]", named).items():
        match allowed:
            case {"any": True, **rest} if not rest:
                pins[name] = ANY_VALUE
            case {"in": list(values), **rest} if not rest:
                pins[name] = tuple(values)
            case _:
                raise BadScope(f"`{name[:80]}`: expected {{in: [values]}} or {{any: true}}", _pointer(name))
    return Scope(pins, _condition(value.get("when")))


def same_json(one: Json, other: Json) -> bool:
    """Say whether two JSON values are the same to every reader: 1, 1.0, "1" and true are four different values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_json(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    # As text, so that 0.0 and -0.0, which are written differently, are different too.
    return repr(one) == repr(other) if isinstance(one, float) else bool(one == other)


def _condition(text: object) -> Condition | None:
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_CONDITION:
        raise BadScope(f"expected a condition of at most {_LONGEST_CONDITION} characters", "/when")
    try:
        return cel.compile_condition(text)
    except HoldshortError as error:
        raise BadScope(str(error), "/when") from None


def _reads_arguments(condition: Condition | None) -> bool:
    return condition is not None and getattr(condition, "reads_arguments", False) is True


def _unmet(condition: Condition, call: Call) -> str | None:
    """Say in a few words why `condition` does not hold; an error is no yes."""
    try:
        answer = condition(call)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 (an evaluator in another language may raise outside of `Exception`)
        return f"could not be evaluated ({type(error).__name__})"
    return None if answer is True else "does not hold"


def _pointer(name: str) -> str:
    return f"/arguments/{name[:80].replace('~', '~0').replace('/', '~1')}"
