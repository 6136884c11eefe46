"""What a sound `holdshort.yaml` becomes, from every shape that people already have."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdshort.config import (
    AgentConfig,
    ApproverConfig,
    BadLabel,
    Config,
    ConfigErrors,
    HoldConfig,
    LimitsConfig,
    Listen,
    ServerConfig,
    load_config,
    load_layer,
    wrap_config,
)
from holdshort.policy import Because
from policy.samples import call

ENVIRON = {
    "TICKETS_TOKEN": "t1cket-s3cret",
    "CI_BOT_TOKEN": "ci-bot-s3cret-of-length",
    "ANA_TOKEN": "ana-s3cret-of-good-length",
    "HOME": "/home/ana",
    "EMPTY": "",
    "SECONDS": "90",
}


def load(folder: Path, text: str, **layers: str) -> Config:
    for name, layer in layers.items():
        (folder / f"{name}.yaml").write_text(layer)
    path = folder / "holdshort.yaml"
    path.write_text(text)
    return load_config(path, ENVIRON)


def problems(folder: Path, text: str, **layers: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, text, **layers)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


FULL = """
version: 1
mcpServers:
  files:   {command: npx, args: [-y, "@modelcontextprotocol/server-filesystem", /data, 8080], env: {PORT: 80, D: true}}
  tickets:
    url: https://tickets.example/mcp
    headers: {Authorization: "Bearer ${TICKETS_TOKEN}"}
    require_approval: {never: {tool_names: [search, get_ticket]}}
    tool_filter: {blocked_tool_names: [purge]}
    timeout: 90s
    trust_annotations: false
agents:    [{name: ci-bot, token: "${CI_BOT_TOKEN}", groups: [ci], acts_for: ana}]
approvers: [{name: ana, token: "${ANA_TOKEN}", groups: [finance]}]
policy: [org.yaml, team.yaml]
listen: 192.168.1.5:8000
approvals: {listen: "127.0.0.1:9000", public_url: "https://review.example/"}
hold: {default: 4s, clients: {claude-code: 45s, "*": 0}}
limits: {pending_per_agent: 5, request_bytes: 1MiB, pending_expiry: 1h30m}
state_dir: ~/state
separation_of_duties: false
allowed_hosts: [Review.example]
allowed_origins: ["https://review.example:8443"]
"""
TEAM = """
version: 1
default: ask
rules:
  - {id: no-admin, tools: ["tickets__admin_*", "*__wipe"], action: hide}
  - id: big-refund
    tools: tickets__refund
    agents: [ci]
    action: ask
    approvers: [finance]
    required_approvals: 1
    expires_after: 30m
    decisions: [approve, edit]
    execute: on_decision
  - {id: rest, tools: files__*, action: allow}
