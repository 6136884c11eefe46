"""What is wrong with a policy though every file of it is sound: pure, and certain of what it calls a problem."""

from collections.abc import Callable, Iterable

from holdshort.policy.decide import Policy
from holdshort.policy.lint.constant import always
from holdshort.policy.lint.findings import CODES, Approver, Finding, RuleAt, Severity, Surroundings, within
from holdshort.policy.lint.implying import tree_of
from holdshort.policy.lint.matching import find_dead
from holdshort.policy.lint.order import find_order, unused_defaults
from holdshort.policy.lint.resources import find_resource_order, find_spellings
from holdshort.policy.lint.shapes import find_ill_typed
from holdshort.policy.lint.space import Cell, TooManyCells, cells
from holdshort.policy.lint.terms import find_deciders, find_terms
from holdshort.policy.lookalikes import flags_among
from holdshort.policy.loosening.names import TooMany
from holdshort.policy.model import Kind, Layer, Rule

__all__ = ["CODES", "Approver", "Finding", "RuleAt", "Severity", "Surroundings", "ill_typed", "lint"]


def lint(policy: Policy, around: Surroundings = Surroundings()) -> tuple[Finding, ...]:  # noqa: B008 (frozen)
    """Return everything that is found, by layer and rule in the order of the files.

    The more is known of what is `around`, the more is found. What is called a problem holds for every call that can
    come with these servers and agents; tools may come and go.
    """
    layers = policy.layers
    found: list[Finding] = []
    for layer in layers:
        for rule in layer.rules:
            found += find_dead(layer, rule, around)
            found += find_terms(layer, rule)
            found += find_spellings(layer, rule)
            found += _find_constant(layer, rule)
            found += find_ill_typed(layer, rule, around)
    for kind in Kind:
        if kind is Kind.RESOURCE:
            found += find_resource_order(layers)
            continue
        space = _space(layers, kind, around, found)
        if space is None:
            continue
        found += find_order(layers, space)
        if kind is Kind.TOOL:
            found += unused_defaults(layers, space)
            if around.approvers is not None:
                found += find_deciders(layers, space, around.approvers)
    return (*sorted(_without_dead(found), key=_position(layers)), *_flagged(around))


def ill_typed(policy: Policy, around: Surroundings) -> tuple[Finding, ...]:
    """Return only what does not fit the input schemas of the tools around."""
    return tuple(one for layer in policy.layers for rule in layer.rules for one in find_ill_typed(layer, rule, around))


def _space(layers: tuple[Layer, ...], kind: Kind, around: Surroundings, found: list[Finding]) -> list[Cell] | None:
    if kind is not Kind.TOOL and not any(rule.kind is kind for layer in layers for rule in layer.rules):
        return None
    try:
        return cells(layers, kind, around)
    except (TooMany, TooManyCells):
        words = f"there are too many globs over {kind.value.replace('_', ' ')}s to compare rules with each other"
        found.append(Finding("not-compared", words, layers[0].name if layers else ""))
        return None


def _find_constant(layer: Layer, rule: Rule) -> Iterable[Finding]:
    tree = tree_of(rule.when)
    what = always(tree) if tree is not None else None
    if what is not None:
        code = "always-true" if what.value else "always-false"
        place, where = within(rule, what.offset)
        yield Finding(code, f"{what.words}{where}", layer.name, rule.id, place)


def _flagged(around: Surroundings) -> Iterable[Finding]:
    named = ((server, tool, words) for (server, tool), words in sorted(around.definitions.items()))
    for (server, tool), flags in flags_among(named).items():
        for flag in flags:
            yield Finding("flagged", f"`{server}__{tool}`: {flag.where or 'definition'}: {flag.words}", "")


def _without_dead(found: list[Finding]) -> list[Finding]:
    """A rule that matches nothing is told once."""
    dead = {(one.layer, one.rule) for one in found if one.code == "dead"}
    return [one for one in found if one.code == "dead" or (one.layer, one.rule) not in dead]


def _position(layers: tuple[Layer, ...]) -> Callable[[Finding], tuple[int, int, str]]:
    order = {layer.name: number for number, layer in enumerate(layers)}
    rules = {(layer.name, rule.id): number for layer in layers for number, rule in enumerate(layer.rules)}

    def position(one: Finding) -> tuple[int, int, str]:
        return order.get(one.layer, -1), rules.get((one.layer, one.rule or ""), -1), one.code

    return position
