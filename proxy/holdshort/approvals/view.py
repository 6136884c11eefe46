"""One parked call as the page shows it: everything decided here, so that a template only places it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from holdshort.approvals.inert import Kind, ascii_json, findings, pretty_json, strings_in
from holdshort.approvals.own_words import OWN_OUTCOME_WORDS, OWN_STATE_WORDS, own_words
from holdshort.config.principals import Principal
from holdshort.interruption import Interruption, OutcomeKind, State, canonical, is_eligible, timestamp
from holdshort.interruption.comparison import DiffLine, diff_lines
from holdshort.policy.lookalikes import Flag, flags_in

__all__ = ["STATE_WORDS", "Argument", "CallView", "DiffLine", "Warn", "diff_lines", "snippet", "view_of"]

SNIPPET_CHARACTERS: Final = 140
FOLD_CHARACTERS: Final = 1500
FOLD_LINES: Final = 40
HEAD_CHARACTERS: Final = 600
TAIL_CHARACTERS: Final = 200
JSON_CHARACTERS: Final = 100_000

STATE_WORDS: Final[Mapping[State, str]] = {
    State.PENDING: "Waiting for a decision.",
    State.APPROVED: "Approved. It runs once, when the agent comes back for it.",
    State.REJECTED: "Rejected. It did not run.",
    State.ANSWERED: "Answered in the tool's place. The tool was not called.",
    State.EXPIRED: "Time ran out. It did not run.",
    State.WITHDRAWN: "The agent took it back. It did not run.",
    State.SUPERSEDED: "What was asked about has changed. It did not run.",
    State.EXECUTING: "Running now.",
    State.EXECUTED: "It ran.",
    State.FAILED: "It did not run.",
    State.UNKNOWN: "It was sent and no answer came. It may have run; look before you decide anything else.",
}
_OUTCOME_WORDS: Final[Mapping[OutcomeKind, str]] = {
    OutcomeKind.OK: "The tool answered.",
    OutcomeKind.TOOL_ERROR: "The tool ran and reported an error.",
    OutcomeKind.UPSTREAM_ERROR: "The server answered with an error.",
    OutcomeKind.NOT_RUN: "It never reached the server.",
    OutcomeKind.LOST: "The answer was lost.",
    OutcomeKind.RAN: "An operator says that it ran.",
}
_WARNINGS: Final[Mapping[Kind, str]] = {
    Kind.BIDI: "changes the direction of text",
    Kind.CONTROL: "control or terminal sequence",
    Kind.INVISIBLE: "invisible",
    Kind.SPACE: "unusual space",
    Kind.ODD: "letter of another alphabet inside a word",
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One top-level argument. `text` is all of it; `head` and `tail` are its ends where it is folded."""

    name: str
    about: str
    text: str
    folded: bool
    is_text: bool

    @property
    def head(self) -> str:
        return "\n".join(self.text[:HEAD_CHARACTERS].split("\n")[:12])

    @property
    def tail(self) -> str:
        return "\n".join(self.text[-TAIL_CHARACTERS:].split("\n")[-4:])


@dataclass(frozen=True, slots=True)
class Warn:
    """How many characters of one worrying kind the call has."""

    kind: Kind
    count: int
    words: str


@dataclass(frozen=True, slots=True)
class CallView:
    """What the templates are given."""

    record: Interruption
    own_words: str | None
    """For what the agent runs itself: what it is, and that the proxy does not run it."""
    state_words: str
    outcome_words: str | None
    arguments: Sequence[Argument]
    size: str
    json_text: str | None
    edit_text: str
    warnings: Sequence[Warn]
    title: str | None
    description: str | None
    hints: Sequence[str]
    schema_text: str | None
    definition_warnings: Sequence[Warn]
    definition_flags: Sequence[Flag]
    changes: Sequence[tuple[str, Sequence[DiffLine]]]
    """How the tool differs from what it is pinned to, by field."""
    edited: Sequence[DiffLine]
    result_text: str | None
    approvals: Sequence[str]
    allowed: Sequence[str]
    barred: str | None
    already_voted: bool
    created: str
    expires: str
    due: str | None


