"""One case of a policy: the question it asks, and the answer it expects, with a place for everything that is wrong.

Nothing in a case is interpolated: it says the same on every machine. Arguments are JSON values, every digit kept.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from holdshort.config.document import Entry, Value
from holdshort.config.model import Config
from holdshort.config.principals import LOCAL_AGENT
from holdshort.config.reading import Reading
from holdshort.policy import DECISIONS, Access, Action, Call, Caller, Kind, Policy
from holdshort.policy.cases import DEFAULT_NOW, Case, Question, Reason
from holdshort.policy.facts import HINTS, facts_of
from holdshort.policy.words import listed, nearest, unknown

__all__ = ["CASE_KEYS", "TERM_KEYS", "CaseReader", "json_of"]

_KINDS: Final = {
    "call": Kind.TOOL,
    "resource": Kind.RESOURCE,
    "prompt": Kind.PROMPT,
    "server_request": Kind.SERVER_REQUEST,
}
_EXAMPLES: Final = {
    "call": "github__delete_repo",
    "resource": "files__file:///etc/passwd",
    "prompt": "github__summary",
    "server_request": "github__sampling/createMessage",
}
CASE_KEYS: Final = (
    "note",
    *_KINDS,
    "args",
    "agent",
    "groups",
    "client",
    "client_version",
    "now",
    "annotations",
    "pinned",
    "verdict",
    "because",
    "terms",
    "errors",
)
_ONLY_CALLS: Final = ("annotations", "pinned", "terms")
TERM_KEYS: Final = ("approvers", "required_approvals", "expires_after", "decisions", "execute", "grants")
_BUILT_IN_REASONS: Final = ("default", "ask", "pass", "strict", "changed", "error")
"""Rules of verdicts that no rule of a file carries: the last resort, pins, and errors of ours."""
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_INTEGER: Final = re.compile(r"[-+]?\d+")


class CaseReader:
    """Reads one item of `cases` after another."""

    def __init__(self, reading: Reading, policy: Policy | None, config: Config | None) -> None:
        self._reading = reading
        self._policy = policy
        self._config = config
        self._agents = {agent.name: agent for agent in config.agents} if config is not None else {}
        self._servers = {server.label: server for server in config.servers} if config is not None else {}

    def read(self, value: Value) -> Case | None:
        reading = self._reading
        found = reading.section(value, "case", CASE_KEYS)
        if found is None:
            return None
        before = len(reading.problems)
        target = self._target(value, found)
        note = _text(reading, found, "note")
        verdict = self._verdict(value, found, target[0] if target else Kind.TOOL)
        caller = self._caller(value, found)
        now = self._now(found)
        arguments = self._arguments(found)
        because = self._because(found)
        terms = self._terms(found)
        hints = self._annotations(found)
        pinned = reading.flag(found["pinned"].value, "pinned") if "pinned" in found else True
        errors = reading.flag(found["errors"].value, "errors") if "errors" in found else None
        if target is None:
            return None
        kind, server, name = target
        for key in _ONLY_CALLS if kind is not Kind.TOOL else ():
            if key in found:
                reading.problem(found[key].place, f"`{key}` is about tools; this case is about a {_words(kind)}")
        if kind in {Kind.RESOURCE, Kind.SERVER_REQUEST} and "args" in found:
            reading.problem(found["args"].place, f"`args`: a {_words(kind)} has none")
        if verdict is None or len(reading.problems) > before:
            return None
        question: Question
        if kind is Kind.TOOL:
            trusted = self._servers[server].trust_annotations if server in self._servers else True
            definition = {"name": name, "annotations": hints, "title": hints.get("title")}
            facts = facts_of(server, definition, trusted=trusted, pinned=bool(pinned))
            question = Call(facts, arguments, caller, now)
        else:
            question = Access(kind, server, name, caller, now, arguments)
        return Case(question, verdict, note or "", because, terms, errors, value.place)

    def _target(self, value: Value, found: Mapping[str, Entry]) -> tuple[Kind, str, str] | None:
        reading = self._reading
        named = [key for key in _KINDS if key in found]
        if not named:
            reading.missing(value, "call", "a case needs a `call`, as in `call: github__delete_repo`", CASE_KEYS)
            return None
        if len(named) > 1:
            reading.problem(found[named[1]].place, f"a case is about one thing; it has {listed(named, 'and')}")
            return None
        key = named[0]
        item = found[key].value
        server, separator, name = item.raw.partition("__") if item.kind == "string" else ("", "", "")
        if not separator or not server or not name:
            got = f"`{item.raw[:80]}`" if item.kind == "string" else item.described
            reading.problem(item.place, f"{key}: expected `SERVER__NAME`, as in `{_EXAMPLES[key]}`, got {got}")
            return None
        if self._servers and server not in self._servers:
            reading.problem(item.place, f"{key}: {unknown('server', server, self._servers)}")
        return _KINDS[key], server, name

    def _verdict(self, value: Value, found: Mapping[str, Entry], kind: Kind) -> Action | None:
        words = tuple(Action) if kind is Kind.TOOL else (Action.ALLOW, Action.DENY, Action.HIDE)
        if "verdict" not in found:
            message = f"a case needs a `verdict`: {listed(words)}"
            self._reading.missing(value, "verdict", message, CASE_KEYS)
            return None
        word = self._reading.word(found["verdict"].value, "verdict", words)
        return Action(word) if word else None

    def _caller(self, value: Value, found: Mapping[str, Entry]) -> Caller:
        agent = _text(self._reading, found, "agent")
        groups: frozenset[str] | None = None
        if "groups" in found:
            groups = frozenset(item.raw for item in _texts(self._reading, found["groups"].value, "groups"))
        if self._agents:
            if agent is None and len(self._agents) == 1:
                agent = next(iter(self._agents))
            if agent is None:
                message = f"say which `agent` calls: {listed(self._agents)}"
                self._reading.problem(value.place, message)
            elif agent not in self._agents:
                place = found["agent"].value.place if "agent" in found else value.place
                self._reading.problem(place, f"agent: {unknown('agent', agent, self._agents)}")
            elif groups is None:
                groups = self._agents[agent].groups
        client, version = _text(self._reading, found, "client"), _text(self._reading, found, "client_version")
        return Caller(agent or LOCAL_AGENT, groups or frozenset(), client, version)

    def _now(self, found: Mapping[str, Entry]) -> datetime:
        text = _text(self._reading, found, "now")
        if text is None:
            return DEFAULT_NOW
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            message = f"now: `{text[:40]}` is no time with a time zone, as in `2026-01-05T12:00:00Z`"
            self._reading.problem(found["now"].value.place, message)
            return DEFAULT_NOW
        return moment.astimezone(UTC)

    def _arguments(self, found: Mapping[str, Entry]) -> Mapping[str, Any]:
        if "args" not in found:
            return {}
        value = found["args"].value
        if value.kind != "map":
            self._reading.problem(value.place, f"args: expected a map of the arguments, got {value.described}")
            return {}
        return cast("dict[str, Any]", json_of(self._reading, value, "args"))

    def _annotations(self, found: Mapping[str, Entry]) -> Mapping[str, Any]:
        if "annotations" not in found:
            return {}
        section = self._reading.section(found["annotations"].value, "annotations", (*HINTS, "title"))
        hints: dict[str, Any] = {}
        for key, entry in (section or {}).items():
            if key == "title":
                hints[key] = _text(self._reading, section or {}, key)
            else:
                hints[key] = self._reading.flag(entry.value, key)
        return hints

    def _because(self, found: Mapping[str, Entry]) -> tuple[Reason, ...] | None:
        if "because" not in found:
            return None
        reasons: list[Reason] = []
        for item in _texts(self._reading, found["because"].value, "because"):
            layer, colon, rule = item.raw.rpartition(":")
            reason = Reason(rule, layer if colon else None)
            self._check_reason(item, reason)
            reasons.append(reason)
        return tuple(reasons)

    def _check_reason(self, item: Value, reason: Reason) -> None:
        if self._policy is None or reason.rule in _BUILT_IN_REASONS:
            return
        layers = self._policy.layers
        if reason.layer is not None:
            layers = tuple(each for each in layers if reason.layer in (each.name, each.name.rpartition("/")[2]))
            if not layers:
                names = [each.name for each in self._policy.layers]
                self._reading.problem(item.place, f"because: {unknown('layer', reason.layer, names)}")
                return
        ids = [rule.id for layer in layers for rule in layer.rules]
        if reason.rule not in ids:
            near = nearest(reason.rule, ids)
            meant = f"; did you mean `{near}`?" if near else ""
            self._reading.problem(item.place, f"because: no rule is called `{reason.rule[:80]}`{meant}")

    def _terms(self, found: Mapping[str, Entry]) -> Mapping[str, Any]:
        if "terms" not in found:
            return {}
        reading = self._reading
        section = reading.section(found["terms"].value, "terms", TERM_KEYS) or {}
        terms: dict[str, Any] = {}
        for key, entry in section.items():
            value = entry.value
            match key:
                case "approvers":
                    terms[key] = self._approvers(value)
                case "required_approvals":
                    terms[key] = reading.count(value, key)
                case "expires_after":
                    seconds = reading.seconds(value, key, bare=False)
                    terms[key] = timedelta(seconds=seconds) if seconds is not None else None
                case "decisions":
                    words = [reading.word(each, "decision", sorted(DECISIONS)) for each in reading.items(value, key)]
                    terms[key] = frozenset(words) | {"reject"}
                case "execute":
                    terms[key] = reading.word(value, key, ("claimed", "on_decision"))
                case _:
                    terms[key] = reading.flag(value, key)
        return terms

    def _approvers(self, value: Value) -> frozenset[frozenset[str]]:
        """A list of names is one restriction; a list of lists is several, each of which has to be met."""
        items = self._reading.items(value, "approvers")
        if any(item.kind == "list" for item in items):
            each = (_texts(self._reading, item, "approvers") for item in items)
            return frozenset(frozenset(name.raw for name in names) for names in each)
        names = _texts(self._reading, value, "approvers")
        return frozenset({frozenset(name.raw for name in names)}) if names else frozenset()


def _text(reading: Reading, found: Mapping[str, Entry], key: str) -> str | None:
    """The text of a scalar as it is written."""
    if key not in found:
        return None
    value = found[key].value
    if value.kind not in {"string", "number", "bool"}:
        reading.problem(value.place, f"{key}: expected a string, got {value.described}")
        return None
    return value.raw


def _texts(reading: Reading, value: Value, key: str) -> list[Value]:
    items: Iterable[Value] = reading.items(value, key)
    kept: list[Value] = []
    for item in items:
        if item.kind in {"string", "number"}:
            kept.append(item)
        else:
            reading.problem(item.place, f"{key}: expected a string, got {item.described}")
    return kept


def _words(kind: Kind) -> str:
    return kind.value.replace("_", " ").replace("server request", "server's request")


def json_of(reading: Reading, value: Value, what: str) -> Any:
    """Return the JSON value that `value` stands for; nothing in it is interpolated."""
    match value.kind:
        case "map":
            return {entry.key: json_of(reading, entry.value, what) for entry in value.entries}
        case "list":
            return [json_of(reading, item, what) for item in value.items]
        case "null":
            return None
        case "bool":
            return value.raw.lower() == "true"
        case "string":
            return value.raw
        case "number":
            return _number(reading, value, what)


def _number(reading: Reading, value: Value, what: str) -> int | float:
    if _HEX.fullmatch(value.raw):
        return int(value.raw, 0)
    if _INTEGER.fullmatch(value.raw) and len(value.raw) <= 4000:
        return int(value.raw)
    number = float(value.raw)
    if not math.isfinite(number):
        reading.problem(value.place, f"{what}: this number is too large for JSON")
        return 0
    return number
