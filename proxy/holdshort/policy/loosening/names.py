"""Every way in which a name can match sets of globs, each with a name that does.

All globs run over the same text at once, as one automaton: a bit for each place in each glob. What a text can still
match depends on those bits alone, so following every letter that some glob waits for, and one that none does, visits
every combination that exists. That is a proof: a combination not found here is one that no name has.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "Glob",
    "Matched",
    "TooMany",
    "combinations",
    "contains",
    "ends_with",
    "equals",
    "glob",
    "starts_with",
    "which",
]

_ANY: Final = 0
_RUN: Final = 1

Glob = tuple[str | int, ...]
"""A glob in pieces: a letter, `_ANY` for one letter, whichever, or `_RUN` for any number of them."""

GlobSet = tuple[Glob, ...]
"""Globs of which one has to match; no globs are never matched."""

_MOST_STATES: Final = 30_000
_PLAIN: Final = "xyzabcdefghijklmnopqrstuvw0123456789"


class TooMany(Exception):
    """Raised when there are more combinations than can be looked at; nothing is known then."""


@dataclass(frozen=True, slots=True)
class Matched:
    """One combination: bit `i` of `sets` says whether `name` matches set `i`."""

    sets: int
    name: str


def glob(text: str, *, literal: bool = False) -> Glob:
    """Read `*` and `?` in `text`, or take it as it is."""
    if literal:
        return tuple(text)
    pieces: list[str | int] = []
    for char in text:
        if char != "*":
            pieces.append(_ANY if char == "?" else char)
        elif not pieces or pieces[-1] != _RUN:
            pieces.append(_RUN)
    return tuple(pieces)


def equals(text: str) -> Glob:
    """Return the glob of one text."""
    return tuple(text)


def starts_with(text: str) -> Glob:
    """Return the glob of all texts that start with `text`."""
    return (*text, _RUN)


def ends_with(text: str) -> Glob:
    """Return the glob of all texts that end with `text`."""
    return (_RUN, *text)


def contains(text: str) -> Glob:
    """Return the glob of all texts with `text` inside."""
    return (_RUN, *text, _RUN) if text else (_RUN,)


def combinations(
    sets: Sequence[GlobSet], *, among: int | None = None, known: Iterable[str] = (), most_states: int = _MOST_STATES
) -> list[Matched]:
    """Return every combination of `sets` that some text matches, with the nicest text found for it.

    A text matches a set when it matches some glob in it. `among`, as bits, leaves out combinations without any of those
    sets. Texts in `known` are preferred.

    Raises:
        TooMany: the globs have more than `most_states` joint places to be in.
    """
    automaton = _Automaton(sets)
    found: dict[int, str] = {}
    for name in known:
        found.setdefault(automaton.match(name), name)
    for name in dict.fromkeys([*(filled for some in sets for one in some for filled in _filled(one)), "x"]):
        found.setdefault(automaton.match(name), name)
    wanted = -1 if among is None else automaton.places_of(among)
    seen = {automaton.start}
    queue: deque[tuple[int, str]] = deque([(automaton.start, "")])
    while queue:
        state, name = queue.popleft()
        # The empty text comes last: no tool is called so, but a glob that only it tells apart must be seen.
        if name:
            found.setdefault(automaton.accepted(state), name)
        for char, after in automaton.steps(state):
            if after not in seen and (after & wanted or among is None):
                seen.add(after)
                if len(seen) > most_states:
                    raise TooMany
                queue.append((after, name + char))
    found.setdefault(automaton.accepted(automaton.start), "")
    return [Matched(bits, name) for bits, name in found.items() if among is None or bits & among]


def which(sets: Sequence[GlobSet], names: Iterable[str]) -> list[int]:
    """Return, for each of `names`, which sets it matches, as bits."""
    automaton = _Automaton(sets)
    return [automaton.match(name) for name in names]


class _Automaton:
    """The globs side by side: bit `i` of a state says that the first pieces up to there have been matched.

    Above those, a state has a bit for each set that is matched whatever follows. The globs of such a set are not
    followed any further, so a set of many globs makes no more states than its longest does.
    """

    def __init__(self, sets: Sequence[GlobSet]) -> None:
        self._letters: dict[str, int] = {}
        self._any = self._runs = first = 0
        self._ends: dict[int, int] = {}
        self._sealing: dict[int, int] = {}
        at = 0
        owners: dict[Glob, int] = {}
        for number, some in enumerate(sets):
            for one in some:
                owners[one] = owners.get(one, 0) | 1 << number
        self._places: dict[Glob, int] = {}
        for pieces, owner in owners.items():
            first |= 1 << at
            for index, piece in enumerate(pieces):
                bit = 1 << (at + index)
                if piece == _RUN:
                    self._runs |= bit
                elif piece == _ANY:
                    self._any |= bit
                else:
                    self._letters[str(piece)] = self._letters.get(str(piece), 0) | bit
            end = 1 << (at + len(pieces))
            self._ends[end] = owner
            if pieces and pieces[-1] == _RUN:
                self._sealing[end >> 1] = owner
            self._places[pieces] = (1 << (at + len(pieces) + 1)) - (1 << at)
            at += len(pieces) + 1
        self._width = at
        self._following = (1 << at) - 1
        self._all_ends = sum(self._ends)
        self._all_sealing = sum(self._sealing)
        # The places of globs that a state with these sets sealed need not follow.
        self._owners = owners
        self._dropped: dict[int, int] = {0: 0}
        self._other = next((char for char in _PLAIN if char not in self._letters), None) or self._unused()
        self.start = self._closed(first, 0)

    def places_of(self, among: int) -> int:
        """Return the bits of the sets in `among`, followed or sealed."""
        bits = among << self._width
        for pieces, owner in self._owners.items():
            if owner & among:
                bits |= self._places[pieces]
        return bits

    def match(self, text: str) -> int:
        """Return which sets match `text`."""
        state = self.start
        for char in text:
            state = self._after(state, self._letters.get(char, 0))
        return self.accepted(state)

    def accepted(self, state: int) -> int:
        """Return which sets match the text that led to `state`."""
        left, matched = state & self._all_ends, state >> self._width
        while left:
            lowest = left & -left
            matched |= self._ends[lowest]
            left ^= lowest
        return matched

    def steps(self, state: int) -> Iterable[tuple[str, int]]:
        """Yield what can follow `state`: each letter that some glob waits for, then one that none does."""
        for char, bits in self._letters.items():
            if state & bits:
                yield char, self._after(state, bits)
        yield self._other, self._after(state, 0)

    def _after(self, state: int, bits: int) -> int:
        followed = state & self._following
        return self._closed(((followed & (bits | self._any)) << 1) | (followed & self._runs), state >> self._width)

    def _closed(self, followed: int, sealed: int) -> int:
        followed |= (followed & self._runs) << 1
        hits = followed & self._all_sealing
        while hits:
            lowest = hits & -hits
            sealed |= self._sealing[lowest]
            hits ^= lowest
        dropped = self._dropped.get(sealed)
        if dropped is None:
            dropped = sum(self._places[pieces] for pieces, owner in self._owners.items() if not owner & ~sealed)
            self._dropped[sealed] = dropped
        return (followed & ~dropped) | (sealed << self._width)

    def _unused(self) -> str:
        code = 0x4E00
        while chr(code) in self._letters:
            code += 1
        return chr(code)


def _filled(pieces: Glob) -> tuple[str, ...]:
    """Return a readable text or two for one glob: a plain letter for what is open, and nothing for its runs."""
    middle = "".join("x" if piece in {_ANY, _RUN} else str(piece) for piece in pieces)
    without = "".join("x" if piece == _ANY else str(piece) for piece in pieces if piece != _RUN)
    return tuple(name for name in (middle, without) if name)
