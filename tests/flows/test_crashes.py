"""What is left after kill -9, and that nothing is ever sent twice. The spy upstream counts what really ran.

Each story has its own proxy, because each of them kills it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from flows.scene import ASK, ERAS, Scene
from kit.clients import CLIENTS, Agent, Answer, connected
from kit.process import Running, alive, until
from kit.proxy import AGENT_TOKEN, ProxyKit, serving
from kit.spy import SpyRecord
from kit.together import abandoned

pytestmark = pytest.mark.timeout(90)

WRITE = {"name": "letter"}


@pytest.mark.parametrize("client", ERAS)
async def test_a_proxy_killed_while_a_call_waits_forgets_nothing(scene: Scene, client: str) -> None:
    record = await scene.leave_pending("write_thing", WRITE, client)
    await scene.proxy.kill9()
    await scene.proxy.start()
    assert (await scene.proxy.interruption(record["id"]))["state"] == "pending"

    await scene.proxy.approve(record)
    assert scene.spy.executed("write_thing") == 0
    answer = await scene.call("write_thing", WRITE, client)

    assert not answer.is_error, answer
    assert scene.spy.executed("write_thing") == 1


@pytest.mark.parametrize("client", ERAS)
async def test_a_proxy_killed_while_it_holds_a_call_forgets_nothing(scene: Scene, client: str) -> None:
    """The client is still connected and loses its connection; its interruption stays."""
    scene.proxy.config["hold"] = {"default": "30s"}
    scene.proxy.write()
    await scene.proxy.restart()
    async with scene.agent(client) as agent:
        held = await abandoned(agent.call("write_thing", WRITE), scene.proxy.pending())
        await scene.proxy.kill9()
    await scene.proxy.start()
    (record,) = await scene.proxy.pending()
    assert record["id"] == held[0]["id"]
    await scene.proxy.approve(record)
    answer = await scene.call("write_thing", WRITE, client)

    assert not answer.is_error, answer
    assert scene.spy.executed("write_thing") == 1


@pytest.mark.parametrize("client", ERAS)
async def test_a_proxy_killed_between_approval_and_claim_runs_the_call_once(scene: Scene, client: str) -> None:
    record = await scene.leave_pending("write_thing", WRITE, client)
    await scene.proxy.approve(record)
    await scene.proxy.kill9()
    await scene.proxy.start()
    assert (await scene.proxy.interruption(record["id"]))["state"] == "approved"
    assert scene.spy.executed("write_thing") == 0

    first = await scene.call("write_thing", WRITE, client)

    assert not first.is_error, first
    assert scene.spy.executed("write_thing") == 1
    assert (await scene.proxy.interruption(record["id"]))["state"] == "executed"


@pytest.mark.parametrize("client", ERAS)
async def test_a_proxy_killed_while_a_call_runs_never_sends_it_again(scene: Scene, client: str) -> None:
    """Sent, and no reply seen: the outcome is unknown, the model is told so, and the upstream sees no second call."""
    gate = scene.folder / "gate"
    arguments = {"name": "slow letter", "until": str(gate)}
    record = await scene.leave_pending("slow", arguments, client)
    await scene.proxy.approve(record)
    async with scene.agent(client) as agent:
        await abandoned(agent.call("slow", arguments), scene.spy.until_executed("slow"))
        await scene.proxy.kill9()
    await scene.proxy.start()
    await scene.proxy.until_state(record["id"], "unknown")
    gate.touch()
    answer = await scene.call("slow", arguments, client)

    assert answer.is_error
    assert answer.state == "unknown"
    assert "unknown" in answer.text.lower()
    assert scene.spy.executed("slow") == 1


@pytest.mark.parametrize("client", ERAS)
async def test_an_upstream_that_dies_in_a_call_leaves_it_unknown(scene: Scene, client: str) -> None:
    record = await scene.leave_pending("crash", WRITE, client)
    await scene.proxy.approve(record)
    answer = await scene.call("crash", WRITE, client)

    assert answer.is_error
    assert answer.state == "unknown"
    assert scene.spy.executed("crash") == 1
    assert (await scene.proxy.interruption(record["id"]))["state"] == "unknown"


async def test_many_wraps_share_one_state_folder(scene: Scene, tmp_path: Path) -> None:
    """Each has its own spy; one `serve` on the same folder sees and decides them all."""
    count = 5
    spies = [SpyRecord(tmp_path / f"spy-{n}.jsonl") for n in range(count)]
    layer = tmp_path / "layer.yaml"
    layer.write_text('{"version": 1, "default": "ask"}')
    answers: dict[int, Answer] = {}

    async def call(number: int, agent: Agent) -> None:
        answers[number] = await agent.call_until_settled("write_thing", {"name": f"letter {number}"})

    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for number, spy in enumerate(spies):
            command = scene.proxy.wrap(spy.command("--stdio"), "-c", str(layer))
            agent = await stack.enter_async_context(connected(CLIENTS[ERAS[number % 2]], command=command))
            tasks.start_soon(call, number, agent)
        for record in await scene.proxy.pending(count):
            await scene.proxy.approve(record)
        await until(lambda: len(answers) == count, "every wrapped call to be answered", 30)

    assert not [answer for answer in answers.values() if answer.is_error], answers
    for number, spy in enumerate(spies):
        assert spy.executed("write_thing", {"name": f"letter {number}"}) == 1
        assert spy.executed("write_thing") == 1


STUBBORN = 'trap "" TERM; exec 3<&0; "$@" <&3 & exec sleep 1000'
"""A server that hands its work to a grandchild, ignores SIGTERM and does not end with its stdin."""


@pytest.mark.parametrize("killed", ["client", "nobody"])
@pytest.mark.parametrize("stubborn", [False, True], ids=["polite", "stubborn"])
async def test_a_client_that_goes_takes_the_wrapped_server_with_it(tmp_path: Path, killed: str, stubborn: bool) -> None:
    """The whole process group of the child ends, whatever it ignores."""
    spy = SpyRecord(tmp_path / "spy.jsonl")
    server = spy.command("--stdio")
    if stubborn:
        server = ["sh", "-c", STUBBORN, "sh", *server]
    proxy = ProxyKit(tmp_path / "proxy", {"unused": {"url": "http://127.0.0.1:9/mcp"}}, ASK)
    async with connected(CLIENTS[ERAS[0]], command=proxy.wrap(server)) as agent:
        assert "read_thing" in await agent.tools()
        (started,) = spy.lines("started")
        group = _group(started["group"])
        assert started["pid"] in group
        if killed == "client":
            await agent.kill9()

    await until(lambda: not [pid for pid in group if alive(pid)], "the server's process group to be gone", 20)


async def test_a_stopped_proxy_leaves_no_server_behind(tmp_path: Path) -> None:
    """`serve` with a stdio upstream, asked to stop while a client is connected."""
    spy = SpyRecord(tmp_path / "spy.jsonl")
    program, *arguments = spy.command("--stdio")
    servers = {"things": {"command": program, "args": arguments}}
    async with serving(tmp_path / "proxy", servers, ASK) as proxy:
        async with connected(CLIENTS[ERAS[0]], url=proxy.server_url("things"), token=AGENT_TOKEN) as agent:
            assert "read_thing" in await agent.tools()
            children = proxy.process.descendants()
            assert set(spy.pids()) & children
            process: Running = proxy.process
            await process.terminate()
        await until(lambda: not [pid for pid in children if alive(pid)], "every server to be gone", 15)


def _group(group: int) -> set[int]:
    """Every live process of a process group."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(text[text.rindex(")") + 2 :].split()[2]) == group:
                found.add(int(entry.name))
    return found
