"""From text to tree: what is read, what is refused and where, and every bound at its edge."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdshort.policy.cel.bounds import MAX_DEPTH, MAX_ITEMS, MAX_NESTING, MAX_NODES
from holdshort.policy.cel.parse import parse
from holdshort.policy.cel.syntax import Binary, Constant, Identifier, Node, Select, path_of, walk
from holdshort.policy.cel.text import text_of
from holdshort.policy.cel.tokens import MAX_TEXT, BadCondition


def shown(text: str) -> str:
    """The tree of `text` with every bracket written."""
    return brackets(parse(text))


def brackets(node: Node) -> str:
    match node:
        case Binary(operator, left, right):
            return f"({brackets(left)} {operator} {brackets(right)})"
        case _:
            return text_of(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a || b && c || d", "((a || (b && c)) || d)"),
        ("a && b || c && d", "((a && b) || (c && d))"),
        ("a + b * c - d == e", "(((a + (b * c)) - d) == e)"),
        ("a - b - c", "((a - b) - c)"),
        ("a * b % c / d", "(((a * b) % c) / d)"),
        ("a < b + 1 && x in y", "((a < (b + 1)) && (x in y))"),
        ("(a || b) && c", "((a || b) && c)"),
        ("a == b == c", "((a == b) == c)"),
        ("1 - -1", "(1 - -1)"),
        ("a -1", "(a - 1)"),
    ],
)
def test_operators_bind_as_cel_says(text: str, tree: str) -> None:
    assert shown(text) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551615u", 2**64 - 1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5", -1.5),
        (r"'a\tb\\\'\x41\u00e9\U0001F600\101'", "a\tb\\'Aé\U0001f600A"),
        (r'r"\d+\."', r"\d+\."),
        ("'''it's\nlong'''", "it's\nlong"),
        ('"""a"b"""', 'a"b'),
        (r"b'\xff\101a'", b"\xffAa"),
        (r"b'é'", "é".encode()),
        ("'a\\x00rm'", "a\0rm"),
        ("true", True),
        ("null", None),
    ],
)
def test_literals_mean_what_cel_says(text: str, value: object) -> None:
    tree = parse(text)

    assert isinstance(tree, Constant)
    assert (tree.value, type(tree.value)) == (value, type(value))


