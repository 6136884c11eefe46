"""From the plain maps of `generated.py` to the engine's own objects, by the functions that files are read with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from holdshort.policy import (
    Access,
    Action,
    BadCondition,
    Call,
    Caller,
    Condition,
    Grant,
    Kind,
    Layer,
    PinMode,
    Policy,
    Rule,
    Scope,
    compile_condition,
    compile_policy,
    parse_name_pattern,
    parse_target,
    parse_tool_pattern,
    scope_from_json,
)
from holdshort.policy.facts import facts_of
from holdshort.policy.shorthand import shorthand_layer
from policy.oracle_conditions import Tree, written

__all__ = ["access_of", "call_of", "compiles", "grant_of", "policy_of"]

Raw = dict[str, Any]

KEYS = {"resources": Kind.RESOURCE, "prompts": Kind.PROMPT, "server_requests": Kind.SERVER_REQUEST}
AS_WRITTEN = ("required_approvals", "expires_after", "execute", "grants")
AS_SETS = ("approvers", "decisions")


class Panic(BaseException):
    """What an evaluator in another language may raise."""


@dataclass(frozen=True)
class Says:
    """A condition that gives the answer it is made of, or the argument `answer`; a text is no true or false."""

    given: bool | str
    static: bool

    @property
    def text(self) -> str:
        return f"says {self.given}"

    def __call__(self, call: Call | Access) -> bool:
        answer = call.arguments.get("answer", "argument") if self.given == "argument" else self.given
        if answer == "error":
            raise KeyError("no")
        if answer == "panic":
            raise Panic
        return answer  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=20_000)
def compiled(text: str, kind: Kind) -> Condition | None:
    try:
        return compile_condition(text, kind)
    except BadCondition:
        return None


def compiles(tree: Tree, kind: str) -> bool:
    """Say whether the engine takes this as a condition of a rule about that kind of thing."""
    return compiled(written(tree), Kind(kind)) is not None


def condition_of(tree: Tree | None, kind: Kind) -> Condition | None:
    if tree is None:
        return None
    return Says(tree[1], tree[2]) if tree[0] == "says" else compiled(written(tree), kind)


def rule_of(raw: Raw) -> Rule:
    key = next((key for key in KEYS if key in raw), None)
    kind = Kind.TOOL if key is None else KEYS[key]
    more: dict[str, Any] = {name: raw[name] for name in AS_WRITTEN if name in raw}
    more |= {name: frozenset(raw[name]) for name in AS_SETS if name in raw}
    if key is not None:
        more["targets"] = tuple(parse_target(each, kind) for each in raw[key])
    return Rule(
        raw["id"],
        Action(raw["action"]),
        tools=tuple(map(parse_tool_pattern, raw.get("tools", ()))),
        agents=tuple(map(parse_name_pattern, raw.get("agents", ()))),
        when=condition_of(raw.get("when"), kind),
        kind=kind,
        **more,
    )


def policy_of(raw: Raw, compile_layers: Callable[..., Policy] = compile_policy) -> Policy:
    layers = [
        Layer(
            each["name"],
            tuple(map(rule_of, each["rules"])),
            Action(each["default"]) if "default" in each else None,
            PinMode(each["pins"]) if "pins" in each else None,
        )
        for each in raw["layers"]
    ]
    for server, key, value in raw["shorthand"]:
        layer, misfits = shorthand_layer(server, key, value)
        assert layer is not None
        assert not misfits
        layers.append(layer)
    return compile_layers(layers, expires_after=raw["expires_after"])


def caller_of(raw: Raw) -> Caller:
    return Caller(raw["agent"], frozenset(raw["groups"]), raw["client"], raw["client_version"])


def call_of(raw: Raw) -> Call:
    definition = {"name": raw["tool"], **raw["definition"]}
    tool = facts_of(raw["server"], definition, trusted=raw["trusted"], pinned=raw["pinned"])
    return Call(tool, raw["args"], caller_of(raw), raw["now"])


def access_of(raw: Raw) -> Access:
    return Access(Kind(raw["kind"]), raw["server"], raw["name"], caller_of(raw), raw["now"], raw["args"])


def grant_of(raw: Raw) -> Grant:
    """Build a grant; raises `BadScope` where it would be wider than a grant may be."""
    when = None if raw["when"] is None else written(raw["when"])
    scope: Scope = scope_from_json({"arguments": raw["arguments"], "when": when})
    return Grant(
        id=raw["id"],
        agent=raw["agent"],
        server=raw["server"],
        tool=raw["tool"],
        definition_digest=raw["digest"],
        scope=None if raw["erased"] else scope,
        scope_digest="",
        made_by=tuple(raw["made_by"]),
        made_at=raw["expires_at"],
        from_interruption="",
        expires_at=raw["expires_at"],
        max_uses=raw["max_uses"],
        uses=raw["uses"],
        revoked_at=raw["expires_at"] if raw["revoked"] else None,
    )
