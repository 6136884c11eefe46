"""What a link does when the proxy dies, comes back, or the wire to it breaks: real kills, and a wire that is cut."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdshort.runner.errors import ProxyError, ProxyUnreachable
from holdshort.runner.mcp_link import McpTool, ProxyLink
from holdshort.runner.proxy import ApprovalProxy
from kit.ports import free_port
from kit.process import running, until
from kit.proxy import AGENT_TOKEN, APPROVER_TOKEN, ProxyKit, serving
from kit.spy import SpyRecord
from kit.together import abandoned, together
from runner.wires import relaying

ALLOW: dict[str, Any] = {"version": 1, "default": "allow", "rules": []}


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy that may be killed, before a spy that outlives it."""

    proxy: ProxyKit
    spy: SpyRecord
    folder: Path
    wire: int
    """A port that the proxy takes for its own, for a relay."""

    @asynccontextmanager
    async def link(self, url: str | None = None, **more: Any) -> AsyncGenerator[ProxyLink]:
        given: dict[str, Any] = {"token": AGENT_TOKEN, **more}
        link = await ApprovalProxy(url or self.proxy.base, **given).open()
        try:
            yield link
        finally:
            await link.close()

    def slow(self, name: str) -> dict[str, str]:
        """Arguments of a call that ends when `finish` says so."""
        return {"name": name, "until": str(self.folder / f"{name}.go")}

    def finish(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()


@asynccontextmanager
async def opened_scene(folder: Path, eras: str) -> AsyncGenerator[Scene]:
    record = SpyRecord(folder / "spy.jsonl")
    port, wire = free_port(), free_port()
    with running(record.command("--http", str(port), "--eras", eras)) as spy:
        url = f"http://127.0.0.1:{port}/mcp"
        await spy.until_answers(url)
        more = {"limits": {"keepalive": "1s"}, "allowed_hosts": [f"127.0.0.1:{wire}"]}
        async with serving(folder / "proxy", {"spy": {"url": url}}, ALLOW, **more) as proxy:
            yield Scene(proxy, record, folder, wire)


@pytest.fixture(scope="module", params=["legacy", "modern"])
async def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Scene]:
    """One that nobody kills."""
    async with opened_scene(tmp_path_factory.mktemp("breaks"), request.param) as found:
        yield found


@pytest.fixture(params=["legacy", "modern"])
async def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Scene]:
    """One whose proxy may be killed."""
    async with opened_scene(tmp_path, request.param) as found:
        yield found


async def tool(link: ProxyLink, name: str) -> McpTool:
    return next(each for each in await link.tools() if each.tool == name)


async def test_a_proxy_that_was_killed_and_started_again_is_met_as_if_nothing_had_been(mortal: Scene) -> None:
    async with mortal.link() as link:
        echo = await tool(link, "echo")
        await link.call(echo, {"n": 1}, meta={})
        before = [each.name for each in await link.tools()]
        await mortal.proxy.kill9()
        await mortal.proxy.start()
        again = await link.call(echo, {"n": 2}, meta={})
        after = [each.name for each in await link.tools(refresh=True)]

    assert again["content"][0]["text"] == '{"n": 2}'
    assert before == after
    assert [mortal.spy.executed("echo", {"n": n}) for n in (1, 2)] == [1, 1]


async def test_a_call_on_its_way_when_the_proxy_dies_may_have_run_and_is_not_made_again(mortal: Scene) -> None:
    sent: list[bool] = []
    async with mortal.link() as link:
        slow = await tool(link, "slow")

        async def call() -> None:
            with pytest.raises(ProxyUnreachable) as error:
                await link.call(slow, mortal.slow("dies"), meta={})
            sent.append(error.value.sent)

        async def kill() -> None:
            await mortal.spy.until_executed("slow")
            await mortal.proxy.kill9()

        await together(call(), kill())
        mortal.finish("dies")
        await mortal.proxy.start()
        await link.call(await tool(link, "echo"), {}, meta={})

    assert sent == [True]
    assert mortal.spy.executed("slow") == 1


async def test_a_call_to_a_proxy_that_is_not_there_has_certainly_not_left(mortal: Scene) -> None:
    async with mortal.link() as known, mortal.link() as fresh:
        echo = await tool(known, "echo")
        await mortal.proxy.kill9()
        sent: list[bool] = []

        async def call(link: ProxyLink) -> None:
            with pytest.raises(ProxyUnreachable, match="cannot be reached") as error:
                await link.call(echo, {"n": 3}, meta={})
            sent.append(error.value.sent)

        await together(call(known), call(fresh))

    assert sent == [False, False]
    assert mortal.spy.executed("echo", {"n": 3}) == 0


