"""What a condition says about a call, by table; and that no error, whatever its kind, ever helps a call."""

import threading
from typing import Any

import pytest

from holdshort.policy import (
    Access,
    Action,
    Caller,
    CelCondition,
    ConditionFailed,
    Kind,
    Layer,
    compile_condition,
    compile_policy,
    read_only_tools,
)
from holdshort.policy.cel.evaluate import build, evaluate
from holdshort.policy.cel.frame import MAX_STEPS
from holdshort.policy.cel.parse import parse
from holdshort.policy.cel.values import MAX_VALUE_DEPTH, TooCostly
from holdshort.policy.conditions import speaks
from policy.samples import NOW, call, rule

FAILS = "fails"


def answer(text: str, args: dict[str, Any], **facts: Any) -> object:
    """What `text` says about a call, straight from the tree: the checker would refuse what is certainly wrong."""
    try:
        return build(parse(text), Kind.TOOL)(frame(args, **facts))
    except ConditionFailed:
        return FAILS


def frame(args: dict[str, Any], **facts: Any) -> Any:
    from holdshort.policy.cel.frame import Frame

    return Frame(call("files__write", args, groups="staff ci", **facts))


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        # Numbers are what they are, however they are written.
        ("args.x > 100", {"x": 101}, True),
        ("args.x > 100", {"x": 100.5}, True),
        ("args.x > 100.4", {"x": 100.5}, True),
        ("args.x == 100", {"x": 100.0}, True),
        ("args.x in [1, 2]", {"x": 2.0}, True),
        ("args.x == 5u", {"x": 5}, True),
        ("args.x > 9007199254740992.0", {"x": 9007199254740993}, True),
        ("args.x == 9007199254740992.0", {"x": 9007199254740993}, False),
        ("args.x < 9007199254740993", {"x": 9007199254740992.0}, True),
        ("args.x > 9223372036854775807", {"x": 9223372036854775808.0}, True),
        ("args.x > 1", {"x": 2**63 - 1}, True),
        ("args.x < 1", {"x": -(2**63)}, True),
        ("args.x > 1", {"x": 2**63}, FAILS),
        ("args.x > 1", {"x": 2**64}, FAILS),
        ("args.x < 1", {"x": -(2**63) - 1}, FAILS),
        ("args.x > 1", {"x": float("inf")}, FAILS),
        ("args.x == args.x", {"x": float("nan")}, FAILS),
        ("args.x == [1]", {"x": [2**63]}, FAILS),
        ("args.x.exists(i, i > 1)", {"x": [2**63]}, FAILS),
        # A bool is no number, and a text is neither.
        ("args.x == 1", {"x": True}, False),
        ("args.x == true", {"x": 1}, False),
        ("args.x == [true]", {"x": [1]}, False),
        ("args.x in [0, 1]", {"x": True}, False),
        ("args.x > 0", {"x": True}, FAILS),
        ("args.x > 0", {"x": "1"}, FAILS),
        ("args.x == 1", {"x": "1"}, False),
        ("args.x == null", {"x": None}, True),
        ("args.x == null", {"x": 0}, False),
        ("args.x == false", {"x": None}, False),
        # Missing, null, and fields of what has none.
        ("args.x == 1", {}, FAILS),
        ("args['x'] == 1", {}, FAILS),
        ("has(args.x)", {}, False),
        ("has(args.x)", {"x": None}, True),
        ("has(args.x.y)", {}, FAILS),
        ("has(args.x.y)", {"x": None}, FAILS),
        ("args.x.y == 1", {"x": [1]}, FAILS),
        ("'x' in args", {"x": 1}, True),
        ("1 in args", {"x": 1}, FAILS),
        ("args.x[0] == 1", {"x": [1]}, True),
        ("args.x[1] == 1", {"x": [1]}, FAILS),
        ("args.x[-1] == 1", {"x": [1]}, FAILS),
        ("args.x[0.0] == 1", {"x": [1]}, FAILS),
        ("args.x[true] == 1", {"x": [0, 1]}, FAILS),
        ("args.x['0'] == 1", {"x": [1]}, FAILS),
        ("{'a': 1}['a'] == 1", {}, True),
        # Texts: the whole of them.
        ("args.x == 'a'", {"x": "a\0rm"}, False),
        ("args.x == 'a\\x00rm'", {"x": "a\0rm"}, True),
        ("args.x.startsWith('a')", {"x": "a\0rm"}, True),
        ("args.x.endsWith('rm')", {"x": "a\0rm"}, True),
        ("args.x.contains('\\x00')", {"x": "a\0rm"}, True),
        ("size(args.x) == 1", {"x": "\U0001f600"}, True),
        ("args.x == '\\u00e9'", {"x": "e\u0301"}, False),
        ("args.x < '\\uffff'", {"x": "\U0001f600"}, False),
        ("args.x.lowerAscii() == 'drop \\u0130'", {"x": "DROP \u0130"}, True),
        ("args.x.contains('a')", {"x": ["a"]}, FAILS),
        ("args.x.contains('a')", {"x": {"a": 1}}, FAILS),
        # Errors: survived only where they cannot matter.
        ("args.x > 1 || true", {}, True),
        ("true || args.x > 1", {}, True),
        ("args.x > 1 || false", {}, FAILS),
        ("false || args.x > 1", {}, FAILS),
        ("args.x > 1 && false", {}, False),
        ("args.x > 1 && true", {}, FAILS),
        ("1 || true", {}, True),
        ("1 || false", {}, FAILS),
        ("1 && true", {}, FAILS),
        ("!args.x", {"x": 1}, FAILS),
        ("args.x ? true : true", {"x": 1}, FAILS),
        ("(args.x > 1 ? 1 : 2) == 1", {}, FAILS),
        ("true ? true : args.x", {}, True),
        # Loops.
        ("args.x.all(i, i > 0)", {"x": []}, True),
        ("args.x.exists(i, i > 0)", {"x": []}, False),
        ("args.x.all(i, i > 0)", {"x": [1, "a"]}, FAILS),
        ("args.x.all(i, i > 0)", {"x": ["a", 0]}, False),
        ("args.x.exists(i, i > 0)", {"x": ["a", 1]}, True),
        ("args.x.exists(i, i > 0)", {"x": ["a", 0]}, FAILS),
        ("args.x.exists_one(i, i > 0)", {"x": [1, 0]}, True),
        ("args.x.exists_one(i, i > 0)", {"x": [1, 1]}, False),
        ("args.x.exists_one(i, i > 0)", {"x": [1, 1, "a"]}, FAILS),
        ("args.x.filter(i, i > 1) == [2, 3]", {"x": [1, 2, 3]}, True),
        ("args.x.map(i, i + 1) == [2, 3]", {"x": [1, 2]}, True),
        ("args.x.map(i, i > 1, i * 2) == [4]", {"x": [1, 2]}, True),
        ("args.x.exists(k, k == 'a')", {"x": {"a": 1}}, True),
        ("args.x.all(i, true)", {"x": "text"}, FAILS),
        ("args.x.exists(i, args.y.exists(j, i == j))", {"x": [1, 2], "y": [3, 2]}, True),
        ("args.x.exists(i, i.exists(j, j > 1) && i[0] == 0)", {"x": [[0, 2]]}, True),
        # Sums never wrap.
        ("args.x + 1 > 0", {"x": 2**63 - 1}, FAILS),
        ("-args.x > 0", {"x": -(2**63)}, FAILS),
        ("args.x * args.x > 0", {"x": 2**62}, FAILS),
        ("args.x / 0 == 0", {"x": 1}, FAILS),
        ("args.x % 0 == 0", {"x": 1}, FAILS),
        ("args.x / 0.0 == 0.0", {"x": 1.0}, FAILS),
        ("-7 / 2 == -3", {}, True),
        ("-7 % 2 == -1", {}, True),
        ("7 / -2 == -3", {}, True),
        ("-9223372036854775808 / -1 > 0", {}, FAILS),
        ("1u - 2u == 0u", {}, FAILS),
        ("args.x * 1e308 > 0.0", {"x": 1e308}, FAILS),
        ("args.x + 1 > 0", {"x": 1.5}, FAILS),
        ("double(args.x) + 1.0 > 2.0", {"x": 1.5}, True),
        ("args.x + 'b' == 'ab'", {"x": "a"}, True),
        ("args.x + [2] == [1, 2]", {"x": [1]}, True),
        # From one type to another.
        ("int(args.x) == 12", {"x": "12"}, True),
        ("int(args.x) == 12", {"x": " 12"}, FAILS),
        ("int(args.x) == 12", {"x": "1_2"}, FAILS),
        ("int(args.x) == 12", {"x": "\u0661\u0662"}, FAILS),
        ("int(args.x) == -2", {"x": -2.9}, True),
        ("int(args.x) == 0", {"x": 1e30}, FAILS),
        ("int(args.x) == 0", {"x": True}, FAILS),
        ("double(args.x) > 1.0", {"x": "1e400"}, FAILS),
        ("double(args.x) > 1.0", {"x": "inf"}, FAILS),
        ("uint(args.x) == 1u", {"x": -1}, FAILS),
        ("string(args.x) == '12'", {"x": 12}, True),
        ("string(args.x) == 'true'", {"x": True}, True),
        ("type(args.x) == int", {"x": 1}, True),
        ("type(args.x) == bool", {"x": 1}, False),
        ("type(args.x) == null_type", {"x": None}, True),
        # The tool, the caller, the time.
        ("tool.server == 'files' && tool.name == 'write'", {}, True),
        ("tool.read_only || !tool.destructive", {}, False),
        ("tool.title == null", {}, True),
        ("tool['name'] == 'write'", {}, True),
        ("'ci' in caller.groups && caller.agent == 'local'", {}, True),
        ("caller.groups == ['ci', 'staff']", {}, True),
        ("caller.client == null", {}, True),
        ("caller.client.startsWith('x')", {}, FAILS),
        ("now == timestamp('2026-03-01T13:00:00+01:00')", {}, True),
        ("now.getHours() == 12 && now.getHours('Europe/Vienna') == 13", {}, True),
        ("now.getHours('-05:30') == 6 && now.getMinutes('-05:30') == 30", {}, True),
        ("now.getFullYear() == 2026 && now.getMonth() == 2 && now.getDate() == 1", {}, True),
        ("now.getDayOfMonth() == 0 && now.getDayOfWeek() == 0 && now.getDayOfYear() == 59", {}, True),
        ("now.getSeconds() == 0 && now.getMilliseconds() == 0", {}, True),
        ("now - duration('1h') < now && now + duration('1h') > now", {}, True),
        ("now - timestamp('2026-03-01T00:00:00Z') == duration('12h')", {}, True),
        ("now + duration('999999999h') > now", {}, FAILS),
    ],
)
def test_what_a_condition_says(text: str, args: dict[str, Any], expected: object) -> None:
    assert answer(text, args) == expected


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("args.password > 5", {"password": "s3cr3t"}),
        ("args.password + 1 > 5", {"password": "s3cr3t"}),
        ("int(args.password) > 5", {"password": "s3cr3t"}),
        ("under(args.password, '/srv')", {"password": "s3cr3t\0"}),
        ("under('/srv', args.password)", {"password": "s3cr3t"}),
        ("host(args.password) == 'x'", {"password": "s3cr3t"}),
        ("in_domain(args.password, 'example.com')", {"password": "s3cr3t@x"}),
        ("in_cidr(args.password, '10.0.0.0/8')", {"password": "s3cr3t"}),
        ("in_cidr('10.0.0.1', args.password)", {"password": "s3cr3t"}),
        ("timestamp(args.password) < now", {"password": "s3cr3t"}),
        ("{'a': 1}[args.password] == 1", {"password": "s3cr3t"}),
        ("args[args.password] == 1", {"password": "s3cr3t"}),
    ],
)
def test_no_failure_quotes_an_argument(text: str, args: dict[str, Any]) -> None:
    condition = compile_condition(text)

    held, problem = speaks(rule("r", "allow", when=condition), call("files__write", args))
    assert not held
    assert "s3cr3t" not in str(problem)


