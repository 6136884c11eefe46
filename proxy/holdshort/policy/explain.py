"""The reasoning behind a verdict, in words: every layer, every rule, every value that a condition saw.

Evaluated slowly and separately from the hot path, from the same rules; the verdict itself is `decide.py`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from holdshort.policy.decide import PINS_CHANGED, PINS_STRICT, Policy
from holdshort.policy.model import (
    DECISIONS,
    Access,
    Action,
    Because,
    Call,
    Kind,
    PinMode,
    Place,
    Rule,
    Terms,
    Verdict,
)
from holdshort.policy.seen import Seen, see
from holdshort.policy.trace import LayerTrace, Outcome, RuleTrace, trace

__all__ = ["Explanation", "LayerOpinion", "Part", "RuleReason", "TermReason", "duration", "explain"]


class Part(StrEnum):
    """What a layer's opinion was worth in the end."""

    DECIDES = "decides"
    OVERRULED = "overruled"
    ABSTAINS = "abstains"


@dataclass(frozen=True, slots=True)
class RuleReason:
    """What became of one rule, and why. `seen` has the parts of its condition with the values they had."""

    rule: str
    action: Action
    outcome: Outcome
    words: str
    place: Place | None = None
    seen: tuple[Seen, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerOpinion:
    """What one layer had to say. `rule` and `action` are None when it abstained; `words` is for people."""

    layer: str
    rule: str | None
    action: Action | None
    words: str
    place: Place | None = None
    part: Part = Part.ABSTAINS
    rules: tuple[RuleReason, ...] = ()


@dataclass(frozen=True, slots=True)
class TermReason:
    """One term of an `ask`: what holds, and which rules said so (none: nobody did, and it is the default)."""

    term: str
    words: str
    said_by: tuple[Because, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with the opinion of every layer, also of those that did not carry it."""

    verdict: Verdict
    layers: tuple[LayerOpinion, ...]
    decided: str = ""
    """Why this verdict and no other."""
    pins: str | None = None
    """What the tool's pin had to do with it; None for what is no tool."""
    terms: tuple[TermReason, ...] = ()
    """How it is to be decided, for an `ask`."""
    grant: str | None = None
    """What a standing grant could do about it; None for what is no tool."""


def explain(policy: Policy, question: Call | Access) -> Explanation:
    """Return the verdict of `policy` on a call, or on what is no call, with the whole reasoning in words."""
    verdict = policy.decide(question) if isinstance(question, Call) else policy.access(question)
    traces = trace(policy, question)
    asking = [(each.layer.name, rule) for each in traces if (rule := each.spoke) is not None]
    return Explanation(
        verdict,
        tuple(_opinion(each, question, verdict) for each in traces),
        decided=_decided(policy, traces, verdict, question),
        pins=_pins(policy, question) if isinstance(question, Call) else None,
        terms=_terms(asking, verdict.terms) if verdict.action is Action.ASK else (),
        grant=_grant(asking, verdict) if isinstance(question, Call) else None,
    )


def duration(time: timedelta) -> str:
    """Return a duration as policy files write it: `30m`, `24h`."""
    seconds = time.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds >= (2 * size if unit == "d" else size):
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _opinion(traced: LayerTrace, question: Call | Access, verdict: Verdict) -> LayerOpinion:
    layer = traced.layer
    rules = tuple(_reason(step, question) for step in traced.rules)
    passed = [_passed(step) for step in traced.rules if step.outcome in {Outcome.FALSE, Outcome.FAILED}]
    spoken = next((step for step in traced.rules if step.outcome is Outcome.SPEAKS), None)
    if spoken is not None:
        rule = spoken.rule
        words = f"rule `{rule.id}` says {rule.action}"
        if spoken.problem is not None:
            words += f", because its condition could not be evaluated ({spoken.problem})"
        decides = Because(layer.name, rule.id) in verdict.because
        if rule.action is not verdict.action:
            words += f"; {verdict.action} is stricter and wins"
        part = Part.DECIDES if decides else Part.OVERRULED
        return LayerOpinion(layer.name, rule.id, rule.action, "; ".join([*passed, words]), rule.place, part, rules)
    if not layer.rules:
        words = "it has no rules"
    elif passed:
        words = "no rule is left"
    else:
        words = (
            f"none of its {len(layer.rules)} rules matches" if len(layer.rules) > 1 else "its one rule does not match"
        )
    abstains = f"abstains: {words}"
    default = any(b.layer == layer.name and b.rule == "default" for b in verdict.because)
    if default:
        abstains += f"; no layer had an opinion, so its default counts: {verdict.action}"
    part = Part.DECIDES if default else Part.ABSTAINS
    return LayerOpinion(layer.name, None, None, "; ".join([*passed, abstains]), None, part, rules)


def _passed(step: RuleTrace) -> str:
    if step.problem is not None:
        return f"rule `{step.rule.id}` could not be evaluated ({step.problem}), and an error never allows"
    return f"rule `{step.rule.id}` matches the {_noun(step.rule)}, but `when: {_when(step.rule)}` is false"


def _reason(step: RuleTrace, question: Call | Access) -> RuleReason:
    rule = step.rule
    looked = step.outcome in {Outcome.SPEAKS, Outcome.FALSE, Outcome.FAILED}
    seen = see(rule.when, question) if looked and rule.when is not None else ()
    return RuleReason(rule.id, rule.action, step.outcome, _outcome_words(step, question), rule.place, seen)


def _outcome_words(step: RuleTrace, question: Call | Access) -> str:
    rule = step.rule
    match step.outcome:
        case Outcome.OTHER_KIND:
            return f"is about a {_noun(rule)}"
        case Outcome.OTHER_TARGET:
            return _elsewhere(rule, question)
        case Outcome.OTHER_AGENT:
            return (
                f"is about agents {', '.join(f'`{each.text}`' for each in rule.agents)}, not `{question.caller.agent}`"
            )
        case Outcome.FALSE:
            return "matches, but its condition is false"
        case Outcome.FAILED:
            return f"its condition could not be evaluated ({step.problem}), and an error never allows"
        case Outcome.NOT_REACHED:
            return "was not looked at: an earlier rule of this layer spoke"
        case Outcome.SPEAKS if step.problem is not None:
            return f"says {rule.action}: its condition could not be evaluated ({step.problem}), which counts as true"
        case Outcome.SPEAKS if rule.when is not None:
            return f"says {rule.action}: it matches, and its condition is true"
        case Outcome.SPEAKS:
            return f"says {rule.action}: it matches, and has no condition"


def _elsewhere(rule: Rule, question: Call | Access) -> str:
    if not isinstance(question, Call):
        return f"is about {', '.join(f'`{glob.text}`' for glob in rule.targets)}"
    tool = question.tool
    if any(glob.matches_server(tool.server) and glob.matches_tool(tool.name) for glob in rule.except_tools):
        return f"is about every other tool than {', '.join(f'`{glob.text}`' for glob in rule.except_tools)}"
    return f"is about {', '.join(f'`{glob.text}`' for glob in rule.tools)}"


def _decided(policy: Policy, traces: Sequence[LayerTrace], verdict: Verdict, question: Call | Access) -> str:
    if PINS_STRICT in verdict.because:
        return "the tool is new or changed since it was accepted, and `pins: strict` hides such a tool"
    opinions = [rule for each in traces if (rule := each.spoke) is not None]
    if verdict.because == (PINS_CHANGED,):
        return "the tool's definition is not the one that is pinned, so somebody has to look at it first"
    if not opinions:
        if isinstance(question, Access):
            return "no rule of any layer is about this, and what no rule is about passes"
        if any(layer.default is not None for layer in policy.layers):
            return f"no rule of any layer speaks, so the strictest `default` counts: {verdict.action}"
        return "no rule of any layer speaks and no file has a `default`; then every call asks"
    others = {rule.action for rule in opinions} - {verdict.action}
    if not others:
        return "all layers with an opinion say so" if len(opinions) > 1 else "only one layer has an opinion"
    weaker = sorted(others, key=lambda action: -action.strictness)
    return f"{verdict.action} is stricter than {' and '.join(weaker)}; across layers the strictest wins"


def _pins(policy: Policy, call: Call) -> str:
    if policy.pins is PinMode.OFF:
        return "`pins: off`: definitions are not compared"
    if call.tool.pinned:
        return f"`pins: {policy.pins}`: the definition counts as the pinned one"
    if policy.pins is PinMode.STRICT:
        return "`pins: strict`: the tool is new or differs from its pin, so it is hidden until somebody accepts it"
    return "`pins: first_use`: the definition differs from its pin, so calling it is at least ask"


def _terms(opinions: Sequence[tuple[str, Rule]], terms: Terms) -> tuple[TermReason, ...]:
    asking = [(layer, rule) for layer, rule in opinions if rule.action is Action.ASK]

    def said(term: str, value: object = None) -> tuple[Because, ...]:
        """Return which rules said what holds; none where it holds because a rule said nothing (precedence 8)."""
        each = [(layer, rule.id, getattr(rule, term)) for layer, rule in asking]
        return tuple(Because(layer, of) for layer, of, its in each if its is not None and value in {None, its})

    who = " and ".join(" or ".join(sorted(each)) or "nobody" for each in terms.approvers) or "any approver"
    decisions = ", ".join(word for word in ("approve", "edit", "reject", "respond") if word in terms.decisions)
    runs = "at once when approved" if terms.execute == "on_decision" else "when the agent comes back for it"
    return (
        TermReason("approvers", who, said("approvers")),
        TermReason(
            "required_approvals", str(terms.required_approvals), said("required_approvals", terms.required_approvals)
        ),
        TermReason("expires_after", duration(terms.expires_after), said("expires_after", terms.expires_after)),
        TermReason("decisions", decisions, said("decisions") if terms.decisions != DECISIONS else ()),
        TermReason("execute", f"{terms.execute}: it runs {runs}", said("execute", terms.execute)),
        TermReason("grants", "yes" if terms.grants else "no", said("grants", terms.grants)),
    )


def _grant(opinions: Sequence[tuple[str, Rule]], verdict: Verdict) -> str:
    if verdict.action is Action.ALLOW:
        return "none is needed"
    if verdict.action is not Action.ASK:
        return f"none can help: a grant turns ask into allow, never {verdict.action}"
    if verdict.terms.grants:
        return "one that covers this call, made by who may decide it, would let it run without asking"
    if PINS_CHANGED in verdict.because:
        return "none can help while the tool differs from its pin"
    against = [
        f"`{layer}: {rule.id}`"
        for layer, rule in opinions
        if rule.action is Action.ASK
        and not ((rule.required_approvals or 1) == 1 if rule.grants is None else rule.grants)
    ]
    return f"none can help: {' and '.join(against)} wants a decision each time"


def _noun(rule: Rule) -> str:
    return {Kind.SERVER_REQUEST: "request"}.get(rule.kind, rule.kind.value)


def _when(rule: Rule) -> str:
    return str(getattr(rule.when, "text", rule.when))
