"""`holdshort policy lint` and `check --live`, with the tools of real servers, and with those that were pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdshort.cli.policy import app
from kit.spy import SpyRecord

TEAM = """\
rules:
  - {id: all, tools: "spy__*", action: ask}
  - {id: late, tools: spy__write_thing, action: deny}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command, *arguments = SpyRecord(tmp_path / "spy.jsonl").command()
    server = {"command": command, "args": arguments}
    config = {"mcpServers": {"spy": server}, "policy": "team.yaml", "state_dir": str(tmp_path / "state")}
    (tmp_path / "holdshort.yaml").write_text(json.dumps(config))
    (tmp_path / "team.yaml").write_text(TEAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_problems_are_printed_with_both_places_and_exit_1(files: Path) -> None:
    result = run("lint")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        (
            "team.yaml:3:5: shadowed: rule `late`: it never speaks: `all` speaks first wherever it matches "
            "(all: team.yaml:2:5)"
        )
    ]
    assert "1 problem, 0 notes" in result.stderr
    assert "`--live` asks the servers" in result.stderr


def test_a_file_without_problems_is_silent_and_exits_0(files: Path) -> None:
    (files / "team.yaml").write_text('rules: [{id: all, tools: "spy__*", action: ask}]')

    assert (run("lint").exit_code, run("lint").stdout) == (0, "")


def test_notes_are_no_findings_unless_one_says_so(files: Path) -> None:
    (files / "team.yaml").write_text('rules: [{id: a, tools: "spy__*", action: ask, grants: true}]')

    assert run("lint").exit_code == 0
    assert "note: team.yaml:1:9: grants-usual: rule `a`" in run("lint").stderr
    assert run("lint", "--strict").exit_code == 1


def test_as_json_is_one_object(files: Path) -> None:
    told = json.loads(run("lint", "--json").stdout)

    assert (told["ok"], told["tools"]) == (False, "nothing")
    [finding] = told["findings"]
    assert (finding["code"], finding["severity"], finding["rule"]) == ("shadowed", "problem", "late")
    assert (finding["file"], finding["line"], finding["column"]) == ("team.yaml", 3, 5)
    assert finding["others"] == [{"layer": "team.yaml", "rule": "all", "place": "team.yaml:2:5"}]


def test_a_single_policy_file_is_linted_too(files: Path) -> None:
    assert "shadowed" in run("lint", "team.yaml").stdout


def test_broken_files_are_told_as_by_check(files: Path) -> None:
    (files / "team.yaml").write_text("rules: [{id: a, action: alow}]")

    result = run("lint")

    assert result.exit_code == 1
    assert "did you mean `allow`?" in result.stdout


def test_a_tool_that_the_server_does_not_list_is_dead(files: Path) -> None:
    (files / "team.yaml").write_text("rules: [{id: a, tools: spy__wirte_thing, action: deny}]")

    assert run("lint").exit_code == 0
    result = run("lint", "--live")

    assert result.exit_code == 1
    assert "dead: rule `a`: `spy__wirte_thing`: no such tool is listed; did you mean `write_thing`?" in result.stdout
    assert "server `spy`: 7 tools" in result.stderr


MISSPELT = "rules: [{id: a, tools: spy__write_thing, when: 'args.nmae == \"x\"', action: deny}]"


def test_check_holds_conditions_against_what_the_server_lists(files: Path) -> None:
    (files / "team.yaml").write_text(MISSPELT)

    assert run("check").exit_code == 0
    result = run("check", "--live")

    assert result.exit_code == 1
    assert result.stdout.startswith("team.yaml:1:54: rule `a`: when: ")
    assert "`name`" in result.stdout


def test_an_argument_of_only_some_tools_is_a_note(files: Path) -> None:
    (files / "team.yaml").write_text("rules: [{id: a, tools: 'spy__*', when: 'args.name == \"x\"', action: deny}]")

    result = run("check", "--live")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "note: team.yaml:1:" in result.stderr


def test_an_argument_that_the_condition_asks_for_first_is_fine(files: Path) -> None:
    (files / "team.yaml").write_text(
        "rules: [{id: a, tools: 'spy__*', when: 'has(args.name) && args.name == \"x\"', action: deny}]"
    )

    result = run("check", "--live")

    assert result.exit_code == 0
    assert "note: team.yaml" not in result.stderr


def test_a_server_that_cannot_be_asked_is_a_finding_of_check(files: Path) -> None:
    (files / "holdshort.yaml").write_text('{"mcpServers": {"spy": {"command": "/no/such"}}, "policy": "team.yaml"}')

    result = run("check", "--live")

    assert result.exit_code == 1
    assert "server `spy`: it cannot start" in result.stderr


def test_a_single_policy_file_has_no_servers_to_ask(files: Path) -> None:
    assert run("check", "team.yaml", "--live").exit_code == 2
