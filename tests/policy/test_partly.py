"""Verdicts on calls of which not everything is known: the right one, or none. Never a wrong one."""

from __future__ import annotations

import copy
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    compile_condition,
    compile_policy,
    parse_name_pattern,
    parse_target,
    parse_tool_pattern,
)
from holdshort.policy.partly import judge
from holdshort.policy.recorded import Gap, Partly, call_record, partly_access, partly_call

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
FACTS = {"title": None, "read_only": False, "destructive": True, "idempotent": False, "open_world": True}
CALLER = {"groups": ["ci"], "client": "ide", "client_version": "1"}


def rule(name: str, action: str, when: str | None = None, agents: str = "") -> Rule:
    return Rule(
        name,
        Action(action),
        tools=(parse_tool_pattern("pay__*"),),
        agents=(parse_name_pattern(agents),) if agents else (),
        when=None if when is None else compile_condition(when),
    )


def policy(*rules: Rule, pins: PinMode | None = None) -> Policy:
    return compile_policy([Layer("team.yaml", rules, Action.ASK, pins)])


def asked(missing: Gap = Gap.ARGUMENTS, **kept: Any) -> Partly:
    groups = kept.pop("groups", None)
    return partly_call("pay", "refund", "bot", NOW, kept, missing=missing, pinned=True, groups=groups)


def whole(**more: Any) -> dict[str, Any]:
    return {"arguments": {}, "tool": {**FACTS, "pinned": True}, "caller": CALLER, **more}


HIDDEN = whole(arguments={"password": None}, redacted=[["password"]])
NOBODY = {"arguments": {}, "tool": {**FACTS, "pinned": True}}
NO_ARGUMENTS = {"tool": {**FACTS, "pinned": True}, "caller": CALLER}


@pytest.mark.parametrize(
    ("when", "kept", "possible", "gaps"),
    [
        ("args.amount > 100", whole(arguments={"amount": 150}), "deny", ()),
        ("args.amount > 100", whole(arguments={"amount": 1}), "ask", ()),
        ("args.amount > 100", NO_ARGUMENTS, "ask deny", [Gap.ARGUMENTS]),
        ("tool.read_only && args.amount > 1", {**whole(), "arguments": {}}, "ask", ()),
        ("tool.read_only && args.x > 1", NO_ARGUMENTS, "ask", ()),
        ("tool.read_only", {"arguments": {}, "caller": CALLER}, "ask deny", [Gap.FACTS]),
        ("tool.read_only == true", {"arguments": {}, "caller": CALLER}, "ask deny", [Gap.FACTS]),
        ("caller.client == 'ide'", NOBODY, "ask deny", [Gap.CLIENT]),
        ("caller.client in ['ide']", NOBODY, "ask deny", [Gap.CLIENT]),
        ("'ci' in caller.groups", NOBODY, "ask deny", [Gap.GROUPS]),
        ("args.password == 'x'", HIDDEN, "ask deny", [Gap.REDACTED]),
        ("has(args.password)", HIDDEN, "deny", ()),
        ("args.other == 'x'", whole(arguments={"password": None, "other": "x"}, redacted=[["password"]]), "deny", ()),
        ("args == {'password': 'x'}", HIDDEN, "ask deny", [Gap.REDACTED]),
        ("type(args.password) == string", HIDDEN, "ask deny", [Gap.REDACTED]),
        ("'x' in args.all", whole(arguments={"all": ["y", None]}, redacted=[["all", 1]]), "ask deny", [Gap.REDACTED]),
        ("args.all.exists(a, a == 'y')", whole(arguments={"all": [None, "y"]}, redacted=[["all", 0]]), "deny", ()),
        ("args.x > 1", HIDDEN, "deny", ()),
    ],
)  # fmt: skip
def test_a_condition_is_told_where_it_needs_nothing_that_is_missing(
    when: str, kept: dict[str, Any], possible: str, gaps: list[Gap]
) -> None:
    """The last line: a condition that fails on what is known counts as true for a deny, as ever."""
    found = judge(policy(rule("no", "deny", when)), asked(**copy.deepcopy(kept)))

    assert " ".join(sorted(found.possible)) == possible
    assert found.gaps >= set(gaps)
    assert (found.verdict is None) == (" " in possible)
    if found.verdict is None:
        assert [because.rule for because in found.because] == ["no"]


def test_layers_that_end_the_same_way_whatever_is_missing_are_told() -> None:
    strict = Layer("org.yaml", (rule("never", "deny"),))
    loose = Layer("team.yaml", (rule("small", "allow", "args.amount < 5"), rule("rest", "ask")))

    found = judge(compile_policy([strict, loose]), asked())

    assert found.verdict is not None
    assert (found.verdict.action, found.exact) == (Action.DENY, False)
    assert [because.rule for because in found.verdict.because] == ["never"]


def test_groups_that_are_not_known_leave_rules_about_groups_open() -> None:
    rules = policy(rule("ci", "allow", agents="ci"), rule("rest", "ask"))

    assert judge(rules, asked()).possible == {Action.ALLOW, Action.ASK}
    assert judge(rules, asked()).gaps == {Gap.GROUPS}
    assert judge(rules, asked(groups=frozenset({"ci"}))).possible == {Action.ALLOW}
    assert judge(rules, asked(groups=frozenset())).possible == {Action.ASK}
    assert judge(policy(rule("bot", "allow", agents="bot")), asked()).possible == {Action.ALLOW}


