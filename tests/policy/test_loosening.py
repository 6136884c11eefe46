"""Planted loosenings are found, each with a call that shows it; tightenings pass without a word."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from holdshort.config import load_config, load_layer, surroundings
from holdshort.policy import (
    Action,
    Call,
    Caller,
    Kind,
    Layer,
    Policy,
    Rule,
    ToolFacts,
    compile_policy,
    parse_tool_pattern,
)
from holdshort.policy.loosening import Loosening, Surroundings, loosenings

BASE = """\
version: 1
default: ask
pins: first_use
packs: [fetch]
rules:
  - id: secrets
    tools: "*__read_*"
    when: args.path.startsWith("/etc/") || args.path.contains("..")
    action: deny
  - {id: no-admin, tools: ["github__admin_*", "*__purge"], action: hide}
  - {id: guests, tools: "github__*", agents: [guest-*, visitors], action: deny}
  - id: big-refund
    tools: payments__refund
    when: "!has(args.amount) || args.amount > 100"
    action: ask
    approvers: [finance]
    required_approvals: 2
    expires_after: 30m
    decisions: [approve, edit]
    execute: claimed
    grants: false
  - {id: small-refund, tools: payments__refund, when: "args.currency in ['EUR', 'USD']", action: allow}
  - {id: merges, tools: github__merge, when: "args.branch != 'main'", action: ask, approvers: [ana, bob]}
  - {id: reads, tools: "*__get_*", when: tool.read_only, action: allow}
  - {id: files, resources: "files__file:///etc/*", action: deny}
  - {id: prompts, prompts: "github__*", agents: ci, action: hide}
  - {id: sampling, server_requests: "*__sampling/createMessage", action: deny}
