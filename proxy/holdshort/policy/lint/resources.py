"""Rules about resources: shadowed ones, and conditions that go by one spelling of a URI.

Their globs match many spellings, so only equal globs and `*` are compared. A rule that restricts looks at every reading
of a URI, one that allows wants two of them to match (`policy/uris.py`): what allows can therefore never take over from
what restricts.
"""

from collections.abc import Iterable, Sequence

from holdshort.policy.cel.syntax import path_of, walk
from holdshort.policy.globs import ToolPattern
from holdshort.policy.lint.findings import Finding, at, within
from holdshort.policy.lint.implying import takes_over, tree_of
from holdshort.policy.model import Action, Kind, Layer, Rule

__all__ = ["find_resource_order", "find_spellings"]


def find_resource_order(layers: Sequence[Layer]) -> Iterable[Finding]:
    """Yield `shadowed` for rules about resources."""
    for layer in layers:
        rules = [rule for rule in layer.rules if rule.kind is Kind.RESOURCE]
        for number, rule in enumerate(rules):
            first = next((earlier for earlier in rules[:number] if _covers(earlier, rule)), None)
            if first is not None:
                words = f"it never speaks: `{first.id}` speaks first wherever it matches"
                yield Finding("shadowed", words, layer.name, rule.id, rule.place, (at(layer.name, first),))


def find_spellings(layer: Layer, rule: Rule) -> Iterable[Finding]:
    """Yield `spellings` for a rule about resources whose condition reads the text of the URI."""
    tree = tree_of(rule.when) if rule.kind is Kind.RESOURCE else None
    node = next((each for each in walk(tree) if path_of(each) == ("resource", "uri")), None) if tree else None
    if node is None:
        return
    place, where = within(rule, min(each.offset for each in walk(node)))
    harm = "is not stopped" if rule.action is not Action.ALLOW else "may mean another resource and pass"
    words = (
        f"`resource.uri` is the URI as it is written, and the same one spelt otherwise {harm}; a glob in `resources` "
        f"sees every spelling{where}"
    )
    yield Finding("spellings", words, layer.name, rule.id, place)


def _covers(earlier: Rule, later: Rule) -> bool:
    if earlier.action is Action.ALLOW and later.action is not Action.ALLOW:
        return False
    if earlier.agents and {each.text for each in later.agents} - {each.text for each in earlier.agents}:
        return False
    if earlier.agents and not later.agents:
        return False
    if not takes_over(earlier, later):
        return False
    if not earlier.targets:
        return True
    return bool(later.targets) and all(any(_wider(wide, one) for wide in earlier.targets) for one in later.targets)


def _wider(wide: ToolPattern, narrow: ToolPattern) -> bool:
    servers = set(wide.server) == {"*"} or wide.server == narrow.server
    return servers and (set(wide.tool) == {"*"} or wide.tool == narrow.tool)
