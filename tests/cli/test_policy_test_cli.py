"""`holdshort policy test`, as a person and as a build runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdshort.cli.policy import app

TEAM = """\
default: deny
rules:
  - {id: no-delete, tools: "*__delete_*", action: hide}
  - {id: refunds, tools: "pay__refund", action: ask, required_approvals: 2}
  - {id: never-used, tools: "pay__other", action: allow}
"""
CASES = """\
cases:
  - note: nobody deletes
    call: pay__delete_all
    verdict: hide
    because: [no-delete]
  - note: a refund needs two people
    call: pay__refund
    args: {amount: 5}
    verdict: ask
    terms: {required_approvals: 2}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "team.yaml").write_text(TEAM)
    (tmp_path / "team.cases.yaml").write_text(CASES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["test", *words])


def test_cases_that_pass_exit_0_with_a_table_of_the_rules(files: Path) -> None:
    result = run()

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "team.cases.yaml: 2 of 2 cases passed",
        "  2 of 3 rules spoke in some case (67%)",
        "    no-delete   decided 1, overruled 0, looked at 0",
        "    refunds     decided 1, overruled 0, looked at 0",
        "    never-used  decided 0, overruled 0, looked at 0  <- no case reaches it (team.yaml:5:5)",
    ]
    assert "2 cases in 1 file: 2 passed, 0 failed" in result.stderr


def test_a_case_that_fails_says_what_was_expected_and_what_every_layer_said(files: Path) -> None:
    (files / "team.cases.yaml").write_text(CASES.replace("verdict: hide", "verdict: deny").replace("als: 2", "als: 3"))

    result = run("--quiet")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "team.cases.yaml: 0 of 2 cases passed",
        "  FAILED team.cases.yaml:2:5: nobody deletes",
        "    verdict: expected deny, got hide",
        "    team.yaml: rule `no-delete` says hide (team.yaml:3:5)",
        "  FAILED team.cases.yaml:6:5: a refund needs two people",
        "    terms: required_approvals: expected 3, got 2",
        "    team.yaml: rule `refunds` says ask (team.yaml:4:5)",
    ]


def test_wrong_reasons_fail_though_the_verdict_is_right(files: Path) -> None:
    (files / "team.cases.yaml").write_text(CASES.replace("[no-delete]", "[refunds]"))

    assert "because: expected refunds, got team.yaml:no-delete" in run().stdout


def test_a_case_may_expect_that_nothing_fails(files: Path) -> None:
    (files / "team.cases.yaml").write_text("cases: [{call: pay__refund, verdict: ask, errors: true}]")

    assert "errors: expected some, got none" in run().stdout


def test_low_coverage_is_a_finding_when_one_says_so(files: Path) -> None:
    assert run("--min-coverage", "60").exit_code == 0
    low = run("--min-coverage", "70")

    assert low.exit_code == 1
    assert "fewer than 70% of the rules spoke" in low.stderr


def test_as_json_is_one_object(files: Path) -> None:
    (files / "team.cases.yaml").write_text(CASES.replace("verdict: hide", "verdict: deny"))

    told = json.loads(run("--json").stdout)

    assert (told["ok"], told["passed"], told["failed"]) == (False, 1, 1)
    [file] = told["files"]
    assert file["cases"][0]["misses"] == [{"what": "verdict", "expected": "deny", "got": "hide"}]
    assert file["cases"][0]["place"] == "team.cases.yaml:2:5"
    assert [rule["reach"] for rule in file["coverage"]["rules"]] == ["decided", "decided", "never"]
    assert file["coverage"]["percent"] == 66.7


def test_folders_are_searched_but_not_what_others_put_there(files: Path) -> None:
    for folder in ("below", ".hidden", "node_modules/x", "env"):
        (files / folder).mkdir(parents=True)
        (files / folder / "team.yaml").write_text(TEAM)
        (files / folder / "team.cases.yaml").write_text(CASES)
    (files / "env" / "pyvenv.cfg").touch()

    found = json.loads(run("--json").stdout)

    assert [each["file"] for each in found["files"]] == ["below/team.cases.yaml", "team.cases.yaml"]


def test_a_file_with_problems_is_told_and_the_others_are_run(files: Path) -> None:
    (files / "bad.cases.yaml").write_text("cases: [{call: refund}]\npolicy: team.yaml\n")

    result = run()

    assert result.exit_code == 1
    assert "bad.cases.yaml:1:16: call: expected `SERVER__NAME`" in result.stdout
    assert "2 passed, 0 failed; 2 problems in files that were not run" in result.stderr


@pytest.mark.parametrize("words", [["none"], ["team.yaml"], ["empty"]])
def test_nothing_to_run_is_a_usage_error(files: Path, words: list[str]) -> None:
    (files / "empty").mkdir()

    assert run(*words).exit_code == 2


def test_a_rule_that_only_a_stricter_layer_overrules_is_covered_and_one_never_true_is_not(files: Path) -> None:
    (files / "org.yaml").write_text("rules: [{id: no, tools: pay__refund, action: deny}]")
    (files / "team.cases.yaml").write_text(
        "policy: [org.yaml, team.yaml]\ncases: [{call: pay__refund, verdict: deny, because: ['org.yaml:no']}]"
    )

    [file] = json.loads(run("--json").stdout)["files"]

    assert [rule["reach"] for rule in file["coverage"]["rules"]] == ["decided", "never", "overruled", "never"]
