"""The `agents` and `approvers` of a configuration, and the names that rules may use for them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from holdshort.config.document import Entry, Value
from holdshort.config.model import AgentConfig, ApproverConfig
from holdshort.config.principals import LOCAL_AGENT, LOCAL_APPROVER
from holdshort.config.reading import Reading
from holdshort.config.rules import Mentions, PackMention
from holdshort.policy.own import may_be_own
from holdshort.policy.words import listed, nearest

__all__ = ["AGENT_KEYS", "PERSON_KEYS", "People", "check_mentions", "read_people"]

PERSON_KEYS: Final = ("name", "token", "groups")
AGENT_KEYS: Final = (*PERSON_KEYS, "acts_for")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_SHORT_TOKEN: Final = 16


@dataclass(slots=True)
class People:
    """Everybody configured; `tokens` (value to who has it first) finds one token given to two."""

    agents: list[AgentConfig] = field(default_factory=list[AgentConfig])
    approvers: list[ApproverConfig] = field(default_factory=list[ApproverConfig])
    tokens: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    principals: list[tuple[str, Value]] = field(default_factory=list[tuple[str, Value]])
    """Whom agents act for, with the place that says so."""

    @property
    def agent_words(self) -> frozenset[str]:
        """Names and groups that `agents` of a rule can match."""
        return _words(self.agents) or frozenset({LOCAL_AGENT})

    @property
    def approver_words(self) -> frozenset[str]:
        """Names and groups that `approvers` of a rule may say."""
        return _words(self.approvers) or frozenset({LOCAL_APPROVER})


def read_people(reading: Reading, agents: Entry | None, approvers: Entry | None) -> People:
    """Read both lists."""
    people = People()
    for entry, kind in ((agents, "agent"), (approvers, "approver")):
        if entry is None:
            continue
        if entry.value.kind != "list":
            reading.problem(entry.value.place, f"{entry.key}: expected a list, got {entry.value.described}")
        names: dict[str, int] = {}
        groups: dict[str, Value] = {}
        for item in entry.value.items:
            _read_person(reading, item, kind, people, names, groups)
        for group, value in groups.items():
            if group in names:
                # A rule that says this word would mean two different sets of people.
                message = f"groups: `{group}` is also the name of an {kind}, on line {names[group]}; rename one"
                reading.problem(value.place, message)
    known = [approver.name for approver in people.approvers]
    for person, value in people.principals:
        if person not in known:
            # Somebody who cannot decide anyway needs no separation; it is a misspelt name.
            reading.problem(value.place, f"acts_for: {reading.unknown(value, 'approver', known)}")
    return people


def _read_person(
    reading: Reading, value: Value, kind: str, people: People, names: dict[str, int], groups: dict[str, Value]
) -> None:
    known = AGENT_KEYS if kind == "agent" else PERSON_KEYS
    found = reading.section(value, kind, known)
    if found is None:
        return
    for key in ("name", "token"):
        if key not in found:
            reading.missing(value, key, f"every {kind} needs a `{key}`", known)
    name = _name(reading, found["name"].value, f"{kind}: name") if "name" in found else None
    if name is not None:
        if name in names:
            reading.problem(found["name"].value.place, f"the {kind} `{name}` is already there, on line {names[name]}")
        names.setdefault(name, found["name"].place.line)
    token = None
    if "token" in found:
        token = _token(reading, found["token"].value, f"{kind} `{name}`" if name else kind, people)
    member_of: set[str] = set()
    if "groups" in found:
        for item in reading.items(found["groups"].value, "groups"):
            group = _name(reading, item, "group")
            if group is not None:
                member_of.add(group)
                groups.setdefault(group, item)
    # A bad token is reported already; the name still counts, so that rules naming it are not reported too.
    if name is not None and kind == "agent":
        acts_for = _name(reading, found["acts_for"].value, "acts_for") if "acts_for" in found else None
        if acts_for is not None:
            people.principals.append((acts_for, found["acts_for"].value))
        people.agents.append(AgentConfig(name, token or "", frozenset(member_of), acts_for))
    elif name is not None:
        people.approvers.append(ApproverConfig(name, token or "", frozenset(member_of)))


def _name(reading: Reading, value: Value, what: str) -> str | None:
    if value.kind not in {"string", "number"}:
        reading.problem(value.place, f"{what}: expected a name, got {value.described}")
        return None
    # Not interpolated: who may do what is to be read in the file, and names show in messages.
    if not _NAME.fullmatch(value.raw):
        message = f"{what}: `{value.raw[:80]}` is no name; use letters, digits and `-_.@+`, at most 64 of them"
        reading.problem(value.place, message)
        return None
    return value.raw


def _token(reading: Reading, value: Value, who: str, people: People) -> str | None:
    token = reading.text(value, f"{who}: token", numbers=True)
    if token is None:
        return None
    if not token:
        reading.problem(value.place, f"{who}: the token is empty")
    elif not _TOKEN.fullmatch(token):
        reading.problem(value.place, f"{who}: the token has white space or characters that no HTTP header can carry")
    elif token in people.tokens:
        reading.problem(
            value.place, f"{who} has the same token as {people.tokens[token]}; every token is one principal's"
        )
    else:
        people.tokens[token] = who
        if len(token) < _SHORT_TOKEN:
            reading.note(value.place, f"{who}: the token is short; `openssl rand -hex 32` makes a good one")
        return token
    return None


def check_mentions(reading: Reading, mentions: Mentions, people: People, labels: Iterable[str]) -> None:
    """Report what rules say about people who do not exist, and note servers that do not."""
    unclear: set[str] = set()
    for rule, value in mentions.approvers:
        if reading.filled(value) not in people.approver_words:
            unclear.add(rule)
            message = reading.unknown(value, "approver or group", sorted(people.approver_words))
            if not people.approvers:
                message += "; no `approvers` are configured"
            reading.problem(value.place, message, rule)
    for rule, pattern, value in mentions.agents:
        if any(map(pattern.matches, people.agent_words)):
            continue
        if pattern.is_glob:
            reading.note(value.place, f"no agent or group here matches `{value.raw[:80]}`", rule)
        else:
            reading.problem(value.place, reading.unknown(value, "agent or group", sorted(people.agent_words)), rule)
    for rule, allowed, required, value in mentions.quorums:
        able = _able(people, allowed)
        if len(able) < required and rule not in unclear:
            who = f"only {listed(able, 'and')} can decide" if able else "nobody can decide"
            reading.problem(value.place, f"required_approvals: {required} are needed, but {who}", rule)
    known = tuple(labels)
    for rule, tool, value in mentions.tools:
        if tool.plain_server is not None and known and tool.plain_server not in known and not may_be_own(tool.server):
            reading.note(
                value.place, f"no server here is called `{tool.plain_server}`{_meant(tool.plain_server, known)}", rule
            )
    for pack in mentions.packs:
        _check_pack(reading, pack, known)


def _check_pack(reading: Reading, pack: PackMention, known: tuple[str, ...]) -> None:
    """Note a pack that is about no server here: its rules match nothing."""
    for label, value in pack.servers:
        if known and label not in known:
            reading.note(value.place, f"servers: no server here is called `{label}`{_meant(label, known)}")
    if known and not pack.servers and pack.usual is not None and pack.usual not in known:
        hint = f"`{{pack: {pack.name}, servers: [{nearest(pack.usual, known) or known[0]}]}}`"
        message = (
            f"the pack `{pack.name}` is about a server called `{pack.usual}`, and there is none; bind it with {hint}"
        )
        reading.note(pack.place.place, message)


def _able(people: People, allowed: frozenset[str] | None) -> list[str]:
    approvers = people.approvers or [ApproverConfig(LOCAL_APPROVER, "")]
    return sorted(one.name for one in approvers if allowed is None or one.name in allowed or one.groups & allowed)


def _meant(word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f"; did you mean `{near}`?" if near else ""


def _words(people: Iterable[AgentConfig | ApproverConfig]) -> frozenset[str]:
    return frozenset(word for one in people for word in (one.name, *one.groups))
