"""`loosens` names the one policy that another may loosen; it is read from every file, and changes nothing itself."""

from pathlib import Path

import pytest

from holdshort.config import Config, acknowledged, acknowledgement, load_config, wrap_config
from holdshort.policy import compile_policy

OLD = "0123456789abcdef" * 4


def config(folder: Path, top: str = "", layer: str = "") -> Config:
    (folder / "team.yaml").write_text(f"{layer}\nrules:\n  - {{id: reads, tools: '*__get_*', action: allow}}\n")
    path = folder / "holdshort.yaml"
    path.write_text(f"mcpServers: {{files: {{command: cat}}}}\npolicy: team.yaml\n{top}\n")
    return load_config(path, {"OLD": OLD})


@pytest.mark.parametrize(
    ("top", "layer"),
    [
        (acknowledgement(OLD), ""),
        ("", acknowledgement(OLD)),
        (f"loosens: [aaaaaaaaaaaa, {OLD}]", ""),
        ("loosens: 0123456789abcdef0", ""),
        ("loosens: ${OLD}", "loosens: bbbbbbbbbbbb"),
    ],
)
def test_a_line_in_any_file_acknowledges_the_policy_it_names(tmp_path: Path, top: str, layer: str) -> None:
    assert acknowledged(config(tmp_path, top, layer), OLD)


def test_digits_alone_are_a_digest_too(tmp_path: Path) -> None:
    assert acknowledged(config(tmp_path, "loosens: 012345678901"), "012345678901" + "f" * 52)


@pytest.mark.parametrize("line", ["", "loosens: 0123456789ac", "loosens: fedcba9876543210", "loosens: []"])
def test_a_line_about_another_policy_acknowledges_nothing(tmp_path: Path, line: str) -> None:
    assert not acknowledged(config(tmp_path, line), OLD)


def test_the_line_is_no_part_of_the_policy(tmp_path: Path) -> None:
    plain = config(tmp_path).policy

    assert config(tmp_path, acknowledgement(OLD), acknowledgement(OLD)).policy.digest == plain.digest


def test_a_wrapped_server_reads_it_from_a_policy_file_too(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_text(f"{acknowledgement(OLD)}\nrules: []\n")

    assert acknowledged(wrap_config(["cat"], label="files", path=path), OLD)


def test_the_line_names_enough_of_the_digest() -> None:
    digest = compile_policy([]).digest

    assert acknowledgement(digest) == f'loosens: "{digest[:12]}"'
