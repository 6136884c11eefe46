"""`docs/policy-lab.md` shows what the commands really print, about the files that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docs.pages import ROOT, blocks
from holdshort.cli import app
from holdshort.config.case_reader import CASE_KEYS, TERM_KEYS
from holdshort.policy.facts import HINTS
from holdshort.policy.lint import CODES

PAGE = (ROOT / "docs" / "policy-lab.md").read_text()
SHOWN = [block.split("\n", 1) for block in blocks(PAGE, "console")]


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_a_command_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, output: str
) -> None:
    for text in blocks(PAGE, "yaml"):
        name = re.match(r"# (\S+\.yaml)\n", text)
        assert name is not None
        (tmp_path / name[1]).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDSHORT_STATE_DIR", str(tmp_path / "state"))

    words = shlex.split(command.removeprefix("$ holdshort "))
    done = CliRunner().invoke(app, words)

    assert done.stdout + done.stderr == output


def test_all_four_commands_are_shown() -> None:
    assert {command.split()[3] for command, _ in SHOWN} == {"check", "test", "lint", "explain"}


def test_the_table_of_codes_is_the_one_of_the_code() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)

    assert rows == [(code, severity, words) for code, (severity, words) in CODES.items()]


def test_every_key_of_a_case_is_explained() -> None:
    told = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*) \|$", PAGE, re.MULTILINE))))

    assert {*CASE_KEYS, *TERM_KEYS, *HINTS} <= told
