"""What policy believes of a tool's definition."""

from typing import Any

import pytest

from holdshort.policy import ToolFacts
from holdshort.policy.facts import facts_of

HINTS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}


def facts(annotations: Any = None, *, trusted: bool = True, **more: Any) -> ToolFacts:
    return facts_of("files", {"name": "read", "annotations": annotations, **more}, trusted=trusted)


def test_what_a_server_does_not_declare_is_the_careful_thing() -> None:
    assert facts_of("files", {"name": "read"}) == ToolFacts(
        "files", "read", None, read_only=False, destructive=True, idempotent=False, open_world=True
    )


def test_each_hint_that_is_declared_counts() -> None:
    assert facts_of("files", {"name": "read", "annotations": {"readOnlyHint": True}}).read_only
    assert facts(HINTS) == ToolFacts(
        "files", "read", None, read_only=True, destructive=False, idempotent=True, open_world=False
    )
    assert facts({"readOnlyHint": True}) == ToolFacts("files", "read", None, read_only=True)


def test_no_hint_of_a_server_that_is_not_trusted_counts() -> None:
    assert facts({**HINTS, "title": "Read"}, trusted=False) == ToolFacts("files", "read")
    assert facts(HINTS, trusted=False, title="Read").title == "Read"


@pytest.mark.parametrize("hint", ["true", 1, None, [True]])
def test_a_hint_that_is_not_true_or_false_is_not_declared(hint: Any) -> None:
    assert facts({"readOnlyHint": hint, "openWorldHint": hint}) == ToolFacts("files", "read")


@pytest.mark.parametrize("annotations", ["readOnlyHint", ["readOnlyHint"], 1])
def test_annotations_that_are_no_map_declare_nothing(annotations: Any) -> None:
    assert facts(annotations) == ToolFacts("files", "read")


def test_the_title_of_a_tool_goes_before_that_in_its_annotations() -> None:
    assert facts({"title": "Old"}, title="New").title == "New"
    assert facts({"title": "Old"}, title="").title == "Old"
    assert facts({"title": 5}).title is None
    assert facts(title=5).title is None


def test_pinned_is_what_the_caller_says() -> None:
    assert facts_of("files", {"name": "read"}).pinned
    assert not facts_of("files", {"name": "read"}, pinned=False).pinned
