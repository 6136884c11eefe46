"""What the decision core says of what it refuses or cannot tell, word for word; people write their files by it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdshort.policy import (
    ANY_VALUE,
    Action,
    BadPattern,
    BadScope,
    Because,
    Call,
    Caller,
    ConditionFailed,
    Kind,
    Layer,
    Rule,
    Scope,
    ToolFacts,
    ToolPattern,
    Wish,
    compile_condition,
    compile_policy,
    exactly,
    parse_target,
    parse_tool_pattern,
    scope_from_json,
)
from policy.samples import NOW, Says, about, access, call, rule

LONG = "x" * 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "bad glob ``: it is empty; `*` alone matches everything"),
        ("__x", "bad glob `__x`: both sides of `__` need a name or a `*`, as in `github__*`"),
        (
            "_push_",
            (
                "bad glob `_push_`: it names no server; write `*__push` for that tool on every server, or `push__*` "
                "for every tool of that server"
            ),
        ),
        (
            "_",
            (
                "bad glob `_`: it names no server; write `*__name` for that tool on every server, or `name__*` for "
                "every tool of that server"
            ),
        ),
        (
            "?X*",
            (
                "bad glob `?X*`: it names no server; write `*__?X*` for that tool on every server, or `X__*` for "
                "every tool of that server"
            ),
        ),
        (LONG, f"bad glob `{'x' * 80}`: it has 300 characters; at most 256 are read"),
    ],
)
def test_a_glob_that_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadPattern) as caught:
        parse_tool_pattern(text)

    assert str(caught.value) == words
    assert caught.value.pattern == text


@pytest.mark.parametrize("text", ["*", "mcp__github", "mcp__github__push", "github__*"])
def test_a_glob_is_shown_as_it_was_written(text: str) -> None:
    assert parse_tool_pattern(text).text == text


def test_the_longest_glob_is_read() -> None:
    assert parse_tool_pattern(f"a__{'x' * 253}").tool == "x" * 253
    assert parse_target(f"a__{'x' * 2045}", Kind.PROMPT).tool == "x" * 2045
    with pytest.raises(BadPattern, match="it has 2049 characters; at most 2048 are read"):
        parse_target(f"a__{'x' * 2046}", Kind.PROMPT)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", Kind.PROMPT, "bad glob ``: it is empty; `*` alone matches everything"),
        (
            "a b",
            Kind.PROMPT,
            ("bad glob `a b`: white space has no meaning here; in a URI a blank is `%20`, and `?` stands for any one"),
        ),
        (
            "a__roots/lists",
            Kind.SERVER_REQUEST,
            ("bad glob `a__roots/lists`: unknown method `roots/lists`; did you mean `roots/list`?"),
        ),
        (
            "a__x?",
            Kind.SERVER_REQUEST,
            (
                "bad glob `a__x?`: no server may ask that; servers ask `sampling/createMessage`, `elicitation/create` "
                "or `roots/list`"
            ),
        ),
    ],
)
def test_a_target_that_is_refused(text: str, kind: Kind, words: str) -> None:
    with pytest.raises(BadPattern) as caught:
        parse_target(text, kind)

    assert str(caught.value) == words


@pytest.mark.parametrize("kind", [Kind.RESOURCE, Kind.PROMPT, Kind.SERVER_REQUEST])
def test_a_target_is_shown_as_it_was_written_and_cut_at_its_first_two_underscores(kind: Kind) -> None:
    everything = parse_target("*", kind)
    assert (everything.server, everything.tool, everything.text) == ("*", "*", "*")
    named = parse_target("a__*", kind)
    assert (named.server, named.tool, named.text) == ("a", "*", "a__*")


def test_only_a_resource_has_spellings() -> None:
    plain = parse_target("s__a%62", Kind.PROMPT)

    assert type(plain) is not type(parse_target("s__a%62", Kind.RESOURCE))
    assert parse_target("s__a__b", Kind.PROMPT).tool == "a__b"
    assert parse_target("*__roots/lis?", Kind.SERVER_REQUEST).tool == "roots/lis?"


NONE: dict[str, Any] = {"arguments": {}, "when": None}


@pytest.mark.parametrize(
    ("value", "words", "pointer"),
    [
        ({"arguments": []}, 'expected a map of argument names, or "exact"', "/arguments"),
        ({"arguments": {"a/b": 1}}, "`a/b`: expected {in: [values]} or {any: true}", "/arguments/a~1b"),
        (
            {"arguments": {LONG: 1}},
            f"`{'x' * 80}`: expected {{in: [values]}} or {{any: true}}",
            f"/arguments/{'x' * 80}",
        ),
        (
            {"arguments": {"a": {"in": []}}},
            "`a` needs one to 100 values; for any value write {any: true}",
            "/arguments/a",
        ),
        (
            {"arguments": {LONG: {"in": []}}},
            f"`{'x' * 80}` needs one to 100 values; for any value write {{any: true}}",
            f"/arguments/{'x' * 80}",
        ),
        (
            {"arguments": {"a": {"any": True}}},
            (
                "a grant for any value of every argument is as wide as the tool; pin an argument, give a `when` that "
                "reads arguments, or write a policy rule"
            ),
            "/arguments",
        ),
        ({"arguments": {str(n): {"in": [1]} for n in range(101)}}, "at most 100 arguments can be named", "/arguments"),
        ({**NONE, "when": ""}, "expected a condition of at most 4000 characters", "/when"),
        ({**NONE, "when": 1}, "expected a condition of at most 4000 characters", "/when"),
        ({**NONE, "when": " " * 4001}, "expected a condition of at most 4000 characters", "/when"),
    ],
)
def test_a_scope_that_is_refused(value: dict[str, Any], words: str, pointer: str) -> None:
    with pytest.raises(BadScope) as caught:
        scope_from_json(value)

    assert (str(caught.value), caught.value.pointer) == (words, pointer)
    assert BadScope("x").pointer == ""


def test_a_condition_that_is_none_is_refused_with_its_own_words() -> None:
    with pytest.raises(BadScope) as caught:
        scope_from_json({**NONE, "when": "tool.nam == 1"})

    assert "nam" in str(caught.value)
    assert caught.value.pointer == "/when"
    with pytest.raises(BadScope, match="unknown variable `x`"):
        scope_from_json({**NONE, "when": "x"})


def test_the_widest_scope_and_the_longest_condition_are_taken() -> None:
    hundred: dict[str, Any] = {str(n): {"in": list(range(100))} for n in range(100)}

    assert len(scope_from_json({"arguments": hundred}).pins) == 100
    longest = "tool.read_only".ljust(4000)
    assert scope_from_json({**NONE, "when": longest}).when == compile_condition(longest)
    with pytest.raises(BadScope, match="needs one to 100 values"):
        scope_from_json({"arguments": {"a": {"in": list(range(101))}}})


def test_a_wish_that_is_refused() -> None:
    scope = exactly({})

    assert Wish(scope, timedelta(seconds=1), 1).max_uses == 1
    with pytest.raises(BadScope) as caught:
        Wish(scope, timedelta(milliseconds=999))
    assert (str(caught.value), caught.value.pointer) == ("a grant lasts a second at least", "/for")
    with pytest.raises(BadScope) as caught:
        Wish(scope, max_uses=0)
    assert (str(caught.value), caught.value.pointer) == ("a grant can be used once at least", "/max_uses")


def test_a_scope_in_json() -> None:
    when = compile_condition("args.b == 1")
    scope = Scope({"a": (1, "x"), "b": ANY_VALUE}, when)

    assert scope.to_json() == {"arguments": {"a": {"in": [1, "x"]}, "b": {"any": True}}, "when": "args.b == 1"}
    assert Scope({}).to_json() == {"arguments": {}, "when": None}
    assert scope_from_json(scope.to_json()) == scope


def test_why_a_call_is_outside_of_a_scope() -> None:
    def why(scope: Scope, **arguments: Any) -> str | None:
        return scope.misfit(call("files__write", arguments))

    one = exactly({LONG: 1})
    assert why(one, **{LONG: 1}) is None
    assert why(one, **{LONG: 2}) == f"the value of `{'x' * 80}` is not among those of the grant"
    assert why(one) == f"the call has no argument `{'x' * 80}`"
    assert why(exactly({}), **{LONG: 1}) == f"the call has an argument `{'x' * 80}` that the grant does not name"
    assert why(Scope({}, Says(False))) == "its `when` does not hold"
    assert why(Scope({}, Says("error"))) == "its `when` could not be evaluated (KeyError)"


class Fails(Says):
    """A condition that fails with the error it is given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(True)
        object.__setattr__(self, "error", error)

    def __call__(self, call: object) -> bool:
        raise self.error  # type: ignore[attr-defined]  # pyright: ignore


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (Fails(ConditionFailed("a field is missing")), "a field is missing"),
        (Fails(ValueError("odd")), "the condition failed: ValueError"),
        (Fails(ConditionFailed("")), ""),
        (Says("text"), "the condition gave `str`, not true or false"),
    ],
)
def test_what_went_wrong_with_a_condition(when: Says, words: str) -> None:
    tools = compile_policy([Layer("f", (rule("r", "ask", when=when),))])
    prompts = compile_policy([Layer("f", (about("r", "deny", Kind.PROMPT, when=when),))])

    assert tools.decide(call()).errors == (f"f: rule `r`: {words}",)
    assert prompts.access(access(Kind.PROMPT, "x")).errors == (f"f: rule `r`: {words}",)


