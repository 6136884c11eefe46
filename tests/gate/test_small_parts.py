"""The gate's pure parts: our `_meta` keys, templates, hold budgets, whose task is whose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.gate.hold import HoldBudgets
from holdshort.gate.meta import without_our_keys, without_our_keys_in
from holdshort.gate.templates import matches_template
from holdshort.gate.upstream import StatusFrame
from holdshort.wire import Frame, read_frame
from holdshort.wire import Limits as WireLimits


def frame_of(result: Any, **how: Any) -> Frame:
    raw = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, **how).encode()
    return read_frame(raw, WireLimits())


def test_a_message_without_our_keys_is_the_same_object() -> None:
    for result in ({"a": 1}, {"text": "holdshort is a proxy"}, {"text": "caf\u00e9 \u00e8"}, {"_meta": {"a/b": 1}}):
        frame = frame_of(result)
        assert without_our_keys_in(frame) is frame


def test_our_keys_go_wherever_a_meta_is_and_everything_else_stays() -> None:
    meta = {"holdshort/interruption": 1, "a/b": 2}
    result = {
        "_meta": meta,
        "content": [{"_meta": meta, "x": [{"_meta": meta}]}],
        "holdshort/x": "no meta, so no claim",
    }
    cleaned = without_our_keys_in(frame_of(result)).value["result"]

    assert cleaned == {
        "_meta": {"a/b": 2},
        "content": [{"_meta": {"a/b": 2}, "x": [{"_meta": {"a/b": 2}}]}],
        "holdshort/x": "no meta, so no claim",
    }


@given(st.sets(st.integers(min_value=0, max_value=21)))
def test_no_way_of_escaping_our_name_hides_it(escaped: set[int]) -> None:
    key = "holdshort/interruption"
    written = "".join(f"\\u{ord(letter):04x}" if at in escaped else letter for at, letter in enumerate(key))
    raw = f'{{"jsonrpc":"2.0","id":1,"result":{{"_meta":{{"{written}":1}}}}}}'.encode()

    assert without_our_keys_in(read_frame(raw, WireLimits())).value["result"] == {"_meta": {}}


def test_a_status_survives_the_cleaning() -> None:
    value = {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "x", "data": {"_meta": {"holdshort/x": 1}}}}
    cleaned = without_our_keys_in(StatusFrame(value, frame_status=404))

    assert isinstance(cleaned, StatusFrame)
    assert cleaned.frame_status == 404


def test_params_without_our_keys_are_the_same_object() -> None:
    unmarked: list[dict[str, Any]] = [{}, {"_meta": {"a/b": 1}}, {"_meta": None}, {"_meta": []}]
    for params in unmarked:
        assert without_our_keys(params) is params
    assert without_our_keys({"_meta": {"holdshort/park": "now"}, "x": 1}) == {"_meta": {}, "x": 1}


@pytest.mark.parametrize(
    ("template", "uri", "matches"),
    [
        ("a://b/{id}", "a://b/7", True),
        ("a://b/{id}/c", "a://b/7/c", True),
        ("a://b/{id}/c", "a://b/7/d", False),
        ("a://b/{+path}", "a://b/x/y/z", True),
        ("a://b{?q,r}", "a://b?q=1&r=2", True),
        ("a://b", "a://b", True),
        ("a://b", "a://bc", False),
        ("{a}{b}", "anything", True),
        ("x{a}x", "x", False),
        ("x{a}y{b}z", "x--y--z", True),
        ("x{a}y{b}z", "x--z", False),
    ],
)
def test_a_template_matches_what_can_come_from_it(template: str, uri: str, matches: bool) -> None:
    assert matches_template(template, uri) is matches


def test_a_hostile_template_costs_linear_time() -> None:
    assert not matches_template("a{x}" * 20_000 + "b", "a" * 50_000)


@pytest.mark.parametrize(
    ("client", "seconds"),
    [(None, 4), ("", 4), ("someone", 4), ("Claude-AI", 45), ("cursor-vscode", 45), ("my-bot", 9), ("MY-BOT", 9)],
)
def test_a_client_is_held_as_long_as_it_is_known_to_wait(client: str | None, seconds: float) -> None:
    assert HoldBudgets(clients={"my-*": 9}).seconds(client) == seconds


def test_what_the_file_says_of_all_clients_wins_over_what_is_built_in() -> None:
    assert HoldBudgets(default=2, clients={"claude*": 3}).seconds("claude-ai") == 3
    assert HoldBudgets(default=2).seconds("claude-ai") == 2
