"""Silence of the loosening check is a promise about every call: tried here on policies nobody would write by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.policy import (
    Action,
    Call,
    Caller,
    Layer,
    NamePattern,
    PinMode,
    Policy,
    Rule,
    Terms,
    ToolFacts,
    ToolPattern,
    Verdict,
    compile_policy,
)
from holdshort.policy.cel import compile_condition
from holdshort.policy.loosening import loosenings
from policy.samples import NOW

ATOMS = [
    "args.n > 10",
    "args.n >= 10",
    "args.n < 20.5",
    "args.n == 15",
    "args.n in [1, 15, 30]",
    "has(args.n)",
    "args.s == 'ab'",
    "args.s.startsWith('a')",
    "args.s.endsWith('b')",
    "args.s.contains('ab')",
    "args.s in ['a', 'ab', 'b']",
    "'x' in args.l",
    "'y' in args.l",
    "'n' in args",
    "size(args.l) > 1",
    "args.m.k == true",
    "has(args.m.k)",
    "args.flag",
    "tool.read_only",
    "tool.destructive",
    "tool.pinned",
    "tool.name.startsWith('d')",
    "tool.server == 'git'",
    "tool.title == 'T'",
    "caller.agent == 'ana'",
    "caller.agent.startsWith('a')",
    "'ci' in caller.groups",
    "caller.client == 'cursor'",
    "args.s.matches('^a+$')",
    "args.n + 1 > 11",
    "args.l.exists(x, x == 'x')",
    "now.getHours() > 12",
]
CONDITIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=3,
)
SERVERS = st.sampled_from(["git", "github", "files"])
NAMES = st.text("dexl_", min_size=1, max_size=4) | st.sampled_from(["delete", "dexl", "push"])
GLOBS = st.sampled_from(["*", "d*", "*x", "?", "??", "*e*", "delete", "push", "d*l", "*_*"])
PATTERNS = st.builds(ToolPattern, st.sampled_from(["*", "git*", "git", "files", "*h*"]), GLOBS)
AGENTS = st.sampled_from(["*", "ci*", "*i", "ana", "ci", "?na", "local"])
WORDS = st.sampled_from(["ana", "ci", "cia", "bi", "local", "una", "x"])
PEOPLE = st.frozensets(st.sampled_from(["ana", "bob", "finance"]), min_size=1)
WHENS = st.none() | st.builds(compile_condition, CONDITIONS)
RULES = st.builds(
    Rule,
    st.from_regex(r"[a-z]{1,4}", fullmatch=True),
    st.sampled_from(list(Action)),
    tools=st.lists(PATTERNS, max_size=2).map(tuple),
    except_tools=st.lists(PATTERNS, max_size=1).map(tuple),
    agents=st.lists(st.builds(NamePattern, AGENTS), max_size=2).map(tuple),
    when=WHENS,
    approvers=st.none() | PEOPLE,
    required_approvals=st.none() | st.integers(1, 3),
    expires_after=st.none() | st.sampled_from([timedelta(hours=1), timedelta(days=2)]),
    decisions=st.none() | st.frozensets(st.sampled_from(["approve", "edit", "reject", "respond"])),
    execute=st.sampled_from([None, "claimed", "on_decision"]),
    grants=st.sampled_from([None, True, False]),
)
DEFAULTS = st.sampled_from([None, Action.ALLOW, Action.ASK, Action.DENY])
PINS = st.sampled_from([None, None, *PinMode])
LAYERS = st.lists(
    st.builds(Layer, st.sampled_from("abcd"), st.lists(RULES, max_size=4).map(tuple), DEFAULTS, PINS), max_size=3
)
NUMBERS = st.sampled_from([0, 1, 9, 10, 10.5, 11, 15, 15.0, 20, 20.5, 21, 30, -5, 2**63, 1e300])
VALUES = NUMBERS | st.booleans() | st.none() | st.text("abx", max_size=3) | st.lists(st.sampled_from("xyz"), max_size=3)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "n": NUMBERS | VALUES,
        "s": st.text("abx", max_size=3) | VALUES,
        "l": st.lists(st.sampled_from(["x", "y", 1, 2**63]), max_size=3) | VALUES,
        "m": st.dictionaries(st.sampled_from(["k", "x"]), VALUES, max_size=2) | VALUES,
        "flag": st.booleans() | VALUES,
    },
)
CALLS = st.builds(
    Call,
    st.builds(
        ToolFacts,
        SERVERS,
        NAMES,
        title=st.sampled_from([None, "T", "U"]),
        read_only=st.booleans(),
        destructive=st.booleans(),
        pinned=st.booleans(),
    ),
    ARGUMENTS,
    st.builds(Caller, WORDS, st.frozensets(WORDS, max_size=2), st.sampled_from([None, "cursor", "x"])),
    st.sampled_from([NOW, NOW.replace(hour=23)]),
)


def permits_more(old: Verdict, new: Verdict) -> bool:
    """The comparison, written a second time: by what an approver could do, where both ask."""
    if old.action is not new.action:
        return new.action.strictness < old.action.strictness
    return old.action is Action.ASK and terms_permit_more(old.terms, new.terms)


def terms_permit_more(old: Terms, new: Terms) -> bool:
    people = [frozenset(some) for some in ([], ["ana"], ["bob"], ["finance"], ["ana", "bob"], ["ana", "finance"])]
    people += [frozenset(["bob", "finance"]), frozenset(["ana", "bob", "finance"])]
    return (
        any(new.eligible("nobody", groups) and not old.eligible("nobody", groups) for groups in people)
        or new.required_approvals < old.required_approvals
        or new.expires_after > old.expires_after
        or bool(new.decisions - old.decisions)
        or (new.execute, old.execute) == ("on_decision", "claimed")
        or (new.grants and not old.grants)
    )


def loosened_by(old: Policy, new: Policy, calls: Sequence[Call]) -> list[Call]:
    found: list[Call] = []
    for call in calls:
        before, after = old.decide(call), new.decide(call)
        pin_alone = not call.tool.pinned and old.decide(replace(call, tool=replace(call.tool, pinned=True))).action
        if pin_alone is Action.ALLOW and before.action is after.action:
            continue  # the pin asks, on no terms that a rule could have promised
        if permits_more(before, after) or (old.hides(call.tool, call.caller) and not new.hides(call.tool, call.caller)):
            found.append(call)
    return found


@st.composite
def edited(draw: st.DrawFn, layers: list[Layer]) -> list[Layer]:
    """A policy a few edits away from another: that is how policies change."""
    changed = list(layers)
    for _ in range(draw(st.integers(1, 2))):
        if not changed:
            return draw(LAYERS)
        at = draw(st.integers(0, len(changed) - 1))
        layer, rules = changed[at], list(changed[at].rules)
        edit: Any = draw(st.sampled_from(["add", "drop", "swap", "replace", "when", "action", "layer", "default"]))
        where = draw(st.integers(0, max(0, len(rules) - 1)))
        if edit == "layer":
            del changed[at]
            continue
        if edit == "default":
            changed[at] = replace(layer, default=draw(DEFAULTS), pins=draw(PINS))
            continue
        if edit == "add":
            rules.insert(where, draw(RULES))
        elif not rules:
            continue
        elif edit == "drop":
            del rules[where]
        elif edit == "swap":
            rules[where], rules[-1] = rules[-1], rules[where]
        elif edit == "replace":
            rules[where] = draw(RULES)
        elif edit == "when":
            rules[where] = replace(rules[where], when=draw(WHENS))
        else:
            rules[where] = replace(rules[where], action=draw(st.sampled_from(list(Action))))
        changed[at] = replace(layer, rules=tuple(rules))
    return changed


@settings(max_examples=150, deadline=None)
@given(st.data(), LAYERS, st.lists(CALLS, min_size=20, max_size=30))
def test_where_nothing_is_reported_no_call_goes_further(
    data: st.DataObject, layers: list[Layer], calls: list[Call]
) -> None:
    old, new = compile_policy(layers), compile_policy(data.draw(edited(layers)))

    for before, after in ((old, new), (new, old)):
        if loosened_by(before, after, calls):
            assert loosenings(before, after)


@settings(max_examples=80, deadline=None)
@given(LAYERS)
def test_a_policy_is_as_strict_as_itself(layers: list[Layer]) -> None:
    assert loosenings(compile_policy(layers), compile_policy(layers)) == ()


@settings(max_examples=100, deadline=None)
@given(LAYERS, LAYERS)
def test_every_example_shows_what_it_is_there_for(before: list[Layer], after: list[Layer]) -> None:
    old, new = compile_policy(before), compile_policy(after)

    for found in loosenings(old, new):
        if found.witness is not None and isinstance(found.witness.call, Call):
            assert loosened_by(old, new, [found.witness.call])
