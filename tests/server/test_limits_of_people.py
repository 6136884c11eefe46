"""How much agents may leave waiting, how often approvers may decide, and how long they are known."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from gate.scripted import scripted
from gate.world import BOT, OTHER, Client, World, world
from holdshort.approvals import build_app, close_streams
from holdshort.approvals.deps import ApprovalDeps
from holdshort.config import Listen, load_config
from holdshort.config.principals import Principal, PrincipalKind
from holdshort.interruption import Interruption, NotEligible, State
from holdshort.server.clock import utc_now
from holdshort.server.pages import approval_deps
from holdshort.server.sockets import bind
from holdshort.server.web import WebServer

Json = dict[str, Any]
ANA = Principal(PrincipalKind.APPROVER, "ana")
ANAS_TOKEN = "token-of-ana-that-is-long-enough"
TICK = timedelta(microseconds=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Clock:
    """Time that passes when told to."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)


def timed(proxy: World) -> tuple[ApprovalDeps, Clock]:
    """The approval side as it is configured, with a clock of its own."""
    clock = Clock(utc_now())
    return replace(approval_deps(proxy.core), clock=clock, session_file=None), clock


@asynccontextmanager
async def site(proxy: World, deps: ApprovalDeps) -> AsyncGenerator[httpx2.AsyncClient]:
    """The approval side on a port of its own."""
    bound = bind(Listen(port=0))
    app = build_app(deps)
    server = WebServer(app, proxy.core.config.limits)
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await server.serve(sockets=[bound])

        tasks.start_soon(serve)
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            yield client
        close_streams(app)
        server.should_exit = True


# -- what may wait


async def leave_waiting(client: Client, *names: str, tool: str = "write") -> list[str]:
    """Call once for each name, without any hold, and say how each was answered."""
    texts = [(await client.call(tool, {"name": name})).text for name in names]
    return ["waits" if "NOT EXECUTED YET" in text else text for text in texts]


async def test_an_agent_has_as_many_calls_waiting_as_may_be_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"pending_per_agent": 2}, hold=0) as proxy:
        bot, other = await proxy.connect(token=BOT), await proxy.connect(token=OTHER)

        *fit, over = await leave_waiting(bot, "a", "b", "c")
        assert fit == ["waits", "waits"]
        assert "Not executed and not queued" in over
        assert await leave_waiting(bot, "a", "b") == ["waits", "waits"]
        assert await leave_waiting(other, "a") == ["waits"]
        await proxy.reject((await proxy.everything())[0])
        assert await leave_waiting(bot, "c") == ["waits"]


async def test_a_server_has_as_many_calls_waiting_as_may_be_and_no_more(tmp_path: Path) -> None:
    async with (
        scripted(label="one") as one,
        scripted(label="two") as two,
        world(tmp_path, one, two, limits={"pending_per_server": 2}, hold=0) as proxy,
    ):
        bot, other = await proxy.connect(token=BOT, path="/mcp"), await proxy.connect(token=OTHER, path="/mcp")

        assert await leave_waiting(bot, "a", tool="one__write") == ["waits"]
        fits, over = await leave_waiting(other, "b", "c", tool="one__write")
        assert fits == "waits"
        assert "Not executed and not queued" in over
        assert await leave_waiting(other, "c", tool="two__write") == ["waits"]


async def test_as_many_calls_wait_in_all_as_may_be_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"pending_total": 2}, hold=0) as proxy:
        bot, other = await proxy.connect(token=BOT), await proxy.connect(token=OTHER)

        assert await leave_waiting(bot, "a") == ["waits"]
        fits, over = await leave_waiting(other, "b", "c")
        assert fits == "waits"
        assert "Not executed and not queued" in over
        assert len(await proxy.pending(2)) == 2


# -- who may decide


async def test_the_person_an_agent_acts_for_does_not_decide_where_duties_are_separate(tmp_path: Path) -> None:
    agents = [{"name": "bot", "token": BOT, "acts_for": "ana"}, {"name": "other", "token": OTHER}]
    async with world(tmp_path, agents=agents, separation_of_duties=True, hold=0) as proxy:
        bot, other = await proxy.connect(token=BOT), await proxy.connect(token=OTHER)
        await leave_waiting(bot, "a")
        await leave_waiting(other, "b")
        of_bot, of_other = await proxy.pending(2)

        with pytest.raises(NotEligible):
            await proxy.approve(of_bot, by="ana")
        assert (await proxy.approve(of_bot, by="ben")).state is State.APPROVED
        assert (await proxy.approve(of_other, by="ana")).state is State.APPROVED


async def test_the_person_an_agent_acts_for_decides_otherwise(tmp_path: Path) -> None:
    agents = [{"name": "bot", "token": BOT, "acts_for": "ana"}]
    async with world(tmp_path, agents=agents, hold=0) as proxy:
        await leave_waiting(await proxy.connect(token=BOT), "a")
        (record,) = await proxy.pending()

        assert (await proxy.approve(record, by="ana")).state is State.APPROVED


def test_separate_duties_that_bar_nobody_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "holdshort.yaml"
    file.write_text(json.dumps({"mcpServers": {"spy": {"command": "x"}}, "separation_of_duties": True}))

    assert [note.message for note in load_config(file, {}).notes] == [
        "separation_of_duties: no agent says whom it `acts_for`, so nobody is barred"
    ]


