"""The `rules` of a policy file, one by one: what a rule says, and the names it uses, with their places."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast

from holdshort.config.conditions import first_place, read_condition
from holdshort.config.document import Entry, Value
from holdshort.config.reading import Reading, is_filled
from holdshort.policy import (
    DECISIONS,
    KIND_OF_KEY,
    Action,
    BadPattern,
    Execute,
    Kind,
    NamePattern,
    Rule,
    ToolPattern,
    parse_name_pattern,
    parse_target,
    parse_tool_pattern,
)
from holdshort.policy.words import listed

__all__ = ["RULE_KEYS", "Mentions", "PackMention", "RulesReader"]

RULE_KEYS: Final = (
    "id",
    "tools",
    "resources",
    "prompts",
    "server_requests",
    "agents",
    "when",
    "action",
    "approvers",
    "required_approvals",
    "expires_after",
    "decisions",
    "execute",
    "grants",
)

_TERM_KEYS: Final = ("approvers", "required_approvals", "expires_after", "decisions", "execute", "grants")
_SDK_WORDS: Final = {"always": "ask", "never": "allow", "hidden": "hide"}
_EXECUTES: Final = ("claimed", "on_decision")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED_IDS: Final = frozenset({"default"})
_ACCESS_ACTIONS: Final = (Action.ALLOW, Action.DENY, Action.HIDE)
_FORMS: Final = {
    "tools": "server__tool",
    "resources": "server__uri",
    "prompts": "server__prompt",
    "server_requests": "server__method",
}
_EXPRESSION: Final = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class PackMention:
    """A pack that a file names: `usual` is the one label its rules are about (None: any), `servers` those given."""

    name: str
    place: Value
    usual: str | None
    servers: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Mentions:
    """The names that rules use, with their places, for checking against the configuration that they are part of."""

    approvers: tuple[tuple[str, Value], ...]
    agents: tuple[tuple[str, NamePattern, Value], ...]
    tools: tuple[tuple[str, ToolPattern, Value], ...]
    quorums: tuple[tuple[str, frozenset[str] | None, int, Value], ...]
    packs: tuple[PackMention, ...] = ()


class RulesReader:
    """The rules of one file, as they are read: `read` each, then take `rules` and `mentions`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._lines: dict[str, int] = {}
        self.rules: list[Rule] = []
        self._approvers: list[tuple[str, Value]] = []
        self._agents: list[tuple[str, NamePattern, Value]] = []
        self._tools: list[tuple[str, ToolPattern, Value]] = []
        self._quorums: list[tuple[str, frozenset[str] | None, int, Value]] = []

    def mentions(self) -> Mentions:
        """Return the names that the rules use."""
        return Mentions(tuple(self._approvers), tuple(self._agents), tuple(self._tools), tuple(self._quorums))

    def read(self, value: Value) -> None:
        """Read one item of the list; what is wrong with it is reported, and it makes no rule then."""
        reading = self._reading
        rule_id = self._id(value)
        found = reading.section(value, "rule", RULE_KEYS, rule=rule_id)
        if found is None:
            return
        kind, key = self._kind(found, rule_id)
        action = self._action(value, found, rule_id, key)
        tools = self._tool_patterns(found, rule_id)
        targets = self._targets(found, kind, key, rule_id)
        agents = self._agent_patterns(found, rule_id)
        when = read_condition(reading, found["when"].value, kind, rule_id) if "when" in found else None
        approvers = self._approver_names(found, rule_id)
        required = expires = decisions = execute = grants = None
        if "required_approvals" in found:
            required = reading.count(found["required_approvals"].value, "required_approvals", rule=rule_id)
        if "expires_after" in found:
            seconds = reading.seconds(found["expires_after"].value, "expires_after", bare=False, rule=rule_id)
            expires = timedelta(seconds=seconds) if seconds is not None else None
        if "decisions" in found:
            decisions = self._decisions(found["decisions"].value, rule_id)
        if "execute" in found:
            word = reading.word(found["execute"].value, "execute", _EXECUTES, rule=rule_id)
            execute = cast("Execute", word) if word else None
        if "grants" in found:
            grants = reading.flag(found["grants"].value, "grants")
        if required is not None and required > 1:
            self._quorums.append((rule_id or "", approvers, required, found["required_approvals"].value))
        if rule_id is None or action is None:
            return
        self.rules.append(
            Rule(
                rule_id,
                action,
                tools=tools,
                agents=agents,
                when=when,
                approvers=approvers,
                required_approvals=required,
                expires_after=expires,
                decisions=decisions,
                execute=execute,
                grants=grants,
                kind=kind,
                targets=targets,
                place=value.place,
                when_place=first_place(found["when"].value) if when is not None else None,
            )
        )

    def _id(self, value: Value) -> str | None:
        reading = self._reading
        if value.kind != "map":
            return None
        found = value.get("id")
        if found is None:
            reading.missing(value, "id", "every rule needs an `id`, its name in verdicts and in the log", RULE_KEYS)
            return None
        if found.kind not in {"string", "number"}:
            reading.problem(found.place, f"id: expected a name, got {found.described}")
            return None
        if not _ID.fullmatch(found.raw):
            reading.problem(found.place, f"id: `{found.raw[:80]}` is no name; use letters, digits, `-`, `_` and `.`")
            return None
        if found.raw in _RESERVED_IDS:
            reading.problem(found.place, f"id: `{found.raw}` is reserved; choose another name")
        if found.raw in self._lines:
            reading.problem(
                found.place,
                f"this id is already used on line {self._lines[found.raw]}; ids are unique in a file",
                found.raw,
            )
        self._lines.setdefault(found.raw, found.place.line)
        return found.raw

    def _kind(self, found: Mapping[str, Entry], rule_id: str | None) -> tuple[Kind, str]:
        """Return what the rule is about, and the key that says so."""
        said = [key for key in KIND_OF_KEY if key in found]
        for key in said[1:]:
            message = f"a rule is about one kind of thing, and this one has `{said[0]}` already; write a rule for each"
            self._reading.problem(found[key].place, message, rule_id)
        key = said[0] if said else "tools"
        return KIND_OF_KEY[key], key

    def _action(self, value: Value, found: Mapping[str, Entry], rule_id: str | None, kind_key: str) -> Action | None:
        if "action" not in found:
            message = f"every rule needs an `action`: {listed(Action)}"
            self._reading.missing(value, "action", message, RULE_KEYS, rule=rule_id)
            return None
        entry = found["action"]
        if entry.value.raw in _SDK_WORDS:
            message = f"unknown action `{entry.value.raw}`; in a policy file it is `{_SDK_WORDS[entry.value.raw]}`"
            self._reading.problem(entry.value.place, message, rule_id)
            return None
        word = self._reading.word(entry.value, "action", tuple(Action), rule=rule_id)
        if word is None:
            return None
        if word == Action.ASK and kind_key != "tools":
            message = (
                f"only calls of tools can wait for a person; a rule with `{kind_key}` says {listed(_ACCESS_ACTIONS)}"
            )
            self._reading.problem(entry.value.place, message, rule_id)
            return None
        if word != Action.ASK:
            for key in _TERM_KEYS:
                if key in found:
                    message = f"`{key}` says how an approver decides; it needs `action: ask`, not `{word}`"
                    self._reading.problem(found[key].place, message, rule_id)
        return Action(word)

    def _tool_patterns(self, found: Mapping[str, Entry], rule_id: str | None) -> tuple[ToolPattern, ...]:
        patterns: list[ToolPattern] = []
        for item, text in self._list(found, "tools", rule_id):
            try:
                pattern = parse_tool_pattern(text)
            except BadPattern as error:
                self._bad_glob(item, "tools", error, rule_id)
            else:
                patterns.append(pattern)
                self._tools.append((rule_id or "", pattern, item))
        return tuple(patterns)

    def _targets(
        self, found: Mapping[str, Entry], kind: Kind, key: str, rule_id: str | None
    ) -> tuple[ToolPattern, ...]:
        if kind is Kind.TOOL:
            return ()
        patterns: list[ToolPattern] = []
        for item, text in self._list(found, key, rule_id):
            try:
                pattern = parse_target(text, kind)
            except BadPattern as error:
                self._bad_glob(item, key, error, rule_id)
            else:
                patterns.append(pattern)
                self._tools.append((rule_id or "", pattern, item))
                if kind is Kind.RESOURCE and _EXPRESSION.search(text):
                    message = f"{key}: braces are plain characters here; for what a template makes, write `*` instead"
                    self._reading.note(item.place, message, rule_id)
        return tuple(patterns)

    def _agent_patterns(self, found: Mapping[str, Entry], rule_id: str | None) -> tuple[NamePattern, ...]:
        patterns: list[NamePattern] = []
        for item, text in self._list(found, "agents", rule_id):
            try:
                pattern = parse_name_pattern(text)
            except BadPattern as error:
                self._bad_glob(item, "agents", error, rule_id)
            else:
                patterns.append(pattern)
                self._agents.append((rule_id or "", pattern, item))
        return tuple(patterns)

    def _approver_names(self, found: Mapping[str, Entry], rule_id: str | None) -> frozenset[str] | None:
        if "approvers" not in found:
            return None
        named = self._list(found, "approvers", rule_id)
        self._approvers.extend((rule_id or "", item) for item, _ in named)
        return frozenset(text for _, text in named)

    def _decisions(self, value: Value, rule_id: str | None) -> frozenset[str]:
        kinds = sorted(DECISIONS)
        words = [
            self._reading.word(item, "decision", kinds, rule=rule_id)
            for item in self._reading.items(value, "decisions", rule=rule_id)
        ]
        return frozenset(word for word in words if word is not None) | {"reject"}

    def _list(self, found: Mapping[str, Entry], key: str, rule_id: str | None) -> list[tuple[Value, str]]:
        if key not in found:
            return []
        value = found[key].value
        if value.kind == "list" and not value.items:
            # Empty would read as "every", the opposite of what an emptied list looks like.
            self._reading.problem(
                value.place, f"{key}: the list is empty; leave the key out, or name something", rule_id
            )
        return self._reading.texts(value, key, rule=rule_id)

    def _bad_glob(self, item: Value, key: str, error: BadPattern, rule_id: str | None) -> None:
        form = _FORMS.get(key, "name")
        shown = f"`{item.raw[:40]}` does not hold a glob over `{form}`" if is_filled(item) else str(error)
        self._reading.problem(item.place, f"{key}: {shown}", rule_id)
