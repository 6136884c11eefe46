"""Every client library through every story: allow, hide, deny, park and approve, park and reject, park and expire.

Each story is told over HTTP (`holdshort serve`) and over stdio (`holdshort wrap`), with real processes on all sides.
The client is the one of the test before, so the table is ordered by client first.
"""

from __future__ import annotations

import pytest

from flows.world import World
from kit.clients import CLIENTS, Agent
from kit.proxy import Record

pytestmark = [pytest.mark.timeout(90), pytest.mark.parametrize("how", ["http", "stdio"], scope="session")]
every_client = pytest.mark.parametrize("client", CLIENTS, scope="session")
every_client_that_comes_back = pytest.mark.parametrize(
    # One with a task handle does not: it looks after its task until it ends.
    "client",
    [name for name, kind in CLIENTS.items() if kind.manner != "tasks"],
    scope="session",
)


@pytest.fixture
async def agent(world: World, client: str, how: str) -> Agent:
    return await world.agent(CLIENTS[client], how)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An argument that no other test uses."""
    return str(request.node.name)


@every_client
async def test_an_allowed_call_runs_at_once(agent: Agent, world: World, name: str) -> None:
    answer = await agent.call("read_thing", {"name": name})

    assert not answer.is_error, answer
    assert answer.text == f"read_thing done: {name}"
    assert answer.interruption is None
    assert world.spy.executed("read_thing", {"name": name}) == 1


@every_client
async def test_a_hidden_tool_is_not_there(agent: Agent, world: World, name: str) -> None:
    """Not listed, not callable, and not to be told from a tool that never was."""
    listed = await agent.tools()
    hidden = await agent.call("crash", {"name": name})
    absent = await agent.call("crush", {"name": name})

    assert "crash" not in listed
    assert {"read_thing", "write_thing", "destroy_thing"} <= set(listed)
    assert hidden.error is not None
    assert absent.error is not None
    assert hidden.error["code"] == absent.error["code"]
    assert hidden.text.replace("crash", "crush") == absent.text
    assert world.spy.executed("crash") == 0


@every_client
async def test_a_denied_call_is_refused_with_a_reason(agent: Agent, world: World, name: str) -> None:
    answer = await agent.call("destroy_thing", {"name": name})

    assert answer.is_error
    assert answer.error is None, "a refusal is a tool result, so that the model reads it"
    assert "policy" in answer.text.lower()
    assert world.spy.executed("destroy_thing") == 0


@every_client
async def test_an_approved_call_runs_once(agent: Agent, world: World, name: str) -> None:
    """Decided while the client waits, or comes back: the client's own way, the result is the tool's."""
    call = agent.call_until_settled("write_thing", {"name": name})
    answer = await world.settled(name, call, world.proxy.approve)

    assert not answer.is_error, answer
    assert f"write_thing done: {name}" in answer.text
    assert world.spy.executed("write_thing", {"name": name}) == 1
    if answer.interruption is not None:
        assert answer.state == "executed"


@every_client_that_comes_back
async def test_nothing_is_sent_before_the_approval(agent: Agent, world: World, name: str) -> None:
    """The pending answer names the interruption; the same call later joins it, runs, and runs once."""
    waiting = await agent.call("write_thing", {"name": name})
    record = await world.pending(name)
    sent_before = world.spy.executed("write_thing", {"name": name})
    await world.proxy.approve(record)
    answer = await agent.call_until_settled("write_thing", {"name": name})

    assert waiting.is_error
    assert waiting.state == "pending"
    assert waiting.interruption is not None
    assert waiting.interruption["id"] == record["id"]
    assert waiting.interruption["fingerprint"] == record["fingerprint"]
    assert record["id"] in waiting.text
    assert sent_before == 0
    assert not answer.is_error, answer
    assert world.spy.executed("write_thing", {"name": name}) == 1
    assert len(await _about(world, name)) == 1, "one interruption, however often the call is repeated"


@every_client
async def test_a_rejected_call_never_runs_and_says_why(agent: Agent, world: World, name: str) -> None:
    async def reject(record: Record) -> None:
        await world.proxy.reject(record, "not on a Friday")

    answer = await world.settled(name, agent.call_until_settled("write_thing", {"name": name}), reject)

    assert answer.is_error
    assert answer.state == "rejected"
    assert "not on a Friday" in answer.text
    assert world.spy.executed("write_thing", {"name": name}) == 0


@every_client
async def test_a_call_nobody_decides_about_expires(agent: Agent, world: World, name: str) -> None:
    answer = await agent.call_until_settled("slow", {"name": name, "until": "/nowhere"})

    assert answer.is_error
    assert answer.state == "expired"
    assert "nobody decided" in answer.text.lower()
    assert world.spy.executed("slow") == 0


async def _about(world: World, name: str) -> list[Record]:
    found = await world.proxy.interruptions(limit="200")
    return [record for record in found if record["arguments"].get("name") == name]
