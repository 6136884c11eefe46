"""Terms of an `ask` that do not do what they look like, in one rule or between two layers."""

from collections.abc import Iterable, Sequence

from holdshort.policy.decide import combine_terms
from holdshort.policy.lint.findings import Approver, Finding, at
from holdshort.policy.lint.space import Cell
from holdshort.policy.model import DEFAULT_EXPIRY, Action, Layer, Rule

__all__ = ["find_deciders", "find_terms"]


def find_terms(layer: Layer, rule: Rule) -> Iterable[Finding]:
    """Yield what is odd about the terms of one rule."""
    if rule.decisions == frozenset({"reject"}):
        words = "an approver could only reject; write `action: deny`, or add `approve` to `decisions`"
        yield Finding("only-reject", words, layer.name, rule.id, rule.place)
    if rule.grants is None:
        return
    approvals = rule.required_approvals or 1
    if approvals > 1 and rule.grants:
        words = (
            f"`grants: true`: a standing grant may answer although {approvals} approvals are wanted; it needs as many "
            "makers, but they look once for many calls"
        )
        yield Finding("grants-quorum", words, layer.name, rule.id, rule.place)
    elif rule.grants is (approvals == 1):
        why = "one approval is enough" if approvals == 1 else f"{approvals} approvals are wanted"
        words = f"`grants: {str(rule.grants).lower()}` is what holds anyway where {why}"
        yield Finding("grants-usual", words, layer.name, rule.id, rule.place)


def find_deciders(layers: Sequence[Layer], found: Sequence[Cell], approvers: Sequence[Approver]) -> Iterable[Finding]:
    """Yield `nobody-can-decide` for each two rules of different layers that too few people may decide together."""
    told: set[tuple[int, int]] = set()
    for cell in found:
        asking = [
            (layer, rule)
            for index, layer in enumerate(layers)
            for rule in _heard(cell.sure(index))
            if rule.action is Action.ASK
        ]
        for number, (layer, rule) in enumerate(asking):
            for earlier, other in asking[:number]:
                if earlier is layer or (id(other), id(rule)) in told:
                    continue
                told.add((id(other), id(rule)))
                yield from _deciders(layer, rule, earlier, other, approvers, cell)


def _heard(rules: Sequence[Rule]) -> Iterable[Rule]:
    for rule in rules:
        yield rule
        if rule.when is None:
            return


def _deciders(
    layer: Layer, rule: Rule, earlier: Layer, other: Rule, approvers: Sequence[Approver], cell: Cell
) -> Iterable[Finding]:
    terms = combine_terms([other, rule], DEFAULT_EXPIRY)
    able = [each.name for each in approvers if terms.eligible(each.name, each.groups)]
    alone = [combine_terms([each], DEFAULT_EXPIRY) for each in (other, rule)]
    if len(able) >= terms.required_approvals:
        return
    for each in alone:
        # Too few for one of them alone: the configuration itself is refused for that.
        if sum(each.eligible(one.name, one.groups) for one in approvers) < each.required_approvals:
            return
    who = "nobody may" if not able else f"only {', '.join(f'`{name}`' for name in able)} may"
    words = (
        f"where `{earlier.name}: {other.id}` asks too, for example about `{cell.example}`, "
        f"{terms.required_approvals} are needed and {who} decide under both"
    )
    yield Finding("nobody-can-decide", words, layer.name, rule.id, rule.place, (at(earlier.name, other),))
