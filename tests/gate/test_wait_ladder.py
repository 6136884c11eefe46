"""What an agent meets while its call waits for a person, rung by rung, and that it runs once at most."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import Drop, Incoming, RpcError, scripted, text, tool
from gate.world import LEGACY, MODERN, OTHER, Answer, Client, World, interruption_of, world
from holdshort.interruption import Interruption, State

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
SHORT = {"default": "30ms"}
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
LEGS: dict[str, Any] = {"elicitation": {"form": {}}}
PARK_NOW = {"holdshort/park": "now"}


# -- 1. the hold


@ERAS
async def test_a_decision_while_the_client_waits_is_invisible(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write", {"x": 1})
        (record,) = await proxy.pending()
        before = proxy.spy.runs("write")
        await proxy.approve(record)
        answer = await live.answer()

        assert before == 0
        assert answer.text == "write done"
        assert "isError" not in answer.result
        assert proxy.spy.executed == [("write", {"x": 1})]
        assert (await proxy.delivered(record.id)).state is State.EXECUTED
        assert await proxy.log_kinds() == ["parked", "decision", "intent", "outcome", "delivered"]


@ERAS
async def test_after_the_hold_the_answer_says_that_nothing_ran_and_how_to_go_on(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        answer = await client.call("write", {"x": 1})
        (record,) = await proxy.pending()

        assert answer.status == 200
        assert answer.result["isError"] is True
        assert "NOT EXECUTED YET" in answer.text
        assert record.id in answer.text
        assert answer.interruption == {
            "id": record.id,
            "state": "pending",
            "revision": 1,
            "kind": "mcp",
            "server": "spy",
            "tool": "write",
            "fingerprint": record.fingerprint,
            "edited": False,
            "expires_at": answer.interruption["expires_at"],
            "review_url": f"http://127.0.0.1:7411/review/{record.id}",
        }
        assert proxy.spy.executed == []


@ERAS
async def test_the_same_call_joins_the_same_interruption_and_runs_once(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        ids = {interruption_of(await client.call("write", {"x": 1, "y": [2]})) for _ in range(3)}
        (record,) = await proxy.pending()
        await proxy.approve(record)
        answer = await client.call("write", {"y": [2], "x": 1})
        again = await client.call("write", {"x": 1, "y": [2]})

        assert ids == {record.id}
        assert answer.text == "write done"
        assert answer.interruption["state"] == "executed"
        assert interruption_of(again) != record.id
        assert proxy.spy.runs("write") == 1


@ERAS
@pytest.mark.parametrize(
    "other",
    [{"x": 2}, {"x": 1, "y": None}, {"x": 1.5}, {"x": "1"}, {"x": True}, {}],
    ids=lambda value: json.dumps(value),
)
async def test_another_call_does_not_join(tmp_path: Path, era: str, other: dict[str, Any]) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        first = interruption_of(await client.call("write", {"x": 1}))
        await proxy.approve(await proxy.get(first))
        second = await client.call("write", other)

        assert interruption_of(second) != first
        assert proxy.spy.executed == []


async def test_a_call_of_another_agent_does_not_join(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        first = interruption_of(await (await proxy.connect()).call("write"))
        await proxy.approve(await proxy.get(first))
        second = await (await proxy.connect(token=OTHER)).call("write")

        assert interruption_of(second) != first
        assert proxy.spy.executed == []


async def test_a_call_joins_across_sessions_and_eras(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        first = interruption_of(await (await proxy.connect(LEGACY)).call("write"))
        await proxy.approve(await proxy.get(first))
        answer = await (await proxy.connect(MODERN)).call("write")

        assert answer.text == "write done"
        assert answer.result["resultType"] == "complete"
        assert interruption_of(answer) == first


@ERAS
async def test_two_identical_calls_in_flight_are_two_interruptions(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        calls = [client.calling("write", {"x": 1}) for _ in range(2)]
        first, second = await proxy.pending(2)
        await proxy.approve(first)
        await proxy.reject(second, "one is enough")
        answers = [await live.answer() for live in calls]

        assert sorted("one is enough" in answer.text for answer in answers) == [False, True]
        assert proxy.spy.runs("write") == 1


@ERAS
async def test_a_client_that_resumes_by_itself_skips_the_hold(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era, capabilities=LEGS | TASKS)
        answer = await client.call(
            "write", {"x": 1}, _meta={**PARK_NOW, "holdshort/run_id": "run-1", "holdshort/agent_path": ["a", "b", 3]}
        )
        (record,) = await proxy.pending()

        assert answer.result["isError"] is True
        assert interruption_of(answer) == record.id
        assert record.requested_by.run_id == "run-1"
        assert record.requested_by.agent_path == ("a", "b")
        assert record.requested_by.client == "test-client"


# -- what became of it


async def reject(proxy: World, record: Interruption) -> None:
    await proxy.reject(record, "not on a Friday")


async def respond(proxy: World, record: Interruption) -> None:
    await proxy.respond(record, "use the other account")


async def edit(proxy: World, record: Interruption) -> None:
    await proxy.edit(record, {"x": True})


OUTCOMES: dict[str, tuple[Callable[[World, Interruption], Awaitable[None]], str, list[str], int]] = {
    "rejected": (reject, "rejected", ["REJECTED", "ana", "not on a Friday", "not executed"], 0),
    "answered": (respond, "answered", ["ANSWERED BY A PERSON", "use the other account", "not executed"], 0),
    "edited": (edit, "executed", ["EDITED BEFORE IT RAN", "ana", '{"x":true}', "write done"], 1),
}


@ERAS
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("decide", "state", "words", "runs"), OUTCOMES.values(), ids=OUTCOMES)
async def test_every_outcome_reads_differently(
    tmp_path: Path,
    era: str,
    held: bool,
    decide: Callable[[World, Interruption], Awaitable[None]],
    state: str,
    words: list[str],
    runs: int,
) -> None:
    async with world(tmp_path, hold={"default": "10s"} if held else SHORT) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write", {"x": 1})
        if not held:
            await live.answer()
        (record,) = await proxy.pending()
        await decide(proxy, record)
        answer = await live.answer() if held else await client.call("write", {"x": 1})

        assert answer.interruption["state"] == state
        assert [word for word in words if word not in answer.text] == []
        assert proxy.spy.runs("write") == runs


async def test_an_edit_that_changes_only_the_type_is_told_too(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        live = (await proxy.connect()).calling("write", {"x": 1})
        answer = await proxy.decided(live, lambda record: proxy.edit(record, {"x": True}))

        assert "EDITED BEFORE IT RAN" in answer.text
        assert proxy.spy.executed == [("write", {"x": True})]


async def test_an_answer_of_content_blocks_goes_to_the_client_as_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        block = {"type": "text", "text": "mine", "annotations": {"priority": 1}}
        blocks = await proxy.decided(client.calling("write", {"n": 1}), lambda record: proxy.respond(record, [block]))
        other = await proxy.decided(
            client.calling("write", {"n": 2}), lambda record: proxy.respond(record, [1, {"a": 2}])
        )

        assert blocks.result["content"][1] == block
        assert other.result["content"][1] == {"type": "text", "text": '[1,{"a":2}]'}


async def test_an_answer_in_place_of_a_tool_with_an_output_schema_is_an_error(tmp_path: Path) -> None:
    """Clients hold every other result against that schema."""
    tools = [tool("write", outputSchema={"type": "object"})]
    async with scripted(tools=tools) as spy, world(tmp_path, spy) as proxy:
        live = (await proxy.connect()).calling("write")
        answer = await proxy.decided(live, lambda record: proxy.respond(record, "no"))

        assert answer.result["isError"] is True


@ERAS
async def test_what_nobody_decides_expires_and_asks_anew(tmp_path: Path, era: str) -> None:
    layer = {"version": 1, "rules": [{"id": "a", "action": "ask", "expires_after": "300ms"}]}
    async with world(tmp_path, layer=layer) as proxy:
        client = await proxy.connect(era)
        answer = await client.call("write")
        live = client.calling("write")
        (record,) = await proxy.pending()
        live.hang_up()

        assert "EXPIRED: nobody decided" in answer.text
        assert "not rejected" in answer.text
        assert record.id != interruption_of(answer)
        assert proxy.spy.executed == []


@ERAS
async def test_a_tool_error_and_a_servers_error_are_the_calls_own_answers(tmp_path: Path, era: str) -> None:
    async def fail(_: Incoming) -> Any:
        return text("disk full", isError=True)

    async def refuse(_: Incoming) -> Any:
        raise RpcError(-32602, "bad arguments")

    async with scripted(handlers={"write": fail, "read": refuse}) as spy:
        layer = {"version": 1, "default": "ask"}
        async with world(tmp_path, spy, layer=layer) as proxy:
            client = await proxy.connect(era)
            tool_error = await proxy.decided(client.calling("write"), proxy.approve)
            error = await proxy.decided(client.calling("read"), proxy.approve)

            assert (tool_error.text, tool_error.result["isError"]) == ("disk full", True)
            assert error.error == {"code": -32602, "message": "bad arguments"}
            assert [each.outcome.kind.value for each in await proxy.everything() if each.outcome] == [
                "tool_error",
                "upstream_error",
            ]


@ERAS
async def test_a_call_whose_server_dies_is_unknown_and_is_not_sent_again(tmp_path: Path, era: str) -> None:
    async def die(call: Incoming) -> Any:
        raise Drop

    async with scripted(handlers={"write": die}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        answer = await proxy.decided(client.calling("write"), proxy.approve)

        assert "OUTCOME UNKNOWN" in answer.text
        assert "Do NOT repeat" in answer.text
        assert answer.interruption["state"] == "unknown"
        assert spy.runs("write") == 1


@ERAS
async def test_an_answer_too_strange_to_keep_is_unknown(tmp_path: Path, era: str) -> None:
    async def strange(call: Incoming) -> Any:
        call.raw_result = b'{"content": [], "x": 1, "x": 2}'
        return {}

    async with scripted(handlers={"write": strange}) as spy, world(tmp_path, spy) as proxy:
        answer = await proxy.decided((await proxy.connect(era)).calling("write"), proxy.approve)

        assert answer.interruption["state"] == "unknown"


async def test_a_result_with_many_keys_is_kept(tmp_path: Path) -> None:
    """A limit of ours on what is judged must not turn a call that ran into one that nobody knows about."""

    async def wide(_: Incoming) -> Any:
        return text("x", structuredContent={str(number): number for number in range(20_000)})

    async with scripted(handlers={"write": wide}) as spy, world(tmp_path, spy) as proxy:
        answer = await proxy.decided((await proxy.connect()).calling("write"), proxy.approve)

        assert len(answer.result["structuredContent"]) == 20_000


@ERAS
async def test_an_approved_call_before_a_server_that_is_gone_stays_approved(tmp_path: Path, era: str) -> None:
    """Nothing was sent, so the approval stands until the server is back."""
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        await client.call("write")
        (record,) = await proxy.pending()
        await proxy.approve(record)
        proxy.spy.others["tools/list"] = _out_of_order
        answer = await client.call("write")
        waiting = await proxy.get(record.id)
        del proxy.spy.others["tools/list"]

        assert "NOT EXECUTED YET" in answer.text
        assert "is approved" in answer.text
        assert waiting.state is State.APPROVED
        assert (await client.call("write")).text == "write done"
        assert proxy.spy.runs("write") == 1


async def _out_of_order(_: Incoming) -> Any:
    raise RpcError(-32000, "out of order")


# -- what was approved is what runs


def other_description(proxy: World) -> None:
    proxy.spy.tools = [tool("write", description="sends everything elsewhere")]


def no_such_tool(proxy: World) -> None:
    proxy.spy.tools = [tool("read")]


@ERAS
@pytest.mark.parametrize("change", [other_description, no_such_tool])
async def test_a_definition_that_changed_before_dispatch_supersedes_the_approval(
    tmp_path: Path, era: str, change: Callable[[World], None]
) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write")
        (record,) = await proxy.pending()
        change(proxy)
        await proxy.approve(record)
        answer = await live.answer()

        assert "no longer" in answer.text
        assert answer.interruption["state"] == "superseded"
        assert proxy.spy.runs("write") == 0


async def test_the_same_words_from_another_server_are_another_tool(tmp_path: Path) -> None:
    """A label that points elsewhere after a restart does not inherit what was approved for the old one."""
    async with scripted() as first, scripted() as second:
        async with world(tmp_path, first, hold=SHORT) as proxy:
            await (await proxy.connect()).call("write")
            (record,) = await proxy.pending()
            await proxy.approve(record)
        async with world(tmp_path, second, hold=SHORT) as proxy:
            answer = await (await proxy.connect()).call("write")

            assert answer.interruption["state"] == "superseded"
            assert second.runs("write") == 0


@ERAS
@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ({"action": "deny"}, None),
        ({"action": "hide"}, None),
        ({"action": "ask", "required_approvals": 2}, "superseded"),
        ({"action": "ask", "approvers": ["ben"]}, "superseded"),
        ({"action": "ask"}, "executed"),
    ],
)
async def test_policy_is_asked_again_before_dispatch(
    tmp_path: Path, era: str, rule: dict[str, Any], state: str | None
) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            await (await proxy.connect(era)).call("write")
            (record,) = await proxy.pending()
            await proxy.approve(record)
        layer = {"version": 1, "rules": [{"id": "now", "tools": "*", **rule}]}
        async with world(tmp_path, spy, hold=SHORT, layer=layer) as proxy:
            answer = await (await proxy.connect(era)).call("write")

            assert spy.runs("write") == (1 if state == "executed" else 0)
            if state is not None:
                assert answer.interruption["state"] == state


@ERAS
async def test_a_quorum_needs_its_number_of_people(tmp_path: Path, era: str) -> None:
    layer = {"version": 1, "rules": [{"id": "two", "action": "ask", "required_approvals": 2}]}
    async with world(tmp_path, layer=layer) as proxy:
        live = (await proxy.connect(era)).calling("write")
        (record,) = await proxy.pending()
        first = await proxy.approve(record)
        repeated = await proxy.approve(record)
        before = proxy.spy.runs("write")
        await proxy.approve(record, by="ben")

        assert (first.state, repeated.state, before) == (State.PENDING, State.PENDING, 0)
        assert (await live.answer()).text == "write done"
        assert proxy.spy.runs("write") == 1


# -- at most once


@ERAS
async def test_many_callers_of_one_approved_call_run_it_once(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        clients = [await proxy.connect(era) for _ in range(8)]
        await clients[0].call("write", {"x": 1})
        (record,) = await proxy.pending()
        await proxy.approve(record)
        calls = [client.calling("write", {"x": 1}) for client in clients for _ in range(3)]
        answers = [await live.answer() for live in calls]

        assert proxy.spy.runs("write") == 1
        assert sum(answer.text == "write done" for answer in answers) == 1
        assert {answer.interruption["state"] for answer in answers} == {"executed", "pending"}


async def test_looking_after_a_task_and_repeating_its_call_at_once_run_it_once(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        task = (await client.call("write")).result["taskId"]
        await proxy.approve(await proxy.get(task))
        lives = [
            live
            for _ in range(5)
            for live in (
                client.begin("tasks/get", {"taskId": task}, headers={"mcp-name": task}),
                client.calling("write"),
            )
        ]
        for live in lives:
            await live.answer()
        await proxy.reaches(task, State.EXECUTED)

        assert proxy.spy.runs("write") == 1


# -- a client that goes away


@ERAS
async def test_a_client_that_hangs_up_while_held_finds_its_call_again(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write")
        (record,) = await proxy.pending()
        live.hang_up()
        await live.answer()
        await proxy.approve(record)
        before = proxy.spy.runs("write")
        answer = await client.call("write")

        assert before == 0, "approving a call that nobody holds sends nothing"
        assert answer.text == "write done"
        assert interruption_of(answer) == record.id
        assert proxy.spy.runs("write") == 1


@ERAS
async def test_a_client_that_hangs_up_while_its_call_runs_finds_the_result(tmp_path: Path, era: str) -> None:
    going, go_on = anyio.Event(), anyio.Event()

    async def slow(_: Incoming) -> Any:
        going.set()
        await go_on.wait()
        return text("slow done")

    async with scripted(handlers={"write": slow}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write")
        (record,) = await proxy.pending()
        await proxy.approve(record)
        await going.wait()
        live.hang_up()
        await proxy.nobody_holds()
        again = client.calling("write")
        go_on.set()
        answer = await again.answer()

        assert answer.text == "slow done"
        assert interruption_of(answer) == record.id
        assert spy.runs("write") == 1
        assert spy.aborted == []


async def test_the_stream_of_a_held_call_can_be_resumed_and_says_the_truth(tmp_path: Path) -> None:
    """What a dropped legacy stream is resumed with must not say `not executed` of a call that runs."""
    going, go_on = anyio.Event(), anyio.Event()

    async def slow(call: Incoming) -> Any:
        await call.tell({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
        going.set()
        await go_on.wait()
        return text("slow done")

    async with scripted(handlers={"write": slow}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        live = client.calling("write")
        (record,) = await proxy.pending()
        await proxy.approve(record)
        await going.wait()
        seen = await live.until(lambda answer: len(answer.messages) == 1)
        live.hang_up()
        last, _ = seen.events[-1]
        resumed = client.start(verb="GET", headers={"last-event-id": last})
        go_on.set()
        answer = await resumed.answer()

        assert answer.text == "slow done"
        assert spy.runs("write") == 1


@ERAS
async def test_cancelling_a_waiting_call_withdraws_it(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write", number="call-7")
        (record,) = await proxy.pending()
        if era == LEGACY:
            await client.notify("notifications/cancelled", {"requestId": "call-7"})
            await live.answer()
            found = await proxy.reaches(record.id, State.WITHDRAWN)
            assert found.reason == "the client cancelled it"
        else:
            live.hang_up()  # MCP 2026-07-28: closing the stream; it may come back, so the call only waits unheld
            await live.answer()
            assert (await proxy.get(record.id)).state is State.PENDING
        assert proxy.spy.executed == []
        assert proxy.spy.messages("notifications/cancelled") == []


async def test_cancelling_a_running_call_tells_its_server_and_still_takes_the_answer(tmp_path: Path) -> None:
    going, go_on = anyio.Event(), anyio.Event()

    async def slow(_: Incoming) -> Any:
        going.set()
        await go_on.wait()
        return text("slow done")

    async with scripted(handlers={"write": slow}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        live = client.calling("write", number=9)
        (record,) = await proxy.pending()
        await proxy.approve(record)
        await going.wait()
        await client.notify("notifications/cancelled", {"requestId": 9})
        await spy.until(lambda: spy.messages("notifications/cancelled"))
        go_on.set()
        await live.answer()
        await proxy.reaches(record.id, State.EXECUTED)

        (told,) = spy.messages("notifications/cancelled")
        assert told["params"]["requestId"] == spy.messages("tools/call")[0]["id"]


async def test_cancelling_a_running_modern_call_gives_it_up(tmp_path: Path) -> None:
    going = anyio.Event()

    async def slow(_: Incoming) -> Any:
        going.set()
        await anyio.sleep_forever()

    async with scripted(handlers={"write": slow}) as spy, world(tmp_path, spy, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        task = (await client.call("write")).result["taskId"]
        await proxy.approve(await proxy.get(task))
        await client.request("tasks/get", {"taskId": task}, headers={"mcp-name": task})
        await going.wait()
        await client.request("tasks/cancel", {"taskId": task}, headers={"mcp-name": task})
        record = await proxy.reaches(task, State.UNKNOWN)
        await spy.until(lambda: spy.aborted)

        assert record.outcome is not None
        assert record.outcome.note == "the client cancelled it while it ran"


# -- 2a. tasks


async def test_a_client_that_knows_tasks_gets_a_handle_and_looks_until_it_is_done(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        handle = (await client.call("write", {"x": 1})).result
        (record,) = await proxy.pending()
        waiting = (await look(client, record.id)).result
        await proxy.approve(record)
        statuses: list[str] = []
        with anyio.fail_after(10):
            while True:
                view = (await look(client, record.id)).result
                statuses.append(view["status"])
                if view["status"] == "completed":
                    break
        again = (await look(client, record.id)).result

        assert (handle["resultType"], handle["status"], handle["taskId"]) == ("task", "working", record.id)
        assert handle["ttlMs"] > 0
        assert "awaiting human approval" in waiting["statusMessage"]
        assert set(statuses) <= {"working", "completed"}
        assert view["result"]["content"] == [{"type": "text", "text": "write done"}]
        # That it was delivered is a revision of its own.
        assert again["result"] == view["result"] | {"_meta": again["result"]["_meta"]}
        assert proxy.spy.runs("write") == 1


async def look(client: Client, task: str, method: str = "tasks/get") -> Answer:
    return await client.request(method, {"taskId": task}, headers={"mcp-name": task})


@pytest.mark.parametrize("decision", ["reject", "respond"])
async def test_a_task_that_did_not_run_is_completed_with_words_for_the_model(tmp_path: Path, decision: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        task = (await client.call("write")).result["taskId"]
        record = await proxy.get(task)
        await (proxy.reject(record, "no") if decision == "reject" else proxy.respond(record, "mine"))
        view = (await look(client, task)).result

        assert view["status"] == "completed"
        assert ("REJECTED" if decision == "reject" else "mine") in str(view["result"]["content"])


async def test_a_cancelled_task_is_withdrawn(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        task = (await client.call("write")).result["taskId"]
        await look(client, task, "tasks/cancel")

        assert (await look(client, task)).result["status"] == "cancelled"
        assert (await proxy.get(task)).state is State.WITHDRAWN


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update"])
async def test_somebody_elses_task_reads_like_none(tmp_path: Path, method: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        task = (await client.call("write")).result["taskId"]
        thief = await proxy.connect(MODERN, token=OTHER, capabilities=TASKS)
        stolen = await look(thief, task, method)
        made_up = await look(thief, task[:-4] + "0000", method)

        assert stolen.error["code"] == -32602
        assert stolen.error["message"].replace(task, "") == made_up.error["message"].replace(task[:-4] + "0000", "")
        assert (await proxy.get(task)).state is State.PENDING
        assert proxy.spy.messages(method) == []


async def test_a_servers_own_task_belongs_to_the_agent_that_started_it(tmp_path: Path) -> None:
    async def start(_: Incoming) -> Any:
        return {"resultType": "task", "taskId": "job-1", "status": "working"}

    async def status(call: Incoming) -> Any:
        return {"taskId": call.params["taskId"], "status": "working"}

    handlers: dict[str, Any] = {"read": start, "write": start}
    async with scripted(handlers=handlers, others={"tasks/get": status}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        thief = await proxy.connect(MODERN, token=OTHER, capabilities=TASKS)
        await client.call("read")
        stolen = await look(thief, "job-1")

        assert (await look(client, "job-1")).result["status"] == "working"
        assert stolen.error["message"] == "Unknown task: job-1"
        assert len(spy.messages("tasks/get")) == 1


# -- 2b. legs


async def test_legs_are_held_and_the_last_one_brings_the_result(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        first = (await client.call("write", {"x": 1})).result
        second = (await client.call("write", {"x": 1}, requestState=first["requestState"])).result
        (record,) = await proxy.pending()
        await proxy.approve(record)
        third = await client.call("write", {"x": 1}, requestState=second["requestState"])

        assert first["resultType"] == second["resultType"] == "input_required"
        assert "inputRequests" not in first, "no url was declared"
        assert first["_meta"]["holdshort/interruption"]["id"] == record.id
        assert third.text == "write done"
        assert proxy.spy.runs("write") == 1
        assert "requestState" not in proxy.spy.messages("tools/call")[0]["params"]


async def test_after_so_many_legs_the_model_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, hold={"default": "1ms"}) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        result = (await client.call("write")).result
        legs = 1
        while result["resultType"] == "input_required":
            result = (await client.call("write", requestState=result["requestState"])).result
            legs += 1

        assert legs == 9
        assert result["isError"] is True


async def test_the_review_page_is_offered_only_to_who_opens_urls_and_accepting_decides_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities={"elicitation": {"url": {}}})
        first = (await client.call("write")).result
        (key,) = first["inputRequests"]
        asked = first["inputRequests"][key]
        accepted = {key: {"action": "accept", "content": {"approve": True}}}
        second = (await client.call("write", requestState=first["requestState"], inputResponses=accepted)).result
        (record,) = await proxy.pending()
        await proxy.approve(record)
        third = await client.call("write", requestState=second["requestState"], inputResponses=accepted)

        assert (asked["method"], asked["params"]["mode"]) == ("elicitation/create", "url")
        assert asked["params"]["url"] == record.review_url
        assert second["resultType"] == "input_required"
        assert third.text == "write done"
        assert "inputResponses" not in proxy.spy.messages("tools/call")[0]["params"]


@pytest.mark.parametrize("forge", ["cut", "altered", "made up", "of another call", "of another agent", "used"])
async def test_a_request_state_that_is_not_ours_for_this_call_is_refused(tmp_path: Path, forge: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        state = (await client.call("write", {"x": 1})).result["requestState"]
        thief = await proxy.connect(MODERN, token=OTHER, capabilities=LEGS)
        (record,) = await proxy.pending()
        if forge == "used":
            await client.call("write", {"x": 1}, requestState=state)
        await proxy.approve(record)
        match forge:
            case "cut":
                answer = await client.call("write", {"x": 1}, requestState=state[:-5])
            case "altered":
                answer = await client.call(
                    "write", {"x": 1}, requestState=state[:20] + ("A" if state[20] != "A" else "B") + state[21:]
                )
            case "made up":
                answer = await client.call("write", {"x": 1}, requestState="hs1.AAAA")
            case "of another call":
                answer = await client.call("write", {"x": 2}, requestState=state)
            case "of another agent":
                answer = await thief.call("write", {"x": 1}, requestState=state)
            case _:
                answer = await client.call("write", {"x": 1}, requestState=state)

        assert answer.error["code"] == -32602
        assert proxy.spy.executed == []


async def test_a_state_of_ours_goes_to_no_server_even_when_policy_allows_the_call_by_now(tmp_path: Path) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            client = await proxy.connect(MODERN, capabilities=LEGS)
            state = (await client.call("write")).result["requestState"]
        async with world(tmp_path, spy, layer={"version": 1, "default": "allow"}) as proxy:
            client = await proxy.connect(MODERN, capabilities=LEGS)
            answer = await client.call("write", requestState=state)

            assert answer.text == "write done"
            assert "requestState" not in spy.messages("tools/call")[0]["params"]


async def test_a_server_that_asks_in_the_middle_of_an_approved_call_is_answered_in_the_same_run(tmp_path: Path) -> None:
    async def ask(call: Incoming) -> Any:
        if "inputResponses" in call.params:
            return text(f"{call.params['requestState']} {call.params['inputResponses']['q']['action']}")
        question = {"method": "elicitation/create", "params": {"message": "sure?"}}
        return {"resultType": "input_required", "requestState": "theirs", "inputRequests": {"q": question}}

    async with scripted(handlers={"write": ask}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        asked = (await proxy.decided(client.calling("write", {"x": 1}), proxy.approve)).result
        state = asked["requestState"]
        responses = {"q": {"action": "accept"}}
        answer = await client.call("write", {"x": 1}, requestState=state, inputResponses=responses)
        again = await client.call("write", {"x": 1}, requestState=state, inputResponses=responses)
        (record,) = await proxy.everything()

        assert asked["inputRequests"] == {"q": {"method": "elicitation/create", "params": {"message": "sure?"}}}
        assert "theirs" not in state
        assert answer.text == "theirs accept"
        assert again.error["code"] == -32602
        assert record.state is State.EXECUTED
        assert len([1 for kind in await proxy.log_kinds() if kind == "intent"]) == 1


# -- progress


async def test_heartbeats_come_first_and_the_servers_progress_goes_on_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdshort.gate.parking.HEARTBEAT_SECONDS", 0.02)

    async def steps(call: Incoming) -> Any:
        token = call.params["_meta"]["progressToken"]
        for step in (1, 2):
            params = {"progressToken": token, "progress": step, "total": 2, "big": 12345678901234567890123}
            await call.tell({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        return text("done")

    for era in (LEGACY, MODERN):
        (tmp_path / era).mkdir()
        async with scripted(handlers={"write": steps}) as spy, world(tmp_path / era, spy) as proxy:
            client = await proxy.connect(era)
            live = client.calling("write", _meta={"progressToken": "p"})
            (record,) = await proxy.pending()
            await live.until(lambda answer: len(answer.messages) >= 2)
            await proxy.approve(record)
            answer = await live.answer()
            progress = [message["params"] for message in answer.messages[:-1]]
            values = [each["progress"] for each in progress]

            assert "awaiting human approval" in progress[0]["message"]
            assert {each["progressToken"] for each in progress} == {"p"}
            assert values == sorted(set(values))
            assert progress[-1]["total"] == values[-3] + 2
            assert progress[-1]["big"] == 12345678901234567890123


async def test_a_client_that_asked_for_no_progress_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.gate.parking.HEARTBEAT_SECONDS", 0.01)
    async with world(tmp_path, hold={"default": "100ms"}) as proxy:
        answer = await (await proxy.connect()).call("write")

        assert len(answer.messages) == 1


# -- limits and duties


async def test_too_many_waiting_calls_are_refused_in_words(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT, limits={"pending_per_agent": 2}) as proxy:
        client = await proxy.connect()
        for number in range(2):
            await client.call("write", {"n": number})
        answer = await client.call("write", {"n": 2})
        stranger = await (await proxy.connect(token=OTHER)).call("write")

        assert "Not executed and not queued" in answer.text
        assert "pending" in stranger.interruption["state"]


async def test_whom_the_agent_acts_for_does_not_decide_where_duties_are_separate(tmp_path: Path) -> None:
    from holdshort.interruption import NotEligible

    agents = [{"name": "bot", "token": "token-of-bot-that-is-long-enough", "acts_for": "ana"}]
    for separate in (True, False):
        folder = tmp_path / str(separate)
        folder.mkdir()
        async with world(folder, agents=agents, separation_of_duties=separate, hold=SHORT) as proxy:
            await (await proxy.connect()).call("write")
            (record,) = await proxy.pending()
            if separate:
                with pytest.raises(NotEligible, match="duties are separated"):
                    await proxy.approve(record)
                await proxy.approve(record, by="ben")
            else:
                await proxy.approve(record)

            assert (await proxy.get(record.id)).state is State.APPROVED


async def test_how_long_an_approval_waits_is_configured(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT, limits={"dispatch_deadline": "2s"}) as proxy:
        await (await proxy.connect()).call("write")
        (record,) = await proxy.pending()
        approved = await proxy.approve(record)

        assert approved.dispatch_deadline is not None
        assert (approved.dispatch_deadline - approved.decisions[0].at).total_seconds() == 2
