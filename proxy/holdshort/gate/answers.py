"""What an agent is told about a call that did not simply run. Chosen here, nowhere else.

Every text says three things a model can act on: whether anything was executed, where the call stands, and what to do
next. A parked call is answered with `isError: true`, because clients check a result that is no error against the
tool's output schema, and a waiting call has no output.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from holdshort.gate.meta import ERROR_KEY, INTERRUPTION_KEY, OUTCOME_KEY
from holdshort.gate.methods import Era
from holdshort.interruption import Interruption, State
from holdshort.policy import Kind, Verdict
from holdshort.wire import RequestId, encode, error_reply, result_reply

__all__ = [
    "INTERNAL_ERROR",
    "INTERRUPTION_KEY",
    "INVALID_PARAMS",
    "METHOD_NOT_FOUND",
    "POLICY_REFUSED",
    "RESOURCE_NOT_FOUND",
    "UPSTREAM_ERROR",
    "call_id_reused",
    "denied",
    "failed_inside",
    "input_refused",
    "interruption_meta",
    "invalid_params",
    "no_record",
    "not_ready",
    "not_repeated",
    "over_quota",
    "pending_text",
    "refused",
    "settled",
    "status_text",
    "tool_error",
    "unknown_method",
    "unknown_name",
    "unknown_task",
    "unknown_tool",
    "upstream_failed",
    "waiting",
    "withheld_text",
]

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
UPSTREAM_ERROR: Final = -31_000
"""Ours, for an upstream that cannot be reached or does not answer; outside of what JSON-RPC and MCP reserve."""
_LONGEST_SHOWN: Final = 500

POLICY_REFUSED: Final = -31_002
"""Ours, for what policy denies where the answer cannot be a tool's result."""
RESOURCE_NOT_FOUND: Final = -32002
"""MCP 2024-11-05 to 2025-11-25, resources: error handling; from 2026-07-28 on it is `INVALID_PARAMS`."""


def unknown_tool(request_id: RequestId, name: str) -> dict[str, Any]:
    """A tool that is hidden and one that does not exist read the same."""
    return error_reply(request_id, INVALID_PARAMS, f"Unknown tool: {name}")


def unknown_method(request_id: RequestId, method: str) -> dict[str, Any]:
    """A method that no supported revision of this era defines."""
    return error_reply(request_id, METHOD_NOT_FOUND, f"Method not found: {method}")


def invalid_params(request_id: RequestId, reason: str) -> dict[str, Any]:
    """The request itself is wrong."""
    return error_reply(request_id, INVALID_PARAMS, reason)


def unknown_task(request_id: RequestId, task_id: str) -> dict[str, Any]:
    """A task of somebody else and one that never was read the same."""
    return error_reply(request_id, INVALID_PARAMS, f"Unknown task: {task_id}")


def failed_inside(request_id: RequestId) -> dict[str, Any]:
    """A fault of ours; what it is belongs in our log, not in an answer."""
    return error_reply(request_id, INTERNAL_ERROR, "The proxy failed inside; its log says where")


def upstream_failed(request_id: RequestId, reason: str) -> dict[str, Any]:
    """The server behind the proxy could not take or answer a request that needed no approval."""
    return error_reply(request_id, UPSTREAM_ERROR, reason)


def denied(request_id: RequestId, verdict: Verdict, tool: str, era: Era) -> dict[str, Any]:
    """Policy refuses the call; the rules are named so a person can find them."""
    text = (
        f"Refused by policy: `{tool}` may not be called with these arguments ({_rules(verdict)}). Nothing was "
        "executed, and repeating the call will not change that. Choose another way, or tell the user that policy "
        "forbids it."
    )
    return _marked(_tool_result(request_id, text, era, None), "denied")


def refused(request_id: RequestId, verdict: Verdict, kind: Kind, name: str) -> dict[str, Any]:
    """Policy refuses something that is no call of a tool."""
    thing = {Kind.RESOURCE: "the resource", Kind.PROMPT: "the prompt"}.get(kind, "the request")
    text = (
        f"Refused by policy: {thing} `{name[:_LONGEST_SHOWN]}` ({_rules(verdict)}). Repeating it will not change that"
    )
    return error_reply(request_id, POLICY_REFUSED, text)


