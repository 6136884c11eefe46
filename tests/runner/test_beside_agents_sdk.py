"""The OpenAI Agents SDK, unmodified, works through the same proxy next to our runner: held, told, joined, once each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.missing import require
from kit.process import running, until_async
from kit.proxy import AGENT_TOKEN
from kit.responses_faults import Hold
from kit.responses_script import Call, Script, Text, Turn
from kit.responses_server import ResponsesServer, serving_responses
from kit.venvs import OPENAI_AGENTS, side_python
from runner.conftest import Open
from runner.stage import Stage
from runner.test_loop import WRITE, thing

PROGRAM = Path(__file__).with_name("sdk_program.py")


def outputs(model: ResponsesServer) -> dict[str, Any]:
    """What the model read of calls in its last request."""
    given = model.asked[-1].body["input"]
    return {item["call_id"]: str(item["output"]) for item in given if item.get("type") == "function_call_output"}


async def test_its_call_is_told_to_wait_and_the_repetition_joins_beside_an_equal_call_of_ours(
    play: Open, stage: Stage
) -> None:
    python = require(lambda: side_python(OPENAI_AGENTS))
    arguments = {"name": thing()}
    theirs = [Turn(Call(WRITE, arguments, "s1")), Turn(Call(WRITE, arguments, "s2")), Turn(Text("theirs is done"))]
    ours = [Turn(Call(WRITE, arguments, "c1")), Turn(Text("ours is done"))]
    async with play(ours) as one, serving_responses(Script(theirs), [None, Hold(0)]) as model:
        agent = one.agent()
        parked = await one.run(agent, "Go.")
        [our_call] = parked.interruptions

        with running([str(python), str(PROGRAM), model.url, stage.proxy.url, AGENT_TOKEN]) as sdk:
            # It has read that nothing ran, and its model is about to repeat the call.
            await model.until_asked(2, within=60)
            assert "NOT EXECUTED YET" in outputs(model)["s1"]

            async def their_call() -> Any:
                found = await stage.proxy.interruptions(state="pending")
                mine = [each for each in found if each["arguments"] == arguments and each["id"] != our_call.id]
                return mine or None

            [record] = await until_async(their_call, "the SDK's call to wait")
            await stage.proxy.approve(record)
            assert stage.spy.executed("write_thing", arguments) == 0
            model.release()
            assert await sdk.until_exit(60) == 0, sdk.told()

        assert sdk.stdout_lines == ["theirs is done"]
        assert arguments["name"] in outputs(model)["s2"]
        assert stage.spy.executed("write_thing", arguments) == 1
        assert [each.id for each in (await one.again(agent, parked)).interruptions] == [our_call.id]

        await one.approve_all()
        done = await one.again(agent, parked)
        assert done.final_output == "ours is done"
        assert stage.spy.executed("write_thing", arguments) == 2
