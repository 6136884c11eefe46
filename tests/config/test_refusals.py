"""More that is refused, in short: the line after the servers, the place, and the words."""

from pathlib import Path

import pytest

from holdshort.config import ConfigErrors, load_config

SETTINGS = [
    ("agents: bot", "2:9", "agents: expected a list, got a string"),
    ("agents: [bot]", "2:10", "agent: expected a map, got a string"),
    ("agents: [{name: [a], token: abcdefghijklmnopq}]", "2:17", "agent: name: expected a name, got a list"),
    ("agents: [{name: a b, token: abcdefghijklmnopq}]", "2:17", "agent: name: `a b` is no name"),
    ("agents: [{name: a, token: [x]}]", "2:27", "agent `a`: token: expected a string, got a list"),
    ('agents: [{name: a, token: "x y"}]', "2:27", "agent `a`: the token has white space"),
    ("agents: [{name: a, token: abcdefghijklmnopq, groups: ~}]", "2:54", "groups: expected a list, got nothing"),
    ("agents: [{name: a, token: abcdefghijklmnopq, groups: [{}]}]", "2:55", "group: expected a name, got a map"),
    ("listen: [1]", "2:9", "listen: expected a string, got a list"),
    ("approvals: x", "2:12", "approvals: expected a map, got a string"),
    ("approvals: {listen: x y}", "2:21", "approvals listen: `x y` is no address"),
    ("approvals: {public_url: 7}", "2:25", "public_url: expected a string, got a number"),
    ("approvals: {public_url: 'https://x/?q'}", "2:25", "public_url: expected `https://host`"),
    ("approvals: {public_url: 'https://x:port'}", "2:25", "public_url: expected `https://host`"),
    ("hold: {clients: [a]}", "2:17", "hold clients: expected a map of client names, got a list"),
    ("hold: {clients: {'': 5}}", "2:18", "hold clients: the client's name is empty"),
    ("hold: 2h", "2:7", "hold: a request is held open for an hour at most"),
    ("hold: true", "2:7", "hold: expected a duration such as `30s`, `30m`, `24h` or `7d`, got `true`"),
    ("hold: {default: -4}", "2:17", "`-4` is no duration"),
    ("limits: 5", "2:9", "limits: expected a map, got a number"),
    ("limits: {pending_total: many}", "2:25", "expected a whole number of at least 1, got `many`"),
    ("limits: {pending_total: [1]}", "2:25", "expected a whole number, got a list"),
    ("limits: {request_bytes: 0}", "2:25", "request_bytes: `0` is no size"),
    ("limits: {pending_expiry: 2000d}", "2:26", "is longer than a year"),
    ("limits: {connect_timeout: 0}", "2:27", "the duration must be longer than nothing"),
    ("state_dir: [x]", "2:12", "state_dir: expected a string, got a list"),
    ("state_dir: ''", "2:12", "state_dir: expected a folder"),
    ("state_dir: ~/x", "2:12", "state_dir: `~` needs the environment variable `HOME`"),
    ("allowed_hosts: ['https://x']", "2:17", "allowed_hosts: expected a host"),
    ("allowed_origins: ['https://x:port']", "2:19", "allowed_origins: expected an origin"),
    ("allowed_origins: ['https://x/path']", "2:19", "allowed_origins: expected an origin"),
    ("policy: {rules: []}", "2:9", "policy: expected a string, got a map"),
    ("policy: ~", "2:9", "policy: expected a list, got nothing"),
    ("? [a, b]\n: c", "2:3", "a key must be a plain word"),
    ('listen: "\\ud83d"', "2:9", "this has a lone surrogate"),
]
SERVERS = [
    ("cat", "expected a map, got a string"),
    ("{command: [cat]}", "command: expected a string, got a list"),
    ("{command: ''}", "command: the command is empty"),
    ("{command: cat, type: http}", "`type: http` needs a `url`"),
    ("{url: 'http://x', type: stdio}", "`type: stdio` needs a `command`"),
    ("{url: 'http://x', args: [a]}", "`args` has no meaning for a server with a `url`"),
    ("{command: cat, headers: {}}", "`headers` has no meaning for a server with a `command`"),
    ("{url: [x]}", "url: expected a string, got a list"),
    ("{url: 'http://x:port/'}", "url: expected `http://host/path`"),
    ("{url: 'http://x/ y'}", "url: expected `http://host/path`"),
    ("{url: 'http://x', httpUrl: 'http://y'}", "`httpUrl` means `url`, which is there too"),
    ("{command: cat, env: [A]}", "env: expected a map of names and values, got a list"),
    ("{command: cat, env: {A=B: c}}", "env: `A=B` is no name of an environment variable"),
    ("{command: cat, env: {A: [c]}}", "env `A`: expected a string, got a list"),
    ('{command: cat, env: {A: "c\\0"}}', "env `A`: the value has a NUL"),
    ("{command: cat, env: {A: '${workspaceFolder}'}}", "`${workspaceFolder}` is known to editors only"),
    ("{command: cat, env: {A: '${A B}'}}", "expected `${NAME}` or `${NAME:-default}`"),
    ("{url: 'http://x', headers: {A b: c}}", "headers: `A b` is no name of an HTTP header"),
    ("{url: 'http://x', headers: {A: \"c\\nd\"}}", "headers `A`: the value has characters no header can carry"),
    ("{command: cat, timeout: soon}", "timeout: `soon` is no duration"),
    ("{command: cat, timeout: [5]}", "timeout: expected a duration"),
    ("{command: cat, disabled: maybe}", "disabled: expected `true` or `false`, got `maybe`"),
    ("{command: cat, trust_annotations: '${GONE}'}", "the environment variable `GONE` is not set"),
    ("{command: cat, cwd: [x]}", "cwd: expected a string, got a list"),
]
RULES = [
    ("{id: [a], action: ask}", "id: expected a name, got a list"),
    ("ask", "rule: expected a map, got a string"),
    ("{id: a, action: ask, agents: ['']}", "agents: bad glob ``: it is empty"),
    ("{id: a, action: [ask]}", "action: expected a string, got a list"),
    ("{id: a, action: ask, expires_after: 0s}", "the duration must be longer than nothing"),
    ("{id: a, action: ask, decisions: {}}", "decision: expected a string, got a map"),
]


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "holdshort.yaml"
    path.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load_config(path, {})
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