async def test_an_approver_decides_as_often_as_may_be_and_no_more_often(tmp_path: Path) -> None:
    limits = {"decisions_burst": 2, "decisions_per_minute": 6}
    async with world(tmp_path, limits=limits, hold=0) as proxy:
        await leave_waiting(await proxy.connect(), "a", "b", "c", "d")
        waiting = await proxy.pending(4)
        deps, clock = timed(proxy)
        async with site(proxy, deps) as client:

            async def approve(record: Interruption) -> httpx2.Response:
                body = {"decision": "approve", "fingerprint": record.fingerprint}
                headers = {"authorization": f"Bearer {ANAS_TOKEN}"}
                return await client.post(f"/v1/interruptions/{record.id}/decision", json=body, headers=headers)

            assert [(await approve(each)).status_code for each in waiting[:2]] == [200, 200]
            refused = await approve(waiting[2])
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
            clock.pass_by(seconds=9.999)
            assert (await approve(waiting[2])).status_code == 429
            clock.pass_by(seconds=0.002)
            assert (await approve(waiting[2])).status_code == 200
            assert (await approve(waiting[3])).status_code == 429


# -- how long a login lasts


async def test_a_login_link_works_for_its_time_and_no_longer(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"login_link": "2m"}) as proxy:
        deps, clock = timed(proxy)
        in_time, until = deps.logins.issue(ANA)
        late, _ = deps.logins.issue(ANA)

        assert until == clock.now + timedelta(minutes=2)
        clock.now = until - TICK
        assert deps.logins.redeem(in_time) == ANA
        clock.now = until
        assert deps.logins.redeem(late) is None


@pytest.mark.parametrize("idle", [10, 600])
async def test_a_login_that_is_not_used_lasts_for_its_time_and_no_longer(tmp_path: Path, idle: int) -> None:
    async with world(tmp_path, limits={"session_idle": f"{idle}s"}) as proxy:
        deps, clock = timed(proxy)
        cookie, _ = deps.sessions.start(ANA)
        for _ in range(20):
            # Used now and then, it lasts.
            clock.pass_by(seconds=idle / 2)
            assert deps.sessions.find(cookie) is not None

        clock.now += timedelta(seconds=idle) - TICK
        assert deps.sessions.find(cookie, touch=False) is not None
        clock.now += TICK
        assert deps.sessions.find(cookie, touch=False) is None


async def test_a_login_lasts_for_its_time_and_no_longer_however_much_it_is_used(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"session_absolute": "1h", "session_idle": "10m"}) as proxy:
        deps, clock = timed(proxy)
        cookie, session = deps.sessions.start(ANA)
        while clock.now + timedelta(minutes=5) < session.started + timedelta(hours=1):
            clock.pass_by(minutes=5)
            assert deps.sessions.find(cookie) is not None

        clock.now = session.started + timedelta(hours=1) - TICK
        assert deps.sessions.find(cookie) is not None
        clock.now += TICK
        assert deps.sessions.find(cookie) is None


async def test_a_stream_ends_when_its_login_has(tmp_path: Path) -> None:
    limits = {"token_recheck": "200ms", "session_absolute": "1h", "session_idle": "1h"}
    async with world(tmp_path, limits=limits) as proxy:
        deps, clock = timed(proxy)
        async with site(proxy, deps) as client:
            cookie, _ = deps.sessions.start(ANA)
            headers = {"cookie": f"holdshort-{client.base_url.port}={cookie}"}
            begun, ended = anyio.Event(), anyio.Event()

            async def read() -> None:
                async with client.stream("GET", "/v1/interruptions/events", headers=headers) as stream:
                    async for _ in stream.aiter_raw():
                        begun.set()
                ended.set()

            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await begun.wait()
                    await anyio.sleep(0.6)
                    assert not ended.is_set()
                    clock.pass_by(hours=1)
                    await ended.wait()


# -- how much may be approved in advance


@pytest.mark.parametrize(
    ("limits", "fits", "over"),
    [
        ({"grant_lifetime": "2h"}, {"for": "2h"}, {"for": "7201s"}),
        ({"grant_uses": 3}, {"max_uses": 3}, {"max_uses": 4}),
    ],
)
async def test_a_grant_lasts_as_long_and_is_used_as_often_as_may_be_and_no_more(
    tmp_path: Path, limits: Json, fits: Json, over: Json
) -> None:
    async with world(tmp_path, limits=limits, hold=0) as proxy:
        await leave_waiting(await proxy.connect(), "a")
        [record] = await proxy.pending()
        async with site(proxy, timed(proxy)[0]) as client:
            path, headers = f"/v1/interruptions/{record.id}/decision", {"authorization": f"Bearer {ANAS_TOKEN}"}
            body = {"decision": "approve", "fingerprint": record.fingerprint}
            refused = await client.post(path, json={**body, "remember": over}, headers=headers)
            made = await client.post(path, json={**body, "remember": fits}, headers=headers)

        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_remember")
        assert (made.status_code, "grant" in made.json()) == (200, True)


async def test_a_grant_that_says_nothing_is_held_to_the_limits_too(tmp_path: Path) -> None:
    async with world(tmp_path, limits={"grant_lifetime": "2h", "grant_uses": 3}, hold=0) as proxy:
        await leave_waiting(await proxy.connect(), "a")
        [record] = await proxy.pending()
        async with site(proxy, timed(proxy)[0]) as client:
            path, headers = f"/v1/interruptions/{record.id}/decision", {"authorization": f"Bearer {ANAS_TOKEN}"}
            body = {"decision": "approve", "fingerprint": record.fingerprint, "remember": {}}
            made = await client.post(path, json=body, headers=headers)

        grant = await proxy.core.store.grants.get(made.json()["grant"])
        assert (grant.max_uses, grant.expires_at - grant.made_at) == (3, timedelta(hours=2))
