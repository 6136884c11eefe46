"""The model's patches: one change of one file goes to the program's editor, and whether it was made goes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from holdshort.runner import texts
from holdshort.runner.arguments import BadArguments, read_arguments
from holdshort.runner.data import CallData, CallStatus, Item
from holdshort.runner.kinds.own import cleared
from holdshort.runner.kinds.running import begun, called, described, ended, ran, with_edit
from holdshort.runner.output import tool_output
from holdshort.runner.settling import Desk
from holdshort.runner.tools import ApplyPatchOperation, ApplyPatchTool

__all__ = ["settle"]

_TYPES: Final = ("create_file", "update_file", "delete_file")
DEFINITION: Final[Mapping[str, Any]] = {
    "description": "Create, change or delete one file.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "type": {"enum": list(_TYPES)},
            "path": {"type": "string", "minLength": 1},
            "diff": {"type": ["string", "null"]},
        },
        "required": ["type", "path"],
        "if": {"properties": {"type": {"const": "delete_file"}}},
        "else": {"required": ["diff"], "properties": {"diff": {"type": "string"}}},
    },
}


async def settle(desk: Desk, tool: ApplyPatchTool, call: CallData) -> None:
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
    context = desk.tool_context(call, clearance.text)
    try:
        operation = _operation(clearance.arguments)
    except ValueError as fault:
        # Edited to that, against a schema that says otherwise.
        text = texts.edit_cannot_run(call.name, clearance.record or {}, str(fault))
        await ended(desk, tool, call, clearance, context, "failed", _item(call, "failed", text), str(fault))
        return
    if not await begun(desk, tool, call, clearance, context):
        return

    async def work() -> Any:
        return await called(tool.editor, context, operation)

    came = await ran(desk, call, clearance, work, tool.timeout_seconds)
    note = None
    if came.kind == "unknown":
        text = texts.timed_out(call.name, tool.timeout_seconds or 0.0)
        note = f"the editor did not end within {tool.timeout_seconds:g} seconds"
    elif came.error is not None:
        text = texts.tool_raised(call.name, described(came.error))
    else:
        said = "" if came.value is None else tool_output(came.value)
        text = said if isinstance(said, str) else str(said)
    status = "completed" if came.kind == "ok" else "failed"
    await ended(desk, tool, call, clearance, context, came.kind, _item(call, status, with_edit(clearance, text)), note)


def _problem(call: CallData) -> str | None:
    try:
        _operation(read_arguments(call.arguments, call.name))
    except BadArguments as bad:
        return bad.problem
    except ValueError as problem:
        return str(problem)
    return None


def _operation(arguments: Mapping[str, Any]) -> ApplyPatchOperation:
    kind, path, diff = arguments.get("type"), arguments.get("path"), arguments.get("diff")
    if kind not in _TYPES:
        raise ValueError(f"`type` must be one of {', '.join(_TYPES)}")
    if not isinstance(path, str) or not path:
        raise ValueError("`path` must be a text")
    if not isinstance(diff, str) and (diff is not None or kind != "delete_file"):
        raise ValueError("`diff` must be a text")
    return ApplyPatchOperation(cast("Any", kind), path, diff)


def _item(call: CallData, status: str, text: Any) -> Item:
    item: Item = {"type": "apply_patch_call_output", "call_id": call.call_id, "status": status}
    return {**item, "output": text} if text else item
