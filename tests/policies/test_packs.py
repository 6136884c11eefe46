"""Every pack: what its file says about itself, that each rule and each tool has a case, and that the cases hold."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import date

import pytest

from docs.pages import ROOT
from holdshort.config import load_layer, pack_names, pack_path, read_pack
from holdshort.config.cases import load_cases
from holdshort.config.packs import pack_folder
from holdshort.policy import Action, Call, Kind, Policy, Rule
from holdshort.policy.cases import run_cases
from holdshort.policy.coverage import cover
from kit.node import KIT
from kit.venvs import MCP_ATLASSIAN, SQLITE
from policies.servers import LIVE

FOR_ANY_SERVER = {"ask-writes", "deny-destructive", "read-only", "strict"}
PACKS = pack_names()
FOR_ONE_SERVER = sorted(set(PACKS) - FOR_ANY_SERVER)

by_pack = pytest.mark.parametrize("name", PACKS)
by_server_pack = pytest.mark.parametrize("name", FOR_ONE_SERVER)


def policy(name: str) -> Policy:
    return load_layer(pack_path(name), {})[0]


def rules(name: str) -> tuple[Rule, ...]:
    return policy(name).layers[0].rules


def test_there_is_a_pack_for_each_of_the_servers_that_people_run() -> None:
    wanted = {"filesystem", "git", "fetch", "memory", "time", "sqlite", "everything"}
    hosted = {"github", "slack", "linear", "notion", "atlassian", "stripe", "sentry", "cloudflare"}

    assert set(PACKS) >= wanted | hosted | FOR_ANY_SERVER


@by_pack
def test_a_pack_has_no_default_and_no_pins(name: str) -> None:
    """They would be the file's that names it."""
    (layer,) = policy(name).layers

    assert (layer.default, layer.pins) == (None, None)


@by_pack
def test_a_pack_begins_with_what_it_does_and_where_that_comes_from(name: str) -> None:
    comment = [
        line.removeprefix("#").strip() for line in pack_path(name).read_text().partition("\nversion:")[0].splitlines()
    ]
    said = {line.partition(":")[0]: line for line in comment if re.match(r"(Server|Source|Checked):", line)}

    assert re.fullmatch(r"[A-Z].{20,115}\.", comment[0])
    assert list(said) == ["Server", "Source", "Checked"]
    checked = re.match(r"Checked:\s+(\d{4}-\d\d-\d\d)", said["Checked"])
    assert checked is not None
    assert date.fromisoformat(checked[1]) >= date(2026, 11, 21)


@by_server_pack
def test_a_pack_says_which_label_it_is_written_for_and_names_no_other(name: str) -> None:
    labels = set(read_pack(name).labels)

    assert labels == {name}
    globs = {pattern.server for rule in rules(name) for pattern in (*rule.tools, *rule.targets)}
    assert globs == labels


@by_server_pack
def test_a_pack_ends_by_asking_about_every_other_tool_of_its_server(name: str) -> None:
    last = rules(name)[-1]

    assert (last.id, last.action, last.when) == ("other", Action.ASK, None)
    assert [pattern.text for pattern in last.tools] == [f"{name}__*"]


@by_server_pack
def test_a_pack_names_each_tool_instead_of_guessing_by_its_name(name: str) -> None:
    for rule in rules(name)[:-1]:
        assert rule.tools, rule.id
        assert [pattern.text for pattern in rule.tools if set("*?") & set(pattern.tool)] == [], rule.id


@by_server_pack
def test_a_tool_has_one_place_in_a_pack_beside_the_rules_with_conditions(name: str) -> None:
    seen: list[str] = []
    for rule in rules(name):
        if rule.when is None:
            seen.extend(pattern.tool for pattern in rule.tools)

    assert sorted(seen) == sorted(set(seen))


@by_pack
def test_no_condition_of_a_pack_goes_by_the_label(name: str) -> None:
    """A pack can be bound to another label; a condition would not follow."""
    for rule in rules(name):
        assert rule.when is None or "tool.server" not in rule.when.text
        assert rule.when is None or rule.kind is Kind.TOOL


@by_pack
def test_what_is_decided_each_time_is_not_answered_by_a_standing_grant(name: str) -> None:
    for rule in rules(name):
        if rule.id in {"deletes", "money", "merges", "secrets", "code", "scripts"} and rule.action is Action.ASK:
            assert rule.grants is False, rule.id


@by_pack
def test_the_cases_of_a_pack_hold_and_every_rule_speaks_in_one(name: str) -> None:
    found = load_cases(pack_path(name).with_suffix(".cases.yaml"), {})
    results = run_cases(found.policy, found.cases)

    assert [f"{result.case.place}: {result.misses}" for result in results if not result.passed] == []
    assert [missed.rule.id for missed in cover(found.policy, results).missed] == []


@by_server_pack
def test_every_tool_that_a_pack_names_has_its_case(name: str) -> None:
    cases = load_cases(pack_path(name).with_suffix(".cases.yaml"), {}).cases
    asked = {case.question.tool.name for case in cases if isinstance(case.question, Call)}
    named = {pattern.tool for rule in rules(name)[:-1] for pattern in rule.tools}

    assert named - asked == set()


def test_a_pack_says_which_version_of_a_package_it_was_checked_against() -> None:
    """So that whoever takes a newer one for the tests reads the pack again, and dates it."""
    versions = dict(pinned_packages())
    checked: set[str] = set()
    for name in PACKS:
        comment = pack_path(name).read_text().partition("\nversion:")[0]
        said = " ".join(line.removeprefix("#").strip() for line in comment.splitlines())
        for package, version in versions.items():
            if re.search(rf"(?<![\w/-]){re.escape(package)} \((?:npm|PyPI)", said):
                assert version in said, f"{name}: {package} is {version} in the tests"
                checked.add(name)

    assert checked >= {live.pack for live in LIVE}


def pinned_packages() -> Iterator[tuple[str, str]]:
    """Every package that the tests install at one version, npm's and PyPI's."""
    for manifest in (KIT / "package.json", KIT / "servers" / "package.json"):
        yield from json.loads(manifest.read_text())["dependencies"].items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for requirement in (*project["demo"], *project["dev"], *SQLITE, *MCP_ATLASSIAN):
        package, exact, version = requirement.partition("==")
        if exact:
            yield package, version


def test_nothing_lies_beside_the_packs_that_is_no_pack() -> None:
    beside = {path.name for path in pack_folder().iterdir() if path.name not in {"README.md", "language"}}

    assert beside == {f"{name}{ending}" for name in PACKS for ending in (".yaml", ".cases.yaml")}
