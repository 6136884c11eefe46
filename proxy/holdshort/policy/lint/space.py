"""Everything that can be asked of the rules of one kind, cut into cells: within one, no glob tells a difference.

A cell is a set of questions that the same rules match but for their conditions, with one example. There are as many as
the globs allow (`loosening/names.py` finds them all), so what holds in every cell holds for every question.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from holdshort.policy.globs import ToolPattern
from holdshort.policy.lint.findings import Surroundings
from holdshort.policy.loosening.names import Glob, combinations, glob
from holdshort.policy.model import Kind, Layer, Rule
from holdshort.policy.targets import REQUEST_METHODS

__all__ = ["Cell", "TooManyCells", "cells", "name_matches"]

_MOST_CELLS: Final = 50_000


class TooManyCells(Exception):
    """Raised when there are more cells than can be looked at."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, by an example. `rules` has, for each layer of the policy, the rules that match, in order.

    With each rule stands whether it is sure to match. It is not where the agents are not known and the rule names some
    other than the example: whoever calls may be in more groups than the example is.
    """

    server: str
    name: str
    agent: str
    rules: tuple[tuple[tuple[Rule, bool], ...], ...]

    def sure(self, layer: int) -> list[Rule]:
        """Return the rules of a layer that match whoever is like the example."""
        return [rule for rule, sure in self.rules[layer] if sure]

    @property
    def example(self) -> str:
        """The example as a glob would be written."""
        return f"{self.server}__{self.name}"


def cells(layers: Sequence[Layer], kind: Kind, around: Surroundings) -> list[Cell]:
    """Return the cells of the rules of one `kind`. Resources are not among them: their globs match many spellings.

    Raises:
        TooMany: there are too many globs.
        TooManyCells: there are too many cells.
    """
    by_layer = [[rule for rule in layer.rules if rule.kind is kind] for layer in layers]
    rules = [rule for each in by_layer for rule in each]
    callers = _callers(rules, around)
    called = [{id(rule) for rule in rules if _agent_matches(rule, words)} for _, words in callers]
    found: dict[tuple[tuple[tuple[int, bool], ...], ...], Cell] = {}
    for server in _servers(rules, around):
        for name, matching in _names(rules, server, kind, around):
            by_name = [[rule for rule in each if id(rule) in matching] for each in by_layer]
            for (agent, _), mine in zip(callers, called, strict=True):
                cell = tuple(
                    tuple((rule, id(rule) in mine) for rule in each if around.agents is None or id(rule) in mine)
                    for each in by_name
                )
                key = tuple(tuple((id(rule), sure) for rule, sure in each) for each in cell)
                found.setdefault(key, Cell(server, name, agent, cell))
                if len(found) > _MOST_CELLS:
                    raise TooManyCells
    return list(found.values())


def name_matches(rule: Rule, server: str, name: str) -> bool:
    """Say whether the globs of `rule` match; agents and condition are not looked at."""
    patterns = _patterns(rule)
    if patterns and not any(p.matches_server(server) and p.matches_tool(name) for p in patterns):
        return False
    return not any(p.matches_server(server) and p.matches_tool(name) for p in rule.except_tools)


def _agent_matches(rule: Rule, words: frozenset[str]) -> bool:
    return not rule.agents or any(pattern.matches(word) for pattern in rule.agents for word in words)


def _patterns(rule: Rule) -> tuple[ToolPattern, ...]:
    return rule.tools if rule.kind is Kind.TOOL else rule.targets


def _servers(rules: Sequence[Rule], around: Surroundings) -> list[str]:
    if around.servers is not None:
        return sorted(around.servers)
    patterns = [pattern for rule in rules for pattern in (*_patterns(rule), *rule.except_tools)]
    sets = dict.fromkeys((glob(pattern.server, literal=pattern.literal),) for pattern in patterns)
    return [found.name for found in combinations(list(sets))]


def _names(
    rules: Sequence[Rule], server: str, kind: Kind, around: Surroundings
) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield a name for each way in which the globs over names of this server can match, with the rules that do."""
    if kind is Kind.SERVER_REQUEST:
        for method in REQUEST_METHODS:
            yield method, frozenset(id(rule) for rule in rules if name_matches(rule, server, method))
        return
    numbers: dict[tuple[Glob, ...], int] = {}
    here: list[tuple[Rule, int, int]] = []
    for rule in rules:
        everything = () if _patterns(rule) else (glob("*"),)
        named = _globs(_patterns(rule), server) or everything
        if named:
            # An empty set is never matched: nothing is taken out.
            out = _globs(rule.except_tools, server)
            of_bit, out_bit = (1 << numbers.setdefault(each, len(numbers)) for each in (named, out))
            here.append((rule, of_bit, out_bit))
    for found in combinations(list(numbers), known=sorted(around.tools.get(server, {}))):
        yield found.name, frozenset(id(rule) for rule, of, out in here if found.sets & of and not found.sets & out)


def _globs(patterns: Sequence[ToolPattern], server: str) -> tuple[Glob, ...]:
    return tuple(dict.fromkeys(glob(p.tool, literal=p.literal) for p in patterns if p.matches_server(server)))


def _callers(rules: Sequence[Rule], around: Surroundings) -> list[tuple[str, frozenset[str]]]:
    """Every caller, by the words that `agents` may match.

    Where the agents are not known, callers of one word are enough: a caller of more words is matched by all the rules
    that match one of its words, so what earlier rules take from the one, they take from the other.
    """
    if around.agents is not None:
        return [(name, frozenset({name, *groups})) for name, groups in around.agents.items()]
    sets = dict.fromkeys(tuple(glob(pattern.text) for pattern in rule.agents) for rule in rules)
    return [(found.name, frozenset({found.name})) for found in combinations(list(sets))]
