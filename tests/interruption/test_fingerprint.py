"""Two calls have one fingerprint only when they are the same call."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.interruption import NoFingerprint, canonical, definition_digest, fingerprint

# Beyond 2^53 a double and an integer may be written with the same digits: one number in JSON, two in Python.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_the_order_of_keys_does_not_matter() -> None:
    assert fingerprint("s", "t", {"a": 1, "b": 2}) == fingerprint("s", "t", {"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("s", "t", {}), ("s", "u", {})),
        (("s", "t", {}), ("r", "t", {})),
        (("s", "t", {"a": 1}), ("s", "t", {"a": "1"})),
        (("s", "t", {"a": None}), ("s", "t", {})),
        (("s", "t", {"a": 1}), ("s", "t", {"a": True})),
        (("s", "t", {"a": 1234567890123456789}), ("s", "t", {"a": 1234567890123456788})),
        (("s", "t", {"a": 1234567890123456789}), ("s", "t", {"a": "1234567890123456789"})),
        (("s", "t", {"a": "\u00e9"}), ("s", "t", {"a": "e\u0301"})),
    ],
)
def test_different_calls_differ(one: tuple[str, str, dict[str, Any]], other: tuple[str, str, dict[str, Any]]) -> None:
    assert fingerprint(*one) != fingerprint(*other)


def test_a_known_form_and_digest() -> None:
    """RFC 8785 section 3.2.3: members sorted by UTF-16 code units."""
    value = {"\u20ac": "Euro", "\r": "CR", "\ufb33": "Dalet", "1": "One", "\U0001f600": "Smile", "\u0080": "Ctl"}

    assert list(json.loads(canonical(value))) == ["\r", "1", "\u0080", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("number", [2**53 - 1, 2**53, -(2**53), 2**64, -(10**400)])
def test_integers_keep_every_digit(number: int) -> None:
    assert canonical({"n": number, "s": f'"{number}"'}).startswith(b'{"n":%d,' % number)


def test_text_that_looks_like_our_marker_stays_text() -> None:
    inner = canonical([2**60]).decode()

    assert json.loads(canonical([2**60, inner, '"0":0'])) == [2**60, inner, '"0":0']


@given(JSON)
def test_the_form_means_the_value_it_was_made_of(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(JSON, JSON)
def test_equal_forms_mean_equal_values(one: Any, other: Any) -> None:
    if canonical(one) == canonical(other):
        assert one == other


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\ud800": 1}, {1: 2}, object()])
@pytest.mark.parametrize("beside", [1, 2**60])
def test_what_has_no_single_form_has_no_fingerprint(value: Any, beside: int) -> None:
    with pytest.raises(NoFingerprint):
        fingerprint("s", "t", {"a": value, "n": beside})


def test_a_definition_has_a_digest_that_any_change_changes() -> None:
    definition = {"name": "refund", "description": "Pays back."}

    assert definition_digest(definition) != definition_digest({**definition, "description": "Pays back. "})
