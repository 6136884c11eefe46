"""`packs:` in a policy file: where the rules come, what they are called, and which servers they are about."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdshort.config import ConfigErrors, Problem, load_config, load_layer, pack_names
from holdshort.policy import Action, Because, Call, Caller, Policy, ToolFacts

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def decided(policy: Policy, server: str, tool: str) -> tuple[Action, tuple[str, ...]]:
    """The action, and the ids of the rules that carry it."""
    verdict = policy.decide(Call(ToolFacts(server, tool), {}, Caller("local"), NOW))
    return verdict.action, tuple(reason.rule for reason in verdict.because)


def layer(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "team.yaml"
    path.write_text(text)
    return load_layer(path, {})[0]


def notes(tmp_path: Path, servers: str, text: str) -> tuple[Problem, ...]:
    (tmp_path / "team.yaml").write_text(text)
    path = tmp_path / "holdshort.yaml"
    path.write_text(f"mcpServers: {servers}\npolicy: team.yaml\n")
    return load_config(path, {}).notes


def test_a_packs_rule_is_named_after_it(tmp_path: Path) -> None:
    policy = layer(tmp_path, "packs: [memory]\n")

    assert decided(policy, "memory", "read_graph") == (Action.ALLOW, ("memory/reads",))
    assert decided(policy, "memory", "delete_entities") == (Action.ASK, ("memory/deletes",))


def test_a_files_own_rules_come_before_its_packs(tmp_path: Path) -> None:
    """And inside a layer the first match wins, so that a pack can be loosened as well as tightened."""
    policy = layer(
        tmp_path,
        "packs: [memory, git]\n"
        "rules:\n"
        "  - {id: no-reading, tools: memory__read_graph, action: deny}\n"
        "  - {id: commits, tools: git__git_commit, action: allow}\n",
    )

    assert decided(policy, "memory", "read_graph") == (Action.DENY, ("no-reading",))
    assert decided(policy, "git", "git_commit") == (Action.ALLOW, ("commits",))
    assert decided(policy, "git", "git_reset") == (Action.ASK, ("git/resets",))


def test_packs_come_in_the_order_they_are_named(tmp_path: Path) -> None:
    narrow_first = layer(tmp_path, "packs: [memory, strict]\n")
    strict_first = layer(tmp_path, "packs: [strict, memory]\n")

    assert decided(narrow_first, "memory", "read_graph") == (Action.ALLOW, ("memory/reads",))
    assert decided(narrow_first, "git", "git_log") == (Action.ASK, ("strict/everything",))
    assert decided(strict_first, "memory", "read_graph") == (Action.ASK, ("strict/everything",))


def test_a_file_and_its_packs_are_one_layer_with_the_files_name(tmp_path: Path) -> None:
    policy = layer(tmp_path, "packs: [memory]\nrules: [{id: mine, tools: a__b, action: deny}]\n")
    verdict = policy.decide(Call(ToolFacts("memory", "open_nodes"), {}, Caller("local"), NOW))

    assert [one.name for one in policy.layers] == [str(tmp_path / "team.yaml")]
    assert verdict.because == (Because(str(tmp_path / "team.yaml"), "memory/reads"),)


def test_a_packs_rule_has_its_place_in_the_pack(tmp_path: Path) -> None:
    policy = layer(tmp_path, "packs: [time]\n")

    places = [str(rule.place) for rule in policy.layers[0].rules]
    assert places == ["packs/time.yaml:9:5", "packs/time.yaml:13:5"]


def test_a_pack_leaves_the_default_of_the_file_alone(tmp_path: Path) -> None:
    policy = layer(tmp_path, "default: allow\npacks: [time]\n")

    assert decided(policy, "other", "anything") == (Action.ALLOW, ("default",))
    assert decided(policy, "time", "new_tool") == (Action.ASK, ("time/other",))


@pytest.mark.parametrize("written", ["packs: memory", "packs: [memory]", "packs: [{pack: memory}]"])
def test_a_pack_can_be_named_in_each_of_these_ways(tmp_path: Path, written: str) -> None:
    assert decided(layer(tmp_path, written), "memory", "read_graph") == (Action.ALLOW, ("memory/reads",))


def test_a_pack_bound_to_other_labels_is_about_those_alone(tmp_path: Path) -> None:
    policy = layer(tmp_path, "default: deny\npacks: [{pack: git, servers: [repo, docs]}]\n")

    for label in ("repo", "docs"):
        assert decided(policy, label, "git_log") == (Action.ALLOW, ("git/reads",))
        assert decided(policy, label, "git_invented") == (Action.ASK, ("git/other",))
    assert decided(policy, "git", "git_log") == (Action.DENY, ("default",))


def test_a_pack_for_any_server_can_be_bound_to_one(tmp_path: Path) -> None:
    policy = layer(tmp_path, "default: allow\npacks: [{pack: strict, servers: files}]\n")

    assert decided(policy, "files", "read_file") == (Action.ASK, ("strict/everything",))
    assert decided(policy, "git", "git_log") == (Action.ALLOW, ("default",))
    sampling = policy.layers[0].rules[-1]
    assert [pattern.text for pattern in sampling.targets] == ["files__sampling/createMessage"]


def test_rules_without_tools_speak_about_the_servers_their_pack_is_bound_to(tmp_path: Path) -> None:
    policy = layer(tmp_path, "default: allow\npacks: [{pack: read-only, servers: [files, notes]}]\n")

    for label in ("files", "notes"):
        assert decided(policy, label, "write_file") == (Action.DENY, ("read-only/other",))
    assert decided(policy, "git", "git_commit") == (Action.ALLOW, ("default",))


def test_a_pack_whose_server_is_not_here_is_noted_with_the_remedy(tmp_path: Path) -> None:
    found = notes(tmp_path, "{filesystems: {command: cat}}", "packs: [filesystem]\n")

    (note,) = found
    assert str(note.place) == f"{tmp_path / 'team.yaml'}:1:9"
    assert note.message == (
        "the pack `filesystem` is about a server called `filesystem`, and there is none; "
        "bind it with `{pack: filesystem, servers: [filesystems]}`"
    )


def test_a_label_under_servers_that_is_not_here_is_noted(tmp_path: Path) -> None:
    found = notes(tmp_path, "{repo: {command: cat}}", "packs: [{pack: git, servers: [repos]}]\n")

    assert [note.message for note in found] == ["servers: no server here is called `repos`; did you mean `repo`?"]


@pytest.mark.parametrize("text", ["packs: [git]", "packs: [{pack: filesystem, servers: git}]", "packs: [strict]"])
def test_a_pack_whose_server_is_here_is_not_noted(tmp_path: Path, text: str) -> None:
    assert notes(tmp_path, "{git: {command: cat}}", text) == ()


def test_an_unknown_pack_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="did you mean `memory`"):
        layer(tmp_path, "packs: [memroy]\n")


def test_every_pack_can_be_named_beside_every_other(tmp_path: Path) -> None:
    policy = layer(tmp_path, f"packs: [{', '.join(pack_names())}]\n")

    assert len({rule.id for rule in policy.layers[0].rules}) == len(policy.layers[0].rules)
