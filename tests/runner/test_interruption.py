"""What a call that waits shows is the proxy's record of it, and what will run."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from kit.responses_script import Call, Turn
from runner.conftest import Open
from runner.deciding import record_of
from runner.stage import Stage
from runner.test_loop import WRITE, thing


async def test_a_call_that_waits_shows_all_that_the_proxy_says_of_it(play: Open, stage: Stage) -> None:
    name = thing()
    async with play([Turn(Call(WRITE, {"name": name}, "c1"))]) as one:
        result = await one.run(one.agent(), "Go.")
        [waiting] = result.interruptions
        record = await record_of(one, "c1")

        assert asdict(waiting) == {
            "id": record["id"],
            "call_id": "c1",
            "kind": "mcp",
            "server": "things",
            "tool_name": "write_thing",
            "name": WRITE,
            "arguments": f'{{"name": "{name}"}}',
            "agent_path": ("Ops",),
            "reason": "policy.yaml rule `default`",
            "allowed_decisions": ("approve", "edit", "reject", "respond"),
            "status": "pending",
            "created_at": datetime.fromisoformat(record["created_at"]),
            "expires_at": datetime.fromisoformat(record["expires_at"]),
            "fingerprint": record["fingerprint"],
            "definition_hash": record["definition_digest"],
            "review_url": f"{stage.proxy.base}/review/{record['id']}",
            "raw_item": waiting.raw_item,
        }
        assert waiting.approval_id == waiting.id
        assert waiting.parsed_arguments == {"name": name}
        assert (waiting.agent, waiting.agent.name) == ("Ops", "Ops")
        assert waiting.raw_item["call_id"] == "c1"


async def test_what_an_approver_changed_is_what_it_shows(play: Open) -> None:
    name, other = thing(), thing()
    async with play([Turn(Call(WRITE, {"name": name}, "c1"), Call(WRITE, {"name": name}, "c2"))]) as one:
        agent = one.agent(approver=True)
        state = (await one.run(agent, "Go.")).to_state()
        await state.edit(state.get_interruptions()[0], {"name": other}, note="not that one")
        [edited, waiting] = state.get_interruptions()

        assert (edited.status, edited.parsed_arguments) == ("approved", {"name": other})
        assert (waiting.status, waiting.parsed_arguments) == ("pending", {"name": name})
        assert edited.raw_item["arguments"] == waiting.raw_item["arguments"]
