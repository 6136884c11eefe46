"""The strict decode as a table: what two readers could read in two ways is no message."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.wire import (
    DEFAULT_LIMITS,
    Frame,
    Kind,
    Limits,
    MalformedMessage,
    MessageTooLarge,
    classify,
    decode,
    encode,
    error_reply,
    read_frame,
)

SMALL = Limits(max_bytes=64, max_depth=3, max_keys=2, max_string_bytes=8)

AMBIGUOUS: dict[str, tuple[bytes, str]] = {
    "the same key twice": (b'{"a": 1, "a": 2}', "the key `a` twice"),
    "the same key twice, deep inside": (b'{"x": [{"y": {"a": 1, "b": 2, "a": 1}}]}', "the key `a` twice"),
    "the same key twice, once escaped": (b'{"a": 1, "\\u0061": 2}', "the key `a` twice"),
    "the same key twice, half a character": (b'{"\\ud800": 1, "\\ud800": 2}', "twice"),
    "NaN": (b'{"a": NaN}', "`NaN`"),
    "Infinity": (b'{"a": Infinity}', "`Infinity`"),
    "minus Infinity": (b"[-Infinity]", "`-Infinity`"),
    "a number no double holds": (b"[1e400]", "too large to keep"),
    "a negative number no double holds": (b"[-1e400]", "too large to keep"),
    "a lone high surrogate": (b'["\\ud83d"]', "lone surrogate"),
    "a lone low surrogate, upper case": (b'["x\\uDE00"]', "lone surrogate"),
    "surrogates the wrong way round": (b'["\\ude00\\ud83d"]', "lone surrogate"),
    "a lone surrogate in a key": (b'{"\\ud83d": 1}', "lone surrogate"),
    "a lone surrogate as UTF-8": (b'["\xed\xa0\xbd"]', "not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
    "an overlong slash": (b'["\xc0\xaf"]', "not UTF-8"),
    "half a character": (b'["\xe2\x82"]', "not UTF-8"),
    "an integer of more than 4300 digits": (b"[" + b"9" * 4301 + b"]", "cannot be kept exactly"),
    "two values": (b"{} {}", "not JSON"),
    "nothing": (b"", "not JSON"),
    "a bare word": (b"hello", "not JSON"),
    "single quotes": (b"{'a': 1}", "not JSON"),
    "a trailing comma": (b"[1,]", "not JSON"),
    "a comment": (b"{} // x", "not JSON"),
    "a raw line end in a string": (b'["a\nb"]', "not JSON"),
    "a leading zero": (b"[01]", "not JSON"),
    "a leading plus": (b"[+1]", "not JSON"),
    "a hexadecimal number": (b"[0x10]", "not JSON"),
    "digits of another script": ("[\u0661]".encode(), "not JSON"),
    "a no-break space": ("[\u00a01]".encode(), "not JSON"),
    "no end": (b'{"a": [', "not JSON"),
}


@pytest.mark.parametrize(("raw", "reason"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        decode(raw)

    assert reason in str(refused.value)
    # Whatever was wrong with it, the refusal itself can be sent.
    assert json.loads(encode(error_reply(None, -32700, str(refused.value))))["error"]["code"] == -32700


SURVIVES: dict[str, tuple[bytes, Any]] = {
    "an integer beyond 2^53": (b"[9007199254740993]", [9007199254740993]),
    "an integer beyond 64 bits": (b"[123456789012345678901234567890]", [123456789012345678901234567890]),
    "an integer of 4300 digits": (b"[" + b"9" * 4300 + b"]", [int("9" * 4300)]),
    "a pair of surrogates": (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
    "NUL in a string": (b'["a\\u0000b"]', ["a\x00b"]),
    "an escaped backslash before ud800": (b'["\\\\ud800"]', ["\\ud800"]),
    "brackets in a string": (b'["' + b"[" * 100 + b'"]', ["[" * 100]),
    "quotes and brackets in a string": (b'["' + b'\\"[' * 100 + b'"]', ['"[' * 100]),
    "the same key in two objects": (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    "keys that differ in case": (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    "the empty key": (b'{"": 1}', {"": 1}),
    "white space all around": (b" \t\r\n[1 ]\n", [1]),
    "the largest double": (b"[1.7976931348623157e308]", [1.7976931348623157e308]),
    "minus zero": (b"[-0.0]", [-0.0]),
}


@pytest.mark.parametrize(("raw", "value"), SURVIVES.values(), ids=SURVIVES)
def test_what_has_one_meaning_is_read_as_that_and_written_back_as_that(raw: bytes, value: Any) -> None:
    found = decode(raw)

    assert found == value
    assert decode(encode(found)) == value


@pytest.mark.parametrize(
    ("fits", "over"),
    [
        pytest.param(b'"%b"' % (b"a" * 4), b'"%b"' % (b"a" * 4) + b" " * 59, id="bytes"),
        pytest.param(b'[{"a":[1]}]', b'[{"a":[[]]}]', id="depth of mixed brackets"),
        pytest.param(b'{"a":1,"b":2}', b'{"a":1,"b":2,"c":3}', id="keys in one object"),
    ],
)
def test_a_limit_holds_at_n_and_refuses_at_n_plus_1(fits: bytes, over: bytes) -> None:
    decode(fits, SMALL)

    with pytest.raises(MessageTooLarge):
        decode(over, SMALL)


def test_the_limit_of_bytes_is_exact() -> None:
    decode(b" " * 62 + b"[]", SMALL)

    with pytest.raises(MessageTooLarge, match="65 bytes; at most 64"):
        decode(b" " * 63 + b"[]", SMALL)


def test_a_string_may_have_as_many_bytes_as_the_limit_says_and_no_more() -> None:
    limits = Limits(max_string_bytes=8)
    decode('["\u20ac\u20acab"]'.encode(), limits)

    with pytest.raises(MessageTooLarge, match="a string of 9 bytes"):
        decode('["\u20ac\u20acabc"]'.encode(), limits)
    with pytest.raises(MessageTooLarge, match="a string of 9 bytes"):
        decode(b'{"123456789": 1}', limits)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_sixty_four_levels_are_read_and_sixty_five_are_not(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    decode(opening * 63 + b"[]" + closing * 63)

    with pytest.raises(MessageTooLarge, match="deeper than 64 levels"):
        decode(opening * 64 + b"[]" + closing * 64)


def test_alternating_brackets_count_towards_one_depth() -> None:
    deep: Any = 1
    for level in range(64):
        deep = [deep] if level % 2 else {"a": deep}
    assert decode(encode(deep)) == deep

    with pytest.raises(MessageTooLarge):
        decode(encode([deep]))


def test_a_hundred_thousand_levels_are_refused_before_any_parser_recurses() -> None:
    with pytest.raises(MessageTooLarge):
        decode(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(MessageTooLarge):
        read_frame(b'{"jsonrpc":"2.0","method":"x","params":{"a":' + b"[" * 100_000, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b"[" * 65 + b'"' + b'\\"' * 1_000_000, id="a string that never ends, full of quotes"),
        pytest.param(b"[" * 65 + b'"' + b"\\" * 2_000_001, id="a string that never ends, full of backslashes"),
        pytest.param(b"[" * 65 + b'"' * 2_000_001, id="nothing but quotes"),
        pytest.param(b"[" + b"[]," * 600_000, id="many short lists"),
    ],
)
def test_hostile_bytes_cost_linear_time(hostile: bytes) -> None:
    began = time.process_time()
    with pytest.raises(MalformedMessage):
        decode(hostile)

    assert time.process_time() - began < 2.0


REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "m"}
RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {}}
FAILURE = {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "x"}}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (REQUEST, Kind.REQUEST),
        ({**REQUEST, "id": "7"}, Kind.REQUEST),
        ({**REQUEST, "id": ""}, Kind.REQUEST),
        ({**REQUEST, "id": 0}, Kind.REQUEST),
        ({**REQUEST, "id": 2**63 - 1}, Kind.REQUEST),
        ({**REQUEST, "id": -(2**63)}, Kind.REQUEST),
        ({**REQUEST, "params": {}}, Kind.REQUEST),
        ({**REQUEST, "unknown": 1}, Kind.REQUEST),
        ({"jsonrpc": "2.0", "method": "m"}, Kind.NOTIFICATION),
        (RESPONSE, Kind.RESPONSE),
        (FAILURE, Kind.RESPONSE),
        ({**FAILURE, "id": None}, Kind.RESPONSE),
        ({**FAILURE, "error": {"code": 1, "message": "", "data": None, "x": 1}}, Kind.RESPONSE),
    ],
)
def test_a_message_is_one_of_three_kinds(message: dict[str, Any], kind: Kind) -> None:
    assert classify(message) is kind


@pytest.mark.parametrize(
    ("message", "known_id"),
    [
        ([], None),
        ([REQUEST], None),
        ("text", None),
        (None, None),
        (1, None),
        ({}, None),
        ({**REQUEST, "id": None}, None),
        ({**REQUEST, "id": 1.0}, None),
        ({**REQUEST, "id": True}, None),
        ({**REQUEST, "id": [1]}, None),
        ({**REQUEST, "id": 2**63}, None),
        ({**REQUEST, "id": -(2**63) - 1}, None),
        ({**REQUEST, "id": {}}, None),
        ({**REQUEST, "jsonrpc": "1.0"}, 1),
        ({**REQUEST, "jsonrpc": 2.0}, 1),
        ({"id": 1, "method": "m"}, 1),
        ({**REQUEST, "method": 5}, 1),
        ({**REQUEST, "method": None}, 1),
        ({**REQUEST, "params": []}, 1),
        ({**REQUEST, "params": None}, 1),
        ({**REQUEST, "params": "x"}, 1),
        ({**REQUEST, "result": {}}, 1),
        ({**REQUEST, "error": {"code": 1, "message": ""}}, 1),
        ({**RESPONSE, "error": {"code": 1, "message": ""}}, 1),
        ({**RESPONSE, "result": []}, 1),
        ({**RESPONSE, "result": None}, 1),
        ({**RESPONSE, "id": None}, None),
        ({"jsonrpc": "2.0", "result": {}}, None),
        ({"jsonrpc": "2.0", "id": 1}, 1),
        ({**FAILURE, "error": "x"}, 1),
        ({**FAILURE, "error": {"code": 1}}, 1),
        ({**FAILURE, "error": {"code": 1.5, "message": ""}}, 1),
        ({**FAILURE, "error": {"code": True, "message": ""}}, 1),
        ({**FAILURE, "error": {"code": 1, "message": 5}}, 1),
    ],
)
def test_anything_else_is_no_message_and_says_whose_it_was(message: Any, known_id: int | None) -> None:
    with pytest.raises(MalformedMessage) as refused:
        classify(message)

    assert refused.value.invalid_request
    assert refused.value.request_id == known_id


def test_ids_keep_their_type() -> None:
    assert Frame(decode(b'{"jsonrpc":"2.0","id":"7","method":"m"}')).value["id"] == "7"
    assert Frame(decode(b'{"jsonrpc":"2.0","id":7,"method":"m"}')).value["id"] == 7


@pytest.mark.parametrize("raw", [b'{"a":"\\ud800"}', b"{", b'{"a": NaN}', b"\xff", b"[]", b'"x"', b"1"])
def test_what_a_server_sends_must_at_least_be_one_message(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_frame(raw, DEFAULT_LIMITS)


def test_a_frame_keeps_the_bytes_it_was_read_from() -> None:
    raw = b'{ "jsonrpc":"2.0", "id":1, "result":{"big":123456789012345678901234567890, "x":1.50} }'

    assert read_frame(raw, DEFAULT_LIMITS).raw is raw


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(json_values)
def test_what_we_write_we_read_back_as_it_was(value: Any) -> None:
    written = encode(value)

    assert b"\n" not in written
    assert decode(written) == value


@given(json_values)
def test_what_the_standard_library_writes_we_read_as_it_does(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_refusal(raw: bytes) -> None:
    with suppress(MalformedMessage):
        decode(raw)


@given(json_values)
def test_any_value_is_of_one_kind_or_none(value: Any) -> None:
    with suppress(MalformedMessage):
        assert classify(value) in Kind
