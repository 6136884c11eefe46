"""Which rules differ between two policies: layers are paired, and in each pair only what was touched counts.

What a verdict does depends neither on the order of the layers nor on the names of layers and rules, so none of these
is a difference. The order of the rules inside a layer is one.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from holdshort.policy.globs import ToolPattern
from holdshort.policy.model import Kind, Layer, Rule

__all__ = ["Pair", "Spoken", "pair_layers", "same_effect"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One rule in its layer; `touched` when the other policy does not have it at its place.

    `spelled` has the globs over URIs of which one has to match first, where a resource is all that is known of it.
    """

    layer: str
    rule: Rule
    touched: bool = False
    spelled: tuple[ToolPattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer of the old policy with the one that took its place in the new one; either side may be empty."""

    old: tuple[Spoken, ...]
    new: tuple[Spoken, ...]

    @property
    def touched(self) -> bool:
        """True when the two sides differ."""
        return any(said.touched for said in (*self.old, *self.new))


def same_effect(rule: Rule) -> Hashable:
    """Return what tells rules with another effect from `rule` where both speak of the same tools."""
    return (
        rule.action,
        frozenset(pattern.text for pattern in rule.agents),
        None if rule.when is None else rule.when.text,
        rule.approvers,
        rule.required_approvals,
        rule.expires_after,
        rule.decisions,
        rule.execute,
        rule.grants,
    )


def pair_layers(old: Sequence[Layer], new: Sequence[Layer], kind: Kind) -> list[Pair]:
    """Pair the rules about `kind`: equal layers first, then layers of one name, then the rest."""
    olds = [(layer.name, _rules(layer, kind)) for layer in old]
    news = [(layer.name, _rules(layer, kind)) for layer in new]
    pairs: list[Pair] = []
    for by_name in (False, True):
        for before in list(olds):
            for after in news:
                if before[0] == after[0] if by_name else list(map(_key, before[1])) == list(map(_key, after[1])):
                    pairs.append(_pair(before, after))
                    olds.remove(before)
                    news.remove(after)
                    break
    # Which of the rest is paired with which changes how much there is to compare, and nothing else.
    while olds and news:
        pairs.append(_pair(olds.pop(0), news.pop(0)))
    pairs.extend(_pair(before, (before[0], [])) for before in olds)
    pairs.extend(_pair((after[0], []), after) for after in news)
    return [pair for pair in pairs if pair.old or pair.new]


def _rules(layer: Layer, kind: Kind) -> list[Rule]:
    return [rule for rule in layer.rules if rule.kind is kind]


def _key(rule: Rule) -> Hashable:
    return (
        same_effect(rule),
        *(frozenset((p.server, p.tool, p.literal) for p in some) for some in (rule.tools, rule.except_tools)),
        frozenset((p.server, p.tool, p.literal) for p in rule.targets),
    )


def _pair(old: tuple[str, list[Rule]], new: tuple[str, list[Rule]]) -> Pair:
    matcher = SequenceMatcher(None, list(map(_key, old[1])), list(map(_key, new[1])), autojunk=False)
    kept_old: set[int] = set()
    kept_new: set[int] = set()
    for block in matcher.get_matching_blocks():
        kept_old.update(range(block.a, block.a + block.size))
        kept_new.update(range(block.b, block.b + block.size))
    return Pair(
        tuple(Spoken(old[0], rule, index not in kept_old) for index, rule in enumerate(old[1])),
        tuple(Spoken(new[0], rule, index not in kept_new) for index, rule in enumerate(new[1])),
    )
