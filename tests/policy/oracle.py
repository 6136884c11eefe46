"""A second, naive reading of the precedence, sharing no code with the engine: slow, flat, and easy to check by eye.

It reads policies as their files say them, in plain maps, texts and tuples (`generated.py` makes them), and never looks
at an object of the engine. Where the engine has indexes, memories and regular expressions, this tries everything.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from itertools import product
from typing import Any

from policy.oracle_conditions import Wrong, holds, reads

__all__ = ["Answer", "access", "answering", "call", "facts", "glob", "left_out", "left_out_other", "too_wide"]

STRICTEST_FIRST = ["hide", "deny", "ask", "allow"]
DAY = timedelta(hours=24)

Raw = dict[str, Any]


@dataclass
class Answer:
    """A verdict, and the lines of the precedence that had a part in it."""

    action: str
    because: list[tuple[str, str]]
    errors: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    terms: Raw = field(default_factory=dict[str, Any])
    lines: set[int] = field(default_factory=set[int])


@lru_cache(maxsize=200_000)
def glob(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(glob(pattern[1:], name[at:]) for at in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and glob(pattern[1:], name[1:])


def names_tool(pattern: str, server: str, tool: str) -> bool:
    """`server__tool`, `mcp__server__tool`, `mcp__server`, or `*`."""
    if pattern == "*":
        return True
    words = pattern.split("__")
    if words[0] == "mcp":
        words = words[1:]
        if len(words) == 1:
            return glob(words[0], server)
    return glob(words[0], server) and glob("__".join(words[1:]), tool)


def is_for(rule: Raw, question: Raw) -> bool:
    if "agents" not in rule:
        return True
    return any(glob(pattern, who) for pattern in rule["agents"] for who in [question["agent"], *question["groups"]])


def about_tool(rule: Raw, call: Raw) -> bool:
    if set(rule) & {"resources", "prompts", "server_requests"}:
        return False
    if "tools" in rule and not any(names_tool(each, call["server"], call["tool"]) for each in rule["tools"]):
        return False
    return is_for(rule, call)


def facts(call: Raw) -> Raw:
    """What a definition says of the tool, once its server is trusted; what it does not say is the careful thing."""
    hints = call["definition"].get("annotations") or {}
    if not call["trusted"] or not isinstance(hints, dict):
        hints = {}
    found = {"server": call["server"], "name": call["tool"], "pinned": call["pinned"]}
    for word, hint, otherwise in [
        ("read_only", "readOnlyHint", False),
        ("destructive", "destructiveHint", True),
        ("idempotent", "idempotentHint", False),
        ("open_world", "openWorldHint", True),
    ]:
        found[word] = hints[hint] if hints.get(hint) in (True, False) and type(hints[hint]) is bool else otherwise
    title = call["definition"].get("title")
    if not title:
        title = hints.get("title")
    found["title"] = title if isinstance(title, str) else None
    return found


def said_by(layer: Raw, question: Raw, about: Callable[[Raw, Raw], bool], answer: Answer) -> Raw | None:
    """The layer's opinion: its first rule that is about the question and whose condition holds."""
    matching: list[Raw] = [rule for rule in layer["rules"] if about(rule, question)]
    for rule in matching:
        if "when" in rule:
            try:
                if not holds(rule["when"], question):
                    continue
            except Wrong:
                answer.errors.append((layer["name"], rule["id"]))
                answer.lines.add(4)
                if rule["action"] == "allow":
                    continue
        if rule is not matching[-1]:
            answer.lines.add(1)
        return rule
    return None


def shorthand_rules(key: str, value: Any, tool: str) -> list[tuple[str, str]]:
    """The rules of one shorthand key that are about this tool of its server: (action, id), first one wins."""
    if key == "allowed_tools":
        return [] if tool in value else [("hide", "allowed_tools")]
    if key == "tool_filter":
        found = []
        if value.get("allowed_tool_names") is not None and tool not in value["allowed_tool_names"]:
            found.append(("hide", "allowed_tool_names"))
        if tool in (value.get("blocked_tool_names") or []):
            found.append(("hide", "blocked_tool_names"))
        return found
    word: Any = None
    if not isinstance(value, dict):
        word = value
    elif "always" in value or "never" in value:
        for each in ("always", "never"):
            if tool in value.get(each, {}).get("tool_names", []):
                word = each
    else:
        word = value.get(tool)
    if word is None:
        return []
    return [("ask", "always")] if word in ("always", True) else [("allow", "never")]