def view_of(record: Interruption, viewer: Principal, now: datetime) -> CallView:
    """Return how `viewer` sees `record` at `now`."""
    definition = record.definition or {}
    annotations = definition.get("annotations")
    title = definition.get("title")
    if title is None and isinstance(annotations, dict):
        title = annotations.get("title")
    eligible = is_eligible(record, viewer.name, viewer.groups)
    voted = any(vote.by == viewer.name for vote in record.counted())
    allowed = record.allowed_decisions() if eligible else ()
    schema = definition.get("inputSchema")
    json_text = pretty_json(record.arguments)
    outcome = record.outcome
    return CallView(
        record=record,
        own_words=own_words(record.kind),
        state_words=OWN_STATE_WORDS.get(record.state, STATE_WORDS[record.state])
        if record.is_own
        else STATE_WORDS[record.state],
        outcome_words=None if outcome is None else _outcome_words(record.is_own, outcome.kind),
        arguments=[_argument(name, value) for name, value in record.arguments.items()],
        size=_size(len(canonical(record.arguments))),
        json_text=json_text if len(json_text) <= JSON_CHARACTERS else None,
        edit_text=ascii_json(record.arguments),
        warnings=_warnings([record.tool, record.server, *strings_in(record.arguments)]),
        title=title if isinstance(title, str) else None,
        description=_text_or_none(definition.get("description")),
        hints=["what it does is not known here"] if record.is_own else _hints(annotations),
        schema_text=None if schema is None else pretty_json(schema),
        definition_warnings=_warnings(list(strings_in(definition))),
        definition_flags=flags_in(definition),
        changes=_changes(record),
        edited=(
            diff_lines(pretty_json(record.requested_arguments), json_text)
            if record.fingerprint != record.requested_fingerprint and record.purged_at is None
            else ()
        ),
        result_text=_result(record),
        approvals=[vote.by for vote in record.counted()],
        allowed=allowed,
        barred=None if eligible or record.state is not State.PENDING else _why_barred(record, viewer),
        already_voted=voted and record.state is State.PENDING,
        created=timestamp(record.created_at),
        expires=timestamp(record.expires_at),
        due=None if record.due_at is None or record.due_at <= now else timestamp(record.due_at),
    )


def _outcome_words(own: bool, kind: OutcomeKind) -> str:
    return OWN_OUTCOME_WORDS.get(kind, _OUTCOME_WORDS[kind]) if own else _OUTCOME_WORDS[kind]


def snippet(arguments: Mapping[str, Any]) -> str:
    """Return the beginning of the arguments on one line, to tell calls apart in a list; nobody decides on it."""
    text = ""
    for name, value in arguments.items():
        if len(text) > SNIPPET_CHARACTERS:
            break
        # Only the beginning of what is long: a list of calls must not cost what all their arguments do.
        if isinstance(value, dict | list):
            shown = (
                ("{…}" if isinstance(value, dict) else "[…]") if value else ("{}" if isinstance(value, dict) else "[]")
            )
        else:
            shown = json.dumps(value[:SNIPPET_CHARACTERS] if isinstance(value, str) else value, ensure_ascii=False)
        text += f"{'  ' if text else ''}{name[:SNIPPET_CHARACTERS]}={shown}"
    return text if len(text) <= SNIPPET_CHARACTERS else text[:SNIPPET_CHARACTERS] + "…"


def _changes(record: Interruption) -> list[tuple[str, Sequence[DiffLine]]]:
    by_field = groupby(record.changed_lines(), key=lambda line: line.field)
    return [(field, [DiffLine(line.sign, line.text) for line in lines]) for field, lines in by_field]


def _argument(name: str, value: Any) -> Argument:
    text = value if isinstance(value, str) else pretty_json(value)
    lines = text.count("\n") + 1
    folded = len(text) > FOLD_CHARACTERS or lines > FOLD_LINES
    match value:
        case bool() | None:
            about = "yes or no" if value is not None else "null"
        case str():
            about = f"text, {len(text):,} character{'' if len(text) == 1 else 's'}"
            about += f", {lines:,} lines" if lines > 1 else ""
        case int() | float():
            about = "number"
        case list():
            about = f"list of {len(value):,}, {_size(len(text.encode()))}"
        case _:
            about = f"object with {len(value):,} key{'' if len(value) == 1 else 's'}, {_size(len(text.encode()))}"
    return Argument(name, about, text, folded, isinstance(value, str))


def _size(count: int) -> str:
    if count < 10_000:
        return f"{count:,} byte{'' if count == 1 else 's'}"
    return f"{count / 1024:,.1f} KiB" if count < 1024 * 1024 else f"{count / 1024 / 1024:,.1f} MiB"


def _warnings(texts: Sequence[str]) -> list[Warn]:
    return [Warn(kind, count, _WARNINGS[kind]) for kind, count in findings(texts).items()]


def _hints(annotations: Any) -> list[str]:
    """Return what the server claims about its tool, in words; an undeclared hint has the protocol's careful default."""
    said = annotations if isinstance(annotations, dict) else {}
    read_only = said.get("readOnlyHint") is True
    words = ["says it only reads" if read_only else "may change things"]
    if not read_only:
        words.append("may destroy" if said.get("destructiveHint") is not False else "says it does not destroy")
        words.append(
            "says repeating is harmless" if said.get("idempotentHint") is True else "repeating may do it twice"
        )
    words.append("stays local, it says" if said.get("openWorldHint") is False else "reaches beyond this machine")
    return words


def _result(record: Interruption) -> str | None:
    if record.answer is not None:
        return record.answer if isinstance(record.answer, str) else pretty_json(record.answer)
    outcome = record.outcome
    if outcome is None:
        return None
    said = outcome.result if outcome.result is not None else outcome.error
    return None if said is None else pretty_json(said)


def _why_barred(record: Interruption, viewer: Principal) -> str:
    if viewer.name in (record.requested_by.agent, record.requested_by.acts_for):
        return "You asked for this call, so another approver must decide."
    names = " and ".join(" or ".join(sorted(group)) for group in record.terms.approvers)
    return f"Only {names} may decide this call."


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
