"""What a standing grant covers, and everything that it does not."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdshort.policy import (
    ANY_VALUE,
    Access,
    Action,
    BadScope,
    Because,
    Call,
    Grant,
    GrantState,
    Scope,
    Terms,
    Verdict,
    Wish,
    answers,
    covers,
    exactly,
    find_grants,
    granted,
    same_json,
    scope_from_json,
)
from policy.samples import NOW, Says, call

DIGEST = "d" * 64


def grant(scope: Scope, **changes: Any) -> Grant:
    made = Grant(
        id="g-1",
        agent="local",
        server="files",
        tool="write",
        definition_digest=DIGEST,
        scope=scope,
        scope_digest="s" * 64,
        made_by=("ana",),
        made_at=NOW,
        from_interruption="i-1",
        expires_at=NOW + timedelta(hours=1),
        max_uses=3,
    )
    return replace(made, **changes)


def write(arguments: Mapping[str, Any], **facts: Any) -> Call:
    return call("files__write", arguments, **facts)


def covered(scope: Scope, arguments: Mapping[str, Any]) -> bool:
    return covers(grant(scope), write(arguments), DIGEST, NOW)


def approvers(**groups: str) -> Any:
    known = {name: frozenset(names.split()) for name, names in groups.items()}
    return known.get


PATH = {"path": "/data/a", "mode": "w"}


def test_an_exact_grant_covers_its_call_in_any_order_of_keys_and_no_other() -> None:
    scope = exactly({"path": "/data/a", "options": {"a": 1, "b": [1, 2]}})

    assert scope.exact
    assert covered(scope, {"options": {"b": [1, 2], "a": 1}, "path": "/data/a"})
    assert not covered(scope, {"path": "/data/a", "options": {"a": 1, "b": [2, 1]}})
    assert not covered(scope, {"path": "/data/a"})
    assert not covered(scope, {"path": "/data/a", "options": {"a": 1, "b": [1, 2]}, "force": True})


ONES = [1, 1.0, "1", True, [1], {"": 1}, None]
LETTERS = ["\u00e9", "e\u0301", "E\u0301", "e"]


@pytest.mark.parametrize("values", [ONES, LETTERS, [0.0, -0.0, 0, False, "", [], {}], [2**53, float(2**53)]])
def test_values_that_some_reader_would_mix_up_are_different_values(values: list[Any]) -> None:
    for n, pinned in enumerate(values):
        for m, sent in enumerate(values):
            assert covered(exactly({"x": pinned}), {"x": sent}) is (n == m), (pinned, sent)
            assert covered(exactly({"x": {"deep": [pinned]}}), {"x": {"deep": [sent]}}) is (n == m)


def test_a_named_argument_may_have_one_of_its_values_or_any_where_that_was_chosen() -> None:
    scope = Scope({"path": ANY_VALUE, "mode": ("w", "a")})

    assert covered(scope, {"path": "/etc/passwd", "mode": "w"})
    assert covered(scope, {"path": None, "mode": "a"})
    assert not covered(scope, {"path": "/data/a", "mode": "x"})
    assert not covered(scope, {"mode": "w"})
    assert not covered(scope, {"path": "/data/a", "mode": "w", "force": True})


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"agent": "other"}, {}),
        ({}, {"agent": "other"}),
        ({"server": "file"}, {}),
        ({"tool": "write_"}, {}),
        ({"tool": "*"}, {}),
        ({"server": "*"}, {}),
        ({"agent": "*"}, {}),
        ({"definition_digest": "e" * 64}, {}),
        ({"scope": None}, {}),
        ({"uses": 3}, {}),
        ({"expires_at": NOW}, {}),
        ({"revoked_at": NOW, "revoked_by": "ben"}, {}),
    ],
)
def test_nothing_but_the_very_thing_is_covered(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    assert covers(grant(exactly(PATH)), write(PATH), DIGEST, NOW)

    assert not covers(replace(grant(exactly(PATH)), **changes), write(PATH, **facts), DIGEST, NOW)


def test_the_end_of_a_grant_has_a_name() -> None:
    made = grant(exactly(PATH))

    assert made.state(NOW) is GrantState.ACTIVE
    assert made.state(NOW + timedelta(hours=1)) is GrantState.EXPIRED
    assert replace(made, uses=3).state(NOW) is GrantState.USED_UP
    assert replace(made, uses=3, revoked_at=NOW).state(NOW) is GrantState.REVOKED


@pytest.mark.parametrize("answer", [False, "error", "text"])
def test_a_condition_that_does_not_say_true_covers_nothing(answer: bool | str) -> None:
    assert covered(Scope({"path": ("a",)}, Says(True)), {"path": "a"})

    assert not covered(Scope({"path": ("a",)}, Says(answer)), {"path": "a"})


def test_a_condition_that_fails_outside_of_exception_covers_nothing() -> None:
    class Panic(BaseException):
        pass

    class Panics(Says):
        def __call__(self, call: Call | Access) -> bool:
            raise Panic

    assert not covered(Scope({"path": ("a",)}, Panics(True)), {"path": "a"})


def test_a_condition_only_narrows() -> None:
    assert not covered(Scope({"path": ("a",)}, Says(True)), {"path": "b"})
    assert not covered(Scope({"path": ("a",)}, Says(True)), {"path": "a", "more": 1})


def test_a_scope_as_wide_as_the_tool_is_refused() -> None:
    with pytest.raises(BadScope, match="any value of every argument"):
        Scope({"path": ANY_VALUE, "mode": ANY_VALUE})
    with pytest.raises(BadScope, match="any value of every argument"):
        Scope({"path": ANY_VALUE}, Says(True))
    assert covered(exactly({}), {})
    assert not covered(exactly({}), {"path": "a"})


def test_every_argument_may_be_any_where_a_condition_reads_them() -> None:
    scope = scope_from_json({"arguments": {"path": {"any": True}}, "when": "args.path == '/data/a'"})

    assert covered(scope, {"path": "/data/a"})
    assert not covered(scope, {"path": "/data/b"})
    assert not covered(scope, {"path": 7})


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({}, "/arguments"),
        ({"arguments": "exact"}, "/arguments"),
        ({"arguments": ["path"]}, "/arguments"),
        ({"arguments": {"path": "a"}}, "/arguments/path"),
        ({"arguments": {"path": {"any": 1}}}, "/arguments/path"),
        ({"arguments": {"path": {"any": False}}}, "/arguments/path"),
        ({"arguments": {"path": {"any": True, "in": ["a"]}}}, "/arguments/path"),
        ({"arguments": {"path": {"in": "abc"}}}, "/arguments/path"),
        ({"arguments": {"path": {"in": []}}}, "/arguments/path"),
        ({"arguments": {"path": {"in": list(range(101))}}}, "/arguments/path"),
        ({"arguments": {"a/b~": {"glob": "*"}}}, "/arguments/a~1b~0"),
        ({"arguments": {str(n): {"in": [n]} for n in range(101)}}, "/arguments"),
        ({"arguments": {"path": {"in": ["a"]}}, "when": ""}, "/when"),
        ({"arguments": {"path": {"in": ["a"]}}, "when": 1}, "/when"),
        ({"arguments": {"path": {"in": ["a"]}}, "when": "args.path =="}, "/when"),
        ({"arguments": {"path": {"in": ["a"]}}, "when": "x" * 4001}, "/when"),
    ],
)
def test_a_scope_that_is_none_names_the_place(value: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BadScope) as caught:
        scope_from_json(value)

    assert caught.value.pointer == pointer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["path", "mode", "n", "x"]), JSON, max_size=4)


@given(ARGUMENTS, ARGUMENTS)
def test_an_exact_grant_covers_what_is_the_same_json_and_only_that(
    pinned: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert covered(exactly(pinned), pinned)
    assert covered(exactly(pinned), sent) is same_json(pinned, sent)


@given(ARGUMENTS, ARGUMENTS, st.sets(st.sampled_from(["path", "mode", "n", "x"])))
def test_whatever_a_scope_covers_agrees_with_it_in_every_pinned_argument(
    pinned: dict[str, Any], sent: dict[str, Any], free: set[str]
) -> None:
    if set(pinned) <= free:
        free = set()
    scope = Scope({name: ANY_VALUE if name in free else (value,) for name, value in pinned.items()})
    alike = {name: sent.get(name, value) if name in free else value for name, value in pinned.items()}

    assert covered(scope, alike)
    if covered(scope, sent):
        assert sent.keys() == pinned.keys()
        assert all(same_json(sent[name], value) for name, value in pinned.items() if name not in free)


@given(ARGUMENTS, st.sampled_from(["path", "mode", "n", "x"]), JSON)
def test_a_scope_comes_back_from_json_as_it_was(pinned: dict[str, Any], name: str, other: Any) -> None:
    scope = Scope({**{key: (value,) for key, value in pinned.items()}, name: (other, 1)})

    wish = Wish(scope, timedelta(days=7), 20)

    assert Wish.from_json(wish.to_json()) == wish


# Who stands behind a grant.


def test_every_maker_must_be_an_approver_whom_the_terms_of_today_let_decide() -> None:
    made, finance = grant(exactly(PATH)), Terms(approvers=(frozenset({"finance"}),))

    assert answers(made, Terms(), approvers(ana=""), None)
    assert answers(made, finance, approvers(ana="finance"), None)
    assert not answers(made, finance, approvers(ana="staff"), None)
    assert not answers(made, Terms(), approvers(ben=""), None)


def test_there_must_be_as_many_makers_as_approvals_are_required_now() -> None:
    two = grant(exactly(PATH), made_by=("ana", "ben"))
    known = approvers(ana="", ben="")

    assert not answers(grant(exactly(PATH)), Terms(required_approvals=2), known, None)
    assert not answers(grant(exactly(PATH), made_by=("ana", "ana")), Terms(required_approvals=2), known, None)
    assert answers(two, Terms(required_approvals=2), known, None)
    assert not answers(two, Terms(), approvers(ana=""), None)


def test_neither_the_agent_nor_the_person_behind_it_stands_behind_its_grant() -> None:
    known = approvers(ana="", local="")

    assert not answers(grant(exactly(PATH)), Terms(), known, "ana")
    assert not answers(grant(exactly(PATH), made_by=("local",)), Terms(), known, None)


@pytest.mark.parametrize("terms", [Terms(grants=False), Terms(decisions=frozenset({"edit", "reject"}))])
def test_terms_that_let_no_grant_or_no_approval_answer_are_kept(terms: Terms) -> None:
    assert not answers(grant(exactly(PATH)), terms, approvers(ana=""), None)


@pytest.mark.parametrize("action", [Action.ALLOW, Action.DENY, Action.HIDE])
def test_only_an_ask_is_ever_answered(action: Action) -> None:
    verdict = Verdict(action, (Because("f", "r"),))
    made = grant(exactly(PATH))

    found = find_grants([made], verdict, write(PATH), DIGEST, now=NOW, groups_of=approvers(ana=""))

    assert list(found) == []
    assert granted(verdict, made) is verdict
