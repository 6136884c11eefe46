"""Rules that are about something other than tools, as files say them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdshort.config import load_config
from holdshort.policy import Access, Action, Caller, Kind

CONFIG = """
mcpServers: {files: {command: cat}, wiki: {command: cat}}
policy: rules.yaml
"""
RULES = """
rules:
  - {id: open, resources: "files__file:///data/{a},[b]/*", action: allow}
  - {id: data, resources: ["files__file:///data/*", "vault__*"], action: deny}
  - {id: drafts, prompts: wiki__draft_*, agents: [local], action: hide}
  - {id: roots, server_requests: "*__roots/*", action: deny}
  - {id: late, prompts: wiki__late, action: deny, when: "args.x == '1'"}
"""
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def access(kind: Kind, server: str, name: str, **arguments: str) -> Access:
    return Access(kind, server, name, Caller("local"), NOW, arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "holdshort.yaml").write_text(CONFIG)
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "action"),
    [
        (access(Kind.RESOURCE, "files", "file:///data/{a},[b]/x"), "allow"),
        (access(Kind.RESOURCE, "files", "file:///data/a"), "deny"),
        (access(Kind.RESOURCE, "wiki", "file:///data/a"), "allow"),
        (access(Kind.PROMPT, "wiki", "draft_x"), "hide"),
        (access(Kind.SERVER_REQUEST, "wiki", "roots/list"), "deny"),
        (access(Kind.SERVER_REQUEST, "wiki", "elicitation/create"), "allow"),
        (access(Kind.PROMPT, "wiki", "late", x="1"), "deny"),
        (access(Kind.PROMPT, "wiki", "late", x="2"), "allow"),
        (access(Kind.PROMPT, "wiki", "late"), "deny"),
    ],
    ids=lambda each: getattr(each, "name", each),
)
def test_a_file_says_what_passes(folder: Path, asked: Access, action: str) -> None:
    assert load_config(folder / "holdshort.yaml", {}).policy.access(asked).action is Action(action)


def test_braces_and_servers_that_are_not_there_are_noted_with_their_places(folder: Path) -> None:
    notes = [str(note) for note in load_config(folder / "holdshort.yaml", {}).notes]

    assert any("rules.yaml:3:27: rule `open`: resources: braces are plain characters here" in note for note in notes), (
        notes
    )
    assert any("rules.yaml:4:53: rule `data`: no server here is called `vault`" in note for note in notes), notes
