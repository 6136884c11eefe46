"""`record`: off unless asked for, in three shapes; paths of arguments fall to the strict side."""

from pathlib import Path
from typing import Any

import pytest

from holdshort.config import ConfigErrors, RecordConfig, load_config
from holdshort.policy import BadPattern
from holdshort.policy.redaction import parse_argument_path


def read(tmp_path: Path, text: str) -> RecordConfig | None:
    file = tmp_path / "holdshort.yaml"
    file.write_text(f"mcpServers: {{files: {{command: x}}}}\n{text}\n")
    return load_config(file, {}).record


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("record: false", None),
        ("record: true", RecordConfig(keep=7 * 86400)),
        ("record: 24h", RecordConfig(keep=86400)),
        ("record: {keep: 1h, arguments: false}", RecordConfig(keep=3600, arguments=False)),
        ("record: {max_bytes: 1KiB}", RecordConfig(max_bytes=1024)),
    ],
)
def test_it_is_off_unless_it_is_there(tmp_path: Path, text: str, wanted: RecordConfig | None) -> None:
    assert read(tmp_path, text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("record: soon", "record: `soon` is no duration"),
        ("record: 7", "record: `7` is no duration"),
        ("record: {kep: 1h}", "unknown key `kep`"),
        ("record: {keep: 2y}", "record keep: `2y` is no duration"),
        ("record: {redact: [a..b]}", "record redact: bad glob `a..b`"),
        ("record: {redact: {write: [password]}}", "it names no server"),
        ("record: {max_bytes: 1GiB}", "at most 16 MiB"),
    ],
)
def test_what_it_cannot_mean_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as refused:
        read(tmp_path, text)

    assert message in str(refused.value)
    assert "holdshort.yaml:2:" in str(refused.value)


ARGUMENTS: dict[str, Any] = {
    "Password": "p1",
    "user": {"name": "ana", "password": {"deep": "p2"}},
    "users": [{"password": "p3", "id": 1}, {"id": 2}],
    "auth": {"key": "k1", "other": 1},
    "key": "stays",
    "refresh_token": "t1",
    "none": None,
}


def test_a_path_is_meant_at_any_depth_and_whatever_the_case(tmp_path: Path) -> None:
    record = read(tmp_path, 'record: {redact: {"*": [password, auth.key], "files__*": ["*_token"]}}')
    assert record is not None

    cleaned, places = record.redact.apply("files", "write", ARGUMENTS)

    assert cleaned == {
        "Password": None,
        "user": {"name": "ana", "password": None},
        "users": [{"password": None, "id": 1}, {"id": 2}],
        "auth": {"key": None, "other": 1},
        "key": "stays",
        "refresh_token": None,
        "none": None,
    }
    assert places == [
        ["Password"],
        ["user", "password"],
        ["users", 0, "password"],
        ["auth", "key"],
        ["refresh_token"],
    ]
    assert record.redact.apply("other", "write", ARGUMENTS)[0]["refresh_token"] == "t1"
    assert ARGUMENTS["Password"] == "p1"


def test_a_list_is_for_every_tool(tmp_path: Path) -> None:
    record = read(tmp_path, "record: {redact: password}")
    assert record is not None

    assert record.redact.apply("any", "tool", {"password": 1, "x": 2}) == ({"password": None, "x": 2}, [["password"]])
    assert record.redact.names_any("any", "uri", iter(["x", "PASSWORD"]))
    assert not record.redact.names_any("any", "uri", iter(["x"]))


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a" * 300])
def test_a_path_has_names(text: str) -> None:
    with pytest.raises(BadPattern):
        parse_argument_path(text)
