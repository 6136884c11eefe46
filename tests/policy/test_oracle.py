"""The engine against a naive second implementation, on policies nobody would write by hand."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.policy import Action, Call, Caller, Layer, NamePattern, Rule, ToolFacts, ToolPattern, compile_policy
from policy import oracle
from policy.samples import NOW, Says

SERVERS = st.sampled_from(["github", "git", "files"])
TOOLS = st.sampled_from(["delete_repo", "delete", "push", "_x", "a__b"])
AGENTS = st.sampled_from(["ci-bot", "ana", "local"])
GROUPS = st.frozensets(st.sampled_from(["ci", "staff"]))
GLOBS = st.sampled_from(
    ["*", "git*", "*it*", "github", "delete*", "?elete", "push", "*_*", "_?", "a__*", "files", "d*e*o"]
)
PATTERNS = st.builds(ToolPattern, st.sampled_from(["*", "git*", "*u?", "github", "files", "f*s"]), GLOBS)
LITERALS = st.builds(ToolPattern, SERVERS, TOOLS, literal=st.just(True))
PEOPLE = st.frozensets(st.sampled_from(["ana", "bob", "finance"]), min_size=1)
WHENS = st.none() | st.builds(Says, st.sampled_from([True, False, "error", "argument"]), st.just(False))
RULES = st.builds(
    Rule,
    st.from_regex(r"[a-z]{1,4}", fullmatch=True),
    st.sampled_from(list(Action)),
    tools=st.lists(PATTERNS, max_size=2).map(tuple),
    except_tools=st.lists(LITERALS, max_size=1).map(tuple),
    agents=st.lists(st.builds(NamePattern, st.sampled_from(["*", "ci*", "ana", "staff"])), max_size=1).map(tuple),
    when=WHENS,
    approvers=st.none() | PEOPLE,
    required_approvals=st.none() | st.integers(1, 3),
    expires_after=st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=2)),
    decisions=st.none() | st.frozensets(st.sampled_from(["approve", "edit", "reject", "respond"])),
    execute=st.sampled_from([None, "claimed", "on_decision"]),
)
DEFAULTS = st.sampled_from([None, Action.ALLOW, Action.ASK, Action.DENY])
LAYERS = st.lists(
    st.builds(Layer, st.sampled_from("abcdef"), st.lists(RULES, max_size=5).map(tuple), DEFAULTS), max_size=4
)
CALLS = st.builds(
    Call,
    st.builds(ToolFacts, SERVERS, TOOLS),
    st.fixed_dictionaries({"answer": st.booleans()}),
    st.builds(Caller, AGENTS, GROUPS),
    st.just(NOW),
)


@settings(max_examples=400, deadline=None)
@given(LAYERS, st.lists(CALLS, min_size=1, max_size=4))
def test_the_engine_agrees_with_the_naive_reading_of_the_precedence(layers: list[Layer], calls: list[Call]) -> None:
    policy = compile_policy(layers)
    for call in calls + calls:  # the second time around, answers come from memory
        action, because, errors = oracle.judge(layers, call)

        verdict = policy.decide(call)

        assert verdict.action == action
        assert [(reason.layer, reason.rule) for reason in verdict.because] == because
        assert len(verdict.errors) == len(errors)
        if action is Action.ASK:
            terms = verdict.terms
            assert (
                terms.required_approvals,
                terms.expires_after,
                terms.decisions,
                set(terms.approvers),
                terms.execute,
            ) == oracle.terms(layers, call)


@settings(max_examples=300, deadline=None)
@given(LAYERS, CALLS)
def test_a_tool_missing_from_the_list_is_hidden_at_every_call(layers: list[Layer], call: Call) -> None:
    policy = compile_policy(layers)

    if policy.hides(call.tool, call.caller):
        for answer in (True, False):
            asked = Call(call.tool, {"answer": answer}, call.caller, call.now)
            assert oracle.judge(layers, asked)[0] is Action.HIDE


@settings(max_examples=300, deadline=None)
@given(LAYERS, st.builds(Layer, st.just("more"), st.lists(RULES, max_size=3).map(tuple)), CALLS)
def test_one_more_layer_never_loosens_what_a_rule_says(layers: list[Layer], more: Layer, call: Call) -> None:
    before, after = compile_policy(layers).decide(call), compile_policy([*layers, more]).decide(call)

    carried_by_a_rule = all(reason.rule != "default" and reason.layer != "default" for reason in before.because)
    if carried_by_a_rule:
        assert after.action.strictness >= before.action.strictness
