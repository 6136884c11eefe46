"""One cell, two policies: every world in which the new one is more permissive, by walking the rules of both at once.

Only what differs is walked first. Where the touched rules of every layer come out alike, so does the verdict, whatever
the rest says; where they do not, the rules around them and the other layers are asked whether it shows.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from holdshort.policy.loosening.names import TooMany
from holdshort.policy.loosening.pairing import Pair, Spoken, same_effect
from holdshort.policy.loosening.worlds import Question, World, is_it, unknowns
from holdshort.policy.model import Action

__all__ = ["Budget", "Leaf", "Questions", "search"]

Questions = Callable[[Spoken, int], tuple[Question, Question]]
"""What a rule asks, in the old policy (0) or the new one (1): first about the caller, then its condition."""

_SIMILAR: Final = 12
"""How many worlds with the same rules speaking are looked at: where one example does not show it, another may."""


@dataclass(slots=True)
class Budget:
    """How many worlds may still be looked at."""

    left: int

    def spend(self) -> None:
        """Take one off.

        Raises:
            TooMany: there are none left.
        """
        self.left -= 1
        if self.left < 0:
            raise TooMany


@dataclass(frozen=True, slots=True)
class Leaf:
    """One world with everything decided: the rules that speak in each policy, one for each layer with an opinion."""

    old: tuple[Spoken, ...]
    new: tuple[Spoken, ...]
    world: World


_Opinion = Spoken | Literal["unasked", "shared"] | None
"""A rule; None for no opinion so far; what is still to be asked on one side, or on both as one."""

_Opinions = tuple[tuple[_Opinion, _Opinion], ...]


@dataclass(frozen=True, slots=True)
class _List:
    """Rules asked in order for the opinion of layer `layer` on the sides `sides`; each as the old and the new one."""

    layer: int
    sides: tuple[int, ...]
    rules: tuple[tuple[Spoken, Spoken], ...]
    overrides: bool = False
    """True for the rules before the touched ones: a match here overrides what those said."""


class _Search:
    def __init__(
        self, pairs: Sequence[Pair], questions: Questions, budget: Budget, *, alike: bool, default_counts: bool
    ) -> None:
        self.questions = questions
        self.budget = budget
        self.alike = alike
        self.default_counts = default_counts
        self.lists, self.start, self.final_at = _plan(pairs, alike=alike)
        self.live = self._live()
        self.seen: set[Hashable] = set()
        self.leaves: dict[Hashable, int] = {}

    def _live(self) -> list[list[frozenset[str]]]:
        """Return, for each list and each rule in it, the unknowns that are asked about from there on."""
        after: frozenset[str] = frozenset()
        lives: list[list[frozenset[str]]] = []
        for one in reversed(self.lists):
            live = [after]
            for said in reversed(one.rules):
                who, when = self.questions(said[one.sides[0]], one.sides[0])
                after = after | unknowns(who) | unknowns(when)
                live.append(after)
            lives.append(live[::-1])
        return lives[::-1]

    def run(self, at: int, opinions: _Opinions, world: World) -> Iterator[Leaf]:
        if self.alike and _settled(opinions, final=at >= self.final_at, default_counts=self.default_counts):
            return
        if at == len(self.lists):
            speaking = (tuple((_name(old), _name(new)) for old, new in opinions), world.values.get("tool.pinned"))
            self.leaves[speaking] = self.leaves.get(speaking, 0) + 1
            if self.leaves[speaking] > _SIMILAR:
                return
            old = tuple(before for before, _ in opinions if isinstance(before, Spoken))
            new = tuple(after for _, after in opinions if isinstance(after, Spoken))
            yield Leaf(old, new, world)
            return
        key = (at, tuple((_name(old), _name(new)) for old, new in opinions), world.key(self.live[at][0]))
        if key in self.seen:
            return
        self.seen.add(key)
        one = self.lists[at]
        mine = opinions[one.layer]
        if not one.overrides and all(isinstance(mine[side], Spoken) for side in one.sides):
            yield from self.run(at + 1, opinions, world)
            return
        for found, after in self._first_match(at, world):
            pair = list(mine)
            for side in one.sides:
                if one.overrides:
                    pair[side] = pair[side] if found is None else found[side]
                elif not isinstance(pair[side], Spoken):
                    pair[side] = None if found is None else found[side]
            changed = list(opinions)
            changed[one.layer] = (pair[0], pair[1])
            yield from self.run(at + 1, tuple(changed), after)

    def _first_match(self, at: int, world: World) -> Iterator[tuple[tuple[Spoken, Spoken] | None, World]]:
        one, live = self.lists[at], self.live[at]
        seen: set[Hashable] = set()
        stack = [(0, world)]
        while stack:
            index, here = stack.pop()
            self.budget.spend()
            if index == len(one.rules):
                yield None, here
                continue
            said = one.rules[index]
            for speaks, after in self._speaks(said[one.sides[0]], one.sides[0], here):
                if speaks:
                    yield said, after
                    continue
                key = (index + 1, after.key(live[index + 1]))
                if key not in seen:
                    seen.add(key)
                    stack.append((index + 1, after))

    def _speaks(self, said: Spoken, side: int, world: World) -> Iterator[tuple[bool, World]]:
        who, when = self.questions(said, side)
        # As in `conditions.speaks`: an error never helps the call, so it has to be true to allow, and false to spare.
        allows = said.rule.action is Action.ALLOW
        for is_meant, here in is_it(who, True, world):
            if not is_meant:
                yield False, here
                continue
            for so, after in is_it(when, allows, here):
                self.budget.spend()
                yield so is allows, after


def search(
    pairs: Sequence[Pair],
    questions: Questions,
    world: World,
    budget: Budget,
    *,
    alike: bool = True,
    default_counts: bool = False,
) -> Iterator[Leaf]:
    """Yield worlds, out of `world`, that between them have every call on which the two sides can differ.

    With `alike`, a rule that both policies have asks the same in both, and where every layer comes out alike, so does
    the verdict, unless `default_counts` and none has an opinion; without, nothing is taken for granted.

    Raises:
        TooMany: `budget` is spent.
    """
    searching = _Search(pairs, questions, budget, alike=alike, default_counts=default_counts)
    yield from searching.run(0, searching.start, world)


def _plan(pairs: Sequence[Pair], *, alike: bool) -> tuple[list[_List], _Opinions, int]:
    """Put the lists in order: touched rules, what follows them, what stands before them, untouched layers.

    Also returns the opinions to start with, and the list from which on the touched layers have their last word.
    """
    touched: list[_List] = []
    below: list[_List] = []
    above: list[_List] = []
    shared: list[_List] = []
    start: list[tuple[_Opinion, _Opinion]] = []
    for layer, pair in enumerate(pairs):
        old, new = _reachable(pair.old), _reachable(pair.new)
        first = _same(old, new) if alike else 0
        last = _same(old[first:][::-1], new[first:][::-1]) if alike else 0
        middle_old, middle_new = old[first : len(old) - last], new[first : len(new) - last]
        if alike and not middle_old and not middle_new:
            shared.append(_List(layer, (0, 1), tuple(zip(old, new, strict=True))))
            start.append(("shared", "shared"))
            continue
        start.append(("unasked", "unasked"))
        touched.append(_List(layer, (0,), tuple((said, said) for said in middle_old)))
        touched.append(_List(layer, (1,), tuple((said, said) for said in middle_new)))
        if last:
            below.append(_List(layer, (0, 1), tuple(zip(old[-last:], new[-last:], strict=True))))
        if first:
            above.append(_List(layer, (0, 1), tuple(zip(old[:first], new[:first], strict=True)), overrides=True))
    return [*touched, *below, *above, *shared], tuple(start), len(touched) + len(below) + len(above)


def _reachable(rules: tuple[Spoken, ...]) -> tuple[Spoken, ...]:
    """Return the rules up to the first that always speaks."""
    for index, said in enumerate(rules):
        if said.rule.when is None and not said.rule.agents and not said.spelled:
            return rules[: index + 1]
    return rules


def _same(old: tuple[Spoken, ...], new: tuple[Spoken, ...]) -> int:
    """Return how many rules the two have in common before the first that differs."""
    for count, (before, after) in enumerate(zip(old, new, strict=False)):
        if same_effect(before.rule) != same_effect(after.rule) or before.spelled != after.spelled:
            return count
    return min(len(old), len(new))


def _settled(opinions: _Opinions, *, final: bool, default_counts: bool) -> bool:
    """Say whether nothing that is still to be asked can make the new verdict more permissive."""
    strictest_old = strictest_alike = -1
    differ = False
    for old, new in opinions:
        if "unasked" in (old, new):
            return False
        if isinstance(old, Spoken) and isinstance(new, Spoken) and same_effect(old.rule) == same_effect(new.rule):
            strictest_alike = max(strictest_alike, old.rule.action.strictness)
        elif old != new:
            differ = True
            if isinstance(old, Spoken):
                strictest_old = max(strictest_old, old.rule.action.strictness)
    if not differ:
        return not default_counts or (final and strictest_alike >= 0)
    # Refused by a layer that did not change, and no more than refused by one that did.
    return final and strictest_alike > Action.ASK.strictness and strictest_alike >= strictest_old


def _name(opinion: _Opinion) -> Hashable:
    return id(opinion) if isinstance(opinion, Spoken) else opinion
