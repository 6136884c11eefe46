"""Calls that happened, taken from the state folder: as they came, for asking today's policy about them again."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdshort.cli.policy.common import fail_usage

if TYPE_CHECKING:
    import apsw

    from holdshort.policy import Policy, ToolFacts
    from holdshort.store import LogEntry

__all__ = ["Past", "find_interruption", "find_row"]


@dataclass(frozen=True, slots=True)
class Past:
    """One call as it came. `arguments` is None where only its row in the log is left, which holds none."""

    server: str
    tool: str | None
    agent: str
    arguments: dict[str, Any] | None = field(repr=False, default=None)
    client: str | None = None
    client_version: str | None = None
    at: datetime | None = None
    then: str = ""
    """What was said at the time."""
    policy_digest: str | None = None
    """All of it, or its first digits."""
    facts: "ToolFacts | None" = None
    """What was known of the tool, where that was recorded."""
    groups: frozenset[str] | None = None
    other: tuple[str, str] | None = None
    """Kind and name of what is no tool."""

    def words(self, policy: "Policy") -> list[str]:
        """Return what was said then, and whether the policy is still that one."""
        lines = [f"then: {self.then}"]
        if self.policy_digest is not None and not policy.digest.startswith(self.policy_digest):
            lines.append(f"the policy was another one then ({self.policy_digest[:12]}; it is {policy.digest[:12]} now)")
        if self.arguments is None:
            lines.append("the log holds no arguments; none are assumed unless `--args` gives them")
        return lines


def find_interruption(folder: Path | None, interruption: str) -> Past:
    """Return the call that was parked under this id; ends the command when there is none."""
    from holdshort.errors import HoldshortError
    from holdshort.store import queries

    with _opened(folder) as connection:
        try:
            record = queries.get(connection, interruption)
        except HoldshortError:
            fail_usage(f"--interruption: there is no `{interruption[:80]}` in this state folder")
    asked = record.requested_by
    reasons = ", ".join(f"{reason.layer}: {reason.rule}" for reason in record.because)
    return Past(
        record.server,
        record.tool,
        asked.agent,
        dict(record.arguments),
        asked.client,
        asked.client_version,
        record.created_at,
        f"it was parked ({reasons}), and is {record.state.value}",
        record.policy_digest,
    )


def find_row(folder: Path | None, sequence: int) -> Past:
    """Return the call that a row of the log is about; ends the command when there is none."""
    from holdshort.store import log, recordings

    with _opened(folder) as connection:
        row = next(log.read(connection, after=sequence - 1, limit=1), None)
        text = recordings.read(connection, sequence)
    if row is None or row.sequence != sequence:
        fail_usage(f"--from-log: the log has no row {sequence}")
    fields: Mapping[str, Any] = row.fields
    if fields.get("kind") != "verdict" and not fields.get("interruption"):
        fail_usage(f"--from-log: row {sequence} ({fields.get('kind')}) is about no call")
    known = _recorded(row, text)
    if fields.get("interruption"):
        parked = find_interruption(folder, str(fields["interruption"]))
        return parked if known is None else replace(parked, **known)
    detail = fields.get("detail") or {}
    digest = detail.get("policy_digest", detail.get("policy"))
    at = fields.get("at")
    reasons = ", ".join(f"{each['layer']}: {each['rule']}" for each in fields.get("because", ()))
    past = Past(
        str(fields["server"]),
        None if "kind" in detail else str(fields["tool"]),
        str(fields["agent"]),
        at=datetime.fromisoformat(at).astimezone(UTC) if isinstance(at, str) else None,
        then=f"the log says {fields.get('action', fields.get('kind'))}{f' ({reasons})' if reasons else ''}",
        policy_digest=digest if isinstance(digest, str) else None,
        other=(detail["kind"], str(detail["name"])) if "kind" in detail else None,
    )
    return past if known is None else replace(past, **known)


def _recorded(row: "LogEntry", text: str | None) -> dict[str, Any] | None:
    """Return what was recorded with a row; ends the command where that is not as it was written."""
    from holdshort.cli.policy.traffic import Knowing, Row, recorded
    from holdshort.policy import Access, Kind
    from holdshort.policy.recorded import Gap
    from holdshort.store.chain import BrokenLink

    if text is None:
        return None
    try:
        call = recorded(Row(row, text), Knowing({}, {}))
    except BrokenLink as broken:
        fail_usage(f"--from-log: {broken.problem}")
    if call is None or call.asked is None:
        return None
    question, gaps = call.asked.question, call.asked.gaps
    caller = question.caller
    known: dict[str, Any] = {
        "client": caller.client,
        "client_version": caller.client_version,
        "groups": caller.groups,
        "at": question.now.astimezone(UTC),
    }
    if isinstance(question, Access):
        known["other"] = (question.kind.value, question.name)
        missing = question.kind is Kind.PROMPT and bool(gaps & {Gap.ARGUMENTS, Gap.TOO_LARGE})
    else:
        known["facts"] = question.tool
        missing = bool(gaps & {Gap.ARGUMENTS, Gap.TOO_LARGE})
    known["arguments"] = None if missing else dict(question.arguments)
    return known


@contextmanager
def _opened(folder: Path | None) -> "Generator[apsw.Connection]":
    from holdshort.errors import StateError
    from holdshort.store.folder import DATABASE, choose_folder
    from holdshort.store.schema import open_current

    path = choose_folder(folder, os.environ) / DATABASE
    if not path.is_file():
        fail_usage(f"there is no state in `{path.parent}`; choose the folder with `--state-dir`")
    try:
        with open_current(path) as connection:
            yield connection
    except StateError as error:
        fail_usage(str(error))