def unknown_name(request_id: RequestId, kind: Kind, name: str, era: Era) -> dict[str, Any]:
    """A resource or prompt that is hidden and one that does not exist read the same."""
    if kind is Kind.PROMPT:
        return error_reply(request_id, INVALID_PARAMS, f"Unknown prompt: {name}")
    code = RESOURCE_NOT_FOUND if era is Era.LEGACY else INVALID_PARAMS
    return error_reply(request_id, code, f"Unknown resource: {name}")


def input_refused(request_id: RequestId, verdict: Verdict, tool: str, asked: str | None, era: Era) -> dict[str, Any]:
    """A server asks its client, in the middle of a call, for what policy does not let it ask."""
    wanted = f"`{asked}`" if asked is not None else "something that this client does not do"
    rules = f" ({_rules(verdict)})" if asked is not None else ""
    text = (
        f"Not completed: to go on with `{tool}`, its server asked for {wanted}, which policy does not let it ask"
        f"{rules}. Whether the call took effect in part, only the server knows. Do not repeat it unchanged; check the "
        "state of things, or tell the user."
    )
    return _tool_result(request_id, text, era, None)


def withheld_text(uri: str, verdict: Verdict) -> str:
    """What stands in place of a resource that policy denies."""
    return f"[Withheld by policy: the resource `{uri[:_LONGEST_SHOWN]}` ({_rules(verdict)})]"


def tool_error(request_id: RequestId, text: str, era: Era) -> dict[str, Any]:
    """A call that could not even be parked, in words for the model."""
    return _tool_result(request_id, text, era, None)


def over_quota(request_id: RequestId, reason: str, era: Era) -> dict[str, Any]:
    """Too much is waiting already."""
    text = (
        f"Not executed and not queued: {reason}. Wait until some of the calls that await approval are decided before "
        "asking for more."
    )
    return _marked(_tool_result(request_id, text, era, None), "quota_exceeded")


def call_id_reused(request_id: RequestId, call_id: str, tool: str, era: Era) -> dict[str, Any]:
    """The ids of this call are those of another one."""
    text = (
        f"Not executed: the call id `{call_id}` of this run is on record for a call of another tool or with other "
        f"arguments, so this call of `{tool}` was neither sent nor put before anybody. That is a fault of the program "
        "that sends the calls, which has to give each of them an id of its own."
    )
    reply = _tool_result(request_id, text, era, None)
    return _marked(reply, "call_id_reused")


def not_repeated(request_id: RequestId, tool: str, era: Era) -> dict[str, Any]:
    """It may have been sent before, needs no approval now, and nothing is on record of it."""
    text = (
        f"OUTCOME UNKNOWN: this call of `{tool}` may have been sent before, and what came of it is not on record. It "
        "was NOT sent again now. It may or may not have taken effect. Do NOT repeat it. Check the state of things with "
        "a read-only tool, or ask the user."
    )
    reply = _tool_result(request_id, text, era, None)
    reply["result"]["_meta"] = {OUTCOME_KEY: "unknown"}
    return reply


def no_record(request_id: RequestId, era: Era) -> dict[str, Any]:
    """The store cannot record, so no call is made."""
    text = (
        "Not executed: the approval proxy cannot record calls at the moment, so it makes none. This is a fault of the "
        "proxy, not of the call; tell the user, and try again later."
    )
    return _tool_result(request_id, text, era, None)


def waiting(request_id: RequestId, record: Interruption, era: Era) -> dict[str, Any]:
    """The client's patience is over, the call is not."""
    return _tool_result(request_id, pending_text(record), era, record)