def opinions(policy: Raw, call: Raw, answer: Answer) -> list[tuple[str, Raw]]:
    found: list[tuple[str, Raw]] = []
    for layer in policy["layers"]:
        rule = said_by(layer, call, about_tool, answer)
        if rule is not None:
            found.append((layer["name"], rule))
    for server, key, value in policy["shorthand"]:
        if server == call["server"]:
            for action, rule_id in shorthand_rules(key, value, call["tool"])[:1]:
                found.append((f"mcpServers.{server}.{key}", {"id": rule_id, "action": action}))
    return found


def pins(policy: Raw) -> str:
    said = [layer["pins"] for layer in policy["layers"] if layer.get("pins")]
    for mode in ("strict", "first_use", "off"):
        if mode in said:
            return mode
    return "first_use"


def call(policy: Raw, asked: Raw) -> Answer:
    """What the policy says about a call, before any grant."""
    answer = Answer("", [])
    asked = {**asked, "facts": facts(asked)}
    said = opinions(policy, asked, answer)
    settle(policy, said, answer)
    answer.terms = terms(
        [rule for _, rule in said if answer.action == rule["action"] == "ask"], policy["expires_after"]
    )
    if answer.action == "ask" and len(answer.because) > 1:
        answer.lines.add(8)
    if not asked["pinned"] and pins(policy) != "off" and answer.action != "hide":
        if pins(policy) == "strict":
            answer.action, answer.because = "hide", [("pins", "strict")]
            answer.lines.add(6)
        elif answer.action in ("allow", "ask"):
            before = answer.because if answer.action == "ask" else []
            answer.action, answer.because = "ask", [*before, ("pins", "changed")]
            one_more = [{"grants": False}, *(rule for _, rule in said if before and rule["action"] == "ask")]
            answer.terms = terms(one_more, policy["expires_after"])
            answer.lines.add(6)
    return answer


def settle(policy: Raw, said: list[tuple[str, Raw]], answer: Answer) -> None:
    if len(said) > 1:
        answer.lines.add(2)
    for action in STRICTEST_FIRST:
        carrying = [(layer, rule["id"]) for layer, rule in said if rule["action"] == action]
        if carrying:
            answer.action, answer.because = action, carrying
            return
    answer.lines.add(3)
    for action in STRICTEST_FIRST:
        for layer in policy["layers"]:
            if layer.get("default") == action:
                answer.action, answer.because = action, [(layer["name"], "default")]
                return
    answer.action, answer.because = "ask", [("default", "ask")]


def terms(asking: list[Raw], expires_after: timedelta) -> Raw:
    """Every restriction of every asking rule; what one leaves unsaid is the default for it."""
    found: Raw = {
        "required_approvals": 1,
        "expires_after": None,
        "decisions": {"approve", "edit", "reject", "respond"},
        "approvers": set[frozenset[str]](),
        "execute": "on_decision" if asking else "claimed",
        "grants": True,
    }
    for rule in asking:
        quorum = rule.get("required_approvals", 1)
        wait = rule.get("expires_after", expires_after)
        if quorum > found["required_approvals"]:
            found["required_approvals"] = quorum
        if found["expires_after"] is None or wait < found["expires_after"]:
            found["expires_after"] = wait
        if "decisions" in rule:
            found["decisions"] = {each for each in found["decisions"] if each in rule["decisions"] or each == "reject"}
        if "approvers" in rule:
            found["approvers"].add(frozenset(rule["approvers"]))
        if rule.get("execute", "claimed") == "claimed":
            found["execute"] = "claimed"
        if not rule.get("grants", quorum == 1):
            found["grants"] = False
    if found["expires_after"] is None:
        found["expires_after"] = expires_after
    return found


def left_out(policy: Raw, asked: Raw) -> bool:
    """Whether the tool is hidden whatever its arguments and the time: every answer of their conditions is tried."""
    if not asked["pinned"] and pins(policy) == "strict":
        return True
    asked = {**asked, "facts": facts(asked), "args": {}}
    if any(
        action == "hide"
        for server, key, value in policy["shorthand"]
        if server == asked["server"]
        for action, _ in shorthand_rules(key, value, asked["tool"])
    ):
        return True
    return any(surely_hidden(layer, asked, about_tool) for layer in policy["layers"])


def surely_hidden(layer: Raw, question: Raw, about: Callable[[Raw, Raw], bool]) -> bool:
    matching: list[Raw] = [rule for rule in layer["rules"] if about(rule, question)]
    open_ends = [rule["id"] for rule in matching if "when" in rule and reads(rule["when"])]
    for truth in product([True, False], repeat=len(open_ends)):
        known = dict(zip(open_ends, truth, strict=True))
        if first_of(matching, question, known) != "hide":
            return False
    return True


