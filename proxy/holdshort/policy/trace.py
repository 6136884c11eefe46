"""What became of every rule as one question was answered: slow and complete, where `decide.py` is fast."""

from dataclasses import dataclass, replace
from enum import StrEnum

from holdshort.policy.conditions import speaks
from holdshort.policy.decide import Policy, matches
from holdshort.policy.model import Access, Call, Kind, Layer, Rule
from holdshort.policy.targets import fits

__all__ = ["LayerTrace", "Outcome", "RuleTrace", "is_about", "trace"]


class Outcome(StrEnum):
    """What became of one rule."""

    OTHER_KIND = "other_kind"
    """It is about another kind of thing."""
    OTHER_TARGET = "other_target"
    """It names other tools, resources, prompts or methods."""
    OTHER_AGENT = "other_agent"
    """It names other agents."""
    FALSE = "false"
    """Its condition is false."""
    FAILED = "failed"
    """Its condition could not be evaluated, and an error never allows."""
    SPEAKS = "speaks"
    """It is its layer's opinion."""
    NOT_REACHED = "not_reached"
    """An earlier rule of its layer spoke first."""


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """What became of one rule; `problem` says what went wrong with its condition."""

    rule: Rule
    outcome: Outcome
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What became of all rules of one layer, in their order. `spoke` is None for a layer that abstains."""

    layer: Layer
    rules: tuple[RuleTrace, ...]

    @property
    def spoke(self) -> Rule | None:
        """The rule that is the layer's opinion."""
        return next((each.rule for each in self.rules if each.outcome is Outcome.SPEAKS), None)


def trace(policy: Policy, question: Call | Access) -> tuple[LayerTrace, ...]:
    """Return what becomes of every rule of `policy` as `question` is answered."""
    return tuple(LayerTrace(layer, _rules(layer, question)) for layer in policy.layers)


def is_about(rule: Rule, question: Call | Access) -> bool:
    """Say whether kind, target and agents of `rule` match; its `when` is not looked at."""
    if isinstance(question, Call):
        return matches(rule, question.tool, question.caller)
    return fits(rule, question)


def _rules(layer: Layer, question: Call | Access) -> tuple[RuleTrace, ...]:
    kind = Kind.TOOL if isinstance(question, Call) else question.kind
    found: list[RuleTrace] = []
    settled = False
    for rule in layer.rules:
        if rule.kind is not kind:
            found.append(RuleTrace(rule, Outcome.OTHER_KIND))
        elif settled:
            found.append(RuleTrace(rule, Outcome.NOT_REACHED))
        elif not is_about(rule, question):
            anybody = is_about(replace(rule, agents=()), question)
            found.append(RuleTrace(rule, Outcome.OTHER_AGENT if anybody else Outcome.OTHER_TARGET))
        else:
            holds, problem = speaks(rule, question)
            settled = holds
            missed = Outcome.FALSE if problem is None else Outcome.FAILED
            found.append(RuleTrace(rule, Outcome.SPEAKS if holds else missed, problem))
    return tuple(found)
