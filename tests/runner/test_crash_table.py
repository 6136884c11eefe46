"""What must be true when a program, the proxy or a server dies at a bad moment: the cases one by one.

The programs, the proxies and the servers are processes, and end with SIGKILL.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from kit.ports import free_port
from kit.process import Running, kit_environment, until
from kit.proxy import SECOND_APPROVER_TOKEN, ProxyKit, serving
from kit.responses_server import ResponsesServer
from kit.spy import SpyRecord
from runner.crash_nest import Nest, Person, Tale, asked_model, person_at
from runner.crash_program import STATE, ledger
from runner.stage import Stage

pytestmark = pytest.mark.timeout(120)

Json = dict[str, Any]
ASK: Json = {"version": 1, "default": "ask", "rules": [{"id": "reads", "tools": "*__read_thing", "action": "allow"}]}
UNKNOWN = "OUTCOME UNKNOWN"


@dataclass(slots=True)
class House:
    """A proxy of a test's own, before a spy that outlives it."""

    proxy: ProxyKit
    spy: SpyRecord
    nest: Nest
    model: ResponsesServer
    person: Person
    folder: Path
    server: Running | None = None
    """The spy's process, where it is the test's own too."""

    def tale(self, plan: str, **orders: Any) -> Tale:
        """A run before this proxy."""
        where = {"proxy": self.proxy.base, "model": self.model.url}
        return Tale.begin(self.nest, self.person, self.folder, plan, **{**where, **orders})

    def ran(self, tale: Tale, call: str = "c1", tool: str = "write_thing") -> int:
        """How often a call really ran."""
        return self.spy.executed(tool, {"name": tale.name(call)})

    def asked(self, tale: Tale) -> int:
        """How often the model was asked in a run."""
        return sum(tale.run_id in one.text for one in self.model.asked)

    async def policy(self, layer: Json) -> None:
        """Start anew with other rules."""
        self.proxy.set_policy(layer)
        await self.proxy.restart()


OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
async def model() -> AsyncGenerator[ResponsesServer]:
    async with asked_model() as one:
        yield one


@pytest.fixture
def opened(stage: Stage, nest: Nest, model: ResponsesServer, tmp_path: Path) -> OpenHouse:
    """Opens a house with these rules; `own` gives it a spy of its own."""

    @asynccontextmanager
    async def house(layer: Json = ASK, *, own: bool = False, **more: Any) -> AsyncGenerator[House]:
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp" if own else stage.proxy.config["mcpServers"]["things"]["url"]
        spy = SpyRecord(tmp_path / "spy.jsonl") if own else stage.spy
        server = None
        if own:
            server = Running(spy.command("--http", str(port)))
            await server.until_answers(url)
        try:
            async with (
                serving(tmp_path / "proxy", {"things": {"url": url}}, layer, hold="200ms", **more) as proxy,
                person_at(proxy.base) as person,
            ):
                one = House(proxy, spy, nest, model, person, tmp_path, server)
                yield one
                server = one.server
        finally:
            if server is not None:
                server.close()

    return house


@pytest.fixture
async def house(stage: Stage, nest: Nest, model: ResponsesServer, tmp_path: Path) -> AsyncGenerator[House]:
    """The house of tests that leave proxy and rules alone: all of them share it."""
    async with person_at(stage.proxy.base) as person:
        yield House(stage.proxy, stage.spy, nest, model, person, tmp_path)


async def one_call(tale: Tale) -> Json:
    """The one record of a run."""
    (record,) = await tale.person.calls(tale.run_id)
    return record


# -- the program dies


@pytest.mark.parametrize("left", ["state", "run id"])
async def test_a_program_that_dies_before_any_decision_is_followed_by_one_with_its_state_or_its_run_id(
    house: House, left: str
) -> None:
    tale = house.tale("one")
    first = await tale.go("save ended 4")
    parked = await one_call(tale)
    if left == "run id":
        (tale.folder / STATE).unlink()
    second = await tale.go()
    again = await one_call(tale)
    await tale.to_the_end()

    assert first.killed_at == "save ended 4"
    assert [each["id"] for each in second.waiting] == [parked["id"]] == [again["id"]]
    assert parked["state"] == again["state"] == "pending"
    assert house.ran(tale) == 1
    assert await tale.outputs() == {"c1": f"write_thing done: {tale.name('c1')}"}
    assert house.asked(tale) == (2 if left == "state" else 3)


