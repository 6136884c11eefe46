"""What is known to be wrong before any call; and that nothing is called wrong that could be right."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.policy import BadCondition, Kind, check_condition, compile_condition

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "count": {"type": "integer"},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "kind": {"const": "file"},
        "name": {"type": ["string", "null"]},
        "filter": {"$ref": "#/$defs/filter"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "open": {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        "typed": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {},
        "flag": {"type": "boolean"},
        "old": {"type": "string", "nullable": True},
        "mixed": {
            "anyOf": [
                {"type": "object", "properties": {"path": {"type": "string"}}},
                {"type": "object", "properties": {"url": {"type": "string"}}},
            ]
        },
    },
    "required": ["amount"],
    "$defs": {"filter": {"type": "object", "properties": {"owner": {"type": "string"}}, "additionalProperties": False}},
}


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("agrs.x == 1", 0, "unknown variable `agrs`; did you mean `args`?"),
        ("tool.raed_only", 5, "unknown field `tool.raed_only`; did you mean `read_only`?"),
        ("tool['raed_only']", 5, "unknown field `tool.raed_only`; did you mean `read_only`?"),
        ("has(tool.raed_only)", 9, "unknown field `tool.raed_only`; did you mean `read_only`?"),
        ("caller.group == 'a'", 7, "unknown field `caller.group`; did you mean `groups`?"),
        ("undr(args.p, '/a')", 0, "unknown function `undr`; did you mean `under`?"),
        ("args.p.under('/a')", 7, "`under` is called as `under(x, y)`"),
        ("contains(args.p, 'a')", 0, "`contains` is called as `x.contains(y)`"),
        ("under(args.p)", 0, "`under` is called as `under(x, y)`"),
        ("all(args.x, true)", 0, "`all` follows a list: `x.all(item, ...)`"),
        ("tool", 0, "`tool` is asked for a field, as in `tool.server`"),
        ("tool.name", 5, "a condition is true or false; this is a string"),
        ("1 + 1", 2, "a condition is true or false; this is an int"),
        ("tool.name > 1", 10, "`>` cannot compare a string with an int"),
        ("tool.read_only == 'yes'", 15, "a bool never equals a string, so this is always false"),
        ("tool.read_only != 1", 15, "a bool never equals an int, so this is always true"),
        ("tool.name in 'abc'", 10, "`in` looks into a list or a map, not into a string; part of a text"),
        ("tool.name in [1, 2]", 10, "a string never equals an int"),
        ("1 in caller.groups", 2, "an int never equals a string"),
        ("tool.name && true", 5, "`&&` takes true or false, not a string"),
        ("!tool.name", 6, "`!` takes true or false, not a string"),
        ("tool.name ? true : false", 5, "`?` takes true or false, not a string"),
        ("-tool.name == 1", 0, "`-` takes a number, not a string"),
        ("1 + 1.5 > 2", 2, "`+` takes two values of one type, not an int and a double; `double(...)`"),
        ("tool.name + 1 == 'a1'", 10, "`+` takes two values of one type"),
        ("tool.name.x == 1", 10, "a string has no field `x`"),
        ("tool.name[0] == 'a'", 9, "a string has no items"),
        ("caller.groups['a'] == 1", 13, "a list has no keys"),
        ("size(tool.read_only) > 1", 10, "`size` takes"),
        ("tool.name.matches('(')", 18, "no pattern of RE2"),
        ("tool.name.matches(args.p)", 23, "written out"),
        ("now.getHours('Nowhere/X') > 1", 13, "no such time zone"),
        ("in_cidr(args.ip, '10.0.0.1/8')", 17, "did you mean `10.0.0.0/8`?"),
        ("in_domain(args.u, '*.example.com')", 18, "leave out what stands before"),
        ("in_domain(args.u, '10.0.0.1')", 18, "not an address"),
        ("under(args.p, 'C:\\\\x')", 14, "`under`"),
        ("under(args.p, '')", 14, "a path is empty"),
        ("now > timestamp('2026-02-30T00:00:00Z')", 16, "out of range"),
        ("now - duration('1d') < now", 15, "no duration"),
        ("now > 5", 4, "`>` cannot compare a timestamp with an int"),
        ("tool.name.all(i, true)", 10, "`all` goes through a list or a map, not a string"),
        ("args.x.all(i, i + 1)", 16, "`all` takes true or false"),
        ("args.x.all(tool, true)", 7, "`tool` is taken"),
        ("args.x.all(i, true) && i == 1", 23, "unknown variable `i`"),
        ("caller.groups.exists(g, g > 1)", 26, "`>` cannot compare a string with an int"),
        ("size", 0, "is a function"),
    ],
)
def test_what_is_certainly_wrong_is_refused_at_its_place(text: str, offset: int, message: str) -> None:
    with pytest.raises(BadCondition) as caught:
        compile_condition(text)

    assert (caught.value.offset, message in caught.value.message) == (offset, True), caught.value.message


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.RESOURCE, "args.x == 1"),
        (Kind.RESOURCE, "tool.read_only"),
        (Kind.PROMPT, "prompt.uri == 'x'"),
        (Kind.SERVER_REQUEST, "args.x == 1"),
        (Kind.TOOL, "resource.uri == 'x'"),
    ],
)
def test_a_rule_speaks_of_its_own_kind_only(kind: Kind, text: str) -> None:
    with pytest.raises(BadCondition, match="unknown"):
        compile_condition(text, kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("args.amuont > 100", "the tool's input schema has no `amuont`; did you mean `amount`?"),
        ("args['amuont'] > 100", "has no `amuont`; did you mean `amount`?"),
        ("!has(args.amuont) || args.count > 1", "has no `amuont`; did you mean `amount`?"),
        ("args.zzz == 1", "has no `zzz`; it has `amount`"),
        ("args.amount == 'much'", "a number never equals a string, so this is always false"),
        ("args.count > 'a'", "`>` cannot compare a number with a string"),
        ("args.mode == 'fsat'", "`args.mode` is never `fsat` in the tool's input schema; did you mean `fast`?"),
        ("'fsat' != args.mode", "did you mean `fast`?"),
        ("args.mode in ['fast', 'slwo']", "did you mean `slow`?"),
        ("args.kind == 'fiel'", "did you mean `file`?"),
        ("args.filter.ower == 'ana'", "has no `ower` in `args.filter`; did you mean `owner`?"),
        ("args.items.exists(i, i.idd == 'a')", "has no `idd` there; did you mean `id`?"),
        ("args.items[0].idd == 'a'", "has no `idd` there"),
        ("args.items.filter(i, i.id == 'a').exists(i, i.idd == 'b')", "has no `idd`"),
        ("args.items.exists(i, i.id > 5)", "`>` cannot compare a string with an int"),
        ("args.tags.exists(t, t == 5)", "a string never equals an int"),
        ("5 in args.tags", "an int never equals a string"),
        ("args.name > 5", "`>` cannot compare null or a string with an int"),
        ("args.amount.startsWith('1')", "`startsWith` takes a string, not a number"),
        ("under(args.amount, '/srv')", "`under` takes a string, not a number"),
        ("args.either == true", "never equals a bool"),
        ("args.mixed.pth == 'x'", "has no `pth` in `args.mixed`; did you mean `path`?"),
        ("args.flag == 'true'", "a bool never equals a string"),
        ("args.tags.x == 1", "a list has no field `x`"),
    ],
)
def test_a_schema_shows_what_is_not_about_the_tool(text: str, message: str) -> None:
    problems = check_condition(compile_condition(text), SCHEMA)

    assert any(message in problem.message for problem in problems), problems
    assert all(0 <= problem.offset < len(text) for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "args.amount > 100 && args.amount < 100.5",
        "args.count == 1.0",
        "args.mode == 'fast' || args.mode in ['slow']",
        "args.name == null || args.name == 'x'",
        "args.amount == null",
        "args.filter.owner == 'ana'",
        "args.filter['owner'] == 'ana'",
        "args.items.all(i, i.id.startsWith('a'))",
        "args.either == 'a' || args.either == 1",
        "args.open.b == 1",
        "args.typed.anything == 1",
        "args.free.x.y == 1 || args.free > 1",
        "args.old == 'x' || args.old == null",
        "args.mixed.path == 'a' || args.mixed.url == 'b'",
        "args.flag",
        "type(args.amount) == string",
        "'amount' in args",
        "args.exists(k, k == 'extra')",
        "args[args.mode] == 1",
        "'x' in args.tags && size(args.tags) > 1",
    ],
)
def test_a_schema_raises_no_false_alarm(text: str) -> None:
    assert check_condition(compile_condition(text), SCHEMA) == []


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "patternProperties": {"^x": {}}},
        {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}, "anyOf": [{"properties": {"x": {}}}, {"required": ["a"]}]},
        {"type": "object", "properties": {"a": {}}, "allOf": [{"properties": {"x": {}}}]},
        {"type": "object", "properties": {"a": {}}, "if": {}, "then": {"properties": {"x": {}}}},
        {"type": "object", "properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"x": {}}}}},
        {"type": "object", "properties": {"a": {}}, "dependencies": {"a": {"properties": {"x": {}}}}},
        {"type": "object", "properties": {"a": {}}, "anyOf": [True]},
        {"$ref": "https://example.com/schema.json", "properties": {"a": {}}},
        {"$ref": "#/$defs/missing", "properties": {"a": {}}},
        {"$ref": "#named", "properties": {"a": {}}},
        {"$ref": "#", "properties": {"a": {}}},
        {"$dynamicRef": "#x", "properties": {"a": {}}},
        {"$ref": "#/$defs/loop", "$defs": {"loop": {"$ref": "#/$defs/loop"}}},
        {"properties": {"x": {"type": "string"}}, "allOf": [{"properties": {"x": {"type": "integer"}}}]},
        {"properties": {"x": {"type": "unheard-of"}}},
        {"properties": {"x": {"enum": []}}},
        {"properties": {"x": {"enum": ["a", 7]}}},
        {"properties": {"x": {"type": 5, "enum": 5, "anyOf": 5}}},
        {"properties": "none"},
    ],
    ids=str,
)
def test_a_schema_that_says_nothing_sure_about_a_field_raises_no_alarm(schema: dict[str, Any]) -> None:
    assert check_condition(compile_condition("args.x == 7"), schema) == []


def test_a_tool_without_arguments_has_none() -> None:
    [problem] = check_condition(compile_condition("args.x == 7"), {"type": "object", "properties": {}})

    assert problem.message == "the tool's input schema has no `x`; it has no fields"


def test_a_problem_says_whether_the_condition_asks_first() -> None:
    def tested(text: str) -> list[bool]:
        return [problem.tested for problem in check_condition(compile_condition(text), SCHEMA)]

    assert tested("args.path == 'x'") == [False]
    assert tested("has(args.path) && args.path == 'x'") == [True, True]
    assert tested("'path' in args && args.path == 'x'") == [True]
    assert tested("type(args.amount) == string && args.amount == 'x'") == [True]
    assert tested("has(args.path) && args.pth == 'x'") == [True, False]


SCHEMA_WORDS = "type properties x items enum const anyOf allOf oneOf $ref $defs additionalProperties if then nullable a"
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=4)
    | st.sampled_from(["string", "object", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(SCHEMA_WORDS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "$ref", "$defs", "anyOf", "allOf"]), ANYTHING))
@settings(max_examples=400, deadline=None)
def test_no_schema_however_odd_breaks_the_check(schema: dict[str, Any]) -> None:
    condition = compile_condition("args.x.x == 'a' || args.x.exists(i, i.x > 1) || args.x[0] in [1, 'b']")

    assert isinstance(check_condition(condition, schema), list)
