"""What is still open about a call while two policies are compared, and how asking a question splits it.

A world is a set of calls that nobody has told apart yet: for each unknown (an argument, a fact of the tool, who calls)
the values it can still have. A question is answered by splitting its world into the calls for which the answer is so,
and the others. A world without a call in it is not made, so whatever is found in one exists.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

__all__ = [
    "AgentTest",
    "Both",
    "CallerTest",
    "Callers",
    "Either",
    "Fixed",
    "GroupTest",
    "If",
    "Linked",
    "Literal",
    "Not",
    "Outcome",
    "Question",
    "Test",
    "World",
    "is_it",
    "unknowns",
]

Outcome = bool | None
"""True, false, or None for an error."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A question with one answer in this world."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Test:
    """A question about one unknown: with which of its values, as bits, it is true, false or an error."""

    __test__ = False

    unknown: str
    true: int
    false: int
    error: int


Literal = tuple[str, int]
"""An unknown, and the values that it is left with, as bits."""


@dataclass(frozen=True, slots=True)
class Linked:
    """Whether an unknown is true (its bit 1) or false (2), and what else follows for other unknowns in each case."""

    unknown: str
    true: tuple[Literal, ...]
    false: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class CallerTest:
    """Whether the agent, or one of its groups, is among `words`, as bits."""

    words: int


@dataclass(frozen=True, slots=True)
class AgentTest:
    """Whether the agent's own name is among `words`."""

    words: int


@dataclass(frozen=True, slots=True)
class GroupTest:
    """Whether one of the agent's groups is among `words`."""

    words: int


@dataclass(frozen=True, slots=True)
class Not:
    """`!a`; an error stays one."""

    operand: "Question"


@dataclass(frozen=True, slots=True)
class Both:
    """`a && b`; as in CEL, one false side decides, whatever the other does."""

    left: "Question"
    right: "Question"


@dataclass(frozen=True, slots=True)
class Either:
    """`a || b`; as in CEL, one true side decides, whatever the other does."""

    left: "Question"
    right: "Question"


@dataclass(frozen=True, slots=True)
class If:
    """`a ? b : c`."""

    test: "Question"
    then: "Question"
    otherwise: "Question"


Question = Fixed | Test | Linked | CallerTest | AgentTest | GroupTest | Not | Both | Either | If

CALLER: Final = "caller"
"""The unknown that questions about the caller are about."""


@dataclass(frozen=True, slots=True)
class Callers:
    """The callers left in a world; every number is a set of words, as bits.

    `agent`: what the agent can be called. `groups`: the groups it may be in. `needed`: for each, the agent or one of
    its groups is among these words. `needed_groups`: for each, one of its groups is.
    """

    agent: int
    groups: int
    needed: frozenset[int] = frozenset()
    needed_groups: frozenset[int] = frozenset()

    def agents(self) -> int:
        """Return the names of the agent with which everything needed can be had; 0 when there is no such caller."""
        if any(not words & self.groups for words in self.needed_groups):
            return 0
        agent = self.agent
        for words in self.needed:
            if not words & self.groups:
                agent &= words
        return agent


@dataclass(frozen=True, slots=True)
class World:
    """Calls not told apart yet. `values` has, for each unknown, the values it can still have, as bits."""

    values: Mapping[str, int]
    callers: Callers

    def key(self, live: frozenset[str]) -> tuple[object, ...]:
        """Return what tells this world from others for questions about the unknowns in `live`."""
        values = self.values
        known = tuple(sorted((name, values[name]) for name in live if name in values))
        return (known, self.callers) if CALLER in live else (known,)

    def narrowed(self, unknown: str, values: int) -> "World":
        """Return the world in which `unknown` has one of `values`."""
        return self if self.values[unknown] == values else World({**self.values, unknown: values}, self.callers)

    def with_all(self, literals: Iterable[Literal]) -> "World | None":
        """Return the world in which all of `literals` hold; None when there is none."""
        values = dict(self.values)
        for unknown, bits in literals:
            if unknown in values:
                values[unknown] &= bits
                if not values[unknown]:
                    return None
        return World(values, self.callers)


def unknowns(question: Question) -> frozenset[str]:
    """Return the unknowns that `question` can ask about."""
    match question:
        case Fixed():
            return frozenset()
        case Test() | Linked():
            return frozenset({question.unknown})
        case CallerTest() | AgentTest() | GroupTest():
            return frozenset({CALLER})
        case Not(operand):
            return unknowns(operand)
        case Both(left, right) | Either(left, right):
            return unknowns(left) | unknowns(right)
        case If(test, then, otherwise):
            return unknowns(test) | unknowns(then) | unknowns(otherwise)


def is_it(question: Question, wanted: bool, world: World) -> Iterator[tuple[bool, World]]:
    """Split `world` by whether the answer to `question` is `wanted`, true or false; worlds with no call are left out.

    An error is neither. Asked so, and not for all three answers, a chain of `||` splits once for each part of it.
    """
    match question:
        case Fixed(outcome):
            yield outcome is wanted, world
        case Test():
            here = world.values[question.unknown]
            so = question.true if wanted else question.false
            if here & so:
                yield True, world.narrowed(question.unknown, here & so)
            if here & ~so:
                yield False, world.narrowed(question.unknown, here & ~so)
        case Linked():
            for outcome, literals in ((True, question.true), (False, question.false)):
                left = world.with_all(literals)
                if left is not None:
                    yield outcome is wanted, left
        case CallerTest() | AgentTest() | GroupTest():
            for outcome, after in _about_the_caller(question, world):
                yield outcome is wanted, after
        case Not(operand):
            yield from is_it(operand, not wanted, world)
        case Both(left, right):
            # As in CEL, one false side decides, whatever the other does: an error too.
            yield from (_both_are if wanted else _one_is)(left, right, wanted, world)
        case Either(left, right):
            yield from (_one_is if wanted else _both_are)(left, right, wanted, world)
        case If(test, then, otherwise):
            for chosen, within in is_it(test, True, world):
                if chosen:
                    yield from is_it(then, wanted, within)
                    continue
                for other, after in is_it(test, False, within):
                    if other:
                        yield from is_it(otherwise, wanted, after)
                    else:
                        yield False, after


def _one_is(left: Question, right: Question, wanted: bool, world: World) -> Iterator[tuple[bool, World]]:
    for so, after in is_it(left, wanted, world):
        if so:
            yield True, after
        else:
            yield from is_it(right, wanted, after)


def _both_are(left: Question, right: Question, wanted: bool, world: World) -> Iterator[tuple[bool, World]]:
    for so, after in is_it(left, wanted, world):
        if so:
            yield from is_it(right, wanted, after)
        else:
            yield False, after


def _about_the_caller(question: CallerTest | AgentTest | GroupTest, world: World) -> Iterator[tuple[Outcome, World]]:
    callers, words = world.callers, question.words
    match question:
        case CallerTest():
            yes = replace(callers, needed=callers.needed | {words})
            no = replace(callers, agent=callers.agent & ~words, groups=callers.groups & ~words)
        case AgentTest():
            yes = replace(callers, agent=callers.agent & words)
            no = replace(callers, agent=callers.agent & ~words)
        case GroupTest():
            yes = replace(callers, needed_groups=callers.needed_groups | {words})
            no = replace(callers, groups=callers.groups & ~words)
    for outcome, left in ((True, yes), (False, no)):
        if left.agents():
            yield outcome, World(world.values, left)
