"""`execute: on_decision`: an approved call runs though nobody waits for it, once, and only where it was meant to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gate.scripted import Incoming, scripted, text, tool
from gate.world import LEGACY, MODERN, interruption_of, world
from holdshort.interruption import State

LAYER: dict[str, Any] = {"version": 1, "rules": [{"id": "now", "action": "ask", "execute": "on_decision"}]}
SHORT = {"default": "20ms"}
ERAS = pytest.mark.parametrize("eras", [{"legacy"}, {"modern"}, {"legacy", "modern"}], ids=["legacy", "modern", "both"])


def era_of(eras: set[str]) -> str:
    return LEGACY if "legacy" in eras else MODERN


@ERAS
async def test_an_approved_call_runs_though_its_agent_is_gone(tmp_path: Path, eras: set[str]) -> None:
    async with scripted(eras=eras) as spy, world(tmp_path, spy, layer=LAYER, hold=SHORT) as proxy:
        client = await proxy.connect(era_of(eras))
        await client.call("write", {"x": 1})
        (record,) = await proxy.pending()
        await proxy.approve(record)
        done = await proxy.reaches(record.id, State.EXECUTED)
        answer = await client.call("write", {"x": 1})

        assert spy.executed == [("write", {"x": 1})]
        assert done.outcome is not None
        assert answer.text == "write done"
        assert interruption_of(answer) == record.id
        assert spy.runs("write") == 1


async def test_a_held_request_gets_the_result_as_ever(tmp_path: Path) -> None:
    async with world(tmp_path, layer=LAYER) as proxy:
        answer = await proxy.decided((await proxy.connect()).calling("write"), proxy.approve)

        assert answer.text == "write done"
        assert proxy.spy.runs("write") == 1


async def test_what_was_approved_while_no_proxy_ran_runs_when_one_starts(tmp_path: Path) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, layer=LAYER, hold=SHORT) as proxy:
            await (await proxy.connect()).call("write")
            (record,) = await proxy.pending()
            before = spy.runs("write")
            await proxy.approve(record)
            # Stopped within the head start that a held request would have.
        async with world(tmp_path, spy, layer=LAYER, hold=SHORT) as proxy:
            await proxy.reaches(record.id, State.EXECUTED)

        assert (before, spy.runs("write")) == (0, 1)


async def test_two_proxies_on_one_state_run_it_once(tmp_path: Path) -> None:
    async with (
        scripted() as spy,
        world(tmp_path, spy, layer=LAYER, hold=SHORT) as first,
        world(tmp_path, spy, layer=LAYER, hold=SHORT) as second,
    ):
        client = await first.connect()
        await client.call("write")
        (record,) = await second.pending()
        await second.approve(record)
        await first.reaches(record.id, State.EXECUTED)

        assert (await client.call("write")).text == "write done"
        assert spy.runs("write") == 1


async def test_it_runs_at_no_other_server_of_the_same_name(tmp_path: Path) -> None:
    async with scripted() as first, scripted() as second:
        async with world(tmp_path, first, layer=LAYER, hold=SHORT) as proxy:
            await (await proxy.connect()).call("write")
            (record,) = await proxy.pending()
        async with world(tmp_path, second, layer=LAYER, hold=SHORT) as proxy:
            await proxy.approve(record)
            await second.until(lambda: second.messages("tools/list"))

            assert second.runs("write") == 0
            assert (await proxy.get(record.id)).state is State.APPROVED


@pytest.mark.parametrize("what", ["definition", "policy"])
async def test_it_does_not_run_when_what_was_approved_has_changed(tmp_path: Path, what: str) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, layer=LAYER, hold=SHORT) as proxy:
            await (await proxy.connect()).call("write")
            (record,) = await proxy.pending()
        if what == "definition":
            spy.tools = [tool("write", description="something else")]
        rules = (
            [*LAYER["rules"], {"id": "more", "tools": "*__read", "action": "deny"}]
            if what == "policy"
            else LAYER["rules"]
        )
        async with world(tmp_path, spy, layer={"version": 1, "rules": rules}, hold=SHORT) as proxy:
            lists = len(spy.messages("tools/list"))
            await proxy.approve(record)
            await spy.until(lambda: len(spy.messages("tools/list")) > lists)

            assert spy.runs("write") == 0


async def test_a_server_that_asks_back_is_told_that_nobody_is_there(tmp_path: Path) -> None:
    async def ask(call: Incoming) -> Any:
        answer = await call.ask("roots/list", "r-1")
        return text(str(answer["error"]["code"]))

    server = scripted(eras={"legacy"}, handlers={"write": ask})
    async with server as spy, world(tmp_path, spy, layer=LAYER, hold=SHORT) as proxy:
        await (await proxy.connect()).call("write")
        (record,) = await proxy.pending()
        await proxy.approve(record)
        done = await proxy.reaches(record.id, State.EXECUTED)

        assert done.outcome is not None
        assert done.outcome.result["content"][0]["text"] == "-32601"