async def test_a_program_that_dies_after_approval_has_run_nothing_and_the_next_one_runs_it_once(house: House) -> None:
    tale = house.tale("one")
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    dead = await tale.go("GET /v1/interruptions/* read 1")
    before = house.ran(tale)
    done = await tale.go()

    assert dead.killed_at is not None
    assert before == 0
    assert done.is_done
    assert house.ran(tale) == 1


async def test_what_runs_on_the_decision_runs_while_no_program_lives_and_is_told_to_the_next(opened: OpenHouse) -> None:
    rule = {"id": "at-once", "tools": "*__write_thing", "action": "ask", "execute": "on_decision"}
    async with opened({**ASK, "rules": [rule]}) as house:
        tale = house.tale("one")
        dead = await tale.go("save ended 4")
        (record,) = await tale.person.approve_all(tale.run_id)
        await house.proxy.until_state(record["id"], "executed")
        before = house.ran(tale)
        done = await tale.go()

        assert dead.killed_at is not None
        assert before == house.ran(tale) == 1
        assert done.is_done
        assert await tale.outputs() == {"c1": f"write_thing done: {tale.name('c1')}"}


@pytest.mark.parametrize("moment", ["mcp tools/call sent 1", "mcp tools/call read 1", "save began 2"])
async def test_a_program_that_dies_before_it_saves_a_result_leaves_it_to_the_next_and_to_all_after_that(
    house: House, moment: str
) -> None:
    tale = house.tale("one")
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    old = tale.folder / "old.json"
    shutil.copy(tale.folder / STATE, old)
    dead = await tale.go(moment)
    done = await tale.go()
    outputs = await tale.outputs()
    later = [await tale.go(**{"from": str(old)}) for _ in range(2)]

    assert dead.killed_at == moment
    assert [each.is_done for each in [done, *later]] == [True] * 3
    assert await tale.outputs() == outputs == {"c1": f"write_thing done: {tale.name('c1')}"}
    assert (await one_call(tale))["state"] == "executed"
    assert house.ran(tale) == 1


@pytest.mark.parametrize(("moment", "ran"), [("tool began 1", 0), ("tool ended 1", 1)])
async def test_a_program_that_dies_in_an_approved_tool_of_its_own_never_runs_it_again(
    house: House, moment: str, ran: int
) -> None:
    tale = house.tale("one-function")
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    dead = await tale.go(moment)
    held = await one_call(tale)
    done = await tale.go()
    record = await one_call(tale)

    assert dead.killed_at == moment
    assert (held["state"], record["state"]) == ("executing", "unknown")
    assert done.is_done
    assert UNKNOWN in (await tale.outputs())["c1"]
    assert len(ledger(tale.folder)) == ran


@pytest.mark.parametrize(("moment", "ran"), [("tool began 1", 0), ("tool ended 1", 1), ("save ended 3", 0)])
async def test_a_tool_that_nobody_approves_and_that_a_dead_program_may_have_begun_is_not_run_again(
    house: House, moment: str, ran: int
) -> None:
    tale = house.tale("free-function")
    dead = await tale.go(moment)
    done = await tale.go()

    assert dead.killed_at == moment
    assert done.is_done
    assert UNKNOWN in (await tale.outputs())["c1"]
    assert len(ledger(tale.folder)) == ran


@pytest.mark.parametrize("moment", ["save ended 3", "mcp tools/call sent 1", "mcp tools/call read 1"])
async def test_an_allowed_call_that_a_dead_program_may_have_sent_is_not_sent_again(house: House, moment: str) -> None:
    tale = house.tale("read")
    dead = await tale.go(moment)
    done = await tale.go()

    assert dead.killed_at == moment
    assert done.is_done
    assert UNKNOWN in (await tale.outputs())["c1"]
    assert house.ran(tale, tool="read_thing") == {"save ended 3": 0, "mcp tools/call read 1": 1}.get(
        moment, house.ran(tale, tool="read_thing")
    )
    assert house.ran(tale, tool="read_thing") <= 1
    assert await tale.person.calls(tale.run_id) == []


# -- the proxy dies


