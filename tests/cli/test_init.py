"""`holdshort init`: from servers that really run to files that pass every check; nothing is overwritten or copied."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import jsonschema_rs
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from holdshort.cli import app
from holdshort.config import load_config
from holdshort.config.cases import load_cases
from holdshort.errors import HoldshortError
from holdshort.policy import Action, Layer
from holdshort.policy.cases import run_cases
from holdshort.policy.coverage import cover
from kit.ports import free_port
from kit.process import running
from kit.spy import SpyRecord

LIAR = Path(__file__).with_name("lying_server.py")
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ"
POLICY = "policies/starter.yaml"
Tool = dict[str, Any]


def holdshort(*words: str, cwd: Path, code: int = 0, **environ: str) -> Result:
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, words, env=environ)
    if done.exception is not None and not isinstance(done.exception, SystemExit | HoldshortError):
        raise done.exception
    # What `main` makes of our own errors.
    found = 2 if isinstance(done.exception, HoldshortError) else done.exit_code
    assert found == code, done.output
    return done


def init(folder: Path, *words: str, code: int = 0, **environ: str) -> Result:
    return holdshort("init", *words, cwd=folder, code=code, **environ)


def told_by(done: Result) -> str:
    return f"{done.stderr}{done.exception or ''}"


def client_file(folder: Path, servers: Mapping[str, Any], name: str = "mcp.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def spy(folder: Path, **more: Any) -> dict[str, Any]:
    program, *arguments = SpyRecord(folder / "spy.jsonl").command("--stdio")
    return {"command": program, "args": arguments, **more}


def liar(folder: Path, *tools: Tool) -> dict[str, Any]:
    (folder / "tools.json").write_text(json.dumps([{"inputSchema": {"type": "object"}, **tool} for tool in tools]))
    return {"command": sys.executable, "args": [str(LIAR), str(folder / "tools.json")]}


def layer(folder: Path, **environ: str) -> Layer:
    [found] = load_config(folder / "holdshort.yaml", {**os.environ, **environ}).policy.layers
    return found


def verdicts(folder: Path, **environ: str) -> dict[str, tuple[str, ...]]:
    """The tools of every rule, by the rule's id and action."""
    rules = layer(folder, **environ).rules
    return {f"{rule.id} {rule.action}": tuple(str(each.text) for each in rule.tools) for rule in rules}


