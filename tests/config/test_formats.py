"""The schemas for editors describe what the loader reads: the same keys, the same shapes, up to date in the wheel."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from config.test_docs import EXAMPLES
from holdshort.cli import app
from holdshort.config.case_reader import CASE_KEYS, TERM_KEYS
from holdshort.config.formats import (
    FORMATS,
    Agent,
    Approvals,
    Case,
    ConfigurationFile,
    ExpectedTerms,
    Hold,
    PackUse,
    Person,
    PolicyFile,
    Record,
    Rule,
    Server,
    json_schema,
    schema_file,
)
from holdshort.config.layers import LAYER_KEYS
from holdshort.config.load import CONFIG_KEYS
from holdshort.config.packs import PACK_KEYS
from holdshort.config.people import AGENT_KEYS, PERSON_KEYS
from holdshort.config.recording import RECORD_KEYS
from holdshort.config.rules import RULE_KEYS
from holdshort.config.servers import SERVER_KEYS
from holdshort.config.settings import APPROVALS_KEYS, HOLD_KEYS

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"
VALIDATORS = {name: jsonschema_rs.validator_for(json_schema(name), offline=True) for name in FORMATS}

REFUSED_FOR_THEIR_SHAPE = {
    "allowed-not-list.yaml": "config",
    "approval-typo.yaml": "config",
    "default-hide.yaml": "policy",
    "filter-key.yaml": "config",
    "layer-rules-not-list.yaml": "policy",
    "layer-version.yaml": "policy",
    "limit-unknown.yaml": "config",
    "rule-bad-id.yaml": "policy",
    "rule-sdk-word.yaml": "policy",
    "rule-unknown-action.yaml": "policy",
    "rule-unknown-key.yaml": "policy",
    "rule-without-action.yaml": "policy",
    "rule-without-id.yaml": "policy",
    "rules-in-configuration.yaml": "config",
    "server-label-charset.yaml": "config",
    "server-unknown-key.yaml": "config",
    "terms-decision.yaml": "policy",
    "terms-duration.yaml": "policy",
    "terms-execute.yaml": "policy",
    "terms-quorum.yaml": "policy",
    "unknown-top-key.yaml": "config",
}


def read(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml.load(text)


def format_of(document: dict[str, Any]) -> str:
    if "cases" in document:
        return "cases"
    return "policy" if (set(LAYER_KEYS) - {"version", "loosens"}) & document.keys() else "config"


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (ConfigurationFile, CONFIG_KEYS),
        (PolicyFile, LAYER_KEYS),
        (Rule, RULE_KEYS),
        (PackUse, PACK_KEYS),
        (Server, SERVER_KEYS),
        (Agent, AGENT_KEYS),
        (Person, PERSON_KEYS),
        (Approvals, APPROVALS_KEYS),
        (Hold, HOLD_KEYS),
        (Record, RECORD_KEYS),
        (Case, CASE_KEYS),
        (ExpectedTerms, TERM_KEYS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_has_the_keys_that_the_loader_reads(model: Any, keys: tuple[str, ...]) -> None:
    assert set(model.model_fields) == set(keys)


@pytest.mark.parametrize("name", FORMATS)
def test_the_schemas_that_are_shipped_are_up_to_date(name: str) -> None:
    """`python -m holdshort.config.formats` writes them anew."""
    assert json.loads(schema_file(name).read_text()) == json_schema(name)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_documentation_is_valid(number: int) -> None:
    document = read(EXAMPLES[number])

    VALIDATORS[format_of(document)].validate(document)


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "policies").glob("*.yaml")), *sorted((ROOT / "examples").rglob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_every_file_of_the_project_is_valid(path: Path) -> None:
    document = read(path.read_text())

    VALIDATORS[format_of(document)].validate(document)


@pytest.mark.parametrize(("name", "format_name"), REFUSED_FOR_THEIR_SHAPE.items())
def test_what_the_loader_refuses_for_its_shape_is_not_valid(name: str, format_name: str) -> None:
    text = re.sub(r"^# expect.*\n", "", (BROKEN / name).read_text(), flags=re.MULTILINE)

    assert not VALIDATORS[format_name].is_valid(read(text))


def test_the_command_prints_a_schema_and_where_it_is(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema", "policy"])
    written = CliRunner().invoke(app, ["schema", "cases", "-o", str(tmp_path / "c.json")])
    path = CliRunner().invoke(app, ["schema", "config", "--path"])

    assert json.loads(printed.stdout) == json_schema("policy")
    assert written.exit_code == 0
    assert json.loads((tmp_path / "c.json").read_text()) == json_schema("cases")
    assert Path(path.stdout.strip()) == schema_file("config")


def test_an_unknown_format_is_named_with_the_nearest_one() -> None:
    done = CliRunner().invoke(app, ["schema", "polcy"])

    assert done.exit_code == 2
    assert "did you mean `policy`?" in done.stderr
