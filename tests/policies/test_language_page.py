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


def stated() -> list[str]:
    """The page's bullets, each as one line."""
    bullets = re.findall(r"^- (.+(?:\n  .+)*)", unfenced(PAGE), re.MULTILINE)
    return [" ".join(bullet.split()) for bullet in bullets]


def test_every_rule_of_the_page_has_a_case_and_every_case_its_rule() -> None:
    noted = {" ".join(case.note.split()) for path in FILES for case in load_cases(path, {}).cases}

    assert set(stated()) - noted == set(), "rules without a case"
    assert noted - set(stated()) == set(), "cases of no rule"
    assert len(stated()) == len(set(stated()))
    assert len(stated()) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.partition(".")[0])
def test_the_cases_of_the_language_hold(path: Path) -> None:
    found = load_cases(path, {})
    results = run_cases(found.policy, found.cases)

    assert [f"{result.case.place}: {result.misses}" for result in results if not result.passed] == []


def test_the_page_is_one_page() -> None:
    assert len(PAGE.splitlines()) < 150


def test_the_example_of_the_page_passes_the_cases_of_the_page(tmp_path: Path) -> None:
    example, cases = blocks(PAGE, "yaml")
    (tmp_path / "team.yaml").write_text(example)
    (tmp_path / "team.cases.yaml").write_text(cases)
    found = load_cases(tmp_path / "team.cases.yaml", {})

    assert found.notes == ()
    assert [result.passed for result in run_cases(found.policy, found.cases)] == [True]
