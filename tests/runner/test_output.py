"""What comes out: final outputs in the agent's type, and what models read of the things that tools give back."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict

from holdshort.runner.errors import ModelBehaviorError, UserError
from holdshort.runner.output import (
    OutputSchema,
    ToolOutputFileContent,
    ToolOutputImage,
    ToolOutputText,
    mcp_output,
    output_schema,
    tool_output,
)
from kit.responses_rules import check_items
from kit.responses_schemas import check_strict

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
PDF = b"%PDF-1.7\n%%EOF\n"


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Line(BaseModel):
    name: str
    price: float = Field(alias="unitPrice")


class Invoice(BaseModel):
    lines: list[Line]
    due: datetime | None = None


class Tree(BaseModel):
    value: int
    kids: list[Tree] = []


class Numbers(RootModel[list[int]]):
    pass


class Day(TypedDict):
    day: str


@dataclass
class Point:
    x: int
    y: int


class Colour(Enum):
    RED = "red"


SAMPLES: list[tuple[Any, Any, Any, bool]] = [
    (Invoice, {"lines": [{"name": "a", "unitPrice": 1.5}], "due": None}, None, False),
    (Tree, {"value": 1, "kids": [{"value": 2, "kids": []}]}, Tree(value=1, kids=[Tree(value=2)]), False),
    (Point, {"x": 1, "y": 2}, Point(1, 2), False),
    (Day, {"day": "monday"}, {"day": "monday"}, False),
    (int, 5, 5, True),
    (bool, False, False, True),
    (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)], True),
    (Literal["a", "b"], "a", "a", True),
    (Point | int, 5, 5, True),
    (Point | None, None, None, True),
    (Colour, "red", Colour.RED, True),
    (Numbers, [1, 2], Numbers([1, 2]), True),
    (datetime, "2026-11-21T00:00:00Z", datetime(2026, 11, 21, tzinfo=UTC), True),
]


@pytest.mark.parametrize(
    ("output_type", "said", "meant", "wrapped"), SAMPLES, ids=[str(n) for n in range(len(SAMPLES))]
)
def test_an_output_type_is_asked_for_read_and_saved(output_type: Any, said: Any, meant: Any, wrapped: bool) -> None:
    schema = OutputSchema(output_type)
    text = json.dumps({"response": said} if wrapped else said)

    wanted = schema.format()
    check_strict(wanted["schema"], wanted["name"], "text.format.schema", "invalid_json_schema")
    assert schema.is_wrapped is wrapped
    value = schema.parse(text)
    if meant is not None or said is None:
        assert value == meant
    kept = json.loads(json.dumps(schema.to_json(value)))
    assert schema.from_json(kept) == value
    assert kept == said


def test_text_is_no_output_type() -> None:
    assert output_schema(None) is None
    assert output_schema(str) is None
    made = output_schema(Point)
    assert made is not None
    assert output_schema(made) is made


def test_the_format_has_a_name_that_the_service_takes() -> None:
    assert OutputSchema(list[Point]).format()["name"] == "list_Point"
    assert OutputSchema(Point | int).format()["name"] != ""
    assert OutputSchema(Point).format() == {
        "type": "json_schema",
        "name": "Point",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            "required": ["x", "y"],
            "additionalProperties": False,
        },
    }


@pytest.mark.parametrize(
    ("output_type", "text", "place"),
    [
        (
            Invoice,
            '{"lines": [{"name": "a", "unitPrice": "x"}]}',
            "`lines.0.unitPrice`: Input should be a valid number",
        ),
        (Invoice, '{"lines": [', "no JSON of `Invoice`: the text is not JSON"),
        (Invoice, "Sure! Here it is.", "no JSON of `Invoice`"),
        (Invoice, '{"lines": [], "lines": []}', "key `lines` twice"),
        (Invoice, "", "no JSON of `Invoice`"),
        (list[int], "[1]", "one key `response`"),
        (list[int], '{"response": [1], "more": 2}', "one key `response`"),
        (list[int], '{"response": [1, "x"]}', "`1`: Input should be a valid integer"),
        (float, '{"response": NaN}', "`NaN`"),
    ],
)
def test_a_final_output_that_is_not_of_the_type_says_where(output_type: Any, text: str, place: str) -> None:
    with pytest.raises(ModelBehaviorError) as refused:
        OutputSchema(output_type).parse(text)
    assert place in str(refused.value)


def test_open_types_need_a_schema_that_is_not_strict() -> None:
    with pytest.raises(UserError, match="output type `dict"):
        OutputSchema(dict[str, int])
    schema = OutputSchema(dict[str, int], strict=False)

    assert schema.format()["strict"] is False
    assert schema.parse('{"a": 1}') == {"a": 1}
    with pytest.raises(ModelBehaviorError, match="`a`"):
        schema.parse('{"a": "x"}')


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be described"):
        OutputSchema(object.__new__(type("Odd", (), {})))


class Loud:
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Named:
    def __str__(self) -> str:
        return "named"


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("text", "text"),
        ("", ""),
        ('{"already": "json"}', '{"already": "json"}'),
        ("half \ud83d", "half \ufffd"),
        ("whole \ud83d\ude00", "whole \U0001f600"),
        (None, "null"),
        (True, "true"),
        (12345678901234567890123, "12345678901234567890123"),
        (0.1, "0.1"),
        (float("nan"), '"NaN"'),
        ({"ä": [1, None, {"b": False}]}, '{"ä":[1,null,{"b":false}]}'),
        ([], "[]"),
        ({}, "{}"),
        ((1, "a"), '[1,"a"]'),
        (["a", "b"], '["a","b"]'),
        (Point(1, 2), '{"x":1,"y":2}'),
        ([Point(1, 2)], '[{"x":1,"y":2}]'),
        (Line(name="a", unitPrice=2), '{"name":"a","unitPrice":2.0}'),
        (Colour.RED, '"red"'),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00Z"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (PurePosixPath("/a"), '"/a"'),
        (b"\xff", '"_w=="'),
        ({"n": Named()}, '{"n":"named"}'),
        (Named(), '"named"'),
        (LOOP, "[[...]]"),
        (Loud(), '"<Loud>"'),
        (ToolOutputText("a"), [{"type": "input_text", "text": "a"}]),
        (
            ToolOutputImage("https://x/y.png", detail="low"),
            [{"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}],
        ),
        (ToolOutputImage(file_id="f1"), [{"type": "input_image", "file_id": "f1"}]),
        (
            [ToolOutputText("a"), "b", {"c": 1}, ToolOutputFileContent(file_url="https://x/z.pdf")],
            [
                {"type": "input_text", "text": "a"},
                {"type": "input_text", "text": "b"},
                {"type": "input_text", "text": '{"c":1}'},
                {"type": "input_file", "file_url": "https://x/z.pdf"},
            ],
        ),
    ],
    ids=[str(number) for number in range(31)],
)
def test_a_model_reads_what_a_tool_returned(value: Any, read: Any) -> None:
    assert tool_output(value) == read


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON.filter(lambda value: not isinstance(value, str)))
def test_json_that_a_tool_returns_is_the_same_json_for_the_model(value: Any) -> None:
    read = tool_output(value)

    assert isinstance(read, str)
    assert json.loads(read) == value


@given(st.text())
def test_text_of_whole_characters_is_not_touched(text: str) -> None:
    assert tool_output(text) == text


@given(st.text(st.characters(categories=["Cs", "Ll"])))
def test_text_can_always_be_sent(text: str) -> None:
    for value in (text, {"a": text}, [text]):
        read = tool_output(value)
        assert isinstance(read, str)
        read.encode()


@pytest.mark.parametrize("make", [ToolOutputImage, ToolOutputFileContent])
def test_an_image_or_file_without_content_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="needs"):
        make()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize(
    ("result", "read"),
    [
        pytest.param({"content": [text("a"), text("b")]}, "a\nb", id="texts"),
        pytest.param({"content": [text("a")], "structuredContent": {"x": 1}}, "a", id="text goes before structure"),
        pytest.param({"content": [], "structuredContent": {"x": 1}}, '{"x":1}', id="structure"),
        pytest.param({"content": [text(" ")], "structuredContent": [1]}, "[1]", id="blank text and structure"),
        pytest.param({"content": [], "structuredContent": "a"}, "a", id="structure that is text"),
        pytest.param({"content": [], "structuredContent": False}, "false", id="structure that is false"),
        pytest.param({"content": []}, "The tool gave nothing back.", id="nothing"),
        pytest.param({}, "The tool gave nothing back.", id="no content at all"),
        pytest.param(
            {"content": None, "isError": True}, "Error: The tool gave nothing back.", id="an error of nothing"
        ),
        pytest.param({"content": [text("no such file")], "isError": True}, "Error: no such file", id="error"),
        pytest.param({"content": [text("It failed: x")], "isError": True}, "It failed: x", id="error that says so"),
        pytest.param({"content": [text("fine")], "isError": "yes"}, "fine", id="isError that is no boolean"),
        pytest.param({"content": [{"type": "new", "data": 1}]}, '{"type":"new","data":1}', id="unknown block"),
        pytest.param({"content": ["bare", 5, None]}, "bare\n5\nnull", id="no blocks"),
        pytest.param({"content": "bare"}, "bare", id="no list"),
        pytest.param({"content": [{"type": "text", "text": 5}]}, '{"type":"text","text":5}', id="text that is none"),
        pytest.param({"content": [text("\ud800")]}, "\ufffd", id="half a character"),
        pytest.param(
            {"content": [{"type": "resource", "resource": {"uri": "file:///a", "mimeType": "text/x", "text": "in"}}]},
            "[resource file:///a (text/x)]\nin",
            id="text resource",
        ),
        pytest.param(
            {
                "content": [
                    {
                        "type": "resource",
                        "resource": {
                            "uri": "f:/a",
                            "mimeType": "application/ld+json; charset=utf-8",
                            "blob": b64(b"{}"),
                        },
                    }
                ]
            },
            "[resource f:/a (application/ld+json; charset=utf-8)]\n{}",
            id="blob that is text",
        ),
        pytest.param(
            {
                "content": [
                    {
                        "type": "resource",
                        "resource": {"uri": "f:/a.zip", "mimeType": "application/zip", "blob": b64(b"PK")},
                    }
                ]
            },
            "[resource f:/a.zip (application/zip), 2 bytes, which cannot be shown here]",
            id="blob that is not",
        ),
        pytest.param(
            {
                "content": [
                    {
                        "type": "resource",
                        "resource": {"uri": "f:/a", "mimeType": "text/plain", "blob": b64(b"\xff\xfe\xff")},
                    }
                ]
            },
            "[resource f:/a (text/plain), 3 bytes, which cannot be shown here]",
            id="text that is no text",
        ),
        pytest.param(
            {"content": [{"type": "resource_link", "uri": "f:/a", "name": "a", "description": "d", "_meta": {"k": 1}}]},
            '[link to a resource] {"uri":"f:/a","name":"a","description":"d"}',
            id="link",
        ),
        pytest.param(
            {"content": [{"type": "audio", "data": b64(b"RIFF"), "mimeType": "audio/wav"}]},
            "[audio (audio/wav), 4 bytes, which cannot be shown here]",
            id="sound",
        ),
        pytest.param(
            {"content": [{"type": "image", "data": "%%%", "mimeType": "image/png"}]},
            "[image (image/png), which is not valid base64]",
            id="image that is no base64",
        ),
        pytest.param(
            {"content": [{"type": "image", "data": b64(b"<svg/>"), "mimeType": "image/svg+xml"}]},
            "[image (image/svg+xml)]\n<svg/>",
            id="image that is text",
        ),
        pytest.param(
            {"content": [{"type": "image", "data": b64(b"BM...."), "mimeType": "image/bmp"}]},
            "[image (image/bmp), 6 bytes, which cannot be shown here]",
            id="image that no model takes",
        ),
        pytest.param(
            {"content": [text("look:"), {"type": "image", "data": b64(PNG), "mimeType": "image/jpeg"}]},
            [
                {"type": "input_text", "text": "look:"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{b64(PNG)}", "detail": "auto"},
            ],
            id="image under another name",
        ),
        pytest.param(
            {"content": [{"type": "image", "data": b64(PNG), "mimeType": "image/png"}], "isError": True},
            [
                {"type": "input_text", "text": "Error:"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{b64(PNG)}", "detail": "auto"},
            ],
            id="image that is an error",
        ),
        pytest.param(
            {
                "content": [
                    {
                        "type": "resource",
                        "resource": {"uri": "f:/d/a.pdf", "mimeType": "application/pdf", "blob": b64(PDF)},
                    }
                ]
            },
            [{"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{b64(PDF)}"}],
            id="pdf",
        ),
    ],
)
def test_a_model_reads_what_an_mcp_server_said(result: dict[str, Any], read: Any) -> None:
    made = mcp_output(result)

    assert made == read
    check_items([{"type": "function_call_output", "call_id": "c1", "output": made}])


BLOCK = st.dictionaries(
    st.sampled_from(["type", "text", "data", "blob", "mimeType", "uri", "resource", "name"]),
    st.sampled_from(["text", "image", "audio", "resource", "resource_link", b64(PNG), "image/png", "f:/a"]) | JSON,
)


@given(
    st.fixed_dictionaries(
        {}, optional={"content": st.lists(BLOCK | JSON) | JSON, "structuredContent": JSON, "isError": JSON}
    )
)
def test_no_result_of_an_mcp_server_breaks_a_run(result: dict[str, Any]) -> None:
    made = mcp_output(result)

    check_items([{"type": "function_call_output", "call_id": "c1", "output": made}])
    json.dumps(made).encode()
    assert made not in ("", [])
