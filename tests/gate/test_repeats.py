"""Calls that may have been sent before: what is on record counts, and what may have run unasked is not sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import scripted, tool
from gate.world import LEGACY, MODERN, Answer, Client, World, interruption_of, world
from holdshort.errors import StateError
from holdshort.interruption import Approve, State, Withdraw
from holdshort.policy import Wish, exactly
from holdshort.server.clock import utc_now

Json = dict[str, Any]
ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
SHORT = {"default": "30ms"}
ALLOW: Json = {"version": 1, "default": "allow"}
X: Json = {"x": 1}
KEY: Json = {"holdshort/run_id": "run-1", "holdshort/call_id": "call-1"}
AGAIN: Json = {**KEY, "holdshort/repeat": True}


async def again(client: Client, name: str = "write", arguments: Json = X) -> Answer:
    return await client.call(name, arguments, _meta=AGAIN)


async def verdicts(proxy: World) -> list[tuple[str, Json]]:
    found = [entry.fields async for entry in proxy.core.store.entries()]
    return [(row["action"], row["because"][-1]) for row in found if row["kind"] == "verdict"]


def leaves_doubt(answer: Answer) -> bool:
    meta = answer.result.get("_meta", {})
    return answer.result["isError"] is True and meta == {"holdshort/outcome": "unknown"}


@ERAS
async def test_a_call_that_policy_allows_is_not_sent_again(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        first = await client.call("read", X, _meta=KEY)
        answers = [await again(client, "read") for _ in range(2)]

        assert first.text == "read done"
        assert all(leaves_doubt(answer) for answer in answers)
        assert "NOT sent again" in answers[0].text
        assert "Do NOT repeat" in answers[0].text
        assert proxy.spy.executed == [("read", X)]
        assert await proxy.everything() == []
        assert await verdicts(proxy) == [
            ("allow", {"layer": "policy.yaml", "rule": "reads"}),
            ("deny", {"layer": "agent", "rule": "repeat"}),
            ("deny", {"layer": "agent", "rule": "repeat"}),
        ]
        assert (await proxy.core.store.verify()).ok


@ERAS
async def test_even_one_that_was_never_sent_is_not_sent_as_a_repetition(tmp_path: Path, era: str) -> None:
    """Nobody can tell the two apart; the client that is sure of it leaves the word out."""
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        answer = await again(client, "read")
        sure = await client.call("read", X, _meta={**KEY, "holdshort/repeat": False})

        assert leaves_doubt(answer)
        assert sure.text == "read done"
        assert proxy.spy.runs("read") == 1


@ERAS
async def test_where_policy_asks_a_person_decides_and_is_told(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        waiting = await again(client)
        record = await proxy.get(interruption_of(waiting))
        await proxy.approve(record)
        answer = await again(client)

        assert waiting.interruption["state"] == "pending"
        assert [(why.layer, why.rule) for why in record.because] == [("policy.yaml", "default"), ("agent", "repeat")]
        assert answer.text == "write done"
        assert (await again(client)).text == "write done"
        assert proxy.spy.runs("write") == 1


@ERAS
async def test_what_is_on_record_goes_on_as_without_the_word(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=SHORT) as proxy:
        client = await proxy.connect(era)
        waits = interruption_of(await client.call("write", X, _meta=KEY))
        joined = interruption_of(await again(client))
        await proxy.approve(await proxy.get(waits))
        answers = [await again(client) for _ in range(2)]

        assert joined == waits
        assert [answer.text for answer in answers] == ["write done"] * 2
        assert len((await proxy.get(waits)).because) == 1
        assert proxy.spy.runs("write") == 1


@ERAS
@pytest.mark.parametrize(("name", "said"), [("destroy", "Refused by policy"), ("hidden_tool", "Unknown tool")])
async def test_what_policy_forbids_stays_forbidden(tmp_path: Path, era: str, name: str, said: str) -> None:
    tools = [tool("destroy"), tool("hidden_tool")]
    async with scripted(tools=tools) as spy, world(tmp_path, spy) as proxy:
        answer = await again(await proxy.connect(era), name)

        assert said in str(answer.reply)
        assert spy.executed == []
        assert await proxy.everything() == []


async def granted(proxy: World, client: Client) -> str:
    live = client.calling("write", X)
    (record,) = await proxy.pending()
    wish = Wish(exactly(X), max_uses=5).to_json()
    approved = await proxy.core.store.apply(
        record.id, Approve(at=utc_now(), by="ana", fingerprint=record.fingerprint, remember=wish)
    )
    await live.answer()
    await proxy.delivered(record.id)
    return str(approved.grant)


@ERAS
async def test_what_a_grant_would_let_through_is_not_sent_again_and_uses_nothing(tmp_path: Path, era: str) -> None:
    async with world(tmp_path) as proxy:
        client = await proxy.connect(era)
        grant = await granted(proxy, client)
        answer = await again(client)
        uncovered = await client.call("write", {"x": 2}, _meta={**AGAIN, "holdshort/park": "now"})

        assert leaves_doubt(answer)
        assert uncovered.interruption["state"] == "pending"
        assert proxy.spy.runs("write") == 1
        assert (await proxy.core.store.grants.get(grant)).uses == 0


async def test_what_waits_runs_once_though_many_repeat_it_where_policy_allows_it_by_then(tmp_path: Path) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            waits = interruption_of(await (await proxy.connect()).call("write", X, _meta=KEY))
        async with world(tmp_path, spy, layer=ALLOW) as here, world(tmp_path, spy, layer=ALLOW) as there:
            clients = [await each.connect(era) for each in (here, there) for era in (LEGACY, MODERN)]
            lives = [client.calling("write", X, _meta=AGAIN) for client in clients for _ in range(4)]
            answers = [await live.answer() for live in lives]

            assert sum(answer.text == "write done" for answer in answers) == 1
            assert sum("OUTCOME UNKNOWN" in answer.text for answer in answers) == len(answers) - 1
            assert (await here.get(waits)).state is State.SUPERSEDED
            assert spy.runs("write") == 1


async def test_one_that_lost_the_race_to_put_it_away_does_not_run_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the word, too: whoever was faster runs it."""
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            waits = interruption_of(await (await proxy.connect()).call("write", X, _meta=KEY))
        async with world(tmp_path, spy, layer=ALLOW) as here, world(tmp_path, spy, layer=ALLOW) as there:
            client, faster = await here.connect(), await there.connect()
            apply = here.core.store.apply
            others: list[Answer] = []

            async def late(interruption: str, event: Any) -> Any:
                if not others:
                    others.append(await faster.call("write", X, _meta=KEY))
                return await apply(interruption, event)

            monkeypatch.setattr(here.core.store, "apply", late)
            answer = await client.call("write", X, _meta=KEY)

            assert others[0].text == "write done"
            assert leaves_doubt(answer)
            assert (await here.get(waits)).state is State.SUPERSEDED
            assert spy.runs("write") == 1


