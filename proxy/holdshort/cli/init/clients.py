"""The servers of a client's own file, whichever client it is, in the keys of `mcpServers`.

Known shapes: `mcpServers` (Claude Desktop, Claude Code, Cursor, Windsurf, Gemini), `servers` (VS Code),
`context_servers` (Zed), `mcp_servers` in TOML (Codex), `mcp` (opencode). JSON may have comments and trailing commas, as
editors write it.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, Final

from holdshort.cli.init.yaml_text import inert
from holdshort.config.document import Value
from holdshort.config.reading import Reading
from holdshort.config.servers import ALIASES, FOREIGN_SERVER_KEYS, SERVER_KEYS
from holdshort.errors import HoldshortError

__all__ = ["BadSource", "Source", "read_source", "unwrapped"]

_MAX_BYTES: Final = 32 * 1024 * 1024
_KEYS: Final = ("mcpServers", "servers", "context_servers", "mcp_servers")
_STRING_OR_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_STRING_OR_COMMA: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|,(?=\s*[}\]])')
_CHOICES: Final = frozenset(
    {
        *("disabledTools", "disabled_tools", "excludeTools", "includeTools", "enabled_tools", "tools"),
        *("alwaysAllow", "autoApprove", "trust"),
    }
)
"""What clients call a choice of tools; it has no effect here, so it is named."""
_CODEX: Final = frozenset({"bearer_token_env_var", "http_headers", "env_http_headers", "env_vars"})
_OTHERS: Final = frozenset({"environment", "settings", "enabled"})


class BadSource(HoldshortError):
    """Raised when servers cannot be read from a file."""

    code = "bad_source"

    def __init__(self, path: Path, reason: str) -> None:
        # Keys and labels of the file may be quoted in it.
        super().__init__(f"`{path}`: {inert(reason, 600)}")


@dataclass(slots=True)
class Source:
    """The servers that a file has, by the labels it gives them, and what somebody should know about the reading."""

    servers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])


def read_source(path: Path, folder: Path) -> Source:
    """Read the client's file at `path`; of a file about many projects, the one that `folder` is in counts.

    Raises:
        BadSource: it cannot be read, or has no servers.
    """
    top = _parsed(path)
    found = Source()
    blocks = [block for block in (_block(top), _project(top, folder, found)) if block is not None]
    if not blocks:
        raise BadSource(
            path, "there are no servers in it: no `mcpServers`, `servers`, `context_servers`, `mcp_servers`"
        )
    for block in blocks:
        for label, given in block.items():
            if label not in found.servers:
                _take(label, given, found)
    if not found.servers:
        raise BadSource(path, "there is no server in it that could be started" + "".join(f"; {n}" for n in found.notes))
    return found


def unwrapped(command: list[str]) -> list[str]:
    """Return the server's own command where it is one behind `holdshort wrap -- COMMAND`, else the same."""
    for at, word in enumerate(command[:-1]):
        name = PureWindowsPath(word).name.removesuffix(".exe")
        if name == "holdshort" and command[at + 1] == "wrap" and "--" in command[at + 2 :]:
            return command[command.index("--", at + 2) + 1 :] or command
    return command


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadSource(path, f"the file cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    if len(raw) > _MAX_BYTES:
        raise BadSource(path, f"the file has more than {_MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadSource(path, "the file is not UTF-8") from None
    top = _tree(path, text)
    if not isinstance(top, dict):
        raise BadSource(path, "expected a map of keys at the top of the file")
    return top


def _tree(path: Path, text: str) -> Any:
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadSource(path, f"this is not TOML: {error}") from None
    if not text.lstrip().startswith(("{", "//", "/*")):
        reading = Reading({})
        document = reading.document(path, str(path))
        if document is None:
            raise BadSource(path, reading.problems[0].message)
        return _plain(document)
    blank = _STRING_OR_COMMENT.sub(lambda found: _kept(found.group(), '"'), text)
    try:
        return json.loads(_STRING_OR_COMMA.sub(lambda found: _kept(found.group(), '"'), blank), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise BadSource(
            path, f"line {error.lineno}, column {error.colno}: this is not JSON: {error.msg.lower()}"
        ) from None
    except (RecursionError, ValueError) as error:
        reason = str(error) if isinstance(error, _Twice) else "this is nested too deeply, or has an unreadable number"
        raise BadSource(path, reason) from None


def _kept(text: str, start: str) -> str:
    """A string stays; anything else becomes blank, with its line breaks, so that places stay right."""
    return text if text.startswith(start) else re.sub(r"[^\n]", " ", text)


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Twice(f"the key `{twice[:80]}` is there twice in one map")
    return found


def _plain(value: Value) -> Any:
    if value.kind == "map":
        return {entry.key: _plain(entry.value) for entry in value.entries}
    if value.kind == "list":
        return [_plain(item) for item in value.items]
    if value.kind == "bool":
        return value.raw.lower() == "true"
    return None if value.kind == "null" else value.raw


def _block(top: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for key in _KEYS:
        if isinstance(top.get(key), dict):
            return _map(top[key])
    within = top.get("mcp")
    if isinstance(within, dict):
        return _map(within["servers"]) if isinstance(within.get("servers"), dict) else within
    flat = top.get("mcp.servers")
    return flat if isinstance(flat, dict) else None


def _project(top: Mapping[str, Any], folder: Path, found: Source) -> Mapping[str, Any] | None:
    """Claude Code keeps the servers of every project in one file, by the project's folder."""
    projects = {
        name: _map(_map(about).get("mcpServers"))
        for name, about in _map(top.get("projects")).items()
        if _map(_map(about).get("mcpServers"))
    }
    here = folder.resolve()
    near = next((name for place in (here, *here.parents) for name in projects if Path(name) == place), None)
    others = [name for name in projects if name != near]
    if others:
        shown = ", ".join(f"`{name}`" for name in others[:3]) + (" and others" if len(others) > 3 else "")
        found.notes.append(f"servers of other projects are left out: {shown}; run this in their folders for those")
    return projects[near] if near is not None else None


def _take(label: str, given: Any, found: Source) -> None:
    if not isinstance(given, dict):
        found.notes.append(f"server `{label}` is left out: expected a map")
        return
    if given.get("disabled") is True or given.get("enabled") is False:
        found.notes.append(f"server `{label}` is left out: it is switched off there")
        return
    found.servers[label] = _in_our_keys(label, _spelled_out(given), found.notes)


def _spelled_out(given: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the ways in which other clients write a server into the usual one."""
    block = dict(given)
    command = block.get("command")
    if isinstance(command, dict):  # Zed, before 2025-11
        block.pop("command")
        words = {"command": command.get("path"), "args": command.get("args"), "env": command.get("env")}
        block |= {key: value for key, value in words.items() if value}
    elif isinstance(command, list) and command:  # opencode
        block |= {"command": command[0], "args": [*command[1:], *_list(block.get("args"))]}
    if isinstance(block.get("environment"), dict):
        block.setdefault("env", block["environment"])
    headers = dict(_map(block.get("headers"))) | dict(_map(block.get("http_headers")))
    headers |= {name: f"${{{variable}}}" for name, variable in _map(block.get("env_http_headers")).items()}
    if isinstance(block.get("bearer_token_env_var"), str):
        headers["Authorization"] = f"Bearer ${{{block['bearer_token_env_var']}}}"
    if headers:
        block["headers"] = headers
    passed = {name: f"${{{name}}}" for name in _list(block.get("env_vars")) if isinstance(name, str)}
    if passed:
        block["env"] = passed | dict(_map(block.get("env")))
    for theirs, ours in ALIASES.items():
        if theirs in block:
            block.setdefault(ours, block.pop(theirs))
    line = [str(word) for word in (block.get("command"), *_list(block.get("args"))) if word is not None]
    own = unwrapped(line)
    if own is not line:
        block |= {"command": own[0], "args": own[1:]}
    return block


def _in_our_keys(label: str, block: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Keep what has a meaning here; a choice of tools that has none is named, and so is what nobody knows."""
    ours: dict[str, Any] = {}
    for key, value in block.items():
        if key == "type":
            if value == "sse":
                ours[key] = value
        elif key in SERVER_KEYS:
            if value not in (None, {}, []) and key != "disabled":
                ours[key] = value
        elif key in _CHOICES:
            notes.append(f"server `{label}`: `{key}` is not taken over; the policy decides about tools")
        elif key not in FOREIGN_SERVER_KEYS | _CODEX | _OTHERS:
            notes.append(f"server `{label}`: `{key}` is not taken over; it has no meaning here")
    if "command" in ours and "url" in ours:
        ours.pop("url")
        notes.append(f"server `{label}` has both `command` and `url`; the command is taken")
    useless = ours.keys() & ({"url", "headers", "type"} if "command" in ours else {"args", "env", "cwd"})
    for key in sorted(useless):
        del ours[key]
        notes.append(f"server `{label}`: `{key}` is not taken over; it has no meaning for such a server")
    if isinstance(ours.get("cwd"), str) and not PurePath(ours["cwd"]).is_absolute() and "$" not in ours["cwd"]:
        notes.append(f"server `{label}`: `cwd` is relative to the new holdshort.yaml now")
    return ours


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
