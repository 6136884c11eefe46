"""Waiting for people: nothing is missed between two looks, a proxy may go and come back, and time may be up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import httpx2
import pytest

from holdshort.runner import waiting
from holdshort.runner.agent import Agent
from holdshort.runner.data import RunData
from holdshort.runner.errors import DecisionConflict, ProxyError, ProxyUnreachable, StateDamaged
from holdshort.runner.parked import parked_calls
from holdshort.runner.proxy import ApprovalProxy
from holdshort.runner.state import RunState
from holdshort.runner.waiting import Changes, Need, Via, changes_of
from kit.ports import free_port
from kit.process import until, until_async
from kit.proxy import AGENT_TOKEN, OTHER_AGENT_TOKEN, ProxyKit
from runner.parking import decided, park, parking, state_with

ANA = ("send_mail", {"to": "ana"})
BOB = ("send_mail", {"to": "bob"})
EVE = ("send_mail", {"to": "eve"})
Steps = list[Callable[[], Awaitable[Any]]]
WAYS: list[Via] = ["sse", "poll"]
NEVER = 60.0
"""Seconds; a test that needs them fails by its own deadline before."""


@pytest.fixture(scope="module")
async def kit(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ProxyKit]:
    async with parking(tmp_path_factory.mktemp("waiting")) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def no_looks_on_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stream tells has to be enough: a look every now and then would hide that it is not."""
    monkeypatch.setattr(waiting, "_LOOK_SECONDS", 3600.0)


async def meanwhile(wait: Awaitable[Changes], *steps: Callable[[], Awaitable[Any]]) -> Changes:
    """Wait, and do these while waiting; what the wait returned."""
    found: list[Changes] = []

    async def waits() -> None:
        found.append(await wait)

    with anyio.fail_after(45):
        async with anyio.create_task_group() as group:
            group.start_soon(waits)
            for step in steps:
                await step()
    return found[0]


class Seen(httpx2.AsyncBaseTransport):
    """The network, and what was asked of it."""

    def __init__(self) -> None:
        self.inner = httpx2.AsyncHTTPTransport()
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def waited(seen: Seen) -> None:
    """Wait until the first look is over and something waits for the proxy."""
    await until(lambda: any("/events" in url or "wait=" in url for url in seen.asked), "a request that waits")


async def streams(kit: ProxyKit, count: int) -> None:
    """Wait until so many event streams are open."""

    async def open_now() -> bool:
        told = (await kit.ask("GET", "/metrics")).text
        return f"holdshort_event_streams {count}\n" in told

    await until_async(open_now, f"{count} event streams")


# -- looking


async def test_a_look_says_how_every_call_stands(kit: ProxyKit) -> None:
    state = await state_with(kit, ANA, BOB, EVE, ("send_mail", {"to": "dan"}), ("send_mail", {"to": "fay"}))
    ana, bob, eve, dan, fay = state.get_interruptions()
    await decided(kit, ana.id, "approve")
    await decided(kit, bob.id, "reject")
    await kit.ask("POST", f"/v1/interruptions/{eve.id}/withdraw", {}, token=AGENT_TOKEN)
    await decided(kit, dan.id, "approve")
    claim = await kit.ask("POST", f"/v1/interruptions/{dan.id}/claim", {}, token=AGENT_TOKEN)
    assert claim.status_code == 200
    before = state.revision
    changes = await state.sync()
    assert [each.id for each in changes.decided] == [ana.id, bob.id]
    assert [each.id for each in changes.taken_back] == [eve.id]
    assert [each.id for each in changes.executing] == [dan.id]
    assert [each.id for each in changes.still_pending] == [fay.id]
    assert [each.id for each in changes.updated] == [ana.id, bob.id, eve.id, dan.id]
    assert [each.id for each in changes.settled] == [ana.id, bob.id, eve.id]
    assert state.revision > before
    again = await state.sync()
    assert (again.updated, again.decided) == ((), changes.decided)
    assert state.revision == before + 1


async def test_a_look_at_many_calls_reads_them_all(kit: ProxyKit) -> None:
    state = await state_with(kit, *[("send_mail", {"n": n}) for n in range(30)])
    changes = await state.sync()
    assert [each.parsed_arguments["n"] for each in changes.still_pending] == list(range(30))


async def test_where_nothing_waits_nobody_is_asked() -> None:
    nobody = ApprovalProxy(f"http://127.0.0.1:{free_port()}", token=AGENT_TOKEN)
    state = RunState(Agent[Any]("Ops", proxy=nobody), RunData(run_id="r", agent="Ops", first_agent="Ops"))
    assert await state.sync() == Changes()
    assert await state.wait() == Changes()
    assert Changes().enough("all")


