"""The nearest valid word."""

import pytest

from holdshort.policy.words import listed, nearest, unknown


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("alow", "allow"),
        ("ALLOW", "allow"),
        ("requireapproval", "require_approval"),
        ("require-approval", "require_approval"),
    ],
)
def test_a_misspelt_word_finds_the_one_that_was_meant(word: str, expected: str) -> None:
    assert nearest(word, ["allow", "ask", "deny", "require_approval"]) == expected


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    assert nearest("zebra", ["allow", "ask"]) is None
    assert unknown("action", "zebra", ["allow", "ask", "deny"]) == (
        "unknown action `zebra`; expected `allow`, `ask` or `deny`"
    )
    assert unknown("server", "zebra", []) == "unknown server `zebra`"


def test_words_are_listed_as_a_person_would() -> None:
    assert listed(["a"]) == "`a`"
    assert listed(["a", "b", "c"], "and") == "`a`, `b` and `c`"
