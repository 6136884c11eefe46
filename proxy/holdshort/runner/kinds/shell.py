"""The model's shell: its commands go to the program's executor, and what they said goes back in the service's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, read_arguments
from holdshort.runner.data import CallData, CallStatus, Item
from holdshort.runner.kinds.own import Cleared, cleared
from holdshort.runner.kinds.running import begun, called, described, ended, ran
from holdshort.runner.output import tool_output
from holdshort.runner.settling import Desk
from holdshort.runner.tools import ShellAction, ShellTool

__all__ = ["settle", "shell_output"]

DEFINITION: Final[Mapping[str, Any]] = {
    "description": "Run commands in a shell, one after the other.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "commands": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "timeout_ms": {"type": ["integer", "null"]},
            "max_output_length": {"type": ["integer", "null"]},
        },
        "required": ["commands"],
    },
}


async def settle(desk: Desk, tool: ShellTool, call: CallData) -> None:
    """Bring the call to its output, or to where it waits.

    Raises:
        RunnerError: a hook ended the run, or the proxy failed.
    """
    if call.status in (CallStatus.NEW, CallStatus.SENT) and (problem := _problem(call)):
        await desk.finish(call, texts.bad_arguments(call.name, problem))
        return
    clearance = await cleared(desk, call, tool.needs_approval, DEFINITION, timeout_seconds=tool.timeout_seconds)
    if clearance is None:
        return
    try:
        action = _action(clearance.arguments)
    except ValueError as fault:
        # Edited to that, against a schema that says otherwise.
        context = desk.tool_context(call, clearance.text)
        text = texts.edit_cannot_run(call.name, clearance.record or {}, str(fault))
        await ended(desk, tool, call, clearance, context, "failed", _said(call, text), str(fault))
        return
    context = desk.tool_context(call, clearance.text)
    if not await begun(desk, tool, call, clearance, context):
        return

    async def work() -> Any:
        return await called(tool.executor, context, action)

    came = await ran(desk, call, clearance, work, tool.timeout_seconds)
    if came.kind == "unknown":
        text = texts.timed_out(call.name, tool.timeout_seconds or 0.0)
        chunks = [_chunk("", text, {"type": "timeout"})]
        note = f"the commands did not end within {tool.timeout_seconds:g} seconds"
    elif came.error is not None:
        chunks, note = [_chunk("", texts.tool_raised(call.name, described(came.error)), _exit(1))], None
    else:
        chunks, note = shell_output(came.value, action.max_output_length), None
    item = _item(call, _with_edit(clearance, chunks), action.max_output_length)
    await ended(desk, tool, call, clearance, context, came.kind, item, note)


def shell_output(value: Any, longest: int | None = None) -> list[Item]:
    """Return what an executor returned as the chunks of a `shell_call_output`, at most `longest` characters of each.

    A text is what went to standard output. Whatever does not have the form of a chunk is shown as text: it ran.
    """
    given: Sequence[Any] = value if isinstance(value, list | tuple) and value else [value]
    return [_cut(_chunk_of(each), longest) for each in given]


def _problem(call: CallData) -> str | None:
    try:
        _action(read_arguments(call.arguments, call.name))
    except BadArguments as bad:
        return bad.problem
    except ValueError as problem:
        return str(problem)
    return None


def _action(arguments: Mapping[str, Any]) -> ShellAction:
    commands = arguments.get("commands")
    if not isinstance(commands, list) or not commands or not all(isinstance(each, str) for each in commands):
        raise ValueError("`commands` must be a list of texts")
    limits = {name: arguments.get(name) for name in ("timeout_ms", "max_output_length")}
    for name, limit in limits.items():
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise ValueError(f"`{name}` must be a whole number")
    return ShellAction(tuple(commands), **limits)


def _chunk_of(each: Any) -> Item:
    if not isinstance(each, Mapping) or not each.keys() & {"stdout", "stderr"}:
        text = "" if each is None else tool_output(each)
        return _chunk(text if isinstance(text, str) else str(text), "", _exit(0))
    said = {name: _text(each.get(name)) for name in ("stdout", "stderr")}
    outcome = each.get("outcome")
    code = outcome.get("exit_code", outcome.get("exitCode")) if isinstance(outcome, Mapping) else each.get("exit_code")
    if isinstance(outcome, Mapping) and outcome.get("type") == "timeout":
        return _chunk(said["stdout"], said["stderr"], {"type": "timeout"})
    return _chunk(said["stdout"], said["stderr"], _exit(code if isinstance(code, int) else 0))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = "" if value is None else tool_output(value)
    return text if isinstance(text, str) else str(text)


def _chunk(stdout: str, stderr: str, outcome: Item) -> Item:
    return {"stdout": stdout, "stderr": stderr, "outcome": outcome}


def _exit(code: int) -> Item:
    return {"type": "exit", "exit_code": code}


def _cut(chunk: Item, longest: int | None) -> Item:
    if longest is None:
        return chunk
    stdout = str(chunk["stdout"])[:longest]
    return {**chunk, "stdout": stdout, "stderr": str(chunk["stderr"])[: longest - len(stdout)]}


def _with_edit(clearance: Cleared, chunks: list[Item]) -> list[Item]:
    if not clearance.edited or clearance.record is None:
        return chunks
    return [_chunk("", texts.edited(clearance.record, clearance.arguments), _exit(0)), *chunks]


def _said(call: CallData, text: str) -> Item:
    return _item(call, [_chunk("", text, _exit(1))], None)


def _item(call: CallData, chunks: list[Item], longest: int | None) -> Item:
    item: Item = {"type": "shell_call_output", "call_id": call.call_id, "output": chunks}
    if longest is not None:
        # The service wants to hear the limit that it set.
        item["max_output_length"] = longest
    return item