@pytest.mark.parametrize("action", ["allow", "ask", "deny", "hide"])
@pytest.mark.parametrize(
    "args",
    [
        {},
        {"x": "a text"},
        {"x": 2**70},
        {"x": None},
        {"x": [1]},
        {"x": float("nan")},
        {"x": object()},
        {"x": {"deep": 1}},
    ],
    ids=["nothing", "text", "large", "null", "list", "nan", "object", "map"],
)
def test_an_error_is_never_on_the_side_of_the_call(action: str, args: dict[str, Any]) -> None:
    when = compile_condition("args.x < 100")
    policy = compile_policy([Layer("team", (rule("r", action, when=when),), Action.DENY)])

    verdict = policy.decide(call("files__write", args))
    assert verdict.action is (Action.DENY if action == "allow" else Action(action))
    assert verdict.errors


def test_a_condition_that_is_never_a_bool_is_an_error_at_the_call() -> None:
    condition = compile_condition("args.x")

    assert condition(call("files__write", {"x": True})) is True
    for value in (1, "true", None, [True]):
        with pytest.raises(ConditionFailed, match="not true or false"):
            condition(call("files__write", {"x": value}))


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_values_are_compared_so_deep_and_no_deeper() -> None:
    condition = compile_condition("args.x == args.y")

    assert condition(call("files__w", {"x": deep(MAX_VALUE_DEPTH), "y": deep(MAX_VALUE_DEPTH)})) is True
    with pytest.raises(ConditionFailed, match="nested"):
        condition(call("files__w", {"x": deep(MAX_VALUE_DEPTH + 1), "y": deep(MAX_VALUE_DEPTH + 1)}))
    with pytest.raises(ConditionFailed, match="nested"):
        condition(call("files__w", {"x": deep(100_000), "y": deep(100_000)}))


