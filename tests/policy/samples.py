"""Small builders for policy tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdshort.policy import (
    Access,
    Action,
    Call,
    Caller,
    Condition,
    Kind,
    Rule,
    ToolFacts,
    parse_name_pattern,
    parse_target,
    parse_tool_pattern,
)

__all__ = ["NOW", "Says", "about", "access", "call", "rule"]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Says:
    """A condition with a given answer; `"error"` raises, `"text"` breaks the promise of a bool."""

    answer: bool | str
    static: bool = False

    @property
    def text(self) -> str:
        return f"says {self.answer}"

    def __call__(self, call: Call | Access) -> bool:
        answer = call.arguments.get("answer", self.answer) if self.answer == "argument" else self.answer
        if answer == "error":
            raise KeyError("no")
        return answer  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def rule(
    rule_id: str, action: str, tools: str = "", *, agents: str = "", when: Condition | None = None, **terms: Any
) -> Rule:
    return Rule(
        rule_id,
        Action(action),
        tools=tuple(map(parse_tool_pattern, tools.split())),
        agents=tuple(map(parse_name_pattern, agents.split())),
        when=when,
        **terms,
    )


def about(
    rule_id: str,
    action: str,
    kind: Kind,
    targets: str = "",
    *,
    agents: str = "",
    when: Condition | None = None,
) -> Rule:
    """A rule that is not about tools."""
    return Rule(
        rule_id,
        Action(action),
        kind=kind,
        targets=tuple(parse_target(each, kind) for each in targets.split()),
        agents=tuple(map(parse_name_pattern, agents.split())),
        when=when,
    )


def access(
    kind: Kind, name: str, *, server: str = "files", agent: str = "local", arguments: Mapping[str, Any] | None = None
) -> Access:
    return Access(kind, server, name, Caller(agent), NOW, arguments or {})


def call(
    key: str = "github__delete_repo",
    arguments: Mapping[str, Any] | None = None,
    *,
    agent: str = "local",
    groups: str = "",
    **facts: Any,
) -> Call:
    server, _, name = key.partition("__")
    caller = Caller(agent, frozenset(groups.split()))
    return Call(ToolFacts(server, name, **facts), arguments or {}, caller, NOW)
