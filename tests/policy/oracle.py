"""A second, naive reading of the precedence, sharing no code with the engine: slow, flat, and easy to check by eye."""

import fnmatch
from datetime import timedelta

from holdshort.policy import Action, Call, Caller, Layer, Rule, ToolFacts

__all__ = ["judge", "terms"]

STRICTEST_FIRST = [Action.HIDE, Action.DENY, Action.ASK, Action.ALLOW]


def glob(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)


def rule_is_about(rule: Rule, tool: ToolFacts, caller: Caller) -> bool:
    def one_of(patterns: tuple[object, ...]) -> bool:
        for pattern in patterns:
            server, _, name = str(getattr(pattern, "text", "")).partition("__")
            if glob(server, tool.server) and glob(name, tool.name):
                return True
        return False

    if rule.tools and not one_of(rule.tools):
        return False
    if rule.except_tools and one_of(rule.except_tools):
        return False
    if rule.agents:
        words = [caller.agent, *caller.groups]
        return any(glob(pattern.text, word) for pattern in rule.agents for word in words)
    return True


def opinion(layer: Layer, call: Call, errors: list[str]) -> Rule | None:
    for rule in layer.rules:
        if not rule_is_about(rule, call.tool, call.caller):
            continue
        if rule.when is None:
            return rule
        try:
            answer = rule.when(call)
        except Exception:  # noqa: BLE001 - any error counts
            errors.append(rule.id)
            if rule.action == Action.ALLOW:
                continue
            return rule
        if answer:
            return rule
    return None


def judge(layers: list[Layer], call: Call) -> tuple[Action, list[tuple[str, str]], list[str]]:
    """Return the action, the (layer, rule) pairs that carry it, the rules that failed."""
    errors: list[str] = []
    said: list[tuple[Layer, Rule]] = []
    for layer in layers:
        rule = opinion(layer, call, errors)
        if rule is not None:
            said.append((layer, rule))
    for action in STRICTEST_FIRST:
        carrying = [(layer.name, rule.id) for layer, rule in said if rule.action == action]
        if carrying:
            return action, carrying, errors
    for action in STRICTEST_FIRST:
        for layer in layers:
            if layer.default == action:
                return action, [(layer.name, "default")], errors
    return Action.ASK, [("default", "ask")], errors


def terms(layers: list[Layer], call: Call) -> tuple[int, timedelta, frozenset[str], set[frozenset[str]], str]:
    """Return quorum, expiry, decisions, approver sets and execution for a call that asks."""
    asking = [rule for layer in layers if (rule := opinion(layer, call, [])) and rule.action == Action.ASK]
    quorum, expiry, decisions, sets = 1, None, {"approve", "edit", "reject", "respond"}, set[frozenset[str]]()
    said_execute: list[str] = []
    for rule in asking:
        if rule.required_approvals is not None and rule.required_approvals > quorum:
            quorum = rule.required_approvals
        wait = timedelta(hours=24) if rule.expires_after is None else rule.expires_after
        if expiry is None or wait < expiry:
            expiry = wait
        if rule.decisions is not None:
            decisions = {kind for kind in decisions if kind in rule.decisions or kind == "reject"}
        if rule.approvers is not None:
            sets.add(rule.approvers)
        said_execute.append("claimed" if rule.execute is None else rule.execute)
    execute = "on_decision" if said_execute and "claimed" not in said_execute else "claimed"
    return quorum, expiry or timedelta(hours=24), frozenset(decisions), sets, execute