@pytest.mark.parametrize("via", ["sse", "poll"])
async def test_a_proxy_killed_while_a_call_waits_forgets_nothing_and_who_waits_hears_of_the_decision(
    opened: OpenHouse, via: Any
) -> None:
    async with opened() as house:
        tale = house.tale("one")
        await tale.go()
        state = await tale.state()
        waited: list[Any] = []

        async def wait() -> None:
            waited.append(await state.wait(timeout=60, via=via))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await house.proxy.kill9()
            await house.proxy.start()
            await tale.person.approve_all(tale.run_id)
        done = await tale.go()

        assert [each.id for each in waited[0].decided] == [(await one_call(tale))["id"]]
        assert done.is_done
        assert house.ran(tale) == 1


@pytest.mark.parametrize(
    ("point", "ran"), [("intent.after_commit", 0), ("send.half", 0), ("reply.read", 1), ("outcome.in_tx", 1)]
)
async def test_a_proxy_killed_while_it_runs_a_call_never_sends_it_again_and_a_person_can_settle_it(
    opened: OpenHouse, point: str, ran: int
) -> None:
    async with opened() as house:
        tale = house.tale("one")
        await tale.go()
        await tale.person.approve_all(tale.run_id)
        before = (await tale.data()).calls
        await house.proxy.kill9()
        await house.proxy.start({"HOLDSHORT_FAULT": f"{point}:1:kill"})
        async with house.nest.program(tale.orders) as program:
            await house.proxy.process.until_exit()
            house.proxy.close()
            kept = (await tale.data()).calls
            await house.proxy.start()
            done = await program.until_ended()
        record = await one_call(tale)
        settled = await house.proxy.ask(
            "POST", f"/v1/interruptions/{record['id']}/resolve", {"ran": bool(ran), "note": "looked"}
        )

        assert kept == before
        assert done.is_done, done
        assert record["state"] == "unknown"
        assert UNKNOWN in (await tale.outputs())["c1"].upper()
        assert "not repeat" in (await tale.outputs())["c1"].lower()
        assert house.ran(tale) == ran
        assert settled.json()["state"] == ("executed" if ran else "failed")


async def test_a_server_that_dies_after_it_ran_a_call_leaves_it_unknown_and_it_is_not_sent_again(
    opened: OpenHouse,
) -> None:
    async with opened(own=True) as house:
        tale = house.tale("crash")
        await tale.to_the_end()

        assert (await one_call(tale))["state"] == "unknown"
        assert "unknown" in (await tale.outputs())["c1"].lower()
        assert house.ran(tale, tool="crash") == 1


async def test_a_proxy_that_is_not_there_leaves_the_state_as_it_is(opened: OpenHouse) -> None:
    async with opened() as house:
        tale = house.tale("one")
        await tale.go()
        await tale.person.approve_all(tale.run_id)
        before = await tale.data()
        await house.proxy.kill9()
        lost = await tale.go()
        after = await tale.data()
        await house.proxy.start()
        done = await tale.go()

        assert lost.said["error"] == "ProxyUnreachable"
        assert (after.calls, after.history, after.turn) == (before.calls, before.history, before.turn)
        assert done.is_done
        assert house.ran(tale) == 1
        assert house.asked(tale) == 2


# -- people decide


async def test_the_same_approval_twice_is_one_and_runs_once(house: House) -> None:
    tale = house.tale("one")
    await tale.go()
    record = await one_call(tale)
    answers = [await tale.person.decide(record) for _ in range(2)]
    done = await tale.go()
    late = await tale.person.decide(record)

    assert [each.status_code for each in answers] == [200, 200]
    assert [each.json()["id"] for each in answers] == [record["id"]] * 2
    assert late.status_code in (200, 409)
    assert done.is_done
    assert house.ran(tale) == 1


async def test_of_an_approval_and_a_rejection_the_first_counts(house: House) -> None:
    tale = house.tale("one")
    await tale.go()
    record = await one_call(tale)
    first = await tale.person.decide(record)
    second = await house.proxy.decide(record, "reject", token=SECOND_APPROVER_TOKEN, message="no")
    done = await tale.go()

    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json()["error"]["interruption"]["state"] == "approved"
    assert done.is_done
    assert await tale.outputs() == {"c1": f"write_thing done: {tale.name('c1')}"}
    assert house.ran(tale) == 1


