"""One call in, one verdict out: the strictest layer wins, and an error never helps the call.

The precedence, in full. Every line has its case in the tests, by this number.

1. A layer is one policy file, or one shorthand key of one server. Inside a layer the first matching rule wins.
2. A layer with no matching rule abstains. Across layers the strictest action wins: hide > deny > ask > allow.
   A layer can tighten what another says, never loosen it.
3. All layers abstain: the strictest `default` of the files. No file has a default: ask.
4. A condition that cannot be evaluated counts as true when its rule says ask, deny or hide, and as false when it says
   allow. The verdict names the error. An error of ours is a deny.
5. A standing grant can turn ask into allow, never deny or hide, and only where the terms let it (`grants.py`).
6. A tool that differs from its pin is at least ask, as if one more layer asked on default terms, and no grant answers
   for it; with `pins: strict`, from any layer, it is hidden, and so is a new one.
7. Resources, prompts and what servers ask of clients pass unless a rule about them says otherwise (`access.py`).
8. Terms come from the layers that ask, each restriction kept: most approvals, soonest expiry, the decisions all of them
   accept (and `reject`), every list of approvers, `claimed` over `on_decision`; the default where a rule says nothing.
   A grant may answer where every asking rule lets it; one that says nothing lets it when one approval is enough.
9. A tool is left out of lists when `hide` is certain whatever the arguments: the same rows answer both questions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from holdshort.policy.access import AccessTable
from holdshort.policy.conditions import speaks
from holdshort.policy.digest import digest_layers
from holdshort.policy.memory import remember
from holdshort.policy.model import (
    DECISIONS,
    DEFAULT_EXPIRY,
    Access,
    Action,
    Because,
    Call,
    Caller,
    Kind,
    Layer,
    PinMode,
    Rule,
    Terms,
    ToolFacts,
    Verdict,
)

__all__ = [
    "BUILT_IN_DEFAULT",
    "PINS_CHANGED",
    "PINS_STRICT",
    "Policy",
    "combine_terms",
    "compile_policy",
    "decide",
    "matches",
    "most_strict",
]

BUILT_IN_DEFAULT: Final = Because("default", "ask")
"""The reason given when no layer had an opinion and no file a default."""

PINS_STRICT: Final = Because("pins", "strict")
PINS_CHANGED: Final = Because("pins", "changed")
"""The reasons given for a tool that is not as it is pinned."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Opinion = tuple[Layer, Rule]
_Candidates = tuple[tuple[Layer, tuple[Rule, ...]], ...]


class _Row:
    """What is left of the rules for one (server, tool, agent): per layer, the rules that can still be the first match.

    `verdict` is set when no condition is involved, so that the whole answer is one look-up.
    """

    __slots__ = ("candidates", "hidden", "verdict")

    def __init__(self, candidates: _Candidates, verdict: Verdict | None) -> None:
        self.candidates = candidates
        self.verdict = verdict
        self.hidden = None if verdict is None else verdict.action is Action.HIDE


