"""The `mcpServers` block, as clients write it: what is ours is checked, what is a client's own is noted, no more.

Never ignored: a key that is nobody's, because it is most likely a misspelt one of ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from holdshort.config.document import Entry, Value
from holdshort.config.model import ServerConfig, Transport
from holdshort.config.reading import Reading
from holdshort.config.shorthand import read_shorthand
from holdshort.policy import Layer
from holdshort.policy.shorthand import SHORTHAND_KEYS
from holdshort.policy.words import nearest

__all__ = ["ALIASES", "FOREIGN_SERVER_KEYS", "SERVER_KEYS", "ServerBlock", "check_label", "read_servers"]

SERVER_KEYS: Final = (
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "headers",
    "type",
    "timeout",
    "disabled",
    "trust_annotations",
    *SHORTHAND_KEYS,
)
ALIASES: Final = {"serverUrl": "url", "httpUrl": "url", "transport": "type"}
FOREIGN_SERVER_KEYS: Final = frozenset(
    {
        *("alwaysAllow", "autoApprove", "auth", "authProviderType", "category", "description", "dev", "disabledTools"),
        *("disabled_tools", "enabled", "enabled_tools", "envFile", "excludeTools", "fromGalleryId", "gallery", "icon"),
        *("id", "includeTools", "initTimeout", "name", "note", "oauth", "requestInit", "restart", "roots", "sandbox"),
        *("sandboxEnabled", "scopes", "source", "startup_timeout_sec", "tags", "tool_timeout_sec", "tools", "trust"),
        *("trustLevel", "version"),
    }
)
"""Keys of clients' own, which have no meaning here. `enabled` has one: `enabled: false` is `disabled: true`."""

_LOOSENING: Final = frozenset({"alwaysAllow", "autoApprove", "trust"})
_TIGHTENING: Final = frozenset({"disabledTools", "disabled_tools", "excludeTools", "includeTools", "enabled_tools"})
_TYPES: Final[Mapping[str, Transport]] = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
    "sse": "sse",
}
_LABEL: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RESERVED_LABELS: Final = frozenset({"mcp"})
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MILLISECONDS_FROM: Final = 1000
"""A bare `timeout` this large is one of a client that counts milliseconds."""


@dataclass(slots=True)
class ServerBlock:
    """The servers of a file and the layers that their shorthand keys make."""

    servers: list[ServerConfig]
    layers: list[Layer]
    labels: list[str]
    """Every label in the file, switched-off servers included."""


def check_label(label: str) -> str | None:
    """Return what is wrong with a server's label, or None.

    A tool is `label__tool` to an agent of several servers, so a label must leave the first `__` to that border.
    """
    fixed = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9_.-]+", "-", label)).strip("-_")[:64]
    hint = f"; rename it, for example `{fixed}`" if fixed and fixed != label and fixed not in _RESERVED_LABELS else ""
    if not label:
        return "a server's label is empty"
    if len(label) > 64:
        return f"a server's label has at most 64 characters, this one has {len(label)}{hint}"
    if not _LABEL.fullmatch(label):
        return f"the server's label `{label}` may only have letters, digits, `-`, `_` and `.`{hint}"
    if "__" in label or label.endswith("_"):
        return f"the server's label `{label}` may not have `__` or end in `_`, which starts a tool's name{hint}"
    if label in _RESERVED_LABELS:
        return f"the server's label `{label}` is reserved: `mcp__server__tool` is how clients write `server__tool`"
    return None


def read_servers(reading: Reading, block: Value, folder: Path, *, only: str | None = None) -> ServerBlock:
    """Read the block; relative `cwd` is taken from `folder`. With `only`, other servers are not looked at."""
    found = ServerBlock([], [], [])
    if block.kind != "map":
        reading.problem(block.place, f"mcpServers: expected a map of servers by label, got {block.described}")
        return found
    for entry in block.entries:
        if only is not None and entry.key != only:
            continue
        problem = check_label(entry.key)
        if problem is not None:
            reading.problem(entry.place, problem)
        found.labels.append(entry.key)
        _read_server(reading, entry, folder, found)
    return found


def _read_server(reading: Reading, entry: Entry, folder: Path, into: ServerBlock) -> None:
    label, value = entry.key, entry.value
    ignored = FOREIGN_SERVER_KEYS | ALIASES.keys()
    keys = reading.section(value, f"server `{label}`", SERVER_KEYS, ignored=ignored)
    if keys is None:
        return
    _note_foreign(reading, value, label)
    if _switched_off(reading, value, keys):
        reading.note(entry.place, f"server `{label}` is switched off in the file and will not be started")
        return
    for given in value.entries:
        ours = ALIASES.get(given.key)
        if ours in keys:
            reading.problem(
                given.place, f"server `{label}`: `{given.key}` means `{ours}`, which is there too; keep one"
            )
        elif ours is not None:
            keys[ours] = given
    into.layers.extend(read_shorthand(reading, label, keys))
    server = _server(reading, entry, keys, folder)
    if server is not None:
        into.servers.append(server)