async def test_a_decision_in_that_moment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            waits = interruption_of(await (await proxy.connect()).call("write", X, _meta=KEY))
        async with world(tmp_path, spy, layer=ALLOW) as proxy:
            client = await proxy.connect()
            record = await proxy.get(waits)
            apply, done = proxy.core.store.apply, anyio.Event()

            async def late(interruption: str, event: Any) -> Any:
                if not done.is_set():
                    done.set()
                    await proxy.reject(record, "not on a Friday")
                return await apply(interruption, event)

            monkeypatch.setattr(proxy.core.store, "apply", late)
            answer = await again(client)

            assert "not on a Friday" in answer.text
            assert interruption_of(answer) == waits
            assert spy.executed == []


async def test_what_was_withdrawn_is_not_run_as_a_repetition_either(tmp_path: Path) -> None:
    async with scripted() as spy:
        async with world(tmp_path, spy, hold=SHORT) as proxy:
            client = await proxy.connect()
            first = interruption_of(await client.call("write", X, _meta=KEY))
            await proxy.core.store.apply(first, Withdraw(at=utc_now(), by="bot"))
            second = interruption_of(await again(client))
            await proxy.core.store.apply(second, Withdraw(at=utc_now(), by="bot"))
        async with world(tmp_path, spy, layer=ALLOW) as proxy:
            answer = await again(await proxy.connect())

            assert second != first
            assert leaves_doubt(answer)
            assert spy.executed == []


async def test_where_the_row_cannot_be_written_it_is_not_sent_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Any) -> int:
        raise StateError("the disk is gone")

    async with world(tmp_path) as proxy:
        client = await proxy.connect()
        monkeypatch.setattr(proxy.core.store, "record", broken)
        answer = await again(client, "read")

        assert "cannot record calls" in answer.text
        assert proxy.spy.executed == []


@ERAS
@pytest.mark.parametrize(
    "meta",
    [
        {"holdshort/repeat": True},
        {"holdshort/repeat": True, "holdshort/run_id": "run-1"},
        {"holdshort/repeat": True, "holdshort/call_id": "call-1"},
        {**AGAIN, "holdshort/call_id": "c" * 201},
        {**AGAIN, "holdshort/run_id": ""},
        {**KEY, "holdshort/repeat": "yes"},
        {**KEY, "holdshort/repeat": 1},
        {"holdshort/repeat": None},
    ],
    ids=["no ids", "no call", "no run", "too long", "empty", "a text", "a number", "null"],
)
async def test_a_repetition_of_nothing_in_particular_is_refused(tmp_path: Path, era: str, meta: Json) -> None:
    async with world(tmp_path) as proxy:
        answer = await (await proxy.connect(era)).call("read", X, _meta=meta)

        assert answer.error["code"] == -32602
        assert "holdshort/repeat" in answer.error["message"]
        assert proxy.spy.executed == []
        assert await proxy.everything() == []