async def test_a_decision_after_the_time_is_refused_and_the_model_hears_that_nobody_decided(opened: OpenHouse) -> None:
    rule = {"id": "short", "tools": "*__write_thing", "action": "ask", "expires_after": "1s"}
    async with opened({**ASK, "rules": [rule]}) as house:
        tale = house.tale("one")
        await tale.go("save ended 4")
        record = await one_call(tale)
        end = datetime.fromisoformat(record["expires_at"])
        await until(lambda: datetime.now(UTC) > end, "the time to be up")
        late = await tale.person.decide(record)
        done = await tale.go()

        assert late.status_code == 409
        assert late.json()["error"]["code"] == "expired"
        assert late.json()["error"]["interruption"]["state"] == "expired"
        assert done.is_done
        assert "EXPIRED" in (await tale.outputs())["c1"].upper()
        assert house.ran(tale) == 0


@pytest.mark.parametrize(
    ("decision", "more", "said", "ran"),
    [
        ("approve", {}, "write_thing done", 1),
        ("reject", {"message": "not on Fridays"}, "not on Fridays", 0),
        ("respond", {"content": "it is written"}, "it is written", 0),
    ],
)
@pytest.mark.parametrize("plan", ["one", "one-function"])
async def test_what_was_decided_while_no_program_lived_is_found_by_the_next(
    house: House, plan: str, decision: str, more: Json, said: str, ran: int
) -> None:
    tale = house.tale(plan)
    dead = await tale.go("save ended 4")
    answer = await tale.person.decide(await one_call(tale), decision, **more)
    done = await tale.go()

    assert dead.killed_at is not None
    assert answer.status_code == 200, answer.text
    assert done.is_done
    expected = f"wrote {tale.name('c1')}" if (plan, ran) == ("one-function", 1) else said
    assert expected in (await tale.outputs())["c1"]
    assert house.ran(tale) + len(ledger(tale.folder)) == ran


async def test_with_some_of_the_calls_decided_those_run_and_the_model_is_not_asked(house: House) -> None:
    tale = house.tale("two")
    await tale.go()
    records = {each["requested_by"]["call_id"]: each for each in await tale.person.calls(tale.run_id)}
    await tale.person.decide(records["c2"])
    dead = await tale.go("mcp tools/call read 1")
    some = await tale.go()
    ran = [house.ran(tale, call) for call in ("c1", "c2")]
    asked = house.asked(tale)
    await tale.to_the_end()

    assert dead.killed_at is not None
    assert [each["call_id"] for each in some.waiting] == ["c1"]
    assert ran == [0, 1]
    assert asked == 1
    assert [house.ran(tale, call) for call in ("c1", "c2")] == [1, 1]
    assert list(await tale.outputs()) == ["c1", "c2"]


# -- two at once


@pytest.mark.parametrize("plan", ["one", "one-function"])
@pytest.mark.parametrize("store", [False, True], ids=["file", "store"])
async def test_two_processes_that_go_on_from_one_state_at_once_run_it_once(
    house: House, plan: str, store: bool
) -> None:
    tale = house.tale(plan, store=store)
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    asked = house.asked(tale)
    old = tale.folder / "old.json"
    shutil.copy(tale.folder / STATE, old)
    orders = {**tale.orders, "from": str(old), "ready": True}
    async with house.nest.program(orders) as first, house.nest.program(orders) as second:
        for one in (first, second):
            await one.until_said("ready")
        (tale.folder / "go").touch()
        ends = [await first.until_ended(), await second.until_ended()]
    if not any(each.is_done for each in ends):
        await tale.to_the_end()

    assert house.ran(tale) + len(ledger(tale.folder)) == 1
    assert (await one_call(tale))["state"] == "executed"
    if store:
        assert sorted(each.said.get("error", "") for each in ends) == ["", "StateSuperseded"]
        assert house.asked(tale) - asked == 1
    else:
        assert not any("error" in each.said for each in ends), ends
        assert 1 <= house.asked(tale) - asked <= 2
    outputs = await tale.outputs()
    assert tale.name("c1") in outputs["c1"]


@pytest.mark.parametrize("plan", ["one", "one-function"])
async def test_a_process_that_comes_after_another_from_the_same_state_runs_nothing_again(
    house: House, plan: str
) -> None:
    tale = house.tale(plan)
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    old = tale.folder / "old.json"
    shutil.copy(tale.folder / STATE, old)
    first = await tale.go()
    outputs = await tale.outputs()
    second = await tale.go(**{"from": str(old)})

    assert first.is_done
    assert second.is_done
    assert await tale.outputs() == outputs
    assert house.ran(tale) + len(ledger(tale.folder)) == 1


