"""What policy says beyond tools (precedence 7): about resources, prompts, and what servers ask of clients.

Nobody is asked here: something passes, is refused, or is not there. Without a matching rule in any layer it passes;
otherwise as for tools: inside a layer the first matching rule of that kind wins, across layers the strictest does, and
an error never helps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from holdshort.policy.conditions import speaks
from holdshort.policy.memory import remember
from holdshort.policy.model import Access, Action, Because, Kind, Layer, Rule, Verdict
from holdshort.policy.targets import fits, may_speak_of
from holdshort.policy.uris import may_meet

__all__ = ["NO_RULE", "AccessTable"]

NO_RULE: Final = Because("default", "pass")
"""The reason given for what no rule speaks about."""

_PASSES: Final = Verdict(Action.ALLOW, (NO_RULE,))
_LONGEST_KEPT: Final = 2048
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Candidates = tuple[tuple[Layer, tuple[Rule, ...]], ...]


class AccessTable:
    """The rules of a policy that are not about tools, and what is remembered of their answers."""

    __slots__ = ("_by_server", "_layers", "_rows")

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layer for layer in layers if any(rule.kind is not Kind.TOOL for rule in layer.rules))
        self._by_server: dict[tuple[Kind, str], _Candidates] = {}
        self._rows: dict[tuple[object, ...], tuple[_Candidates, Verdict | None]] = {}

    def decide(self, access: Access) -> Verdict:
        """Return the verdict on `access`: allow, deny or hide. Nothing is raised."""
        try:
            if access.kind is Kind.TOOL:
                raise ValueError  # a tool is called; what passes here by default would not be asked about
            if not self._server_rules(access.kind, access.server):
                return _PASSES
            candidates, verdict = self._row(access)
            return verdict or self._evaluate(candidates, access)
        except Exception as error:  # noqa: BLE001 - precedence 4: an error of ours must not let anything through
            return Verdict(Action.DENY, (Because("default", "error"),), (f"policy failed: {type(error).__name__}",))

    def hides(self, access: Access, *, template: bool) -> bool:
        """Say whether it is to be left out of lists: hidden for certain, whatever the arguments and the time.

        A `template` is hidden when its text is, unless some URI it can make may not be. Its text is taken as written:
        in another spelling, what it makes may be denied instead of hidden, and cannot be used either way.
        """
        try:
            layers = self._server_rules(access.kind, access.server)
            if layers and not template:
                layers, verdict = self._row(access)
                if verdict is not None:
                    return verdict.action is Action.HIDE
            listed = replace(access, arguments={}, now=_EPOCH)
            return any(_surely_hides(rules, listed, template=template) for _, rules in layers)
        except Exception:  # noqa: BLE001 - precedence 4
            return True

    def speaks_of(self, kind: Kind, server: str, *actions: Action) -> bool:
        """Say whether some rule is about this kind of thing of this server; with `actions`, one that says so."""
        layers = self._server_rules(kind, server)
        if not layers or not actions:
            return bool(layers)
        return any(rule.action in actions for _, rules in layers for rule in rules)

    def rules_for(self, access: Access) -> _Candidates:
        """Return, for each layer, the rules that match but for their conditions, up to the first without one."""
        return self._row(access)[0]

    def _server_rules(self, kind: Kind, server: str) -> _Candidates:
        """The rules that may speak of this; layers without any are left out."""
        found = self._by_server.get((kind, server))
        if found is None:
            each = ((layer, tuple(r for r in layer.rules if may_speak_of(r, kind, server))) for layer in self._layers)
            found = tuple((layer, rules) for layer, rules in each if rules)
            remember(self._by_server, (kind, server), found)
        return found

    def _row(self, access: Access) -> tuple[_Candidates, Verdict | None]:
        caller = access.caller
        key = (access.kind, access.server, access.name, caller.agent, caller.groups)
        row = self._rows.get(key)
        if row is None:
            row = self._make_row(access)
            if len(access.name) <= _LONGEST_KEPT:
                remember(self._rows, key, row)
        return row

    def _make_row(self, access: Access) -> tuple[_Candidates, Verdict | None]:
        found: list[tuple[Layer, tuple[Rule, ...]]] = []
        for layer, rules in self._server_rules(access.kind, access.server):
            reachable: list[Rule] = []
            for rule in rules:
                if fits(rule, access):
                    reachable.append(rule)
                    if rule.when is None:
                        break
            found.append((layer, tuple(reachable)))
        if any(rule.when is not None for _, rules in found for rule in rules):
            return tuple(found), None
        return tuple(found), _settle([(layer, rules[0]) for layer, rules in found if rules], ())

    def _evaluate(self, candidates: _Candidates, access: Access) -> Verdict:
        opinions: list[tuple[Layer, Rule]] = []
        errors: list[str] = []
        for layer, rules in candidates:
            for rule in rules:
                holds, problem = speaks(rule, access)
                if problem is not None:
                    errors.append(f"{layer.name}: rule `{rule.id}`: {problem}")
                if holds:
                    opinions.append((layer, rule))
                    break
        return _settle(opinions, tuple(errors))


def _settle(opinions: Sequence[tuple[Layer, Rule]], errors: tuple[str, ...]) -> Verdict:
    if not opinions:
        return replace(_PASSES, errors=errors) if errors else _PASSES
    strictest = max((rule.action for _, rule in opinions), key=lambda action: action.strictness)
    because = tuple(Because(layer.name, rule.id) for layer, rule in opinions if rule.action is strictest)
    # There is nobody to ask; a rule that says so, which no file can, refuses.
    return Verdict(Action.DENY if strictest is Action.ASK else strictest, because, errors)


def _surely_hides(rules: Iterable[Rule], listed: Access, *, template: bool) -> bool:
    """Say whether this layer hides it for every possible use; `listed` has no arguments and no time."""
    for rule in rules:
        if not fits(rule, listed):
            if template and rule.action is not Action.HIDE and _may_make_some(rule, listed):
                return False
            continue
        if rule.when is None:
            return rule.action is Action.HIDE
        if rule.when.static:
            holds, _ = speaks(rule, listed)
            if holds:
                return rule.action is Action.HIDE
        elif rule.action is not Action.HIDE:
            return False
    return False


def _may_make_some(rule: Rule, template: Access) -> bool:
    """Say whether the template can make a URI that the rule matches."""
    made = _as_glob(template.name)
    return any(each.matches_server(template.server) and may_meet(each.tool, made) for each in rule.targets)


def _as_glob(template: str) -> str:
    """Return a glob that matches whatever a URI template (RFC 6570) can make."""
    literals: list[str] = []
    rest = template
    while True:
        before, brace, after = rest.partition("{")
        # A `*` in the text would be taken for more than itself, which only shows the template more often.
        literals.append(before)
        if not brace:
            return "*".join(literals)
        rest = after.partition("}")[2]