@pytest.mark.parametrize(
    ("states", "any_is_enough", "all_is_enough"),
    [
        (["pending"], False, False),
        (["executing"], False, False),
        (["pending", "approved"], True, False),
        (["pending", "executing"], False, False),
        (["executing", "unknown"], True, False),
        (["expired", "superseded"], True, True),
        (["failed", "withdrawn", "answered", "executed", "rejected"], True, True),
    ],
)
async def test_enough_is_said_by_the_records(
    kit: ProxyKit, states: list[str], any_is_enough: bool, all_is_enough: bool
) -> None:
    state = await state_with(kit, *[("send_mail", {"n": n}) for n in range(len(states))])
    for call, word in zip(state.data.calls, states, strict=True):
        assert call.interruption is not None
        call.interruption["state"] = word
    changes = changes_of(parked_calls(state.data, {"Ops": state.agent}))
    assert (changes.enough("any"), changes.enough("all")) == (any_is_enough, all_is_enough)


async def test_a_look_keeps_what_it_could_read(kit: ProxyKit) -> None:
    state = await state_with(kit, ANA, BOB)
    ana, bob = state.get_interruptions()
    await decided(kit, ana.id, "approve")
    record = state.data.calls[1].interruption
    assert record is not None
    record["id"] = "i-0000"
    with pytest.raises(ProxyError) as refused:
        await state.sync()
    assert refused.value.reason == "not_found"
    assert state.get_interruptions()[0].status == "approved"
    assert (await kit.interruption(bob.id))["state"] == "pending"


async def test_the_record_of_another_call_is_noticed(kit: ProxyKit) -> None:
    state, other = await state_with(kit, ANA), await state_with(kit, ANA)
    record = state.data.calls[0].interruption
    assert record is not None
    record["id"] = other.get_interruptions()[0].id
    with pytest.raises(StateDamaged, match="is not about the call `call-0` of this run"):
        await state.sync()


async def test_another_agent_sees_none_of_it(kit: ProxyKit) -> None:
    state = await state_with(kit, ANA)
    theirs = RunState(state.agent, state.data, proxy=ApprovalProxy(kit.base, token=OTHER_AGENT_TOKEN))
    with pytest.raises(ProxyError) as refused:
        await theirs.sync()
    assert refused.value.reason == "not_found"


# -- waiting


@pytest.mark.parametrize("via", WAYS)
@pytest.mark.parametrize("need", ["any", "all"])
async def test_what_is_decided_already_is_not_waited_for(kit: ProxyKit, via: Via, need: Need) -> None:
    state = await state_with(kit, ANA)
    await decided(kit, state.get_interruptions()[0].id, "approve")
    changes = await meanwhile(state.wait(NEVER, need, via))
    assert [each.status for each in changes.decided] == ["approved"]


@pytest.mark.parametrize("via", WAYS)
async def test_the_first_decision_ends_a_wait_for_any(kit: ProxyKit, via: Via) -> None:
    state = await state_with(kit, ANA, BOB, EVE)
    bob = state.get_interruptions()[1]
    changes = await meanwhile(state.wait(NEVER, "any", via), lambda: decided(kit, bob.id, "reject"))
    assert [each.id for each in changes.decided] == [bob.id]
    assert len(changes.still_pending) == 2
    assert [each.id for each in changes.updated] == [bob.id]


@pytest.mark.parametrize("via", WAYS)
async def test_the_last_decision_ends_a_wait_for_all(kit: ProxyKit, via: Via) -> None:
    state = await state_with(kit, *[("send_mail", {"n": n}) for n in range(6)])
    steps = [partial(decided, kit, each.id, "approve") for each in reversed(state.get_interruptions())]
    changes = await meanwhile(state.wait(NEVER, "all", via), *steps)
    assert [each.status for each in changes.decided] == ["approved"] * 6
    assert len(changes.updated) == 6


@pytest.mark.parametrize("via", WAYS)
async def test_a_wait_for_all_waits_for_what_runs_elsewhere(kit: ProxyKit, via: Via) -> None:
    state = await state_with(kit, ANA)
    [asked] = state.get_interruptions()
    await decided(kit, asked.id, "approve")
    claim = (await kit.ask("POST", f"/v1/interruptions/{asked.id}/claim", {}, token=AGENT_TOKEN)).json()
    report = {"token": claim["token"], "kind": "ok", "result": {"output": "sent"}}
    changes = await meanwhile(
        state.wait(NEVER, "all", via),
        lambda: kit.ask("POST", f"/v1/interruptions/{asked.id}/outcome", report, token=AGENT_TOKEN),
    )
    assert [each.status for each in changes.decided] == ["executed"]


@pytest.mark.parametrize("via", WAYS)
async def test_time_can_be_up_without_an_error(kit: ProxyKit, via: Via) -> None:
    state = await state_with(kit, ANA)
    changes = await meanwhile(state.wait(0.2, via=via))
    assert not changes.enough("any")
    assert [each.status for each in changes.still_pending] == ["pending"]
    assert (await meanwhile(state.wait(0, via=via))).still_pending == changes.still_pending


