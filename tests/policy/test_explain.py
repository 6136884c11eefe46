"""An explanation says what became of every rule and which values conditions saw, with nothing hidden in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdshort.policy import (
    Access,
    Action,
    Call,
    Caller,
    Kind,
    Layer,
    PinMode,
    Policy,
    Rule,
    ToolFacts,
    compile_policy,
    explain,
    parse_name_pattern,
    parse_tool_pattern,
)
from holdshort.policy.cel import compile_condition
from holdshort.policy.explain import Part
from holdshort.policy.seen import see
from holdshort.policy.shown import MOST_CHARS
from holdshort.policy.targets import parse_target
from holdshort.policy.telling import explanation_json
from holdshort.policy.trace import Outcome

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def rule(name: str, action: str, tools: str = "", when: str | None = None, **more: Any) -> Rule:
    globs = (parse_tool_pattern(tools),) if tools else ()
    return Rule(name, Action(action), tools=globs, when=compile_condition(when) if when else None, **more)


def call(*, pinned: bool = True, **arguments: Any) -> Call:
    return Call(ToolFacts("pay", "refund", pinned=pinned), arguments, Caller("ci", frozenset({"bots"})), NOW)


def seen(text: str, **arguments: Any) -> list[str]:
    return ["  " * part.depth + str(part) for part in see(compile_condition(text), call(**arguments))]


def test_every_part_of_a_condition_is_shown_with_the_values_it_saw() -> None:
    assert seen("!has(args.amount) || args.amount > 100 && tool.name == 'refund'", amount=50) == [
        '!has(args.amount) || args.amount > 100 && tool.name == "refund": false',
        "  !has(args.amount): false (args.amount is 50)",
        '  args.amount > 100 && tool.name == "refund": false',
        "    args.amount > 100: false (args.amount is 50)",
        '    tool.name == "refund": true (tool.name is "refund")',
    ]


def test_what_is_missing_and_what_fails_is_said() -> None:
    (whole,) = seen("args.amount > 100")

    assert whole.startswith("args.amount > 100: cannot be evaluated: ")
    assert whole.endswith("(args.amount is not given)")


def test_a_macro_shows_what_it_went_through_and_not_its_own_variable() -> None:
    assert seen("args.to.exists(x, x.endsWith(args.end))", to=["a@b", "c@d"], end="d") == [
        'args.to.exists(x, x.endsWith(args.end)): true (args.to is ["a@b", "c@d"]; args.end is "d")'
    ]


def test_long_values_are_cut_and_invisible_ones_are_escaped() -> None:
    [long] = seen("args.note == 'x'", note="y" * 5000)
    [hidden] = seen("args.note == 'x'", note="a\u202eb\x1b[31m\u200b")

    assert len(long) < MOST_CHARS + 100
    assert "(5002 characters)" in long
    assert 'args.note is "a\\u202eb\\u001b[31m\\u200b"' in hidden


def test_a_huge_condition_is_shown_in_part() -> None:
    assert len(seen(" || ".join(f"args.n == {number}" for number in range(90)), n=5)) == 40


POLICY = compile_policy(
    [
        Layer("org", (rule("other", "deny", "docs__*"), rule("money", "ask", "pay__*", approvers=frozenset({"fin"})))),
        Layer(
            "team",
            (
                rule("dev", "allow", "pay__*", agents=(parse_name_pattern("dev-*"),)),
                rule("small", "allow", "pay__refund", when="args.amount < 10"),
                rule("odd", "allow", "pay__refund", when="args.nothing > 1"),
                rule("big", "ask", "pay__refund", when="args.amount > 100", required_approvals=2),
                rule("rest", "allow", "pay__refund"),
            ),
        ),
        Layer("own", (rule("mine", "allow"),)),
        Layer("empty"),
    ]
)


def test_every_rule_of_every_layer_has_its_outcome() -> None:
    told = explain(POLICY, call(amount=150))

    assert [[(one.rule, one.outcome) for one in layer.rules] for layer in told.layers] == [
        [("other", Outcome.OTHER_TARGET), ("money", Outcome.SPEAKS)],
        [
            ("dev", Outcome.OTHER_AGENT),
            ("small", Outcome.FALSE),
            ("odd", Outcome.FAILED),
            ("big", Outcome.SPEAKS),
            ("rest", Outcome.NOT_REACHED),
        ],
        [("mine", Outcome.SPEAKS)],
        [],
    ]
    assert [layer.part for layer in told.layers] == [Part.DECIDES, Part.DECIDES, Part.OVERRULED, Part.ABSTAINS]
    words = {one.rule: one.words for layer in told.layers for one in layer.rules}
    assert words["other"] == "is about `docs__*`"
    assert words["dev"] == "is about agents `dev-*`, not `ci`"
    assert "an error never allows" in words["odd"]
    assert told.decided == "ask is stricter than allow; across layers the strictest wins"


def test_each_term_names_the_rules_that_it_is_from() -> None:
    told = explain(POLICY, call(amount=150))

    assert {one.term: (one.words, [str(by.rule) for by in one.said_by]) for one in told.terms} == {
        "approvers": ("fin", ["money"]),
        "required_approvals": ("2", ["big"]),
        "expires_after": ("24h", []),
        "decisions": ("approve, edit, reject, respond", []),
        "execute": ("claimed: it runs when the agent comes back for it", []),
        "grants": ("no", []),
    }
    assert told.grant == "none can help: `team: big` wants a decision each time"


def test_a_term_that_holds_because_a_rule_says_nothing_is_nobodys() -> None:
    patient = Layer("a", (rule("slow", "ask", expires_after=timedelta(days=7), execute="on_decision", grants=True),))
    told = explain(compile_policy([patient, Layer("b", (rule("plain", "ask"),))]), call())

    assert {one.term: (one.words.split(":")[0], [by.rule for by in one.said_by]) for one in told.terms[2:]} == {
        "expires_after": ("24h", []),
        "decisions": ("approve, edit, reject, respond", []),
        "execute": ("claimed", []),
        "grants": ("yes", ["slow"]),
    }


@pytest.mark.parametrize(
    ("policy", "pinned", "decided", "pins"),
    [
        (compile_policy([]), True, "no file has a `default`", "counts as the pinned one"),
        (compile_policy([Layer("f", (), Action.DENY)]), True, "the strictest `default` counts: deny", "pinned one"),
        (compile_policy([Layer("f", (rule("a", "allow"),))]), False, "not the one that is pinned", "at least ask"),
        (
            compile_policy([Layer("f", (rule("a", "allow"),), pins=PinMode.STRICT)]),
            False,
            "`pins: strict` hides such a tool",
            "hidden until somebody accepts it",
        ),
        (compile_policy([Layer("f", (rule("a", "allow"),), pins=PinMode.OFF)]), False, "only one", "not compared"),
    ],
)
def test_defaults_and_pins_are_named_where_they_decide(policy: Policy, pinned: bool, decided: str, pins: str) -> None:
    told = explain(policy, call(pinned=pinned))

    assert decided in told.decided
    assert told.pins is not None
    assert pins in told.pins


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Layer("f", (rule("a", "allow"),))], "none is needed"),
        ([Layer("f", (rule("a", "deny"),))], "never deny"),
        ([Layer("f", (rule("a", "ask"),))], "would let it run without asking"),
        ([Layer("f", (rule("a", "ask", grants=False),))], "wants a decision each time"),
    ],
)
def test_what_a_standing_grant_could_do_is_said(layers: list[Layer], words: str) -> None:
    assert words in str(explain(compile_policy(layers), call()).grant)


def test_what_is_no_tool_is_explained_too() -> None:
    hide = Rule(
        "etc",
        Action.HIDE,
        kind=Kind.RESOURCE,
        targets=(parse_target("files__file:///etc/*", Kind.RESOURCE),),
        when=compile_condition("resource.uri.endsWith('passwd')", Kind.RESOURCE),
    )
    policy = compile_policy([Layer("f", (rule("tools", "deny"), hide))])

    told = explain(policy, Access(Kind.RESOURCE, "files", "file:///etc/passwd", Caller("ci"), NOW))
    other = explain(policy, Access(Kind.PROMPT, "files", "sum", Caller("ci"), NOW))

    assert told.verdict.action is Action.HIDE
    assert [one.outcome for one in told.layers[0].rules] == [Outcome.OTHER_KIND, Outcome.SPEAKS]
    assert told.layers[0].rules[1].seen[0].values == ('resource.uri is "file:///etc/passwd"',)
    assert (told.pins, told.grant) == (None, None)
    assert other.decided == "no rule of any layer is about this, and what no rule is about passes"


def test_the_json_has_what_the_text_has() -> None:
    told = explanation_json(explain(POLICY, call(amount=150)), call(amount=150))

    assert told["arguments"] == {"amount": 150}
    assert told["layers"][1]["rules"][3]["condition"] == [
        {"part": "args.amount > 100", "value": "true", "values": ["args.amount is 150"], "depth": 0}
    ]
    assert told["terms_from"][1]["said_by"] == [{"layer": "team", "rule": "big"}]
