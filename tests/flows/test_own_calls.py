"""Calls that agents run themselves, before the real proxy: agents as processes that race, are killed, and come back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from flows.scene import ERAS, Scene
from kit.process import running
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, HOLDSHORT, OTHER_AGENT_TOKEN, ProxyKit, Record

pytestmark = pytest.mark.timeout(120)

SCRIPT = Path(__file__).with_name("own_agent.py")
RULES: dict[str, Any] = {
    "version": 1,
    "default": "ask",
    "rules": [
        {"id": "reads", "tools": "function:local__read_*", "action": "allow"},
        {"id": "no-shell", "tools": "shell:*__*", "action": "deny"},
    ],
}
WRITE = {"name": "letter"}


def command(scene: Scene, work: Path, seconds: int = 600, then: str = "report") -> list[str]:
    return [sys.executable, str(SCRIPT), scene.proxy.base, AGENT_TOKEN, str(work), str(seconds), then]


async def ask(proxy: ProxyKit, token: str = AGENT_TOKEN, **call: Any) -> Any:
    return await proxy.ask("POST", "/v1/calls", {"kind": "function", "arguments": {}, **call}, token=token)


async def act(proxy: ProxyKit, record: Record, what: str, by: str = AGENT_TOKEN, **body: Any) -> Any:
    return await proxy.ask("POST", f"/v1/interruptions/{record['id']}/{what}", body, token=by)


async def verified(scene: Scene) -> bool:
    done = await anyio.run_process([*HOLDSHORT, "log", "verify", "--state-dir", str(scene.proxy.state)], check=False)
    return done.returncode == 0


def lines(work: Path) -> list[str]:
    return work.read_text().splitlines() if work.exists() else []


@pytest.fixture
async def proxy(scene: Scene) -> ProxyKit:
    """With rules of our own from here on."""
    scene.proxy.set_policy(RULES)
    await scene.proxy.restart()
    return scene.proxy


async def test_one_policy_and_one_log_hold_for_what_agents_run_themselves(scene: Scene, proxy: ProxyKit) -> None:
    allowed = await ask(proxy, tool="read_mail")
    denied = await ask(proxy, kind="shell", tool="run", arguments={"command": "id"})
    waiting = await ask(proxy, tool="send_mail")
    by_approver = await ask(proxy, APPROVER_TOKEN, tool="read_mail")

    entries = (await proxy.ask("GET", "/v1/log?kind=verdict,parked")).json()["entries"]
    assert [allowed.status_code, denied.status_code, waiting.status_code, by_approver.status_code] == [
        200, 403, 202, 403,
    ]  # fmt: skip
    assert [(row["entry"]["server"], row["entry"]["tool"], row["entry"]["action"]) for row in entries] == [
        ("function:local", "read_mail", "allow"),
        ("shell:local", "run", "deny"),
        ("function:local", "send_mail", "ask"),
    ]
    assert await verified(scene)


async def test_two_agents_with_the_same_call_work_once(scene: Scene, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with running(command(scene, work)) as first, running(command(scene, work)) as second:
        await scene.proxy.approve((await scene.proxy.pending())[0])
        ends = [await each.until_exit(60) for each in (first, second)]

    record = (await scene.proxy.interruptions())[0]
    assert ends == [0, 0]
    assert lines(work) == ["worked"]
    assert (record["state"], record["outcome"]["result"]) == ("executed", "done")
    assert len(await scene.proxy.interruptions()) == 1
    assert await verified(scene)


async def test_an_edited_call_works_with_the_edited_arguments(scene: Scene, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with running(command(scene, work)) as agent:
        decided = await scene.proxy.decide((await scene.proxy.pending())[0], "edit", arguments={"line": "edited"})
        await agent.until_exit(60)

    assert decided.status_code == 200, decided.text
    assert lines(work) == ["edited"]


@pytest.mark.parametrize("decision", ["reject", "respond"])
async def test_a_call_that_is_not_approved_never_works(scene: Scene, tmp_path: Path, decision: str) -> None:
    work = tmp_path / "work"
    more = {"message": "not today"} if decision == "reject" else {"content": "done by hand"}
    with running(command(scene, work)) as agent:
        await scene.proxy.decide((await scene.proxy.pending())[0], decision, **more)
        await agent.until_exit(60)
        state = agent.said(r"state (\w+)")

    assert state is not None
    assert state[1] == {"reject": "rejected", "respond": "answered"}[decision]
    assert lines(work) == []


async def test_an_agent_killed_at_work_leaves_doubt_and_the_next_one_does_not_work_again(
    scene: Scene, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with running(command(scene, work, seconds=2, then="hang")) as agent:
        record = (await scene.proxy.pending())[0]
        await scene.proxy.approve(record)
        await agent.until_said("worked")
        await agent.kill9()
    left = await scene.proxy.until_state(record["id"], "unknown")
    with running(command(scene, work)) as agent:
        await agent.until_exit(60)
        state = agent.said(r"state (\w+)")
    settled = await scene.proxy.ask(
        "POST", f"/v1/interruptions/{record['id']}/resolve", {"ran": True, "note": "the line is there"}
    )

    assert left["outcome"]["kind"] == "lost"
    assert state is not None
    assert state[1] == "unknown"
    assert lines(work) == ["worked"]
    assert settled.json()["state"] == "executed"
    assert await verified(scene)


async def test_a_killed_proxy_loses_neither_the_claim_nor_the_report(scene: Scene) -> None:
    record = (await ask(scene.proxy, tool="send_mail", run_id="r", call_id="c")).json()["interruption"]
    await scene.proxy.approve(record)
    taken = (await act(scene.proxy, record, "claim")).json()
    await scene.proxy.kill9()
    await scene.proxy.start()

    still = await scene.proxy.interruption(record["id"])
    again = await act(scene.proxy, record, "claim")
    done = await act(scene.proxy, record, "outcome", token=taken["token"], kind="ok", result="sent")
    told = (await ask(scene.proxy, tool="send_mail", run_id="r", call_id="c")).json()["interruption"]

    assert still["state"] == "executing"
    assert again.status_code == 409
    assert done.json().get("state") == "executed", done.text
    assert told["outcome"]["result"] == "sent"
    assert await verified(scene)


async def test_another_agent_finds_nothing(scene: Scene) -> None:
    record = (await ask(scene.proxy, tool="send_mail")).json()["interruption"]
    await scene.proxy.approve(record)

    foreign = await act(scene.proxy, record, "claim", OTHER_AGENT_TOKEN)
    unknown = await act(scene.proxy, {"id": "i-nothing"}, "claim", OTHER_AGENT_TOKEN)

    assert (foreign.status_code, foreign.text) == (unknown.status_code, unknown.text) == (404, unknown.text)
    assert (await act(scene.proxy, record, "claim")).status_code == 200


@pytest.mark.parametrize("client", ERAS)
async def test_an_approval_on_one_side_is_none_on_the_other(scene: Scene, client: str) -> None:
    """The same agent, the same name, the same arguments: through the proxy, and run by the agent itself."""
    behind = await scene.leave_pending("write_thing", WRITE, client)
    own = (await ask(scene.proxy, server="things", tool="write_thing", arguments=WRITE)).json()["interruption"]
    await scene.proxy.approve(own)
    async with scene.agent(client) as agent:
        answer = await agent.call("write_thing", WRITE)
    await scene.proxy.approve(behind)
    stolen = await act(scene.proxy, behind, "claim")

    assert own["id"] != behind["id"]
    assert answer.state == "pending", "the agent's own approval runs nothing here"
    assert stolen.status_code == 409
    assert stolen.json()["error"]["code"] == "wrong_kind"
    assert scene.spy.executed("write_thing") == 0
    assert (await scene.proxy.interruption(own["id"]))["state"] == "approved"
