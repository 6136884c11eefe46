"""The engine against a naive second reading, on policies nobody would write by hand.

`python tests/policy/differential.py` compares very many more, `planted.py` shows what the comparison sees.
"""

from dataclasses import replace
from random import Random

import pytest

from holdshort.policy import Action, Policy, Terms, compile_policy
from policy import planted
from policy.built import call_of, compiles, policy_of
from policy.differential import LINES, Tally, compare
from policy.generated import Maker

CASES = 4_000


@pytest.mark.parametrize("seed", range(3))
def test_the_engine_agrees_with_the_naive_reading_of_the_precedence(seed: int) -> None:
    tally = Tally()

    assert [str(difference) for difference in compare(f"suite {seed}", CASES, tally)] == []
    assert tally.cases >= CASES
    assert all(tally.lines[line] >= 20 for line in LINES), tally.lines
    assert set(tally.actions) == set(Action)


@pytest.mark.parametrize("number", [0, len(planted.FAULTS) // 2, len(planted.FAULTS) - 1])
def test_a_fault_that_is_put_into_the_engine_is_seen(number: int) -> None:
    assert planted.questions_until_seen(number, 20_000) is not None, planted.FAULTS[number]


def with_one_more_layer(maker: Maker) -> tuple[Policy, Policy]:
    """A policy, and the same with one more layer of rules in some place."""
    raw = maker.policy()
    more = maker.layer("more")
    more.pop("pins", None)  # like `default`, said once it is said: `pins: off` in one file is off
    layers = list(raw["layers"])
    layers.insert(maker.random.randint(0, len(layers)), more)
    return policy_of(raw), policy_of({**raw, "layers": layers})


def looser(before: Terms, after: Terms) -> list[str]:
    """In which of its parts `after` is less strict than `before`."""
    found = {
        "approvers": not set(before.approvers) <= set(after.approvers),
        "required_approvals": after.required_approvals < before.required_approvals,
        "expires_after": after.expires_after > before.expires_after,
        "decisions": not after.decisions <= before.decisions,
        "execute": before.execute == "claimed" and after.execute == "on_decision",
        "grants": after.grants and not before.grants,
    }
    return [part for part, is_looser in found.items() if is_looser]


def test_one_more_layer_never_loosens_what_a_rule_says_nor_the_terms_of_it() -> None:
    maker, compared = Maker("one more", compiles), 0
    for _ in range(400):
        before, after = with_one_more_layer(maker)
        for asked in (call_of(maker.call()) for _ in range(4)):
            was, is_now = before.decide(asked), after.decide(asked)
            if any("default" in (reason.rule, reason.layer) for reason in was.because):
                continue
            compared += 1
            assert is_now.action.strictness >= was.action.strictness
            if was.action is is_now.action is Action.ASK:
                assert looser(was.terms, is_now.terms) == []
            if before.hides(asked.tool, asked.caller):
                assert after.hides(asked.tool, asked.caller)
    assert compared > 500


def test_the_order_of_layers_changes_no_verdict() -> None:
    maker, shuffled = Maker("order", compiles), Random(1)
    for _ in range(200):
        policy = policy_of(maker.policy())
        layers = list(policy.layers)
        shuffled.shuffle(layers)
        other = compile_policy(layers, expires_after=policy.expires_after)
        for asked in (call_of(maker.call()) for _ in range(3)):
            one, two = policy.decide(asked), other.decide(asked)
            assert (one.action, set(one.terms.approvers)) == (two.action, set(two.terms.approvers))
            assert replace(one.terms, approvers=()) == replace(two.terms, approvers=())
