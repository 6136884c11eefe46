"""`holdshort policy check` and `explain`, as a person and as a script use them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdshort.cli.policy import app

BROKEN = Path(__file__).parents[1] / "config" / "broken"
SOUND = """
mcpServers:
  github:
    command: x
    require_approval: {never: {tool_names: [search]}}
    env: {TOKEN: "${GITHUB_TOKEN}"}
policy: team.yaml
"""
TEAM = """
default: deny
rules:
  - {id: no-delete, tools: "*__delete_*", action: hide}
  - {id: refunds, tools: "*__refund", action: ask, required_approvals: 1, expires_after: 30m, decisions: [approve]}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "holdshort.yaml").write_text(SOUND)
    (tmp_path / "team.yaml").write_text(TEAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_TOKEN", "gh-s3cr3t")
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_check_of_sound_files_is_silent_on_stdout_and_exits_0(files: Path) -> None:
    result = run("check")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "sound: 3 rules in 2 layers" in result.stderr
    assert re.search(r"^digest: [0-9a-f]{64}$", result.stderr, re.MULTILINE)


def test_check_prints_every_problem_with_its_place_and_exits_1(files: Path) -> None:
    (files / "team.yaml").write_text("rules:\n  - {id: a, action: alow}\n  - {id: a, tool: x__y, action: ask}\n")

    result = run("check")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "team.yaml:2:21: rule `a`: unknown action `alow`; did you mean `allow`?",
        "team.yaml:3:10: rule `a`: this id is already used on line 2; ids are unique in a file",
        "team.yaml:3:13: rule `a`: unknown key `tool`; did you mean `tools`?",
    ]
    assert "3 problems in 1 file" in result.stderr


def test_check_of_no_file_exits_2(files: Path) -> None:
    result = run("check", "none.yaml")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no file `none.yaml`" in result.stderr


def test_check_reads_a_single_policy_file(files: Path) -> None:
    assert run("check", "team.yaml").exit_code == 0


def test_check_as_json_is_one_object(files: Path) -> None:
    sound = json.loads(run("check", "--json").stdout)
    (files / "team.yaml").write_text("default: hide\n")
    broken = run("check", "--json")

    assert (sound["ok"], sound["problems"], len(sound["policy_digest"])) == (True, [], 64)
    assert broken.exit_code == 1
    assert json.loads(broken.stdout)["problems"] == [
        {
            "file": "team.yaml",
            "line": 1,
            "column": 10,
            "rule": None,
            "message": "unknown default `hide`; expected `allow`, `ask` or `deny`",
        }
    ]


def test_check_without_secrets_is_possible_on_request(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")

    assert run("check").exit_code == 1
    assert run("check", "--assume-env").exit_code == 0


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_check_of_a_broken_file_exits_1_with_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t-value-of-the-variable")

    result = run("check", str(path))

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "s3cr3t" not in result.output


def test_explain_says_the_verdict_and_what_every_layer_said(files: Path) -> None:
    result = run("explain", "github", "search", "--args", '{"q": "x"}', "--now", "2026-01-05T12:00:00Z")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "allow: github__search called by local",
        "because mcpServers.github.require_approval: never",
        "",
        "1. What was asked",
        '   arguments: {"q": "x"}',
        "   time: 2026-01-05T12:00:00Z",
        (
            "   tool: not read-only, destructive, not idempotent, open-world "
            "(nothing is known of it, so MCP's careful defaults hold)"
        ),
        "",
        "2. What each layer says",
        "   team.yaml: abstains",
        "     - no-delete (team.yaml:4:5): is about `*__delete_*`",
        "     - refunds (team.yaml:5:5): is about `*__refund`",
        "   mcpServers.github.require_approval: says allow <- decides",
        "     - never (holdshort.yaml:5:5): says allow: it matches, and has no condition",
        "",
        "3. Why this verdict",
        "   only one layer has an opinion",
        "   `pins: first_use`: the definition counts as the pinned one",
    ]


def test_explain_says_the_terms_of_an_ask_and_where_each_is_from(files: Path) -> None:
    lines = run("explain", "github", "refund").stdout.splitlines()

    assert lines[0] == "ask: github__refund called by local"
    assert lines[lines.index("4. How it is decided") + 1 :] == [
        "   approvers: any approver",
        "   required_approvals: 1  (team.yaml: refunds)",
        "   expires_after: 30m  (team.yaml: refunds)",
        "   decisions: approve, reject  (team.yaml: refunds)",
        "   execute: claimed: it runs when the agent comes back for it",
        "   grants: yes",
        "",
        "5. Standing grants",
        "   one that covers this call, made by who may decide it, would let it run without asking",
    ]


