"""A resource has many spellings: no loosening hides in one of them, and plain tightenings still pass in silence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.config import load_layer
from holdshort.policy import (
    Access,
    Action,
    Caller,
    Kind,
    Layer,
    NamePattern,
    Policy,
    Rule,
    ToolPattern,
    compile_policy,
    parse_target,
)
from holdshort.policy.cel import compile_condition
from holdshort.policy.loosening import Loosening, loosenings
from policy.samples import NOW

BASE = """\
rules:
  - {id: keys, resources: "files__file:///data/keys/*", action: hide}
  - {id: etc, resources: "files__file:///etc/*", action: deny}
  - {id: data, resources: "files__file:///data/*", action: allow}
  - {id: pages, resources: "web__https://example.com/*", agents: "guest*", action: allow}
  - {id: rest, resources: ["files__*", "web__*"], action: deny}
"""
TIGHTER = {
    "deny added first": ("rules:\n", 'rules:\n  - {id: no, resources: "files__file:///etc/*", action: hide}\n'),
    "deny added in the middle": ("  - {id: data", '  - {id: no, resources: "files__*x*", action: deny}\n  - {id: data'),
    "glob added to deny": ('"files__file:///etc/*"', '["files__file:///etc/*", "files__file:///srv/*"]'),
    "deny widened": ("file:///etc/*", "file:///e*"),
    "deny made hide": ('etc/*", action: deny', 'etc/*", action: hide'),
    "allow narrowed": ('"files__file:///data/*"', '"files__file:///data/pub/*"'),
    "allow removed": ('  - {id: data, resources: "files__file:///data/*", action: allow}\n', ""),
    "allow for fewer": ('agents: "guest*"', "agents: guests"),
    "allow on a condition": ('agents: "guest*", action', "when: caller.agent == 'guests', action"),
    "deny narrowed before another": ("file:///etc/*", "file:///etc/x*"),
    "same set in two rules": (
        '["files__*", "web__*"], action: deny}',
        '"files__*", action: deny}\n  - {id: web, resources: "web__*", action: deny}',
    ),
    "hide said of one glob twice": ('"files__file:///data/keys/*"', '"files__file:///data/*eys/*"'),
}
LOOSER = {
    "hide narrowed": ("file:///data/keys/*", "file:///data/keys/x*", "rule `keys`", "by rule `data`"),
    "deny removed": (
        '  - {id: rest, resources: ["files__*", "web__*"], action: deny}\n',
        "",
        "rule `rest`",
        "runs without asking",
    ),
    "allow widened": ("file:///data/*", "file:///d*", "rule `rest`", "by rule `data`"),
    "allow moved up": (
        "rules:\n",
        'rules:\n  - {id: up, resources: "files__file:///data/*", action: allow}\n',
        "rule `keys`",
        "by rule `up`",
    ),
    "hide moved behind deny": (
        "rules:\n",
        'rules:\n  - {id: no, resources: "files__file:///data/keys/old/*", action: deny}\n',
        "is hidden -> is refused",
        "data/keys/old/",
    ),
}


def about(text: str) -> ToolPattern:
    return parse_target(f"files__{text}", Kind.RESOURCE)


def read(folder: Path, text: str) -> Policy:
    path = folder / "team.yaml"
    path.write_text(text)
    return load_layer(path, {})[0]


def compared(folder: Path, fragment: str, by: str) -> tuple[Loosening, ...]:
    assert fragment in BASE
    return loosenings(read(folder, BASE), read(folder, BASE.replace(fragment, by, 1)))


@pytest.mark.parametrize("name", TIGHTER)
def test_a_plain_tightening_passes_without_a_word(tmp_path: Path, name: str) -> None:
    assert compared(tmp_path, *TIGHTER[name]) == ()


@pytest.mark.parametrize("name", LOOSER)
def test_a_plain_loosening_is_shown_with_a_uri(tmp_path: Path, name: str) -> None:
    fragment, by, *expected = LOOSER[name]

    found = compared(tmp_path, fragment, by)

    said = "\n".join(map(str, found))
    assert all(words in said for words in expected), said
    assert [one for one in found if one.witness is None] == []


def test_a_loosening_of_odd_spellings_alone_is_shown_with_one(tmp_path: Path) -> None:
    # No text matches both globs, but a text that one reading of takes into `keys` now is refused where it was hidden.
    found = compared(tmp_path, "rules:\n", 'rules:\n  - {id: tmp, resources: "files__file:///tmp/*", action: deny}\n')

    (one,) = found
    assert (one.was, one.now) == ("is hidden", "is refused")
    assert one.witness is not None
    assert "/tmp/" in str(one.witness)
    assert "/data/keys/" in str(one.witness)


def test_what_no_spelling_was_found_for_is_said_to_be_unproven() -> None:
    old, new = (
        compile_policy([Layer("a", (Rule("x", Action.DENY, kind=Kind.RESOURCE, targets=(about(text),)),))])
        for text in ("odd:{}*{}".format("ab" * 40, "c" * 40), "odd:*{}*{}".format("a" * 60, "b" * 60))
    )

    assert loosenings(old, new)
    assert loosenings(old, old) == ()


@pytest.mark.parametrize("many", [190, 210])
def test_a_long_list_of_globs_is_compared_or_said_to_be_too_long(many: int) -> None:
    globs = tuple(about(f"file:///data/{number}/*") for number in range(many))
    old, new, less = (
        compile_policy([Layer("a", (Rule("x", Action.DENY, kind=Kind.RESOURCE, targets=some),))])
        for some in (globs, (*globs, about("file:///etc/*")), globs[1:])
    )

    tighter, looser = loosenings(old, new), loosenings(old, less)

    assert [one.aspect for one in tighter] == ([] if many < 200 else ["unproven"])
    assert [one.aspect for one in looser] == (["action"] if many < 200 else ["unproven"])


@pytest.mark.parametrize("condition", ["resource.uri.contains('x')", "resource.uri == 'file:///x'"])
def test_a_condition_on_the_text_of_a_uri_is_followed_as_far_as_it_goes(tmp_path: Path, condition: str) -> None:
    plain = "rules:\n  - {id: a, resources: 'files__*', action: deny}\n"
    only = plain.replace("action", f'when: "{condition}", action')

    assert loosenings(read(tmp_path, only), read(tmp_path, plain)) == ()
    (found,) = loosenings(read(tmp_path, plain), read(tmp_path, only))
    assert found.witness is not None


GLOBS = st.sampled_from(
    [
        "*",
        "file:///*",
        "file:///etc/*",
        "file:///etc/ssh",
        "FILE:///etc/*",
        "file:///data/*",
        "file:///data/pub/*",
        "file:///DATA/*",
        "file:///data/%70ub/*",
        "file:///data/*.txt",
        "*etc*",
        "https://a.org/*",
        "https://a.org/x",
        "https://A.org:443/x",
        "https://a.org/x?q=*",
        "db://main/*",
        "db://main/a",
        "note:a*",
        "note:?",
    ]
)
TARGETS = st.lists(GLOBS.map(about), min_size=1, max_size=2).map(tuple)
WHENS = st.sampled_from([None, None, None, "resource.uri.startsWith('file')", "caller.agent == 'ana'", "now > now"])
RULES = st.builds(
    Rule,
    st.sampled_from("abcdefgh"),
    st.sampled_from([Action.ALLOW, Action.DENY, Action.HIDE]),
    agents=st.sampled_from([(), (), (NamePattern("ana"),)]),
    when=WHENS.map(lambda text: None if text is None else compile_condition(text, Kind.RESOURCE)),
    kind=st.just(Kind.RESOURCE),
    targets=TARGETS,
)
POLICIES = st.lists(st.lists(RULES, max_size=4), min_size=1, max_size=2)


@st.composite
def uris(draw: st.DrawFn) -> str:
    start = draw(
        st.sampled_from(
            [
                "file://",
                "FILE://",
                "file:",
                "file://localhost",
                "file://h",
                "https://a.org",
                "https://A.ORG:443",
                "https://u@a.org.",
                "db://main",
                "db://MAIN",
                "db:",
                "note:",
                "x:",
            ]
        )
    )
    steps = draw(
        st.lists(
            st.sampled_from(
                [
                    "etc",
                    "ssh",
                    "data",
                    "pub",
                    "DATA",
                    "a",
                    "x",
                    "..",
                    ".",
                    "a.txt",
                    "%2e%2e",
                    "%65tc",
                    "d%61ta",
                    "%2561",
                    "..%2fetc",
                    "..%2f..%2fdata",
                    "pub;v",
                    "ssh.",
                    "\\..\\etc",
                ]
            ),
            max_size=6,
        )
    )
    tail = draw(st.sampled_from(["", "", "", "?q=1", "#f", "?/../etc/ssh", "%3fq=2", "/", "%00", "?"]))
    joined = "/".join(steps)
    return f"{start}{draw(st.sampled_from(['/', '', '//']))}{joined}{tail}"


@st.composite
def changes(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """A policy, and another one that is a step or two away from it."""
    old = draw(POLICIES)
    new = [list(layer) for layer in old]
    for _ in range(draw(st.integers(1, 2))):
        layer = draw(st.sampled_from(new))
        at = draw(st.integers(0, len(layer)))
        match draw(st.sampled_from(["add", "drop", "replace", "swap", "action"])):
            case "add":
                layer.insert(at, draw(RULES))
            case "drop":
                del layer[at : at + 1]
            case "replace":
                layer[at : at + 1] = [draw(RULES)]
            case "swap":
                layer[at : at + 2] = reversed(layer[at : at + 2])
            case _:
                layer[at : at + 1] = [
                    Rule("z", Action.HIDE, kind=Kind.RESOURCE, targets=rule.targets, agents=rule.agents)
                    for rule in layer[at : at + 1]
                ]
    made = [
        compile_policy([Layer(str(number), tuple(rules)) for number, rules in enumerate(layers)])
        for layers in (old, new)
    ]
    return made[0], made[1]


@settings(max_examples=200, deadline=None)
@given(changes(), st.lists(uris(), min_size=40, max_size=40))
def test_no_spelling_shows_a_loosening_that_was_not_reported(pair: tuple[Policy, Policy], some: list[str]) -> None:
    old, new = pair
    found = loosenings(old, new)
    carried = [{(reason.layer, reason.rule) for reason in one.old} for one in found]
    for uri in some:
        for caller in (Caller("ana"), Caller("bo")):
            access = Access(Kind.RESOURCE, "files", uri, caller, NOW)
            was, now = old.access(access), new.access(access)
            if now.action.strictness < was.action.strictness:
                assert {(why.layer, why.rule) for why in was.because} in carried, (uri, was, now, found)
    for one in found:
        if one.witness is not None and isinstance(one.witness.call, Access):
            assert old.access(one.witness.call) == one.witness.old
            assert new.access(one.witness.call) == one.witness.new
