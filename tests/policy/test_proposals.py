"""The narrowest grant that would have answered for what people approved, or none at all."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.policy import ANY_VALUE, PastCall, Proposal, propose
from policy.samples import NOW


def past(number: int, arguments: Mapping[str, Any], **changes: Any) -> PastCall:
    one = PastCall(
        id=f"i-{number}",
        agent="bot",
        server="files",
        tool="write",
        definition_digest="d",
        arguments=arguments,
        approved=True,
        by=("ana",),
        at=NOW + timedelta(minutes=number),
    )
    return replace(one, **changes)


def history(*arguments: Mapping[str, Any]) -> list[PastCall]:
    return [past(number, each) for number, each in enumerate(arguments)]


def scope_of(*arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    found = propose(history(*arguments))
    return found[0].scope.to_json() if found else None


def test_two_approvals_are_not_enough_and_three_are() -> None:
    assert propose(history({"x": 1}, {"x": 1})) == []
    assert scope_of({"x": 1}, {"x": 1}, {"x": 1}) == {"arguments": {"x": {"in": [1]}}, "when": None}


def test_what_stayed_the_same_is_pinned_and_few_values_are_listed() -> None:
    found = scope_of({"to": "a", "n": 1}, {"to": "b", "n": 1}, {"to": "a", "n": 1})

    assert found == {"arguments": {"to": {"in": ["a", "b"]}, "n": {"in": [1]}}, "when": None}


def test_paths_are_held_to_the_folder_they_have_in_common() -> None:
    found = scope_of(*({"path": f"/data/reports/{n}/x.txt", "mode": "w"} for n in range(3)))

    assert found == {
        "arguments": {"path": {"any": True}, "mode": {"in": ["w"]}},
        "when": "under(args['path'], '/data/reports')",
    }


@pytest.mark.parametrize(
    "paths",
    [
        [f"/{n}/x" for n in range(6)],
        [f"/data/{n}" for n in range(6)],
        [f"data/reports/{n}" for n in range(6)],
        [f"/data/reports/../{n}" for n in range(6)],
        [f"/data//reports/{n}" for n in range(6)],
        list(range(6)),
    ],
)
def test_where_nothing_narrow_is_common_nothing_is_proposed(paths: list[Any]) -> None:
    assert scope_of(*({"path": path} for path in paths)) is None


def test_a_name_or_folder_with_quotes_in_it_stays_inside_its_string() -> None:
    folder = "/data/it'sé"
    found = propose(history(*({"o'path": f"{folder}/{n}"} for n in range(6))))

    assert len(found) == 1
    assert len(found[0].covers) == 6


def test_other_agents_tools_definitions_and_shapes_are_other_proposals() -> None:
    others: list[dict[str, Any]] = [{name: "x"} for name in ("agent", "server", "tool", "definition_digest")]
    for changes in [*others, {"arguments": {}}]:
        calls = history({"x": 1}, {"x": 1}, {"x": 1})
        assert propose([replace(calls[0], **changes), *calls[1:]]) == []


def test_a_grant_that_would_have_let_a_rejected_call_through_is_not_proposed() -> None:
    calls = history(*({"path": f"/data/reports/{n}"} for n in range(6)))
    inside = past(9, {"path": "/data/reports/secret"}, approved=False)
    outside = past(9, {"path": "/data/other"}, approved=False)

    assert propose([*calls, inside]) == []
    assert len(propose([*calls, outside])) == 1


def test_rejections_count_as_no_approvals() -> None:
    assert propose([past(n, {"x": 1}, approved=False) for n in range(5)]) == []


def test_the_most_calls_come_first_and_the_oldest_of_them_first() -> None:
    few = [past(n, {"x": 1}, tool="few") for n in range(3)]
    many = [past(n, {"x": 1}, tool="many") for n in reversed(range(4))]

    found = propose([*few, *many])

    assert [each.tool for each in found] == ["many", "few"]
    assert [each.id for each in found[0].covers] == ["i-0", "i-1", "i-2", "i-3"]


VALUES = st.sampled_from([1, 1.0, True, "1", None, "/data/a/b/1", "/data/a/b/2", "/data/a/c/3", "/x/y", [1], {"k": 1}])
CALLS = st.lists(st.tuples(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), st.booleans()), max_size=12)


@given(CALLS)
def test_whatever_is_proposed_covers_its_approved_calls_and_no_rejected_one(
    calls: list[tuple[dict[str, Any], bool]],
) -> None:
    decided = [past(n, arguments, approved=approved) for n, (arguments, approved) in enumerate(calls)]
    for found in propose(decided):
        _check(found, decided)


def _check(found: Proposal, decided: list[PastCall]) -> None:
    assert len(found.covers) >= 3
    assert all(each.approved and found.scope.misfit(each.call()) is None for each in found.covers)
    assert not any(found.scope.misfit(each.call()) is None for each in decided if not each.approved)
    opened = [name for name, values in found.scope.pins.items() if values is ANY_VALUE]
    assert not opened or found.scope.when is not None
