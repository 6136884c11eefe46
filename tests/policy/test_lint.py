"""Lint finds what is planted, at its place, and says nothing of the same file without it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.config import load_config
from holdshort.policy import (
    Action,
    Call,
    Caller,
    Layer,
    Rule,
    ToolFacts,
    compile_policy,
    parse_name_pattern,
    parse_tool_pattern,
)
from holdshort.policy.cel import BadCondition, ConditionFailed, compile_condition
from holdshort.policy.facts import facts_of
from holdshort.policy.lint import CODES, Approver, Finding, Surroundings, lint

SERVERS = "mcpServers: {pay: {command: x}, docs: {command: x}}\n"
PEOPLE = """\
agents: [{name: ci, token: token-of-ci-that-is-long, groups: [bots]}]
approvers:
  - {name: ana, token: token-of-ana-that-is-long, groups: [finance]}
  - {name: bob, token: token-of-bob-that-is-long, groups: [ops]}
"""
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}, "to": {"type": "string"}, "force": {"type": "boolean"}},
    "additionalProperties": False,
}
OTHER = {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": False}


def look(folder: Path, team: str, *, org: str = "", more: str = "") -> list[tuple[str, str, str | None]]:
    """Every finding as (code, place, rule), of a configuration with these layers and two servers that list tools."""
    return [(one.code, place_of(one), one.rule) for one in findings(folder, team, org=org, more=more)]


def place_of(one: Finding) -> str:
    return f"{Path(one.place.file).name}:{one.place.line}:{one.place.column}" if one.place else ""


def findings(folder: Path, team: str, *, org: str = "", more: str = "") -> tuple[Finding, ...]:
    (folder / "team.yaml").write_text(team)
    layers = ["team.yaml"]
    if org:
        (folder / "org.yaml").write_text(org)
        layers.insert(0, "org.yaml")
    (folder / "holdshort.yaml").write_text(f"{SERVERS}{PEOPLE}policy: [{', '.join(layers)}]\n{more}")
    config = load_config(folder / "holdshort.yaml", {})
    tools = {
        "pay": {"refund": SCHEMA, "get_balance": SCHEMA},
        "docs": {"read_page": OTHER, "write_page": OTHER},
    }
    around = Surroundings(
        frozenset(server.label for server in config.servers),
        {agent.name: agent.groups for agent in config.agents},
        tuple(Approver(each.name, each.groups) for each in config.approvers),
        {
            server: {name: (facts_of(server, {"name": name}), schema) for name, schema in each.items()}
            for server, each in tools.items()
        },
    )
    return lint(config.policy, around)


@dataclass(frozen=True)
class Planted:
    """A fault, and the same file without it."""

    name: str
    team: str
    found: tuple[str, str, str | None]
    clean: str
    org: str = ""
    more: str = ""
    words: str = ""
    others: tuple[str, ...] = field(default=())


def rules(*lines: str, top: str = "") -> str:
    return f"{top}rules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


PLANTED = [
    Planted(
        "a server that does not exist",
        rules("id: a, tools: pay__refund, action: ask", "id: b, tools: pya__refund, action: deny"),
        ("dead", "team.yaml:3:5", "b"),
        rules("id: a, tools: pay__refund, action: ask", "id: b, tools: docs__read_page, action: deny"),
        words="did you mean `pay`?",
    ),
    Planted(
        "a tool that no server lists",
        rules("id: a, tools: pay__refnd, action: ask"),
        ("dead", "team.yaml:2:5", "a"),
        rules("id: a, tools: pay__refund, action: ask"),
        words="did you mean `refund`?",
    ),
    Planted(
        "a glob that no tool's name can match",
        rules('id: a, tools: "docs__read/*", action: deny'),
        ("dead", "team.yaml:2:5", "a"),
        rules('id: a, tools: "docs__read_*", action: deny'),
    ),
    Planted(
        "an agent that nobody is",
        rules('id: a, tools: "pay__*", agents: "cd-*", action: deny'),
        ("dead", "team.yaml:2:5", "a"),
        rules('id: a, tools: "pay__*", agents: "c*", action: deny'),
    ),
    Planted(
        "one glob of several",
        rules('id: a, tools: [pay__refund, "pay__delete_*"], action: ask'),
        ("dead-glob", "team.yaml:2:5", "a"),
        rules('id: a, tools: [pay__refund, "pay__get_*"], action: ask'),
    ),
    Planted(
        "an exception after the catch-all",
        rules('id: all, tools: "pay__*", action: ask', "id: but, tools: pay__get_balance, action: allow"),
        ("shadowed", "team.yaml:3:5", "but"),
        rules("id: but, tools: pay__get_balance, action: allow", 'id: all, tools: "pay__*", action: ask'),
        others=("team.yaml:2:5",),
    ),
    Planted(
        "a rule that two earlier ones cover together",
        rules(
            'id: one, tools: "pay__*", action: ask',
            'id: two, tools: "d?cs__*", action: deny',
            'id: late, tools: "*", action: hide',
        ),
        ("shadowed", "team.yaml:4:5", "late"),
        rules(
            'id: one, tools: "pay__*", action: ask',
            'id: two, tools: "d?cs__r*", action: deny',
            'id: late, tools: "*", action: hide',
        ),
        others=("team.yaml:2:5", "team.yaml:3:5"),
    ),
    Planted(
        "a rule behind the same condition",
        rules(
            'id: big, tools: pay__refund, when: "args.amount > 100", action: ask',
            'id: late, tools: pay__refund, when: "args.amount  >  100", action: deny',
        ),
        ("shadowed", "team.yaml:3:5", "late"),
        rules(
            'id: big, tools: pay__refund, when: "args.amount > 1000", action: ask',
            'id: late, tools: pay__refund, when: "args.amount > 100", action: deny',
        ),
    ),
    Planted(
        "a rule behind a wider condition",
        rules(
            'id: big, tools: pay__refund, when: "args.force || args.amount > 100", action: ask',
            'id: late, tools: pay__refund, when: "args.amount > 100", action: deny',
        ),
        ("shadowed", "team.yaml:3:5", "late"),
        rules(
            'id: big, tools: pay__refund, when: "args.force && args.amount > 100", action: ask',
            'id: late, tools: pay__refund, when: "args.amount > 100", action: deny',
        ),
    ),
    Planted(
        "a rule behind a condition and its opposite",
        rules(
            'id: yes, tools: pay__refund, when: "args.force", action: ask',
            'id: no, tools: pay__refund, when: "!args.force", action: allow',
            "id: late, tools: pay__refund, action: deny",
        ),
        ("shadowed", "team.yaml:4:5", "late"),
        rules(
            'id: yes, tools: pay__refund, when: "args.force", action: allow',
            'id: no, tools: pay__refund, when: "!args.force", action: allow',
            "id: late, tools: pay__refund, action: deny",
        ),
    ),
    Planted(
        "an allow that another layer always overrules",
        rules("id: mine, tools: pay__refund, action: allow"),
        ("overruled", "team.yaml:2:5", "mine"),
        rules("id: mine, tools: pay__get_balance, action: allow"),
        org=rules("id: never, tools: pay__refund, action: hide"),
        others=("org.yaml:2:5",),
    ),
    Planted(
        "two rules that cross",
        rules('id: one, tools: "*__get_*", action: allow', 'id: two, tools: "pay__*", action: deny'),
        ("overlap", "team.yaml:3:5", "two"),
        rules('id: one, tools: "pay__get_*", action: allow', 'id: two, tools: "pay__*", action: deny'),
        others=("team.yaml:2:5",),
    ),
    Planted(
        "a condition that is always true",
        rules('id: a, tools: pay__refund, when: \'args.to != "x" || args.to != "y"\', action: deny'),
        ("always-true", "team.yaml:2:55", "a"),
        rules('id: a, tools: pay__refund, when: \'args.to != "x" && args.to != "y"\', action: deny'),
    ),
    Planted(
        "a condition that is never true",
        rules('id: a, tools: pay__refund, when: "args.amount > 100 && args.amount < 50", action: ask'),
        ("always-false", "team.yaml:2:58", "a"),
        rules('id: a, tools: pay__refund, when: "args.amount > 50 && args.amount < 100", action: ask'),
    ),
    Planted(
        "a misspelt argument",
        rules('id: a, tools: pay__refund, when: "args.amuont > 100", action: ask'),
        ("ill-typed", "team.yaml:2:45", "a"),
        rules('id: a, tools: pay__refund, when: "args.amount > 100", action: ask'),
        words="amount",
    ),
    Planted(
        "a number compared with text",
        rules("id: a, tools: pay__refund, when: 'args.amount > \"a\"', action: ask"),
        ("ill-typed", "team.yaml:2:52", "a"),
        rules('id: a, tools: pay__refund, when: "args.amount > 1", action: ask'),
    ),
    Planted(
        "an argument that only some of the tools have",
        rules('id: a, tools: [pay__refund, docs__read_page], when: "args.amount > 100", action: ask'),
        ("ill-typed-some", "team.yaml:2:64", "a"),
        rules('id: a, tools: [pay__refund, pay__get_balance], when: "args.amount > 100", action: ask'),
    ),
    Planted(
        "a default that no call reaches",
        rules('id: a, tools: "*", action: ask', top="default: deny\n"),
        ("default-unused", "", None),
        rules('id: a, tools: "pay__*", action: ask', top="default: deny\n"),
    ),
    Planted(
        "a default that a stricter one overrules",
        rules('id: a, tools: "pay__*", action: ask', top="default: ask\n"),
        ("default-unused", "", None),
        rules('id: a, tools: "pay__*", action: ask', top="default: deny\n"),
        org=rules('id: b, tools: "docs__*", action: ask', top="default: deny\n"),
    ),
    Planted(
        "people of whom none may decide for both layers",
        rules("id: a, tools: pay__refund, action: ask, approvers: [ops]"),
        ("nobody-can-decide", "team.yaml:2:5", "a"),
        rules("id: a, tools: pay__refund, action: ask, approvers: [ops, ana]"),
        org=rules("id: b, tools: 'pay__*', action: ask, approvers: [finance]"),
        others=("org.yaml:2:5",),
    ),
    Planted(
        "an ask that can only be refused",
        rules("id: a, tools: pay__refund, action: ask, decisions: [reject]"),
        ("only-reject", "team.yaml:2:5", "a"),
        rules("id: a, tools: pay__refund, action: ask, decisions: [approve, reject]"),
    ),
    Planted(
        "a grant in the place of a quorum",
        rules("id: a, tools: pay__refund, action: ask, required_approvals: 2, grants: true"),
        ("grants-quorum", "team.yaml:2:5", "a"),
        rules("id: a, tools: pay__refund, action: ask, required_approvals: 2"),
    ),
    Planted(
        "grants that hold anyway",
        rules("id: a, tools: pay__refund, action: ask, grants: true"),
        ("grants-usual", "team.yaml:2:5", "a"),
        rules("id: a, tools: pay__refund, action: ask, grants: false"),
    ),
    Planted(
        "a condition on one spelling of a URI",
        "rules:\n  - {id: no, resources: 'docs__*', when: 'resource.uri.startsWith(\"file:///etc\")', action: deny}\n",
        ("spellings", "team.yaml:2:43", "no"),
        "rules:\n  - {id: no, resources: 'docs__*', when: 'resource.server == \"docs\"', action: deny}\n",
        words="is not stopped",
    ),
    Planted(
        "an exception for one spelling of a URI",
        "rules:\n  - {id: so, resources: 'docs__*', when: '!(resource.uri == \"x:y\")', action: allow}\n",
        ("spellings", "team.yaml:2:45", "so"),
        "rules:\n  - {id: so, resources: 'docs__*', when: 'caller.agent == \"a\"', action: allow}\n",
        words="may mean another resource",
    ),
    Planted(
        "a resource behind a wider rule",
        "rules:\n"
        '  - {id: all, resources: "docs__*", action: deny}\n'
        '  - {id: but, resources: "docs__file:///tmp/*", action: allow}\n',
        ("shadowed", "team.yaml:3:5", "but"),
        "rules:\n"
        '  - {id: but, resources: "docs__file:///tmp/*", action: allow}\n'
        '  - {id: all, resources: "docs__*", action: deny}\n',
    ),
    Planted(
        "a prompt behind a wider rule",
        "rules:\n"
        '  - {id: all, prompts: "docs__*", action: deny}\n'
        '  - {id: but, prompts: "docs__sum*", action: allow}\n',
        ("shadowed", "team.yaml:3:5", "but"),
        "rules:\n"
        '  - {id: but, prompts: "docs__sum*", action: allow}\n'
        '  - {id: all, prompts: "docs__*", action: deny}\n',
    ),
]
each = pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)


@each
def test_a_planted_fault_is_found_at_its_place(tmp_path: Path, planted: Planted) -> None:
    found = findings(tmp_path, planted.team, org=planted.org, more=planted.more)

    code, place, rule = planted.found
    [one] = [one for one in found if (one.code, one.rule) == (code, rule) and one.layer == "team.yaml"]
    assert place_of(one) == place
    assert planted.words in one.words
    if planted.others:
        assert tuple(f"{Path(o.place.file).name}:{o.place.line}:{o.place.column}" for o in one.others if o.place) == (
            planted.others
        )


@each
def test_the_twin_without_the_fault_is_clean(tmp_path: Path, planted: Planted) -> None:
    org = planted.org if planted.found[0] != "default-unused" else ""

    assert look(tmp_path, planted.clean, org=org, more=planted.more) == []


def test_every_code_has_a_planted_fault(tmp_path: Path) -> None:
    assert {planted.found[0] for planted in PLANTED} == set(CODES) - {"not-compared", "flagged"}


def test_what_a_person_may_not_see_in_a_definition_is_noted() -> None:
    said = {"description": "reads\u200b it"}
    around = Surroundings(
        definitions={("spy", "delete"): {"name": "delete"}, ("two", "deIete"): {"name": "deIete"}, ("spy", "a"): said}
    )

    found = lint(compile_policy([]), around)

    assert [(one.code, one.layer, one.words) for one in found] == [
        ("flagged", "", "`spy__a`: /description: 1 character that cannot be seen (U+200B)"),
        ("flagged", "", "`spy__delete`: /name: the name looks like `deIete` of server `two`"),
        ("flagged", "", "`two__deIete`: /name: the name looks like `delete` of server `spy`"),
    ]


def test_a_shorthand_key_of_a_server_overrules_too(tmp_path: Path) -> None:
    blocked = "mcpServers: {pay: {command: x, tool_filter: {blocked_tool_names: [refund]}}}\npolicy: team.yaml\n"
    (tmp_path / "holdshort.yaml").write_text(blocked)
    (tmp_path / "team.yaml").write_text(rules("id: mine, tools: pay__refund, action: allow"))
    policy = load_config(tmp_path / "holdshort.yaml", {}).policy

    [one] = lint(policy)

    assert (one.code, one.rule) == ("overruled", "mine")
    assert one.others[0].layer == "mcpServers.pay.tool_filter"


def test_too_many_globs_are_said_and_nothing_is_concluded() -> None:
    many = tuple(
        Rule(f"r{number}", Action.DENY, tools=(parse_tool_pattern(f"s__*{letter}*"),))
        for number, letter in enumerate("abcdefghijklmnopqrst")
    )
    twice = (*many, Rule("again", Action.DENY, tools=many[0].tools))

    assert [one.code for one in lint(compile_policy([Layer("f", twice)]))] == ["not-compared"]
    assert [one.code for one in lint(compile_policy([Layer("f", (twice[0], twice[-1]))]))] == ["shadowed"]


# What is called a problem is one: random policies, random calls.

PIECES = st.sampled_from(["*", "?", "a", "b", "ab"])
GLOB = st.lists(PIECES, min_size=1, max_size=3).map("".join)
WHENS = st.sampled_from(
    [None, "args.x", "!args.x", "args.x || args.y", "args.x && args.y", "args.y", "args.n > 1", "args.n > 1 && args.x"]
)


@st.composite
def some_rules(draw: st.DrawFn, prefix: str) -> tuple[Rule, ...]:
    made: list[Rule] = []
    for number in range(draw(st.integers(0, 4))):
        server, tool, agent = draw(GLOB), draw(GLOB), draw(st.none() | GLOB)
        when = draw(WHENS)
        made.append(
            Rule(
                f"{prefix}{number}",
                draw(st.sampled_from(Action)),
                tools=(parse_tool_pattern(f"{server}__{tool}"),) if draw(st.booleans()) else (),
                agents=(parse_name_pattern(agent),) if agent is not None else (),
                when=compile_condition(when) if when is not None else None,
            )
        )
    return tuple(made)


VALUES: st.SearchStrategy[Any] = st.sampled_from([True, False, 0, 2, "text", None])
NAMES = st.text("abc", min_size=1, max_size=3)
CALLS = st.builds(
    lambda server, tool, agent, groups, arguments: Call(
        ToolFacts(server, tool), arguments, Caller(agent, frozenset(groups)), datetime(2026, 1, 1, tzinfo=UTC)
    ),
    NAMES,
    NAMES,
    NAMES,
    st.lists(NAMES, max_size=2),
    st.dictionaries(st.sampled_from(["x", "y", "n"]), VALUES),
)


@settings(max_examples=400, deadline=None)
@given(some_rules("a"), some_rules("b"), st.lists(CALLS, min_size=5, max_size=30), st.booleans())
def test_without_a_rule_that_lint_calls_lost_every_verdict_is_the_same(
    first: tuple[Rule, ...], second: tuple[Rule, ...], calls: list[Call], known: bool
) -> None:
    layers = [Layer("one", first), Layer("two", second)]
    policy = compile_policy(layers)
    around = Surroundings()
    if known:
        agents = {call.caller.agent: call.caller.groups for call in calls}
        calls = [call for call in calls if agents[call.caller.agent] == call.caller.groups]
        around = Surroundings(frozenset(call.tool.server for call in calls), agents)

    for one in lint(policy, around):
        if one.code not in {"dead", "shadowed", "overruled"}:
            continue
        less = [
            Layer(layer.name, tuple(r for r in layer.rules if (layer.name, r.id) != (one.layer, one.rule)))
            for layer in layers
        ]
        without = compile_policy(less)
        for call in calls:
            before, after = policy.decide(call), without.decide(call)
            assert (before.action, before.because, before.terms) == (after.action, after.because, after.terms), one


@settings(max_examples=300, deadline=None)
@given(some_rules("a"), st.lists(CALLS, min_size=5, max_size=30))
def test_a_rule_that_decides_some_call_is_never_called_lost(made: tuple[Rule, ...], calls: list[Call]) -> None:
    policy = compile_policy([Layer("one", made)])
    lost = {one.rule for one in lint(policy) if one.code in {"dead", "shadowed", "overruled"}}

    for call in calls:
        assert not {reason.rule for reason in policy.decide(call).because} & lost


TESTS = st.builds(
    lambda path, operator, value: f"{path} {operator} {value}",
    st.sampled_from(["args.n", "args.s"]),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["0", "1", "2", "1.5", "'a'", "'b'"]),
) | st.sampled_from(["true", "false", "args.x", "1 < 2", "'a' == 'b'", "args.n == args.n", "has(args.n)"])
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("!({})".format, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
    max_leaves=6,
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.sampled_from([-1, 0, 1, 1.5, 2, 3, "a", None]),
        "s": st.sampled_from(["", "a", "b", "c", 0, True]),
        "x": st.booleans(),
    },
)


@settings(max_examples=600, deadline=None)
@given(CONDITIONS, st.lists(ARGUMENTS, min_size=3, max_size=10))
def test_a_condition_that_lint_calls_constant_is_or_fails(text: str, given_arguments: list[dict[str, Any]]) -> None:
    try:
        when = compile_condition(text)
    except BadCondition:
        return
    said = {one.code for one in lint(compile_policy([Layer("f", (Rule("a", Action.DENY, when=when),))]))}
    for arguments in given_arguments:
        call = Call(ToolFacts("s", "t"), arguments, Caller("local"), datetime(2026, 1, 1, tzinfo=UTC))
        with suppress(ConditionFailed):
            assert f"always-{str(not when(call)).lower()}" not in said


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("true", "always-true"),
        ("!(1 < 2)", "always-false"),
        ("args.a || true", "always-true"),
        ("args.n > 3 && args.s == 'a' && args.n <= 3", "always-false"),
        ("args.n > 3 && args.n < 3.5", None),
        ("args.n == 1 && args.n == 2", "always-false"),
        ("args.n == 1 && args.n != 1", "always-false"),
        ("args.n <= 3 || args.n > 3", "always-true"),
        ("args.n < 3 || args.n > 3", None),
        ("5 < args.n && args.n < 5", "always-false"),
        ("has(args.n) && !has(args.n)", "always-false"),
        ("args.a ? args.b : false", None),
        ("true ? args.b == args.b : false", "always-true"),
        ("args.list.exists(x, x > 1 && x < 1)", None),
    ],
)
def test_what_is_constant_is_seen_by_its_shape(text: str, code: str | None) -> None:
    rule = Rule("a", Action.DENY, when=compile_condition(text))

    assert [one.code for one in lint(compile_policy([Layer("f", (rule,))]))] == ([code] if code else [])