def first_of(rules: list[Raw], question: Raw, known: dict[str, bool]) -> str | None:
    for rule in rules:
        if rule["id"] in known:
            if known[rule["id"]]:
                return str(rule["action"])
        elif "when" in rule:
            try:
                if holds(rule["when"], question):
                    return str(rule["action"])
            except Wrong:
                if rule["action"] != "allow":
                    return str(rule["action"])
        else:
            return str(rule["action"])
    return None


# Beyond tools.


KEYS = {"resource": "resources", "prompt": "prompts", "server_request": "server_requests"}


def about_other(rule: Raw, asked: Raw) -> bool | None:
    """Whether a rule is about it; None where that hangs on a spelling, and either is right."""
    key = KEYS[asked["kind"]]
    if key not in rule or not is_for(rule, asked):
        return False
    perhaps = False
    for pattern in rule[key]:
        if pattern == "*":
            return True
        server, _, name = pattern.partition("__")
        if not glob(server, asked["server"]):
            continue
        written = glob(name, asked["name"])
        if asked["kind"] != "resource" or asked["plainly"] == asked["name"]:
            if written:
                return True
        elif rule["action"] == "allow":
            perhaps |= written and glob(name, asked["meant"])
        elif written or glob(name, asked["meant"]) or glob(name, asked["plainly"]):
            return True
        else:
            perhaps = True
    return None if perhaps else False


def access(policy: Raw, asked: Raw) -> list[Answer]:
    """What the policy may say about the use of something else; more than one answer where a spelling is unclear."""
    unclear = [
        (layer["name"], rule["id"])
        for layer in policy["layers"]
        for rule in layer["rules"]
        if about_other(rule, asked) is None
    ]
    found: list[Answer] = []
    for truth in product([True, False], repeat=len(unclear)):
        fits = dict(zip(unclear, truth, strict=True))
        answer = Answer("", [])
        said: list[tuple[str, Raw]] = []
        for layer in policy["layers"]:

            def about(rule: Raw, asked: Raw, layer: Raw = layer, fits: dict[tuple[str, str], bool] = fits) -> bool:
                known = about_other(rule, asked)
                return fits[layer["name"], rule["id"]] if known is None else known

            rule = said_by(layer, asked, about, answer)
            if rule is not None:
                said.append((layer["name"], rule))
        if said:
            answer.lines.add(7)
            settle(policy, said, answer)
        else:
            answer.action, answer.because = "allow", [("default", "pass")]
        found.append(answer)
    return found


def left_out_other(policy: Raw, asked: Raw) -> bool:
    """Whether it is hidden whatever arguments and time; only for what has one spelling."""
    asked = {**asked, "args": {}}
    return any(
        surely_hidden(layer, asked, lambda rule, what: bool(about_other(rule, what))) for layer in policy["layers"]
    )


# Grants.


def same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def too_wide(grant: Raw) -> bool:
    named = grant["arguments"]
    if not named or any("in" in each for each in named.values()):
        return False
    return grant["when"] is None or not reads(grant["when"], time=False)


def answering(grants: Iterable[Raw], verdict: Answer, asked: Raw, people: dict[str, frozenset[str]]) -> Iterator[str]:
    """The ids of the grants that may answer for the call, in their order."""
    asked = {**asked, "facts": facts(asked)}
    for grant in grants:
        if verdict.action == "ask" and of_this(grant, asked) and by_those(grant, verdict.terms, people):
            yield grant["id"]


def of_this(grant: Raw, asked: Raw) -> bool:
    if [grant[key] for key in ("agent", "server", "tool", "digest")] != [
        asked[key] for key in ("agent", "server", "tool", "digest")
    ]:
        return False
    if grant["revoked"] or grant["erased"] or grant["uses"] >= grant["max_uses"] or asked["now"] >= grant["expires_at"]:
        return False
    if set(grant["arguments"]) != set(asked["args"]):
        return False
    for name, allowed in grant["arguments"].items():
        if "in" in allowed and not any(same(asked["args"][name], value) for value in allowed["in"]):
            return False
    if grant["when"] is None:
        return True
    try:
        return holds(grant["when"], asked)
    except Wrong:
        return False


def by_those(grant: Raw, terms: Raw, people: dict[str, frozenset[str]]) -> bool:
    if not terms["grants"] or "approve" not in terms["decisions"]:
        return False
    makers = set(grant["made_by"])
    if len(makers) < terms["required_approvals"] or makers & {grant["agent"], grant["acts_for"]}:
        return False
    for maker in makers:
        if maker not in people:
            return False
        for allowed in terms["approvers"]:
            if maker not in allowed and not people[maker] & allowed:
                return False
    return True
