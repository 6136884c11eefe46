"""The reasoning behind a verdict, layer by layer, in words; evaluated slowly and separately from the hot path."""

from dataclasses import dataclass

from holdshort.policy.conditions import speaks
from holdshort.policy.decide import Policy, matches
from holdshort.policy.model import Action, Call, Layer, Place, Verdict

__all__ = ["Explanation", "LayerOpinion", "explain"]


@dataclass(frozen=True, slots=True)
class LayerOpinion:
    """What one layer had to say. `rule` and `action` are None when it abstained; `words` is for people."""

    layer: str
    rule: str | None
    action: Action | None
    words: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with the opinion of every layer, also of those that did not carry it."""

    verdict: Verdict
    layers: tuple[LayerOpinion, ...]


def explain(policy: Policy, call: Call) -> Explanation:
    """Return the verdict of `policy` on `call` with what each layer said about it, in words."""
    verdict = policy.decide(call)
    return Explanation(verdict, tuple(_opinion(layer, call, verdict) for layer in policy.layers))


def _opinion(layer: Layer, call: Call, verdict: Verdict) -> LayerOpinion:
    passed: list[str] = []
    for rule in layer.rules:
        if not matches(rule, call.tool, call.caller):
            continue
        holds, problem = speaks(rule, call)
        if not holds:
            passed.append(
                f"rule `{rule.id}` could not be evaluated ({problem}), and an error never allows"
                if problem is not None
                else f"rule `{rule.id}` matches the tool, but `when: {_when(rule.when)}` is false"
            )
            continue
        words = f"rule `{rule.id}` says {rule.action}"
        if problem is not None:
            words += f", because its condition could not be evaluated ({problem})"
        if rule.action is not verdict.action:
            words += f"; {verdict.action} is stricter and wins"
        return LayerOpinion(layer.name, rule.id, rule.action, "; ".join([*passed, words]), rule.place)
    if not layer.rules:
        words = "it has no rules"
    elif passed:
        words = "no rule is left"
    else:
        words = (
            f"none of its {len(layer.rules)} rules matches" if len(layer.rules) > 1 else "its one rule does not match"
        )
    abstains = f"abstains: {words}"
    if any(b.layer == layer.name and b.rule == "default" for b in verdict.because):
        abstains += f"; no layer had an opinion, so its default counts: {verdict.action}"
    return LayerOpinion(layer.name, None, None, "; ".join([*passed, abstains]))


def _when(condition: object) -> str:
    return str(getattr(condition, "text", condition))
