"""The servers and names between which no glob of either policy tells a difference, one of each kind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from holdshort.policy.globs import ToolPattern
from holdshort.policy.loosening.names import Glob, GlobSet, TooMany, combinations, glob
from holdshort.policy.loosening.pairing import Pair, Spoken
from holdshort.policy.loosening.spellings import Spellings, on_one_server
from holdshort.policy.model import Kind, Rule

__all__ = ["Cell", "Known", "NameGlobs", "cells"]

Known = Sequence[tuple[str, str]]
"""Tools that exist, as (server, name): where one of them will do, it is the example."""

NameGlobs = Callable[[Rule], tuple[Sequence[Glob], Sequence[Glob]]]
"""The globs over server and name that the condition of a rule amounts to."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One server and one name that stand for all that match the same globs, with the rules that speak of them."""

    kind: Kind
    server: str
    name: str
    pairs: tuple[Pair, ...]
    spellings: Spellings | None = None
    """For resources: how their globs hang together. The name stands for nothing then."""


@dataclass(frozen=True, slots=True)
class _Here:
    """What one rule says about names on one server: the set of globs of its tools, and of those taken out, as bits."""

    said: Spoken
    meant: int | None
    """None for a rule about every tool."""
    excepted: int

    def matches(self, bits: int) -> bool:
        return (self.meant is None or bool(bits & self.meant)) and not bits & self.excepted


def cells(
    pairs: Sequence[Pair], kind: Kind, known: Known, name_globs: NameGlobs, *, everywhere: Callable[[str], bool]
) -> Iterator[Cell | TooMany]:
    """Yield every cell in which a touched rule speaks; for servers of which `everywhere` is true, every cell.

    In the place of the cells of a server that has too many, there is one `TooMany`, whose text names the server.
    """
    rules = [said for pair in pairs for said in (*pair.old, *pair.new)]
    globs = _Sets()
    for said in rules:
        for pattern in (*_patterns(said.rule), *said.rule.except_tools):
            globs.bit((_server_glob(pattern),))
        for one in name_globs(said.rule)[0]:
            globs.bit((one,))
    labels = dict.fromkeys(server for server, _ in known)
    try:
        servers = combinations(globs.all, known=labels)
    except TooMany:
        yield TooMany("any server")
        return
    # A server that is known stands for itself: its trust may have changed where that of its like has not.
    names = dict.fromkeys([one.name for one in servers] + [label for label in labels if everywhere(label)])
    for server in names:
        try:
            if kind is Kind.RESOURCE:
                yield from _resources_of(server, pairs, name_globs, everywhere=everywhere(server))
                continue
            yield from _of_server(server, pairs, kind, known, name_globs, everywhere=everywhere(server))
        except TooMany:
            yield TooMany(server)


def _of_server(
    server: str, pairs: Sequence[Pair], kind: Kind, known: Known, name_globs: NameGlobs, *, everywhere: bool
) -> Iterator[Cell]:
    globs = _Sets()
    here: list[tuple[list[_Here], list[_Here]]] = []
    among: int | None = 0
    for pair in pairs:
        sides: tuple[list[_Here], list[_Here]] = ([], [])
        for side, spoken in zip(sides, (pair.old, pair.new), strict=True):
            for said in spoken:
                one = _on(server, said, globs)
                if one is None:
                    continue
                side.append(one)
                for name_glob in name_globs(said.rule)[1]:
                    globs.bit((name_glob,))
                if said.touched and among is not None:
                    among = None if one.meant is None else among | one.meant
        here.append(sides)
    if everywhere:
        among = None
    if among == 0:
        return
    for found in combinations(globs.all, among=among, known=[name for label, name in known if label == server]):
        of_cell = tuple(
            Pair(*(tuple(one.said for one in side if one.matches(found.sets)) for side in sides)) for sides in here
        )
        if everywhere or any(pair.touched for pair in of_cell):
            yield Cell(kind, server, found.name, of_cell)


def _resources_of(server: str, pairs: Sequence[Pair], name_globs: NameGlobs, *, everywhere: bool) -> Iterator[Cell]:
    """Yield the one cell of a server's resources: a URI has many spellings, so its text settles no glob."""
    of_cell = tuple(Pair(_spelled(server, pair.old), _spelled(server, pair.new)) for pair in pairs)
    if everywhere or any(pair.touched for pair in of_cell):
        rules = [said for pair in of_cell for said in (*pair.old, *pair.new)]
        asked = [one for said in rules for one in name_globs(said.rule)[1]]
        spellings = Spellings([(each, said.rule.action) for said in rules for each in said.spelled], asked)
        yield Cell(Kind.RESOURCE, server, "", of_cell, spellings)


def _spelled(server: str, some: Sequence[Spoken]) -> tuple[Spoken, ...]:
    here: list[Spoken] = []
    for said in some:
        mine = [pattern for pattern in said.rule.targets if pattern.matches_server(server)]
        if mine or not said.rule.targets:
            kept = dict.fromkeys(on_one_server(pattern) for pattern in mine)
            here.append(replace(said, spelled=tuple(sorted(kept, key=lambda each: (each.tool, each.literal)))))
    return tuple(here)


def _on(server: str, said: Spoken, globs: "_Sets") -> _Here | None:
    patterns = _patterns(said.rule)
    mine = [pattern for pattern in patterns if pattern.matches_server(server)]
    if patterns and not mine:
        return None
    out = [pattern for pattern in said.rule.except_tools if pattern.matches_server(server)]
    return _Here(
        said,
        globs.bit(tuple(map(_name_glob, mine))) if patterns else None,
        globs.bit(tuple(map(_name_glob, out))) if out else 0,
    )


def _patterns(rule: Rule) -> tuple[ToolPattern, ...]:
    return rule.tools if rule.kind is Kind.TOOL else rule.targets


def _server_glob(pattern: ToolPattern) -> Glob:
    return glob(pattern.server, literal=pattern.literal)


def _name_glob(pattern: ToolPattern) -> Glob:
    return glob(pattern.tool, literal=pattern.literal)


class _Sets:
    """Sets of globs, each once, by number."""

    def __init__(self) -> None:
        self._numbers: dict[GlobSet, int] = {}

    @property
    def all(self) -> list[GlobSet]:
        return list(self._numbers)

    def bit(self, some: GlobSet) -> int:
        return 1 << self._numbers.setdefault(tuple(sorted(set(some), key=repr)), len(self._numbers))
