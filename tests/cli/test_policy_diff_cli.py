"""`holdshort policy diff`, as a person and as a script read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdshort.cli.policy import app

OLD = """\
rules:
  - {id: big, tools: pay__refund, when: args.amount > 100, action: ask}
  - {id: reads, when: tool.read_only, action: allow}
  - {id: pay, tools: "pay__*", action: allow}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "old.yaml").write_text(OLD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["diff", *words])


def test_loosenings_and_tightenings_are_printed_with_places_and_exit_1(folder: Path) -> None:
    (folder / "new.yaml").write_text(OLD.replace("> 100", "> 200").replace("tool.read_only", "tool.idempotent"))

    result = run("old.yaml", "new.yaml")

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "loosens:"
    assert (
        "  rule `big` (old.yaml:2): asks -> runs without asking, by rule `pay` (new.yaml:4); "
        'as in pay__refund {"amount": 200}'
    ) in lines
    assert "tightens:" in lines
    assert lines[-1].startswith('to take it up while a proxy runs with the old policy, add loosens: "')


def test_a_stricter_policy_is_exit_0(folder: Path) -> None:
    (folder / "new.yaml").write_text(OLD.replace("> 100", "> 50"))

    result = run("old.yaml", "new.yaml")

    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "tightens:")


@pytest.mark.parametrize(
    ("edit", "said"), [("", "unchanged"), ("# a comment", "unchanged"), ("renamed", "no call is judged otherwise")]
)
def test_what_changes_no_verdict_is_said_to(folder: Path, edit: str, said: str) -> None:
    text = OLD.replace("id: big", "id: large") if edit == "renamed" else f"{edit}\n{OLD}"
    other = folder / "other"
    other.mkdir()
    (other / "holdshort.yaml").write_text("mcpServers: {pay: {command: cat}}\npolicy: team.yaml\n")
    (folder / "holdshort.yaml").write_text("mcpServers: {pay: {command: cat}}\npolicy: team.yaml\n")
    (folder / "team.yaml").write_text(OLD)
    (other / "team.yaml").write_text(text)

    result = run("holdshort.yaml", "other/holdshort.yaml")

    assert (result.exit_code, result.stdout) == (0, f"{said}\n")


def test_json_has_rules_places_and_the_call(folder: Path) -> None:
    (folder / "new.yaml").write_text(OLD.replace("action: ask", "action: allow"))

    result = run("old.yaml", "new.yaml", "--json")

    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert told["as_strict"] is False
    assert told["acknowledgement"] == f'loosens: "{told["old_digest"][:12]}"'
    assert told["tightens"] == []
    found = told["loosens"][0]
    assert (found["aspect"], found["was"], found["now"]) == ("action", "asks", "runs without asking")
    assert found["old_rules"] == [{"layer": "old.yaml", "rule": "big", "place": "old.yaml:2:5"}]
    assert found["example"]["name"] == "refund"


def test_many_findings_are_cut_short_unless_all_are_asked_for(folder: Path) -> None:
    rules = "".join(f"  - {{id: r{n}, tools: s__t{n}, action: deny}}\n" for n in range(30))
    (folder / "many.yaml").write_text(f"rules:\n{rules}")
    (folder / "none.yaml").write_text("rules: []\n")

    assert "  and 10 more; --all prints them" in run("many.yaml", "none.yaml").stdout.splitlines()
    assert len(run("many.yaml", "none.yaml", "--all").stdout.splitlines()) == 32


def test_a_configuration_that_acknowledges_is_not_told_to(folder: Path) -> None:
    config = "mcpServers: {pay: {command: cat, require_approval: always}}\n"
    (folder / "holdshort.yaml").write_text(config)
    (folder / "new.yaml").write_text(config.replace("always", "never"))
    line = run("holdshort.yaml", "new.yaml").stdout.splitlines()[-1].rpartition("add ")[2]
    (folder / "new.yaml").write_text(config.replace("always", "never") + line + "\n")

    result = run("holdshort.yaml", "new.yaml")

    assert result.exit_code == 1
    assert "loosens:" not in result.stdout.splitlines()[-1]
    assert json.loads(run("holdshort.yaml", "new.yaml", "--json").stdout)["acknowledged"] is True


def test_problems_and_missing_files_are_told_apart(folder: Path) -> None:
    (folder / "bad.yaml").write_text("rules: [{id: x}]\n")

    assert run("old.yaml", "bad.yaml").exit_code == 1
    assert run("old.yaml", "nothing.yaml").exit_code == 2


PEOPLE = """\
mcpServers: {pay: {command: cat}}
agents: [{name: ci, token: "0123456789abcdef0123456789abcdef", acts_for: ana}]
approvers:
  - {name: ana, token: "1123456789abcdef0123456789abcdef", groups: [finance]}
  - {name: bob, token: "2123456789abcdef0123456789abcdef", groups: [ops]}
separation_of_duties: true
policy: team.yaml
"""
EVE = '  - {name: eve, token: "3123456789abcdef0123456789abcdef"}\n'


@pytest.mark.parametrize(
    ("fragment", "by", "expected"),
    [
        ("separation_of_duties: true", "", "separation_of_duties: true -> separation_of_duties: false"),
        (", acts_for: ana", "", "agent `ci` acts for ana, who may not decide its calls -> acts for nobody"),
        (
            "[ops]",
            "[ops, finance]",
            "`bob` may not decide for rule `big` (team.yaml:2:5) -> may, being in finance, ops",
        ),
        ("separation", f"{EVE}separation", "`eve` is no approver -> an approver"),
    ],
)
def test_more_people_who_may_decide_are_said_though_a_reload_takes_up_none(
    folder: Path, fragment: str, by: str, expected: str
) -> None:
    (folder / "team.yaml").write_text("rules:\n  - {id: big, tools: pay__refund, action: ask, approvers: [finance]}\n")
    (folder / "was.yaml").write_text(PEOPLE)
    (folder / "now.yaml").write_text(PEOPLE.replace(fragment, by, 1))

    there, back = run("was.yaml", "now.yaml"), run("now.yaml", "was.yaml")

    assert there.exit_code == 1
    assert there.stdout.splitlines() == [
        "loosens:",
        f"  {expected}",
        "who may decide is read at a start: a proxy that runs does not take it up, a restart does",
    ]
    assert (back.exit_code, back.stdout.splitlines()[0]) == (0, "tightens:")
    assert [one["message"] for one in json.loads(run("was.yaml", "now.yaml", "--json").stdout)["loosens"]] == [expected]


def test_the_same_people_and_a_narrower_rule_are_no_news(folder: Path) -> None:
    (folder / "team.yaml").write_text(
        "rules:\n  - {id: big, tools: 'pay__*', action: ask, approvers: [finance, ops]}\n"
    )
    (folder / "was.yaml").write_text(PEOPLE)
    (folder / "less.yaml").write_text("rules:\n  - {id: big, tools: 'pay__*', action: ask, approvers: [finance]}\n")
    (folder / "now.yaml").write_text(PEOPLE.replace("team.yaml", "less.yaml"))

    assert run("was.yaml", "now.yaml").exit_code == 0
    (folder / "now.yaml").write_text(PEOPLE.replace("team.yaml", "less.yaml").replace("[ops]", "[finance]"))
    assert run("was.yaml", "now.yaml").exit_code == 0
