"""The servers and names between which no glob of either policy tells a difference, one of each kind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from holdshort.policy.globs import ToolPattern
from holdshort.policy.loosening.names import Glob, TooMany, combinations, glob
from holdshort.policy.loosening.pairing import Pair, Spoken
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


@dataclass(frozen=True, slots=True)
class _Here:
    """What one rule says about names on one server: the globs of its tools, and of those taken out, as numbers."""

    said: Spoken
    everything: bool
    globs: tuple[int, ...]
    excepted: tuple[int, ...]

    def matches(self, bits: int) -> bool:
        if not self.everything and not any(bits >> number & 1 for number in self.globs):
            return False
        return not any(bits >> number & 1 for number in self.excepted)


def cells(
    pairs: Sequence[Pair], kind: Kind, known: Known, name_globs: NameGlobs, *, everywhere: Callable[[str], bool]
) -> Iterator[Cell | TooMany]:
    """Yield every cell in which a touched rule speaks; for servers of which `everywhere` is true, every cell.

    In the place of the cells of a server that has too many, there is one `TooMany`, whose text names the server.
    """
    rules = [said for pair in pairs for said in (*pair.old, *pair.new)]
    globs = _Numbers()
    for said in rules:
        for pattern in (*_patterns(said.rule), *said.rule.except_tools):
            globs.number(_server_glob(pattern))
        for one in name_globs(said.rule)[0]:
            globs.number(one)
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
            yield from _of_server(server, pairs, kind, known, name_globs, everywhere=everywhere(server))
        except TooMany:
            yield TooMany(server)


def _of_server(
    server: str, pairs: Sequence[Pair], kind: Kind, known: Known, name_globs: NameGlobs, *, everywhere: bool
) -> Iterator[Cell]:
    globs = _Numbers()
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
                    globs.number(name_glob)
                if said.touched and among is not None:
                    among = None if one.everything else among | sum(1 << number for number in set(one.globs))
        here.append(sides)
    if everywhere:
        among = None
    if among == 0:
        return
    for found in combinations(globs.all, among=among, known=[name for label, name in known if label == server]):
        of_cell = tuple(
            Pair(*(tuple(one.said for one in side if one.matches(found.globs)) for side in sides)) for sides in here
        )
        if everywhere or any(pair.touched for pair in of_cell):
            yield Cell(kind, server, found.name, of_cell)


def _on(server: str, said: Spoken, globs: "_Numbers") -> _Here | None:
    patterns = _patterns(said.rule)
    mine = [pattern for pattern in patterns if pattern.matches_server(server)]
    if patterns and not mine:
        return None
    out = [pattern for pattern in said.rule.except_tools if pattern.matches_server(server)]
    return _Here(
        said,
        not patterns,
        tuple(globs.number(_name_glob(pattern)) for pattern in mine),
        tuple(globs.number(_name_glob(pattern)) for pattern in out),
    )


def _patterns(rule: Rule) -> tuple[ToolPattern, ...]:
    return rule.tools if rule.kind is Kind.TOOL else rule.targets


def _server_glob(pattern: ToolPattern) -> Glob:
    return glob(pattern.server, literal=pattern.literal)


def _name_glob(pattern: ToolPattern) -> Glob:
    return glob(pattern.tool, literal=pattern.literal)


class _Numbers:
    """Globs, each once, by number."""

    def __init__(self) -> None:
        self._numbers: dict[Glob, int] = {}

    @property
    def all(self) -> list[Glob]:
        return list(self._numbers)

    def number(self, one: Glob) -> int:
        return self._numbers.setdefault(one, len(self._numbers))
