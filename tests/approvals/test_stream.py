"""The event stream: in order, nothing missed across a reconnect, and only what the caller may see."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from approvals.site import ANA, BEN, BOT, Site, bearer, serving_site
from holdshort.approvals.deps import ApprovalLimits
from kit.process import until_async

Event = dict[str, Any]


class Reader:
    """One open stream."""

    def __init__(self, lines: Any) -> None:
        self._lines = lines

    async def next(self) -> Event:
        """The next event with data, within ten seconds."""
        found: Event = {}
        with anyio.fail_after(10):
            async for line in self._lines:
                name, _, value = line.partition(":")
                if line == "" and "data" in found:
                    return found
                if line and not line.startswith(":"):
                    found[name] = value.strip()
        raise EOFError("the stream ended")

    async def comment(self) -> None:
        """Wait for a line that only keeps the stream alive, ten seconds at most."""
        with anyio.fail_after(10):
            async for line in self._lines:
                if line.startswith(":"):
                    return
        raise EOFError("the stream ended")


@asynccontextmanager
async def listening(
    site: Site, token: str | None = ANA, *, path: str = "/v1/interruptions/events", **headers: str
) -> AsyncGenerator[Reader]:
    sent = {**bearer(token), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with site.client.stream("GET", path, headers=sent) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines: Any = response.aiter_lines()
        async with aclosing(lines):
            reader = Reader(lines)
            hello = await reader.next()
            assert hello["event"] == "hello"
            yield reader


async def test_changes_arrive_as_they_happen_with_their_record(site: Site) -> None:
    async with listening(site) as reader:
        record = await site.park()
        first = await reader.next()
        await site.decide(record, "approve", BEN)
        second = await reader.next()

    assert first["event"] == second["event"] == "interruption"
    assert json.loads(first["data"]) == record.public()
    assert json.loads(second["data"])["state"] == "approved"
    assert int(second["id"]) > int(first["id"])


async def test_a_reader_that_comes_back_misses_nothing(site: Site) -> None:
    async with listening(site) as reader:
        await site.park()
        last = (await reader.next())["id"]
    missed = [await site.park() for _ in range(5)]
    async with listening(site, last_event_id=last) as reader:
        ids = [json.loads((await reader.next())["data"])["id"] for _ in missed]
        live = await site.park()
        after = json.loads((await reader.next())["data"])["id"]

    assert ids == [record.id for record in missed]
    assert after == live.id


async def test_a_first_connection_may_say_from_where(site: Site) -> None:
    since = await site.store.sequence()
    record = await site.park()
    async with listening(site, path=f"/v1/interruptions/events?after={since}") as reader:
        assert json.loads((await reader.next())["data"])["id"] == record.id


async def test_an_agent_hears_of_its_own_calls_only(site: Site) -> None:
    async with listening(site, BOT) as reader:
        await site.park(agent="other-bot")
        mine = await site.park()
        assert json.loads((await reader.next())["data"])["id"] == mine.id


@pytest.mark.parametrize("given", ["x", "-1", "1e3", "9" * 40, "\u0661"])
async def test_a_last_event_id_that_is_no_sequence_is_400(site: Site, given: str) -> None:
    response = await site.get("/v1/interruptions/events", headers={"last-event-id": given.encode()})

    assert response.status_code == 400


async def test_an_idle_stream_is_kept_alive(tmp_path: Path) -> None:
    async with serving_site(tmp_path, limits=ApprovalLimits(keepalive_seconds=0.05)) as site, listening(site) as reader:
        await reader.comment()
        await reader.comment()
        record = await site.park()

        assert json.loads((await reader.next())["data"])["id"] == record.id


async def test_a_stream_ends_with_its_login(tmp_path: Path) -> None:
    async with serving_site(tmp_path, limits=ApprovalLimits(recheck_seconds=0.05)) as site:
        login = await site.client.post("/login", json={"token": ANA})
        async with listening(site, None) as reader:
            site.clock.ahead = timedelta(minutes=31)
            with pytest.raises(EOFError):
                await reader.next()
        assert login.status_code == 200


async def test_open_streams_are_counted_bounded_and_given_back(tmp_path: Path) -> None:
    async with serving_site(tmp_path, limits=ApprovalLimits(streams_per_principal=2)) as site:
        async with listening(site), listening(site):
            assert (await site.get("/v1/interruptions/events")).status_code == 429
            assert "holdshort_event_streams 2" in (await site.get("/metrics")).text
            async with listening(site, BEN):
                pass

        async def given_back() -> bool:
            return "holdshort_event_streams 0" in (await site.get("/metrics")).text

        await until_async(given_back, "the streams to be given back")


async def test_a_server_that_stops_does_not_wait_for_readers(tmp_path: Path) -> None:
    with anyio.fail_after(15):
        async with serving_site(tmp_path) as site:
            stream = site.client.stream("GET", "/v1/interruptions/events", headers=bearer(ANA))
            response = await stream.__aenter__()
            assert response.status_code == 200
    await stream.__aexit__(None, None, None)


async def test_a_head_request_opens_no_stream(site: Site) -> None:
    response = await site.client.head("/v1/interruptions/events", headers=bearer(ANA))

    assert response.status_code == 200
    assert "holdshort_event_streams 0" in (await site.get("/metrics")).text


async def test_what_another_process_decides_is_heard_within_a_moment(tmp_path: Path) -> None:
    async with serving_site(tmp_path / "state") as one, serving_site(tmp_path / "state") as two:
        record = await one.park()
        async with listening(one) as reader:
            await two.decide(record, "approve")
            with anyio.fail_after(2):
                heard = json.loads((await reader.next())["data"])

    assert (heard["id"], heard["state"]) == (record.id, "approved")
