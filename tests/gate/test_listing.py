"""A list is kept up to its limits and not one tool, character or byte further; what is left out is named once."""

from __future__ import annotations

from typing import Any

import pytest

from holdshort.gate.listing import LeftOut, Listing, ListLimits
from holdshort.wire import encode

Json = dict[str, Any]


def tool(name: str, description: str = "") -> Json:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


def names(found: list[Json]) -> list[str]:
    return [each["name"] for each in found]


def take(listing: Listing, tools: list[Json]) -> list[str]:
    return names(listing.take(tools, len(encode({"tools": tools}))))


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "x" * 128])
def test_a_name_as_the_protocol_has_them_is_kept(name: str) -> None:
    assert take(Listing(ListLimits()), [tool(name)]) == [name]


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "a/b", "réad", "read\u200b", "read\n", "\x1b[31mread"])
def test_any_other_name_is_left_out(name: str) -> None:
    listing = Listing(ListLimits())

    assert take(listing, [tool(name), tool("read")]) == ["read"]
    assert list(listing.left_out.values()) == [[name]]
    assert not listing.full


@pytest.mark.parametrize("letter", ["d", "é", "\u2028", '"'])
def test_a_description_may_have_as_many_bytes_as_the_limit_says_and_no_more(letter: str) -> None:
    size = len(letter.encode())
    listing = Listing(ListLimits(description_bytes=12 * size))

    assert take(listing, [tool("fits", letter * 12), tool("over", letter * 12 + "d"), tool("none")]) == ["fits", "none"]
    assert listing.left_out == {f"a description has at most {12 * size} bytes": ["over"]}


def test_a_server_has_as_many_tools_as_the_limit_says_and_no_more() -> None:
    exactly, over = Listing(ListLimits(tools=3)), Listing(ListLimits(tools=3))

    assert take(exactly, [tool(name) for name in "abc"]) == ["a", "b", "c"]
    assert (exactly.full, exactly.left_out) == (False, {})
    assert take(over, [tool(name) for name in "abcde"]) == ["a", "b", "c"]
    assert over.full
    assert list(over.left_out.values()) == [["d", "e"]]


@pytest.mark.parametrize("pages", [[4], [1, 3], [2, 2], [1, 1, 1, 1]])
def test_the_bytes_of_all_definitions_count_whatever_page_they_are_on(pages: list[int]) -> None:
    tools = [tool(name, "é" * number) for number, name in enumerate("abcd")]
    size = sum(len(encode(each)) for each in tools)
    for limit, kept in ((size, list("abcd")), (size - 1, list("abc"))):
        listing, rest, found = Listing(ListLimits(list_bytes=limit)), list(tools), list[str]()
        for count in pages:
            found += take(listing, rest[:count])
            del rest[:count]

        assert found == kept
        assert listing.full == (limit < size)


def test_nothing_after_the_first_tool_without_room_is_kept() -> None:
    big, small = tool("big", "d" * 200), tool("small")
    listing = Listing(ListLimits(list_bytes=len(encode(small)) * 2))

    assert take(listing, [small, big, tool("later")]) == ["small"]
    assert take(listing, [tool("next-page")]) == []


def test_a_page_that_is_asked_for_again_does_not_count_twice() -> None:
    listing = Listing(ListLimits(tools=2, list_bytes=2 * len(encode(tool("a")))))

    assert [take(listing, [tool("a"), tool("b")]) for _ in range(3)] == [["a", "b"]] * 3
    assert not listing.full


def test_of_two_tools_with_one_name_there_is_the_first() -> None:
    listing = Listing(ListLimits())

    assert listing.take([tool("a", "first"), tool("a", "second")], 10) == [tool("a", "first")]
    assert listing.left_out == {"the list has that name twice": ["a"]}


@pytest.mark.parametrize("tools", [None, "x", [None, 7, [], {}, {"name": 5}]])
def test_what_is_no_tool_is_not_kept(tools: Any) -> None:
    assert Listing(ListLimits()).take(tools, 10) == []


def test_the_log_names_what_is_left_out_once() -> None:
    told: list[dict[str, Any]] = []

    class Log:
        def debug(self, event: str, /, **facts: Any) -> None: ...
        def info(self, event: str, /, **facts: Any) -> None: ...
        def error(self, event: str, /, **facts: Any) -> None: ...
        def warning(self, event: str, /, **facts: Any) -> None:
            told.append({"event": event, **facts})

    left_out = LeftOut(Log())
    many = [f"t{number}" for number in range(50)]
    for _ in range(3):
        left_out("spy", {"too many": many})
        left_out("spy", {"other": ["x"]})

    assert [(one["server"], one["reason"], one["tools"], one["number"]) for one in told] == [
        ("spy", "too many", many[:20], 50),
        ("spy", "other", ["x"], 1),
    ]