def pending_text(record: Interruption) -> str:
    """The text about a call that has not ended, by where it stands."""
    if record.state is State.EXECUTING:
        return (
            f"RUNNING: the call of `{record.tool}` is approved and was sent to `{record.server}` (interruption "
            f"{record.id}); its answer has not come yet. To get the result, repeat exactly this call later, with the "
            "same arguments: it joins this one and does not run twice."
        )
    if record.state is State.APPROVED:
        return (
            f"NOT EXECUTED YET: this call of `{record.tool}` is approved (interruption {record.id}) and has not been "
            "sent. Repeat exactly this call, with the same arguments: it runs once, without asking again."
        )
    review = f" An approver can decide at {record.review_url} ." if record.review_url else ""
    return (
        f"NOT EXECUTED YET: `{record.tool}` needs a person's approval and is waiting for it (interruption "
        f"{record.id}). Nothing has been sent to `{record.server}`.{review} The request waits until "
        f"{_time(record.expires_at)}. To get the result, repeat exactly this call later, with the same arguments: it "
        "joins this request, asks nobody twice and runs once. Do not try to reach the same effect another way."
    )


def status_text(record: Interruption) -> str:
    """One line on where a call stands, for progress messages and task handles."""
    match record.state:
        case State.PENDING:
            got = len({vote.by for vote in record.decisions if vote.decision == "approve"})
            wanted = record.terms.required_approvals
            count = f" ({got} of {wanted} approvals)" if wanted > 1 else ""
            where = f": {record.review_url}" if record.review_url else ""
            return f"awaiting human approval{count}{where}"
        case State.APPROVED:
            return "approved, about to run"
        case State.EXECUTING:
            return "approved, running"
        case _:
            return _what_happened(record)


def not_ready(request_id: RequestId, record: Interruption, reason: str, era: Era) -> dict[str, Any]:
    """Approved, but the server cannot be reached; the approval stands."""
    text = (
        f"NOT EXECUTED YET: this call of `{record.tool}` is approved (interruption {record.id}), but {reason}. Nothing "
        "was executed. Repeat exactly this call later: it runs once the server can be reached, without asking again."
    )
    return _tool_result(request_id, text, era, record)


def settled(request_id: RequestId, record: Interruption, era: Era) -> dict[str, Any]:
    """The answer to a call whose interruption has ended.

    An executed call is answered with what its server said, as it said it; only where an approver changed the
    arguments is the model told, because it would otherwise reason from a call that never ran.
    """
    outcome = record.outcome
    if record.state is State.EXECUTED and outcome is not None:
        if outcome.error is not None:
            return {"jsonrpc": "2.0", "id": request_id, "error": outcome.error}
        if outcome.result is None:
            return _tool_result(request_id, _ran_unseen_text(record), era, record)
        result = dict(outcome.result)
        if era is Era.MODERN:
            # It may have been asked for, and answered, in the other era.
            result.setdefault("resultType", "complete")
        if record.fingerprint != record.requested_fingerprint:
            result["content"] = [_text(_edited_text(record)), *_content(result)]
        result["_meta"] = {**_mapping(result.get("_meta")), INTERRUPTION_KEY: interruption_meta(record)}
        return result_reply(request_id, result)
    if record.state is State.ANSWERED:
        return _answered(request_id, record, era)
    return _tool_result(request_id, _what_happened(record), era, record)


def interruption_meta(record: Interruption) -> dict[str, Any]:
    """The value under `_meta["holdshort/interruption"]` on every answer about a parked call; it carries no secret."""
    return {
        "id": record.id,
        "state": record.state.value,
        "revision": record.revision,
        "kind": record.kind,
        "server": record.server,
        "tool": record.tool,
        "fingerprint": record.fingerprint,
        "edited": record.fingerprint != record.requested_fingerprint,
        "expires_at": _time(record.expires_at),
        "review_url": record.review_url,
    }


def _rules(verdict: Verdict) -> str:
    return ", ".join(f"{because.layer} rule {because.rule}" for because in verdict.because)