"""
SMALL = "  - {id: small-refund, tools: payments__refund, when: \"args.currency in ['EUR', 'USD']\", action: allow}\n"
MERGES = "  - {id: merges, tools: github__merge, when: \"args.branch != 'main'\", action: ask, approvers: [ana, bob]}\n"
BIG = BASE[BASE.index("  - id: big-refund") : BASE.index("  - {id: small-refund")]

LOOSER = {
    "order swapped": (BIG + SMALL, SMALL + BIG, "rule `big-refund`"),
    "rule deleted": (BIG, "", "rule `big-refund`"),
    "action weakened": ("visitors], action: deny", "visitors], action: ask", "is refused -> asks"),
    "hide weakened": ('purge"], action: hide', 'purge"], action: deny', "is hidden -> is refused"),
    "glob widened on allow": ('"*__get_*", when', '"*__*et_*", when', "rule `reads`"),
    "glob narrowed on hide": ('"*__purge"', '"files__purge"', "is hidden -> is refused"),
    "glob dropped": ('["github__admin_*", "*__purge"]', '"github__admin_*"', "rule `no-admin`"),
    "agents narrowed on deny": ("[guest-*, visitors]", "guest-*", "by local in visitors"),
    "agents renamed on deny": ("guest-*", "guest_*", "guest-"),
    "condition added to deny": ("visitors], action", "visitors], when: tool.destructive, action", "not destructive"),
    "condition removed from allow": (", when: tool.read_only,", ",", "rule `reads`"),
    "condition negated": ("when: tool.read_only", 'when: "!tool.read_only"', "rule `reads`"),
    "bound raised": ("args.amount > 100", "args.amount > 500", '"amount": '),
    "bound moved by one": ("args.amount > 100", "args.amount > 101", '{"amount": 101'),
    "bound made exclusive": ("args.amount > 100", "args.amount > 100.5", '{"amount": 100.5'),
    "missing key forgiven": (
        "!has(args.amount) || args.amount",
        "has(args.amount) && args.amount",
        "payments__refund {",
    ),
    "and for or": ("|| args.path.contains", "&& args.path.contains", '"path": "'),
    "text narrowed on deny": ('startsWith("/etc/")', 'startsWith("/etc/ssh")', '"path": "/etc/'),
    "list widened on allow": ("['EUR', 'USD']", "['EUR', 'USD', 'GBP']", '"currency": "GBP"'),
    "equality turned": ("args.branch != 'main'", "args.branch == 'main'", "rule `merges`"),
    "approvers widened": (
        "approvers: [finance]",
        "approvers: [finance, eng]",
        "decided by finance -> decided by eng or",
    ),
    "approvers dropped": ("    approvers: [finance]\n", "", "decided by any approver"),
    "fewer approvals": ("required_approvals: 2", "required_approvals: 1", "2 approvals -> 1 approval"),
    "longer wait": ("expires_after: 30m", "expires_after: 2h", "expires after 30m -> expires after 2h"),
    "more decisions": ("[approve, edit]", "[approve, edit, respond]", "decisions approve, edit, reject, respond"),
    "runs on decision": ("execute: claimed", "execute: on_decision", "runs at once on the decision"),
    "grants let in": ("grants: false", "grants: true", "a grant may answer"),
    "default weakened": ("default: ask", "default: allow", "the default of"),
    "pins off": ("pins: first_use", 'pins: "off"', "pins: first_use -> pins: off"),
    "pack dropped": ("packs: [fetch]\n", "", "rule `fetch/other-schemes`"),
    "resource opened": ("file:///etc/*", "file:///etc/shadow", "rule `files`"),
    "resource rule deleted": (
        '  - {id: files, resources: "files__file:///etc/*", action: deny}\n',
        "",
        "files__file:///etc/",
    ),
    "prompt shown": ("agents: ci, action: hide", "agents: ci, action: deny", "is hidden -> is refused"),
    "sampling let through": ("*__sampling/createMessage", "files__sampling/createMessage", "rule `sampling`"),
}
TIGHTER = {
    "comment and order of words": ("[guest-*, visitors]", "[visitors, guest-*]"),
    "default strengthened": ("default: ask", "default: deny"),
    "default left to itself": ("default: ask\n", ""),
    "rule renamed": ("id: big-refund", "id: refund"),
    "action strengthened": ("visitors], action: deny", "visitors], action: hide"),
    "glob widened on hide": ('"*__purge"', '"*__*purge*"'),
    "glob narrowed on allow": ('"*__get_*", when', '"github__get_*", when'),
    "agents widened on deny": ("[guest-*, visitors]", '["*"]'),
    "condition removed from deny": ("visitors], action", "visitors, ex-*], action"),
    "bound lowered": ("args.amount > 100", "args.amount > 50"),
    "bound made inclusive": ("args.amount > 100", "args.amount >= 100"),
    "bound said otherwise": ("args.amount > 100", "!(args.amount <= 100)"),
    "condition widened on deny": ('startsWith("/etc/")', 'startsWith("/")'),
    "more of it denied": ('args.path.contains("..")', 'args.path.contains("..") || args.path.endsWith(".pem")'),
    "condition narrowed on allow": ("when: tool.read_only", "when: tool.read_only && !tool.open_world"),
    "list narrowed on allow": ("args.currency in ['EUR', 'USD']", "args.currency == 'EUR'"),
    "allow turned to ask": ("'USD']\", action: allow", "'USD']\", action: ask"),
    "rule before": ("rules:\n", 'rules:\n  - {id: stop, tools: "*__drop_*", action: deny}\n'),
    "allow deleted": (SMALL, ""),
    "untouching order swapped": (SMALL + MERGES, MERGES + SMALL),
    "quorum raised": ("required_approvals: 2", "required_approvals: 3"),
    "approvers narrowed": ("[ana, bob]", "[ana]"),
    "shorter wait": ("expires_after: 30m", "expires_after: 10m"),
    "fewer decisions": ("[approve, edit]", "[approve]"),
    "execute said": ("approvers: [ana, bob]", "approvers: [ana, bob], execute: claimed"),
    "pins strict": ("pins: first_use", "pins: strict"),
    "pack added": ("packs: [fetch]", "packs: [fetch, postgres]"),
    "resource closed": ("file:///etc/*", "file:///*"),
    "prompts hidden from more": ("agents: ci, action: hide", "action: hide"),
    "servers may ask less": ("*__sampling/createMessage", "*"),
    "needless condition": ("args.branch != 'main'", "args.branch != 'main' || args.branch == 'main'"),
}


def read(folder: Path, text: str, name: str = "team.yaml") -> Policy:
    path = folder / name
    path.write_text(text)
    return load_layer(path, {})[0]


def changed(name: str, fragment: str, by: str) -> str:
    assert fragment in BASE, name
    return BASE.replace(fragment, by, 1)


def compared(folder: Path, before: str, after: str) -> tuple[Loosening, ...]:
    return loosenings(read(folder, before), read(folder, after))


@pytest.mark.parametrize("name", LOOSER)
def test_a_planted_loosening_is_found_with_the_rule_and_a_call(tmp_path: Path, name: str) -> None:
    fragment, by, expected = LOOSER[name]

    found = compared(tmp_path, BASE, changed(name, fragment, by))

    assert expected in "\n".join(map(str, found))
    assert all(one.aspect != "unproven" for one in found)
    assert all(one.witness is not None for one in found if one.old)


@pytest.mark.parametrize("name", TIGHTER)
def test_a_tightening_passes_without_a_word(tmp_path: Path, name: str) -> None:
    assert compared(tmp_path, BASE, changed(name, *TIGHTER[name])) == ()


def test_what_cannot_be_shown_counts_as_a_loosening(tmp_path: Path) -> None:
    before = "rules:\n  - {id: odd, tools: 'a__b', when: 'args.x % 7 == 3', action: allow}\n"

    (found,) = compared(tmp_path, before, before.replace("args.x % 7 == 3", "3 == args.x % 7"))

    assert (found.aspect, found.witness) == ("unproven", None)
    assert "it cannot be shown that this is never so: runs without asking, by rule `odd`" in str(found)


def test_the_same_odd_condition_in_both_is_no_difference(tmp_path: Path) -> None:
    before = "rules:\n  - {id: odd, tools: 'a__b', when: 'args.x % 7 == 3', action: allow}\n"
    more = "  - {id: no, tools: 'c__d', action: deny}\n"

    assert compared(tmp_path, before, before.replace("odd", "even") + more) == ()
    assert compared(tmp_path, before, before.replace("args.x", "args.x > 2 && args.x")) == ()


def test_an_example_is_made_of_what_an_odd_condition_names(tmp_path: Path) -> None:
    before = "rules:\n  - {id: tmp, tools: 'a__b', when: 'args.path.matches(\"^/tmp/\")', action: allow}\n"

    (found,) = compared(tmp_path, before, before.replace("^/tmp/", "^/"))

    assert found.witness is not None
    assert str(found).endswith(
        'asks -> runs without asking, by rule `tmp` ({}:2); as in a__b {{"path": "/x"}}'.format(tmp_path / "team.yaml")
    )


def test_a_layer_that_goes_takes_its_rules_along(tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text("rules:\n  - {id: drop, tools: '*__drop_*', action: deny}\n")
    (tmp_path / "team.yaml").write_text("rules:\n  - {id: all, action: allow}\n")
    path = tmp_path / "holdshort.yaml"
    path.write_text("mcpServers: {db: {command: cat}}\npolicy: [org.yaml, team.yaml]\n")
    both = load_config(path, {})
    path.write_text("mcpServers: {db: {command: cat}}\npolicy: [team.yaml]\n")
    one = load_config(path, {})

    (found,) = loosenings(both.policy, one.policy)

    said = str(found).replace(f"{tmp_path}/", "")
    assert said == (
        "rule `drop` (org.yaml:2): is refused -> runs without asking, by rule `all` (team.yaml:2); as in x__drop_x"
    )
    assert loosenings(one.policy, both.policy) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("require_approval: always", "", "rule `always`"),
        ("tool_filter: {blocked_tool_names: [drop]}", "", "rule `blocked_tool_names`"),
        ("allowed_tools: [a, b]", "allowed_tools: [a, b, c]", "db__c"),
        ("trust_annotations: false", "trust_annotations: true", "db__x (read_only)"),
    ],
)
def test_keys_of_a_server_that_go_are_loosenings(tmp_path: Path, before: str, after: str, expected: str) -> None:
    (tmp_path / "team.yaml").write_text("rules:\n  - {id: reads, when: tool.read_only, action: allow}\n")
    configs = []
    for key in (before, after):
        path = tmp_path / "holdshort.yaml"
        path.write_text(f"mcpServers:\n  db:\n    command: cat\n    {key}\npolicy: team.yaml\n")
        configs.append(load_config(path, {}))
    old, new = configs

    found = loosenings(old.policy, new.policy, surroundings=surroundings(old, new))

    assert expected in "\n".join(map(str, found))
    assert loosenings(new.policy, old.policy, surroundings=surroundings(new, old)) == ()


def test_keys_of_a_server_that_is_no_more_are_missed_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "holdshort.yaml"
    path.write_text("mcpServers: {db: {command: cat, require_approval: always}, files: {command: cat}}\n")
    old = load_config(path, {})
    path.write_text("mcpServers: {files: {command: cat}}\n")
    new = load_config(path, {})

    assert loosenings(old.policy, new.policy, surroundings=surroundings(old, new)) == ()


def test_an_agent_that_leaves_a_group_is_compared_as_what_it_was(tmp_path: Path) -> None:
    policy = read(tmp_path, "default: allow\nrules:\n  - {id: guests, tools: 'a__*', agents: guests, action: deny}\n")
    left = Surroundings(callers=[(Caller("bot", frozenset({"guests"})), Caller("bot"))])

    (found,) = loosenings(policy, policy, surroundings=left)

    assert "rule `guests`" in str(found)
    assert str(found).endswith("by bot")
    assert loosenings(policy, policy, surroundings=left.turned()) == ()


def test_examples_are_tools_and_agents_that_exist(tmp_path: Path) -> None:
    before = "rules:\n  - {id: drops, tools: 'db__drop_*', agents: bots, action: deny}\n"
    tools = [("db", "drop_table"), ("files", "read")]

    (found,) = loosenings(
        read(tmp_path, before),
        read(tmp_path, before.replace("deny", "ask")),
        tools=tools,
        agents=[Caller("ci", frozenset({"bots"}))],
    )

    assert str(found).endswith("as in db__drop_table by ci in bots")


def test_a_condition_on_names_cuts_them_as_a_glob_does(tmp_path: Path) -> None:
    before = (
        "rules:\n  - {id: no, when: 'tool.name.startsWith(\"drop_\")', action: deny}\n  - {id: yes, action: allow}\n"
    )

    (found,) = compared(tmp_path, before, before.replace("drop_", "drop_t"))

    assert found.witness is not None
    assert re.search(r"as in \w+__drop_", str(found))
    assert compared(tmp_path, before, before.replace("drop_", "dro")) == ()
    assert (
        compared(tmp_path, before, before.replace("when: 'tool.name.startsWith(\"drop_\")'", "tools: '*__dr*'")) == ()
    )


def test_a_tool_that_comes_into_lists_is_one_though_its_calls_stay_hidden(tmp_path: Path) -> None:
    before = "rules:\n  - {id: gone, tools: 'db__drop', action: hide}\n"
    after = before.replace("action", "when: 'has(args.a) || !has(args.a)', action")

    (found,) = compared(tmp_path, before, after)

    assert found.aspect == "listed"
    assert compared(tmp_path, after, before) == ()


def wide(*, touched: int | None = None) -> Policy:
    words = ["get", "list", "put", "drop", "move", "copy", "scan", "lock", "tag", "sync"]
    kinds = [Action.ALLOW, Action.ASK, Action.DENY]
    rules = [
        Rule(f"r{n}", kinds[n % 3], tools=(parse_tool_pattern(f"s{n % 7}__{words[n % 10]}_{words[n // 10 % 10]}{n}*"),))
        for n in range(1000)
    ]
    if touched is not None:
        rules[touched] = replace(rules[touched], tools=(parse_tool_pattern(f"s{touched % 7}__other"),))
    return compile_policy([Layer("big", (*rules, Rule("rest", kinds[1], tools=(parse_tool_pattern("*"),))))])


def test_a_thousand_rules_can_be_compared() -> None:
    found = loosenings(wide(), wide(touched=500))

    assert [str(one.old[0]) for one in found] == ["rule `r500` (big)"]
    assert loosenings(wide(), wide()) == ()


def test_too_many_combinations_are_said_to_be_too_many() -> None:
    globs = " ".join(f"s__*{letter}*" for letter in "abcdefghijklmnopqrst").split()
    rules = tuple(
        Rule(f"r{n}", kind, tools=(parse_tool_pattern(one),))
        for n, (one, kind) in enumerate(zip(globs, [Action.DENY, Action.ASK] * 10, strict=True))
    )
    old, new = compile_policy([Layer("a", rules)]), compile_policy([Layer("a", rules[::-1])])

    found = loosenings(old, new)

    assert [one.aspect for one in found] == ["unproven"]
    assert "too many combinations of names on `s`" in str(found[0])


def test_kinds_are_compared_apart(tmp_path: Path) -> None:
    found = compared(
        tmp_path, BASE, changed("x", '  - {id: prompts, prompts: "github__*", agents: ci, action: hide}\n', "")
    )

    assert [getattr(one.witness.call, "kind", None) for one in found if one.witness is not None] == [Kind.PROMPT]


def test_both_policies_agree_on_what_an_example_shows(tmp_path: Path) -> None:
    old = read(tmp_path, BASE)
    for fragment, by, _ in LOOSER.values():
        new = read(tmp_path, changed("", fragment, by))
        for one in loosenings(old, new):
            if one.witness is not None and isinstance(one.witness.call, Call):
                assert old.decide(one.witness.call) == one.witness.old
                assert new.decide(one.witness.call) == one.witness.new
                assert isinstance(one.witness.call.tool, ToolFacts)