def test_what_is_deep_and_not_looked_at_costs_nothing() -> None:
    assert compile_condition("args.y == 1")(call("files__w", {"x": deep(100_000), "y": 1})) is True


def test_a_loop_runs_to_the_last_step_and_not_beyond() -> None:
    condition = compile_condition("args.x.all(i, true)")

    assert condition(call("files__w", {"x": [1] * (MAX_STEPS // 2)})) is True
    with pytest.raises(TooCostly):
        condition(call("files__w", {"x": [1] * (MAX_STEPS // 2 + 1)}))


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("args.x.all(i, args.x.all(j, i == j || true))", {"x": [1] * 1000}),
        ("args.x.exists(i, args.x.exists(j, i == j + 1))", {"x": [1] * 1000}),
        ("args.x.all(i, !args.t.contains('b' + i))", {"x": ["c"] * 1000, "t": "b" * 1_000_000}),
        ("args.x.all(i, size(i + args.t) > 0)", {"x": ["c"] * 1000, "t": "b" * 1_000_000}),
        ("args.x.all(i, args.t == args.u)", {"x": [1] * 50_000, "t": "b" * 1_000_000, "u": "b" * 999_999 + "b"}),
        ("args.x.all(i, !args.t.matches('a+b$'))", {"x": [1] * 1000, "t": "a" * 100_000}),
        ("args.x.map(i, args.x + args.x).size() > 0", {"x": [1] * 1000}),
        ("args.x.all(i, i in args.x)", {"x": [1] * 1000}),
        ("args.x.all(i, args.x == args.x)", {"x": [1] * 1000}),
        ("args.x.all(i, args.m.all(k, true))", {"x": [1] * 1000, "m": {str(i): 1 for i in range(1000)}}),
        ("args.t.matches('a')", {"t": "b" * 2_000_000}),
        ("args.t.lowerAscii() == ''", {"t": "B" * 2_000_000}),
        ("args.x.all(i, args.x.all(j, true)) || true", {"x": [1] * 1000}),
    ],
)
def test_what_explodes_is_stopped_and_nothing_survives_it(text: str, args: dict[str, Any]) -> None:
    with pytest.raises(TooCostly):
        compile_condition(text)(call("files__w", args))


def test_a_long_text_that_is_read_once_is_fine() -> None:
    condition = compile_condition("args.t.contains('PRIVATE KEY') || args.t.matches('BEGIN')")

    assert condition(call("files__w", {"t": "x" * 600_000})) is False
    assert condition(call("files__w", {"t": "x" * 600_000 + "PRIVATE KEY"})) is True


def test_threads_share_a_condition() -> None:
    condition = compile_condition("args.x.map(i, i * args.k).exists(i, i == args.x[0] * args.k)")
    wrong: list[int] = []

    def ask(k: int) -> None:
        answers = {condition(call("files__w", {"x": [k, k + 1], "k": k})) for _ in range(300)}
        wrong.extend([k] * (answers != {True}))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_condition_knows_what_it_reads() -> None:
    def facts(text: str) -> tuple[bool, bool, bool]:
        condition = compile_condition(text)
        return condition.static, condition.reads_arguments, condition.reads_time

    assert facts("tool.read_only && 'ci' in caller.groups") == (True, False, False)
    assert facts("has(args.x)") == (False, True, False)
    assert facts("now.getHours() < 8") == (False, False, True)
    assert facts("tool.name == 'args' && [1].all(now_, now_ > 0)") == (True, False, False)


def test_conditions_with_one_text_are_one_condition() -> None:
    assert compile_condition("tool.read_only") == compile_condition("tool.read_only")
    assert compile_condition("now == now", Kind.PROMPT) != compile_condition("now == now")
    assert len({compile_condition("tool.read_only"), compile_condition("tool.read_only")}) == 1


@pytest.mark.parametrize("read_only", [True, False])
def test_the_ready_made_condition_says_what_its_text_says(*, read_only: bool) -> None:
    made, written = read_only_tools(), compile_condition(read_only_tools().text)
    question = call("files__read", read_only=read_only)

    assert isinstance(written, CelCondition)
    assert (made(question), made.static) == (written(question), written.static)


def test_rules_about_other_things_have_variables_of_their_own() -> None:
    caller = Caller("ana", frozenset({"staff"}))
    file = Access(Kind.RESOURCE, "files", "file:///srv/a", caller, NOW)
    prompt = Access(Kind.PROMPT, "docs", "review", caller, NOW, {"language": "de"})
    asks = Access(Kind.SERVER_REQUEST, "docs", "sampling/createMessage", caller, NOW)

    assert compile_condition("resource.uri.startsWith('file:///srv/')", Kind.RESOURCE)(file)
    assert compile_condition("prompt.name == 'review' && args.language == 'de'", Kind.PROMPT)(prompt)
    assert compile_condition(
        "request.method.startsWith('sampling/') && request.server == 'docs' && now == now", Kind.SERVER_REQUEST
    )(asks)
    assert evaluate(parse("resource.uri"), file) == "file:///srv/a"
    assert evaluate(parse("args.x + 1"), call("files__w", {"x": 1})) == 2
