"""Rules about calls that agents run themselves are ordinary rules, and no tool of a server is ever meant by them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdshort.config import Config, load_config
from holdshort.policy import Action, Call, Caller, ToolFacts, may_be_own

NOW = datetime(2026, 1, 5, tzinfo=UTC)
HEAD = 'version: 1\nmcpServers: {files: {command: "true"}}\npolicy: team.yaml\n'


def loaded(folder: Path, tools: str) -> Config:
    """A configuration with one rule, which denies."""
    (folder / "holdshort.yaml").write_text(HEAD)
    rule = f'{{id: no, tools: "{tools}", action: deny}}'
    (folder / "team.yaml").write_text(f"version: 1\ndefault: allow\nrules: [{rule}]\n")
    return load_config(folder / "holdshort.yaml", {})


def action(config: Config, server: str, tool: str) -> Action:
    return config.policy.decide(Call(ToolFacts(server, tool), {}, Caller("bot"), NOW)).action


@pytest.mark.parametrize("pattern", ["shell:local", "shell:*", "hosted_mcp:wiki", "*:local", "s*:*"])
def test_a_glob_can_be_about_calls_that_agents_run(pattern: str) -> None:
    assert may_be_own(pattern)


@pytest.mark.parametrize("pattern", ["shell", "files", "*", "bash:local", "shell:", ":local", "mcp:files"])
def test_a_glob_that_no_such_call_can_match_is_not(pattern: str) -> None:
    assert not may_be_own(pattern)


def test_a_rule_about_them_is_no_slip_and_matches_them_alone(tmp_path: Path) -> None:
    config = loaded(tmp_path, "shell:files__*")

    assert config.notes == ()
    assert action(config, "shell:files", "run") is Action.DENY
    assert action(config, "files", "run") is Action.ALLOW
    assert action(config, "function:files", "run") is Action.ALLOW


def test_a_rule_about_a_server_does_not_match_them_and_one_about_everything_does(tmp_path: Path) -> None:
    assert action(loaded(tmp_path, "files__*"), "shell:files", "run") is Action.ALLOW
    assert action(loaded(tmp_path, "*__run"), "shell:files", "run") is Action.DENY


def test_a_kind_that_there_is_not_is_noted(tmp_path: Path) -> None:
    assert any("no server here is called `bash:local`" in str(note) for note in loaded(tmp_path, "bash:local__*").notes)
