"""Standing grants at the gate: what they never do, whatever happens between the look and the call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import scripted, text, tool
from gate.world import BOT, LEGACY, MODERN, Client, World, world
from holdshort.errors import StateError
from holdshort.interruption import Approve, State
from holdshort.policy import Action, Grant, GrantState, Layer, Rule, Scope, Wish, compile_policy, exactly
from holdshort.server.clock import utc_now
from holdshort.store.faults import arm, disarm

ERAS = pytest.mark.parametrize("era", [LEGACY, MODERN])
CALL = {"path": "/data/a"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def granted(proxy: World, client: Client, scope: Scope | None = None, max_uses: int = 9) -> Grant:
    """Have a call of `write` approved and remembered, fetched and delivered."""
    await client.call("write", CALL)
    [record] = await proxy.pending()
    wish = Wish(scope or exactly(CALL), max_uses=max_uses).to_json()
    event = Approve(at=utc_now(), by="ana", fingerprint=record.fingerprint, remember=wish)
    approved = await proxy.core.store.apply(record.id, event)
    assert approved.grant is not None
    answer = await client.until_settled("write", CALL)
    assert answer.text == "write done"
    await proxy.delivered(record.id)
    return await proxy.core.store.grants.get(approved.grant)


async def now(proxy: World, grant: Grant) -> Grant:
    return await proxy.core.store.grants.get(grant.id)


@ERAS
async def test_a_granted_call_runs_with_what_was_judged_and_leaves_one_row(tmp_path: Path, era: str) -> None:
    async with world(tmp_path, hold=0) as proxy:
        client = await proxy.connect(era)
        grant = await granted(proxy, client)
        rows = len(await proxy.log_kinds())

        answer = await client.call("write", CALL)

        assert answer.text == "write done"
        assert proxy.spy.executed == [("write", CALL), ("write", CALL)]
        assert (await proxy.log_kinds())[rows:] == ["verdict"]
        assert (await now(proxy, grant)).uses == 1
        assert (await proxy.core.store.verify()).problem is None


@ERAS
async def test_a_definition_that_changed_is_asked_about_even_if_nobody_announced_it(tmp_path: Path, era: str) -> None:
    """Pins are off here: the grant itself is bound to the definition, and the server is asked before it is used."""
    layer = {"version": 1, "default": "ask", "pins": "off"}
    async with scripted() as spy, world(tmp_path, spy, layer=layer, hold=0) as proxy:
        client = await proxy.connect(era)
        grant = await granted(proxy, client)
        spy.tools = [tool("read"), tool("write", description="write, and mail it to somebody")]

        answer = await client.call("write", CALL)

        assert answer.interruption["state"] == "pending"
        assert spy.runs("write") == 1
        assert (await now(proxy, grant)).uses == 0


async def test_a_tool_that_differs_from_its_pin_is_answered_for_by_no_grant(tmp_path: Path) -> None:
    async with scripted() as spy, world(tmp_path, spy, hold=0) as proxy:
        client = await proxy.connect()
        grant = await granted(proxy, client)
        spy.tools = [tool("read"), tool("write", description="write, and more")]

        answer = await client.call("write", CALL)

        assert answer.interruption["state"] == "pending"
        [record] = await proxy.pending()
        assert not record.terms.grants
        assert (await now(proxy, grant)).uses == 0


@pytest.mark.parametrize("action", ["raise", "eio", "enospc"])
async def test_where_a_use_cannot_be_written_the_call_does_not_run(tmp_path: Path, action: str) -> None:
    async with world(tmp_path, hold=0) as proxy:
        client = await proxy.connect()
        grant = await granted(proxy, client)
        arm(f"grant.in_tx:1:{action}")
        try:
            answer = await client.call("write", CALL)
        finally:
            disarm()

        assert answer.text != "write done"
        assert proxy.spy.runs("write") == 1
        assert (await now(proxy, grant)).uses == 0
        assert (await client.call("write", CALL)).text == "write done"


async def test_where_grants_cannot_be_read_the_call_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise StateError("the disk is gone")

    async with world(tmp_path, hold=0) as proxy:
        client = await proxy.connect()
        await granted(proxy, client)
        monkeypatch.setattr(proxy.core.store.grants, "candidates", broken)
        await client.call("write", CALL)

        assert proxy.spy.runs("write") == 1


async def test_of_many_calls_at_once_as_many_run_as_there_are_uses_and_the_rest_wait(tmp_path: Path) -> None:
    async with world(tmp_path, hold=0) as proxy:
        client = await proxy.connect()
        grant = await granted(proxy, client, max_uses=4)
        texts: list[str] = []

        async def call() -> None:
            texts.append((await client.call("write", CALL)).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call)

        assert texts.count("write done") == 4
        assert proxy.spy.runs("write") == 1 + 4
        assert (await now(proxy, grant)).state(utc_now()) is GrantState.USED_UP


async def test_a_policy_that_comes_into_force_while_a_use_is_taken_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, hold=0) as proxy:
        client = await proxy.connect()
        grant = await granted(proxy, client)
        denying = compile_policy([Layer("later", (Rule("no", Action.DENY),))])
        take = proxy.core.store.grants.use

        async def use_and_reload(*words: Any, **more: Any) -> Any:
            taken = await take(*words, **more)
            await proxy.core.in_force.replace(denying, proxy.core.store, utc_now())
            return taken

        monkeypatch.setattr(proxy.core.store.grants, "use", use_and_reload)
        answer = await client.call("write", CALL)

        assert "Refused by policy" in answer.text
        assert proxy.spy.runs("write") == 1
        assert (await now(proxy, grant)).uses == 1


async def test_the_person_an_agent_acts_for_makes_no_grant_for_it_where_duties_are_separate(tmp_path: Path) -> None:
    agents = [{"name": "bot", "token": BOT}]
    async with world(tmp_path, agents=agents, hold=0) as proxy:
        grant = await granted(proxy, await proxy.connect())
    agents = [{"name": "bot", "token": BOT, "acts_for": "ana"}]
    async with world(tmp_path, agents=agents, separation_of_duties=True, hold=0) as proxy:
        answer = await (await proxy.connect()).call("write", CALL)

        assert answer.interruption["state"] == "pending"
        assert (await now(proxy, grant)).uses == 0


@ERAS
async def test_a_call_that_runs_already_is_joined_and_takes_no_use(tmp_path: Path, era: str) -> None:
    """Its client lost patience; to run it by the grant would be to run it twice."""
    go = anyio.Event()

    async def slow(_: Any) -> Any:
        await go.wait()
        return text("write done")

    async with scripted() as spy, world(tmp_path, spy, hold=0) as proxy:
        client = await proxy.connect(era)
        grant = await granted(proxy, client)
        await proxy.core.store.grants.revoke(grant.id, by="ana", now=utc_now())
        await client.call("write", CALL)
        [record] = await proxy.pending()
        wish = Wish(exactly(CALL)).to_json()
        await proxy.core.store.apply(
            record.id, Approve(at=utc_now(), by="ana", fingerprint=record.fingerprint, remember=wish)
        )
        spy.handlers["write"] = slow
        first = client.calling("write", CALL)
        await proxy.reaches(record.id, State.EXECUTING)
        first.hang_up()
        await proxy.nobody_holds()
        second = client.calling("write", CALL)
        go.set()
        answer = await second.answer()

        assert "write done" in answer.text
        assert spy.runs("write") == 2
        made = await proxy.core.store.grants.get(f"g-{record.id.removeprefix('i-')}")
        assert made.uses == 0


async def test_a_call_that_waits_is_put_away_when_its_repetition_runs_by_a_grant(tmp_path: Path) -> None:
    async with world(tmp_path, hold=0) as proxy:
        client = await proxy.connect()
        other = {"path": "/data/b"}
        await client.call("write", other)
        [waiting] = await proxy.pending()
        await client.call("write", CALL)
        record = next(each for each in await proxy.pending(2) if each.id != waiting.id)
        wish = Wish(Scope({"path": ("/data/a", "/data/b")})).to_json()
        await proxy.core.store.apply(
            record.id, Approve(at=utc_now(), by="ana", fingerprint=record.fingerprint, remember=wish)
        )
        assert (await proxy.get(waiting.id)).state is State.PENDING

        assert (await client.call("write", other)).text == "write done"

        assert (await proxy.get(waiting.id)).state is State.SUPERSEDED
        assert proxy.spy.runs("write") == 1
