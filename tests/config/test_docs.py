"""`docs/configuration.md` has every key that the loader accepts, its true defaults, and examples that load."""

import re
from pathlib import Path

import pytest

from holdshort.config import Config, LimitsConfig, is_layer_file, load_config, load_layer
from holdshort.config.layers import LAYER_KEYS
from holdshort.config.load import CONFIG_KEYS, FOREIGN_CONFIG_KEYS
from holdshort.config.people import AGENT_KEYS
from holdshort.config.recording import RECORD_KEYS
from holdshort.config.rules import RULE_KEYS
from holdshort.config.servers import ALIASES, FOREIGN_SERVER_KEYS, SERVER_KEYS
from holdshort.config.settings import APPROVALS_KEYS, HOLD_KEYS, LIMIT_KEYS
from holdshort.config.units import parse_bytes, parse_seconds

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The text below a heading, down to the next heading of the same level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |^\1 |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading `{title}`"
    return found.group(2)


def table_keys(text: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_key_of_the_configuration_has_a_heading() -> None:
    headings = set(re.findall(r"^### `([^`]+)`$", PAGE, re.MULTILINE))

    assert headings == set(CONFIG_KEYS) - {"servers"}
    assert "`servers`" in section("`mcpServers`")


def test_every_key_of_a_server_is_in_the_table() -> None:
    assert table_keys(section("`mcpServers`")) == set(SERVER_KEYS)
    assert quoted(section("`mcpServers`")) >= ALIASES.keys()


def test_every_key_of_other_clients_is_named() -> None:
    words = quoted(section("`mcpServers`"))

    assert words >= FOREIGN_SERVER_KEYS - {"enabled"}
    assert "enabled: false" in words
    assert words >= FOREIGN_CONFIG_KEYS


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("`agents`", AGENT_KEYS),
        ("`approvals`", APPROVALS_KEYS),
        ("`hold`", HOLD_KEYS),
        ("`record`", RECORD_KEYS),
    ],
)
def test_every_key_of_the_small_sections_is_named(title: str, keys: tuple[str, ...]) -> None:
    assert quoted(section(title)) >= set(keys)


def test_every_limit_is_in_the_table_with_its_true_default() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| (\S+) \|", section("`limits`"), re.MULTILINE))

    assert rows.keys() == set(LIMIT_KEYS)
    for key, default in rows.items():
        meant = parse_bytes(default) if key.endswith("_bytes") else parse_seconds(default)
        assert meant == getattr(LimitsConfig(), key), key


def test_every_key_of_policy_files_is_in_a_table() -> None:
    tables = re.split(r"^\| key of a rule", section("Policy files"), flags=re.MULTILINE)

    assert table_keys(tables[0]) == set(LAYER_KEYS)
    assert table_keys(tables[1].split("**Globs.**")[0]) == set(RULE_KEYS)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_loads(tmp_path: Path, number: int) -> None:
    example = EXAMPLES[number]
    path = tmp_path / "example.yaml"
    path.write_text(example)
    (tmp_path / "policies").mkdir()
    for name in re.findall(r"policies/\w+\.yaml", example):
        (tmp_path / name).write_text("rules: []\n")
    environ = {name: f"a-long-value-for-{name}" for name in re.findall(r"\$\{(\w+)", example)}
    if is_layer_file(path):
        load_layer(path, environ)
        return
    if "mcpServers" not in example:
        path.write_text(f"mcpServers: {{files: {{command: cat}}}}\n{example}")

    assert isinstance(load_config(path, {"HOME": "/home/ana", **environ}), Config)


def test_there_is_an_example_for_every_key_of_the_configuration() -> None:
    for key in set(CONFIG_KEYS) - {"servers"}:
        assert re.search(rf"^```yaml\n(?:.*\n)*?{key}:", section(f"`{key}`"), re.MULTILINE), key
