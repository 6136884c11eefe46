"""Cases of a policy: a question, and the verdict somebody expects. Running one compares the two, field by field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdshort.policy.decide import Policy
from holdshort.policy.model import Access, Action, Because, Call, Place, Terms, Verdict

__all__ = [
    "DEFAULT_NOW",
    "Case",
    "CaseResult",
    "Miss",
    "Question",
    "Reason",
    "ask",
    "run_case",
    "run_cases",
    "target_of",
]

DEFAULT_NOW: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When a case happens that does not say when: a Monday noon, so that a case means the same every day."""

Question = Call | Access
"""What policy is asked about: a tool call, or something that is no tool."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that a case expects: a rule, in whichever layer unless one is named."""

    rule: str
    layer: str | None = None

    def means(self, because: Because) -> bool:
        """Say whether `because` is this reason; a layer may be named by the last part of its path."""
        if self.rule != because.rule:
            return False
        return self.layer is None or self.layer in (because.layer, because.layer.rpartition("/")[2])

    def __str__(self) -> str:
        return self.rule if self.layer is None else f"{self.layer}:{self.rule}"


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its expected answer; what is None is not compared.

    `terms` has the names of fields of `Terms` with the value that each must have.
    """

    question: Question
    verdict: Action
    note: str = ""
    because: tuple[Reason, ...] | None = None
    terms: Mapping[str, Any] = field(default_factory=dict[str, Any])
    errors: bool | None = None
    place: Place | None = None

    @property
    def target(self) -> str:
        """What the question is about, as the case's file writes it."""
        return target_of(self.question)


@dataclass(frozen=True, slots=True)
class Miss:
    """One thing that came out otherwise than expected, in words."""

    what: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What policy answered, and where that is not what the case expects."""

    case: Case
    verdict: Verdict
    misses: tuple[Miss, ...]

    @property
    def passed(self) -> bool:
        """True when everything the case names came out so."""
        return not self.misses


def ask(policy: Policy, question: Question) -> Verdict:
    """Return the verdict on a call, or on what is no call."""
    return policy.decide(question) if isinstance(question, Call) else policy.access(question)


def target_of(question: Question) -> str:
    """Return `server__tool`, `server__uri`, `server__prompt` or `server__method`."""
    if isinstance(question, Call):
        return f"{question.tool.server}__{question.tool.name}"
    return f"{question.server}__{question.name}"


def run_cases(policy: Policy, cases: Sequence[Case]) -> tuple[CaseResult, ...]:
    """Run each of `cases`, in order."""
    return tuple(run_case(policy, case) for case in cases)


def run_case(policy: Policy, case: Case) -> CaseResult:
    """Ask `policy` and compare."""
    verdict = ask(policy, case.question)
    misses: list[Miss] = []
    if verdict.action is not case.verdict:
        misses.append(Miss("verdict", case.verdict, verdict.action))
    if case.because is not None and not _same_reasons(case.because, verdict.because):
        expected = ", ".join(map(str, case.because)) or "nothing"
        misses.append(Miss("because", expected, ", ".join(f"{each.layer}:{each.rule}" for each in verdict.because)))
    if case.errors is not None and case.errors is not bool(verdict.errors):
        misses.append(Miss("errors", "some" if case.errors else "none", "; ".join(verdict.errors) or "none"))
    if case.terms and verdict.action is not Action.ASK:
        if case.verdict is Action.ASK:  # else the case expects terms of what nobody is asked about
            return CaseResult(case, verdict, tuple(misses))
        misses.append(Miss("terms", ", ".join(case.terms), f"none, because the verdict is {verdict.action}"))
    elif case.terms:
        misses.extend(
            Miss(f"terms: {name}", _shown(wanted), _shown(_term(verdict.terms, name)))
            for name, wanted in case.terms.items()
            if _term(verdict.terms, name) != wanted
        )
    return CaseResult(case, verdict, tuple(misses))


def _same_reasons(expected: Sequence[Reason], got: Sequence[Because]) -> bool:
    return all(any(reason.means(each) for each in got) for reason in expected) and all(
        any(reason.means(each) for reason in expected) for each in got
    )


def _term(terms: Terms, name: str) -> Any:
    value = getattr(terms, name)
    return frozenset(value) if name == "approvers" else value


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        if all(isinstance(each, frozenset) for each in value):
            lists = sorted(" or ".join(sorted(each)) for each in value)
            return " and ".join(lists) or "any approver"
        return ", ".join(sorted(value))
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} seconds"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