@pytest.mark.parametrize(("line", "place", "message"), SETTINGS, ids=[line for line, _, _ in SETTINGS])
def test_a_setting_that_cannot_be_used_is_refused_at_its_place(
    tmp_path: Path, line: str, place: str, message: str
) -> None:
    found = problems(tmp_path, f"mcpServers: {{s: {{command: x}}}}\n{line}\n")

    assert len(found) == 1, found
    assert found[0].startswith(f"holdshort.yaml:{place}: ")
    assert message in found[0]


@pytest.mark.parametrize(("server", "message"), SERVERS, ids=[server for server, _ in SERVERS])
def test_a_server_that_cannot_be_used_is_refused(tmp_path: Path, server: str, message: str) -> None:
    found = problems(tmp_path, f"mcpServers:\n  s: {server}\n")

    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(("rule", "message"), RULES, ids=[rule for rule, _ in RULES])
def test_a_rule_that_cannot_be_used_is_refused(tmp_path: Path, rule: str, message: str) -> None:
    (tmp_path / "team.yaml").write_text(f"rules:\n  - {rule}\n")

    found = problems(tmp_path, "mcpServers: {s: {command: x}}\npolicy: team.yaml\n")

    assert len(found) == 1, found
    assert found[0].startswith("team.yaml:2:")
    assert message in found[0]


def test_a_glob_over_agents_that_matches_nobody_and_a_shared_address_are_noted(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("rules: [{id: a, action: ask, agents: ['ci-*']}]\n")
    path = tmp_path / "holdshort.yaml"
    path.write_text(
        "mcpServers: {s: {command: x}}\npolicy: team.yaml\nlisten: 127.0.0.1:80\napprovals: {listen: '127.0.0.1:80'}\n"
        "agents: [{name: bot, token: short}]\n"
    )

    config = load_config(path, {})

    assert config.approvals_listen is None
    assert [note.message for note in config.notes] == [
        "agent `bot`: the token is short; `openssl rand -hex 32` makes a good one",
        "no agent or group here matches `ci-*`",
        "approvals listen: this is the address of `listen`; one port serves both",
    ]
