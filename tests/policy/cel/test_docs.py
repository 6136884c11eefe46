"""`docs/conditions.md` has every function and every limit, and its examples answer as it says."""

import json
import re
from pathlib import Path

import pytest

from holdshort.policy import ConditionFailed, compile_condition
from holdshort.policy.cel.bounds import MAX_DEPTH, MAX_ITEMS, MAX_LOOPS, MAX_NESTING, MAX_NODES
from holdshort.policy.cel.frame import MAX_STEPS
from holdshort.policy.cel.functions import FUNCTIONS, MAX_PATTERN
from holdshort.policy.cel.hosts import MAX_URL
from holdshort.policy.cel.paths import MAX_PATH
from holdshort.policy.cel.patterns import MAX_PROGRAM
from holdshort.policy.cel.tokens import MAX_TEXT
from holdshort.policy.cel.values import MAX_VALUE_DEPTH
from holdshort.policy.cel.variables import VARIABLES
from policy.samples import call

PAGE = (Path(__file__).parents[3] / "docs" / "conditions.md").read_text()


def table(title: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [[cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows[1:]]


def test_every_function_is_in_the_table_and_called_as_it_can_be() -> None:
    documented: set[str] = set()
    for usage, _ in table("Functions"):
        for written in re.findall(r"`([^`]+)`", usage):
            found = re.fullmatch(r"(\w\.)?(\w+)\(([^)]*)\)", written)
            assert found is not None, written
            function = FUNCTIONS[found[2]]
            assert function.method if found[1] else function.plain, written
            count = len([word for word in found[3].split(",") if word.strip()]) + bool(found[1])
            assert count == len(function.takes) - function.optional, written
            documented.add(found[2])

    assert documented == FUNCTIONS.keys()


def test_every_variable_and_field_is_in_the_table() -> None:
    rows = {row[0].strip("`"): row[2] for row in table("What it can speak of")}
    said = {name: variable for variables in VARIABLES.values() for name, variable in variables.items()}

    assert rows.keys() == said.keys()
    for name, variable in said.items():
        assert set(re.findall(r"`(\w+)`", rows[name])) == variable.fields.keys()


def test_every_limit_is_in_the_table() -> None:
    limits = [
        *(MAX_TEXT, MAX_NODES, MAX_DEPTH, MAX_NESTING, MAX_LOOPS, MAX_ITEMS, MAX_PATTERN, MAX_PROGRAM),
        *(MAX_STEPS, MAX_VALUE_DEPTH, MAX_PATH, MAX_URL),
    ]

    assert [int(row[1].replace(",", "")) for row in table("Limits")] == limits


EXAMPLES = table("Examples")


@pytest.mark.parametrize(("condition", "arguments", "answer"), EXAMPLES, ids=[row[0] + row[1] for row in EXAMPLES])
def test_an_example_answers_as_it_says(condition: str, arguments: str, answer: str) -> None:
    try:
        given = str(compile_condition(condition.strip("`"))(call("s__t", json.loads(arguments.strip("`"))))).lower()
    except ConditionFailed:
        given = "fails"

    assert given == answer


def test_what_the_page_says_of_long_values_fits() -> None:
    paths = {"paths": ["/srv/" + "a" * 55] * 1000}

    assert compile_condition("args.paths.all(p, under(p, '/srv'))")(call("s__t", paths))
    assert not compile_condition("args.t.matches('PRIVATE')")(call("s__t", {"t": "x" * 700_000}))