"""


def test_every_key_arrives(tmp_path: Path) -> None:
    config = load(tmp_path, FULL, org="default: deny\nrules: []\n", team=TEAM)

    assert config.servers == (
        ServerConfig(
            "files",
            "stdio",
            command="npx",
            args=("-y", "@modelcontextprotocol/server-filesystem", "/data", "8080"),
            env={"PORT": "80", "D": "true"},
        ),
        ServerConfig(
            "tickets",
            "http",
            url="https://tickets.example/mcp",
            headers={"Authorization": "Bearer t1cket-s3cret"},
            timeout=90,
            trust_annotations=False,
        ),
    )
    assert config.agents == (AgentConfig("ci-bot", "ci-bot-s3cret-of-length", frozenset({"ci"}), "ana"),)
    assert config.approvers == (ApproverConfig("ana", "ana-s3cret-of-good-length", frozenset({"finance"})),)
    assert (config.listen, config.approvals_listen) == (Listen("192.168.1.5", 8000), Listen("127.0.0.1", 9000))
    assert config.public_url == "https://review.example"
    assert config.hold == HoldConfig(4, {"claude-code": 45, "*": 0})
    assert config.limits == LimitsConfig(pending_per_agent=5, request_bytes=1024 * 1024, pending_expiry=5400)
    assert config.state_dir == Path("/home/ana/state")
    assert not config.separation_of_duties
    assert (config.allowed_hosts, config.allowed_origins) == (("review.example",), ("https://review.example:8443",))
    assert [layer.name for layer in config.policy.layers] == [
        "org.yaml",
        "team.yaml",
        "mcpServers.tickets.require_approval",
        "mcpServers.tickets.tool_filter",
    ]


def test_the_policy_of_a_configuration_decides(tmp_path: Path) -> None:
    policy = load(tmp_path, FULL, org="default: deny\nrules: []\n", team=TEAM).policy

    assert policy.decide(call("tickets__search")).because == (Because("mcpServers.tickets.require_approval", "never"),)
    assert policy.hides(call("tickets__purge").tool, call().caller)
    assert policy.decide(call("tickets__other")).because == (Because("org.yaml", "default"),)
    refund = policy.decide(call("tickets__refund", agent="ci-bot", groups="ci"))
    assert refund.because == (Because("team.yaml", "big-refund"),)
    assert refund.terms.approvers == (frozenset({"finance"}),)
    assert refund.terms.expires_after == timedelta(minutes=30)
    assert refund.terms.decisions == {"approve", "edit", "reject"}
    assert refund.terms.execute == "on_decision"


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    shown = repr(load(tmp_path, FULL, org="rules: []\n", team=TEAM))

    assert "s3cret" not in shown
    assert "filesystem" not in shown  # arguments may carry keys


def test_the_least_configuration_is_a_client_s_own_file(tmp_path: Path) -> None:
    config = load(tmp_path, '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "x"]}}}')

    assert config.servers == (ServerConfig("files", "stdio", command="npx", args=("-y", "x")),)
    assert config.policy.decide(call("files__read")).because == (Because("default", "ask"),)
    assert (config.listen, config.agents, config.approvers) == (Listen("127.0.0.1", 7411), (), ())
    assert config.notes == ()


PASTES: dict[str, tuple[Any, ServerConfig]] = {
    "claude desktop": (
        {"globalShortcut": "Ctrl+Space", "mcpServers": {"s": {"command": "uvx", "args": ["x"], "env": {"K": "v"}}}},
        ServerConfig("s", "stdio", command="uvx", args=("x",), env={"K": "v"}),
    ),
    "claude code": (
        {"mcpServers": {"s": {"type": "http", "url": "https://x/mcp", "headers": {"A": "Bearer ${TICKETS_TOKEN}"}}}},
        ServerConfig("s", "http", url="https://x/mcp", headers={"A": "Bearer t1cket-s3cret"}),
    ),
    "claude code with a default": (
        {"mcpServers": {"s": {"type": "sse", "url": "${BASE_URL:-https://x}/sse"}}},
        ServerConfig("s", "sse", url="https://x/sse"),
    ),
    "cursor": (
        {"mcpServers": {"s": {"command": "x", "env": {"K": "${env:TICKETS_TOKEN}"}, "envFile": ".env"}}},
        ServerConfig("s", "stdio", command="x", env={"K": "t1cket-s3cret"}),
    ),
    "vs code": (
        {
            "inputs": [{"type": "promptString", "id": "key", "password": True}],
            "servers": {"s": {"type": "stdio", "command": "x", "dev": {"watch": "**/*.py"}, "gallery": True}},
        },
        ServerConfig("s", "stdio", command="x"),
    ),
    "windsurf": ({"mcpServers": {"s": {"serverUrl": "https://x/mcp"}}}, ServerConfig("s", "http", url="https://x/mcp")),
    "gemini": (
        {"mcpServers": {"s": {"httpUrl": "https://x/mcp", "timeout": 30000, "trust": True, "includeTools": ["a"]}}},
        ServerConfig("s", "http", url="https://x/mcp", timeout=30),
    ),
    "cline": (
        {
            "mcpServers": {
                "s": {"command": "x", "disabled": False, "autoApprove": ["a"], "timeout": 60, "type": "stdio"}
            }
        },
        ServerConfig("s", "stdio", command="x", timeout=60),
    ),
    "roo": (
        {"mcpServers": {"s": {"type": "streamable-http", "url": "https://x/mcp", "alwaysAllow": ["a"]}}},
        ServerConfig("s", "http", url="https://x/mcp"),
    ),
}


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize("client", PASTES)
def test_a_client_s_block_pastes_in_unchanged(tmp_path: Path, client: str, indent: int | str | None) -> None:
    pasted, expected = PASTES[client]

    assert load(tmp_path, json.dumps(pasted, indent=indent)).servers == (expected,)


def test_what_other_clients_say_has_no_effect_and_is_noted(tmp_path: Path) -> None:
    config = load(tmp_path, json.dumps(PASTES["cline"][0]))

    assert [note.message for note in config.notes] == [
        (
            "server `s`: `autoApprove` is a key of another client and has no effect; it lets nothing run here, "
            "`require_approval: never` would"
        )
    ]
    assert config.policy.decide(call("s__a")).because == (Because("default", "ask"),)


@pytest.mark.parametrize("switch", ["disabled: true", "enabled: false"])
def test_a_switched_off_server_is_left_out_and_needs_no_secrets(tmp_path: Path, switch: str) -> None:
    config = load(
        tmp_path, f"mcpServers:\n  a: {{command: x}}\n  b: {{{switch}, command: x, env: {{K: '${{GONE}}'}}}}\n"
    )

    assert [server.label for server in config.servers] == ["a"]
    assert "switched off" in config.notes[0].message


def test_json_escapes_mean_what_they_mean_in_json(tmp_path: Path) -> None:
    text = json.dumps({"mcpServers": {"s": {"command": "x", "args": ["😀", 'a"b', "a\\/b", "é\n"]}}})

    assert load(tmp_path, text.replace("\\\\/", "\\/")).servers[0].args == ("😀", 'a"b', "a/b", "é\n")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${TICKETS_TOKEN}", "t1cket-s3cret"),
        ("a${HOME}b${HOME}", "a/home/anab/home/ana"),
        ("${GONE:-}", ""),
        ("${GONE:-x:-y}", "x:-y"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("$${HOME}", "${HOME}"),
        ("$HOME $ {HOME} $$", "$HOME $ {HOME} $$"),
    ],
)
def test_variables_are_filled_in(tmp_path: Path, written: str, meant: str) -> None:
    text = json.dumps({"mcpServers": {"s": {"command": "x", "args": [written]}}})

    assert load(tmp_path, text).servers[0].args == (meant,)


def test_what_a_variable_holds_is_not_interpolated_again(tmp_path: Path) -> None:
    path = tmp_path / "holdshort.yaml"
    path.write_text('mcpServers: {s: {command: x, args: ["${OUTER}"]}}')

    assert load_config(path, {"OUTER": "${INNER}"}).servers[0].args == ("${INNER}",)


def test_typed_values_may_come_from_variables(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        'mcpServers: {s: {command: x, timeout: "${SECONDS}", trust_annotations: "${GONE:-false}"}}\n'
        'separation_of_duties: "${GONE:-false}"\nlisten: "127.0.0.1:${PORT:-0}"\n',
    )

    assert (config.servers[0].timeout, config.servers[0].trust_annotations) == (90, False)
    assert (config.separation_of_duties, config.listen.port) == (False, 0)


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("hold: ${HOME}", "2:7"),
        ("listen: ${HOME}", "2:9"),
        ("policy: ${HOME}", "2:9"),
        ("separation_of_duties: ${HOME}", "2:23"),
        ("limits: {json_depth: '${HOME}'}", "2:22"),
        ("allowed_hosts: ['${HOME}']", "2:17"),
        ("agents: [{name: a, token: 'x ${HOME}'}]", "2:27"),
        ("approvals: {public_url: '${HOME}'}", "2:25"),
    ],
)
def test_what_a_variable_holds_is_never_echoed(tmp_path: Path, line: str, at: str) -> None:
    found = problems(tmp_path, f"mcpServers: {{s: {{command: x}}}}\n{line}\n")

    assert len(found) == 1
    assert found[0].startswith(f"holdshort.yaml:{at}: ")
    assert "/home" not in found[0]


def test_variables_in_shorthand_and_rules_are_never_echoed_either(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "mcpServers: {s: {command: x, require_approval: '${HOME}', tool_filter: {blocked_tool_names: ['${HOME}*']}}}\n"
        "policy: team.yaml\n",
        team="rules:\n  - {id: a, action: '${HOME}', tools: '${HOME}', agents: '${HOME}'}\n"
        "  - {id: b, action: ask, approvers: ['${HOME}'], decisions: ['${HOME}'], expires_after: '${HOME}'}\n",
    )

    assert len(found) == 8
    assert not [line for line in found if "/home" in line]


def test_all_problems_of_all_files_come_at_once_and_in_order(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "mcpServers:\n  s: {comand: x}\npolicy: [a.yaml, b.yaml, c.yaml]\nlisten: nowhere:x\n",
        a="rules:\n  - {id: x, action: alow}\n  - {id: x, action: ask}\n",
        b="rules: [\n",
    )

    assert [line.split(": ")[0] for line in found] == [
        "holdshort.yaml:2:7",
        "holdshort.yaml:3:26",
        "holdshort.yaml:4:9",
        "a.yaml:2:21",
        "a.yaml:3:10",
        "b.yaml:2:1",
    ]


def test_relative_paths_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf" / "policies").mkdir(parents=True)
    (tmp_path / "conf" / "policies" / "team.yaml").write_text("default: deny\n")
    path = tmp_path / "conf" / "holdshort.yaml"
    path.write_text("mcpServers: {s: {command: x, cwd: work}}\npolicy: policies/team.yaml\nstate_dir: state\n")

    config = load_config(path, {})

    assert config.servers[0].cwd == tmp_path / "conf" / "work"
    assert config.state_dir == tmp_path / "conf" / "state"
    assert config.policy.decide(call("s__x")).because == (Because("policies/team.yaml", "default"),)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("127.0.0.1:80", Listen("127.0.0.1", 80)),
        ("localhost:0", Listen("localhost", 0)),
        (":9000", Listen("127.0.0.1", 9000)),
        ("9000", Listen("127.0.0.1", 9000)),
        ("127.0.0.2", Listen("127.0.0.2", 7411)),
        ("[::1]:80", Listen("::1", 80)),
        ("[::1]", Listen("::1", 7411)),
    ],
)
def test_an_address_may_be_written_in_short(tmp_path: Path, written: str, expected: Listen) -> None:
    config = load(tmp_path, f"mcpServers: {{s: {{command: x}}}}\nlisten: '{written}'\n")

    assert config.listen == expected
    assert config.listen.loopback
    assert Listen("::1", 80).loopback
    assert str(Listen("::1", 80)) == "[::1]:80"


@pytest.mark.parametrize(
    "written", ["0.0.0.0:80", "*:80", "[::]:80", "192.168.1.5:80", "proxy.example:80", "127.evil.example:1"]
)
def test_an_address_beyond_loopback_needs_agents(tmp_path: Path, written: str) -> None:
    text = f"mcpServers: {{s: {{command: x}}}}\nlisten: '{written}'\n"

    assert "no `agents` are configured" in problems(tmp_path, text)[0]
    assert not load(tmp_path, text + "agents: [{name: a, token: long-enough-as-a-token}]\n").listen.loopback


@pytest.mark.parametrize("written", ["127.0.0.1:99999", "a b:1", "[::zz]:1", "[127.0.0.1]:1", "127.0.0.1:-1", "::1"])
def test_what_is_no_address_is_refused(tmp_path: Path, written: str) -> None:
    assert "is no address" in problems(tmp_path, f"mcpServers: {{s: {{command: x}}}}\nlisten: '{written}'\n")[0]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("30m", 1800),
        ("24h", 86400),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("45", 45),
    ],
)
def test_durations_have_units(tmp_path: Path, written: str, seconds: float) -> None:
    assert load(tmp_path, f"mcpServers: {{s: {{command: x, timeout: {written}}}}}").servers[0].timeout == seconds


def test_one_hold_for_every_client_may_be_said_in_short(tmp_path: Path) -> None:
    assert load(tmp_path, "mcpServers: {s: {command: x}}\nhold: 0\n").hold == HoldConfig(0)


def test_a_deeply_nested_file_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    deep = "[" * 70 + "]" * 70

    found = problems(tmp_path, f"mcpServers: {{s: {{command: x}}}}\nallowed_hosts: {deep}\n")

    assert sum("nested too deeply" in line for line in found) == 1


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]

    found = problems(tmp_path, "mcpServers: {s: {command: x}}\n" + "\n".join(lines) + "\n")

    assert sum("too many values" in line for line in found) == 1


def test_wrap_needs_no_file() -> None:
    config = wrap_config(["npx", "-y", "x"], label="files")

    assert config.servers == (ServerConfig("files", "stdio", command="npx", args=("-y", "x"), configured=False),)
    assert config.policy.decide(call("files__read", read_only=True)).action == "allow"
    assert config.policy.decide(call("files__write")).action == "ask"
    assert wrap_config(["x"], label="s", strict=True).policy.decide(call("s__r", read_only=True)).action == "ask"


def test_wrap_refuses_a_label_that_cannot_name_a_server() -> None:
    with pytest.raises(BadLabel, match="rename it, for example `my_files`"):
        wrap_config(["x"], label="my__files")


def test_wrap_takes_the_policy_of_a_configuration_but_starts_only_its_own_command(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("rules: [{id: no, tools: files__wipe, action: deny}]\n")
    path = tmp_path / "holdshort.yaml"
    path.write_text(
        "mcpServers:\n"
        "  files: {command: other, require_approval: never, timeout: 5s}\n"
        "  rest: {url: 'https://x', headers: {A: '${GONE}'}}\n"
        "policy: team.yaml\n"
    )

    config = wrap_config(["mine"], label="files", path=path, environ={})

    assert config.servers == (ServerConfig("files", "stdio", command="mine", timeout=5),)
    assert config.policy.decide(call("files__read")).action == "allow"
    assert config.policy.decide(call("files__wipe")).action == "deny"


def test_wrap_takes_a_single_policy_file_and_a_configuration_without_rules(tmp_path: Path) -> None:
    layer, bare = tmp_path / "layer.yaml", tmp_path / "holdshort.yaml"
    layer.write_text("default: deny\n")
    bare.write_text("hold: 5s\n")

    assert wrap_config(["x"], label="s", path=layer, environ={}).policy.decide(call("s__x")).action == "deny"
    layer.write_text("rules: [{id: a, action: ask, approvers: [finance]}]\n")
    with pytest.raises(ConfigErrors, match="unknown approver or group `finance`"):
        wrap_config(["x"], label="s", path=layer, environ={})
    kept = wrap_config(["x"], label="s", path=bare, environ={})
    assert kept.hold == HoldConfig(5)
    assert kept.policy.decide(call("s__x", read_only=True)).action == "allow"
    with pytest.raises(ConfigErrors):
        wrap_config(["x"], label="s", path=tmp_path / "none.yaml", environ={})


def test_a_policy_file_alone_is_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_text("rules: [{id: no, tools: a__b, action: ask, approvers: [whoever]}]\n")

    policy, notes = load_layer(path, {})

    assert policy.decide(call("a__b")).because == (Because(str(path), "no"),)
    assert notes == ()


def test_rules_about_servers_that_are_not_here_are_noted_with_the_nearest_label(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "mcpServers: {github: {command: x}}\npolicy: team.yaml\n",
        team="rules: [{id: no, tools: [githb__a, github__a, '*__a'], action: deny}]\n",
    )

    assert [str(note).rpartition("/")[2] for note in config.notes] == [
        "team.yaml:1:26: rule `no`: no server here is called `githb`; did you mean `github`?"
    ]


def test_a_folded_text_is_the_text_without_its_line_breaks(tmp_path: Path) -> None:
    """The YAML library marks each fold in what it hands out; a condition must not see the mark."""
    config = load(tmp_path, "mcpServers:\n  files:\n    command: >-\n      cat\n      -n\n")

    assert config.servers[0].command == "cat -n"
