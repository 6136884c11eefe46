"""Generated policies as files, with packs and shorthand, loaded and held against the naive reading of the same."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from holdshort.config import load_config
from policy import oracle
from policy.built import call_of, compiles
from policy.differential import as_engine, as_oracle, terms_of
from policy.generated import SERVERS, Maker, Raw
from policy.oracle_conditions import written

PACKS = Path(__file__).parents[2] / "policies"
CHOSEN = ("time", "memory", "puppeteer", "sequential-thinking", "postgres", "notion", "slack")
"""Packs without conditions: read in a few lines."""
AGENTS = ("ci-bot", "local")
POLICIES, CALLS = 40, 12


PACK_TOOLS = ("get_current_time", "read_graph", "delete_entities", "puppeteer_click", "slack_post_message", "query")


def texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def pack_rules(name: str, servers: list[str]) -> list[Raw]:
    """Read a pack as a person would: its rules, with the label that they name replaced by those given."""
    found: list[Raw] = []
    for rule in YAML(typ="safe").load(PACKS / f"{name}.yaml")["rules"]:
        assert set(rule) <= {"id", "tools", "action", "grants"}, f"pack {name}: choose one that is read so simply"
        globs = [glob.split("__", 1)[1] for glob in texts(rule["tools"])]
        tools = [f"{server}__{glob}" for server in servers for glob in globs]
        found.append({**rule, "id": f"{name}/{rule['id']}", "tools": tools})
    return found


def as_file(rule: Raw) -> Raw:
    found = {key: value for key, value in rule.items() if value is not None}
    if "when" in found:
        found["when"] = written(found["when"])
    if "expires_after" in found:
        found["expires_after"] = f"{int(found['expires_after'].total_seconds())}s"
    return found


def write(folder: Path, raw: Raw, packs: dict[str, list[tuple[str, list[str]]]]) -> Path:
    """Write the policy as `holdshort.yaml` and a file for each layer; JSON is YAML."""
    servers: dict[str, Raw] = {server: {"command": "true"} for server in SERVERS}
    for server, key, value in raw["shorthand"]:
        servers[server][key] = value
    for layer in raw["layers"]:
        own = [as_file(rule) for rule in layer["rules"] if "/" not in rule["id"]]
        said = {key: layer[key] for key in ("default", "pins") if key in layer}
        if layer["name"] in packs:
            said["packs"] = [{"pack": name, "servers": bound} for name, bound in packs[layer["name"]]]
        (folder / layer["name"]).write_text(json.dumps({"version": 1, **said, "rules": own}))
    main = {
        "version": 1,
        "mcpServers": servers,
        "policy": [layer["name"] for layer in raw["layers"]],
        "agents": [{"name": name, "token": f"{name}-0123456789abcdef", "groups": ["ci", "staff"]} for name in AGENTS],
        "approvers": [
            {"name": name, "token": f"{name}-0123456789abcdef0", "groups": ["finance", "ops"]}
            for name in ("ana", "bob", "eve")
        ],
    }
    path = folder / "holdshort.yaml"
    path.write_text(json.dumps(main))
    return path


def test_what_is_loaded_from_files_says_what_the_files_say(tmp_path: Path) -> None:
    maker, compared, from_packs = Maker("files", compiles, opaque=False), 0, 0
    for number in range(POLICIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        raw: Raw = {**maker.policy(), "expires_after": timedelta(hours=24)}
        packs: dict[str, list[tuple[str, list[str]]]] = {}
        for layer in raw["layers"]:
            layer["name"] += ".yaml"
            for rule in layer["rules"]:
                rule.pop("agents", None)  # unknown agents and too few approvers are errors of the files
                if "approvers" in rule:
                    rule.pop("required_approvals", None)
            if maker.some(0.5):
                name = maker.random.choice(CHOSEN)
                bound = sorted(set(maker.many(SERVERS, 1, 2)))
                packs[layer["name"]] = [(name, bound)]
                layer["rules"] = [*layer["rules"], *pack_rules(name, bound)]
        policy = load_config(write(folder, raw, packs), {}).policy
        for _ in range(CALLS):
            asked = maker.call()
            if maker.some(0.3):
                asked["tool"] = maker.random.choice(PACK_TOOLS)
            found, expected = policy.decide(call_of(asked)), oracle.call(raw, asked)
            assert as_engine(found) == as_oracle(expected), (raw, asked)
            if expected.action == "ask":
                assert terms_of(found) == expected.terms, (raw, asked)
            compared += 1
            from_packs += any("/" in rule for _, rule in expected.because)
    assert compared == POLICIES * CALLS
    assert from_packs > 20
