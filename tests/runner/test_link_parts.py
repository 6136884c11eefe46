"""The parts of a link that need no network: names, headers, events; each held against another reading of its rule."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    decode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from holdshort.gate.upstream.sse import EventParser
from holdshort.runner.param_headers import parameter_headers, safe_value
from holdshort.runner.sse import EventReader, EventTooLarge
from holdshort.runner.tool_names import model_names, split_name

FITS = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Names


@pytest.mark.parametrize("name", ["echo", "files__delete_file", "a-b", "A" * 64, "x_123456789"])
def test_a_name_that_a_model_takes_stays_as_it_is(name: str) -> None:
    assert model_names([name]) == {name: name}


@pytest.mark.parametrize(
    "name",
    ["files__delete.file", "Größe", "a b", "x" * 65, "/", "\ud800", "x_0123456789"],
    ids=["dot", "umlaut", "space", "long", "slash", "surrogate", "like-ours"],
)
def test_any_other_name_is_cleaned_and_ends_in_a_digest_of_itself(name: str) -> None:
    mapped = model_names([name])[name]

    assert FITS.fullmatch(mapped)
    assert re.search(r"_[0-9a-f]{10}$", mapped)


def test_the_name_of_a_tool_is_the_same_in_every_release() -> None:
    """What the model was told in an earlier process is in its history."""
    assert model_names(["files__delete.file", "x" * 70]) == {
        "files__delete.file": "files__delete_file_47fe4e17aa",
        "x" * 70: "x" * 53 + "_c71bd10922",
    }


def test_a_tool_cannot_be_named_so_that_it_is_taken_for_another() -> None:
    other = model_names(["files__delete.file"])["files__delete.file"]
    names = model_names(["files__delete.file", other])

    assert names["files__delete.file"] == other
    assert names[other] not in (other, "files__delete.file")


def test_tools_with_the_same_digest_get_more_of_it_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names whose digests begin alike can be searched for; here the beginning is short enough to be found."""
    monkeypatch.setattr("holdshort.runner.tool_names._DIGITS", 1)
    wire = [f"a{sign}" for sign in "!$%&()+,/:;<=>?@[]^{|}~"]
    forward, backward = model_names(wire), model_names(reversed(wire))

    assert forward == backward
    assert len(set(forward.values())) == len(wire)
    assert all(FITS.fullmatch(name) for name in forward.values())


@given(st.lists(st.text(max_size=80) | st.from_regex(r"[a-z.]{1,5}_[0-9a-f]{10}", fullmatch=True), unique=True))
def test_no_two_tools_share_a_name_and_the_order_does_not_matter(wire: list[str]) -> None:
    wire = [each for each in wire if each]
    names = model_names(wire)

    assert len(set(names.values())) == len(wire)
    assert names == model_names(sorted(wire, reverse=True))
    assert names == {each: model_names([each])[each] for each in wire}


@pytest.mark.parametrize(
    ("wire_name", "found"),
    [
        ("files__read", ("files", "read")),
        ("my_files__read__all", ("my_files", "read__all")),
        ("a___x", ("a", "_x")),
        ("read", None),
        ("__read", None),
        ("files__", None),
    ],
)
def test_a_label_ends_at_the_first_double_underscore(wire_name: str, found: tuple[str, str] | None) -> None:
    assert split_name(wire_name, None) == found
    assert split_name(wire_name, "one") == ("one", wire_name)


# Headers, held against the protocol's own package

WORDS = st.sampled_from(["a", "b", "Region", "region", "bad name", "ü", ""])
LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "boolean", "number", ["string"], None]),
        "x-mcp-header": WORDS | st.just(7),
    },
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda leaf, key, value: {**leaf, key: value},
        LEAVES,
        st.sampled_from(["properties", "$defs", "items", "anyOf", "allOf", "not", "default", "patternProperties"]),
        inner | st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    ),
    max_leaves=12,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ARGUMENTS = st.dictionaries(
    st.sampled_from("abc"), SCALARS | st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=3), max_size=3
)


@given(SCHEMAS, ARGUMENTS)
def test_headers_of_parameters_are_those_that_the_protocols_package_would_send(schema: Any, arguments: Any) -> None:
    wanted = {} if find_invalid_x_mcp_header(schema) else mcp_param_headers(x_mcp_header_map(schema), arguments)

    assert parameter_headers(schema, arguments) == wanted


@given(st.sampled_from(["string", "integer", "boolean"]), SCALARS)
def test_headers_of_parameters_pass_the_check_of_the_other_side(kind: str, value: Any) -> None:
    schema = {"properties": {"a": {"properties": {"b": {"type": kind, "x-mcp-header": "Deep"}}}}}
    arguments = {"a": {"b": value}}

    assert validate_mcp_param_headers(schema, arguments, parameter_headers(schema, arguments)) is None


@given(st.text())
def test_a_header_says_exactly_what_the_body_says(text: str) -> None:
    value = safe_value(text)

    assert decode_header_value(value) == text
    assert value.isascii()
    assert not value or value.isprintable()


def test_an_integer_of_any_length_is_written_or_left_out() -> None:
    schema = {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}

    assert parameter_headers(schema, {"n": 10**30}) == {"Mcp-Param-N": "1" + "0" * 30}
    assert parameter_headers(schema, {"n": 10**5000}) == {}
    assert parameter_headers("no schema", {"n": 1}) == {}


# Events, held against the proxy's own reader of its upstreams

STREAMS = st.lists(
    st.sampled_from(
        [
            b"data: x",
            b"data:y",
            b"data",
            b"event: hello",
            b"id: 7",
            b"id: 1\x00",
            b": ping",
            b"retry: 5",
            b"",
            b"\xff: z",
        ]
    ),
    max_size=12,
).flatmap(
    lambda lines: st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=len(lines), max_size=len(lines)).map(
        lambda ends: b"".join(line + end for line, end in zip(lines, ends, strict=True))
    )
)


@given(STREAMS, st.lists(st.integers(0, 100), max_size=5))
def test_events_are_the_same_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    reader, parser = EventReader(), EventParser(1 << 20)
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    found = [each for piece in pieces for each in reader.feed(piece)]

    assert [(each.kind, each.data) for each in found] == [tuple(each) for each in parser.feed(stream)]
    assert reader.last_id == parser.last_id


def test_an_id_belongs_to_its_event_and_those_after_it() -> None:
    found = EventReader().feed(b"data: a\n\nid: 5\ndata: b\n\ndata: c\n\n")

    assert [(each.data, each.id) for each in found] == [(b"a", None), (b"b", "5"), (b"c", "5")]


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 200, b"data: 12345678\n" * 20, b"x" * 200], ids=["a-line", "many-lines", "no-line"]
)
def test_more_than_the_cap_is_refused_before_it_is_kept(stream: bytes) -> None:
    with pytest.raises(EventTooLarge):
        EventReader(100).feed(stream)
