"""One case, or more, for each numbered line of the precedence in `policy/decide.py`."""

import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from holdshort.policy import (
    Action,
    Because,
    Caller,
    Grant,
    Kind,
    Layer,
    PinMode,
    Policy,
    PolicyError,
    Terms,
    ToolFacts,
    Verdict,
    compile_policy,
    decide,
    exactly,
    explain,
    find_grants,
    granted,
    wrap_policy,
)
from holdshort.policy.targets import fits
from policy.samples import NOW, Says, about, access, call, rule

# The package exports the function of the same name, which hides the module from `import`.
engine = sys.modules["holdshort.policy.decide"]


def policy(*layers: Layer) -> Policy:
    return compile_policy(layers)


def verdict(*layers: Layer, **facts: object) -> tuple[str, list[tuple[str, str]]]:
    found = decide(policy(*layers), call(**facts))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return found.action.value, [(reason.layer, reason.rule) for reason in found.because]


def test_1_the_first_matching_rule_of_a_layer_wins_even_over_a_stricter_one_below() -> None:
    layer = Layer("f", (rule("some", "allow", "github__delete_*"), rule("all", "deny", "*")))

    assert verdict(layer) == ("allow", [("f", "some")])
    assert verdict(layer, key="github__push") == ("deny", [("f", "all")])


def test_1_a_rule_matches_when_tools_and_agents_and_condition_all_do() -> None:
    layer = Layer("f", (rule("bot", "allow", "github__*", agents="ci-*", when=Says(True)), rule("rest", "deny")))

    assert verdict(layer, agent="ci-bot") == ("allow", [("f", "bot")])
    assert verdict(layer, agent="bob", groups="ci-staff") == ("allow", [("f", "bot")])
    assert verdict(layer, agent="bob") == ("deny", [("f", "rest")])
    assert verdict(layer, agent="ci-bot", key="files__x") == ("deny", [("f", "rest")])


def test_2_a_layer_without_a_matching_rule_abstains() -> None:
    silent = Layer("silent", (rule("other", "deny", "files__*"),))
    speaking = Layer("speaking", (rule("yes", "allow", "github__*"),))

    assert verdict(silent, speaking) == ("allow", [("speaking", "yes")])


STRICTER = [("hide", "deny"), ("hide", "ask"), ("hide", "allow"), ("deny", "ask"), ("deny", "allow"), ("ask", "allow")]


@pytest.mark.parametrize(("strict", "loose"), STRICTER)
def test_2_the_strictest_layer_wins_in_either_order(strict: str, loose: str) -> None:
    first, second = Layer("a", (rule("strict", strict),)), Layer("b", (rule("loose", loose),))

    assert verdict(first, second) == (strict, [("a", "strict")])
    assert verdict(second, first) == (strict, [("a", "strict")])


def test_2_every_layer_that_says_the_winning_action_is_a_reason() -> None:
    layers = [Layer(name, (rule(name, action),)) for name, action in (("a", "ask"), ("b", "allow"), ("c", "ask"))]

    assert verdict(*layers) == ("ask", [("a", "a"), ("c", "c")])


def test_3_when_all_layers_abstain_the_strictest_default_counts() -> None:
    layers = [Layer("a", default=Action.ALLOW), Layer("b", default=Action.DENY), Layer("c", default=Action.ASK)]

    assert verdict(*layers) == ("deny", [("b", "default")])
    assert verdict(layers[0]) == ("allow", [("a", "default")])
    assert verdict(layers[0], Layer("d")) == ("allow", [("a", "default")])


def test_3_a_default_is_no_opinion_it_never_tightens_a_rule() -> None:
    assert verdict(Layer("a", default=Action.DENY), Layer("b", (rule("yes", "allow"),))) == ("allow", [("b", "yes")])


def test_3_without_any_default_every_call_asks() -> None:
    assert verdict() == ("ask", [("default", "ask")])
    assert verdict(Layer("a")) == ("ask", [("default", "ask")])


def test_3_a_default_is_never_hide() -> None:
    with pytest.raises(PolicyError, match="`default` is one of `allow`, `ask` or `deny`"):
        Layer("a", default=Action.HIDE)


