"""A runner's calls, by their ids, before real proxies: several on one state, and killed at the worst moments."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx2
import pytest

from flows.keyed import AGAIN, NOW, WRITE, keyed
from flows.scene import ASK, Scene
from kit.proxy import HOLDSHORT, ProxyKit

pytestmark = pytest.mark.timeout(120)

Json = dict[str, Any]


def state_of(result: Json) -> str:
    return str(result["_meta"]["holdshort/interruption"]["state"])


def text_of(result: Json) -> str:
    return "\n".join(part.get("text", "") for part in result["content"])


async def verified(proxy: ProxyKit) -> bool:
    done = await anyio.run_process([*HOLDSHORT, "log", "verify", "--state-dir", str(proxy.state)], check=False)
    return done.returncode == 0


@pytest.fixture
async def second(scene: Scene) -> AsyncGenerator[ProxyKit]:
    """Another process on the same state folder, before the same server."""
    found = ProxyKit(scene.folder / "second", scene.proxy.config["mcpServers"], ASK, hold="20s")
    found.state = scene.proxy.state
    try:
        await found.start()
        yield found
    finally:
        found.close()


async def test_two_processes_that_get_the_same_call_at_once_park_it_once_and_run_it_once(
    scene: Scene, second: ProxyKit
) -> None:
    scene.proxy.config["hold"] = {"default": "20s"}
    scene.proxy.write()
    await scene.proxy.restart()
    results: list[Json] = []

    async def one(proxy: ProxyKit) -> None:
        results.append(await keyed(proxy))

    async with anyio.create_task_group() as tasks:
        for proxy in (scene.proxy, second) * 4:
            tasks.start_soon(one, proxy)
        (record,) = await scene.proxy.pending()
        await scene.proxy.approve(record)
    later = await keyed(second, **AGAIN)

    assert len(results) == 8
    assert {state_of(result) for result in [*results, later]} == {"executed"}
    assert {text_of(result) for result in results} == {text_of(later)}
    assert scene.spy.executed("write_thing", WRITE) == 1
    assert len(await scene.proxy.interruptions()) == 1
    assert await verified(scene.proxy)


MOMENTS: dict[str, tuple[str, int]] = {
    "intent.after_commit": ("unknown", 0),
    "send.half": ("unknown", 0),
    "reply.read": ("unknown", 1),
    "outcome.in_tx": ("unknown", 1),
    "outcome.after_commit": ("executed", 1),
}
"""Where the proxy is killed, what its record says after that, and how often the call had run."""


@pytest.mark.parametrize(("moment", "state", "runs"), [(m, *ends) for m, ends in MOMENTS.items()], ids=MOMENTS)
async def test_killed_while_it_runs_a_call_the_proxy_tells_the_same_story_ever_after(
    scene: Scene, moment: str, state: str, runs: int
) -> None:
    parked = await keyed(scene.proxy, **NOW)
    (record,) = await scene.proxy.pending()
    await scene.proxy.approve(record)
    await scene.proxy.kill9()
    await scene.proxy.start({"HOLDSHORT_FAULT": f"{moment}:1:kill"})
    with pytest.raises(httpx2.TransportError):
        await keyed(scene.proxy, **AGAIN)
    await scene.proxy.process.until_exit()
    scene.proxy.close()
    await scene.proxy.start()
    answers = [await keyed(scene.proxy, **more) for more in (AGAIN, AGAIN, {})]

    assert state_of(parked) == "pending"
    assert [state_of(answer) for answer in answers] == [state] * 3
    assert len({text_of(answer) for answer in answers}) == 1
    assert scene.spy.executed("write_thing") == runs
    assert (await scene.proxy.interruption(record["id"]))["state"] == state
    assert await verified(scene.proxy)


@pytest.mark.parametrize(("moment", "parked"), [("park.before_commit", 0), ("park.after_commit", 1)])
async def test_killed_while_it_parks_a_call_the_proxy_asks_about_it_once(
    scene: Scene, moment: str, parked: int
) -> None:
    await scene.proxy.kill9()
    await scene.proxy.start({"HOLDSHORT_FAULT": f"{moment}:1:kill"})
    with pytest.raises(httpx2.TransportError):
        await keyed(scene.proxy, **NOW)
    await scene.proxy.process.until_exit()
    scene.proxy.close()
    await scene.proxy.start()
    left = await scene.proxy.interruptions()
    waiting = await keyed(scene.proxy, **AGAIN, **NOW)
    (record,) = await scene.proxy.pending()
    await scene.proxy.approve(record)
    answer = await keyed(scene.proxy, **AGAIN)

    assert len(left) == parked
    assert state_of(waiting) == "pending"
    assert state_of(answer) == "executed"
    assert scene.spy.executed("write_thing") == 1
    assert len(await scene.proxy.interruptions()) == 1


async def test_a_proxy_that_is_gone_before_it_answers_an_allowed_call_never_sends_it_again(scene: Scene) -> None:
    """What policy lets through has no record: only the word of the runner keeps it from running twice."""
    scene.proxy.set_policy({"version": 1, "default": "allow"})
    await scene.proxy.restart()
    gate = scene.folder / "gate"
    slow = {"name": "slow letter", "until": str(gate)}
    async with anyio.create_task_group() as tasks:

        async def lost() -> None:
            with pytest.raises(httpx2.TransportError):
                await keyed(scene.proxy, tool="slow", arguments=slow)

        tasks.start_soon(lost)
        await scene.spy.until_executed("slow")
        await scene.proxy.kill9()
    gate.touch()
    await scene.proxy.start()
    answers = [await keyed(scene.proxy, tool="slow", arguments=slow, **AGAIN) for _ in range(2)]

    assert [answer["_meta"] for answer in answers] == [{"holdshort/outcome": "unknown"}] * 2
    assert answers[0]["isError"] is True
    assert scene.spy.executed("slow") == 1
    assert await scene.proxy.interruptions() == []
    assert await verified(scene.proxy)


async def test_a_result_is_fetched_by_another_process_after_the_one_that_ran_it_is_gone(
    scene: Scene, second: ProxyKit
) -> None:
    await keyed(scene.proxy, **NOW)
    (record,) = await scene.proxy.pending()
    await scene.proxy.approve(record)
    first = await keyed(scene.proxy)
    await scene.proxy.kill9()
    again = await keyed(second, **AGAIN)

    assert state_of(first) == state_of(again) == "executed"
    assert again["content"] == first["content"]
    assert scene.spy.executed("write_thing") == 1
