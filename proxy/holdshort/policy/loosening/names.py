"""Every way in which a name can match a set of globs, each with a name that does.

All globs run over the same text at once, as one automaton: a bit for each place in each glob. What a text can still
match depends on those bits alone, so following every letter that some glob waits for, and one that none does, visits
every combination that exists. That is a proof: a combination not found here is one that no name has.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Glob", "Matched", "TooMany", "combinations", "contains", "ends_with", "equals", "glob", "starts_with"]

_ANY: Final = 0
_RUN: Final = 1

Glob = tuple[str | int, ...]
"""A glob in pieces: a letter, `_ANY` for one letter, whichever, or `_RUN` for any number of them."""

_MOST_STATES: Final = 30_000
_PLAIN: Final = "xyzabcdefghijklmnopqrstuvw0123456789"


class TooMany(Exception):
    """Raised when there are more combinations than can be looked at; nothing is known then."""


@dataclass(frozen=True, slots=True)
class Matched:
    """One combination: bit `i` of `globs` says whether glob `i` matches `name`."""

    globs: int
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
    globs: Sequence[Glob], *, among: int | None = None, known: Iterable[str] = (), most_states: int = _MOST_STATES
) -> list[Matched]:
    """Return every combination of `globs` that some text matches, with the nicest text found for it.

    `among`, a set of bits, leaves out combinations without any of those globs. Texts in `known` are preferred.

    Raises:
        TooMany: the globs have more than `most_states` joint places to be in.
    """
    automaton = _Automaton(globs)
    wanted = automaton.places_of(among) if among is not None else -1
    found: dict[int, str] = {}
    for name in known:
        found.setdefault(automaton.match(name), name)
    for name in dict.fromkeys(filled for one in globs for filled in _filled(one)):
        found.setdefault(automaton.match(name), name)
    seen = {automaton.start}
    queue: deque[tuple[int, str]] = deque([(automaton.start, "")])
    while queue:
        state, name = queue.popleft()
        # The empty text comes last: no tool is called so, but a glob that only it tells apart must be seen.
        if name:
            found.setdefault(automaton.accepted(state), name)
        for char, after in automaton.steps(state):
            if after & wanted and after not in seen:
                seen.add(after)
                if len(seen) > most_states:
                    raise TooMany
                queue.append((after, name + char))
            elif not after & wanted and among is None:
                found.setdefault(0, name + char)
    found.setdefault(automaton.accepted(automaton.start), "")
    return [Matched(bits, name) for bits, name in found.items() if among is None or bits & among]


class _Automaton:
    """The globs side by side: bit `i` of a state says that the first pieces up to there have been matched."""

    def __init__(self, globs: Sequence[Glob]) -> None:
        self._letters: dict[str, int] = {}
        self._any = self._runs = first = 0
        self._spans: list[tuple[int, int]] = []
        at = 0
        for pieces in globs:
            first |= 1 << at
            for index, piece in enumerate(pieces):
                bit = 1 << (at + index)
                if piece == _RUN:
                    self._runs |= bit
                elif piece == _ANY:
                    self._any |= bit
                else:
                    self._letters[str(piece)] = self._letters.get(str(piece), 0) | bit
            self._spans.append((at, at + len(pieces)))
            at += len(pieces) + 1
        self._ends = {1 << end: 1 << number for number, (_, end) in enumerate(self._spans)}
        self._all_ends = sum(self._ends)
        self._other = next((char for char in _PLAIN if char not in self._letters), None) or self._unused()
        self.start = self._closed(first)

    def places_of(self, among: int) -> int:
        """Return the bits of the globs in `among`."""
        bits = 0
        for number, (start, end) in enumerate(self._spans):
            if among >> number & 1:
                bits |= (1 << (end + 1)) - (1 << start)
        return bits

    def match(self, text: str) -> int:
        """Return which globs match `text`."""
        state = self.start
        for char in text:
            state = self._after(state, self._letters.get(char, 0))
        return self.accepted(state)

    def accepted(self, state: int) -> int:
        """Return which globs match the text that led to `state`."""
        left, globs = state & self._all_ends, 0
        while left:
            lowest = left & -left
            globs |= self._ends[lowest]
            left ^= lowest
        return globs

    def steps(self, state: int) -> Iterable[tuple[str, int]]:
        """Yield what can follow `state`: each letter that some glob waits for, then one that none does."""
        for char, bits in self._letters.items():
            if state & bits:
                yield char, self._after(state, bits)
        yield self._other, self._after(state, 0)

    def _after(self, state: int, bits: int) -> int:
        return self._closed(((state & (bits | self._any)) << 1) | (state & self._runs))

    def _closed(self, state: int) -> int:
        return state | ((state & self._runs) << 1)

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