def _server(reading: Reading, entry: Entry, keys: Mapping[str, Entry], folder: Path) -> ServerConfig | None:
    label = entry.key
    transport = _transport(reading, entry, keys)
    command = url = None
    if "command" in keys:
        command = reading.text(keys["command"].value, "command")
        if command == "":
            reading.problem(keys["command"].value.place, "command: the command is empty")
    if "url" in keys:
        url = _url(reading, keys["url"].value)
    args = reading.texts(keys["args"].value, "args", numbers=True) if "args" in keys else []
    env = _pairs(reading, keys.get("env"), "env")
    headers = _pairs(reading, keys.get("headers"), "headers")
    cwd = _folder(reading, keys.get("cwd"), folder)
    timeout = _timeout(reading, keys["timeout"].value) if "timeout" in keys else None
    trust = reading.flag(keys["trust_annotations"].value, "trust_annotations") if "trust_annotations" in keys else True
    if transport is None:
        return None
    misplaced = ("url", "headers") if transport == "stdio" else ("command", "args", "env", "cwd")
    for key in misplaced:
        if key in keys and {"command", "url"} - keys.keys():
            kind = "a server with a `command`" if transport == "stdio" else "a server with a `url`"
            reading.problem(keys[key].place, f"server `{label}`: `{key}` has no meaning for {kind}")
    return ServerConfig(
        label,
        transport,
        command=command,
        args=tuple(text for _, text in args),
        env=env,
        cwd=cwd,
        url=url,
        headers=headers,
        timeout=timeout,
        trust_annotations=trust is not False,
    )


def _transport(reading: Reading, entry: Entry, keys: Mapping[str, Entry]) -> Transport | None:
    label = entry.key
    declared: Transport | None = None
    if "type" in keys:
        word = reading.word(keys["type"].value, "type", tuple(_TYPES))
        if word is None:
            return None
        declared = _TYPES[word]
    if "command" in keys and "url" in keys:
        reading.problem(keys["url"].place, f"server `{label}` has both `command` and `url`; keep one")
        return None
    if "command" not in keys and "url" not in keys:
        others = [given.key for given in entry.value.entries if given.key not in keys]
        if not any(nearest(other, SERVER_KEYS) in {"command", "url"} for other in others):
            reading.problem(entry.place, f"server `{label}` needs a `command` to start or a `url` to connect to")
        return None
    actual: Transport = "stdio" if "command" in keys else declared if declared in {"http", "sse"} else "http"
    if declared is not None and (declared == "stdio") != (actual == "stdio"):
        needs = "command" if declared == "stdio" else "url"
        reading.problem(keys["type"].value.place, f"server `{label}`: `type: {declared}` needs a `{needs}`")
        return None
    return actual


def _url(reading: Reading, value: Value) -> str | None:
    url = reading.text(value, "url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f]", url):
        # Not quoted: a URL may carry a password or a key.
        reading.problem(value.place, "url: expected `http://host/path` or `https://host/path`")
        return None
    return url


def _pairs(reading: Reading, entry: Entry | None, what: str) -> dict[str, str]:
    if entry is None or entry.value.kind == "null":
        return {}
    if entry.value.kind != "map":
        reading.problem(entry.value.place, f"{what}: expected a map of names and values, got {entry.value.described}")
        return {}
    found: dict[str, str] = {}
    for pair in entry.value.entries:
        if not pair.key or (what == "env" and ("=" in pair.key or "\0" in pair.key)):
            reading.problem(pair.place, f"{what}: `{pair.key[:80]}` is no name of an environment variable")
        elif what == "headers" and not _HEADER.fullmatch(pair.key):
            reading.problem(pair.place, f"{what}: `{pair.key[:80]}` is no name of an HTTP header")
        text = reading.text(pair.value, f"{what} `{pair.key[:80]}`", numbers=True)
        if text is None:
            continue
        if what == "headers" and re.search(r"[\r\n\0]|[^\x00-\xff]", text):
            reading.problem(pair.value.place, f"{what} `{pair.key[:80]}`: the value has characters no header can carry")
        elif "\0" in text:
            reading.problem(pair.value.place, f"{what} `{pair.key[:80]}`: the value has a NUL")
        else:
            found[pair.key] = text
    return found


def _folder(reading: Reading, entry: Entry | None, folder: Path) -> Path | None:
    if entry is None:
        return None
    text = reading.text(entry.value, "cwd")
    return folder / text if text else None


def _timeout(reading: Reading, value: Value) -> float | None:
    if value.kind == "number" and value.raw.isdigit() and int(value.raw[:12]) >= _MILLISECONDS_FROM:
        seconds = int(value.raw[:12]) / 1000
        reading.note(
            value.place, f"timeout: `{value.raw[:12]}` is taken as milliseconds; write `{seconds:g}s` to be clear"
        )
        return seconds
    return reading.seconds(value, "timeout")


def _switched_off(reading: Reading, value: Value, keys: Mapping[str, Entry]) -> bool:
    disabled = reading.flag(keys["disabled"].value, "disabled") if "disabled" in keys else False
    enabled = value.get("enabled")
    return bool(disabled) or (enabled is not None and reading.flag(enabled, "enabled") is False)


def _note_foreign(reading: Reading, value: Value, label: str) -> None:
    for entry in value.entries:
        if entry.key in _LOOSENING:
            more = "; it lets nothing run here, `require_approval: never` would"
        elif entry.key in _TIGHTENING:
            more = "; it hides nothing here, `tool_filter` does"
        elif entry.key == "envFile":
            more = "; the file is not read, use `env` with `${NAME}`"
        elif entry.key in FOREIGN_SERVER_KEYS and entry.key != "enabled":
            more = ""
        else:
            continue
        reading.note(entry.place, f"server `{label}`: `{entry.key}` is a key of another client and has no effect{more}")
