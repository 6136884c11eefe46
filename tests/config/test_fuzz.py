"""Whatever stands in a file: a configuration or a list of problems with places, and never anything else."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdshort.config import ConfigErrors, load_config, load_layer

WORDS = st.sampled_from(
    [
        "mcpServers",
        "servers",
        "s",
        "command",
        "url",
        "require_approval",
        "always",
        "tool_names",
        "tool_filter",
        "args",
        "env",
        "agents",
        "name",
        "token",
        "policy",
        "listen",
        "hold",
        "limits",
        "rules",
        "id",
        "tools",
        "action",
        "ask",
        "approvers",
        "expires_after",
        "30m",
        "*__x",
        "${HOME}",
        "${GONE}",
        "default",
        "version",
        "timeout",
        "type",
        "http",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=5)
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def read_both_ways(path: Path) -> None:
    lines = path.read_bytes().decode("utf-8", "replace").count("\n") + 2
    for read in (load_config, load_layer):
        problems = None
        try:
            read(path, {"HOME": "s3cr3t-home"})
        except ConfigErrors as errors:
            problems = errors.problems
        assert problems != ()
        for problem in problems or ():
            assert 1 <= problem.place.line <= lines
            assert problem.place.column >= 1
            assert "s3cr3t" not in str(problem)


@settings(max_examples=150, deadline=None)
@given(value=st.dictionaries(WORDS, VALUES, max_size=6))
def test_any_tree_of_values(folder: Path, value: object) -> None:
    from json import dumps

    path = folder / "tree.yaml"
    path.write_text(dumps(value))
    read_both_ways(path)


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=60) | st.text("{}[]:,-?&*!|>'\"%@`#~ \n\tab0<", max_size=40).map(str.encode))
def test_any_bytes(folder: Path, raw: bytes) -> None:
    path = folder / "bytes.yaml"
    path.write_bytes(b"mcpServers:\n" + raw)
    read_both_ways(path)
