"""Questions that were asked of policy, as they are recorded, and as they are read again with what is missing.

What is missing is never guessed. In its place stands something that a condition cannot read without it being noticed,
so that an answer either does not depend on it or is not given (`partly.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NoReturn, cast

from holdshort.policy.cel.values import ConditionFailed, Unknown
from holdshort.policy.model import Access, Call, Caller, Kind, ToolFacts

__all__ = ["Gap", "Partly", "access_record", "call_record", "partly_access", "partly_call", "with_pin"]

_FACTS: Final = ("title", "read_only", "destructive", "idempotent", "open_world")


class Gap(StrEnum):
    """Something about a call that is not known any more; the value is what people read."""

    ARGUMENTS = "its arguments were not recorded"
    TOO_LARGE = "its arguments were too large to record"
    ERASED = "its recording was erased when its time was up"
    REDACTED = "the argument is redacted in recordings"
    FACTS = "what its server declared of the tool is not known"
    CLIENT = "the client program was not recorded"
    GROUPS = "the groups of its agent are not known"
    PIN = "whether the tool was as it is pinned is not known"
    URI = "the log holds no more of the URI"


@dataclass(frozen=True, slots=True)
class Partly:
    """A question of which not everything is known: stand-ins are in the place of the rest."""

    question: Call | Access
    gaps: frozenset[Gap] = frozenset()
    asked: set[Gap] = field(default_factory=set[Gap])
    """What was looked for in vain since it was cleared last."""
    plain: Call | Access | None = None
    """The same as if its agent was in no group, where groups are not known."""
    taken_as_pinned: bool = False
    """Whether pins did not count then, so that nobody knows how the tool stood to its pin."""


def call_record(call: Call, *, pins_counted: bool) -> dict[str, Any]:
    """Return what is to be kept of a call beside its arguments, as JSON values."""
    tool = call.tool
    facts = {
        "title": tool.title,
        "read_only": tool.read_only,
        "destructive": tool.destructive,
        "idempotent": tool.idempotent,
        "open_world": tool.open_world,
        "pinned": tool.pinned if pins_counted else None,
    }
    return {"tool": facts, "caller": _caller_record(call.caller)}


def access_record(access: Access) -> dict[str, Any]:
    """Return what is to be kept of a use of something that is no tool, beside its arguments and its name."""
    return {"caller": _caller_record(access.caller)}


def _caller_record(caller: Caller) -> dict[str, Any]:
    return {"groups": sorted(caller.groups), "client": caller.client, "client_version": caller.client_version}


def partly_call(
    server: str,
    tool: str,
    agent: str,
    at: datetime,
    kept: Mapping[str, Any],
    *,
    missing: Gap,
    facts: ToolFacts | None = None,
    groups: frozenset[str] | None = None,
    pinned: bool | None = None,
) -> Partly:
    """Return a call that happened, from what is `kept` of it; of what is not there, `missing` says why.

    `facts` stand in where none are kept; `groups` take the place of those that are; `pinned` is known otherwise.
    """
    asked: set[Gap] = set()
    gaps: set[Gap] = set()
    taken = False
    arguments = _arguments(kept, missing, gaps, asked)
    caller = _caller(agent, kept, groups, gaps, asked)
    told = kept.get("tool")
    if isinstance(told, Mapping):
        known = {name: told[name] for name in _FACTS}
        pinned = told["pinned"] if pinned is None else pinned
        taken = pinned is None
        about = ToolFacts(server=server, name=tool, **known, pinned=pinned is not False)
    elif facts is not None:
        about = ToolFacts(server, tool, **{name: getattr(facts, name) for name in _FACTS}, pinned=pinned is not False)
        if pinned is None:
            gaps.add(Gap.PIN)
    else:
        gaps.add(Gap.FACTS)
        if pinned is None:
            gaps.add(Gap.PIN)
        stand_in = _Stand(asked, dict.fromkeys(_FACTS, Gap.FACTS), server=server, name=tool, pinned=pinned is not False)
        about = cast("ToolFacts", stand_in)
    call = Call(about, arguments, caller, at)
    return Partly(call, frozenset(gaps), asked, _plain(call, gaps), taken)


def partly_access(
    kind: Kind,
    server: str,
    name: str,
    agent: str,
    at: datetime,
    kept: Mapping[str, Any],
    *,
    missing: Gap,
    whole: bool,
    groups: frozenset[str] | None = None,
) -> Partly:
    """Return a use of something that is no tool; `whole` says whether `name` is all of the name."""
    asked: set[Gap] = set()
    gaps: set[Gap] = set()
    if kind is Kind.RESOURCE and not whole:
        gaps.add(Gap.URI)
    arguments = _arguments(kept, missing, gaps, asked) if kind is Kind.PROMPT else {}
    caller = _caller(agent, kept, groups, gaps, asked)
    access = Access(kind, server, name, caller, at, arguments)
    return Partly(access, frozenset(gaps), asked, _plain(access, gaps))


def _plain(question: Call | Access, gaps: set[Gap]) -> Call | Access | None:
    if Gap.GROUPS not in gaps:
        return None
    caller: Any = question.caller
    no_groups = _Stand(caller._asked, {**caller._unknown}, **caller.known(), groups=frozenset())
    return replace(question, caller=cast("Caller", no_groups))


def with_pin(tool: ToolFacts, *, pinned: bool) -> ToolFacts:
    """Return the facts of a tool, known or not, as if it was as it is pinned, or was not."""
    known: Any = tool
    if isinstance(known, ToolFacts):
        return replace(known, pinned=pinned)
    made = _Stand(known._asked, known._unknown, server=known.server, name=known.name, pinned=pinned)
    return cast("ToolFacts", made)


def _caller(
    agent: str, kept: Mapping[str, Any], groups: frozenset[str] | None, gaps: set[Gap], asked: set[Gap]
) -> Caller:
    told = kept.get("caller")
    if isinstance(told, Mapping):
        mine = frozenset(told["groups"]) if groups is None else groups
        return Caller(agent, mine, told["client"], told["client_version"])
    program = kept.get("client")
    if isinstance(program, Mapping) and groups is not None:
        return Caller(agent, groups, program["client"], program["client_version"])
    known: dict[str, Any] = {"agent": agent}
    unknown: dict[str, Gap] = {}
    if isinstance(program, Mapping):
        known |= program
    else:
        unknown |= dict.fromkeys(("client", "client_version"), Gap.CLIENT)
    if groups is not None:
        known["groups"] = groups
    else:
        unknown["groups"] = Gap.GROUPS
    gaps |= set(unknown.values())
    stand_in = _Stand(asked, unknown, **known)
    return cast("Caller", stand_in)


def _arguments(kept: Mapping[str, Any], missing: Gap, gaps: set[Gap], asked: set[Gap]) -> Mapping[str, Any]:
    if "arguments" not in kept:
        gap = Gap.TOO_LARGE if kept.get("left_out") == "too_large" else missing
        gaps.add(gap)
        return cast("Mapping[str, Any]", _NoArguments(gap, asked))
    arguments: dict[str, Any] = kept["arguments"]
    for place in kept.get("redacted", ()):
        gaps.add(Gap.REDACTED)
        inner: Any = arguments
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = Unknown(Gap.REDACTED, asked)
    return arguments


class _NoArguments:
    """In place of arguments of which nothing is known."""

    def __init__(self, gap: Gap, asked: set[Gap]) -> None:
        self._gap = gap
        self._asked = asked

    def keys(self) -> NoReturn:
        """What a condition does with arguments is to make a map of them, which begins here."""
        self._asked.add(self._gap)
        raise ConditionFailed(self._gap.value)


class _Stand:
    """In place of facts of which some are not known; those read as if it was the real thing."""

    def __init__(self, asked: set[Gap], unknown: Mapping[str, Gap], **known: Any) -> None:
        self.__dict__.update(known)
        self.__dict__["_asked"] = asked
        self.__dict__["_unknown"] = unknown

    def known(self) -> dict[str, Any]:
        """Return what is known, by name."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __getattr__(self, name: str) -> Any:
        gap = self.__dict__["_unknown"].get(name)
        if gap is None:
            raise AttributeError(name)
        self.__dict__["_asked"].add(gap)
        raise ConditionFailed(gap.value)