@pytest.mark.parametrize("broken", ["error", "text"])
@pytest.mark.parametrize("action", ["ask", "deny", "hide"])
def test_4_a_restricting_rule_whose_condition_fails_counts_as_matching(action: str, broken: str) -> None:
    found = decide(policy(Layer("f", (rule("guard", action, when=Says(broken)), rule("rest", "allow")))), call())

    assert (found.action, found.because) == (Action(action), (Because("f", "guard"),))
    assert len(found.errors) == 1
    assert found.errors[0].startswith("f: rule `guard`: ")


@pytest.mark.parametrize("broken", ["error", "text"])
def test_4_an_allowing_rule_whose_condition_fails_counts_as_not_matching(broken: str) -> None:
    found = decide(policy(Layer("f", (rule("yes", "allow", when=Says(broken)), rule("rest", "deny")))), call())

    assert (found.action, found.because) == (Action.DENY, (Because("f", "rest"),))
    assert len(found.errors) == 1


def test_4_an_error_outside_of_exception_is_caught_too() -> None:
    class Panic(BaseException):
        pass

    class Panics(Says):
        def __call__(self, call: object) -> bool:
            raise Panic("an argument: s3cret")

    found = decide(policy(Layer("f", (rule("guard", "deny", when=Panics(True)), rule("rest", "allow")))), call())

    assert found.action is Action.DENY
    # Not its text: what we did not write may quote an argument, and errors are logged.
    assert found.errors == ("f: rule `guard`: the condition failed: Panic",)


def test_4_an_error_of_our_own_is_a_deny_that_names_it_and_hides_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise RecursionError

    monkeypatch.setattr(engine, "matches", fail)
    broken = policy(Layer("f", (rule("yes", "allow"),)))

    found = broken.decide(call())
    assert (found.action, found.errors) == (Action.DENY, ("policy failed: RecursionError",))
    assert broken.hides(ToolFacts("github", "push"), Caller("local"))


