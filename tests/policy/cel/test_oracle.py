"""Our reading of CEL against another implementation, on random trees; every deliberate difference is in a table."""

from typing import Any

import cel
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from holdshort.policy import BadCondition, ConditionFailed, Kind
from holdshort.policy.cel.evaluate import build
from holdshort.policy.cel.frame import Frame
from holdshort.policy.cel.parse import parse
from policy.samples import call

ERROR = "error"


def ours(text: str, args: dict[str, Any]) -> Any:
    try:
        return build(parse(text), Kind.TOOL)(Frame(call("files__write", args)))
    except ConditionFailed:
        return ERROR


def theirs(text: str, args: dict[str, Any]) -> Any:
    try:
        return cel.evaluate(text, {"args": args})
    except Exception:  # noqa: BLE001 - it has no error of its own
        return ERROR


def alike(one: Any, other: Any) -> bool:
    """Equal, and of one type: a bool is no number, wherever it stands."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


TEXTS = st.text("ab é\0", max_size=3)
NUMBERS = st.integers(-3, 3) | st.sampled_from([2**62, -(2**62), 2**63 - 1, 2**40]) | st.sampled_from([0.5, -1.0, 2.0])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=5
)
FIELDS = ("n", "t", "flag", "list", "map", "any")
ARGS = st.fixed_dictionaries(
    {
        "n": NUMBERS,
        "m": NUMBERS,
        "t": TEXTS,
        "u": TEXTS,
        "flag": st.booleans(),
        "list": st.lists(NUMBERS | TEXTS | st.booleans(), min_size=1, max_size=4),
        "nums": st.lists(NUMBERS, max_size=4),
        "map": st.dictionaries(st.sampled_from(["a", "b"]), SCALARS, max_size=2),
    },
    optional={"any": JSON},
)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + "".join(f"\\u{ord(letter):04x}" for letter in value) + "'"
    return repr(value)


def pick(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


def two(left: st.SearchStrategy[str], operators: str, right: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda a, o, b: f"(({a}) {o} ({b}))", left, pick(*operators.split()), right)


ANY: st.SearchStrategy[str] = st.deferred(
    lambda: (
        BOOL
        | NUM
        | TEXT
        | st.just("null")
        | pick("args.any", "args.any.a", "args.any[0]", "args.missing")
        | st.lists(ANY, max_size=2).map(lambda a: f"[{', '.join(a)}]")
        | st.builds(lambda a, b: f"{{'a': {a}, 'b': {b}}}", ANY, ANY)
    )
)
NUM: st.SearchStrategy[str] = st.deferred(
    lambda: (
        (st.integers(-3, 3) | pick("0.5", "2.0")).map(str)
        | pick("args.n", "args.m", "args.n", "args.list[0]", "size(args.list)", "size(args.map)")
        | two(NUM, "+ - * %", NUM)
        | st.builds(lambda a, b, c: f"(({a}) ? ({b}) : ({c}))", BOOL, NUM, NUM)
    )
)
TEXT: st.SearchStrategy[str] = st.deferred(
    lambda: TEXTS.map(literal) | pick("args.t", "args.u", "args.t") | two(TEXT, "+", TEXT)
)
ITEMS = pick("args.list", "args.nums", "args.nums", "args.map", "[1, 2, 3]", "args.any")
BOOL: st.SearchStrategy[str] = st.deferred(
    lambda: (
        pick("true", "false", "args.flag", "args.missing", "args.any")
        | pick(*FIELDS, "any.a", "missing").map("has(args.{})".format)
        | two(NUM, "< <= > >= == !=", NUM)
        | two(TEXT, "< <= > >= == !=", TEXT)
        | two(ANY, "== !=", ANY)
        | two(ANY, "< >=", ANY)
        | two(BOOL, "&& || && || ==", BOOL)
        | two(BOOL, "&& ||", BOOL)
        | BOOL.map(lambda a: f"!({a})")
        | st.builds(lambda a, b: f"(({a}) in [{b}, 1])", ANY, ANY)
        | st.builds(lambda a: f"(({a}) in args.list)", NUM | TEXT)
        | st.builds(lambda a: f"(({a}) in args.map)", TEXT)
        | st.builds(lambda a, m, b: f"({a}).{m}({b})", TEXT, pick("contains", "startsWith", "endsWith"), TEXT)
        | st.builds(lambda a: f"(type({a}) == type(1))", ANY)
        | st.builds(
            lambda a, m, o, b: f"{a}.{m}(i, (i {o} ({b})))",
            ITEMS,
            pick("all", "exists", "exists_one"),
            pick("==", "!=", "<", ">="),
            NUM | TEXT,
        )
        | st.builds(
            lambda a, m, o, b, c: f"({a}.{m}(i, (i {o} ({b}))) == [{c}])",
            ITEMS,
            pick("filter", "map"),
            pick("==", "!=", "<", ">="),
            NUM | TEXT,
            ANY,
        )
        | st.builds(lambda a, b, c: f"(({a}) ? ({b}) : ({c}))", BOOL, BOOL, BOOL)
    )
)


@given(BOOL | ANY, ARGS)
@settings(max_examples=1_200, deadline=None)
def test_two_implementations_agree(text: str, args: dict[str, Any]) -> None:
    try:
        parse(text)
    except BadCondition:
        reject()  # beyond a bound of ours, or a loop in a loop with the same name
    mine, other = ours(text, args), theirs(text, args)

    # Theirs does not survive an error inside `all` and `exists`, as CEL asks (langdef.md, "Macros").
    if other == ERROR and mine != ERROR and ("all(" in text or "exists(" in text):
        return
    assert alike(mine, other), (text, args, mine, other)


DIFFERENCES: dict[str, tuple[str, dict[str, Any], Any, Any]] = {
    "an integer and a double compare exactly": ("args.x == 9007199254740992.0", {"x": 2**53 + 1}, False, True),
    "an order is exact, too": ("args.x > 9007199254740992.0", {"x": 2**53 + 1}, True, False),
    "integers beyond 64 bits are refused": ("args.x > 1", {"x": 2**64}, ERROR, True),
    "unsigned ones beyond 63 bits, too": ("args.x > 1", {"x": 2**63}, ERROR, True),
    "the least integer has no negative": ("-args.x < 0", {"x": -(2**63)}, ERROR, True),
    "no infinity": ("1.0 / 0.0 > 1.0", {}, ERROR, True),
    "no infinity that is read": ("args.x > 1.0", {"x": float("inf")}, ERROR, True),
    "no NaN": ("args.x == args.x", {"x": float("nan")}, ERROR, False),
    "a text counts characters, as CEL says": ("size('\u00e9') == 1", {}, True, False),
    "an error inside exists is survived, as CEL says": ("['a', 1].exists(i, i > 0)", {}, True, ERROR),
    "an error inside all is survived, as CEL says": ("['a', 1].all(i, i > 5)", {}, False, ERROR),
    "a pattern can be asked as a function, as CEL says": ("matches('abc', 'b')", {}, True, ERROR),
    "a text of a double that is too large": ("double('1e400') > 1.0", {}, ERROR, True),
}
"""What: condition, arguments, our answer, theirs. When theirs changes, this says so."""


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_as_the_table_says(name: str) -> None:
    text, args, mine, other = DIFFERENCES[name]

    assert alike(ours(text, args), mine)
    assert alike(theirs(text, args), other)