async def test_an_answer_that_does_not_come_in_time_may_have_run(scene: Scene) -> None:
    async with scene.link(timeout_s=5) as link:
        with pytest.raises(ProxyUnreachable, match="did not answer `tools/call` within 5 seconds") as error:
            await link.call(await tool(link, "slow"), scene.slow("late"), meta={})
        scene.finish("late")

    assert error.value.sent is True


async def test_a_wire_that_breaks_during_a_call_costs_nothing_where_answers_are_kept(scene: Scene) -> None:
    """In the handshake era the rest of the answer is fetched; in the other there is none, and nobody asks twice."""
    results: list[Any] = []
    async with relaying(scene.proxy.port, scene.wire) as relay, scene.link(relay.url) as link:
        slow, ran = await tool(link, "slow"), scene.spy.executed("slow")
        handshake = "2025-11-25" in repr(link)

        async def call() -> None:
            try:
                results.append(await link.call(slow, scene.slow("cut"), meta={}))
            except ProxyUnreachable as error:
                results.append(error.sent)

        async def cut() -> None:
            await scene.spy.until_executed("slow", ran + 1)
            # Until the answer has begun there is nothing to take up again: the first sign of it is a keep-alive.
            await until(lambda: relay.said(b": ping"), "a keep-alive")
            relay.cut()
            if handshake:
                await until(lambda: relay.count("GET") > 0, "the answer to be taken up again")
            scene.finish("cut")

        await together(call(), cut())

    done = {"content": [{"type": "text", "text": "slow done: cut"}]}
    assert results == [done if handshake else True]
    assert scene.spy.executed("slow", scene.slow("cut")) == 1


async def test_a_wire_that_breaks_before_an_answer_began_loses_it(scene: Scene) -> None:
    sent: list[bool] = []
    async with relaying(scene.proxy.port, scene.wire) as relay, scene.link(relay.url) as link:
        slow, ran = await tool(link, "slow"), scene.spy.executed("slow")
        before = relay.count("POST")

        async def call() -> None:
            with pytest.raises(ProxyUnreachable) as error:
                await link.call(slow, scene.slow("early"), meta={})
            sent.append(error.value.sent)

        async def cut() -> None:
            await scene.spy.until_executed("slow", ran + 1)
            relay.cut()

        await together(call(), cut())
        scene.finish("early")
        posts = relay.count("POST") - before

    assert (sent, posts) == ([True], 1)
    assert scene.spy.executed("slow", scene.slow("early")) == 1


async def test_a_cancelled_call_leaves_the_link_good_for_the_next_one(scene: Scene) -> None:
    async with scene.link() as link:
        slow, ran = await tool(link, "slow"), scene.spy.executed("slow")
        await abandoned(link.call(slow, scene.slow("given-up"), meta={}), scene.spy.until_executed("slow", ran + 1))
        again = await link.call(await tool(link, "echo"), {"n": 4}, meta={})
        scene.finish("given-up")

    assert again["content"][0]["text"] == '{"n": 4}'


async def test_a_link_that_is_closed_ends_its_session(scene: Scene) -> None:
    async with relaying(scene.proxy.port, scene.wire) as relay:
        async with scene.link(relay.url) as link:
            await link.tools()
            await link.close()

        assert relay.count("DELETE") == 1


async def test_an_endpoint_that_is_not_there_is_named(scene: Scene) -> None:
    words = r"there is no MCP endpoint at `.*/mcp/nothing`; .*there are /mcp, /mcp/spy"
    async with scene.link(server="nothing") as link:
        with pytest.raises(ProxyError, match=words) as error:
            await link.tools()

    assert (error.value.reason, error.value.status) == ("not_found", 404)


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (None, 401, "it wants the `token` of an agent"),
        ("not-a-token-of-anyone", 401, "`token` is not one of its agents'"),
        (APPROVER_TOKEN, 403, "this credential is an approver's"),
    ],
    ids=["none", "unknown", "approver"],
)
async def test_a_wrong_token_is_said_to_be_wrong_and_not_shown(
    scene: Scene, token: str | None, status: int, words: str
) -> None:
    async with scene.link(token=token) as link:
        with pytest.raises(ProxyError, match=words) as error:
            await link.tools()

    assert error.value.status == status
    assert token is None or token not in str(error.value)
