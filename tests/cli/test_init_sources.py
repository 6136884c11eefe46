"""What `holdshort init` reads: the files of many clients, and what in them must not be copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdshort.cli.init.cases_text import cases_text
from holdshort.cli.init.clients import BadSource, Source, read_source, unwrapped
from holdshort.cli.init.config_text import config_text
from holdshort.cli.init.given import filled_in, kept_as_text, rename, variables_in
from holdshort.cli.init.packs import PackMatch, match_pack, pack_cases
from holdshort.cli.init.places import CLIENTS, client_files
from holdshort.cli.init.planned import Planned
from holdshort.cli.init.planning import Unsound, check_files
from holdshort.cli.init.policy_text import policy_text
from holdshort.cli.init.secrets import Secrets, looks_secret
from holdshort.cli.init.sorting import sort_tools
from holdshort.config import load_layer, pack_names, pack_path, read_pack
from holdshort.config.servers import check_label

CAT: dict[str, Any] = {"command": "cat", "args": ["-u"]}


def read(folder: Path, text: str, name: str = "client.json", project: Path | None = None) -> Source:
    path = folder / name
    path.write_text(text)
    return read_source(path, project or folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "claude_desktop_config.json",
            '{"mcpServers": {"a": {"command": "cat", "args": ["-u"]}}, "globalShortcut": ""}',
        ),
        (
            ".claude.json",
            '{"numStartups": 3, "mcpServers": {"a": {"type": "stdio", "command": "cat", "args": ["-u"], "env": {}}}}',
        ),
        ("mcp.json", '{"inputs": [], "servers": {"a": {"type": "stdio", "command": "cat", "args": ["-u"]}}}'),
        ("settings.json", '{"mcp": {"servers": {"a": {"command": "cat", "args": ["-u"]}}}}'),
        ("settings.json", '{"mcp.servers": {"a": {"command": "cat", "args": ["-u"]}}}'),
        (
            "settings.json",
            '// Zed\n{"context_servers": {"a": {"source": "custom", "command": "cat", "args": ["-u"],},}, /* x */}',
        ),
        ("settings.json", '{"context_servers": {"a": {"command": {"path": "cat", "args": ["-u"]}, "settings": {}}}}'),
        ("opencode.json", '{"mcp": {"a": {"type": "local", "command": ["cat", "-u"], "enabled": true}}}'),
        ("config.toml", 'model = "x"\n[mcp_servers.a]\ncommand = "cat"\nargs = ["-u"]\nstartup_timeout_sec = 20\n'),
        ("mcp.json", '\ufeff{"mcpServers": {"a": {"command": "cat", "args": ["-u"]}}}'),
        ("old.yaml", "version: 1\nmcpServers:\n  a: {command: cat, args: [-u]}\n"),
        (
            "mcp.json",
            '{"mcpServers": {"a": {"command": "holdshort", "args": ["wrap", "--name", "x", "--", "cat", "-u"]}}}',
        ),
        ("mcp.json", '{"mcpServers": {"a": {"command": "uvx", "args": ["holdshort", "wrap", "--", "cat", "-u"]}}}'),
    ],
    ids=range(13),
)
def test_a_server_is_read_as_each_client_writes_it(tmp_path: Path, name: str, text: str) -> None:
    found = read(tmp_path, text, name)

    assert found.servers == {"a": CAT}
    assert found.notes == []


@pytest.mark.parametrize(
    ("text", "name", "block"),
    [
        ('{"mcpServers": {"a": {"url": "http://x"}}}', "m.json", {"url": "http://x"}),
        ('{"mcpServers": {"a": {"serverUrl": "http://x"}}}', "m.json", {"url": "http://x"}),
        ('{"mcpServers": {"a": {"httpUrl": "http://x"}}}', "m.json", {"url": "http://x"}),
        ('{"mcpServers": {"a": {"type": "sse", "url": "http://x"}}}', "m.json", {"type": "sse", "url": "http://x"}),
        (
            '{"mcpServers": {"a": {"transport": "sse", "url": "http://x"}}}',
            "m.json",
            {"type": "sse", "url": "http://x"},
        ),
        ('{"mcp": {"a": {"type": "remote", "url": "http://x"}}}', "m.json", {"url": "http://x"}),
        (
            '[mcp_servers.a]\nurl="http://x"\nbearer_token_env_var="T"\nhttp_headers.A="b"\nenv_http_headers.C="D"',
            "m.toml",
            {"url": "http://x", "headers": {"A": "b", "C": "${D}", "Authorization": "Bearer ${T}"}},
        ),
        (
            '[mcp_servers.a]\ncommand = "cat"\nenv_vars = ["T"]\n[mcp_servers.a.env]\nB = "c"\n',
            "m.toml",
            {"command": "cat", "env": {"T": "${T}", "B": "c"}},
        ),
    ],
    ids=range(8),
)
def test_hosted_servers_and_variables_are_read_too(tmp_path: Path, text: str, name: str, block: dict[str, Any]) -> None:
    assert read(tmp_path, text, name).servers == {"a": block}


def test_windows_paths_stay_as_they_are(tmp_path: Path) -> None:
    text = r'{"mcpServers": {"a": {"command": "C:\\Node\\npx.cmd", "args": ["C:\\Users\\me // not a comment", "a,]"]}}}'

    assert read(tmp_path, text).servers == {
        "a": {"command": "C:\\Node\\npx.cmd", "args": ["C:\\Users\\me // not a comment", "a,]"]}
    }


def test_what_is_switched_off_is_left_out_and_told(tmp_path: Path) -> None:
    found = read(tmp_path, '{"mcpServers": {"a": {"command": "cat", "disabled": true}, "b": {"command": "cat"}}}')

    assert list(found.servers) == ["b"]
    assert found.notes == ["server `a` is left out: it is switched off there"]


def test_a_choice_of_tools_and_unknown_keys_are_told(tmp_path: Path) -> None:
    block = '{"command": "cat", "autoApprove": ["x"], "disabledTools": ["y"], "comand": "z", "gallery": true}'
    found = read(tmp_path, f'{{"mcpServers": {{"a": {block}}}}}')

    assert found.servers == {"a": {"command": "cat"}}
    assert [note.split(" is not ")[0] for note in found.notes] == [
        "server `a`: `autoApprove`",
        "server `a`: `disabledTools`",
        "server `a`: `comand`",
    ]


@pytest.mark.parametrize(
    ("block", "kept", "told"),
    [
        ('{"command": "cat", "url": "http://x"}', {"command": "cat"}, "the command is taken"),
        ('{"command": "cat", "headers": {"A": "b"}}', {"command": "cat"}, "`headers` is not taken over"),
        ('{"url": "http://x", "env": {"A": "b"}}', {"url": "http://x"}, "`env` is not taken over"),
        ('{"command": "cat", "cwd": "below"}', {"command": "cat", "cwd": "below"}, "relative to the new"),
        ('{"command": ["cat"], "environment": {"A": "b"}}', {"command": "cat", "env": {"A": "b"}}, None),
        ('{"command": "cat", "cwd": "/there"}', {"command": "cat", "cwd": "/there"}, None),
    ],
)
def test_what_does_not_go_together_is_sorted_out(
    tmp_path: Path, block: str, kept: dict[str, Any], told: str | None
) -> None:
    found = read(tmp_path, f'{{"mcpServers": {{"a": {block}}}}}')

    assert found.servers["a"] == kept
    assert len(found.notes) == (told is not None)
    assert told is None or told in found.notes[0]


def test_the_values_of_a_yaml_file_are_values(tmp_path: Path) -> None:
    text = "mcpServers:\n  a: {command: cat, trust_annotations: false, timeout: 30, env: null}\n  b: {disabled: true}"
    found = read(tmp_path, text, "holdshort.yaml")

    assert found.servers == {"a": {"command": "cat", "trust_annotations": False, "timeout": "30"}}


def test_of_many_projects_in_one_file_only_the_one_here_counts(tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    (here / "below").mkdir(parents=True)
    servers = {name: f'{{"mcpServers": {{"{name}": {{"command": "cat"}}}}}}' for name in ("of-here", "of-other")}
    text = f'{{"mcpServers": {{"mine": {{"command": "cat"}}}}, "projects": {{"{here}": {servers["of-here"]}, '
    text += f'"{other}": {servers["of-other"]}}}}}'
    found = read(tmp_path, text, project=here / "below")

    assert list(found.servers) == ["mine", "of-here"]
    assert len(found.notes) == 1
    assert str(other) in found.notes[0]


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("", "m.json", "empty"),
        ("[]", "m.json", "expected a map"),
        ("{", "m.json", "line 1, column 2: this is not JSON"),
        ("{// c\n/* d\n*/ x}", "m.json", "line 3"),
        ('{"mcpServers": {}, "mcpServers": {}}', "m.json", "`mcpServers` is there twice"),
        ('{"mcpServers": {"a": {"command": "cat", "command": "dog"}}}', "m.json", "`command` is there twice"),
        ('{"servrs": {}}', "m.json", "there are no servers in it"),
        ('{"mcpServers": {}}', "m.json", "no server in it that could be started"),
        ('{"mcpServers": {"a": 1}}', "m.json", "server `a` is left out: expected a map"),
        ("{" * 100_000, "m.json", "not JSON"),
        ('{"a":' * 100_000, "m.json", "nested too deeply"),
        ("a = ", "m.toml", "this is not TOML"),
        ("a: [", "m.yaml", "this is not YAML"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, text: str, name: str, told: str) -> None:
    with pytest.raises(BadSource, match=r"^`.*/m\.") as raised:
        read(tmp_path, text, name)

    assert told in str(raised.value)


def test_what_a_file_says_is_harmless_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadSource) as raised:
        read(tmp_path, '{"mcpServers": {"\\u001b[2J\\u202e": 1}}')

    assert "<U+001B ESC>[2J<U+202E>" in str(raised.value)


def test_a_file_that_is_not_utf_8_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes('{"mcpServers": {}}'.encode("utf-16"))
    for name, told in (("m.json", "not UTF-8"), ("gone.json", "no such file")):
        with pytest.raises(BadSource, match=told):
            read_source(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    "command", [["holdshort"], ["holdshort", "wrap"], ["holdshort", "wrap", "--"], ["cat", "wrap", "--", "x"], []]
)
def test_only_a_wrap_with_a_command_is_unwrapped(command: list[str]) -> None:
    assert unwrapped(command) == command


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", "x"),
        ("githubToken", "x"),
        ("token", "x"),
        ("api-key", "x"),
        ("apikey", "x"),
        ("X-Api-Key", "x"),
        ("OPENAI_API_KEY", "x"),
        ("DB_PASSWORD", "hunter2"),
        ("PGPASS", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("Authorization", "x"),
        ("Cookie", "a=b"),
        ("DATABASE_URL", "x"),
        ("SENTRY_DSN", "x"),
        ("PLAIN", "ghp_0123456789abcdefghij"),
        ("PLAIN", "sk-proj-abc"),
        ("PLAIN", "xoxb-123"),
        ("PLAIN", "-----BEGIN RSA PRIVATE KEY-----"),
        ("PLAIN", "eyJhbGciOiJIUzI1NiJ9.e30.x"),
        ("PLAIN", "postgresql://ana:hunter2@db/x"),
        ("PLAIN", "9f86d081884c7d659a2feaa0c55ad015"),
        ("PLAIN", "Zk39fjK20fjw02kfAAlwQ1"),
        ("PLAIN", "123e4567-e89b-12d3-a456-426614174000"),
    ],
)
def test_what_looks_like_a_secret_is_one(name: str, value: str) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "debug"),
        ("PATH", "/usr/local/bin:/usr/bin"),
        ("MAX_TOKENS", "4096"),
        ("TOKEN_LIMIT", "4096"),
        ("API_KEY_FILE", "/run/secrets/key"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/"),
        ("SOME_TOKEN", ""),
        ("SOME_TOKEN", "${SOME_TOKEN}"),
        ("KEYBOARD", "qwerty"),
        ("MONKEY", "x"),
        ("AUTHOR", "ana"),
        ("PASSIVE", "1"),
        ("ALLOWED", "@modelcontextprotocol/server-filesystem"),
        ("DIR", "/home/ana/projects/something-2025/with/folders"),
        ("REGION", "eu-central-1"),
        ("HOST", "db-1.internal.example.invalid"),
        ("USE_TOKEN", "true"),
        ("MODEL", "a-model-with-a-long-name-2025"),
    ],
)
def test_what_does_not_is_none(name: str, value: str) -> None:
    assert not looks_secret(name, value)


@pytest.mark.parametrize(
    ("given", "hidden"),
    [
        (["--token", "abc"], ["--token", "${S_TOKEN}"]),
        (["--api-key=abc", "x"], ["--api-key=${S_API_KEY}", "x"]),
        (["-e", "GITHUB_TOKEN=abc"], ["-e", "GITHUB_TOKEN=${S_GITHUB_TOKEN}"]),
        (["--header", "Authorization: Bearer abc"], ["--header", "Authorization: Bearer ${S_TOKEN}"]),
        (["--header", "X-Region: eu"], ["--header", "X-Region: eu"]),
        (["postgresql://ana:pw@db:5432/x"], ["postgresql://ana:${S_PASSWORD}@db:5432/x"]),
        (["ghp_0123456789abcdefghij"], ["${S_SECRET}"]),
        (["https://x.invalid/mcp?token=abc&a=b"], ["https://x.invalid/mcp?token=${S_TOKEN}&a=b"]),
        (["https://${WHO}:${PW}@x.invalid/?token=abc"], ["https://${WHO}:${PW}@x.invalid/?token=${S_TOKEN}"]),
        (["--token", "${T:-abc}"], ["--token", "${T:-abc}"]),
        (["--x=${MY_TOKEN:-abc}", "${REGION:-eu}"], ["--x=${MY_TOKEN}", "${REGION:-eu}"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (
            ["-y", "@scope/package@1.2.3", "/data", "--port=3000"],
            ["-y", "@scope/package@1.2.3", "/data", "--port=3000"],
        ),
    ],
)
def test_secrets_among_arguments_become_variables(given: list[str], hidden: list[str]) -> None:
    secrets = Secrets({})

    assert secrets.hide("s", {"command": "x", "args": given})["args"] == hidden
    assert [value for value in secrets.values.values() if any(value in word for word in hidden)] == []


def test_the_same_secret_is_one_variable_and_another_of_its_name_a_second() -> None:
    secrets = Secrets({"TAKEN_KEY": "by something else", "SAME_KEY": "v"})
    env = {"A_TOKEN": "one", "TAKEN_KEY": "mine", "SAME_KEY": "v"}

    assert secrets.hide("x", {"env": env})["env"] == {
        "A_TOKEN": "${A_TOKEN}",
        "TAKEN_KEY": "${X_TAKEN_KEY}",
        "SAME_KEY": "${SAME_KEY}",
    }
    assert secrets.hide("y", {"env": {"A_TOKEN": "one"}})["env"] == {"A_TOKEN": "${A_TOKEN}"}
    assert secrets.hide("z", {"env": {"A_TOKEN": "two"}})["env"] == {"A_TOKEN": "${Z_A_TOKEN}"}


def test_references_of_editors_become_ours() -> None:
    block = {
        "args": ["${env:A}", "${B:-c}", "${input:my key}", "${workspaceFolder}/x", "${command:pick}", "${open", "$D"]
    }

    assert filled_in(block, Path("/project"))["args"] == [
        "${A}",
        "${B:-c}",
        "${MY_KEY}",
        "/project/x",
        "$${command:pick}",
        "$${open",
        "$D",
    ]
    assert variables_in(filled_in(block, Path("/project"))) == ["A", "MY_KEY"]
    assert kept_as_text(["${A}"]) == ["$${A}"]
    assert variables_in({"args": ["$${A}"]}) == []


@pytest.mark.parametrize("label", ["", "  ", "a b", "__", "mcp", "x" * 80, "ü", "a__b", "tail_", "日本", "ok"])
def test_every_label_becomes_one_that_can_be_used(label: str) -> None:
    first = rename(label, {"command": "npx", "args": ["-y", "mcp-server-git"]}, [])
    second = rename(label, {"command": "cat"}, [first])

    assert check_label(first) is None
    assert check_label(second) is None
    assert first != second


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_every_client_has_a_place_on_every_system(client: str, system: str) -> None:
    places = client_files(client, Path("/p"), Path("/h"), system, {"APPDATA": "/h/AppData/Roaming"})

    assert places
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to("/p") or place.is_relative_to("/h") for place in places)


def test_the_places_of_a_project_come_first() -> None:
    assert client_files("cursor", Path("/p"), Path("/h"), "linux", {}) == (
        Path("/p/.cursor/mcp.json"),
        Path("/h/.cursor/mcp.json"),
    )
    assert client_files("codex", Path("/p"), Path("/h"), "linux", {"CODEX_HOME": "/c"}) == (Path("/c/config.toml"),)


GIT = ["git_status", "git_log", "git_commit"]


@pytest.mark.parametrize(
    ("command", "pack"),
    [
        (["uvx", "mcp-server-git", "--repository", "."], "git"),
        (["uvx", "mcp-server-git==2025.1"], "git"),
        (["python", "-m", "mcp_server_git"], "git"),
        (["C:\\venv\\Scripts\\mcp-server-git.exe"], "git"),
        (["/home/me/git.py"], None),
        (["npx", "my-mcp-server-git"], None),
        (["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"], None),
    ],
)
def test_a_pack_is_for_its_package_and_its_tools(command: list[str], pack: str | None) -> None:
    found = match_pack(command, None, GIT)

    assert (found.name if found else None) == pack


def test_a_pack_that_does_not_know_most_of_the_tools_is_not_taken_and_others_are_named() -> None:
    assert match_pack(["mcp-server-git"], None, ["git_status", "a", "b"]) is None
    assert match_pack(["mcp-server-git"], None, []) is None
    found = match_pack(["mcp-server-git"], None, ["git_status", "git_push"])
    assert found is not None
    assert found.unnamed == ("git_push",)
    assert found.said == (("git_status", ("allow",)),)


def test_a_hosted_server_is_known_by_its_host_and_not_by_one_that_looks_like_it() -> None:
    tools = ["list_issues", "get_issue"]

    assert getattr(match_pack([], "https://mcp.linear.app/mcp", tools), "name", None) == "linear"
    assert match_pack([], "https://mcp.linear.app.evil.invalid/mcp", tools) is None
    assert match_pack([], "https://evil.invalid/mcp.linear.app", tools) is None


@pytest.mark.parametrize("name", [name for name in pack_names() if read_pack(name).labels])
def test_every_pack_has_a_case_for_each_of_its_rules(name: str) -> None:
    rules = {rule.id for rule in load_layer(pack_path(name), {})[0].layers[0].rules}

    assert {rule for rule, _ in pack_cases(name, read_pack(name).labels[0])} == rules


@pytest.mark.parametrize("name", [name for name in pack_names() if read_pack(name).labels])
def test_what_is_written_about_every_pack_is_sound_under_another_label(tmp_path: Path, name: str) -> None:
    rules = load_layer(pack_path(name), {})[0].layers[0].rules
    named = list(dict.fromkeys(pattern.tool for rule in rules for pattern in rule.tools if "*" not in pattern.tool))
    tools = sort_tools([{"name": tool} for tool in [*named, "another"]])
    match = PackMatch(name, read_pack(name).labels[0], ("another",), tuple((tool, ("ask",)) for tool in named))
    server = Planned("my.own-1", {"command": "cat"}, tools, pack=match)
    texts = {
        "holdshort.yaml": config_text([server], "policies/starter.yaml", "2026-11-21"),
        "policies/starter.yaml": policy_text([server], "2026-11-21", deny_destructive=False),
        "policies/starter.cases.yaml": cases_text([server], deny_destructive=False),
    }

    check_files(tmp_path, texts, "policies/starter.yaml", {})

    assert f"{{pack: {name}, servers: [my.own-1]}}" in texts["policies/starter.yaml"]


def test_files_that_fail_their_own_checks_are_not_written(tmp_path: Path) -> None:
    server = Planned("x", {"command": "cat"}, sort_tools([{"name": "look", "annotations": {"readOnlyHint": True}}]))
    policy = policy_text([server], "2026-11-21", deny_destructive=False)
    cases = cases_text([server], deny_destructive=False)

    def check(policy: str, cases: str) -> None:
        texts = {"policies/starter.yaml": policy, "policies/starter.cases.yaml": cases}
        check_files(tmp_path, texts, "policies/starter.yaml", {})

    check(policy, cases)
    for bad_policy, bad_cases, told in (
        (policy.replace("allow\n", "aloow\n"), cases, "is not sound"),
        (policy.replace("action: allow", "action: deny"), cases, "fails its own case"),
        (policy, cases.split("  - note")[0] + cases[cases.rindex("  - note") :], "has no case for its rule `x-reads`"),
    ):
        with pytest.raises(Unsound, match=told):
            check(bad_policy, bad_cases)