def test_an_error_of_ours_has_a_reason_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = compile_policy([Layer("f", (rule("yes", "allow"),))])
    good = call()

    found = broken.decide(Call(good.tool, {}, Caller("local", groups=["ci"]), NOW))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert (found.action, found.because) == (Action.DENY, (Because("default", "error"),))


def test_a_policy_says_what_it_is() -> None:
    shown = compile_policy([Layer("a", (rule("x", "ask"), rule("y", "ask"))), Layer("b", (rule("z", "ask"),))])

    assert repr(shown) == f"Policy(2 layers, 3 rules, {shown.digest[:12]})"


def test_the_rules_that_can_still_speak_about_a_call_or_a_use() -> None:
    guarded = rule("guarded", "ask", "github__*", when=Says(True))
    rest, below = rule("rest", "deny", "github__*"), rule("below", "hide")
    other = about("prompts", "deny", Kind.PROMPT, "files__x")
    layer = Layer("f", (guarded, rule("else", "allow", "git__*"), rest, below, other))
    found = compile_policy([layer, Layer("silent")])

    facts = ToolFacts("github", "push")
    assert [(each.name, rules) for each, rules in found.rules_for(facts, Caller("local"))] == [
        ("f", (guarded, rest)),
        ("silent", ()),
    ]
    assert [rules for _, rules in found.rules_for(ToolFacts("git", "x"), Caller("local"))] == [(layer.rules[1],), ()]
    assert found.access_rules(access(Kind.PROMPT, "x")) == ((layer, (other,)),)
    assert found.access_rules(access(Kind.PROMPT, "y")) == ((layer, ()),)
    assert found.access_rules(access(Kind.RESOURCE, "x")) == ()
    assert compile_policy([]).access_rules(access(Kind.PROMPT, "x")) == ()