async def test_with_a_store_the_one_that_comes_after_is_refused_before_it_asks_anybody(house: House) -> None:
    tale = house.tale("one", store=True)
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    old = tale.folder / "old.json"
    shutil.copy(tale.folder / STATE, old)
    first = await tale.go()
    asked = house.asked(tale)
    second = await tale.go(**{"from": str(old)})

    assert first.is_done
    assert second.said["error"] == "StateSuperseded"
    assert house.asked(tale) == asked
    assert house.ran(tale) == 1


# -- the world is another


async def test_a_call_that_is_forbidden_since_it_was_approved_does_not_run(opened: OpenHouse) -> None:
    async with opened() as house:
        tale = house.tale("one")
        await tale.go()
        await tale.person.approve_all(tale.run_id)
        await house.policy({**ASK, "rules": [{"id": "no", "tools": "*__write_thing", "action": "deny"}]})
        done = await tale.go()

        assert done.is_done, done
        assert house.ran(tale) == 0
        assert "Nothing was executed" in (await tale.outputs())["c1"]


UPGRADED = """
import sys
import kit.spy_server as spy
exec(sys.argv.pop(1))
spy.main()
"""


async def upgrade(house: House, change: str) -> None:
    """The server stops, and comes back as another release."""
    assert house.server is not None
    port = house.server.command[-1]
    house.server.close()
    command = [sys.executable, "-c", UPGRADED, change, *house.spy.command("--http", port)[2:]]
    house.server = Running(command, env=kit_environment())
    await house.server.until_answers(f"http://127.0.0.1:{port}/mcp")


async def test_a_tool_that_is_gone_since_its_call_was_approved_does_not_run(opened: OpenHouse) -> None:
    async with opened(own=True) as house:
        tale = house.tale("one")
        await tale.go()
        await tale.person.approve_all(tale.run_id)
        await upgrade(house, "spy.TOOLS[:] = [t for t in spy.TOOLS if t['name'] != 'write_thing']")
        await house.proxy.restart()
        done = await tale.go()

        assert done.is_done, done
        assert house.ran(tale) == 0
        assert (await tale.outputs())["c1"]


async def test_a_tool_that_is_described_otherwise_since_its_call_was_approved_needs_another_approval(
    opened: OpenHouse,
) -> None:
    async with opened(own=True) as house:
        tale = house.tale("one")
        await tale.go()
        first = await tale.person.approve_all(tale.run_id)
        await upgrade(house, "[t.update(description='Writes to the whole world') for t in spy.TOOLS]")
        await house.proxy.restart()
        asked_again = await tale.go()
        before = house.ran(tale)
        second = await tale.person.approve_all(tale.run_id)
        done = await tale.go()
        states = [each["state"] for each in await tale.person.calls(tale.run_id)]

        assert before == 0
        assert [each["id"] for each in asked_again.waiting] == [each["id"] for each in second]
        assert second[0]["id"] != first[0]["id"]
        assert "whole world" in second[0]["definition"]["description"]
        assert states == ["superseded", "executed"]
        assert done.is_done
        assert house.ran(tale) == 1


async def test_input_that_came_while_calls_wait_is_said_after_their_outputs(house: House) -> None:
    tale = house.tale("two")
    await tale.go()
    (first, second) = await tale.person.calls(tale.run_id)
    dead = await tale.go("save ended 1", say="And hurry.")
    still = await tale.go()
    await tale.person.decide(first)
    await tale.go()
    await tale.person.decide(second)
    done = await tale.go()

    assert dead.killed_at is not None
    assert len(still.waiting) == 2
    assert done.is_done
    kinds = [entry.item.get("type", entry.item.get("role")) for entry in (await tale.data()).history]
    assert kinds == ["user", *["function_call"] * 2, *["function_call_output"] * 2, "user", "message"]
    assert house.ran(tale, "c1") == house.ran(tale, "c2") == 1


@pytest.mark.parametrize("kill", [None, "POST /v1/responses sent 1", "POST /v1/responses read 1"])
async def test_a_chain_that_the_service_forgot_while_calls_waited_is_sent_anew(house: House, kill: str | None) -> None:
    tale = house.tale("again", beginning={"auto_previous_response_id": True})
    await tale.go()
    await tale.person.approve_all(tale.run_id)
    house.model.service.memory.forget()
    first = await tale.go(kill)
    await tale.to_the_end()

    assert first.killed_at == kill
    assert list(await tale.outputs()) == ["c1", "c4"]
    assert house.ran(tale) == house.ran(tale, "c4") == 1
