"""The unknowns of one cell: what its rules ask, about whom and what, and which calls a world stands for.

A condition is taken apart at `&&`, `||`, `!` and `? :`. Each part that asks about one argument, one fact of the tool or
one fact of the caller, in a form that `wants.py` knows, is asked for each of a few values by the very evaluator that
will judge calls. Any other part is an unknown of its own that can come out true, false or as an error, the same
wherever it is written the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from holdshort.errors import HoldshortError
from holdshort.policy.cel.condition import CelCondition
from holdshort.policy.cel.syntax import Node
from holdshort.policy.cel.text import text_of
from holdshort.policy.loosening.cells import Cell
from holdshort.policy.loosening.names import Glob, GlobSet, TooMany, combinations, equals, glob, which
from holdshort.policy.loosening.pairing import Spoken
from holdshort.policy.loosening.parts import FLAGS, leaves, shape, subject_of, texts_of_places, tree_of
from holdshort.policy.loosening.values import MISSING, values_for
from holdshort.policy.loosening.wants import Want, recognize
from holdshort.policy.loosening.worlds import (
    AgentTest,
    Both,
    Callers,
    CallerTest,
    Fixed,
    GroupTest,
    Outcome,
    Question,
    Test,
    World,
)
from holdshort.policy.model import Access, Call, Caller, Condition, Kind, ToolFacts

__all__ = ["NOON", "Facing"]

NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When example calls are made."""