def _what_happened(record: Interruption) -> str:
    tool = f"`{record.tool}`"
    said = _reason(record)
    match record.state:
        case State.REJECTED:
            by = next((vote.by for vote in record.decisions if vote.decision == "reject"), "an approver")
            return (
                f"REJECTED: {by} rejected this call of {tool}{said}. It was not executed and will not be. Do not "
                "repeat it unchanged; follow the reason, or ask the user how to go on."
            )
        case State.EXPIRED:
            return (
                f"EXPIRED: nobody decided in time about this call of {tool}. It was not executed; it was not rejected "
                "either. If it is still needed, call again, which asks anew."
            )
        case State.WITHDRAWN:
            return (
                f"WITHDRAWN: this call of {tool} was cancelled before it ran{said}. It was not executed. "
                "If it is still needed, call again, which asks anew."
            )
        case State.SUPERSEDED:
            return (
                f"NOT EXECUTED: what was asked about {tool} no longer holds{said}, so the approval does not "
                "apply any more. Look at the tool's definition again and, if the call is still needed, call again."
            )
        case State.FAILED:
            return (
                f"NOT EXECUTED: the call of {tool} was approved, but it could not be delivered{said}. Nothing was "
                "executed. If it is still needed, call again, which asks anew."
            )
        case State.UNKNOWN:
            return (
                f"OUTCOME UNKNOWN: the approved call of {tool} was sent, but no answer came back{said}. It may or "
                "may not have taken effect. Do NOT repeat it. Check the state of things with a read-only tool, or "
                "ask the user."
            )
        case State.EXECUTED:
            return f"the call of {tool} was approved and has run"
        case State.ANSWERED:
            return f"an approver answered in place of {tool}; the tool was not called"
        case _:
            return pending_text(record)


def _answered(request_id: RequestId, record: Interruption, era: Era) -> dict[str, Any]:
    by = next((vote.by for vote in record.decisions if vote.decision == "respond"), "an approver")
    note = f"ANSWERED BY A PERSON: `{record.tool}` was not executed; {by} answered in its place:"
    if record.purged_at is not None:
        return _tool_result(request_id, f"{note} the answer is no longer kept. Ask the user.", era, record)
    answer = record.answer
    content = answer if _is_content(answer) else [_text(answer if isinstance(answer, str) else _json(answer))]
    result: dict[str, Any] = {"content": [_text(note), *content]}
    if record.definition is not None and "outputSchema" in record.definition:
        # Clients check a result that is no error against that schema, and a person's words do not fit it.
        result["isError"] = True
    return result_reply(request_id, _with_meta(result, era, record))


def _edited_text(record: Interruption) -> str:
    by = next((vote.by for vote in reversed(record.decisions) if vote.decision == "edit"), "an approver")
    ran = _json(record.arguments)
    return f"EDITED BEFORE IT RAN: {by} changed the arguments of this call. It ran with these instead: {ran}"


def _ran_unseen_text(record: Interruption) -> str:
    note = f": {record.outcome.note}" if record.outcome is not None and record.outcome.note else ""
    return (
        f"EXECUTED, RESULT NOT AVAILABLE: the approved call of `{record.tool}` has run{note}. Its result was not seen "
        "or is no longer kept. Do NOT repeat it; check the state of things with a read-only tool if you need to."
    )


def _reason(record: Interruption) -> str:
    if record.state is State.REJECTED:
        message = next((vote.message for vote in record.decisions if vote.decision == "reject"), None)
    else:
        message = record.reason or (record.outcome.note if record.outcome else None)
    return f": {message.strip()}" if message and message.strip() else ""


def _tool_result(request_id: RequestId, text: str, era: Era, record: Interruption | None) -> dict[str, Any]:
    return result_reply(request_id, _with_meta({"content": [_text(text)], "isError": True}, era, record))


def _marked(reply: dict[str, Any], error: str) -> dict[str, Any]:
    """A word for programs, beside the text for the model."""
    reply["result"]["_meta"] = {ERROR_KEY: error}
    return reply


def _with_meta(result: dict[str, Any], era: Era, record: Interruption | None) -> dict[str, Any]:
    if era is Era.MODERN:
        result = {"resultType": "complete", **result}
    if record is not None:
        result["_meta"] = {INTERRUPTION_KEY: interruption_meta(record)}
    return result


def _is_content(answer: object) -> TypeGuard[list[dict[str, Any]]]:
    """Whether it is a list of content blocks, which goes to the client as it is."""
    return isinstance(answer, list) and all(isinstance(part, dict) and "type" in part for part in answer)


def _json(value: object) -> str:
    return encode(value).decode()


def _content(result: Mapping[str, Any]) -> list[Any]:
    content = result.get("content")
    return content if isinstance(content, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _time(at: Any) -> str:
    return str(at.strftime("%Y-%m-%dT%H:%M:%SZ"))
