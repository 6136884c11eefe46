"""What the order of rules and layers does: rules that others always speak before, or always overrule."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from holdshort.policy.lint.findings import Finding, at
from holdshort.policy.lint.implying import opposite, takes_over
from holdshort.policy.lint.space import Cell
from holdshort.policy.model import Action, Layer, Rule

__all__ = ["find_order", "unused_defaults"]

_OTHERS_SHOWN = 3


def find_order(layers: Sequence[Layer], found: Sequence[Cell]) -> Iterable[Finding]:
    """Yield `shadowed`, `overruled`, `overlap` and `default-unused`. `found` are all cells of one kind."""
    for index, layer in enumerate(layers):
        matched = _matched(layer, found, index)
        lost: set[int] = set()
        for rule in layer.rules:
            mine = matched[id(rule)]
            if not mine:
                continue
            shadows = [_before(cell.sure(index), rule) for cell in mine]
            if all(shadows):
                lost.add(id(rule))
                yield _shadowed(layer, rule, [one for some in shadows for one in some])
                continue
            open_cells = [cell for cell, shadow in zip(mine, shadows, strict=True) if not shadow]
            stricter = [_overruling(layers, cell, index, rule) for cell in open_cells]
            if all(stricter):
                lost.add(id(rule))
                yield _overruled(layer, rule, [one for some in stricter for one in some])
        yield from _overlaps(layer, matched, lost)


def unused_defaults(layers: Sequence[Layer], found: Sequence[Cell]) -> Iterable[Finding]:
    """Yield `default-unused` for each file whose default no call can reach; `found` are all cells of tools."""
    said = [(layer.name, layer.default) for layer in layers if layer.default is not None]
    if not said:
        return
    strictest = max((default for _, default in said), key=lambda action: action.strictness)
    covered = bool(found) and all(
        any(_surely_speaks(cell.sure(index)) for index in range(len(layers))) for cell in found
    )
    for name, default in said:
        if covered:
            yield Finding("default-unused", f"`default: {default}` never counts: some rule speaks of every call", name)
        elif default is not strictest:
            other = next(each for each, action in said if action is strictest)
            words = f"`default: {default}` never counts: the strictest default wins, and `{other}` says {strictest}"
            yield Finding("default-unused", words, name)


def _matched(layer: Layer, found: Sequence[Cell], index: int) -> dict[int, list[Cell]]:
    """Return the cells of each rule, by the rule's identity."""
    matched: dict[int, list[Cell]] = {id(rule): [] for rule in layer.rules}
    for cell in found:
        for rule in cell.sure(index):
            matched[id(rule)].append(cell)
    return matched


def _surely_speaks(rules: Sequence[Rule]) -> bool:
    return any(rule.when is None for rule in rules) or any(
        opposite(one, other) for one, other in combinations(rules, 2)
    )


def _before(rules: Sequence[Rule], rule: Rule) -> list[Rule]:
    """Return the earlier rules that surely speak wherever `rule` would; empty when it can still be the first."""
    earlier = rules[: next(place for place, one in enumerate(rules) if one is rule)]
    for one in earlier:
        if takes_over(one, rule):
            return [one]
    return next(([one, other] for one, other in combinations(earlier, 2) if opposite(one, other)), [])


def _overruling(layers: Sequence[Layer], cell: Cell, index: int, rule: Rule) -> list[tuple[Layer, Rule]]:
    """Return the rules of another layer that are stricter than `rule` and whatever its layer could say instead."""
    mine = cell.rules[index]
    rest = mine[next(place for place, (one, _) in enumerate(mine) if one is rule) + 1 :]
    highest = max(action.strictness for action in (rule.action, *_possible(rest)[0]))
    for other, layer in enumerate(layers):
        if other == index:
            continue
        actions, may_abstain = _possible(cell.rules[other])
        if not may_abstain and actions and min(action.strictness for action in actions) > highest:
            return [(layer, one) for one, sure in cell.rules[other] if sure and one.when is None][:1]
    return []


def _possible(rules: Sequence[tuple[Rule, bool]]) -> tuple[list[Action], bool]:
    """Return all that a layer may say, and whether it may abstain."""
    actions: list[Action] = []
    for rule, sure in rules:
        actions.append(rule.action)
        if sure and rule.when is None:
            return actions, False
    return actions, True


def _shadowed(layer: Layer, rule: Rule, by: Sequence[Rule]) -> Finding:
    taken = {id(one) for one in by}
    others = [one for one in layer.rules if id(one) in taken]
    named = " and ".join(f"`{one.id}`" for one in others[:_OTHERS_SHOWN])
    more = f" and {len(others) - _OTHERS_SHOWN} more" if len(others) > _OTHERS_SHOWN else ""
    speaks = "speaks" if len(others) == 1 else "speak"
    words = f"it never speaks: {named}{more} {speaks} first wherever it matches"
    if len(others) == 1 and others[0].action is rule.action:
        words += f", and {'says the same' if _same_terms(others[0], rule) else f'says {rule.action} too'}"
    return Finding(
        "shadowed", words, layer.name, rule.id, rule.place, tuple(at(layer.name, one) for one in others[:_OTHERS_SHOWN])
    )


def _overruled(layer: Layer, rule: Rule, by: Sequence[tuple[Layer, Rule]]) -> Finding:
    others = list({id(one): (each, one) for each, one in by}.values())
    named = " and ".join(f"`{each.name}: {one.id}` ({one.action})" for each, one in others[:_OTHERS_SHOWN])
    words = f"what it says never counts: {named} is stricter wherever it speaks"
    places = tuple(at(each.name, one) for each, one in others[:_OTHERS_SHOWN])
    return Finding("overruled", words, layer.name, rule.id, rule.place, places)


def _overlaps(layer: Layer, matched: dict[int, list[Cell]], lost: set[int]) -> Iterable[Finding]:
    """Yield one `overlap` for each rule that earlier ones cross, with the first few of these."""
    rules = [rule for rule in layer.rules if matched[id(rule)] and id(rule) not in lost]
    cells_of = {id(rule): {id(cell) for cell in matched[id(rule)]} for rule in rules}
    for number, later in enumerate(rules):
        theirs = cells_of[id(later)]
        crossing: list[tuple[Rule, Cell]] = []
        for earlier in rules[:number]:
            if earlier.action is later.action or earlier.kind is not later.kind:
                continue
            mine = cells_of[id(earlier)]
            # One inside the other is how exceptions are written: the narrower first.
            if mine & theirs and mine - theirs and theirs - mine:
                example = next(cell for cell in matched[id(earlier)] if id(cell) in theirs)
                crossing.append((earlier, example))
        if crossing:
            first, example = crossing[0]
            more = f" (and so do {len(crossing) - 1} more)" if len(crossing) > 1 else ""
            words = (
                f"it and `{first.id}` ({first.action}) both match, for example, `{example.example}`; "
                f"there `{first.id}` speaks first{more}, and the order of the two decides"
            )
            others = tuple(at(layer.name, earlier) for earlier, _ in crossing[:_OTHERS_SHOWN])
            yield Finding("overlap", words, layer.name, later.id, later.place, others)


def _same_terms(one: Rule, other: Rule) -> bool:
    terms = ("approvers", "required_approvals", "expires_after", "decisions", "execute", "grants")
    return all(getattr(one, term) == getattr(other, term) for term in terms)
