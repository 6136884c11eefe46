"""What the model is told about a call of this process's own that did not simply run.

For MCP calls the proxy chooses the words. Like there, each text says whether anything was executed, where the call
stands, and what to do next: a model that is told less tries again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "agent_failed",
    "another_handoff",
    "answered",
    "bad_arguments",
    "denied",
    "edit_cannot_run",
    "edit_not_possible",
    "edited",
    "ended",
    "not_called",
    "not_run_again",
    "rejected_always",
    "sent_and_lost",
    "timed_out",
    "tool_raised",
    "unknown_tool",
]

Record = Mapping[str, Any]


def unknown_tool(name: str) -> str:
    """The model called what is not there (any more)."""
    return f"NOT EXECUTED: there is no tool `{name}`. Use one of the tools that you were given, or tell the user."


def bad_arguments(name: str, problem: str) -> str:
    """The arguments are not what they must be; nothing was asked or run."""
    return f"NOT EXECUTED: the arguments of `{name}` cannot be used: {problem}. Correct them and call again."


def denied(name: str, message: str) -> str:
    """Policy forbids it."""
    return (
        f"REFUSED BY POLICY: `{name}` was not executed: {message}. Repeating the call will not change that. Choose "
        "another way, or tell the user that policy forbids it."
    )


def rejected_always(name: str, message: str | None) -> str:
    """A person said that calls like this one are always rejected in this run."""
    why = f": {message.strip()}" if message and message.strip() else ""
    return (
        f"REJECTED: calls like this one of `{name}` are rejected in this run{why}. It was not executed and will not "
        "be. Do not repeat it; follow the reason, or ask the user how to go on."
    )


def not_run_again(name: str) -> str:
    """It was begun by a process that is gone."""
    return (
        f"OUTCOME UNKNOWN: the call of `{name}` was begun, and the process that ran it ended before it said what "
        "came of it. It may or may not have taken effect. Do NOT repeat it. Check the state of things with a "
        "read-only tool, or ask the user."
    )


def not_called(name: str) -> str:
    """Something is wrong that is not the model's to mend; it was not begun."""
    return (
        f"NOT EXECUTED: `{name}` could not be called, for a reason that you cannot mend. Nothing was executed. Do not "
        "repeat it now; go on without it, or tell the user."
    )


def sent_and_lost(name: str, reason: str) -> str:
    """It was sent and the answer was lost."""
    return (
        f"OUTCOME UNKNOWN: the call of `{name}` was sent, but no answer came back: {reason}. It may or may not have "
        "taken effect. Do NOT repeat it. Check the state of things with a read-only tool, or ask the user."
    )


def timed_out(name: str, seconds: float) -> str:
    """It was given up while it ran."""
    return (
        f"OUTCOME UNKNOWN: `{name}` did not end within {seconds:g} seconds and was given up. It may or may not have "
        "taken effect. Do NOT repeat it. Check the state of things with a read-only tool, or ask the user."
    )


def tool_raised(name: str, error: str) -> str:
    """It ran and failed."""
    return (
        f"`{name}` failed: {error}. It may have taken effect in part. Do not repeat it unchanged; check the state of "
        "things, or tell the user."
    )


def agent_failed(name: str, error: str) -> str:
    """The agent behind a tool came to no end of its own."""
    return (
        f"`{name}` gave no answer: {error}. What it did on the way was done. Do not start it again unchanged; go on "
        "without it, or tell the user."
    )


def another_handoff(name: str) -> str:
    """Several handoffs in one answer: one counts."""
    return f"NOT EXECUTED: another handoff of the same answer counts, so `{name}` does not."


def edit_cannot_run(name: str, record: Record, problem: str) -> str:
    """An approver changed the arguments to what the tool does not take."""
    return (
        f"NOT EXECUTED: {_by(record, 'edit')} changed the arguments of `{name}` to "
        f"{json.dumps(record.get('arguments'), ensure_ascii=False)}, and these cannot be used: {problem}. If it is "
        "still needed, call again, which asks anew."
    )


def edit_not_possible(name: str, record: Record) -> str:
    """An approver changed what the model's provider would have run, and it cannot be told so."""
    return (
        f"NOT EXECUTED: {_by(record, 'edit')} approved `{name}` with other arguments, and the server that runs it "
        "takes none but yours. Call it again with these, which asks anew: "
        f"{json.dumps(record.get('arguments'), ensure_ascii=False)}"
    )


def edited(record: Record, arguments: Mapping[str, Any]) -> str:
    """An approver changed what runs, and it did run."""
    return (
        f"EDITED BEFORE IT RAN: {_by(record, 'edit')} changed the arguments of this call. It ran with these instead: "
        f"{json.dumps(arguments, ensure_ascii=False)}"
    )


def ended(name: str, record: Record) -> str:
    """The text about a call whose interruption ended without a result, by its state."""
    why = _why(record)
    match record.get("state"):
        case "rejected":
            return (
                f"REJECTED: {_by(record, 'reject')} rejected this call of `{name}`{why}. It was not executed and "
                "will not be. Do not repeat it unchanged; follow the reason, or ask the user how to go on."
            )
        case "expired":
            return (
                f"EXPIRED: nobody decided in time about this call of `{name}`. It was not executed; it was not "
                "rejected either. If it is still needed, call again, which asks anew."
            )
        case "withdrawn":
            return (
                f"WITHDRAWN: this call of `{name}` was cancelled before it ran{why}. It was not executed. If it is "
                "still needed, call again, which asks anew."
            )
        case "superseded":
            return (
                f"NOT EXECUTED: what was asked about `{name}` no longer holds{why}, so the approval does not apply any "
                "more. If the call is still needed, call again, which asks anew."
            )
        case "failed":
            return f"NOT EXECUTED: the call of `{name}` was approved, but did not run{why}. Nothing was executed."
        case "executed":
            return (
                f"EXECUTED, RESULT NOT AVAILABLE: the approved call of `{name}` has run{why}. Its result is not "
                "kept. Do NOT repeat it; check the state of things with a read-only tool if you need to."
            )
        case _:
            return (
                f"OUTCOME UNKNOWN: the approved call of `{name}` was begun, and nobody knows what came of it{why}. "
                "It may or may not have taken effect. Do NOT repeat it. Check the state of things with a read-only "
                "tool, or ask the user."
            )


def answered(name: str, record: Record) -> str:
    """The words before what a person answered in the tool's place."""
    return f"ANSWERED BY A PERSON: `{name}` was not executed; {_by(record, 'respond')} answered in its place:"


def _by(record: Record, decision: str) -> str:
    for vote in reversed(record.get("decisions") or []):
        if vote.get("decision") == decision:
            return str(vote.get("by") or "an approver")
    return "an approver"


def _why(record: Record) -> str:
    if record.get("state") == "rejected":
        said = [vote.get("message") for vote in record.get("decisions") or [] if vote.get("decision") == "reject"]
        message = next((each for each in said if each), None)
    else:
        outcome = record.get("outcome") or {}
        message = record.get("reason") or outcome.get("note")
    return f": {str(message).strip()}" if message and str(message).strip() else ""
