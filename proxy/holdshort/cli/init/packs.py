"""Which servers a ready-made pack is about: by the package that is started or the host, and by the tools there are."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from holdshort.config import load_layer, pack_names, read_pack
from holdshort.config.document import Value
from holdshort.config.packs import pack_path
from holdshort.config.reading import Reading
from holdshort.policy import Action, Rule

__all__ = ["PackMatch", "match_pack", "pack_cases"]

_PACKAGE: Final = re.compile(r"@[\w.-]+/[\w.-]+|[\w.-]+/[\w.-]+(?=[,)])|[\w.-]+(?= \((?:npm|PyPI))")
_HOST: Final = re.compile(r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b")


@dataclass(frozen=True, slots=True)
class PackMatch:
    """A pack that is about a server, and the server's tools that it does not name."""

    name: str
    label: str
    """The label that the pack is written for."""
    unnamed: tuple[str, ...]
    said: tuple[tuple[str, tuple[str, ...]], ...]
    """The actions that the pack has for each tool it names; more than one where a condition decides."""


def match_pack(command: Sequence[str], url: str | None, tools: Collection[str]) -> PackMatch | None:
    """Return the pack for a server that is started by `command` or reached at `url`, and has these tools.

    A pack that does not know most of the tools is about another server, whatever the name says.
    """
    for name in _about(command, url):
        labels = read_pack(name).labels
        rules = load_layer(pack_path(name), {})[0].layers[0].rules
        named = _named(rules, tools)
        if labels and 2 * len(named) >= len(tools) > 0:
            said = tuple((tool, _said(rules, tool)) for tool in tools if tool in named)
            return PackMatch(name, labels[0], tuple(tool for tool in tools if tool not in named), said)
    return None


def pack_cases(name: str, usual: str) -> list[tuple[str, dict[str, Value]]]:
    """Return, for each rule of a pack written for the label `usual`, the first of the pack's own cases about it."""
    path = pack_path(name).with_suffix(".cases.yaml")
    document = Reading({}).document(path, path.name)
    cases = document.get("cases") if document is not None else None
    found: dict[str, dict[str, Value]] = {}
    for case in cases.items if cases is not None else ():
        keys = {entry.key: entry.value for entry in case.entries}
        because = keys.get("because")
        rules = [item.raw for item in because.items or (because,)] if because is not None else []
        asked = next((keys[key] for key in ("call", "resource", "prompt", "server_request") if key in keys), None)
        if len(rules) == 1 and rules[0] not in found and asked is not None and asked.raw.startswith(f"{usual}__"):
            found[rules[0]] = keys
    return list(found.items())


def _about(command: Sequence[str], url: str | None) -> Iterable[str]:
    host = _host(url)
    for word in command:
        for name, (packages, _) in _subjects().items():
            if any(_names(word, package) for package in packages):
                yield name
    if host is not None:
        # The pack for the very host first: `docs.mcp.cloudflare.com` before `mcp.cloudflare.com`.
        fits = [
            (len(one), name)
            for name, (_, hosts) in _subjects().items()
            for one in hosts
            if host == one or host.endswith(f".{one}")
        ]
        yield from (name for _, name in sorted(fits, reverse=True))


@cache
def _subjects() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """The packages and the hosts that the comment of each pack names after `Server:`."""
    found: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for name in pack_names():
        comment = read_pack(name).text.partition("\nversion:")[0]
        said = re.search(r"^# Server: *(.*?)^# Source:", comment, re.MULTILINE | re.DOTALL)
        words = re.sub(r"\s*\n#\s*", " ", said[1]) if said else ""
        found[name] = frozenset(_PACKAGE.findall(words)), frozenset(_HOST.findall(words))
    return found


def _names(word: str, package: str) -> bool:
    """Say whether a word of a command names a package: as such, with a version, as a module, or by a path into it."""

    def parts(text: str) -> list[str]:
        return [_bare(part) for part in text.replace("\\", "/").replace("_", "-").lower().split("/")]

    wanted, have = parts(package), parts(word)
    return any(have[at : at + len(wanted)] == wanted for at in range(len(have)))


def _bare(part: str) -> str:
    return re.sub(r"\.(?:py|js|mjs|cjs|exe|cmd)$|(?<=.)(?:@|==|:).*$", "", part)


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url).hostname if url else None
    except ValueError:
        return None


def _named(rules: Sequence[Rule], tools: Collection[str]) -> frozenset[str]:
    patterns = [pattern for rule in rules for pattern in rule.tools if pattern.tool != "*"]
    return frozenset(tool for tool in tools if any(pattern.matches_tool(tool) for pattern in patterns))


def _said(rules: Sequence[Rule], tool: str) -> tuple[str, ...]:
    """Return what may become of a tool, mildest first."""
    actions: list[Action] = []
    for rule in rules:
        if any(pattern.matches_tool(tool) for pattern in rule.tools):
            actions.append(rule.action)
            if rule.when is None:
                break
    return tuple(action.value for action in sorted(set(actions), key=lambda action: action.strictness))