def test_every_node_knows_where_it_starts() -> None:
    tree = parse('has(args.a) && args.b == "x"')

    found = [(type(node).__name__, node.offset) for node in walk(tree)]
    assert found == [
        ("Binary", 12),
        ("Has", 9),
        ("Identifier", 4),
        ("Binary", 22),
        ("Select", 20),
        ("Identifier", 15),
        ("Constant", 25),
    ]


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "empty"),
        ("// nothing", 0, "empty"),
        ("a = b", 2, "write `==`"),
        ("a & b", 2, "write `&&`"),
        ("a and b", 2, "CEL writes it `&&`"),
        ("not a", 0, "CEL writes it `!`"),
        ("((a)", 0, "never closed"),
        ("[1, 2", 0, "never closed"),
        ("a.b.", 4, "the name of a field"),
        ("a >", 3, "expected a value"),
        ("'abc", 0, "no closing quote"),
        ("'a\nb'", 0, "three quotes"),
        (r"'a\qb'", 2, "no escape"),
        (r"'\ud800'", 1, "no character"),
        (r"'\U00110000'", 1, "no character"),
        (r"b'\u0041'", 2, "no `\\u`"),
        ("9223372036854775808", 0, "64 bits"),
        ("-9223372036854775809", 1, "64 bits"),
        ("18446744073709551616u", 0, "64 bits"),
        ("1e400", 0, "too large"),
        ("12abc", 2, "something is missing"),
        ("a ? b", 5, "`:`"),
        ("a.?b", 2, "optional"),
        ("a[?0]", 2, "optional"),
        (".a", 0, "dot"),
        ("Point{x: 1}", 5, "messages"),
        ("{1: 2}", 1, "strings"),
        ("{'a': 1, 'a': 2}", 9, "twice"),
        ("has(a)", 0, "one field"),
        ("has(a.b, c.d)", 0, "one field"),
        ("x.all(1, true)", 6, "takes a name"),
        ("x.all(y)", 6, "takes a name"),
        ("x.all(y, y.all(y, true))", 15, "outer macro"),
        ("!-a", 1, "cannot follow"),
        ("a `b`", 2, "backticks"),
        ("f(1,)", 4, "another argument"),
        ("a b", 2, "expected an operator"),
        ("a.in", 2, "the name of a field"),
        ("while", 0, "expected a value"),
        ("é", 0, "no meaning"),
        ("a \u202e b", 2, "U+202E"),
        ("a \0 b", 2, "U+0000"),
        (r'r"a\""', 3, "two ways"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place(text: str, offset: int, words: str) -> None:
    with pytest.raises(BadCondition, match=r".*") as caught:
        parse(text)

    assert (caught.value.offset, words in caught.value.message) == (offset, True), caught.value.message


@pytest.mark.parametrize(
    ("at_most", "one_more", "words"),
    [
        ("a" * MAX_TEXT, "a" * (MAX_TEXT + 1), "characters"),
        (
            "(" * MAX_NESTING + "a" + ")" * MAX_NESTING,
            "(" * (MAX_NESTING + 1) + "a" + ")" * (MAX_NESTING + 1),
            "brackets",
        ),
        ("a" + ".b" * (MAX_DEPTH - 1), "a" + ".b" * MAX_DEPTH, "levels"),
        ("!" * (MAX_DEPTH - 1) + "a", "!" * MAX_DEPTH + "a", "levels"),
        (" || ".join("a" * MAX_DEPTH), " || ".join("a" * (MAX_DEPTH + 1)), "levels"),
        (f"[{','.join('1' * MAX_ITEMS)}]", f"[{','.join('1' * (MAX_ITEMS + 1))}]", "items"),
        (f"f({','.join('1' * MAX_ITEMS)})", f"f({','.join('1' * (MAX_ITEMS + 1))})", "arguments"),
        ("x.all(a, x.all(b, b))", "x.all(a, x.all(b, x.all(c, c)))", "macros"),
        ("x.all(a, a).all(b, b).all(c, c.all(d, d))", "x.all(a, a.map(b, b.filter(c, c)))", "macros"),
        (
            "[" + ",".join(["[" + ",".join("1" * 123) + "]"] * 4) + ",1,1,1]",
            "[" + ",".join(["[" + ",".join("1" * 123) + "]"] * 4) + ",1,1,1,1]",
            "parts",
        ),
    ],
)
def test_every_bound_holds_at_its_edge(at_most: str, one_more: str, words: str) -> None:
    parse(at_most)
    with pytest.raises(BadCondition, match=words):
        parse(one_more)


def test_the_bound_on_parts_is_the_number_it_says() -> None:
    tree = parse("[" + ",".join(["[" + ",".join("1" * 123) + "]"] * 4) + ",1,1,1]")

    assert sum(1 for _ in walk(tree)) == MAX_NODES


def test_a_tree_too_deep_for_recursion_is_refused_and_not_walked() -> None:
    with pytest.raises(BadCondition, match="levels"):
        parse("a" + ".b" * 1_900)
    with pytest.raises(BadCondition, match="levels"):
        parse("!" * 3_900 + "a")
    with pytest.raises(BadCondition, match="brackets"):
        parse("a ? b : " * 400 + "c")


SCRAPS = (
    "args tool . , ( ) [ ] { } ? : ! - + * / % < <= == != > >= && || in has all exists map x y 1 2.5 'a' \"b\" r'\\d' "
    "b'z' b'\\xff' true null 0x1 5u // \n @ ' \" \\ = & | é"
)
WORDS = st.sampled_from(SCRAPS.split(" "))


def refusal(text: str) -> int | None:
    """Where `text` is refused; None where it is read."""
    try:
        parse(text)
    except BadCondition as error:
        return error.offset
    return None


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
@settings(max_examples=800, deadline=None)
@example("x.all(y,")
@example("[[[[[")
def test_any_text_is_refused_at_a_place_inside_it_or_reads_the_same_when_written_again(text: str) -> None:
    refused_at = refusal(text)

    assert (
        0 <= refused_at <= len(text)
        if refused_at is not None
        else text_of(parse(text_of(parse(text)))) == text_of(parse(text))
    )


def test_a_select_and_an_index_by_text_are_one_path() -> None:
    assert path_of(parse('args.filter["owner"].id')) == ("args", "filter", "owner", "id")
    assert path_of(parse("args.f(1).owner")) is None
    assert path_of(Select(Identifier("args"), "a")) == ("args", "a")