def test_explain_says_when_a_default_decides(files: Path) -> None:
    told = run("explain", "github", "push").stdout

    assert "no layer had an opinion, so its default counts: deny" in told
    assert "no rule of any layer speaks, so the strictest `default` counts: deny" in told


def test_explain_as_json_holds_everything(files: Path) -> None:
    told = json.loads(run("explain", "github", "refund", "--json", "--now", "2026-01-05T12:00:00Z").stdout)

    assert len(told["policy_digest"]) == 64
    assert (told["kind"], told["server"], told["tool"], told["agent"]) == ("tool", "github", "refund", "local")
    assert (told["verdict"], told["because"]) == ("ask", [{"layer": "team.yaml", "rule": "refunds"}])
    assert [(layer["layer"], layer["part"], layer["action"]) for layer in told["layers"]] == [
        ("team.yaml", "decides", "ask"),
        ("mcpServers.github.require_approval", "abstains", None),
    ]
    assert told["layers"][0]["rules"][1] == {
        "rule": "refunds",
        "action": "ask",
        "outcome": "speaks",
        "says": "says ask: it matches, and has no condition",
        "place": "team.yaml:5:5",
        "condition": [],
    }
    assert told["terms"] == {
        "approvers": [],
        "required_approvals": 1,
        "expires_after_seconds": 1800.0,
        "decisions": ["approve", "reject"],
        "execute": "claimed",
        "grants": True,
    }
    assert told["terms_from"][1] == {
        "term": "required_approvals",
        "says": "1",
        "said_by": [{"layer": "team.yaml", "rule": "refunds"}],
    }
    assert told["errors"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["githb", "x"], "unknown server `githb`; did you mean `github`?"),
        (["github", "x", "--args", "[1]"], "--args: expected a JSON object"),
        (["github", "x", "--args", "{"], "--args: the message is not JSON"),
        (["github", "x", "--args", '{"a": 1, "a": 2}'], "the key `a` twice"),
        (["github", "x", "--args", "@none.json"], "--args: `none.json` cannot be read"),
        (["github", "x", "--agent", "bot"], "unknown agent `bot`"),
        (["github", "x", "-c", "none.yaml"], "there is no file `none.yaml`"),
    ],
)
def test_explain_of_a_question_without_sense_exits_2(files: Path, words: list[str], message: str) -> None:
    result = run("explain", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_explain_with_broken_files_exits_1_with_the_problems(files: Path) -> None:
    (files / "team.yaml").write_text("default: hide\n")

    result = run("explain", "github", "x")

    assert result.exit_code == 1
    assert result.stdout.startswith("team.yaml:1:10: ")


def test_explain_asks_which_agent_calls_when_there_are_several(files: Path) -> None:
    agents = (
        "agents: [{name: bot, token: bots-own-long-token, groups: [ci]}, {name: ana, token: anas-own-long-token}]\n"
    )
    (files / "holdshort.yaml").write_text(SOUND + agents)
    (files / "team.yaml").write_text("rules: [{id: ci, agents: [ci], action: deny}]\n")

    assert "say which agent calls: `bot`, `ana`" in run("explain", "github", "x").stderr
    assert run("explain", "github", "x", "--agent", "bot").stdout.startswith("deny:")
    assert run("explain", "github", "x", "--agent", "ana").stdout.startswith("ask:")
    assert "did you mean `bot`?" in run("explain", "github", "x", "--agent", "bto").stderr


def test_explain_reads_arguments_from_a_file(files: Path) -> None:
    (files / "args.json").write_text('{"amount": 120}')

    assert run("explain", "github", "refund", "--args", "@args.json").exit_code == 0


def test_both_commands_have_help_with_examples() -> None:
    for command in ("check", "explain"):
        shown = run(command, "--help").stdout
        assert "Examples:" in shown
        assert f"holdshort policy {command}" in shown


def test_the_command_runs_as_a_program(files: Path) -> None:
    environ = {**os.environ, "GITHUB_TOKEN": "gh-s3cr3t"}

    done = subprocess.run(
        [sys.executable, "-m", "holdshort", "policy", "explain", "github", "delete_all"],
        capture_output=True,
        text=True,
        check=False,
        cwd=files,
        env=environ,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hide: github__delete_all called by local\nbecause team.yaml: no-delete\n")
