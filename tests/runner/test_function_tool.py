"""A Python function as a tool: what the model is told of it, what it may send, and what the function then gets."""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from holdshort.runner.arguments import BadArguments
from holdshort.runner.docstrings import read_docstring
from holdshort.runner.errors import UserError
from holdshort.runner.function_tool import function_tool
from holdshort.runner.strict_schema import strict_schema
from holdshort.runner.tools import FunctionTool, RunContext, ToolContext
from kit.responses_schemas import check_strict


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    name: str = Field(description="what it is", min_length=2)
    count: int = 3


@dataclass
class Address:
    street: str
    lines: list[Line]


class Options(TypedDict):
    fast: bool


class Node(BaseModel):
    value: int
    kids: list[Node] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def even(cls, number: int) -> int:
        if number == 13:
            raise KeyError("unlucky")
        return number


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date


def nothing() -> str:
    return "nothing"


def plain(text: str, times: int = 2) -> list[Any]:
    return [text, times]


def rich(
    line: Annotated[Line, "one line"],
    to: Address,
    options: Options,
    node: Node,
    colour: Colour,
    pet: Annotated[Cat | Dog, Field(discriminator="kind")],
    day: date,
    price: Decimal,
    mode: Literal["a", "b"] = "a",
    note: str | None = None,
    tags: set[str] = frozenset({"x"}),  # type: ignore[assignment]
) -> list[Any]:
    return [line, to, options, node, colour, pet, day, price, mode, note, tags]


def named(first: str, /, schema: int, *, copy: int = Field(7, le=10, description="how many")) -> list[Any]:
    return [first, schema, copy]


def checked(number: Even, day: Strict | None = None) -> int:
    return number.number


def in_context(context: RunContext[dict[str, int]], key: str) -> int:
    return context.context[key]


async def in_tool_context(context: ToolContext[None], key: str) -> list[str]:
    return [context.tool_name, context.call_id, context.arguments, key]


async def run(tool: FunctionTool, arguments: Any, context: Any = None) -> Any:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return await tool.on_invoke_tool(
        ToolContext(context=context, tool_name=tool.name, call_id="c1", arguments=text), text
    )


@pytest.mark.parametrize("function", [nothing, plain, rich, named, checked, in_context, in_tool_context])
def test_the_service_takes_the_schema_of_a_function_as_strict(function: Any) -> None:
    tool = function_tool(function)

    check_strict(tool.params_json_schema, f"function '{tool.name}'", "tools[0].parameters")
    assert "oneOf" not in json.dumps(tool.params_json_schema)
    assert '"default"' not in json.dumps(tool.params_json_schema)


def test_the_model_is_told_names_types_and_defaults() -> None:
    tool = function_tool(plain)

    assert tool.params_json_schema == {
        "type": "object",
        "properties": {"text": {"type": "string"}, "times": {"type": "integer", "description": "(default: 2)"}},
        "required": ["text", "times"],
        "additionalProperties": False,
    }


def test_without_strict_mode_what_has_a_default_may_be_left_out() -> None:
    tool = function_tool(plain, strict_mode=False)

    assert tool.params_json_schema["required"] == ["text"]
    assert tool.params_json_schema["properties"]["times"] == {"type": "integer", "default": 2}
    assert not tool.strict_json_schema


async def test_values_arrive_as_the_types_that_the_function_names() -> None:
    tool = function_tool(rich)

    given_ = await run(
        tool,
        {
            "line": {"name": "nut", "count": 1},
            "to": {"street": "s", "lines": [{"name": "ab"}]},
            "options": {"fast": True},
            "node": {"value": 1, "kids": [{"value": 2, "kids": []}]},
            "colour": "blue",
            "pet": {"kind": "dog"},
            "day": "2026-11-21",
            "price": "1.10",
        },
    )

    assert given_ == [
        Line(name="nut", count=1),
        Address("s", [Line(name="ab")]),
        {"fast": True},
        Node(value=1, kids=[Node(value=2)]),
        Colour.BLUE,
        Dog(kind="dog"),
        date(2026, 11, 21),
        Decimal("1.10"),
        "a",
        None,
        {"x"},
    ]


async def test_arguments_may_have_names_that_pydantic_keeps_for_itself() -> None:
    tool = function_tool(named)

    assert tool.params_json_schema["properties"]["copy"] == {
        "type": "integer",
        "maximum": 10,
        "description": "how many (default: 7)",
    }
    assert await run(tool, {"first": "a", "schema": 1}) == ["a", 1, 7]
    with pytest.raises(BadArguments, match="`copy`"):
        await run(tool, {"first": "a", "schema": 1, "copy": 11})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param('{"text": 5}', "`text`: Input should be a valid string", id="wrong type"),
        pytest.param("{}", "`text`: Field required", id="missing"),
        pytest.param('{"text": "a", "txet": "b"}', "`txet`: Extra inputs are not permitted", id="unknown"),
        pytest.param('{"text": "a", "times": null}', "`times`: Input should be a valid integer", id="null"),
        pytest.param('{"text": "a", "text": "b"}', "key `text` twice", id="twice"),
        pytest.param('{"text": "a", "times": NaN}', "NaN", id="NaN"),
        pytest.param('{"text": "a", "times": 1e999}', "1e999", id="infinite"),
        pytest.param('{"text": "\\ud800"}', "lone surrogate", id="half a character"),
        pytest.param("[1]", "JSON object", id="list"),
        pytest.param('{"text": "a"', "not JSON", id="cut off"),
        pytest.param('{"text": "a"} {}', "not JSON", id="two values"),
    ],
)
async def test_bad_arguments_name_the_place_and_nothing_runs(arguments: str, problem: str) -> None:
    ran: list[str] = []

    @function_tool
    def note(text: str, times: int = 2) -> None:
        ran.append(text * times)

    with pytest.raises(BadArguments) as refused:
        await run(note, arguments)

    assert problem in refused.value.problem
    assert "`note`" in str(refused.value)
    assert ran == []


