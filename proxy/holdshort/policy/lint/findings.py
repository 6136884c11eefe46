"""What lint has to say: a code to look up, words, and the places of both rules where two are involved."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from holdshort.policy.model import Place, Rule, ToolFacts

__all__ = ["CODES", "Approver", "Finding", "RuleAt", "Severity", "Surroundings", "at", "within"]


class Severity(StrEnum):
    """Whether something is surely not as it was meant, or only worth knowing."""

    PROBLEM = "problem"
    NOTE = "note"


CODES: Final[Mapping[str, tuple[Severity, str]]] = {
    "dead": (Severity.PROBLEM, "the rule can match nothing: no such server, tool or agent"),
    "dead-glob": (Severity.NOTE, "one of the rule's globs can match nothing"),
    "shadowed": (Severity.PROBLEM, "earlier rules of the same layer speak first wherever this one matches"),
    "overruled": (Severity.PROBLEM, "wherever the rule speaks, another layer always says something stricter"),
    "overlap": (Severity.NOTE, "two rules of one layer say different things about some of the same calls"),
    "always-true": (Severity.PROBLEM, "the condition is true for every call that it does not fail for"),
    "always-false": (Severity.PROBLEM, "the condition is false for every call that it does not fail for"),
    "ill-typed": (Severity.PROBLEM, "the condition fits the input schema of no tool that the rule names"),
    "ill-typed-some": (Severity.NOTE, "the condition does not fit the input schema of some tool that the rule names"),
    "default-unused": (Severity.NOTE, "the file's `default` can never count"),
    "nobody-can-decide": (Severity.PROBLEM, "two layers ask, and too few people may decide under both"),
    "only-reject": (Severity.PROBLEM, "an approver can only reject; `deny` says that without asking"),
    "grants-quorum": (
        Severity.NOTE,
        "a standing grant may answer although several approvals are wanted (it then needs as many makers)",
    ),
    "grants-usual": (Severity.NOTE, "`grants` says what holds without it"),
    "spellings": (Severity.NOTE, "the condition looks at a URI as it is written; a glob sees every spelling of it"),
    "flagged": (Severity.NOTE, "a tool's definition has what a person may not see, or a name like another one"),
    "not-compared": (Severity.NOTE, "there are too many globs to compare"),
}
"""Every code, how serious it is, and what it means."""


@dataclass(frozen=True, slots=True)
class RuleAt:
    """A rule, and where it stands."""

    layer: str
    rule: str
    place: Place | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that lint found. `others` are the rules that make it so; `layer` is empty for what is about none."""

    code: str
    words: str
    layer: str
    rule: str | None = None
    place: Place | None = None
    others: tuple[RuleAt, ...] = ()

    @property
    def severity(self) -> Severity:
        """How serious it is."""
        return CODES[self.code][0]


@dataclass(frozen=True, slots=True)
class Approver:
    """One who may decide."""

    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the world that a policy is for. What is None is not known, and nothing is concluded from it.

    `tools` has an entry for each server whose tools are known: by name, the facts and the input schema.
    """

    servers: frozenset[str] | None = None
    agents: Mapping[str, frozenset[str]] | None = None
    """Agents by name, with their groups."""
    approvers: tuple[Approver, ...] | None = None
    tools: Mapping[str, Mapping[str, tuple[ToolFacts, Mapping[str, Any] | None]]] = field(
        default_factory=dict[str, Mapping[str, tuple[ToolFacts, Mapping[str, Any] | None]]]
    )
    definitions: Mapping[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    """What servers say of their tools, by server and name."""


def at(layer: str, rule: Rule) -> RuleAt:
    """Return the rule with its layer and place."""
    return RuleAt(layer, rule.id, rule.place)


def within(rule: Rule, offset: int) -> tuple[Place | None, str]:
    """Return the place of a character of the rule's condition, and words for where the place cannot say it."""
    if rule.when_place is None:
        return rule.place, f" (character {offset + 1} of the condition)"
    return replace(rule.when_place, column=rule.when_place.column + offset), ""