_ANYTHING: Final = 0b111
_FLAG_UNKNOWNS: Final = frozenset(f"tool.{flag}" for flag in FLAGS)
_DECLARED: Final = _FLAG_UNKNOWNS - {"tool.pinned"}
_CAREFUL: Final = ToolFacts("", "")


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a condition that is asked as one; `about` is the unknown, or None for what nothing is known of."""

    node: Node
    text: str
    about: str | None


class Facing:
    """One cell as both policies face it."""

    def __init__(
        self,
        cell: Cell,
        *,
        callers: Sequence[Caller] = (),
        trusted: tuple[bool, bool] = (True, True),
        fixed: tuple[Caller, Caller] | None = None,
    ) -> None:
        """`trusted`: whether each policy believes what the server declares. `fixed`: the one caller, as each has it."""
        self.cell = cell
        self._callers = callers
        self._trusted = trusted
        self._fixed = fixed
        self._open: dict[str, Node] = {}
        self._askers: dict[str, CelCondition] = {}
        self._questions: dict[tuple[int, int], tuple[Question, Question]] = {}
        self._parts: dict[str, _Part] = {}
        rules = [said.rule for pair in cell.pairs for said in (*pair.old, *pair.new)]
        conditions = {rule.when.text: rule.when for rule in rules if rule.when is not None}
        self._wants: dict[str, Want] = {}
        self._trees: dict[str, Node | None] = {text: tree_of(when) for text, when in conditions.items()}
        literals: dict[Glob, None] = {}
        for tree in self._trees.values():
            if tree is not None:
                for node in leaves(tree):
                    self._sort(node, literals)
        agents = [tuple(glob(pattern.text) for pattern in rule.agents) for rule in rules if rule.agents]
        self._words(list(dict.fromkeys([*agents, *((one,) for one in literals)])))
        self._domains: dict[str, list[Any]] = {}
        self._tests: dict[str, Question] = {}
        self._settle_domains()

    def questions(self, said: Spoken, side: int) -> tuple[Question, Question]:
        """Return what a rule asks about the caller, and what its condition asks."""
        key = (id(said), side)
        found = self._questions.get(key)
        if found is None:
            found = self._questions[key] = self._who(said, side), self._when(said.rule.when, side)
        return found

    def _who(self, said: Spoken, side: int) -> Question:
        who = self._agents(said, side)
        if self.cell.spellings is None or not said.spelled:
            return who
        return Both(self.cell.spellings.question(said.spelled, said.rule.action), who)

    def _agents(self, said: Spoken, side: int) -> Question:
        patterns = said.rule.agents
        if not patterns:
            return Fixed(True)
        if self._fixed is not None:
            caller = self._fixed[side]
            words = (caller.agent, *caller.groups)
            return Fixed(any(pattern.matches(word) for pattern in patterns for word in words))
        bits = sum(1 << at for at, word in enumerate(self.words) if any(p.matches(word) for p in patterns))
        return CallerTest(bits)

    def _when(self, when: Condition | None, side: int) -> Question:
        if when is None:
            return Fixed(True)
        tree = self._trees[when.text]
        if tree is None:
            return self._anything(f"? {when.text}")
        return shape(tree, lambda node: self._ask(node, side))

    def _ask(self, node: Node, side: int) -> Question:
        text = text_of(node)
        part = self._parts[text]
        if part.about is None:
            self._open[f"? {text}"] = node
            return self._anything(f"? {text}")
        if part.about == "":
            return Fixed(self._outcome(node, self._example({})))
        if part.about in _DECLARED and not self._trusted[side]:
            return Fixed(self._outcome(node, self._example({}, _CAREFUL)))
        return self._tests[text]

    def _anything(self, unknown: str) -> Question:
        self._domains.setdefault(unknown, [True, False, None])
        return Test(unknown, 1, 2, 4)

    @property
    def start(self) -> World:
        """The world with every call of this cell in it."""
        every = (1 << len(self.words)) - 1
        for pair in self.cell.pairs:
            for side, spoken in enumerate((pair.old, pair.new)):
                for said in spoken:
                    self.questions(said, side)
        values = {unknown: (1 << len(domain)) - 1 for unknown, domain in self._domains.items()}
        if self.cell.spellings is not None:
            values |= self.cell.spellings.start
        return World(values, Callers(every, every))

    def _sort(self, node: Node, literals: dict[Glob, None]) -> None:
        """Note what a part of a condition asks about."""
        text = text_of(node)
        if text in self._parts:
            return
        about = subject_of(node)
        if self.cell.spellings is not None and "uri" in text:
            about = None
        alone = Want()
        recognized = about is not None and recognize(node, alone) is not None
        match about:
            case None:
                pass
            case "":
                about = about if recognized and set(texts_of_places(alone)) else None
            case "caller.agent" | "caller.groups" if self._fixed is not None or not recognized:
                about = None
            case "caller.agent":
                literals.update(dict.fromkeys(alone.at(("caller", "agent")).texts))
            case "caller.groups":
                names = [item for item in alone.at(("caller", "groups")).items.values() if isinstance(item, str)]
                literals.update(dict.fromkeys(map(equals, names)))
                about = about if names else None
            case _ if about in _FLAG_UNKNOWNS:
                pass
            case _ if not recognized:
                about = None
            case _:
                # Two forms that are known may still not go together; `_settle_domains` finds out.
                recognize(node, self._wants.setdefault(about, Want()))
        self._parts[text] = _Part(node, text, about)

    def _words(self, sets: list[GlobSet]) -> None:
        known = ["local", *(word for caller in self._callers for word in (caller.agent, *sorted(caller.groups)))]
        found = [one for one in combinations(sets, known=known) if one.name]
        self.words = [one.name for one in found]
        at = {one.sets: number for number, one in enumerate(found)}
        self._known = {word: at[bits] for word, bits in zip(known, which(sets, known), strict=True) if bits in at}

    def _settle_domains(self) -> None:
        by_unknown: dict[str, list[_Part]] = {}
        for part in self._parts.values():
            if part.about:
                by_unknown.setdefault(part.about, []).append(part)
        for unknown, parts in by_unknown.items():
            if unknown == "caller.agent" or unknown == "caller.groups":
                for part in parts:
                    self._tests[part.text] = self._of_caller(part)
                continue
            try:
                domain = self._domain(unknown)
            except TooMany:
                for part in parts:
                    self._parts[part.text] = _Part(part.node, part.text, None)
                continue
            self._tell_apart(unknown, domain, parts)
        if any(part.about == "tool.pinned" for part in self._parts.values()):
            self._domains.setdefault("tool.pinned", [True, False])

    def _domain(self, unknown: str) -> list[Any]:
        root, _, name = unknown.partition(".")
        if root == "args":
            return values_for(self._wants[unknown].at(("args", name)))
        if name in FLAGS:
            return [getattr(_CAREFUL, name), not getattr(_CAREFUL, name)]
        want = self._wants[unknown].at((root, name))
        return [None, *(value for value in values_for(want) if isinstance(value, str))]

    def _tell_apart(self, unknown: str, domain: list[Any], parts: list[_Part]) -> None:
        """Keep one value for each combination of answers, and turn each part into a test over those."""
        kept: dict[tuple[Outcome, ...], Any] = {}
        for value in domain:
            example = self._example({unknown: value})
            kept.setdefault(tuple(self._outcome(part.node, example) for part in parts), value)
        self._domains[unknown] = list(kept.values())
        for column, part in enumerate(parts):
            bits = {True: 0, False: 0, None: 0}
            for at, outcomes in enumerate(kept):
                bits[outcomes[column]] |= 1 << at
            self._tests[part.text] = Test(unknown, bits[True], bits[False], bits[None])

    def _of_caller(self, part: _Part) -> Question:
        bits = 0
        for at, word in enumerate(self.words):
            caller = Caller(word) if part.about == "caller.agent" else Caller("", frozenset({word}))
            outcome = self._outcome(part.node, self._call({}, _CAREFUL, caller))
            if outcome is None:
                return self._anything(f"? {part.text}")
            bits |= outcome << at
        return AgentTest(bits) if part.about == "caller.agent" else GroupTest(bits)

    def _outcome(self, node: Node, call: Call | Access) -> Outcome:
        text = text_of(node)
        asker = self._askers.get(text)
        if asker is None:
            asker = self._askers[text] = CelCondition(text, self.cell.kind, node)
        try:
            return asker(call)
        except HoldshortError:
            return None

    def _example(self, values: Mapping[str, Any], facts: ToolFacts = _CAREFUL) -> Call | Access:
        return self._call(values, facts, Caller("local"))

    def _call(self, values: Mapping[str, Any], facts: ToolFacts, caller: Caller) -> Call | Access:
        arguments: dict[str, Any] = {}
        said: dict[str, Any] = {flag: getattr(facts, flag) for flag in (*FLAGS, "title")}
        of_caller: dict[str, Any] = {"client": None, "client_version": None}
        for unknown, value in values.items():
            root, _, name = unknown.partition(".")
            if root == "args" and value is not MISSING:
                arguments[name] = value
            elif root == "tool":
                said[name] = value
            elif root == "caller":
                of_caller[name] = value
        who = Caller(caller.agent, caller.groups, **of_caller)
        cell = self.cell
        if cell.kind is not Kind.TOOL:
            return Access(cell.kind, cell.server, cell.name, who, NOON, arguments)
        return Call(ToolFacts(cell.server, cell.name, **said), arguments, who, NOON)

    def calls(self, world: World) -> Iterator[tuple[Call | Access, Call | Access]]:
        """Yield examples of the calls in `world`, each as the old and as the new policy gets to see it."""
        values = {
            unknown: self._domains[unknown][_lowest(bits)]
            for unknown, bits in world.values.items()
            if not unknown.startswith("? ")
        }
        spellings = self.cell.spellings
        names = [self.cell.name] if spellings is None else spellings.examples(world)
        for caller in self._examples(world.callers):
            for name in names:
                yield self._seen(values, caller, 0, name), self._seen(values, caller, 1, name)

    def values_of(self, unknown: str, world: World) -> list[Any]:
        """Return what `unknown` can still be in `world`; nothing when no condition asks about it."""
        bits = world.values.get(unknown, 0)
        return [value for at, value in enumerate(self._domains.get(unknown, ())) if bits >> at & 1]

    def _seen(self, values: Mapping[str, Any], caller: Caller, side: int, name: str) -> Call | Access:
        seen = values if self._trusted[side] else _undeclared(values)
        found = self._call(seen, _CAREFUL, caller if self._fixed is None else self._fixed[side])
        return replace(found, name=name) if isinstance(found, Access) else found

    def open_parts(self, world: World) -> list[Node]:
        """Return the parts of conditions that are not understood, and have been asked in `world`."""
        return [
            node
            for unknown, bits in world.values.items()
            if bits != _ANYTHING and (node := self._open.get(unknown)) is not None
        ]

    def with_arguments(self, call: Call | Access, arguments: Mapping[str, Any]) -> Call | Access:
        """Return the call with other arguments."""
        return replace(call, arguments=arguments)

    def _examples(self, callers: Callers) -> Iterator[Caller]:
        if self._fixed is not None:
            yield self._fixed[0]
            return
        for known in self._callers:
            words = [self._known[word] for word in (known.agent, *known.groups) if word in self._known]
            alone = Callers(
                1 << words[0] & callers.agent,
                sum(1 << word for word in set(words[1:])),
                callers.needed,
                callers.needed_groups,
            )
            if not alone.groups & ~callers.groups and alone.agents():
                yield known
        agent = _lowest(callers.agents())
        groups = {_lowest(words & callers.groups) for words in callers.needed_groups}
        groups |= {_lowest(words & callers.groups) for words in callers.needed if not words >> agent & 1}
        yield Caller(self.words[agent], frozenset(self.words[group] for group in groups))


def _undeclared(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without what a server declares about its tools."""
    return {name: value for name, value in values.items() if name not in _DECLARED}


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
