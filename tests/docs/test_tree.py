"""The tree is what the map says: every module explains itself, and nothing lies around."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import check
from docs.pages import ROOT
from kit.missing import Missing, require

PACKAGE = ROOT / "proxy" / "holdshort"
MODULES = sorted(PACKAGE.rglob("*.py"))

PLANNED = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "docs",
    "examples",
    "policies",
    "proxy",
    "pyproject.toml",
    "tests",
    "uv.lock",
}
"""What may stand at the top of the repository."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing("this is no git checkout, so nobody knows what belongs to it")
    return done.stdout.splitlines()


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_says_its_idea_and_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(ast.get_docstring(tree) or "") > 20
    if path.name == "__main__.py" or len(tree.body) == 1:
        return
    module = import_module(module_name(path))

    assert isinstance(module.__all__, list)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_nothing_stands_at_the_top_that_nobody_planned() -> None:
    assert {path.split("/")[0] for path in require(tracked)} <= PLANNED


def test_the_map_names_every_part() -> None:
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    told = set(re.findall(r"\b([a-z]+)/ ", (ROOT / "proxy" / "README.md").read_text()))

    assert parts <= told


def test_the_check_is_one_command_everywhere() -> None:
    script = ROOT / ".ci" / "run"
    [runs] = [line for line in script.read_text().splitlines() if line.startswith("exec ")]

    assert runs == "exec python3 tests/check.py"
    assert os.access(script, os.X_OK)
    assert "\npython3 tests/check.py\n" in (ROOT / "README.md").read_text()
    assert "`python3 tests/check.py`" in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_check_runs_every_tool_that_is_configured() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = {"importlinter": "lint-imports"}
    configured = {tools.get(name, name) for name in project["tool"]} - {"hatch"}

    assert {step[0] for step in check.STEPS.values()} == configured
    installed = {re.split(r"[^\w-]", wanted)[0] for wanted in project["project"]["optional-dependencies"]["dev"]}
    assert {"import-linter" if name == "lint-imports" else name for name in configured} <= installed
