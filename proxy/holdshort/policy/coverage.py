"""Which rules a set of cases puts to the test: those that spoke in some case, and those that nothing would miss."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from holdshort.policy.cases import CaseResult
from holdshort.policy.decide import Policy
from holdshort.policy.model import Because, Rule
from holdshort.policy.trace import Outcome, trace

__all__ = ["Coverage", "Reach", "RuleCoverage", "cover"]


class Reach(StrEnum):
    """How far cases got with a rule."""

    DECIDED = "decided"
    """It carried a verdict."""
    OVERRULED = "overruled"
    """It was its layer's opinion, but a stricter layer won each time."""
    LOOKED_AT = "looked at"
    """Its condition was evaluated, and never held."""
    NEVER = "never"
    """No case is about anything that it matches."""


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """How often each thing happened to one rule."""

    layer: str
    rule: Rule
    decided: int = 0
    overruled: int = 0
    looked_at: int = 0

    @property
    def reach(self) -> Reach:
        """The furthest that any case got."""
        if self.decided:
            return Reach.DECIDED
        if self.overruled:
            return Reach.OVERRULED
        return Reach.LOOKED_AT if self.looked_at else Reach.NEVER

    @property
    def covered(self) -> bool:
        """True when the rule spoke in some case."""
        return bool(self.decided or self.overruled)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every rule of a policy, with what the cases did to it."""

    rules: tuple[RuleCoverage, ...]

    @property
    def covered(self) -> int:
        """How many rules spoke in some case."""
        return sum(rule.covered for rule in self.rules)

    @property
    def percent(self) -> float:
        """The share of rules that spoke in some case; 100 where there are no rules."""
        return 100 * self.covered / len(self.rules) if self.rules else 100.0

    @property
    def missed(self) -> tuple[RuleCoverage, ...]:
        """The rules that spoke in no case."""
        return tuple(rule for rule in self.rules if not rule.covered)


def cover(policy: Policy, results: Iterable[CaseResult]) -> Coverage:
    """Count what became of every rule of `policy` in the cases that ran."""
    counts = [[(layer, rule, [0, 0, 0]) for rule in layer.rules] for layer in policy.layers]
    for result in results:
        because = set(result.verdict.because)
        for traced, rows in zip(trace(policy, result.case.question), counts, strict=True):
            for step, (layer, rule, row) in zip(traced.rules, rows, strict=True):
                if step.outcome is Outcome.SPEAKS:
                    row[0 if Because(layer.name, rule.id) in because else 1] += 1
                elif step.outcome in {Outcome.FALSE, Outcome.FAILED}:
                    row[2] += 1
    return Coverage(tuple(RuleCoverage(layer.name, rule, *row) for rows in counts for layer, rule, row in rows))