def test_a_use_that_nobody_can_be_asked_about_is_refused_where_a_rule_says_ask() -> None:
    asking = Rule("r", Action.ASK, kind=Kind.PROMPT)

    assert compile_policy([Layer("f", (asking,))]).access(access(Kind.PROMPT, "x")).action is Action.DENY


def test_a_tool_is_called_and_never_passes_as_something_else() -> None:
    for layers in ([], [Layer("f", (rule("yes", "allow"), about("p", "allow", Kind.PROMPT)))]):
        found = compile_policy(layers).access(access(Kind.TOOL, "push"))
        assert (found.action, found.errors) == (Action.DENY, ("policy failed: ValueError",))


def test_errors_on_the_way_are_kept_when_nothing_speaks_and_when_a_pin_does() -> None:
    broken = Says("error")
    passing = compile_policy([Layer("f", (about("a", "allow", Kind.PROMPT, when=broken),))])
    found = passing.access(access(Kind.PROMPT, "x"))
    assert (found.action, found.because) == (Action.ALLOW, (Because("default", "pass"),))
    assert found.errors == ("f: rule `a`: the condition failed: KeyError",)

    for pins in ("strict", "first_use"):
        layer = Layer("f", (rule("a", "allow", when=broken), rule("b", "ask")))
        changed = compile_policy([layer, Layer("p", pins=_pin(pins))]).decide(call(pinned=False))
        assert changed.errors == ("f: rule `a`: the condition failed: KeyError",)


def _pin(word: str) -> Any:
    from holdshort.policy import PinMode

    return PinMode(word)


def test_conditions_about_lists_see_the_tool_and_the_caller_and_no_arguments() -> None:
    class Sees(Says):
        """Static by its own word; answers true where it sees what a list has to show it."""

        def __call__(self, call: Any) -> bool:
            subject = call.tool.name if isinstance(call, Call) else call.name
            return (subject, call.caller.agent, dict(call.arguments), call.now.year) == ("x", "local", {}, 1970)

    hiding = compile_policy(
        [
            Layer(
                "f",
                (
                    rule("t", "hide", when=Sees(True, static=True)),
                    about("p", "hide", Kind.PROMPT, when=Sees(True, static=True)),
                ),
            )
        ]
    )
    prompt = replace(access(Kind.PROMPT, "x"), arguments={"a": 1})

    assert hiding.hides(ToolFacts("files", "x"), Caller("local"))
    assert not hiding.hides(ToolFacts("files", "x"), Caller("other"))
    assert hiding.hides_access(prompt)
    assert not hiding.hides_access(replace(prompt, name="y"))
    assert hiding.access(prompt).action is Action.ALLOW


@pytest.mark.parametrize("glob", ["s__a*b", "s__a?b", "s__*a?b*"])
def test_a_line_break_in_a_name_hides_it_from_no_glob(glob: str) -> None:
    layer = Layer("f", (rule("r", "deny", glob), rule("rest", "allow")))

    assert compile_policy([layer]).decide(call("s__a\nb")).action is Action.DENY


def test_a_pattern_made_without_words_shows_its_halves() -> None:
    assert ToolPattern("a", "b").text == "a__b"
    assert ToolPattern("a", "b", "mcp__a__b").text == "mcp__a__b"