class Policy:
    """A compiled policy: immutable but for what it remembers of its own answers.

    `digest` is the SHA-256, in hex, of everything in the layers that can change an answer; comments and places cannot.
    """

    __slots__ = ("_access", "_by_server", "_rows", "default", "digest", "expires_after", "layers", "pins")

    def __init__(self, layers: Sequence[Layer], *, expires_after: timedelta = DEFAULT_EXPIRY) -> None:
        self.layers: Final = tuple(layers)
        self.expires_after: Final = expires_after
        self.digest: Final = digest_layers(self.layers, expires_after)
        self.default: Final = _default(self.layers)
        self.pins: Final = max(
            (layer.pins for layer in self.layers if layer.pins is not None),
            key=lambda mode: mode.strictness,
            default=PinMode.FIRST_USE,
        )
        self._access = AccessTable(self.layers)
        self._by_server: dict[str, _Candidates] = {}
        self._rows: dict[tuple[str, str, str, frozenset[str]], _Row] = {}

    def __repr__(self) -> str:
        rules = sum(len(layer.rules) for layer in self.layers)
        return f"Policy({len(self.layers)} layers, {rules} rules, {self.digest[:12]})"

    def decide(self, call: Call) -> Verdict:
        """Return the verdict on `call`. Nothing is ever raised: what goes wrong in here is a deny that names it."""
        try:
            row = self._row(call.tool, call.caller)
            verdict = row.verdict or self._evaluate(row.candidates, call)
            return verdict if call.tool.pinned else self._unpinned(verdict)
        except Exception as error:  # noqa: BLE001 - precedence 4: an error of ours must not let a call through
            return Verdict(Action.DENY, (Because("default", "error"),), (f"policy failed: {type(error).__name__}",))

    def hides(self, tool: ToolFacts, caller: Caller) -> bool:
        """Say whether `tool` is to be left out of the list that `caller` sees (precedence 9)."""
        try:
            if not tool.pinned and self.pins is PinMode.STRICT:  # 6.
                return True
            row = self._row(tool, caller)
            if row.hidden is not None:
                return row.hidden
            listed = Call(tool, {}, caller, _EPOCH)
            return any(_surely_hides(rules, listed) for _, rules in row.candidates)
        except Exception:  # noqa: BLE001 - precedence 4
            return True

    def access(self, access: Access) -> Verdict:
        """Return the verdict on the use of something that is no tool: allow, deny or hide (precedence 7)."""
        return self._access.decide(access)

    def hides_access(self, access: Access, *, template: bool = False) -> bool:
        """Say whether it is to be left out of the lists that `access.caller` sees; `template` for a URI template."""
        return self._access.hides(access, template=template)

    def speaks_of(self, kind: Kind, server: str, *actions: Action) -> bool:
        """Say whether some rule is about a `kind` of thing of `server`; with `actions`, one that says one of them."""
        return self._access.speaks_of(kind, server, *actions)

    def access_rules(self, access: Access) -> _Candidates:
        """Return, for each layer with rules of that kind, those that match but for conditions, as `rules_for` does."""
        return self._access.rules_for(access)

    def rules_for(self, tool: ToolFacts, caller: Caller) -> _Candidates:
        """Return, for each layer, the rules whose tools and agents match, up to the first without a condition."""
        return self._row(tool, caller).candidates

    def _row(self, tool: ToolFacts, caller: Caller) -> _Row:
        key = (tool.server, tool.name, caller.agent, caller.groups)
        row = self._rows.get(key)
        if row is None:
            row = self._make_row(tool, caller)
            remember(self._rows, key, row)
        return row

    def _make_row(self, tool: ToolFacts, caller: Caller) -> _Row:
        found: list[tuple[Layer, tuple[Rule, ...]]] = []
        conditional = False
        for layer, rules in self._server_rules(tool.server):
            reachable: list[Rule] = []
            for rule in rules:
                if matches(rule, tool, caller):
                    reachable.append(rule)
                    if rule.when is None:
                        break
                    conditional = True
            found.append((layer, tuple(reachable)))
        candidates = tuple(found)
        if conditional:
            return _Row(candidates, None)
        return _Row(candidates, self._settle([(layer, rules[0]) for layer, rules in candidates if rules], ()))

    def _server_rules(self, server: str) -> _Candidates:
        kept = self._by_server.get(server)
        if kept is None:
            kept = tuple(
                (layer, tuple(rule for rule in layer.rules if _may_speak_of(rule, server))) for layer in self.layers
            )
            remember(self._by_server, server, kept)
        return kept

    def _evaluate(self, candidates: _Candidates, call: Call) -> Verdict:
        opinions: list[_Opinion] = []
        errors: list[str] = []
        for layer, rules in candidates:
            for rule in rules:  # 1. the first matching rule of a layer is its opinion
                holds, problem = speaks(rule, call)  # 4.
                if problem is not None:
                    errors.append(f"{layer.name}: rule `{rule.id}`: {problem}")
                if holds:
                    opinions.append((layer, rule))
                    break
        return self._settle(opinions, tuple(errors))

    def _unpinned(self, verdict: Verdict) -> Verdict:
        """Return the verdict on a tool that is not as it is pinned (precedence 6)."""
        if self.pins is PinMode.OFF or verdict.action is Action.HIDE:
            return verdict
        if self.pins is PinMode.STRICT:
            return Verdict(Action.HIDE, (PINS_STRICT,), verdict.errors)
        if verdict.action is Action.DENY:
            return verdict
        # The pin asks like one more rule that says nothing (8): no rule makes such a call wait longer or run by itself.
        soonest = min(verdict.terms.expires_after, self.expires_after)
        terms = replace(verdict.terms, expires_after=soonest, execute="claimed", grants=False)
        because = (*verdict.because, PINS_CHANGED) if verdict.action is Action.ASK else (PINS_CHANGED,)
        return Verdict(Action.ASK, because, verdict.errors, terms)

    def _settle(self, opinions: Sequence[_Opinion], errors: tuple[str, ...]) -> Verdict:
        if not opinions:  # 3. all abstain
            last_resort, reason = self.default
            return Verdict(last_resort, (reason,), errors, Terms(expires_after=self.expires_after))
        action = most_strict(rule.action for _, rule in opinions)  # 2. the strictest layer wins
        winners = [(layer, rule) for layer, rule in opinions if rule.action is action]
        because = tuple(Because(layer.name, rule.id) for layer, rule in winners)
        asking = [rule for _, rule in winners] if action is Action.ASK else []
        return Verdict(action, because, errors, combine_terms(asking, self.expires_after))  # 8.