@pytest.mark.parametrize(
    ("mode", "action", "possible"),
    [
        (PinMode.FIRST_USE, "allow", {Action.ALLOW, Action.ASK}),
        (PinMode.FIRST_USE, "ask", {Action.ASK}),
        (PinMode.FIRST_USE, "deny", {Action.DENY}),
        (PinMode.STRICT, "allow", {Action.ALLOW, Action.HIDE}),
        (PinMode.OFF, "allow", {Action.ALLOW}),
    ],
)
def test_a_pin_that_is_not_known_is_taken_both_ways(mode: PinMode, action: str, possible: set[Action]) -> None:
    call = partly_call("pay", "refund", "bot", NOW, {"arguments": {}}, missing=Gap.ARGUMENTS, groups=frozenset())

    assert judge(policy(rule("r", action), pins=mode), call).possible == possible


def resource(name: str, *, whole: bool) -> Partly:
    kept = {"caller": CALLER}
    return partly_access(Kind.RESOURCE, "files", name, "bot", NOW, kept, missing=Gap.ARGUMENTS, whole=whole)


def test_a_uri_that_was_cut_leaves_rules_about_uris_open() -> None:
    target = parse_target("files__file:///etc/*", Kind.RESOURCE)
    one = Rule("etc", Action.DENY, kind=Kind.RESOURCE, targets=(target,))
    every = Rule("all", Action.DENY, kind=Kind.RESOURCE, targets=(parse_target("files__*", Kind.RESOURCE),))

    assert judge(policy(one), resource("file:///data/x", whole=True)).possible == {Action.ALLOW}
    assert judge(policy(one), resource("file:///data/x?", whole=False)).possible == {Action.ALLOW, Action.DENY}
    assert judge(policy(one), resource("file:///etc/x?", whole=False)).gaps == {Gap.URI}
    assert judge(policy(every), resource("file:///etc/x?", whole=False)).possible == {Action.DENY}
    assert judge(policy(), resource("file:///etc/x?", whole=False)).possible == {Action.ALLOW}


CONDITIONS = [
    "args.a > 1",
    "has(args.a) && args.a == args.b",
    "args.b == 'x' || tool.read_only",
    "!tool.read_only && args.b != 'y'",
    "tool.read_only ? args.a > 0 : caller.client == 'ide'",
    "args.l.all(x, x > 0)",
    "args.l.exists(x, x == args.a)",
    "args.l.exists_one(x, x == 1)",
    "args.a in args.l",
    "args == {'a': 1}",
    "'ci' in caller.groups",
    "size(args.l) > 1",
    "args.l == [1, 2]",
    "caller.client != null && caller.client.startsWith('i')",
    "type(args.a) == int || args.a == null",
    "caller.groups.exists(g, g == args.b)",
    "!(args.a < 2) && !(tool.open_world && args.b == 'x')",
]
VALUES = st.sampled_from([0, 1, 2, "x", "y", None, True])
ARGUMENTS = st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": VALUES, "l": st.lists(VALUES, max_size=3), "m": st.none()}
)
RULES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "ask", "deny", "hide"]),
        st.sampled_from([None, *CONDITIONS]),
        st.sampled_from(["", "ci", "bot"]),
    ),
    max_size=4,
)


@settings(max_examples=600, deadline=None)
@given(
    layers=st.lists(RULES, min_size=1, max_size=3),
    arguments=ARGUMENTS,
    read_only=st.booleans(),
    groups=st.sampled_from([frozenset[str](), frozenset({"ci"})]),
    client=st.sampled_from([None, "ide", "other"]),
    pinned=st.booleans(),
    missing=st.sets(st.sampled_from(["arguments", "tool", "caller", "pin", "a", "b", "l"])),
    mode=st.sampled_from(list(PinMode)),
)
def test_whatever_is_missing_the_true_verdict_is_among_the_possible_ones(
    layers: list[list[tuple[str, str | None, str]]],
    arguments: dict[str, Any],
    read_only: bool,
    groups: frozenset[str],
    client: str | None,
    pinned: bool,
    missing: set[str],
    mode: PinMode,
) -> None:
    numbers = itertools.count()
    built = [
        Layer(f"{at}.yaml", tuple(rule(f"r{next(numbers)}", *words) for words in rules), Action.ASK, mode)
        for at, rules in enumerate(layers)
    ]
    under = compile_policy(built)
    call = Call(
        ToolFacts("pay", "refund", read_only=read_only, pinned=pinned), arguments, Caller("bot", groups, client), NOW
    )
    kept = {**call_record(call, pins_counted=True), "arguments": copy.deepcopy(arguments)}
    redacted = [[name] for name in ("a", "b", "l") if name in missing and name in arguments]
    for (name,) in redacted:
        kept["arguments"][name] = None
    kept["redacted"] = redacted
    for part in {"arguments", "tool", "caller"} & missing:
        del kept[part]
    known = None if "pin" in missing and "tool" in missing else pinned

    found = judge(under, partly_call("pay", "refund", "bot", NOW, kept, missing=Gap.ARGUMENTS, pinned=known))

    truth = under.decide(call)
    assert truth.action in found.possible
    if found.verdict is not None:
        assert found.verdict.action is truth.action
        if found.exact:
            assert (found.verdict.because, found.verdict.terms) == (truth.because, truth.terms)
    if not missing:
        assert found.verdict == truth


def test_an_access_that_is_known_is_judged_as_ever() -> None:
    target = parse_target("files__file:///etc/*", Kind.RESOURCE)
    rules = policy(Rule("etc", Action.HIDE, kind=Kind.RESOURCE, targets=(target,)))
    found = judge(rules, resource("file:///etc/passwd", whole=True))
    caller = Caller("bot", frozenset({"ci"}), "ide", "1")

    assert found.verdict == rules.access(Access(Kind.RESOURCE, "files", "file:///etc/passwd", caller, NOW))
