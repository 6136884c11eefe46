"""What another policy would have said to calls that happened: each compared with what came of it, counted by rule."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from holdshort.policy.cases import target_of
from holdshort.policy.grants import GRANT_LAYER
from holdshort.policy.model import Action, Because, Terms
from holdshort.policy.partly import Told
from holdshort.policy.recorded import Partly

__all__ = ["A_GRANT", "Group", "Sort", "Tally", "Then", "Turn", "then_of"]

A_GRANT: Final = Because(GRANT_LAYER, "")
"""The reason of calls that standing grants let through, whichever grant it was."""

_MOST_SORTS: Final = 1_000


class Turn(StrEnum):
    """How a call comes out, compared with what came of it. In the order in which people want to know."""

    LOOSER = "looser"
    STRICTER = "stricter"
    OTHER_TERMS = "other_terms"
    """It asks as before, but others may decide, more or fewer have to, or for another time."""
    UNTOLD = "cannot_be_told"
    SAME = "unchanged"


@dataclass(frozen=True, slots=True)
class Then:
    """What came of a call. `terms` are None where they are not known, or nobody was asked."""

    action: Action
    because: tuple[Because, ...]
    terms: Terms | None = None


@dataclass(slots=True)
class Sort:
    """Calls of one group that are alike: the same thing asked for by the same agent."""

    target: str
    agent: str
    count: int
    first: int
    """Sequence of the first in the log."""
    last: int
    first_at: datetime
    last_at: datetime


@dataclass(slots=True)
class Group:
    """Calls that turn in the same way, for the same reasons."""

    turn: Turn
    then: Then
    told: Told
    sequences: "array[int]" = field(default_factory=lambda: array("q"))
    sorts: dict[tuple[str, str], Sort] = field(default_factory=dict[tuple[str, str], Sort])
    more_sorts: int = 0
    """Calls that are in none of `sorts`, because there are too many."""

    @property
    def count(self) -> int:
        """How many calls."""
        return len(self.sequences)

    @property
    def grants_end(self) -> bool:
        """Whether a standing grant answered, and could not any more."""
        return self.turn is Turn.STRICTER and self.told.verdict is not None and self.told.verdict.action is Action.ASK

    def add(self, sequence: int, asked: Partly) -> None:
        """Count a call."""
        self.sequences.append(sequence)
        question = asked.question
        key = target_of(question), question.caller.agent
        sort = self.sorts.get(key)
        if sort is not None:
            sort.count += 1
            sort.last, sort.last_at = sequence, question.now
        elif len(self.sorts) < _MOST_SORTS:
            self.sorts[key] = Sort(*key, 1, sequence, sequence, question.now, question.now)
        else:
            self.more_sorts += 1


_Key = tuple[object, ...]


class Tally:
    """All calls that were replayed so far. What is kept grows with the kinds of change, and eight bytes by change."""

    def __init__(self) -> None:
        self.calls = 0
        self.same = 0
        self.unasked = 0
        """Calls of tools that their server did not list: policy is not asked about those."""
        self.taken_as_pinned = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.agents: set[str] = set()
        self.servers: set[str] = set()
        self._groups: dict[_Key, Group] = {}

    def __len__(self) -> int:
        """How many calls change."""
        return sum(group.count for group in self._groups.values() if group.turn is not Turn.UNTOLD)

    @property
    def untold(self) -> int:
        """How many calls nothing can be said about."""
        return sum(group.count for group in self.groups(Turn.UNTOLD))

    def groups(self, turn: Turn) -> Sequence[Group]:
        """Return the groups that turn so, the largest first."""
        found = [group for group in self._groups.values() if group.turn is turn]
        return sorted(found, key=lambda group: (-group.count, group.sequences[0]))

    def __iter__(self) -> Iterator[Group]:
        """Yield every group, in the order in which people want to know."""
        for turn in Turn:
            yield from self.groups(turn)

    def see(self, server: str, agent: str, at: datetime) -> None:
        """Count a call, whatever becomes of it."""
        self.calls += 1
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)
        self.agents.add(agent)
        self.servers.add(server)

    def add(self, sequence: int, asked: Partly, then: Then | None, told: Told) -> None:
        """Compare what can be told of a call with what came of it; `then` None: that cannot be told either."""
        self.taken_as_pinned += asked.taken_as_pinned
        turn = Turn.UNTOLD if then is None else _turn(then, told)
        if turn is Turn.SAME:
            self.same += 1
            return
        then = then or Then(Action.ASK, ())
        kept = told.verdict.because if told.verdict is not None else told.because
        # Of what cannot be told, the reasons of then would only tell alike calls apart.
        because = then.because if turn is not Turn.UNTOLD else ()
        key: _Key = (turn, then.action, because, told.possible, kept, told.gaps)
        if turn is Turn.OTHER_TERMS and told.verdict is not None:
            key = (*key, then.terms, told.verdict.terms)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(turn, then, told)
        group.add(sequence, asked)


def then_of(told: Told) -> Then | None:
    """Return what a policy says as something to compare with; None where that cannot be told."""
    verdict = told.verdict
    if verdict is None:
        return None
    return Then(verdict.action, verdict.because, verdict.terms if told.exact else None)


def _turn(then: Then, told: Told) -> Turn:
    verdict = told.verdict
    if verdict is None:
        # Which of them it is depends on what is not known; that it is a change may not.
        if all(action.strictness > then.action.strictness for action in told.possible):
            return Turn.STRICTER
        if all(action.strictness < then.action.strictness for action in told.possible):
            return Turn.LOOSER
        return Turn.UNTOLD
    granted = then.because == (A_GRANT,)
    if verdict.action is Action.ASK and granted and told.exact and not verdict.terms.grants:
        return Turn.STRICTER
    if verdict.action is not then.action:
        return Turn.LOOSER if verdict.action.strictness < then.action.strictness else Turn.STRICTER
    asks = verdict.action is Action.ASK and then.terms is not None and told.exact
    if asks and then.terms is not None and replace(verdict.terms, grants=then.terms.grants) != then.terms:
        return Turn.OTHER_TERMS
    return Turn.SAME