async def test_a_nested_fault_is_named_with_its_path() -> None:
    @function_tool
    def send(to: Address) -> None:
        raise AssertionError("it ran")

    with pytest.raises(BadArguments, match=r"`to\.lines\.1\.name`: String should have at least 2 characters"):
        await run(send, {"to": {"street": "s", "lines": [{"name": "ab"}, {"name": "a"}]}})


async def test_a_validator_that_breaks_keeps_the_function_from_running() -> None:
    tool = function_tool(checked)

    assert await run(tool, {"number": {"number": 2}}) == 2
    with pytest.raises(BadArguments, match="unlucky"):
        await run(tool, {"number": {"number": 13}})


async def test_a_model_that_is_strict_itself_still_reads_json() -> None:
    assert await run(function_tool(checked), {"number": {"number": 2}, "day": {"day": "2026-01-01"}}) == 2


@pytest.mark.parametrize("text", ["", "  ", "{}"])
async def test_no_arguments_may_be_sent_as_no_text(text: str) -> None:
    assert await run(function_tool(nothing), text) == "nothing"


async def test_the_context_is_the_first_parameter_and_not_in_the_schema() -> None:
    tool = function_tool(in_context)

    assert list(tool.params_json_schema["properties"]) == ["key"]
    assert await run(tool, {"key": "a"}, {"a": 5}) == 5
    assert await run(function_tool(in_tool_context), {"key": "k"}) == ["in_tool_context", "c1", '{"key": "k"}', "k"]


async def test_a_function_that_is_not_async_runs_in_another_thread() -> None:
    @function_tool
    def where() -> int:
        return threading.get_ident()

    @function_tool
    async def here() -> int:
        return threading.get_ident()

    assert await run(where, {}) != threading.get_ident()
    assert await run(here, {}) == threading.get_ident()


class Caller:
    """Calls."""

    async def __call__(self, text: str) -> str:
        return text.upper()

    def method(self, text: str) -> str:
        """Do as a method does."""
        return text.lower()


async def test_methods_objects_and_partials_are_functions_too() -> None:
    method = function_tool(Caller().method)
    called = function_tool(Caller(), name_override="caller")
    partial = function_tool(functools.partial(plain, times=5), name_override="five")

    assert (method.name, method.description) == ("method", "Do as a method does.")
    assert await run(method, {"text": "A"}) == "a"
    assert await run(called, {"text": "a"}) == "A"
    assert await run(partial, {"text": "a", "times": 1}) == ["a", 1]


def test_what_is_said_in_the_decorator_is_on_the_tool() -> None:
    def words(_context: object, error: Exception) -> str:
        return str(error)

    @function_tool(
        name_override="pay-now",
        description_override="Pay.",
        needs_approval=True,
        failure_error_function=words,
        is_enabled=False,
        timeout=2.5,
    )
    def pay() -> None:
        """Something else."""

    assert (pay.name, pay.description, pay.needs_approval, pay.is_enabled) == ("pay-now", "Pay.", True, False)
    assert (pay.failure_error_function, pay.timeout_seconds) == (words, 2.5)


