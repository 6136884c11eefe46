"""A policy file as one layer of policy."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from holdshort.config.document import Entry, Value
from holdshort.config.loosening import read_loosens
from holdshort.config.packs import PACK_FILE_KEYS, PackUse, bind, read_packs
from holdshort.config.reading import Reading
from holdshort.config.rules import Mentions, PackMention, RulesReader
from holdshort.policy import Action, Layer, PinMode, Rule

__all__ = [
    "LAYER_KEYS",
    "check_version",
    "layer_of",
    "looks_like_layer",
    "read_layer",
]

LAYER_KEYS: Final = ("version", "default", "pins", "packs", "rules", "loosens")


def looks_like_layer(document: Value) -> bool:
    """Say whether a file is a policy layer rather than a `holdshort.yaml`."""
    keys = {entry.key for entry in document.entries}
    return bool(keys & {"rules", "default", "packs"}) and not keys & {"mcpServers", "servers", "policy", "agents"}


def read_layer(reading: Reading, path: Path, file: str, name: str) -> tuple[Layer, Mentions] | None:
    """Read the policy file at `path` as the layer `name`; None when nothing of it can be used."""
    document = reading.document(path, file)
    if document is None:
        return None
    return layer_of(reading, document, name)


def layer_of(reading: Reading, document: Value, name: str) -> tuple[Layer, Mentions] | None:
    """Make the layer `name` of an already read document."""
    found = reading.section(document, "policy file", LAYER_KEYS)
    if found is None:
        return None
    check_version(reading, found)
    read_loosens(reading, found.get("loosens"))
    default: Action | None = None
    if "default" in found:
        word = reading.word(found["default"].value, "default", ("allow", "ask", "deny"))
        default = Action(word) if word else None
    pins: PinMode | None = None
    if "pins" in found:
        word = reading.word(found["pins"].value, "pins", tuple(PinMode))
        pins = PinMode(word) if word else None
    collected = RulesReader(reading)
    if "rules" in found:
        if found["rules"].value.kind != "list":
            reading.problem(found["rules"].value.place, f"rules: expected a list, got {found['rules'].value.described}")
        for item in found["rules"].value.items:
            collected.read(item)
    rules, mentions = collected.rules, collected.mentions()
    for use in read_packs(reading, found["packs"].value) if "packs" in found else ():
        bound, mentioned = _pack(reading, use)
        rules.extend(bound)
        mentions = replace(mentions, packs=(*mentions.packs, mentioned))
    return Layer(name, tuple(rules), default, pins), mentions


def _pack(reading: Reading, use: PackUse) -> tuple[tuple[Rule, ...], PackMention]:
    """Read the rules of one pack; it is one of ours, but may have been edited where it is installed."""
    collected = RulesReader(reading)
    document = reading.document(use.path, use.shown)
    found = reading.section(document, "pack", PACK_FILE_KEYS) if document is not None else None
    if found is not None:
        check_version(reading, found)
        for item in found["rules"].value.items if "rules" in found else ():
            collected.read(item)
    rules, usual = bind(collected.rules, use)
    return rules, PackMention(use.name, use.place, usual, use.servers)


def check_version(reading: Reading, found: Mapping[str, Entry]) -> None:
    """Report a `version` that is not 1."""
    entry = found.get("version")
    if entry is not None and entry.value.raw != "1":
        reading.problem(entry.value.place, "version: this holdshort reads version 1")
