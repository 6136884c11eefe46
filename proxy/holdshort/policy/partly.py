"""Verdicts on questions of which not everything is known: the verdict, if it is the same whatever the rest was.

A rule that needs what is not known may speak or may not. Every way in which the layers can come out is followed; where
all of them end in the same action, that is the verdict, and otherwise there is none. Nothing is assumed: two rules that
need the same thing are taken for independent, so an answer may be missing that a person could give, never the reverse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from holdshort.policy.conditions import speaks
from holdshort.policy.decide import PINS_CHANGED, PINS_STRICT, Policy, most_strict
from holdshort.policy.model import Access, Action, Because, Call, Kind, Layer, PinMode, Rule, Terms, Verdict
from holdshort.policy.recorded import Gap, Partly, with_pin
from holdshort.policy.trace import is_about

__all__ = ["Told", "judge"]


@dataclass(frozen=True, slots=True)
class Told:
    """What can be told. `verdict` is None where that depends on `gaps`; `possible` are the actions it may have."""

    verdict: Verdict | None
    possible: frozenset[Action]
    gaps: frozenset[Gap] = frozenset()
    because: tuple[Because, ...] = ()
    """The rules that need what is not known."""
    exact: bool = True
    """Whether reasons and terms of the verdict are known, and not only its action."""


_Maybe = tuple[Layer, Rule | None]


def judge(policy: Policy, asked: Partly) -> Told:
    """Return what `policy` says about a question, as far as that can be told."""
    question = asked.question
    if not asked.gaps:
        return _exactly(policy, question)
    if isinstance(question, Call) and Gap.PIN in asked.gaps and policy.pins is not PinMode.OFF:
        one, other = (_judge(policy, _with_pin(asked, pinned=pinned)) for pinned in (True, False))
        return _either(one, other)
    return _judge(policy, asked)


def _judge(policy: Policy, asked: Partly) -> Told:
    question = asked.question
    gaps: set[Gap] = set()
    needing: list[Because] = []
    options: list[list[_Maybe]] = []
    for layer, rules in _candidates(policy, asked):
        found: list[_Maybe] = []
        for rule in rules:
            spoke = _speaks(rule, asked, gaps)
            if spoke is None:
                needing.append(Because(layer.name, rule.id))
            if spoke is not False:
                found.append((layer, rule))
            if spoke:
                break
        else:
            found.append((layer, None))
        options.append(found)
    if not gaps:
        return _exactly(policy, asked.plain or question)
    actions = _actions(policy, asked, options)
    if len(actions) > 1:
        return Told(None, actions, frozenset(gaps), tuple(needing))
    (action,) = actions
    carried = [rule for rule in chain.from_iterable(options) if rule[1] is not None and rule[1].action is action]
    because = tuple(Because(layer.name, rule.id) for layer, rule in carried if rule is not None)
    return Told(Verdict(action, because, (), Terms()), actions, frozenset(gaps), tuple(needing), exact=False)


def _exactly(policy: Policy, question: Call | Access) -> Told:
    verdict = policy.decide(question) if isinstance(question, Call) else policy.access(question)
    return Told(verdict, frozenset({verdict.action}))


def _candidates(policy: Policy, asked: Partly) -> Iterable[tuple[Layer, Sequence[Rule]]]:
    """Return, for each layer, the rules that may match but for their conditions."""
    question = asked.question
    if Gap.GROUPS not in asked.gaps and Gap.URI not in asked.gaps:
        if isinstance(question, Call):
            return policy.rules_for(question.tool, question.caller)
        return policy.access_rules(question)
    kind = question.kind if isinstance(question, Access) else Kind.TOOL
    return [
        (layer, [rule for rule in layer.rules if _about(rule, asked) is not False])
        for layer in policy.layers
        if any(rule.kind is kind for rule in layer.rules)
    ]


def _about(rule: Rule, asked: Partly) -> bool | None:
    """Say whether target and agents of the rule match; None where that depends on what is not known."""
    question = asked.plain or asked.question
    if is_about(rule, question):
        # The beginning of a URI that a glob matches may go on otherwise, and `*` means whatever it is.
        cut = Gap.URI in asked.gaps and any(each.tool != "*" for each in rule.targets)
        return None if cut else True
    if rule.kind is not (question.kind if isinstance(question, Access) else Kind.TOOL):
        return False
    anybody = replace(rule, agents=()) if Gap.GROUPS in asked.gaps else rule
    if isinstance(question, Access) and Gap.URI in asked.gaps:
        of_server = not rule.targets or any(each.matches_server(question.server) for each in rule.targets)
        anywhere = replace(anybody, targets=())
        return None if of_server and is_about(anywhere, question) else False
    return None if anybody is not rule and is_about(anybody, question) else False


def _speaks(rule: Rule, asked: Partly, gaps: set[Gap]) -> bool | None:
    """Say whether the rule speaks; None where that depends on what is not known, which is added to `gaps`."""
    about = True
    if Gap.GROUPS in asked.gaps or Gap.URI in asked.gaps:
        found = _about(rule, asked)
        if found is False:
            return False
        about = found is True
    asked.asked.clear()
    if Gap.URI in asked.gaps and rule.when is not None:
        # Conditions about resources read the URI.
        holds: bool | None = None
    else:
        holds, problem = speaks(rule, asked.question)
        if problem is not None and asked.asked:
            holds = None
    if holds is False:
        return False
    if about and holds:
        return True
    gaps |= asked.asked
    if Gap.URI in asked.gaps:
        gaps.add(Gap.URI)
    if not about and rule.agents and Gap.GROUPS in asked.gaps:
        gaps.add(Gap.GROUPS)
    return None


def _actions(policy: Policy, asked: Partly, options: Iterable[Sequence[_Maybe]]) -> frozenset[Action]:
    """Return every action that the verdict may have."""
    so_far: set[Action | None] = {None}
    for layer_options in options:
        said = {None if rule is None else rule.action for _, rule in layer_options}
        so_far = {_stricter(one, other) for one in so_far for other in said}
    question = asked.question
    if isinstance(question, Access):
        return frozenset(Action.ALLOW if a is None else Action.DENY if a is Action.ASK else a for a in so_far)
    last_resort = policy.default[0]
    plain = (last_resort if action is None else action for action in so_far)
    return frozenset(plain if question.tool.pinned else (_unpinned(action, policy.pins) for action in plain))


def _stricter(one: Action | None, other: Action | None) -> Action | None:
    return other if one is None else one if other is None else most_strict((one, other))


def _unpinned(action: Action, mode: PinMode) -> Action:
    """The action on a tool that is not as it is pinned (precedence 6)."""
    if mode is PinMode.OFF or action is Action.HIDE:
        return action
    if mode is PinMode.STRICT:
        return Action.HIDE
    return Action.DENY if action is Action.DENY else Action.ASK


def _with_pin(asked: Partly, *, pinned: bool) -> Partly:
    question = asked.question
    if not isinstance(question, Call):
        return asked
    plain = asked.plain
    if isinstance(plain, Call):
        plain = replace(plain, tool=with_pin(plain.tool, pinned=pinned))
    return replace(asked, question=replace(question, tool=with_pin(question.tool, pinned=pinned)), plain=plain)


def _either(one: Told, other: Told) -> Told:
    if one.possible != other.possible:
        needing = one.because if one.verdict is None else other.because
        gaps = one.gaps | other.gaps | {Gap.PIN}
        reasons = needing or (PINS_STRICT if Action.HIDE in other.possible else PINS_CHANGED,)
        return Told(None, one.possible | other.possible, gaps, reasons)
    return one if one == other else replace(one, exact=False)
