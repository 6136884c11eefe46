"""Calls with their run's and their own id: one call for ever, whoever repeats it, from wherever, however often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import Drop, Incoming, RpcError, scripted, text, tool
from gate.world import LEGACY, MODERN, OTHER, Answer, Client, World, interruption_of, world
from holdshort.interruption import Approve, Interruption, Resolve, State, Withdraw, keyed_id, own_id
from holdshort.policy import Wish, exactly
from holdshort.server.clock import utc_now

Json = dict[str, Any]
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
SHORT = {"default": "30ms"}
NOW: Json = {"holdshort/park": "now"}
REPEAT: Json = {"holdshort/repeat": True}
TASKS: Json = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
LEGS: Json = {"elicitation": {"form": {}}}
ALLOW: Json = {"version": 1, "default": "allow"}
DENY: Json = {"version": 1, "default": "deny"}
X: Json = {"x": 1}


def key(call_id: str = "call-1", run_id: str = "run-1", **more: Any) -> Json:
    return {"holdshort/run_id": run_id, "holdshort/call_id": call_id, **more}


async def call(
    client: Client, call_id: str = "call-1", name: str = "write", arguments: Json = X, **meta: Any
) -> Answer:
    return await client.call(name, arguments, _meta=key(call_id, **meta))


async def rows(proxy: World) -> list[Json]:
    found = [dict(entry.fields) async for entry in proxy.core.store.entries()]
    return [row for row in found if row["kind"] not in ("policy", "pin")]


# -- one call


@ERAS
async def test_a_repeated_call_gets_the_stored_result_also_after_it_was_delivered(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        waiting = [interruption_of(await call(client)) for _ in range(2)]
        (record,) = await proxy.pending()
        await proxy.approve(record)
        first = await call(client)
        await proxy.delivered(record.id)
        later = [await call(client) for _ in range(3)]

        assert record.id == keyed_id("bot", "run-1", "call-1", 0)
        assert waiting == [record.id] * 2
        assert first.text == "write done"
        assert [answer.result["content"] for answer in later] == [first.result["content"]] * 3
        assert {interruption_of(answer) for answer in later} == {record.id}
        assert proxy.spy.executed == [("write", X)]
        assert len(await proxy.everything()) == 1
        assert await proxy.log_kinds() == ["parked", "decision", "intent", "outcome", "delivered"]


async def test_it_is_found_from_every_session_era_and_endpoint(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        first = interruption_of(await call(await proxy.connect(LEGACY)))
        waits = interruption_of(await call(await proxy.connect(MODERN)))
        await proxy.approve(await proxy.get(first))
        everything = await proxy.connect(MODERN, path="/mcp")
        ran = await call(everything, name="spy__write")
        again = await call(await proxy.connect(LEGACY))

        assert waits == first == interruption_of(ran) == interruption_of(again)
        assert (ran.text, again.text) == ("write done", "write done")
        assert proxy.spy.runs("write") == 1


async def test_requests_at_the_same_time_are_one_call(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        clients = [await proxy.connect(era) for era in (LEGACY, MODERN, LEGACY, MODERN)]
        lives = [client.calling("write", X, _meta=key()) for client in clients for _ in range(3)]
        (record,) = await proxy.pending()
        await proxy.approve(record)
        answers = [await live.answer() for live in lives]

        assert {answer.text for answer in answers} == {"write done"}
        assert {interruption_of(answer) for answer in answers} == {record.id}
        assert proxy.spy.runs("write") == 1


async def test_two_proxies_on_one_state_park_it_once(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy) as first, world(tmp_path, spy) as second:
        clients = [await proxy.connect() for proxy in (first, second)]
        lives = [client.calling("write", {"n": n}, _meta=key(f"c{n}")) for n in range(10) for client in clients]
        records = await second.pending(10)
        for record in records:
            await first.approve(record)
        answers = [await live.answer() for live in lives]

        assert [answer.text for answer in answers] == ["write done"] * 20
        assert [interruption_of(a) for a in answers[::2]] == [interruption_of(b) for b in answers[1::2]]
        assert sorted(ran["n"] for _, ran in spy.executed) == list(range(10))
        assert len(await first.everything()) == 10


async def test_a_running_call_is_joined(tmp_path: Path) -> None:
    going, go_on = anyio.Event(), anyio.Event()

    async def slow(_: Incoming) -> Any:
        going.set()
        await go_on.wait()
        return text("slow done")

    async with (
        scripted(handlers={"write": slow}) as spy,
        world(tmp_path, spy, hold=SHORT) as proxy,
        world(tmp_path, spy, hold=SHORT) as elsewhere,
    ):
        client, other = await proxy.connect(), await elsewhere.connect()
        await call(client)
        (record,) = await proxy.pending()
        await proxy.approve(record)
        lives = [client.calling("write", X, _meta=key())]
        await going.wait()
        lives.append(client.calling("write", X, _meta=key()))
        meanwhile = await call(other)
        go_on.set()
        answers = [await live.answer() for live in lives]

        assert meanwhile.interruption["state"] == "executing"
        assert "RUNNING" in meanwhile.text
        assert [answer.text for answer in answers] == ["slow done"] * 2
        assert (await call(other)).text == "slow done"
        assert spy.runs("write") == 1


# -- however it ended


async def approve(proxy: World, record: Interruption) -> None:
    await proxy.approve(record)


async def reject(proxy: World, record: Interruption) -> None:
    await proxy.reject(record, "not on a Friday")


async def respond(proxy: World, record: Interruption) -> None:
    await proxy.respond(record, "use the other account")


async def edit(proxy: World, record: Interruption) -> None:
    await proxy.edit(record, {"x": True})


async def resolve_ran(proxy: World, record: Interruption) -> None:
    await proxy.core.store.apply(record.id, Resolve(at=utc_now(), by="ana", ran=True, note="seen"))


async def resolve_not(proxy: World, record: Interruption) -> None:
    await proxy.core.store.apply(record.id, Resolve(at=utc_now(), by="ana", ran=False, note="not there"))


async def die(_: Incoming) -> Any:
    raise Drop


async def grumble(_: Incoming) -> Any:
    return text("disk full", isError=True)


ENDS: dict[str, tuple[Callable[[World, Interruption], Awaitable[None]], Any, str, str]] = {
    "executed": (approve, None, "executed", "write done"),
    "tool error": (approve, grumble, "executed", "disk full"),
    "edited": (edit, None, "executed", "EDITED BEFORE IT RAN"),
    "rejected": (reject, None, "rejected", "not on a Friday"),
    "answered": (respond, None, "answered", "use the other account"),
    "unknown": (approve, die, "unknown", "OUTCOME UNKNOWN"),
}


@ERAS
@pytest.mark.parametrize("then", [None, ALLOW, DENY], ids=["asks", "allows by then", "denies by then"])
@pytest.mark.parametrize(("decide", "handler", "state", "words"), ENDS.values(), ids=ENDS)
async def test_what_came_of_it_is_told_again_whatever_policy_says_by_then(
    tmp_path: Path,
    era: str,
    then: Json | None,
    decide: Callable[[World, Interruption], Awaitable[None]],
    handler: Any,
    state: str,
    words: str,
) -> None:
    async with scripted(handlers={"write": handler} if handler else {}) as spy:
        async with world(tmp_path, spy) as proxy:
            live = (await proxy.connect(era)).calling("write", X, _meta=key())
            first = await proxy.decided(live, lambda record: decide(proxy, record))
            await proxy.delivered(interruption_of(first))
            ran = spy.runs("write")
        async with world(tmp_path, spy, layer=then) as proxy:
            client = await proxy.connect(era)
            again = [await call(client), await call(client, **REPEAT)]

            assert words in first.text
            for answer in again:
                assert answer.result == first.result | {"_meta": answer.result["_meta"]}
                assert answer.interruption["id"] == interruption_of(first)
                assert answer.interruption["state"] == state
                assert answer.interruption["edited"] is (words == "EDITED BEFORE IT RAN")
            assert spy.runs("write") == ran
            assert len(await proxy.everything()) == 1


@pytest.mark.parametrize(
    ("settle", "state", "words"),
    [(resolve_ran, "executed", "RESULT NOT AVAILABLE"), (resolve_not, "failed", "NOT EXECUTED")],
)
async def test_what_an_operator_says_of_an_unknown_one_is_told_and_nothing_is_asked_again(
    tmp_path: Path, settle: Callable[[World, Interruption], Awaitable[None]], state: str, words: str
) -> None:
    async with scripted(handlers={"write": die}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect()
        lost = await proxy.decided(client.calling("write", X, _meta=key()), proxy.approve)
        await settle(proxy, await proxy.delivered(interruption_of(lost)))
        answers = [await call(client) for _ in range(2)]

        assert [answer.interruption["state"] for answer in answers] == [state] * 2
        assert all(words in answer.text for answer in answers)
        assert spy.runs("write") == 1


@ERAS
async def test_an_error_of_its_server_comes_again_as_it_came(tmp_path: Path, era: str) -> None:
    async def refuse(_: Incoming) -> Any:
        raise RpcError(-32602, "bad arguments")

    async with scripted(handlers={"write": refuse}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(era)
        first = await proxy.decided(client.calling("write", X, _meta=key()), proxy.approve)
        again = await call(client)

        assert first.error == again.error == {"code": -32602, "message": "bad arguments"}
        assert spy.runs("write") == 1


@ERAS
async def test_what_nobody_decided_about_stays_expired_under_its_ids(tmp_path: Path, era: str) -> None:
    layer = {"version": 1, "rules": [{"id": "a", "action": "ask", "expires_after": "50ms"}]}
    async with world(tmp_path, layer=layer) as proxy:
        client = await proxy.connect(era)
        answers = [await call(client) for _ in range(3)]

        assert [answer.interruption["state"] for answer in answers] == ["expired"] * 3
        assert len(await proxy.everything()) == 1
        assert proxy.spy.executed == []


async def test_what_is_due_is_never_told_to_be_waiting(tmp_path: Path) -> None:
    layer = {"version": 1, "rules": [{"id": "a", "action": "ask", "expires_after": "40ms"}]}
    async with world(tmp_path, layer=layer) as proxy:
        client = await proxy.connect()
        states: list[str] = []
        with anyio.fail_after(10):
            while "expired" not in states:
                answer = await call(client, **NOW)
                record = await proxy.get(interruption_of(answer))
                assert answer.interruption["state"] == "expired" or utc_now() - record.expires_at < timedelta(seconds=1)
                states.append(answer.interruption["state"])

        assert set(states) <= {"pending", "expired"}


async def test_a_result_that_is_no_longer_kept_is_told_to_be_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        await proxy.decided(client.calling("write", X, _meta=key("ran")), proxy.approve)
        await proxy.decided(client.calling("write", X, _meta=key("said")), lambda record: proxy.respond(record, "mine"))
        await proxy.decided(client.calling("write", X, _meta=key("no")), lambda record: proxy.reject(record, "secret"))
        for record in await proxy.everything():
            await proxy.delivered(record.id)
        later = utc_now() + timedelta(days=2)
        erased = await proxy.core.store.purge(later, now=later)
        ran, said, no = [await call(client, each) for each in ("ran", "said", "no")]

        assert erased == 3
        assert "RESULT NOT AVAILABLE" in ran.text
        assert "no longer kept" in said.text
        assert "REJECTED" in no.text
        assert "mine" not in said.text
        assert "secret" not in no.text
        assert proxy.spy.runs("write") == 1


# -- new attempts


@ERAS
async def test_what_was_withdrawn_makes_way(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        first = interruption_of(await call(client))
        await proxy.core.store.apply(first, Withdraw(at=utc_now(), by="bot"))
        second = interruption_of(await call(client))
        again = interruption_of(await call(client))
        await proxy.approve(await proxy.get(second))
        answer = await call(client)

        assert (first, second) == tuple(keyed_id("bot", "run-1", "call-1", n) for n in range(2))
        assert again == second
        assert answer.text == "write done"
        assert proxy.spy.runs("write") == 1


@ERAS
async def test_a_definition_that_changed_asks_anew_under_the_same_ids(tmp_path: Path, era: str) -> None:
    async with scripted() as spy, world(tmp_path, spy, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        first = interruption_of(await call(client))
        spy.tools = [tool("read"), tool("write", description="sends everything elsewhere")]
        await proxy.approve(await proxy.get(first))
        overtaken = await call(client)
        anew = await call(client)
        await proxy.approve(await proxy.get(interruption_of(anew)))
        answer = await call(client)

        assert overtaken.interruption["state"] == "superseded"
        assert anew.interruption["state"] == "pending"
        assert interruption_of(anew) != first
        assert answer.text == "write done"
        assert spy.runs("write") == 1


async def test_a_cancelled_request_withdraws_the_call_for_all_who_wait_for_it(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client, other = await proxy.connect(), await proxy.connect()
        live = client.calling("write", X, number="call-7", _meta=key())
        (record,) = await proxy.pending()
        joined = other.calling("write", X, _meta=key())
        await client.notify("notifications/cancelled", {"requestId": "call-7"})
        await live.answer()
        answer = await joined.answer()
        anew = await call(client, **NOW)

        assert (await proxy.get(record.id)).state is State.WITHDRAWN
        # Whoever joined a moment later asks anew instead.
        assert answer.interruption["state"] in ("withdrawn", "pending")
        assert interruption_of(anew) == keyed_id("bot", "run-1", "call-1", 1)
        assert proxy.spy.executed == []


@ERAS
async def test_a_client_that_hangs_up_finds_its_call_again(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        live = client.calling("write", X, _meta=key())
        (record,) = await proxy.pending()
        live.hang_up()
        await live.answer()
        await proxy.approve(record)
        answer = await call(client)

        assert answer.text == "write done"
        assert interruption_of(answer) == record.id


# -- other calls


OTHERS: dict[str, tuple[str, str, Json]] = {
    "other arguments": ("/mcp/spy", "write", {"x": 2}),
    "another type": ("/mcp/spy", "write", {"x": True}),
    "another tool": ("/mcp/spy", "destroy_later", X),
    "a tool that policy allows": ("/mcp/spy", "read", X),
    "another server": ("/mcp/second", "write", X),
}


@ERAS
@pytest.mark.parametrize("ended", [None, "executed", "withdrawn"])
@pytest.mark.parametrize(("path", "name", "arguments"), OTHERS.values(), ids=OTHERS)
async def test_ids_stand_for_one_call_only(
    tmp_path: Path, era: str, ended: str | None, path: str, name: str, arguments: Json
) -> None:
    tools = [tool("read", read_only=True), tool("write"), tool("destroy_later")]
    async with (
        scripted(tools=tools) as spy,
        scripted(label="second", tools=tools) as second,
        world(tmp_path, spy, second, hold=SHORT) as proxy,
    ):
        client = await proxy.connect(era)
        first = interruption_of(await call(client))
        if ended == "executed":
            await proxy.approve(await proxy.get(first))
            await call(client)
            await proxy.delivered(first)
        elif ended == "withdrawn":
            await proxy.core.store.apply(first, Withdraw(at=utc_now(), by="bot"))
        before = len(spy.executed)
        answer = await call(await proxy.connect(era, path=path), name=name, arguments=arguments)

        assert answer.result["isError"] is True
        assert answer.result["_meta"] == {"holdshort/error": "call_id_reused"}
        assert "call-1" in answer.text
        assert len(spy.executed) == before
        assert second.executed == []
        assert len(await proxy.everything()) == 1
        row = (await rows(proxy))[-1]
        assert (row["kind"], row["action"], row["tool"]) == ("verdict", "deny", name)
        assert row["because"] == [{"layer": "agent", "rule": "call_id_reused"}]


@ERAS
async def test_equal_calls_with_other_ids_or_none_do_not_join(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client, stranger = await proxy.connect(era), await proxy.connect(era, token=OTHER)
        ids = [
            interruption_of(await call(client, "a")),
            interruption_of(await call(client, "b")),
            interruption_of(await call(client, "a", run_id="run-2")),
            interruption_of(await client.call("write", X)),
            interruption_of(await client.call("write", X, _meta={"holdshort/run_id": "run-1"})),
            interruption_of(await call(stranger, "a")),
        ]
        again = [
            interruption_of(await call(client, "a")),
            interruption_of(await call(client, "b")),
            interruption_of(await client.call("write", X)),
        ]

        assert len(set(ids)) == 5, "the call with a run's id alone is the one without ids"
        assert ids[3] == ids[4]
        assert again == [ids[0], ids[1], ids[3]]


@ERAS
async def test_an_approval_for_one_is_never_used_by_the_other(tmp_path: Path, era: str) -> None:
    async with scripted() as spy, world(tmp_path, spy, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        keyed = await proxy.get(interruption_of(await call(client)))
        await proxy.approve(keyed)
        plain = await client.call("write", X)
        record = await proxy.get(interruption_of(plain))
        before = spy.runs("write")
        await proxy.approve(record)
        other = await call(client, "call-2")

        assert (plain.interruption["state"], other.interruption["state"]) == ("pending", "pending")
        assert (before, spy.runs("write")) == (0, 0)
        assert (await client.call("write", X)).text == "write done"
        assert (await call(client)).text == "write done"
        assert spy.runs("write") == 2


async def test_ids_of_a_call_the_agent_runs_itself_are_never_those_of_one_at_a_server() -> None:
    assert keyed_id("bot", "r", "c", 0) != own_id("bot", "r", "c", 0)
    assert keyed_id("bot", "r", "c", 0) != keyed_id("bot", "r", "c", 1)
    assert keyed_id("bot", "r", "cc", 0) != keyed_id("bot", "rc", "c", 0)


@pytest.mark.parametrize(
    "meta",
    [
        {"holdshort/call_id": "c"},
        {"holdshort/run_id": "r", "holdshort/call_id": "c" * 201},
        {"holdshort/run_id": "r", "holdshort/call_id": 7},
        {"holdshort/run_id": "", "holdshort/call_id": "c"},
        {"holdshort/run_id": None, "holdshort/call_id": None},
    ],
    ids=["one of them", "too long", "a number", "empty", "null"],
)
async def test_without_two_good_ids_a_call_is_found_by_its_arguments(tmp_path: Path, meta: Json) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect()
        with_some = interruption_of(await client.call("write", X, _meta=meta))

        assert interruption_of(await client.call("write", X)) == with_some
        assert not (await proxy.get(with_some)).keyed


# -- policy, grants, on_decision


@ERAS
@pytest.mark.parametrize("approved", [False, True])
async def test_where_policy_allows_it_by_then_it_runs_once(tmp_path: Path, era: str, approved: bool) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            first = interruption_of(await call(await proxy.connect(era)))
            if approved:
                await proxy.approve(await proxy.get(first))
        async with world(tmp_path, spy, layer=ALLOW) as proxy:
            client = await proxy.connect(era)
            plain = await client.call("write", X)
            between = await proxy.get(first)
            answer = await call(client)
            record = await proxy.get(first)

            assert (plain.text, answer.text) == ("write done", "write done")
            assert between.state is (State.APPROVED if approved else State.PENDING), "one without ids leaves it alone"
            assert record.state is (State.EXECUTED if approved else State.SUPERSEDED)
            assert spy.runs("write") == 2


@ERAS
@pytest.mark.parametrize("action", ["deny", "hide"])
async def test_where_policy_forbids_it_by_then_what_waits_does_not_run(tmp_path: Path, era: str, action: str) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            first = interruption_of(await call(await proxy.connect(era)))
            await proxy.approve(await proxy.get(first))
        layer = {"version": 1, "rules": [{"id": "no", "tools": "*__write", "action": action}]}
        async with world(tmp_path, spy, layer=layer) as proxy:
            answer = await call(await proxy.connect(era))

            assert "error" in answer.reply if action == "hide" else "Refused by policy" in answer.text
            assert (await proxy.get(first)).state is State.APPROVED
            assert spy.executed == []


async def test_a_request_that_policy_lets_through_leaves_no_interruption(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        answers = [await call(client, name="read") for _ in range(2)]

        assert [answer.text for answer in answers] == ["read done"] * 2
        assert "_meta" not in answers[0].result
        assert await proxy.everything() == []
        assert "holdshort" not in str(proxy.spy.messages("tools/call"))


async def granted(proxy: World, client: Client, max_uses: int = 5) -> str:
    live = client.calling("write", X, _meta=key("which made the grant"))
    (record,) = await proxy.pending()
    wish = Wish(exactly(X), max_uses=max_uses).to_json()
    approved = await proxy.core.store.apply(
        record.id, Approve(at=utc_now(), by="ana", fingerprint=record.fingerprint, remember=wish)
    )
    assert (await live.answer()).text == "write done"
    await proxy.delivered(record.id)
    return str(approved.grant)


async def uses(proxy: World, grant: str) -> int:
    return (await proxy.core.store.grants.get(grant)).uses


@ERAS
async def test_a_grant_answers_for_it_as_for_any_call(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        waits = interruption_of(await call(client, "before", **NOW))
        await proxy.core.store.apply(waits, Withdraw(at=utc_now(), by="bot"))
        grant = await granted(proxy, client)
        answer = await call(client, "after")

        assert answer.text == "write done"
        assert await uses(proxy, grant) == 1
        assert proxy.spy.runs("write") == 2


async def test_what_was_decided_under_its_ids_is_no_use_of_a_grant(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        decided = await proxy.get(interruption_of(await call(client, **NOW)))
        await proxy.approve(decided)
        grant = await granted(proxy, client)
        answer = await call(client)

        assert interruption_of(answer) == decided.id
        assert answer.text == "write done"
        assert await uses(proxy, grant) == 0


async def test_what_waits_under_its_ids_is_put_away_when_a_grant_answers(tmp_path: Path) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        grant = await granted(proxy, client)
        await proxy.core.store.grants.revoke(grant, by="ana", now=utc_now())
        waits = interruption_of(await call(client, **NOW))
        other = await proxy.connect()
        live = other.calling("write", X)
        plain = next(record for record in await proxy.pending(2) if record.id != waits)
        wish = Wish(exactly(X), max_uses=5).to_json()
        approved = await proxy.core.store.apply(
            plain.id, Approve(at=utc_now(), by="ana", fingerprint=plain.fingerprint, remember=wish)
        )
        await live.answer()
        answer = await call(client)

        assert answer.text == "write done"
        assert (await proxy.get(waits)).state is State.SUPERSEDED
        assert await uses(proxy, str(approved.grant)) == 1


async def test_an_answer_that_another_call_has_not_fetched_keeps_no_grant_from_it(tmp_path: Path) -> None:
    """Without ids, an approved call that was not fetched could be this one; with ids it cannot."""
    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        plain = interruption_of(await client.call("write", X, _meta=NOW))
        await proxy.approve(await proxy.get(plain))
        grant = await granted(proxy, client)
        answer = await call(client)

        assert answer.text == "write done"
        assert await uses(proxy, grant) == 1
        assert (await proxy.get(plain)).state is State.APPROVED


async def test_a_call_that_runs_on_its_decision_is_fetched_by_its_ids(tmp_path: Path) -> None:
    layer = {"version": 1, "rules": [{"id": "now", "action": "ask", "execute": "on_decision"}]}
    async with world(tmp_path, layer=layer, hold=SHORT) as proxy:
        client = await proxy.connect()
        record = await proxy.get(interruption_of(await call(client)))
        await proxy.approve(record)
        await proxy.reaches(record.id, State.EXECUTED)
        answers = [await call(client) for _ in range(2)]

        assert [answer.text for answer in answers] == ["write done"] * 2
        assert proxy.spy.runs("write") == 1


# -- tasks and legs


async def test_its_task_has_the_same_id_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=TASKS)
        handles = [(await call(client)).result for _ in range(2)]
        (task,) = {handle["taskId"] for handle in handles}
        await proxy.approve(await proxy.get(task))
        with anyio.fail_after(10):
            while True:
                view = (await client.request("tasks/get", {"taskId": task}, headers={"mcp-name": task})).result
                if view["status"] != "working":
                    break
        again = await call(client)

        assert [handle["_meta"]["holdshort/interruption"]["id"] for handle in handles] == [task, task]
        assert view["result"]["content"] == again.result["content"]
        assert view["result"]["_meta"]["holdshort/interruption"]["state"] == "executed"
        assert proxy.spy.runs("write") == 1


@pytest.mark.parametrize("keeps_meta", [True, False])
async def test_a_leg_goes_on_with_its_call_with_or_without_the_ids(tmp_path: Path, keeps_meta: bool) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        meta = {"_meta": key()}
        first = (await client.call("write", X, **meta)).result
        more = meta if keeps_meta else {}
        second = (await client.call("write", X, requestState=first["requestState"], **more)).result
        (record,) = await proxy.pending()
        await proxy.approve(record)
        third = await client.call("write", X, requestState=second["requestState"], **more)
        used = await client.call("write", X, requestState=second["requestState"], **more)
        again = await call(client)

        assert third.text == again.text == "write done"
        assert used.error["code"] == -32602
        assert interruption_of(third) == record.id == keyed_id("bot", "run-1", "call-1", 0)
        assert len(await proxy.everything()) == 1
        assert proxy.spy.runs("write") == 1


async def test_a_leg_of_another_call_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        of_none = (await client.call("write", X)).result["requestState"]
        of_other = (await client.call("write", X, _meta=key("other"))).result["requestState"]
        answers = [await client.call("write", X, requestState=leg, _meta=key()) for leg in (of_none, of_other)]

        assert [answer.error["code"] for answer in answers] == [-32602, -32602]
        assert len(await proxy.everything()) == 2


async def test_a_leg_without_ids_of_a_call_that_policy_allows_by_then_leaves_nothing_waiting(tmp_path: Path) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            client = await proxy.connect(MODERN, capabilities=LEGS)
            leg = (await call(client)).result["requestState"]
        async with world(tmp_path, spy, layer=ALLOW) as proxy:
            client = await proxy.connect(MODERN, capabilities=LEGS)
            answer = await client.call("write", X, requestState=leg)

            assert answer.text == "write done"
            assert [record.state for record in await proxy.everything()] == [State.SUPERSEDED]
            assert spy.runs("write") == 1


@pytest.mark.parametrize("keeps_meta", [True, False])
async def test_input_for_a_running_call_reaches_the_one_run(tmp_path: Path, keeps_meta: bool) -> None:
    async def ask(given: Incoming) -> Any:
        if "inputResponses" in given.params:
            return text(f"{given.params['requestState']} {given.params['inputResponses']['q']['action']}")
        question = {"method": "elicitation/create", "params": {"message": "sure?"}}
        return {
            "resultType": "input_required",
            "requestState": "theirs",
            "inputRequests": {"q": question},
            "_meta": {"theirs": 1},
        }

    async with scripted(handlers={"write": ask}) as spy, world(tmp_path, spy) as proxy:
        client = await proxy.connect(MODERN, capabilities=LEGS)
        asked = await proxy.decided(client.calling("write", X, _meta=key()), proxy.approve)
        more = {"_meta": key()} if keeps_meta else {}
        responses = {"q": {"action": "accept"}}
        state = asked.result["requestState"]
        answer = await client.call("write", X, requestState=state, inputResponses=responses, **more)
        again = await call(client)

        assert asked.result["_meta"]["theirs"] == 1
        assert asked.interruption["state"] == "executing"
        assert answer.text == again.text == "theirs accept"
        assert [kind for kind in await proxy.log_kinds() if kind == "intent"] == ["intent"]


# -- limits


async def test_over_the_quota_what_waits_is_still_found(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT, limits={"pending_per_agent": 1}) as proxy:
        client = await proxy.connect()
        first = interruption_of(await call(client, "a"))
        refused = await call(client, "b")
        again = interruption_of(await call(client, "a"))

        assert "Not executed and not queued" in refused.text
        assert refused.result["_meta"] == {"holdshort/error": "quota_exceeded"}
        assert again == first


async def test_two_at_once_for_the_last_place_are_one_call(tmp_path: Path) -> None:
    limits = {"pending_per_agent": 1}
    async with (
        scripted() as spy,
        world(tmp_path, spy, limits=limits) as first,
        world(tmp_path, spy, limits=limits) as second,
    ):
        clients = [await proxy.connect() for proxy in (first, second)]
        for n in range(10):
            lives = [client.calling("write", {"n": n}, _meta=key(f"c{n}")) for client in clients]
            (record,) = await first.pending()
            await first.approve(record)

            assert [(await live.answer()).text for live in lives] == ["write done"] * 2
        assert len(spy.executed) == 10


async def test_one_that_waits_is_recorded_once(tmp_path: Path) -> None:
    async with world(tmp_path, hold=SHORT, record="1h") as proxy:
        client = await proxy.connect()
        for _ in range(3):
            await call(client)
        await call(client, arguments={"x": 2})

        assert ["recording" in (row.get("detail") or {}) for row in await rows(proxy)] == [True, False]


@ERAS
async def test_an_approved_call_before_a_server_that_is_gone_says_which_it_is(tmp_path: Path, era: str) -> None:
    async def out_of_order(_: Incoming) -> Any:
        raise RpcError(-32000, "out of order")

    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        record = await proxy.get(interruption_of(await call(client)))
        await proxy.approve(record)
        proxy.spy.others["tools/list"] = out_of_order
        answer = await call(client)
        del proxy.spy.others["tools/list"]

        assert answer.interruption["id"] == record.id
        assert answer.interruption["state"] == "approved"
        assert (await call(client)).text == "write done"