def test_4_an_uncomparable_caller_is_a_deny_and_not_an_exception() -> None:
    wrong = Caller("local", groups=["ci"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    good = call()

    found = wrap_policy(False).decide(type(good)(good.tool, {}, wrong, good.now))

    assert found.action is Action.DENY


def standing(**changes: object) -> Grant:
    made = Grant(
        id="g-1",
        agent="local",
        server="github",
        tool="delete_repo",
        definition_digest="d",
        scope=exactly({}),
        scope_digest="s",
        made_by=("ana",),
        made_at=NOW,
        from_interruption="i-1",
        expires_at=NOW + timedelta(hours=1),
        max_uses=1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def answered(*layers: Layer, grant: Grant, **facts: object) -> tuple[str, list[tuple[str, str]]]:
    asked = call(**facts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    found = decide(policy(*layers), asked)
    groups = {"ana": frozenset({"finance"})}
    for one in find_grants([grant], found, asked, "d", now=NOW, groups_of=groups.get):
        found = granted(found, one)
    return found.action.value, [(reason.layer, reason.rule) for reason in found.because]


def test_5_a_standing_grant_turns_ask_into_allow_and_is_the_reason() -> None:
    layer = Layer("f", (rule("writes", "ask"),))

    assert answered(layer, grant=standing()) == ("allow", [("grant", "g-1")])
    assert answered(layer, grant=standing(uses=1)) == ("ask", [("f", "writes")])


@pytest.mark.parametrize("action", ["deny", "hide"])
def test_5_a_standing_grant_is_nothing_to_what_is_stricter_than_ask(action: str) -> None:
    layers = (Layer("a", (rule("writes", "ask"),)), Layer("b", (rule("no", action),)))

    assert answered(*layers, grant=standing()) == (action, [("b", "no")])


def test_5_a_condition_that_fails_is_not_helped_by_a_grant() -> None:
    guarded = Layer("f", (rule("guard", "deny", when=Says("error")), rule("writes", "ask")))

    assert answered(guarded, grant=standing()) == ("deny", [("f", "guard")])


def test_5_the_terms_and_the_errors_of_the_ask_stay_with_what_a_grant_let_through() -> None:
    asked = policy(Layer("f", (rule("odd", "allow", when=Says("error")), rule("r", "ask", execute="on_decision"))))
    found = asked.decide(call())

    let_through = granted(found, standing())

    assert (let_through.terms, let_through.errors) == (found.terms, found.errors)
    assert let_through.terms.execute == "on_decision"
    assert len(let_through.errors) == 1


def test_5_a_grant_answers_only_where_the_terms_let_it() -> None:
    asks = ("ask", [("f", "writes")])

    assert answered(Layer("f", (rule("writes", "ask", grants=False),)), grant=standing()) == asks
    assert answered(Layer("f", (rule("writes", "ask", required_approvals=2),)), grant=standing()) == asks
    assert answered(Layer("f", (rule("writes", "ask", approvers=frozenset({"ops"})),)), grant=standing()) == asks
    finance = Layer("f", (rule("writes", "ask", approvers=frozenset({"finance"})),))
    assert answered(finance, grant=standing()) == ("allow", [("grant", "g-1")])


def test_5_no_grant_answers_for_a_tool_that_differs_from_its_pin() -> None:
    layer = Layer("f", (rule("writes", "ask"),))

    assert answered(layer, grant=standing(), pinned=False) == ("ask", [("f", "writes"), ("pins", "changed")])


def test_8_terms_of_all_asking_layers_combine_to_the_strictest() -> None:
    finance, board = frozenset({"finance"}), frozenset({"board", "ana"})
    layers = [
        Layer(
            "a",
            (rule("a", "ask", approvers=finance, required_approvals=2, expires_after=timedelta(hours=2)),),
        ),
        Layer(
            "b",
            (
                rule(
                    "b",
                    "ask",
                    approvers=board,
                    expires_after=timedelta(minutes=30),
                    decisions=frozenset({"approve", "edit"}),
                    execute="on_decision",
                ),
            ),
        ),
        Layer("c", (rule("c", "ask", decisions=frozenset({"approve", "respond"}), execute="claimed"),)),
        Layer("d", (rule("d", "allow"),)),
    ]

    assert decide(policy(*layers), call()).terms == Terms(
        approvers=(finance, board),
        required_approvals=2,
        expires_after=timedelta(minutes=30),
        decisions=frozenset({"approve", "reject"}),
        execute="claimed",
        grants=False,
    )


def test_8_a_term_that_a_rule_does_not_say_is_the_default_so_that_one_more_layer_only_tightens() -> None:
    long = Layer("a", (rule("a", "ask", expires_after=timedelta(days=7), execute="on_decision"),))
    silent = Layer("b", (rule("b", "ask"),))

    assert decide(policy(long), call()).terms == Terms(expires_after=timedelta(days=7), execute="on_decision")
    assert decide(policy(long, silent), call()).terms == Terms()
    assert decide(compile_policy([silent], expires_after=timedelta(hours=1)), call()).terms == Terms(
        expires_after=timedelta(hours=1)
    )


def test_8_a_rule_that_lets_no_time_pass_is_the_soonest() -> None:
    hasty = Layer("a", (rule("a", "ask", expires_after=timedelta(0)),))

    assert decide(policy(hasty, Layer("b", (rule("b", "ask"),))), call()).terms.expires_after == timedelta(0)


def test_8_reject_is_always_left_to_approvers() -> None:
    apart = [Layer(kind, (rule(kind, "ask", decisions=frozenset({kind})),)) for kind in ("approve", "edit")]

    assert decide(policy(*apart), call()).terms.decisions == {"reject"}


def test_8_an_approver_must_satisfy_every_restriction_by_name_or_group() -> None:
    terms = Terms(approvers=(frozenset({"finance"}), frozenset({"board", "ana"})))

    assert terms.eligible("ana", frozenset({"finance"}))
    assert terms.eligible("bob", frozenset({"finance", "board"}))
    assert not terms.eligible("bob", frozenset({"finance"}))
    assert not terms.eligible("ana", frozenset())
    assert Terms().eligible("anybody", frozenset())


def test_7_what_no_rule_speaks_about_passes() -> None:
    other = policy(
        Layer("f", (rule("tools", "deny"), about("others", "hide", Kind.RESOURCE, "git__*")), default=Action.DENY)
    )

    for kind, name in ((Kind.RESOURCE, "file:///x"), (Kind.PROMPT, "p"), (Kind.SERVER_REQUEST, "roots/list")):
        assert other.access(access(kind, name)) == Verdict(Action.ALLOW, (Because("default", "pass"),))
        assert policy().access(access(kind, name)).action is Action.ALLOW


def test_7_a_rule_speaks_about_one_kind() -> None:
    layer = policy(Layer("f", (about("all", "deny", Kind.PROMPT),)))

    assert layer.access(access(Kind.PROMPT, "x")).because == (Because("f", "all"),)
    assert layer.access(access(Kind.RESOURCE, "x")).action is Action.ALLOW
    assert layer.decide(call()).action is Action.ASK


def test_7_inside_a_layer_the_first_matching_rule_wins_and_across_layers_the_strictest() -> None:
    exception = about("open", "allow", Kind.RESOURCE, "files__file:///data/open/*")
    one = Layer("a", (exception, about("shut", "deny", Kind.RESOURCE, "files__file:///data/*")))
    two = Layer("b", (about("gone", "hide", Kind.RESOURCE, "*__file:///data/open/x*"),))
    found = [
        policy(*layers).access(access(Kind.RESOURCE, f"file:///data/{name}")).action.value
        for layers in ((one,), (one, two), (two, one))
        for name in ("open/a", "open/x", "b")
    ]

    assert found == ["allow", "allow", "deny", "allow", "hide", "deny", "allow", "hide", "deny"]


def test_7_agents_and_conditions_count_as_for_tools() -> None:
    layer = policy(Layer("f", (about("ci", "deny", Kind.PROMPT, agents="ci-*", when=Says("argument")),)))
    asked = access(Kind.PROMPT, "p", agent="ci-bot", arguments={"answer": True})

    assert layer.access(asked).action is Action.DENY
    assert layer.access(access(Kind.PROMPT, "p", agent="ci-bot", arguments={"answer": False})).action is Action.ALLOW
    assert layer.access(access(Kind.PROMPT, "p", agent="bob", arguments={"answer": True})).action is Action.ALLOW


@pytest.mark.parametrize("action", ["deny", "hide"])
def test_7_an_error_in_a_condition_never_helps(action: str) -> None:
    restricting = policy(Layer("f", (about("r", action, Kind.RESOURCE, when=Says("error")),)))
    allowing = policy(
        Layer("f", (about("a", "allow", Kind.RESOURCE, when=Says("error")), about("r", action, Kind.RESOURCE)))
    )

    for found in (restricting, allowing):
        verdict = found.access(access(Kind.RESOURCE, "x"))
        assert (verdict.action, verdict.because) == (Action(action), (Because("f", "r"),))
        assert len(verdict.errors) == 1


def test_7_an_error_of_ours_is_a_deny_and_leaves_it_out_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = policy(Layer("f", (about("a", "allow", Kind.RESOURCE),)))
    monkeypatch.setattr("holdshort.policy.access.fits", lambda *_: 1 / 0)

    assert layer.access(access(Kind.RESOURCE, "x")) == Verdict(
        Action.DENY, (Because("default", "error"),), ("policy failed: ZeroDivisionError",)
    )
    assert layer.hides_access(access(Kind.RESOURCE, "x"))


def test_7_it_is_left_out_of_lists_when_it_is_hidden_for_certain() -> None:
    hidden = policy(Layer("f", (about("h", "hide", Kind.PROMPT, "files__p*"),)))
    perhaps = policy(Layer("f", (about("h", "hide", Kind.PROMPT, "files__p*", when=Says("argument")),)))
    denied = policy(Layer("f", (about("d", "deny", Kind.PROMPT), about("h", "hide", Kind.PROMPT))))

    assert hidden.hides_access(access(Kind.PROMPT, "p"))
    assert not hidden.hides_access(access(Kind.PROMPT, "q"))
    assert not perhaps.hides_access(access(Kind.PROMPT, "p"))
    assert not denied.hides_access(access(Kind.PROMPT, "p"))


def test_7_a_condition_on_arguments_leaves_it_in_lists_unless_it_is_hidden_either_way() -> None:
    either = about("a", "hide", Kind.PROMPT, when=Says("argument"))
    perhaps = about("a", "allow", Kind.PROMPT, when=Says("argument"))
    rest = about("b", "hide", Kind.PROMPT)

    assert policy(Layer("f", (either, rest))).hides_access(access(Kind.PROMPT, "p"))
    assert not policy(Layer("f", (perhaps, rest))).hides_access(access(Kind.PROMPT, "p"))


def test_7_a_rule_does_not_fit_what_is_of_another_kind() -> None:
    assert fits(about("a", "deny", Kind.PROMPT), access(Kind.PROMPT, "p"))
    assert not fits(about("a", "deny", Kind.PROMPT), access(Kind.RESOURCE, "p"))


@pytest.mark.parametrize(
    ("template", "hidden"),
    [
        ("note://shut/{id}", True),
        ("note://shut/{id}/{part}", True),
        ("note://secret/{id}", False),
        ("note://{folder}/x", False),
        ("note://{folder}{?x}", False),
        ("note://secret/open/{id}", False),
        ("note://open/{id}", False),
        ("memo://{id}", False),
        ("note://{folder}/y", False),
        ("note://{unclosed", False),
    ],
)
def test_7_a_template_is_left_out_when_nothing_that_it_makes_can_be_seen(template: str, hidden: bool) -> None:
    exception = about("open", "allow", Kind.RESOURCE, "files__note://open/* files__note://secret/open/*")
    layer = policy(Layer("f", (exception, about("h", "hide", Kind.RESOURCE, "files__note://*"))))

    assert layer.hides_access(access(Kind.RESOURCE, template), template=True) is hidden


def test_7_the_end_of_a_template_is_looked_at_as_well_as_its_start() -> None:
    exception = about("open", "allow", Kind.RESOURCE, "files__note://*/open")
    layer = policy(Layer("f", (exception, about("h", "hide", Kind.RESOURCE, "files__note://*"))))

    assert layer.hides_access(access(Kind.RESOURCE, "note://{folder}/shut"), template=True)
    assert not layer.hides_access(access(Kind.RESOURCE, "note://{folder}/open"), template=True)


def test_7_an_exception_is_not_reached_by_spelling_and_a_ban_not_left_by_it() -> None:
    layer = policy(
        Layer(
            "f",
            (
                about("data", "allow", Kind.RESOURCE, "files__file:///data/*"),
                about("rest", "deny", Kind.RESOURCE, "files__file:///*"),
            ),
        )
    )

    assert layer.access(access(Kind.RESOURCE, "file:///data/a%20b")).action is Action.ALLOW
    for uri in ("file:///data/%2e%2e/etc/passwd", "FILE:/etc/passwd", "file://localhost/etc/passwd", "/etc/passwd"):
        assert layer.access(access(Kind.RESOURCE, uri)).action is Action.DENY, uri


def test_7_is_part_of_the_digest() -> None:
    digests = {
        policy(Layer("f", (about("a", action, kind, target),))).digest
        for action in ("deny", "hide")
        for kind in (Kind.RESOURCE, Kind.PROMPT)
        for target in ("a__x", "a__y")
    }

    assert len(digests) == 8


def test_7_says_whether_there_is_any_rule_about_a_kind_of_a_server() -> None:
    layer = policy(Layer("f", (about("a", "deny", Kind.RESOURCE, "files__*"), about("b", "allow", Kind.PROMPT))))

    assert layer.speaks_of(Kind.RESOURCE, "files")
    assert not layer.speaks_of(Kind.RESOURCE, "files", Action.HIDE)
    assert not layer.speaks_of(Kind.RESOURCE, "git")
    assert layer.speaks_of(Kind.PROMPT, "git")
    assert not layer.speaks_of(Kind.SERVER_REQUEST, "git")


def test_9_a_tool_that_is_hidden_for_every_call_is_not_listed() -> None:
    hiding = policy(
        Layer("a", (rule("gone", "hide", "github__delete_*", agents="ci-*"),)), Layer("b", (rule("b", "allow"),))
    )
    deletes, pushes = ToolFacts("github", "delete_repo"), ToolFacts("github", "push")

    assert hiding.hides(deletes, Caller("ci-bot"))
    assert not hiding.hides(deletes, Caller("ana"))
    assert not hiding.hides(pushes, Caller("ci-bot"))


def test_9_a_condition_on_arguments_leaves_the_tool_listed_and_decides_at_the_call() -> None:
    hiding = policy(Layer("a", (rule("big", "hide", when=Says("argument")), rule("rest", "allow"))))

    assert not hiding.hides(call().tool, Caller("local"))
    assert hiding.decide(call(arguments={"answer": True})).action is Action.HIDE
    assert hiding.decide(call(arguments={"answer": False})).action is Action.ALLOW


def test_9_a_condition_on_the_tool_alone_is_asked_when_tools_are_listed() -> None:
    assert policy(Layer("a", (rule("x", "hide", when=Says(True, static=True)),))).hides(call().tool, Caller("local"))
    assert policy(Layer("a", (rule("x", "hide", when=Says("error", static=True)),))).hides(call().tool, Caller("local"))
    shown = policy(Layer("a", (rule("x", "allow", when=Says(True, static=True)), rule("y", "hide"))))
    assert not shown.hides(call().tool, Caller("local"))


def test_every_numbered_line_has_a_case_here() -> None:
    promised = set(re.findall(r"^(\d+)\. ", engine.__doc__ or "", re.MULTILINE))
    tested = set(re.findall(r"^def test_(\d+)_", Path(__file__).read_text(), re.MULTILINE))

    assert promised == tested == {str(line) for line in range(1, 10)}


def test_verdicts_are_the_same_when_they_come_from_memory() -> None:
    remembered = policy(Layer("a", (rule("gone", "hide", "github__delete_*"), rule("rest", "ask"))))

    first = [remembered.decide(call(key)) for key in ("github__delete_repo", "github__push")]
    again = [remembered.decide(call(key)) for key in ("github__delete_repo", "github__push")]

    assert first == again
    assert first[0] is again[0]


def test_memory_is_bounded_however_many_names_are_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.policy.memory.MOST_KEPT", 10)
    small = policy(Layer("a", (rule("gone", "hide", "s1__*"), rule("rest", "ask"))))

    actions = [small.decide(call(f"s{number % 50}__t{number}")).action for number in range(500)]

    assert actions.count(Action.HIDE) == 10
    assert len(small._rows) <= 10  # pyright: ignore[reportPrivateUsage]
    assert len(small._by_server) <= 10  # pyright: ignore[reportPrivateUsage]


def test_the_digest_tells_policies_apart_and_ignores_places() -> None:
    from holdshort.policy import Place

    base = policy(Layer("a", (rule("x", "ask", "github__*"),)))

    assert base.digest == policy(Layer("a", (rule("x", "ask", "github__*", place=Place("f", 1, 2)),))).digest
    others = [
        policy(Layer("b", (rule("x", "ask", "github__*"),))),
        policy(Layer("a", (rule("y", "ask", "github__*"),))),
        policy(Layer("a", (rule("x", "deny", "github__*"),))),
        policy(Layer("a", (rule("x", "ask", "github__?"),))),
        policy(Layer("a", (rule("x", "ask", "github__*", agents="bot"),))),
        policy(Layer("a", (rule("x", "ask", "github__*", required_approvals=2),))),
        policy(Layer("a", (rule("x", "ask", "github__*", approvers=frozenset({"ana"})),))),
        policy(Layer("a", (rule("x", "ask", "github__*", when=Says(True)),))),
        policy(Layer("a", (rule("x", "ask", "github__*"),), Action.ASK)),
        policy(Layer("a", (rule("x", "ask", "github__*"),)), Layer("b")),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1
    assert re.fullmatch(r"[0-9a-f]{64}", base.digest)


def test_wrap_without_a_file_runs_declared_reads_and_asks_about_the_rest() -> None:
    assert wrap_policy(False).decide(call(read_only=True)) == Verdict(Action.ALLOW, (Because("wrap", "reads"),))
    assert wrap_policy(False).decide(call()) == Verdict(Action.ASK, (Because("wrap", "default"),))
    assert wrap_policy(True).decide(call(read_only=True)) == Verdict(Action.ASK, (Because("wrap", "default"),))


def test_an_explanation_gives_the_words_of_every_layer() -> None:
    layers = [
        Layer("org", (rule("other", "deny", "files__*"),), Action.ASK),
        Layer("team", (rule("small", "allow", when=Says(False)), rule("push", "ask", "github__*"))),
        Layer("odd", (rule("broken", "allow", when=Says("error")),)),
        Layer("kind", (rule("yes", "allow"),)),
        Layer("empty"),
    ]

    told = explain(policy(*layers), call())

    assert told.verdict == policy(*layers).decide(call())
    assert [(one.layer, one.rule, one.words) for one in told.layers] == [
        ("org", None, "abstains: its one rule does not match"),
        ("team", "push", "rule `small` matches the tool, but `when: says False` is false; rule `push` says ask"),
        (
            "odd",
            None,
            (
                "rule `broken` could not be evaluated (the condition failed: KeyError), and an error never allows; "
                "abstains: no rule is left"
            ),
        ),
        ("kind", "yes", "rule `yes` says allow; ask is stricter and wins"),
        ("empty", None, "abstains: it has no rules"),
    ]
    alone = explain(policy(layers[0]), call())
    assert alone.layers[0].words == (
        "abstains: its one rule does not match; no layer had an opinion, so its default counts: ask"
    )


def test_6_a_tool_that_differs_from_its_pin_asks_and_no_grant_answers_for_it() -> None:
    allowing = policy(Layer("f", (rule("all", "allow"),)))

    found = decide(allowing, call(pinned=False))

    assert (found.action, found.because) == (Action.ASK, (Because("pins", "changed"),))
    assert not found.terms.grants
    assert not allowing.hides(call(pinned=False).tool, Caller("local"))


def test_6_what_is_stricter_than_ask_stays_when_a_definition_changed() -> None:
    for action in ("deny", "hide"):
        assert verdict(Layer("f", (rule("all", action),)), pinned=False) == (action, [("f", "all")])


def test_6_an_ask_names_the_changed_definition_too() -> None:
    assert verdict(Layer("f", (rule("all", "ask"),)), pinned=False) == ("ask", [("f", "all"), ("pins", "changed")])


def test_6_a_changed_definition_asks_on_default_terms_beside_those_of_the_rules() -> None:
    patient = Layer(
        "f", (rule("all", "ask", required_approvals=2, expires_after=timedelta(days=7), execute="on_decision"),)
    )
    hasty = Layer("f", (rule("all", "ask", expires_after=timedelta(minutes=5)),))

    assert decide(policy(patient), call(pinned=False)).terms == Terms(required_approvals=2, grants=False)
    assert decide(policy(hasty), call(pinned=False)).terms == Terms(expires_after=timedelta(minutes=5), grants=False)


def test_6_strict_pins_of_any_layer_hide_what_is_not_pinned() -> None:
    layers = (Layer("a", (rule("all", "allow"),), pins=PinMode.OFF), Layer("b", pins=PinMode.STRICT))

    assert verdict(*layers, pinned=False) == ("hide", [("pins", "strict")])
    assert policy(*layers).hides(call(pinned=False).tool, Caller("local"))
    assert verdict(*layers) == ("allow", [("a", "all")])


def test_6_definitions_are_pinned_on_first_use_where_no_file_says_otherwise() -> None:
    assert policy().pins is policy(Layer("a")).pins is PinMode.FIRST_USE
    assert policy(Layer("a", pins=PinMode.OFF), Layer("b", pins=PinMode.FIRST_USE)).pins is PinMode.FIRST_USE


def test_6_pins_that_are_off_say_nothing() -> None:
    assert verdict(Layer("f", (rule("all", "allow"),), pins=PinMode.OFF), pinned=False) == ("allow", [("f", "all")])
