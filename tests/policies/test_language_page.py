"""`policies/README.md`: every rule it states has cases of that very name, and every such case is a rule of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks, unfenced
from holdshort.config.cases import load_cases
from holdshort.policy.cases import run_cases

PAGE = (ROOT / "policies" / "README.md").read_text()
LANGUAGE = ROOT / "policies" / "language"
FILES = sorted(LANGUAGE.glob("*.cases.yaml"))

TESTED_ELSEWHERE = {
    "A standing grant turns `ask` into `allow`, and never `deny` or `hide`.": (
        "flows/test_grants.py",
        "test_a_grant_is_nothing_to_a_deny_or_a_hide_that_came_later",
    ),
    "A file with a mistake changes nothing: the policy in force stays.": (
        "flows/test_reloads.py",
        "test_a_bad_file_changes_nothing_and_is_named_with_its_place",
    ),
    (
        "A policy that lets more through than the one in force is refused until a file says `loosens:` with that one's "
        "digest."
    ): ("flows/test_reloads.py", "test_a_policy_that_loosens_is_refused_until_the_file_says_that_it_is_meant"),
    "An approved call runs only if policy still lets it when it is sent.": (
        "flows/test_reloads.py",
        "test_an_approved_call_that_policy_forbids_by_now_never_runs",
    ),
}
"""Rules about a running proxy, which no case can put a question to, and the tests that do."""


def stated() -> list[str]:
    """The page's bullets, each as one line."""
    bullets = re.findall(r"^- (.+(?:\n  .+)*)", unfenced(PAGE), re.MULTILINE)
    return [" ".join(bullet.split()) for bullet in bullets]


def test_every_rule_of_the_page_has_a_case_and_every_case_its_rule() -> None:
    noted = {" ".join(case.note.split()) for path in FILES for case in load_cases(path, {}).cases}

    assert set(stated()) - noted - TESTED_ELSEWHERE.keys() == set(), "rules without a case"
    assert TESTED_ELSEWHERE.keys() <= set(stated())
    assert noted - set(stated()) == set(), "cases of no rule"
    assert len(stated()) == len(set(stated()))
    assert len(stated()) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_the_cases_of_the_language_hold(path: Path) -> None:
    found = load_cases(path, {})
    results = run_cases(found.policy, found.cases)

    assert [f"{result.case.place}: {result.misses}" for result in results if not result.passed] == []


@pytest.mark.parametrize(("file", "name"), TESTED_ELSEWHERE.values(), ids=lambda value: str(value).partition("/")[0])
def test_what_no_case_can_ask_has_a_test(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_the_page_is_one_page() -> None:
    assert len(PAGE.splitlines()) < 150


def test_the_example_of_the_page_passes_the_cases_of_the_page(tmp_path: Path) -> None:
    example, cases = blocks(PAGE, "yaml")
    (tmp_path / "team.yaml").write_text(example)
    (tmp_path / "team.cases.yaml").write_text(cases)
    found = load_cases(tmp_path / "team.cases.yaml", {})

    assert found.notes == ()
    assert [result.passed for result in run_cases(found.policy, found.cases)] == [True]
