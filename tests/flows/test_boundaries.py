"""Who may do what, and what crosses to the other side: decisions, claims, credentials."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flows.scene import ERAS, Scene
from kit.clients import CLIENTS, connected
from kit.process import alive, descendants, until
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, OTHER_AGENT_TOKEN
from kit.spy import SpyRecord
from kit.together import together

pytestmark = pytest.mark.timeout(90)

WRITE = {"name": "letter"}


async def test_another_agent_cannot_claim_an_approved_call(scene: Scene) -> None:
    """The same call by another principal is another interruption."""
    record = await scene.leave_pending("write_thing", WRITE)
    await scene.proxy.approve(record)
    async with scene.agent(token=OTHER_AGENT_TOKEN) as other:
        answer = await other.call("write_thing", WRITE)

    assert answer.state == "pending"
    assert answer.interruption is not None
    assert answer.interruption["id"] != record["id"]
    assert scene.spy.executed("write_thing") == 0


async def test_an_agents_token_decides_nothing(scene: Scene) -> None:
    record = await scene.leave_pending("write_thing", WRITE)

    for token in (AGENT_TOKEN, OTHER_AGENT_TOKEN):
        refused = await scene.proxy.decide(record, "approve", token=token)
        assert refused.status_code in (401, 403), refused.text
    assert (await scene.proxy.interruption(record["id"]))["state"] == "pending"
    assert scene.spy.executed("write_thing") == 0


async def test_a_second_different_decision_conflicts_and_the_same_one_is_no_news(scene: Scene) -> None:
    record = await scene.leave_pending("write_thing", WRITE)
    await scene.proxy.approve(record)
    again = await scene.proxy.decide(record, "approve")
    other = await scene.proxy.decide(record, "reject", message="too late")

    assert again.status_code == 200, again.text
    assert other.status_code == 409, other.text
    assert other.json()["error"]["code"] == "already_decided"
    assert other.json()["error"]["interruption"]["state"] == "approved"


async def test_two_identical_calls_at_once_are_two_interruptions(scene: Scene) -> None:
    """Each is decided for itself and each runs once: a retry joins only what no living request holds."""
    scene.proxy.config["hold"] = {"default": "30s"}
    scene.proxy.write()
    await scene.proxy.restart()

    async def approve_both() -> None:
        for record in await scene.proxy.pending(2):
            await scene.proxy.approve(record)

    async with scene.agent() as first, scene.agent() as second:
        both = together(first.call("write_thing", WRITE), second.call("write_thing", WRITE))
        answers, _ = await together(both, approve_both())

    assert [answer.is_error for answer in answers] == [False, False], answers
    assert scene.spy.executed("write_thing", WRITE) == 2


@pytest.mark.parametrize("client", ERAS)
async def test_a_decision_in_time_is_invisible_to_the_client(scene: Scene, client: str) -> None:
    """The client asks once, waits, and gets the result; the upstream sees one call and nothing else."""
    scene.proxy.config["hold"] = {"default": "30s"}
    scene.proxy.write()
    await scene.proxy.restart()

    async def approve() -> None:
        (record,) = await scene.proxy.pending()
        await scene.proxy.approve(record)

    async with scene.agent(client) as agent:
        answer, _ = await together(agent.call("write_thing", WRITE), approve())

    assert not answer.is_error, answer
    assert answer.text == "write_thing done: letter"
    assert len(scene.spy.received("tools/call")) == 1


async def test_no_token_of_ours_reaches_an_upstream(scene: Scene) -> None:
    """An upstream gets its own credentials, never the agent's."""
    record = await scene.leave_pending("write_thing", WRITE)
    await scene.proxy.approve(record)
    answer = await scene.call("write_thing", WRITE)

    assert not answer.is_error, answer
    written = scene.spy.path.read_text()
    assert AGENT_TOKEN not in written
    assert APPROVER_TOKEN not in written
    headers = {name for line in scene.spy.lines("received") for name in line["headers"]}
    assert not headers & {"authorization", "cookie"}


async def test_a_wrapped_server_inherits_little_of_the_environment(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets in the environment of the client's host do not reach a server that was not given them."""
    spy = SpyRecord(tmp_path / "wrapped.jsonl")
    env = {"DATABASE_PASSWORD": "hunter2", "HOLDSHORT_TEST_WORD": "ours"}
    command = scene.proxy.wrap(spy.command("--stdio"))
    async with connected(CLIENTS[ERAS[0]], command=["env", *(f"{k}={v}" for k, v in env.items()), *command]) as agent:
        assert "read_thing" in await agent.tools()

    (started,) = spy.lines("started")
    seen = set(started["environment"])
    assert "PATH" in seen
    assert not seen & set(env), seen


async def test_a_wrap_that_is_killed_takes_its_server_with_it(scene: Scene, tmp_path: Path) -> None:
    """The server's stdin closes, and a server that reads it ends."""
    spy = SpyRecord(tmp_path / "wrapped.jsonl")
    command = scene.proxy.wrap(spy.command("--stdio"))
    async with connected(CLIENTS[ERAS[0]], command=command) as agent:
        assert "read_thing" in await agent.tools()
        (wrap,) = [pid for pid in descendants(agent.pid) if spy.pids()[0] in descendants(pid)]
        os.kill(wrap, signal.SIGKILL)
        await until(lambda: not alive(spy.pids()[0]), "the wrapped server to end", 10)
