"""In which ways one policy is more permissive than another: all of them, or an honest word that it cannot be shown.

The call space is cut into cells (`cells.py`), each cell into worlds (`search.py`); in a world both verdicts are known.
A difference counts as shown when both real policies, asked about an example of that world, differ so. A difference in a
world whose example does not show it, because a condition asks what is not understood here, is `unproven`: it counts as
a loosening, for a check that guesses in favour of the change is none. What evaluating a condition may cost is not
compared: arguments so big that one of two conditions gives up are the same to both here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from holdshort.policy.access import NO_RULE
from holdshort.policy.decide import Policy, combine_terms, most_strict
from holdshort.policy.loosening.cells import Cell, cells
from holdshort.policy.loosening.facing import Facing
from holdshort.policy.loosening.findings import Findings, Loosening, Reason, Witness
from holdshort.policy.loosening.guesses import guesses
from holdshort.policy.loosening.listed import as_listed
from holdshort.policy.loosening.names import Glob, TooMany
from holdshort.policy.loosening.pairing import Spoken, pair_layers
from holdshort.policy.loosening.parts import place_globs, tree_of
from holdshort.policy.loosening.search import Budget, Leaf, search
from holdshort.policy.loosening.stricter import Looser, duration, looser
from holdshort.policy.loosening.worlds import World
from holdshort.policy.model import (
    Access,
    Action,
    Call,
    Caller,
    Kind,
    PinMode,
    Rule,
    Terms,
    Verdict,
)

__all__ = ["Surroundings", "loosenings"]

_WORLDS_OF_CELL: Final = 50_000
_WORLDS: Final = 1_000_000
"""How many worlds are looked at: of one cell, and in all."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What verdicts depend on beside the policy, where it is known. Every pair is of the old and of the new.

    `untrusted`: servers whose annotations do not count. `gone`: servers that are no more. `callers`: agents that are
    in both, with the groups they are in.
    """

    untrusted: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    gone: frozenset[str] = frozenset()
    callers: Sequence[tuple[Caller, Caller]] = field(default=())

    def turned(self) -> "Surroundings":
        """Return the same seen from the other policy; a server that came is not one that went."""
        return Surroundings(
            (self.untrusted[1], self.untrusted[0]), frozenset(), tuple((now, was) for was, now in self.callers)
        )


def loosenings(
    old: Policy,
    new: Policy,
    *,
    tools: Collection[tuple[str, str]] = (),
    agents: Sequence[Caller] = (),
    surroundings: Surroundings | None = None,
) -> tuple[Loosening, ...]:
    """Return every way in which `new` is more permissive than `old`; none proves that it is at least as strict.

    `tools` that exist, as (server, name), and `agents` that are configured, make the examples real; the comparison is
    over all tools and callers that there could be.
    """
    return _Comparison(old, new, sorted(set(tools)), agents, surroundings or Surroundings()).run()


class _Comparison:
    def __init__(
        self,
        old: Policy,
        new: Policy,
        tools: Sequence[tuple[str, str]],
        agents: Sequence[Caller],
        surroundings: Surroundings,
    ) -> None:
        self.old, self.new = old, new
        self.tools = tools
        self.agents = agents
        self.surroundings = surroundings
        self.findings = Findings()
        self.left = _WORLDS
        self.globs: dict[str, tuple[Sequence[Glob], Sequence[Glob]]] = {}
        # The fallback is a finding of its own; counted once more for each rule without a time, it would hide others.
        self.expiry = min(old.expires_after, new.expires_after)

    def run(self) -> tuple[Loosening, ...]:
        self._settings()
        for kind in Kind:
            self._kind(kind)
        return self.findings.all()

    def _settings(self) -> None:
        old, new = self.old, self.new
        if new.pins.strictness < old.pins.strictness:
            self.findings.add("pins", f"pins: {old.pins}", f"pins: {new.pins}")
        if new.expires_after > old.expires_after:
            was, now = duration(old.expires_after), duration(new.expires_after)
            self.findings.add("expires_after", f"expires by default after {was}", f"after {now}")

    def _kind(self, kind: Kind) -> None:
        pairs = pair_layers(self.old.layers, self.new.layers, kind)
        lower = kind is Kind.TOOL and self.new.default[0].strictness < self.old.default[0].strictness
        before, after = self.surroundings.untrusted
        believed = before - after if kind is Kind.TOOL else frozenset[str]()

        def everywhere(server: str) -> bool:
            return lower or server in believed

        labels = [(server, "x") for server in sorted(believed)]
        found = cells(pairs, kind, [*self.tools, *labels], self._name_globs, everywhere=everywhere)
        for cell in found:
            if isinstance(cell, TooMany):
                self._too_many(f"names on `{cell}`")
            elif cell.server not in self.surroundings.gone:
                self._cell(cell, alike=cell.server not in believed, lower=lower)
        for was, now in self.surroundings.callers:
            if kind is not Kind.SERVER_REQUEST and was.groups != now.groups:
                for cell in cells(pairs, kind, self.tools, self._name_globs, everywhere=lambda _: True):
                    if isinstance(cell, TooMany):
                        self._too_many(f"names on `{cell}`")
                    elif cell.server not in self.surroundings.gone:
                        self._cell(cell, alike=False, lower=lower, fixed=(was, now))

    def _name_globs(self, rule: Rule) -> tuple[Sequence[Glob], Sequence[Glob]]:
        if rule.when is None:
            return (), ()
        found = self.globs.get(rule.when.text)
        if found is None:
            found = self.globs[rule.when.text] = place_globs(tree_of(rule.when))
        return found

    def _cell(self, cell: Cell, *, alike: bool, lower: bool, fixed: tuple[Caller, Caller] | None = None) -> None:
        trusted = (
            cell.server not in self.surroundings.untrusted[0],
            cell.server not in self.surroundings.untrusted[1],
        )
        try:
            facing = Facing(cell, callers=self.agents, trusted=trusted, fixed=fixed)
            budget = Budget(min(_WORLDS_OF_CELL, self.left))
            given = budget.left
            try:
                for leaf in search(
                    cell.pairs, facing.questions, facing.start, budget, alike=alike, default_counts=lower
                ):
                    self._leaf(facing, leaf)
                if any(said.rule.when is not None for pair in cell.pairs for said in (*pair.old, *pair.new)):
                    self._listed(facing, budget, alike=alike)
            finally:
                self.left -= given - max(budget.left, 0)
        except TooMany:
            self._too_many(f"conditions and agents for `{cell.server}__{cell.name}`")

    def _too_many(self, what: str) -> None:
        now = f"too many combinations of {what} to compare, so it cannot be shown that nothing is more permissive"
        self.findings.add("unproven", "", now)

    def _leaf(self, facing: Facing, leaf: Leaf) -> None:
        kind = facing.cell.kind
        was, now = self._verdict(leaf.old, self.old, kind), self._verdict(leaf.new, self.new, kind)
        reasons = self._reasons(leaf.old, was, self.old, kind), self._reasons(leaf.new, now, self.new, kind)
        for pinned in facing.values_of("tool.pinned", leaf.world) or [True]:
            differences = looser(was, now)
            if not pinned:
                # Looser pins are a finding of their own.
                pins = max(self.old.pins, self.new.pins, key=lambda mode: mode.strictness)
                differences = looser(_unpinned(was, self.old.pins), _unpinned(now, pins))
                if was.action is Action.ALLOW:
                    # The pin asks here, and on no terms that a rule could have promised.
                    differences = tuple(one for one in differences if one.aspect == "action")
            for difference in differences:
                if not self.findings.knows(difference, *reasons):
                    witness = self._witness(facing, leaf.world, difference)
                    self.findings.show(difference, *reasons, witness)

    def _witness(self, facing: Facing, world: World, difference: Looser) -> Witness | None:
        for before, after in (*facing.calls(world), *guesses(facing, world)):
            was, now = _judged(self.old, before), _judged(self.new, after)
            if any(one.aspect == difference.aspect for one in looser(was, now)):
                return Witness(after, was, now)
        return None

    def _verdict(self, opinions: Sequence[Spoken], policy: Policy, kind: Kind) -> Verdict:
        """Return the verdict as `decide.py` makes it of the opinions of the layers, its `because` left out."""
        rules = [said.rule for said in opinions]
        if kind is not Kind.TOOL:
            action = most_strict(rule.action for rule in rules) if rules else Action.ALLOW
            return Verdict(Action.DENY if action is Action.ASK else action, ())
        if not rules:
            return Verdict(policy.default[0], (), (), Terms(expires_after=self.expiry))
        action = most_strict(rule.action for rule in rules)
        asking = [rule for rule in rules if rule.action is Action.ASK] if action is Action.ASK else []
        return Verdict(action, (), (), combine_terms(asking, self.expiry))

    def _reasons(self, opinions: Sequence[Spoken], verdict: Verdict, policy: Policy, kind: Kind) -> tuple[Reason, ...]:
        if not opinions:
            because = policy.default[1] if kind is Kind.TOOL else NO_RULE
            return (Reason(because.layer, because.rule),)
        return tuple(
            Reason(said.layer, said.rule.id, said.rule.place) for said in opinions if said.rule.action is verdict.action
        )

    def _listed(self, facing: Facing, budget: Budget, *, alike: bool) -> None:
        """Find what was left out of lists for certain and is not any more, though no call of it goes further."""
        pairs = [as_listed(pair) for pair in facing.cell.pairs]
        for leaf in search(pairs, facing.questions, facing.start, budget, alike=alike):
            hiding = tuple(said for said in leaf.old if said.rule.action is Action.HIDE)
            if not hiding or any(said.rule.action is Action.HIDE for said in leaf.new):
                continue
            reasons = tuple(Reason(said.layer, said.rule.id, said.rule.place) for said in hiding)
            difference = Looser("listed", "left out of lists", "listed")
            if self.findings.knows(difference, reasons, ()):
                continue
            for before, after in facing.calls(leaf.world):
                if _hidden(self.old, before) and not _hidden(self.new, after):
                    was, now = _judged(self.old, before), _judged(self.new, after)
                    if now.action is Action.HIDE:  # otherwise its call is a finding already
                        self.findings.show(difference, reasons, (), Witness(after, was, now))
                    break
            else:
                self.findings.show(difference, reasons, (), None)


def _judged(policy: Policy, call: Call | Access) -> Verdict:
    return policy.access(call) if isinstance(call, Access) else policy.decide(call)


def _hidden(policy: Policy, call: Call | Access) -> bool:
    return policy.hides_access(call) if isinstance(call, Access) else policy.hides(call.tool, call.caller)


def _unpinned(verdict: Verdict, pins: PinMode) -> Verdict:
    """Return what becomes of `verdict` where the tool is not as it is pinned (precedence 6)."""
    if pins is PinMode.OFF or verdict.action is Action.HIDE:
        return verdict
    if pins is PinMode.STRICT:
        return replace(verdict, action=Action.HIDE)
    if verdict.action is Action.DENY:
        return verdict
    return replace(verdict, action=Action.ASK, terms=replace(verdict.terms, grants=False))