def compile_policy(layers: Sequence[Layer], *, expires_after: timedelta = DEFAULT_EXPIRY) -> Policy:
    """Compile `layers`, in the order they are to be named in verdicts (the order changes no verdict).

    `expires_after` is how long a parked call waits when no rule says otherwise.
    """
    return Policy(layers, expires_after=expires_after)


def decide(policy: Policy, call: Call) -> Verdict:
    """Return what `policy` says about `call`; see the precedence at the top of this module."""
    return policy.decide(call)


def most_strict(actions: Iterable[Action]) -> Action:
    """Return the strictest of `actions`: hide > deny > ask > allow."""
    return max(actions, key=lambda action: action.strictness)


def matches(rule: Rule, tool: ToolFacts, caller: Caller) -> bool:
    """Say whether tools and agents of `rule` match; its `when` is not looked at."""
    if rule.kind is not Kind.TOOL:
        return False
    if rule.tools and not any(p.matches_server(tool.server) and p.matches_tool(tool.name) for p in rule.tools):
        return False
    if any(p.matches_server(tool.server) and p.matches_tool(tool.name) for p in rule.except_tools):
        return False
    return not rule.agents or any(p.matches(caller.agent) or any(map(p.matches, caller.groups)) for p in rule.agents)


def combine_terms(rules: Sequence[Rule], expires_after: timedelta) -> Terms:
    """Combine the terms of all rules that ask, to the strictest of each; an unsaid term is the default one.

    Were it no opinion, one more layer could make a call wait longer, or run by itself: a layer only tightens.
    """
    decisions = DECISIONS
    for rule in rules:
        if rule.decisions is not None:
            decisions &= rule.decisions
    executes = {rule.execute or "claimed" for rule in rules}
    return Terms(
        approvers=tuple(dict.fromkeys(rule.approvers for rule in rules if rule.approvers is not None)),
        required_approvals=max((r.required_approvals for r in rules if r.required_approvals is not None), default=1),
        expires_after=min(
            (expires_after if r.expires_after is None else r.expires_after for r in rules), default=expires_after
        ),
        decisions=decisions | {"reject"},
        execute="on_decision" if executes == {"on_decision"} else "claimed",
        grants=all((r.required_approvals or 1) == 1 if r.grants is None else r.grants for r in rules),
    )


def _default(layers: Sequence[Layer]) -> tuple[Action, Because]:
    said = [(layer.default, layer.name) for layer in layers if layer.default is not None]
    if not said:
        return Action.ASK, BUILT_IN_DEFAULT
    action = most_strict(action for action, _ in said)
    return action, Because(next(name for default, name in said if default is action), "default")


def _may_speak_of(rule: Rule, server: str) -> bool:
    if rule.kind is not Kind.TOOL:
        return False
    return not rule.tools or any(pattern.matches_server(server) for pattern in rule.tools)


def _surely_hides(rules: Sequence[Rule], listed: Call) -> bool:
    """Say whether this layer hides the tool for every possible call; `listed` has no arguments and no time."""
    for rule in rules:
        if rule.when is None:
            return rule.action is Action.HIDE
        if rule.when.static:
            holds, _ = speaks(rule, listed)
            if holds:
                return rule.action is Action.HIDE
        elif rule.action is not Action.HIDE:
            # May match for some arguments and then the tool is not hidden.
            return False
    return False
