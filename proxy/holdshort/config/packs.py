"""Ready-made policies: where they are, how a policy file names them, and how one is bound to the labels in use here.

A pack is a policy file without a `default`: it has an opinion on the tools of one kind of server (`filesystem__*`), or
on tools of any server (`*__*`), and never on what it does not name. Its rules come after the rules of the file that
names it, in the same layer, and are called `PACK/RULE`, which no rule of a user's own can be called.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from holdshort.config.document import Entry, Value
from holdshort.config.reading import Reading
from holdshort.config.servers import check_label
from holdshort.policy import Kind, Rule, ToolPattern
from holdshort.policy.words import nearest, unknown

__all__ = [
    "PACK_FILE_KEYS",
    "PACK_KEYS",
    "Pack",
    "PackUse",
    "bind",
    "pack_folder",
    "pack_names",
    "pack_path",
    "read_pack",
    "read_packs",
]

PACK_KEYS: Final = ("pack", "servers")
PACK_FILE_KEYS: Final = ("version", "rules")

_CASES: Final = ".cases.yaml"
_EVERY: Final = "*"


_LABEL: Final = re.compile(r"usual label `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack as a person finds it: its text, the first line of its comment, and the label it is written for, if any."""

    name: str
    summary: str
    labels: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class PackUse:
    """One entry of `packs`: which pack, and the labels of the servers it is bound to (none: its usual one)."""

    name: str
    place: Value
    servers: tuple[tuple[str, Value], ...] = ()

    @property
    def path(self) -> Path:
        """The pack's file."""
        return pack_path(self.name)

    @property
    def shown(self) -> str:
        """How places in the pack's file name it; the folder differs from machine to machine."""
        return f"packs/{self.name}.yaml"


def pack_folder() -> Path:
    """Return the folder of the packs: in the wheel, or beside `proxy/` in a checkout."""
    shipped = Path(str(files("holdshort"))) / "packs"
    return shipped if shipped.is_dir() else Path(__file__).parents[3] / "policies"


@cache
def pack_names() -> tuple[str, ...]:
    """Return the names of all packs, in alphabetical order."""
    found = (path for path in pack_folder().glob("*.yaml") if not path.name.endswith(_CASES))
    return tuple(sorted(path.stem for path in found))


def pack_path(name: str) -> Path:
    """Return the file of the pack `name`."""
    return pack_folder() / f"{name}.yaml"


def read_pack(name: str) -> Pack:
    """Return the pack `name`, for reading.

    Raises:
        OSError: the file cannot be read.
    """
    text = pack_path(name).read_text(encoding="utf-8")
    comment = text.partition("\nversion:")[0].splitlines()
    said = " ".join(line.removeprefix("#").strip() for line in comment)
    return Pack(name, comment[0].removeprefix("#").strip(), tuple(_LABEL.findall(said)), text)


def read_packs(reading: Reading, value: Value) -> tuple[PackUse, ...]:
    """Return the entries of a `packs` list; what is wrong with one is reported, and it is left out."""
    if value.kind == "list" and not value.items:
        reading.problem(value.place, "packs: the list is empty; leave the key out, or name a pack")
    first: dict[str, int] = {}
    uses: list[PackUse] = []
    for item in reading.items(value, "packs"):
        use = _use(reading, item)
        if use is None:
            continue
        if use.name in first:
            message = f"the pack `{use.name}` is already named on line {first[use.name]}; name all its `servers` there"
            reading.problem(use.place.place, message)
            continue
        first[use.name] = use.place.place.line
        uses.append(use)
    return tuple(uses)


def bind(rules: Sequence[Rule], use: PackUse) -> tuple[tuple[Rule, ...], str | None]:
    """Return the rules as they stand in the layer, and the label they are about (None: any server).

    With `servers`, every glob over the pack's usual label is about these labels instead; a pack about any server then
    speaks about these alone.
    """
    usual = _usual_label(rules)
    labels = [label for label, _ in use.servers]
    named = (replace(rule, id=f"{use.name}/{rule.id}") for rule in rules)
    bound = tuple(_bound(rule, usual, labels) for rule in named) if labels else tuple(named)
    return bound, None if usual == _EVERY else usual


def _use(reading: Reading, item: Value) -> PackUse | None:
    if item.kind != "map":
        name = _name(reading, item)
        return PackUse(name, item) if name is not None else None
    found = reading.section(item, "pack", PACK_KEYS)
    if found is None:
        return None
    if "pack" not in found:
        reading.missing(item, "pack", "pack: there is no `pack`, the name of the pack", PACK_KEYS)
        return None
    name = _name(reading, found["pack"].value)
    servers = _servers(reading, found)
    return PackUse(name, found["pack"].value, servers) if name is not None else None


def _name(reading: Reading, value: Value) -> str | None:
    if value.kind != "string":
        reading.problem(value.place, f"packs: expected the name of a pack, got {value.described}")
        return None
    # Not interpolated: which rules count is to be read in the file.
    if value.raw in pack_names():
        return value.raw
    message = f"packs: {unknown('pack', value.raw, pack_names())}"
    if nearest(value.raw, pack_names()):
        message += " `holdshort policy packs` lists them all"
    reading.problem(value.place, message)
    return None


def _servers(reading: Reading, found: Mapping[str, Entry]) -> tuple[tuple[str, Value], ...]:
    if "servers" not in found:
        return ()
    value = found["servers"].value
    if value.kind == "list" and not value.items:
        # Empty would read as "its usual server", the opposite of what an emptied list looks like.
        reading.problem(value.place, "servers: the list is empty; leave the key out, or name a server")
    labels: dict[str, Value] = {}
    for item, label in reading.texts(value, "servers"):
        problem = check_label(label)
        if problem is not None:
            reading.problem(item.place, f"servers: {problem}")
        else:
            labels.setdefault(label, item)
    return tuple(labels.items())


def _usual_label(rules: Iterable[Rule]) -> str:
    """Return the one label that all globs name, or `*` for a pack about any server."""
    labels = {pattern.plain_server or _EVERY for rule in rules for pattern in _patterns(rule)}
    return labels.pop() if len(labels) == 1 else _EVERY


def _patterns(rule: Rule) -> Iterator[ToolPattern]:
    yield from rule.tools
    yield from rule.except_tools
    yield from rule.targets
    if not rule.tools and not rule.targets:
        yield ToolPattern(_EVERY, _EVERY)


def _bound(rule: Rule, usual: str, labels: Sequence[str]) -> Rule:
    tools = rule.tools
    if rule.kind is Kind.TOOL and not tools:
        tools = (ToolPattern(_EVERY, _EVERY),)
    return replace(
        rule,
        tools=_moved(tools, usual, labels),
        except_tools=_moved(rule.except_tools, usual, labels),
        targets=_moved(rule.targets, usual, labels),
    )


def _moved(patterns: Sequence[ToolPattern], usual: str, labels: Sequence[str]) -> tuple[ToolPattern, ...]:
    moved: list[ToolPattern] = []
    for pattern in patterns:
        if pattern.server != usual:
            moved.append(pattern)
        else:
            moved.extend(replace(pattern, server=label, text=f"{label}__{pattern.tool}") for label in labels)
    return tuple(moved)