def anything(value: Any) -> None: ...
def open_keys(value: dict[str, int]) -> None: ...
def pair(value: tuple[int, str]) -> None: ...
def late(text: str, context: RunContext[None]) -> None: ...
def many(*texts: str) -> None: ...
def more(**texts: str) -> None: ...
def unknown(text: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore
def listener(value: threading.Thread) -> None: ...


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (anything, "`value` has no type"),
        (open_keys, "`value` takes keys that have no name"),
        (pair, "`value` is a tuple of different things"),
        (late, "`context` is a context, which only the first can be"),
        (many, r"`\*texts: 'str'` stands for any number"),
        (more, r"`\*\*texts: 'str'` stands for any number"),
        (unknown, "`NotThere` is not known"),
        (listener, "cannot be described"),
        (lambda: None, "cannot be the name"),
    ],
)
def test_a_function_that_cannot_be_a_tool_says_why_when_it_is_made(function: Any, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        function_tool(function)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_is_a_time(timeout: float) -> None:
    with pytest.raises(UserError, match="timeout"):
        function_tool(nothing, timeout=timeout)


def test_open_types_can_be_described_without_strict_mode() -> None:
    assert function_tool(open_keys, strict_mode=False).params_json_schema["properties"]["value"]["type"] == "object"
    assert function_tool(anything, strict_mode=False).params_json_schema["properties"] == {"value": {}}


GOOGLE = """Send a mail.

    It goes out at once.

    Args:
        to (str): Who gets it.
        text: What it says: all of it,
            on as many lines as it takes.
        *more: Others.

    Returns:
        Its id: a text.
    """
NUMPY = """Send a mail.

    It goes out at once.

    Parameters
    ----------
    to : str
        Who gets it.
    text
        What it says: all of it,
        on as many lines as it takes.
    *more : str
        Others.

    Returns
    -------
    str
        Its id: a text.
    """
SPHINX = """Send a mail.

    It goes out at once.

    :param str to: Who gets it.
    :param text: What it says: all of it,
        on as many lines as it takes.
    :type text: str
    :param more: Others.
    :returns: Its id: a text.
    :raises ValueError: never
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_three_styles_of_docstrings_say_the_same(text: str) -> None:
    found = read_docstring(text)

    assert found.description == "Send a mail.\n\nIt goes out at once."
    assert found.arguments == {
        "to": "Who gets it.",
        "text": "What it says: all of it, on as many lines as it takes.",
        "more": "Others.",
    }


@pytest.mark.parametrize(
    ("text", "description", "arguments"),
    [
        (None, "", {}),
        ("", "", {}),
        ("One line.", "One line.", {}),
        ("Sum.\nArgs:\n    a: one\n    b: two", "Sum.", {"a": "one", "b": "two"}),
        ("Args:\n    a: one", "", {"a": "one"}),
        ("Parameters\n----------\na : int\n    one", "", {"a": "one"}),
        ("See args: they matter.", "See args: they matter.", {}),
        ("Sum.\n\nArgs:\nnot indented", "Sum.\n\nArgs:\nnot indented", {}),
        ("Sum.\n\nArgs:\n    a (dict[str, int], optional): one", "Sum.", {"a": "one"}),
        (
            "Sum.\n\nParameters\n----------\na, b : int\n    both\n\nNotes\n-----\nlong",
            "Sum.",
            {"a": "both", "b": "both"},
        ),
        ("Time is 12:30: late.", "Time is 12:30: late.", {}),
        (":param a:", "", {}),
    ],
)
def test_docstrings_are_read_as_people_write_them(
    text: str | None, description: str, arguments: dict[str, str]
) -> None:
    found = read_docstring(text)

    assert (found.description.split("\n\nNotes")[0], found.arguments) == (description, arguments)


@given(st.text())
def test_no_docstring_breaks_a_program(text: str) -> None:
    assert isinstance(read_docstring(text).description, str)


def test_a_description_that_is_given_goes_before_the_docstring() -> None:
    @function_tool
    def note(text: Annotated[str, "said beside the type"], count: Annotated[int, Field(description="given")]) -> None:
        """Note it.

        Args:
            text: said in the docstring
            count: said in the docstring
        """

    described = {name: each["description"] for name, each in note.params_json_schema["properties"].items()}
    assert described == {"text": "said beside the type", "count": "given"}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "string", "format": "uri", "minLength": 1}}},
            {"a": {"type": "string", "description": "(minLength: 1; format: uri)"}},
            id="bounds are said",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "boolean", "default": False, "title": "A"}}},
            {"a": {"type": "boolean", "description": "(default: false)", "title": "A"}},
            id="a default that is false",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}], "description": "d"}}},
            {"a": {"type": "string", "description": "d"}},
            id="allOf of one",
        ),
        pytest.param(
            {"type": "object", "properties": {"default": {"type": "string"}, "oneOf": {"type": "integer"}}},
            {"default": {"type": "string"}, "oneOf": {"type": "integer"}},
            id="properties with the names of words",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "array", "items": {"const": 1}}}},
            {"a": {"type": "array", "items": {"const": 1}}},
            id="const",
        ),
    ],
)
def test_a_schema_becomes_strict(schema: dict[str, Any], made: dict[str, Any]) -> None:
    assert strict_schema(schema, "it") == {
        "type": "object",
        "properties": made,
        "required": list(made),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "array", "items": {"type": "string"}}, "no object at its root"),
        ({"$ref": "#/$defs/a", "description": "d", "$defs": {"a": {"$ref": "#/$defs/a", "title": "t"}}}, "itself"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b", "title": "t"}}}, "`#/$defs/b`, which is not"),
        ({"type": "object", "properties": {"a": {"$ref": "http://x/", "title": "t"}}}, "which is not in the schema"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "`a` uses `not`"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "`a.[]` has no type"),
        ({"type": "object", "additionalProperties": True}, "the root takes keys"),
    ],
)
def test_a_schema_that_cannot_be_strict_is_an_error_that_names_the_place(schema: dict[str, Any], fault: str) -> None:
    before = json.dumps(schema)

    with pytest.raises(UserError) as refused:
        strict_schema(schema, "it")
    assert fault in str(refused.value)
    assert json.dumps(schema) == before
