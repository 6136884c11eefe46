"""The model's shell and its patches: asked about unless the program says otherwise, answered in the service's form."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdshort.runner import ApplyPatchTool, ShellTool
from holdshort.runner.kinds.shell import shell_output
from holdshort.runner.tools import ApplyPatchOperation, ShellAction
from kit.responses_script import Patch, Shell, Text, Turn
from runner.conftest import Open
from runner.deciding import decide, decided_all, record_of, records_of

EXIT = {"type": "exit", "exit_code": 0}
UPDATE = {"type": "update_file", "path": "a.txt", "diff": "@@\n-a\n+b\n"}


def answers(play: Any) -> list[Any]:
    """The outputs that the model was sent last."""
    return [item for item in play.inputs()[-1] if str(item.get("type")).endswith("_call_output")]


class Machine:
    """Takes commands and changes, and counts."""

    def __init__(self, said: Any = "ok", error: Exception | None = None) -> None:
        self.seen: list[Any] = []
        self.said, self.error = said, error

    async def __call__(self, context: Any, action: ShellAction | ApplyPatchOperation) -> Any:
        self.seen.append(action)
        if self.error is not None:
            raise self.error
        return self.said


async def test_commands_wait_for_a_person_and_run_once(play: Open) -> None:
    machine = Machine([{"stdout": "a\n", "stderr": "", "outcome": EXIT}])
    async with play([Turn(Shell(["ls", "pwd"], "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(tools=[ShellTool(executor=machine)])
        result = await one.run(agent, "Go.")
        [waiting] = result.interruptions
        assert (waiting.kind, waiting.tool_name, waiting.parsed_arguments["commands"]) == (
            "shell",
            "shell",
            ["ls", "pwd"],
        )
        assert machine.seen == []
        await decided_all(one)
        done = await one.again(agent, result)

        assert (done.final_output, machine.seen) == ("done", [ShellAction(("ls", "pwd"))])
        [output] = answers(one)
        assert output == {
            "type": "shell_call_output",
            "call_id": "c1",
            "output": [{"stdout": "a\n", "stderr": "", "outcome": EXIT}],
        }
        record = await record_of(one, "c1")
        assert (record["state"], record["outcome"]["result"]["output"]) == ("executed", output)


async def test_a_snapshot_that_is_gone_on_from_twice_runs_the_commands_once(play: Open) -> None:
    machine = Machine()
    turns = [Turn(Shell(["ls"], "c1")), Turn(Text("done")), Turn(Text("again"))]
    async with play(turns) as one:
        agent = one.agent(tools=[ShellTool(executor=machine)])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        await one.again(agent, result)
        first = answers(one)
        await one.again(agent, result)
        assert (answers(one), len(machine.seen)) == (first, 1)


async def test_edited_commands_are_what_runs_and_the_model_is_told(play: Open) -> None:
    machine = Machine("listed")
    async with play([Turn(Shell(["rm -rf /"], "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(tools=[ShellTool(executor=machine)])
        result = await one.run(agent, "Go.")
        [record] = await one.waiting()
        bad: dict[str, Any]
        for bad in ({"commands": "ls"}, {"commands": []}, {}):
            refused = await one.stage.proxy.decide(record, "edit", arguments=bad)
            assert refused.status_code == 422
        await decide(one, record, "edit", arguments={"commands": ["ls /"]})
        await one.again(agent, result)

        assert machine.seen == [ShellAction(("ls /",))]
        [output] = answers(one)
        told, ran = output["output"]
        assert "EDITED BEFORE IT RAN" in told["stderr"]
        assert "ls /" in told["stderr"]
        assert ran == {"stdout": "listed", "stderr": "", "outcome": EXIT}


async def test_rejected_commands_do_not_run_and_the_reason_is_their_output(play: Open) -> None:
    machine = Machine()
    async with play([Turn(Shell(["ls"], "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(tools=[ShellTool(executor=machine)])
        result = await one.run(agent, "Go.")
        await decided_all(one, "reject", message="not here")
        done = await one.again(agent, result)

        assert (done.final_output, machine.seen) == ("done", [])
        [output] = answers(one)
        [chunk] = output["output"]
        assert "not here" in chunk["stderr"]
        assert chunk["outcome"] == {"type": "exit", "exit_code": 1}


async def test_commands_that_fail_or_take_too_long_say_so(play: Open) -> None:
    async def sleep(context: Any, action: ShellAction) -> None:
        await anyio.sleep_forever()

    turns = [Turn(Shell(["ls"], "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        tool = ShellTool(executor=Machine(error=OSError("no shell")), needs_approval=False)
        await one.run(one.agent(tools=[tool]), "Go.")
        [failed] = answers(one)
    async with play(turns) as one:
        agent = one.agent(tools=[ShellTool(executor=sleep, timeout_seconds=0.2)])
        result = await one.run(agent, "Go.")
        await decided_all(one)
        await one.again(agent, result)
        [late] = answers(one)
        assert (await record_of(one, "c1"))["state"] == "unknown"

    assert "OSError: no shell" in failed["output"][0]["stderr"]
    assert failed["output"][0]["outcome"] == {"type": "exit", "exit_code": 1}
    assert late["output"][0]["outcome"] == {"type": "timeout"}
    assert "OUTCOME UNKNOWN" in late["output"][0]["stderr"]


@pytest.mark.parametrize(
    ("returned", "chunks"),
    [
        ("text", [("text", "", EXIT)]),
        (None, [("", "", EXIT)]),
        ([], [("[]", "", EXIT)]),
        (7, [("7", "", EXIT)]),
        (["a", "b"], [("a", "", EXIT), ("b", "", EXIT)]),
        ({"stdout": "a", "stderr": "b", "exit_code": 3}, [("a", "b", {"type": "exit", "exit_code": 3})]),
        ([{"stdout": b"\xff", "outcome": {"type": "timeout"}}], [("\ufffd", "", {"type": "timeout"})]),
        ([{"stderr": "x", "outcome": {"type": "exit", "exit_code": 2}}], [("", "x", {"type": "exit", "exit_code": 2})]),
        ([{"stdout": None, "outcome": "odd"}], [("", "", EXIT)]),
        ({"other": 1}, [('{"other":1}', "", EXIT)]),
    ],
)
def test_whatever_an_executor_returns_has_the_form_of_the_service(returned: Any, chunks: Any) -> None:
    made = [(chunk["stdout"], chunk["stderr"], chunk["outcome"]) for chunk in shell_output(returned)]
    assert made == chunks


def test_no_chunk_is_longer_than_the_model_asked_for() -> None:
    [chunk] = shell_output({"stdout": "abcdef", "stderr": "ghi"}, 8)
    assert (chunk["stdout"], chunk["stderr"]) == ("abcdef", "gh")
    [chunk] = shell_output("abcdef", 0)
    assert (chunk["stdout"], chunk["stderr"]) == ("", "")


async def test_a_patch_waits_and_is_made_once(play: Open) -> None:
    editor = Machine("changed a.txt")
    async with play([Turn(Patch(UPDATE, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(tools=[ApplyPatchTool(editor=editor)])
        result = await one.run(agent, "Go.")
        [waiting] = result.interruptions
        assert (waiting.kind, waiting.parsed_arguments) == ("apply_patch", UPDATE)
        await decided_all(one)
        await one.again(agent, result)

        assert editor.seen == [ApplyPatchOperation("update_file", "a.txt", UPDATE["diff"])]
        [output] = answers(one)
        assert output == {
            "type": "apply_patch_call_output",
            "call_id": "c1",
            "status": "completed",
            "output": "changed a.txt",
        }
        assert (await record_of(one, "c1"))["outcome"]["result"]["output"] == output


async def test_a_patch_that_could_not_be_made_or_was_rejected_has_failed(play: Open) -> None:
    turns = [Turn(Patch(UPDATE, "c1")), Turn(Text("done")), Turn(Text("again"))]
    async with play(turns) as one:
        tool = ApplyPatchTool(editor=Machine(error=ValueError("line 1 differs")), needs_approval=False)
        await one.run(one.agent(tools=[tool]), "Go.")
        [failed] = answers(one)
    editor = Machine()
    async with play(turns) as one:
        agent = one.agent(tools=[ApplyPatchTool(editor=editor)])
        result = await one.run(agent, "Go.")
        await decided_all(one, "reject", message="leave it")
        await one.again(agent, result)
        [rejected] = answers(one)

    assert (failed["status"], rejected["status"], editor.seen) == ("failed", "failed", [])
    assert "line 1 differs" in failed["output"]
    assert "leave it" in rejected["output"]


async def test_a_patch_without_a_word_and_one_that_deletes(play: Open) -> None:
    editor = Machine(None)
    turns = [Turn(Patch({"type": "delete_file", "path": "a.txt"}, "c1")), Turn(Text("done"))]
    async with play(turns) as one:
        await one.run(one.agent(tools=[ApplyPatchTool(editor=editor, needs_approval=False)]), "Go.")
        assert editor.seen == [ApplyPatchOperation("delete_file", "a.txt", None)]
        assert answers(one) == [{"type": "apply_patch_call_output", "call_id": "c1", "status": "completed"}]


async def test_an_edit_of_a_patch_is_checked_and_told(play: Open) -> None:
    editor = Machine(None)
    async with play([Turn(Patch(UPDATE, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent(tools=[ApplyPatchTool(editor=editor)])
        result = await one.run(agent, "Go.")
        [record] = await one.waiting()
        for bad in ({**UPDATE, "type": "format_disk"}, {**UPDATE, "diff": None}, {**UPDATE, "path": ""}):
            assert (await one.stage.proxy.decide(record, "edit", arguments=bad)).status_code == 422
        await decide(one, record, "edit", arguments={**UPDATE, "path": "b.txt"})
        await one.again(agent, result)

        assert [each.path for each in editor.seen] == ["b.txt"]
        [output] = answers(one)
        assert output["status"] == "completed"
        assert output["output"].startswith("EDITED BEFORE IT RAN")


@pytest.mark.parametrize(
    "operation", [{"type": "update_file", "path": "a.txt"}, {"type": "odd", "path": "a"}, {"type": "delete_file"}]
)
async def test_nobody_is_asked_about_a_patch_that_cannot_be_made(play: Open, operation: dict[str, Any]) -> None:
    editor = Machine()
    async with play([Turn(Patch(operation, "c1")), Turn(Text("done"))]) as one:
        await one.run(one.agent(tools=[ApplyPatchTool(editor=editor)]), "Go.")

        assert (editor.seen, await records_of(one)) == ([], [])
        [output] = answers(one)
        assert output["status"] == "failed"
        assert "cannot be used" in output["output"]