async def test_time_that_is_up_can_be_an_error_all_the_same(kit: ProxyKit) -> None:
    state = await state_with(kit, ANA)
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await state.wait()
    assert not (await state.sync()).enough("any")


@pytest.mark.parametrize("via", WAYS)
async def test_expiry_ends_a_wait(tmp_path_factory: pytest.TempPathFactory, via: Via) -> None:
    layer = {"version": 1, "rules": [{"id": "short", "tools": "*", "action": "ask", "expires_after": "1s"}]}
    async with parking(tmp_path_factory.mktemp("short"), layer) as proxy:
        state = await state_with(proxy, ANA)
        changes = await meanwhile(state.wait(NEVER, via=via))
        assert [each.status for each in changes.expired] == ["expired"]


@pytest.mark.parametrize("via", WAYS)
async def test_a_proxy_that_restarts_is_waited_for(tmp_path_factory: pytest.TempPathFactory, via: Via) -> None:
    async with parking(tmp_path_factory.mktemp("restart")) as proxy:
        state = await state_with(proxy, ANA)
        [asked] = state.get_interruptions()

        approve = partial(decided, proxy, asked.id, "approve")
        seen = Seen()
        async with httpx2.AsyncClient(transport=seen) as client:
            state.proxy = ApprovalProxy(proxy.base, token=AGENT_TOKEN, http_client=client)
            steps: Steps = [partial(waited, seen), proxy.kill9, proxy.start, approve]
            changes = await meanwhile(state.wait(NEVER, via=via), *steps)
        assert [each.status for each in changes.decided] == ["approved"]


@pytest.mark.parametrize("via", WAYS)
async def test_a_proxy_that_stays_away_is_waited_for_until_time_is_up(
    tmp_path_factory: pytest.TempPathFactory, via: Via
) -> None:
    async with parking(tmp_path_factory.mktemp("away")) as proxy:
        state = await state_with(proxy, ANA)
        seen = Seen()
        async with httpx2.AsyncClient(transport=seen) as client:
            state.proxy = ApprovalProxy(proxy.base, token=AGENT_TOKEN, http_client=client)
            changes = await meanwhile(state.wait(3, via=via), partial(waited, seen), proxy.kill9)
        assert [each.status for each in changes.still_pending] == ["pending"]


async def test_a_proxy_that_is_not_there_at_first_is_told_of(kit: ProxyKit) -> None:
    state = await state_with(kit, ANA)
    state.proxy = ApprovalProxy(f"http://127.0.0.1:{free_port()}", token=AGENT_TOKEN)
    with pytest.raises(ProxyUnreachable):
        await state.wait(NEVER)


@pytest.mark.parametrize("via", WAYS)
async def test_a_wait_can_be_cancelled_and_leaves_nothing_open(kit: ProxyKit, via: Via) -> None:
    state = await state_with(kit, ANA)
    with anyio.move_on_after(0.5) as scope:
        await state.wait(via=via)
    assert scope.cancelled_caught
    await streams(kit, 0)


async def test_a_decision_between_two_looks_is_not_missed(kit: ProxyKit) -> None:
    """It comes after the first look and before the stream is open: reading again at its beginning finds it."""
    state = await state_with(kit, ANA)
    [asked] = state.get_interruptions()

    class Late(Seen):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("/events"):
                await decided(kit, asked.id, "approve")
            return await super().handle_async_request(request)

    async with httpx2.AsyncClient(transport=Late()) as client:
        state.proxy = ApprovalProxy(kit.base, token=AGENT_TOKEN, http_client=client)
        changes = await meanwhile(state.wait(NEVER))
    assert [each.status for each in changes.decided] == ["approved"]


async def test_what_is_decided_here_is_sent_before_waiting(kit: ProxyKit) -> None:
    state = await state_with(kit, ANA)
    state.reject(state.get_interruptions()[0], message="no")
    changes = await meanwhile(state.wait(NEVER))
    assert [each.status for each in changes.decided] == ["rejected"]
    state = await state_with(kit, ANA)
    await decided(kit, state.get_interruptions()[0].id, "reject")
    state.approve(state.get_interruptions()[0])
    with pytest.raises(DecisionConflict):
        await state.wait(NEVER)


async def test_two_proxies_are_waited_for_at_once(kit: ProxyKit, tmp_path_factory: pytest.TempPathFactory) -> None:
    async with parking(tmp_path_factory.mktemp("second")) as second:
        state, other = await state_with(kit, ANA), await state_with(second, BOB)
        mail = other.agent.clone(name="Mail")
        [call] = other.data.calls
        call.agent, call.key = "Mail", "call-1"
        record = call.interruption = await park(second, *BOB, state.run_id, "call-1")
        both = RunState(state.agent.clone(handoffs=[mail]), state.data)
        both.data.calls.append(call)
        changes = await meanwhile(both.wait(NEVER), lambda: decided(second, str(record["id"]), "approve"))
        assert [each.parsed_arguments["to"] for each in changes.decided] == ["bob"]
