"""Globs over URIs, where a URI may be spelled in many ways: what follows from one glob matching for the others.

A rule that restricts matches when some reading of a URI does, one that allows when all its plain ones do (`uris.py`).
Which globs some spelling of a URI can match together is not worked out. Each is an unknown, true or false, and all
that is known is what one means for another: what `file:///etc/*` matches, `file:///*` matches in the same way. That
leaves more combinations than there are URIs, never fewer, so nothing that a spelling can do is missed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

from holdshort.policy.globs import ToolPattern, matcher
from holdshort.policy.loosening.names import Glob, TooMany, combinations, glob
from holdshort.policy.loosening.odd import odd_spellings
from holdshort.policy.loosening.worlds import Either, Fixed, Linked, Literal, Question, World
from holdshort.policy.model import Action
from holdshort.policy.uris import UriPattern, readings

__all__ = ["Spellings", "on_one_server"]

_TRUE: Final = 1
_FALSE: Final = 2
_MOST_STATES: Final = 2_000
_MOST_GLOBS: Final = 200
_MOST_EXAMPLES: Final = 30


@dataclass(frozen=True, slots=True)
class _Atom:
    """One glob, and the way in which it is held against a URI."""

    pattern: ToolPattern
    surely: bool

    @property
    def always(self) -> bool:
        return not self.surely and not self.pattern.literal and set(self.pattern.tool) == {"*"}

    def holds(self, uri: str) -> bool:
        if not isinstance(self.pattern, UriPattern):
            return self.pattern.matches_tool(uri)
        found = readings(uri)
        return self.pattern.matches_surely(found) if self.surely else self.pattern.matches_some(found)

    def implies(self, other: "_Atom") -> bool:
        """Say whether `other` is known to hold of every URI of which this one does."""
        mine, its = self.pattern, other.pattern
        raw = _within(mine.tool, (its.tool,), mine.literal, its.literal)
        if not isinstance(mine, UriPattern):
            return raw and not (isinstance(its, UriPattern) and other.surely)
        if not isinstance(its, UriPattern):
            return raw and self.surely
        forms = all(_within(form, its.forms) for form in mine.forms)
        if self.surely:
            return (raw and forms) if other.surely else (raw or forms)
        return not other.surely and raw and forms and _within(mine.folded, (its.folded,))

    def excludes(self, other: "_Atom") -> bool:
        """Say whether `other` is known to hold of no URI of which this one does."""
        mine, its = self.pattern, other.pattern
        return self.surely and isinstance(mine, UriPattern) and isinstance(its, UriPattern) and mine.excludes(its)


class Spellings:
    """The globs over the resources of one server."""

    def __init__(self, globs: Iterable[tuple[ToolPattern, Action]], asked: Sequence[Glob]) -> None:
        """`asked`: the globs that conditions amount to; they are only used to find examples.

        Raises:
            TooMany: there are too many globs to hold each against each.
        """
        self._asked = tuple(asked)
        found = dict.fromkeys(_Atom(pattern, action is Action.ALLOW) for pattern, action in globs)
        self._unknowns = {atom: f"? uri {at}" for at, atom in enumerate(found) if not atom.always}
        if len(self._unknowns) > _MOST_GLOBS:
            raise TooMany
        true: dict[_Atom, list[Literal]] = {atom: [(of, _TRUE)] for atom, of in self._unknowns.items()}
        false: dict[_Atom, list[Literal]] = {atom: [(of, _FALSE)] for atom, of in self._unknowns.items()}
        for one, unknown in self._unknowns.items():
            for other, its in self._unknowns.items():
                if one is not other and one.implies(other):
                    true[one].append((its, _TRUE))
                    false[other].append((unknown, _FALSE))
                if one.excludes(other):
                    true[one].append((its, _FALSE))
                    true[other].append((unknown, _FALSE))
        self._questions = {
            atom: Linked(unknown, tuple(true[atom]), tuple(false[atom])) for atom, unknown in self._unknowns.items()
        }

    @property
    def start(self) -> dict[str, int]:
        """The unknowns, with nothing known of them."""
        return dict.fromkeys(self._unknowns.values(), _TRUE | _FALSE)

    def question(self, targets: Sequence[ToolPattern], action: Action) -> Question:
        """Return whether one of `targets`, of a rule that says `action`, matches."""
        atoms = [_Atom(pattern, action is Action.ALLOW) for pattern in targets]
        if any(atom.always for atom in atoms):
            return Fixed(True)
        return _one_of([self._questions[atom] for atom in atoms])

    def examples(self, world: World) -> list[str]:
        """Return URIs that are in `world`, as far as globs go: the plain ones first. There may be some unknown."""
        found: list[str] = []
        for uri, is_so in self._tried:
            if all(world.values.get(unknown, bits) & bits for unknown, bits in is_so):
                found.append(uri)
                if len(found) == _MOST_EXAMPLES:
                    break
        return found

    @cached_property
    def _tried(self) -> list[tuple[str, tuple[Literal, ...]]]:
        globs = dict.fromkeys(glob(atom.pattern.tool, literal=atom.pattern.literal) for atom in self._unknowns)
        globs |= dict.fromkeys(self._asked)
        sets = [(one,) for one in globs] or [(glob("*"),)]
        try:
            plain = [one.name for one in combinations(sets, most_states=_MOST_STATES) if one.name]
        except TooMany:
            plain = [_example(one) for one in globs]
        found: dict[tuple[Literal, ...], list[str]] = {}
        for uri in (*plain, *odd_spellings(plain)):
            is_so = tuple((unknown, _TRUE if atom.holds(uri) else _FALSE) for atom, unknown in self._unknowns.items())
            # Conditions may tell apart what no glob does, so a few are kept of each.
            of_these = found.setdefault(is_so, [])
            if len(of_these) < _MOST_EXAMPLES and uri not in of_these:
                of_these.append(uri)
        return [(uri, is_so) for is_so, uris in found.items() for uri in uris]


def _one_of(questions: Sequence[Question]) -> Question:
    """Return whether one of them is true; by halves, for a rule may name hundreds."""
    if len(questions) == 1:
        return questions[0]
    middle = len(questions) // 2
    return Either(_one_of(questions[:middle]), _one_of(questions[middle:]))


def on_one_server(pattern: ToolPattern) -> ToolPattern:
    """Return what is left of a pattern when its server is known: its glob over URIs."""
    return replace(pattern, server="*", text=pattern.tool)


@lru_cache(maxsize=65536)
def _within(narrow: str, wide: tuple[str, ...], narrow_is: bool = False, wide_is: bool = False) -> bool:
    """Say whether every text that matches `narrow` matches one of `wide`; `_is`: of texts in which nothing is special.

    False is said, too, where it is too much to find out.
    """
    if narrow in wide and narrow_is is wide_is:
        return True
    example = _example(_pieces(narrow, narrow_is))
    if not any(one == example if wide_is else _test(one)(example) for one in wide):
        return False
    sets = [(_pieces(narrow, narrow_is),), tuple(_pieces(one, wide_is) for one in wide)]
    try:
        found = combinations(sets, among=1, most_states=_MOST_STATES)
    except TooMany:
        return False
    return all(one.sets & 2 for one in found)


_test = lru_cache(maxsize=4096)(matcher)


@lru_cache(maxsize=4096)
def _pieces(text: str, literal: bool) -> Glob:
    return glob(text, literal=literal)


@lru_cache(maxsize=4096)
def _example(pieces: Glob) -> str:
    return "".join(piece if isinstance(piece, str) else "x" for piece in pieces)
