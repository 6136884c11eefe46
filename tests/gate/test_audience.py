"""Who is told of lists of prompts and resources after a reload: nobody whose lists cannot have changed."""

import pytest

from holdshort.gate.audience import changed_lists
from holdshort.gate.catalog import Catalog
from holdshort.policy import (
    Action,
    Caller,
    Kind,
    Layer,
    NamePattern,
    Policy,
    Rule,
    compile_policy,
    parse_target,
)

BOT = Caller("bot", frozenset({"ci"}))


def rule(action: str, target: str, *, kind: Kind = Kind.PROMPT, agents: str | None = None, name: str = "r") -> Rule:
    who = () if agents is None else (NamePattern(agents),)
    return Rule(name, Action(action), kind=kind, targets=(parse_target(target, kind),), agents=who)


def policy(*layers: list[Rule]) -> Policy:
    return compile_policy([Layer(str(number), tuple(rules)) for number, rules in enumerate(layers)])


def told(before: Policy, after: Policy) -> list[str]:
    return changed_lists([Catalog("spy", trust_annotations=True)], BOT, before, after)


HIDES = policy([rule("hide", "spy__a*")])


@pytest.mark.parametrize(
    "after",
    [
        policy([rule("hide", "spy__a*", name="renamed")]),
        policy([], [rule("hide", "spy__a*")]),
        policy([rule("hide", "spy__a*")], [rule("deny", "spy__*")]),
        policy([rule("hide", "spy__a*"), rule("hide", "other__*")]),
        policy([rule("hide", "other__*"), rule("hide", "spy__a*")]),
        policy([rule("hide", "spy__a*"), rule("hide", "spy__b*", agents="guests")]),
        policy([rule("hide", "spy__a*", agents="c*"), rule("deny", "spy__file:///x", kind=Kind.RESOURCE)]),
    ],
)
def test_rules_that_show_a_client_the_same_are_no_news(after: Policy) -> None:
    assert told(HIDES, after) == []
    assert told(after, HIDES) == []


@pytest.mark.parametrize(
    ("after", "lists"),
    [
        (policy([rule("hide", "spy__b*")]), ["prompts"]),
        (policy([rule("deny", "spy__a*")]), ["prompts"]),
        (policy([rule("hide", "spy__a*", agents="guests")]), ["prompts"]),
        (policy([rule("allow", "spy__ab", agents="ci"), rule("hide", "spy__a*")]), ["prompts"]),
        (policy([]), ["prompts"]),
        (policy([rule("hide", "spy__a*"), rule("hide", "*", kind=Kind.RESOURCE)]), ["resources"]),
    ],
)
def test_rules_that_can_show_a_client_something_else_are(after: Policy, lists: list[str]) -> None:
    assert told(HIDES, after) == lists
    assert told(after, HIDES) == lists