def files(folder: Path) -> dict[str, str]:
    """Every file there, with its text."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def test_reads_run_changes_ask_and_what_destroys_asks_each_time(tmp_path: Path) -> None:
    init(tmp_path, "--from", str(client_file(tmp_path, {"spy": spy(tmp_path)})))

    assert verdicts(tmp_path) == {
        "spy-reads allow": ("spy__read_thing", "spy__echo", "spy__progress"),
        "spy-writes ask": ("spy__write_thing",),
        "spy-destructive ask": ("spy__destroy_thing",),
        "spy-silent ask": ("spy__slow", "spy__crash"),
    }
    assert {rule.id: rule.grants for rule in layer(tmp_path).rules}["spy-destructive"] is False
    lines = (tmp_path / POLICY).read_text().splitlines()
    assert '      - spy__read_thing  # read-only: "Reads a thing"' in lines
    assert '      - spy__destroy_thing  # destructive: "Destroys a thing"' in lines
    assert any(line.startswith("      - spy__slow   # no annotations: ") for line in lines)


def test_what_is_written_is_sound_without_problems_and_every_rule_has_a_case_that_passes(tmp_path: Path) -> None:
    init(tmp_path, "--from", str(client_file(tmp_path, {"spy": spy(tmp_path), "liar": liar(tmp_path)})))

    for words in (["check"], ["lint", "--live"], ["test", "--min-coverage", "100"]):
        holdshort("policy", *words, cwd=tmp_path)
    cases = load_cases(tmp_path / "policies" / "starter.cases.yaml", {})
    results = run_cases(cases.policy, cases.cases)
    assert [result for result in results if not result.passed] == []
    assert cover(cases.policy, results).percent == 100


def test_nothing_is_called_and_the_server_is_left_again(tmp_path: Path) -> None:
    record = SpyRecord(tmp_path / "spy.jsonl")
    init(tmp_path, "--from", str(client_file(tmp_path, {"spy": spy(tmp_path)})))

    assert record.received("tools/list")
    assert record.received("tools/call") == []
    assert [pid for pid in record.pids() if Path(f"/proc/{pid}").exists()] == []


def test_destructive_tools_are_refused_on_demand(tmp_path: Path) -> None:
    init(tmp_path, "--deny-destructive", "--from", str(client_file(tmp_path, {"spy": spy(tmp_path)})))

    assert verdicts(tmp_path)["spy-destructive deny"] == ("spy__destroy_thing",)
    holdshort("policy", "test", cwd=tmp_path)


def test_a_name_that_says_worse_than_its_annotations_counts(tmp_path: Path) -> None:
    reads, harmless = {"readOnlyHint": True}, {"destructiveHint": False}
    server = liar(
        tmp_path,
        {"name": "purge_cache", "annotations": reads},
        {"name": "sendMessage", "annotations": reads},
        {"name": "get_post", "annotations": reads},
        {"name": "dropTable", "annotations": harmless},
        {"name": "wipe"},
        {"name": "add", "annotations": harmless},
        {"name": "changes", "annotations": {"readOnlyHint": False}},
        {"name": "claims", "annotations": {"readOnlyHint": "true"}},
    )
    init(tmp_path, "--from", str(client_file(tmp_path, {"x": server})))

    assert verdicts(tmp_path) == {
        "x-reads allow": ("x__get_post",),
        "x-doubtful ask": ("x__purge_cache", "x__sendMessage"),
        "x-writes ask": ("x__add",),
        "x-destructive ask": ("x__dropTable", "x__wipe", "x__changes"),
        "x-silent ask": ("x__claims",),
    }
    text = (tmp_path / POLICY).read_text()
    assert "x__purge_cache  # read-only, but its name says `purge`" in text
    assert "x__dropTable  # not destructive, but its name says `drop`" in text


def test_a_server_that_is_not_trusted_to_say_gets_no_tool_through(tmp_path: Path) -> None:
    given = {"spy": spy(tmp_path, trust_annotations=False)}
    init(tmp_path, "--from", str(client_file(tmp_path, given)))

    assert all(rule.action is Action.ASK for rule in layer(tmp_path).rules)
    assert "its server is not trusted to say" in (tmp_path / POLICY).read_text()


HOSTILE = [
    "first line\n    action: allow\n  - id: evil\n    tools: '*'",
    "carriage\r- id: evil",
    "line separators\u2028- id: evil\u2029- id: evil\x85- id: evil\x0b- id: evil",
    "\u202edesrever\u2066 \u200binvisible",
    "\x1b[2J\x1b[31mred\x07",
    'quotes " # " \' and a # comment',
    "vim: set modelines=5 foldexpr=system('id'): vi:noai: ex:x: -*- mode: evil -*- Local Variables:",
    "x" * 5000,
]


@pytest.mark.parametrize("description", HOSTILE, ids=range(len(HOSTILE)))
def test_no_description_breaks_out_of_its_comment(tmp_path: Path, description: str) -> None:
    tools: list[Tool] = [
        {"name": "look", "description": "Looks", "annotations": {"readOnlyHint": True}},
        {"name": "change", "description": "Changes", "annotations": {"destructiveHint": False}},
    ]
    plain, hostile = tmp_path / "plain", tmp_path / "hostile"
    for folder, words in ((plain, None), (hostile, description)):
        folder.mkdir()
        server = liar(folder, *({**tool, "description": words or tool["description"]} for tool in tools))
        init(folder, "--from", str(client_file(folder, {"x": server})))

    text = (hostile / POLICY).read_text()
    assert verdicts(hostile) == verdicts(plain)
    assert (
        load_config(hostile / "holdshort.yaml", {}).policy.digest
        == load_config(plain / "holdshort.yaml", {}).policy.digest
    )
    assert len(text.splitlines()) == len((plain / POLICY).read_text().splitlines())
    assert max(map(len, text.splitlines())) <= 140
    assert all(character.isprintable() or character == "\n" for character in text)
    assert not re.search(r"\b(vim?|ex):|-\*-|Local Variables:", text)


def test_names_that_no_client_could_call_are_named_harmlessly_and_get_no_rule(tmp_path: Path) -> None:
    server = liar(tmp_path, {"name": "ok"}, {"name": "*"}, {"name": "evil\n  - id: all\x1b[2J\u202e"})
    done = init(tmp_path, "--from", str(client_file(tmp_path, {"x": server})))

    assert verdicts(tmp_path) == {"x-silent ask": ("x__ok",)}
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
    text = (tmp_path / POLICY).read_text()
    assert "# Left out, because no client could call them safely: *, evil - id: all<U+001B ESC>" in text
    assert "liar allow: everything 1<U+202E>" in text


def test_a_server_without_tools_is_only_mentioned(tmp_path: Path) -> None:
    init(tmp_path, "--from", str(client_file(tmp_path, {"x": liar(tmp_path)})))

    assert verdicts(tmp_path) == {}
    assert "---- x, which calls itself liar allow: everything 1<U+202E>: 0 tools" in (tmp_path / POLICY).read_text()
    holdshort("policy", "test", cwd=tmp_path)


def test_a_server_that_cannot_be_asked_is_written_down_and_asks_about_everything(tmp_path: Path) -> None:
    given = {"spy": spy(tmp_path), "gone": {"command": str(tmp_path / "no-such-program")}}
    done = init(tmp_path, "--from", str(client_file(tmp_path, given)), code=1)

    assert "1 server could not be asked, so all of their tools ask: `gone`" in done.stderr
    assert verdicts(tmp_path)["gone-all ask"] == ("gone__*",)
    assert verdicts(tmp_path)["spy-reads allow"]
    assert "was not found" in (tmp_path / "holdshort.yaml").read_text()
    holdshort("policy", "test", "--min-coverage", "100", cwd=tmp_path)


def test_tokens_become_variables_and_only_their_names_are_told(tmp_path: Path) -> None:
    given = {
        "spy": spy(tmp_path, env={"GITHUB_TOKEN": TOKEN, "API_KEY": "k1", "LOG_LEVEL": "warn", "MAX_TOKENS": "100"}),
        "gone": {
            "url": "http://ana:hunter2pass@127.0.0.1:9/mcp?api_key=k2&region=eu",
            "headers": {"Authorization": f"Bearer {TOKEN}2", "X-Region": "eu"},
        },
    }
    done = init(tmp_path, "--from", str(client_file(tmp_path, given)), code=1)

    config = (tmp_path / "holdshort.yaml").read_text()
    for secret in (TOKEN, "k1", "hunter2pass", "k2"):
        assert secret not in done.stdout + done.stderr
        assert all(secret not in text for path, text in files(tmp_path).items() if path != "mcp.json")
    assert (
        'env: {GITHUB_TOKEN: "${GITHUB_TOKEN}", API_KEY: "${SPY_API_KEY}", LOG_LEVEL: warn, MAX_TOKENS: "100"}'
        in config
    )
    assert 'url: "http://ana:${GONE_PASSWORD}@127.0.0.1:9/mcp?api_key=${GONE_API_KEY}&region=eu"' in config
    assert 'headers: {Authorization: "Bearer ${GONE_TOKEN}", X-Region: eu}' in config
    told = re.findall(r"export (\w+)=", done.stderr)
    assert told == ["GITHUB_TOKEN", "SPY_API_KEY", "GONE_PASSWORD", "GONE_API_KEY", "GONE_TOKEN"]


def test_the_server_is_asked_with_its_real_token(tmp_path: Path) -> None:
    program = "import os, sys; sys.exit(40 + len(os.environ['A_TOKEN']))"
    wrong = {"command": sys.executable, "args": ["-c", program], "env": {"A_TOKEN": "the real one"}}
    done = init(tmp_path, "--from", str(client_file(tmp_path, {"x": wrong})), code=1)

    assert "it exited with status 52" in done.stderr
    assert "the real one" not in done.stderr


def test_a_variable_that_is_set_to_something_else_is_not_taken(tmp_path: Path) -> None:
    given = {"spy": spy(tmp_path, env={"GITHUB_TOKEN": TOKEN})}
    done = init(tmp_path, "--from", str(client_file(tmp_path, given)), GITHUB_TOKEN="another")

    assert 'GITHUB_TOKEN: "${SPY_GITHUB_TOKEN}"' in (tmp_path / "holdshort.yaml").read_text()
    assert "export SPY_GITHUB_TOKEN=" in done.stderr


def test_tokens_are_kept_on_demand_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    given = {"spy": spy(tmp_path, env={"GITHUB_TOKEN": TOKEN})}
    done = init(tmp_path, "--keep-secrets", "--from", str(client_file(tmp_path, given)))

    written = tmp_path / "holdshort.yaml"
    assert TOKEN in written.read_text()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "export" not in done.stderr


def test_a_variable_that_is_needed_and_not_set_leaves_its_server_unasked(tmp_path: Path) -> None:
    given = {"spy": spy(tmp_path, env={"A_TOKEN": "${input:spy-token}"})}
    source = client_file(tmp_path, given)
    done = init(tmp_path, "--from", str(source), code=1)

    assert "server `spy`: it could not be asked: `SPY_TOKEN` is not set" in done.stderr
    assert SpyRecord(tmp_path / "spy.jsonl").pids() == []
    init(tmp_path, "--from", str(source), "--force", SPY_TOKEN="set")
    assert "spy__read_thing" in (tmp_path / POLICY).read_text()


def test_labels_that_cannot_be_used_are_changed_and_told(tmp_path: Path) -> None:
    given = {"My Things": spy(tmp_path), "My-Things": spy(tmp_path), "mcp": spy(tmp_path), "a__b_": spy(tmp_path)}
    done = init(tmp_path, "--from", str(client_file(tmp_path, given)))

    config = load_config(tmp_path / "holdshort.yaml", {})
    assert [server.label for server in config.servers] == ["My-Things", "My-Things-2", "mcp-server", "a_b"]
    assert "note: server `My Things` is called `My-Things` here" in done.stderr
    holdshort("policy", "test", "--min-coverage", "100", cwd=tmp_path)


@pytest.mark.parametrize("label", ["x" * 64, "-dash", "_under", ".dot", "7", "1e3", "true", "null"])
def test_labels_that_yaml_or_rule_ids_could_trip_over_are_written_safely(tmp_path: Path, label: str) -> None:
    init(tmp_path, "--from", str(client_file(tmp_path, {label: spy(tmp_path)})))

    assert [server.label for server in load_config(tmp_path / "holdshort.yaml", {}).servers] == [label]
    holdshort("policy", "test", "--min-coverage", "100", cwd=tmp_path)


def test_arguments_arrive_as_they_were(tmp_path: Path) -> None:
    words = [
        "C:\\Users\\me\\notes",
        "007",
        "-1",
        "yes",
        "a: b",
        "# no",
        "tab\there",
        "é\u00a0ü",
        "",
        "'\"",
        "{x}",
        "$HOME",
    ]
    given = {"gone": {"command": "C:\\Program Files\\no\\such.exe", "args": words}}
    init(tmp_path, "--from", str(client_file(tmp_path, given)), code=1)

    [server] = load_config(tmp_path / "holdshort.yaml", {}).servers
    assert server.command == "C:\\Program Files\\no\\such.exe"
    assert list(server.args) == words


def test_nothing_is_overwritten_without_force_and_no_server_is_started_for_nothing(tmp_path: Path) -> None:
    source = client_file(tmp_path, {"spy": spy(tmp_path)})
    (tmp_path / "policies").mkdir()
    (tmp_path / POLICY).write_text("version: 1\n")
    done = init(tmp_path, "--from", str(source), code=2)

    assert f"`{POLICY}` is there already" in done.stderr
    assert sorted(files(tmp_path)) == ["mcp.json", POLICY]
    assert SpyRecord(tmp_path / "spy.jsonl").pids() == []
    init(tmp_path, "--force", "--from", str(source))
    assert "spy-reads" in (tmp_path / POLICY).read_text()


def test_a_second_run_with_force_writes_the_same(tmp_path: Path) -> None:
    source = client_file(tmp_path, {"spy": spy(tmp_path)})
    init(tmp_path, "--from", str(source))
    first = files(tmp_path)
    init(tmp_path, "--from", str(source), "--force")

    assert files(tmp_path) == first


def test_a_dry_run_prints_the_files_and_writes_nothing(tmp_path: Path) -> None:
    source = client_file(tmp_path, {"spy": spy(tmp_path)})
    done = init(tmp_path, "--dry-run", "team", "--from", str(source))

    assert list(files(tmp_path)) == ["mcp.json"]
    assert not (tmp_path / "team").exists()
    assert "# ==== team/holdshort.yaml" in done.stdout
    assert "- spy__read_thing" in done.stdout


def test_a_dry_run_shows_how_files_that_are_there_would_change(tmp_path: Path) -> None:
    source = client_file(tmp_path, {"spy": spy(tmp_path)})
    init(tmp_path, "--from", str(source))
    before = files(tmp_path)
    done = init(tmp_path, "--dry-run", "--deny-destructive", "--from", str(source))

    assert files(tmp_path) == before
    assert "-    action: ask\n-    grants: false\n+    action: deny\n" in done.stdout
    assert "# holdshort.yaml: no change" in done.stdout


def test_a_command_after_two_dashes_is_a_server_and_none_of_its_words_are_ours(tmp_path: Path) -> None:
    given = spy(tmp_path)
    command = [given["command"], *given["args"]]
    init(tmp_path, "team", "--name", "things", "--", *command, "--eras", "legacy")

    [server] = load_config(tmp_path / "team" / "holdshort.yaml", {}).servers
    assert (server.label, server.command, server.args[-2:]) == ("things", command[0], ("--eras", "legacy"))


async def test_a_hosted_server_is_asked_with_the_header_that_is_not_written_down(tmp_path: Path) -> None:
    record, port = SpyRecord(tmp_path / "spy.jsonl"), free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    words = ["--url", url, "--header", f"Authorization: Bearer {TOKEN}", "--name", "things"]
    with running(record.command("--http", str(port))) as process:
        await process.until_answers(url)
        done = await anyio.to_thread.run_sync(lambda: init(tmp_path, *words))

    text = (tmp_path / "holdshort.yaml").read_text()
    assert f'  things:\n    url: "{url}"\n    headers: {{Authorization: "Bearer ${{THINGS_TOKEN}}"}}\n' in text
    assert "export THINGS_TOKEN=" in done.stderr
    assert record.received("tools/list")
    assert "things-reads allow" in verdicts(tmp_path, THINGS_TOKEN=TOKEN)


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("http://tickets.127.0.0.1.invalid:9/mcp", "tickets"),
        ("http://mcp.linear.invalid/mcp", "linear"),
        ("http://127.0.0.1:9/mcp", "server"),
    ],
)
def test_a_url_without_a_name_is_called_after_its_host(tmp_path: Path, url: str, label: str) -> None:
    init(tmp_path, "--url", url, "--timeout", "5", code=1)

    assert [server.label for server in load_config(tmp_path / "holdshort.yaml", {}).servers] == [label]


def test_without_a_source_the_servers_of_the_file_that_is_there_are_asked(tmp_path: Path) -> None:
    text = json.dumps({"mcpServers": {"spy": spy(tmp_path, env={"A": "${SET:-x}"})}})
    (tmp_path / "holdshort.yaml").write_text(text)
    done = init(tmp_path)

    assert (tmp_path / "holdshort.yaml").read_text() == text
    assert "spy__read_thing" in (tmp_path / POLICY).read_text()
    assert f"policy: [{POLICY}]" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "holdshort init --from .mcp.json"),
        (["--from", "gone.json"], "cannot be read"),
        (["--from", "x.json", "--url", "http://x"], "exclude each other"),
        (["--from-client", "cursr"], "did you mean `cursor`?"),
        (["--from-client", "windsurf"], "mcp_config.json"),
        (["--header", "A: b", "--", "cat"], "belongs to `--url`"),
        (["--url", "http://127.0.0.1:9", "--header", "no colon"], "expected `NAME: VALUE`"),
        (["--url", "ftp://example.invalid"], "expected `http://host/path`"),
        (["--name", "a b", "--", "cat"], "may only have letters"),
        (["--"], "there is no command"),
    ],
)
def test_usage_errors_write_nothing(tmp_path: Path, words: list[str], told: str) -> None:
    (tmp_path / "home").mkdir()
    done = init(tmp_path, *words, code=2, HOME=str(tmp_path / "home"))

    assert told in told_by(done)
    assert files(tmp_path) == {}


def test_a_client_is_found_at_its_usual_place(tmp_path: Path) -> None:
    (tmp_path / ".cursor").mkdir()
    client_file(tmp_path / ".cursor", {"spy": spy(tmp_path)})
    done = init(tmp_path, "--from-client", "cursor", HOME=str(tmp_path / "home"))

    assert "reading .cursor/mcp.json" in done.stderr
    assert "spy-reads allow" in verdicts(tmp_path)


def test_editors_find_the_schemas_that_the_files_name_and_accept_the_files(tmp_path: Path) -> None:
    init(tmp_path, "--from", str(client_file(tmp_path, {"spy": spy(tmp_path, env={"A": "1"}), "x": liar(tmp_path)})))

    for path in ("holdshort.yaml", POLICY, "policies/starter.cases.yaml"):
        first = (tmp_path / path).read_text().splitlines()[0]
        named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
        assert named is not None
        schema = json.loads(((tmp_path / path).parent / named[1]).read_text())
        jsonschema_rs.validator_for(schema).validate(YAML(typ="safe").load(tmp_path / path))
