"""All combinations of globs that a name can match are found, each with a name that does: tried on random names."""

import fnmatch
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.policy.loosening.names import (
    TooMany,
    combinations,
    contains,
    ends_with,
    equals,
    glob,
    starts_with,
    which,
)

GLOBS = st.text("ab*?_", min_size=1, max_size=6)
SETS = st.lists(st.lists(GLOBS, min_size=1, max_size=3), min_size=1, max_size=4)


def matched(sets: Sequence[Sequence[str]], name: str) -> int:
    return sum(1 << at for at, some in enumerate(sets) if any(fnmatch.fnmatchcase(name, one) for one in some))


@settings(max_examples=400, deadline=None)
@given(SETS, st.lists(st.text("ab_cx*", max_size=7), min_size=30, max_size=30), st.sampled_from([None, 1, 2, 3]))
def test_every_name_is_of_a_combination_that_was_found(
    sets: list[list[str]], names: list[str], among: int | None
) -> None:
    found = {one.sets: one.name for one in combinations([tuple(map(glob, some)) for some in sets], among=among)}

    assert {bits: matched(sets, name) for bits, name in found.items()} == {bits: bits for bits in found}
    assert {bits for name in names if (bits := matched(sets, name)) and (among is None or bits & among)} <= found.keys()
    assert among is not None or any(matched(sets, name) for name in names) or 0 in found or "*" in str(sets)


def test_what_conditions_say_of_texts_are_globs_in_which_nothing_is_special() -> None:
    some = [(equals("a*"),), (starts_with("a*"),), (ends_with("*b"),), (contains("?"),), (contains(""),)]

    assert which(some, ["a*", "a*b", "ab", "x?x", ""]) == [0b10011, 0b10110, 0b10000, 0b11000, 0b10000]


def test_names_that_exist_are_preferred() -> None:
    found = combinations([(glob("drop_*"),)], among=1, known=["drop_table", "drop_index"])

    assert [one.name for one in found] == ["drop_table"]


def test_a_set_of_many_globs_is_no_more_than_one() -> None:
    words = [
        "delete",
        "drop",
        "remove",
        "purge",
        "erase",
        "wipe",
        "clear",
        "truncate",
        "destroy",
        "reset",
        "kill",
        "ban",
    ]

    assert len(combinations([tuple(glob(f"*{word}*") for word in words), (glob("get_*"),)])) == 4


def test_too_many_combinations_are_not_looked_at() -> None:
    with pytest.raises(TooMany):
        combinations([(glob(f"*{letter}*"),) for letter in "abcdefghijklmnopqrst"])
