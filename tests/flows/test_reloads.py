"""Policy that changes while the proxy runs: taken up whole, told to who must know, and never by half."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import Subscription

from flows.scene import ERAS, Scene
from kit.clients import CLIENTS, PASSED_ON, connected
from kit.process import until, until_async
from kit.proxy import AGENT_TOKEN, ProxyKit
from kit.spy import SpyRecord
from kit.together import together

pytestmark = pytest.mark.timeout(120)

HEADERS = {"Authorization": f"Bearer {AGENT_TOKEN}"}
WRITE = {"name": "letter"}


def layer(default: str, **rules: str) -> dict[str, Any]:
    """A policy layer: tools of any server by name, each with its action."""
    said = [{"id": tool, "tools": f"*__{tool}", "action": action} for tool, action in rules.items()]
    return {"version": 1, "default": default, "rules": said}


ASK = layer("ask")
ASK_BUT_HIDE = layer("ask", crash="hide")


async def rows(proxy: ProxyKit) -> list[dict[str, Any]]:
    """What the decision log says about policy."""
    answer = await proxy.ask("GET", "/v1/log?kind=policy&limit=1000")
    return [row["entry"] for row in answer.json()["entries"]]


async def view(proxy: ProxyKit) -> dict[str, Any]:
    """What approvers are told of the policy in force."""
    found: dict[str, Any] = (await proxy.ask("GET", "/v1/policy")).json()
    return found


async def in_force(proxy: ProxyKit, rules: int) -> dict[str, Any]:
    """Wait until the policy in force has so many rules."""

    async def there() -> dict[str, Any] | None:
        found = await view(proxy)
        return found if sum(len(each["rules"]) for each in found["layers"]) == rules else None

    return await until_async(there, f"{rules} rules in force\n{proxy.process.told()}", within=5)


async def refused(proxy: ProxyKit, reason: str) -> dict[str, Any]:
    """Wait until approvers are told that what is on disk does not count."""

    async def there() -> dict[str, Any] | None:
        found = await view(proxy)
        return found if found["refused"] is not None and found["refused"]["reason"] == reason else None

    return await until_async(there, f"a refusal, {reason}\n{proxy.process.told()}", within=5)


async def loosen(proxy: ProxyKit, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Put a policy in force that is, or may be, more permissive than the one there is: its file says so."""
    before = (await view(proxy))["digest"]
    proxy.set_policy({**policy, "loosens": before[:12]})
    return await in_force(proxy, rules=len(policy["rules"]))


def parent(pid: int) -> int:
    """The process that started `pid`."""
    return int(re.findall(r"^PPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


class Ears:
    """A real client that hears of lists that changed."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard: list[str] = []

    async def message(self, message: Any) -> None:
        """Take what the library passes on in a session of the handshake era."""
        if isinstance(message, types.ToolListChangedNotification | types.PromptListChangedNotification):
            self.heard.append(message.method)

    async def listen(self, subscription: Subscription) -> None:
        """Take what a subscription of the stateless era says."""
        async for event in subscription:
            self.heard.append(type(event).__name__)

    async def tools(self) -> set[str]:
        """What it sees now."""
        return {tool.name.rpartition("__")[2] for tool in (await self.client.list_tools()).tools}


@asynccontextmanager
async def ears(scene: Scene, way: str) -> AsyncGenerator[Ears]:
    """A client that listens: over `http` or `fleet` (every server) or `sse` or `stdio`, `-modern` or of before."""
    transport, _, modern = way.partition("-")
    proxy = scene.proxy
    async with AsyncExitStack() as stack:
        through: Any
        if transport == "stdio":
            file = scene.folder / "wrap.yaml"
            file.write_text(json.dumps({"version": 1, "listen": "127.0.0.1:0", "policy": ["proxy/policy.yaml"]}))
            program, *arguments = proxy.wrap(
                SpyRecord(scene.folder / "wrapped.jsonl").command("--stdio"), "--config", str(file)
            )
            through = stdio_client(StdioServerParameters(command=program, args=arguments, env=PASSED_ON))
        elif transport == "sse":
            through = sse_client(f"{proxy.base}/sse/things", headers=HEADERS)
        else:
            http = httpx2.AsyncClient(headers=HEADERS, timeout=httpx2.Timeout(30, read=None))
            url = proxy.url if transport == "fleet" else proxy.server_url("things")
            through = streamable_http_client(url, http_client=await stack.enter_async_context(http))
        made: list[Ears] = []

        async def hear(message: Any) -> None:
            if not modern:  # the library passes a subscription's messages on here as well
                await made[0].message(message)

        client = Client(through, mode="auto" if modern else "legacy", message_handler=hear)
        made.append(Ears(client))
        await stack.enter_async_context(client)
        if modern:
            subscription = await stack.enter_async_context(client.listen(tools_list_changed=True))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(made[0].listen, subscription)
        yield made[0]


WAYS = ("http", "http-modern", "fleet", "fleet-modern", "sse", "stdio", "stdio-modern")


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_is_told_once_that_its_list_changed_and_sees_the_new_one(scene: Scene, way: str) -> None:
    async with ears(scene, way) as client:
        assert {"crash", "write_thing"} <= await client.tools()
        scene.proxy.set_policy(ASK_BUT_HIDE)
        await until(lambda: client.heard, f"the news\n{scene.proxy.process.told()}")
        assert "crash" not in await client.tools()

        scene.proxy.set_policy(layer("ask", crash="hide", write_thing="deny"))
        await in_force(scene.proxy, rules=2)
        scene.proxy.set_policy(layer("ask", crash="hide", write_thing="hide"))
        await until(lambda: len(client.heard) >= 2, f"more news\n{scene.proxy.process.told()}")

        assert "write_thing" not in await client.tools()
        assert len(client.heard) == 2, "a refusal shows in no list, so nobody is told"


@pytest.mark.parametrize("way", ["http", "fleet-modern"])
async def test_a_client_is_told_when_only_the_worth_of_pins_changed(scene: Scene, way: str) -> None:
    await loosen(scene.proxy, {**layer("ask", crash="deny"), "pins": "off"})
    async with ears(scene, way) as client:
        assert "write_thing" in await client.tools()
        scene.proxy.set_policy({**layer("ask", crash="deny"), "pins": "strict"})
        await until(lambda: client.heard, f"the news\n{scene.proxy.process.told()}")

        assert await client.tools() == set()


@pytest.mark.parametrize("way", ["http", "http-modern"])
async def test_a_client_whose_list_stays_the_same_hears_nothing(scene: Scene, way: str) -> None:
    """Rules for one agent are no news for another: the one that is told comes second, and shows that all were."""
    async with ears(scene, way) as client:
        before = await client.tools()
        hide = {"id": "other", "tools": "*__echo", "agents": ["other-bot"], "action": "hide"}
        scene.proxy.set_policy({"version": 1, "default": "ask", "rules": [hide]})
        await in_force(scene.proxy, rules=1)
        assert await client.tools() == before
        scene.proxy.set_policy({"version": 1, "default": "ask", "rules": [hide, *ASK_BUT_HIDE["rules"]]})
        await until(lambda: client.heard, f"the news\n{scene.proxy.process.told()}")

        assert len(client.heard) == 1


@pytest.mark.parametrize("way", ["http", "http-modern", "fleet", "fleet-modern"])
async def test_clients_may_expect_to_be_told(scene: Scene, way: str) -> None:
    """The spy does not say that its list may change; with policy before it, it may."""
    async with ears(scene, way) as client:
        capabilities = client.client.server_capabilities

        assert capabilities is not None
        assert capabilities.tools is not None
        assert capabilities.tools.list_changed is True


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def renamed_over(file: Path, text: str) -> None:
    draft = file.with_name(".policy.yaml.swp")
    draft.write_text(text)
    draft.replace(file)


def deleted_and_written(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def written_twice(file: Path, text: str) -> None:
    file.write_text("")
    with file.open("a") as half:
        half.write(text[: len(text) // 2])
        half.flush()
        half.write(text[len(text) // 2 :])


def same_size_and_time(file: Path, text: str) -> None:
    """As `cp -p` or a restored backup: what a look at size and time of change alone would miss."""
    about = file.stat()
    file.write_text(text)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def link_turned(file: Path, text: str) -> None:
    """As Kubernetes updates a ConfigMap: the file is a link through `..data`, and only that link is replaced."""
    folder = file.parent
    fresh = folder / f"..{len(list(folder.iterdir()))}"
    fresh.mkdir()
    (fresh / file.name).write_text(text)
    draft = folder / "..data_tmp"
    draft.symlink_to(fresh.name)
    draft.replace(folder / "..data")


STYLES = (in_place, renamed_over, deleted_and_written, written_twice, same_size_and_time, link_turned)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
async def test_every_way_of_editing_a_file_is_noticed(scene: Scene, style: Any) -> None:
    proxy = scene.proxy
    file = proxy.folder / "policy.yaml"
    if style is link_turned:
        file.unlink()
        link_turned(file, json.dumps(ASK))
        file.symlink_to("..data/policy.yaml")
        await proxy.restart()
    for rules in (1, 2):
        style(file, json.dumps(layer("ask", **dict.fromkeys(("crash", "slow")[:rules], "hide"))))
        await in_force(proxy, rules)

    assert [row["action"] for row in await rows(proxy)][-2:] == ["reload", "reload"]


async def test_a_policy_file_that_is_named_later_is_watched_from_then_on(scene: Scene) -> None:
    proxy = scene.proxy
    extra = proxy.folder / "extra.yaml"
    proxy.config["policy"].append("extra.yaml")
    proxy.write()
    told = await refused(proxy, "invalid")
    assert "extra.yaml" in told["problems"][0]
    extra.write_text(json.dumps(ASK_BUT_HIDE))
    await in_force(proxy, rules=1)
    extra.write_text(json.dumps(layer("ask", crash="hide", slow="hide")))

    assert (await in_force(proxy, rules=2))["refused"] is None


async def test_a_bad_file_changes_nothing_and_is_named_with_its_place(scene: Scene) -> None:
    """And once: touching it again with the same fault is no news. The proxy stays ready; repaired, the file counts."""
    proxy = scene.proxy
    before = await view(proxy)
    bad = "version: 1\nrules:\n  - id: one\n    tools: '*'\n    action: aks\n"
    file = proxy.folder / "policy.yaml"
    file.write_text(bad)
    told = await refused(proxy, "invalid")
    file.write_text(f"# touched\n{bad}")

    async def moved() -> bool:
        return "policy.yaml:6:" in (await view(proxy))["problems"][0]

    await until_async(moved, "the fault at its new place")
    file.write_text(f"# touched\n{bad}")
    ready = await proxy.ask("GET", "/readyz", token=None)
    file.write_text(json.dumps(ASK_BUT_HIDE))
    after = await in_force(proxy, rules=1)

    assert ready.status_code == 200
    assert told["digest"] == before["digest"]
    assert "policy.yaml:5:13: rule `one`: unknown action `aks`; did you mean `ask`?" in told["problems"][0]
    assert proxy.process.said(r"policy.yaml:5:13: rule `one`: unknown action `aks`.*\"level\": \"error\"")
    assert after["refused"] is None
    assert after["problems"] == []
    found = await rows(proxy)
    assert [row["action"] for row in found] == ["start", "refused", "refused", "reload"]
    assert found[1]["detail"]["reason"] == "invalid"
    assert found[1]["detail"]["digest"] == found[0]["detail"]["digest"] == found[3]["detail"]["replaces"]
    assert found[3]["detail"]["digest"] == after["digest"]


async def test_a_hangup_reads_the_files_at_once_and_says_what_it_found(scene: Scene) -> None:
    os.kill(scene.proxy.process.pid, signal.SIGHUP)
    await scene.proxy.process.until_said("policy.unchanged")

    assert [row["action"] for row in await rows(scene.proxy)] == ["start"]


async def test_what_is_not_policy_waits_for_the_next_start_and_is_named(scene: Scene) -> None:
    proxy = scene.proxy
    proxy.config["limits"] = {"json_depth": 60, "pending_expiry": "2h"}
    proxy.config["mcpServers"]["more"] = {"command": "more", "env": {"SECRET": "pass-word-1"}}
    proxy.config["approvers"][1]["token"] = "a-new-token-that-is-long-enough-for-anyone"
    proxy.write()
    proxy.set_policy(ASK_BUT_HIDE)
    await in_force(proxy, rules=1)
    await proxy.process.until_said('"key": "limits.json_depth"')
    named = [json.loads(line)["key"] for line in proxy.process.stderr_lines if "config.waits" in line]
    still = await proxy.ask("GET", "/v1/policy", token="second-approver-token-that-is-long-enough")
    not_yet = await proxy.ask("GET", "/v1/policy", token="a-new-token-that-is-long-enough-for-anyone")

    assert sorted(set(named)) == ["approvers.ben", "limits.json_depth", "mcpServers.more"]
    assert (still.status_code, not_yet.status_code) == (200, 401)
    assert "pass-word-1" not in proxy.process.told()
    assert "a-new-token" not in proxy.process.told()


async def test_rules_about_people_the_process_does_not_know_are_refused(scene: Scene) -> None:
    """The file is right by itself, and counts at the next start: until then nobody could satisfy its rule."""
    proxy = scene.proxy
    proxy.config["approvers"].append({"name": "eve", "token": "eves-token-that-is-long-enough-for-anyone"})
    rule = {"id": "eves", "tools": "*__write_thing", "action": "ask", "approvers": ["eve"]}
    proxy.write()
    proxy.set_policy({"version": 1, "default": "ask", "rules": [rule]})
    told = await refused(proxy, "people")
    await proxy.restart()

    assert "rule `eves`" in told["problems"][0]
    assert "next start" in told["problems"][0]
    assert (await in_force(proxy, rules=1))["refused"] is None


async def test_a_policy_that_loosens_is_refused_until_the_file_says_that_it_is_meant(scene: Scene) -> None:
    """The line is bound to the policy that it replaces: forgotten, it permits nothing the next time."""
    proxy = scene.proxy
    await loosen(proxy, layer("ask", write_thing="deny"))
    before = (await view(proxy))["digest"]
    looser = layer("ask", write_thing="allow", crash="hide")
    proxy.set_policy(looser)
    told = await refused(proxy, "loosens")
    async with scene.agent() as agent:
        while_refused = await agent.call("write_thing", WRITE)
    proxy.set_policy({**looser, "loosens": before[:12]})
    await in_force(proxy, rules=2)
    async with scene.agent() as agent:
        once_in_force = await agent.call("write_thing", WRITE)
    looser["rules"].append({"id": "more", "tools": "*__destroy_thing", "action": "allow"})
    proxy.set_policy({**looser, "loosens": before[:12]})
    again = await refused(proxy, "loosens")

    assert f'loosens: "{before[:12]}"' in told["problems"][0]
    assert "write_thing" in told["problems"][1]
    assert told["digest"] == before
    assert while_refused.is_error
    assert once_in_force.text == "write_thing done: letter"
    assert f'loosens: "{again["digest"][:12]}"' in again["problems"][0]
    found = await rows(proxy)
    assert [row["action"] for row in found] == ["start", "reload", "refused", "reload", "refused"]
    assert found[2]["detail"]["reason"] == "loosens"
    assert found[3]["detail"]["loosenings"] >= 1
    assert found[3]["detail"]["digest"] == found[2]["detail"]["refused"]


async def test_shorthand_of_a_server_that_left_the_file_counts_while_it_runs(scene: Scene) -> None:
    proxy = scene.proxy
    things = proxy.config["mcpServers"]["things"]
    proxy.config["mcpServers"]["things"] = {**things, "tool_filter": {"blocked_tool_names": ["crash"]}}
    proxy.write()
    await in_force(proxy, rules=1)
    proxy.config["mcpServers"] = {"others": things}
    proxy.write()
    await proxy.process.until_said('"key": "mcpServers.things"')

    async with scene.agent() as agent:
        assert "crash" not in await agent.tools()


@pytest.mark.parametrize("client", ERAS)
async def test_an_approval_is_refused_when_policy_forbids_the_call_by_now(scene: Scene, client: str) -> None:
    record = await scene.leave_pending("write_thing", WRITE, client)
    scene.proxy.set_policy(layer("ask", write_thing="deny"))
    await in_force(scene.proxy, rules=1)
    answer = await scene.proxy.decide(record, "approve")

    assert answer.status_code == 409, answer.text
    assert answer.json()["error"]["code"] == "superseded"
    assert answer.json()["error"]["interruption"]["state"] == "superseded"
    assert scene.spy.executed("write_thing") == 0


@pytest.mark.parametrize("client", ERAS)
async def test_an_approved_call_that_policy_forbids_by_now_never_runs(scene: Scene, client: str) -> None:
    record = await scene.leave_pending("write_thing", WRITE, client)
    await scene.proxy.approve(record)
    scene.proxy.set_policy(layer("ask", write_thing="deny"))
    await in_force(scene.proxy, rules=1)
    answer = await scene.call("write_thing", WRITE, client)

    assert answer.is_error
    assert "policy" in answer.text.lower()
    assert scene.spy.executed("write_thing") == 0


async def test_a_call_held_open_is_judged_anew_when_its_approval_comes(scene: Scene) -> None:
    """The client waits; policy asks for two people by the time the one approves."""
    scene.proxy.config["hold"] = {"default": "30s"}
    scene.proxy.write()
    await scene.proxy.restart()

    async def turned() -> int:
        record = (await scene.proxy.pending())[0]
        both = {"id": "both", "tools": "*__write_thing", "action": "ask", "required_approvals": 2}
        scene.proxy.set_policy({"version": 1, "default": "ask", "rules": [both]})
        await in_force(scene.proxy, rules=1)
        return (await scene.proxy.decide(record, "approve")).status_code

    async with scene.agent() as agent:
        answer, status = await together(agent.call("write_thing", WRITE), turned())

    assert status == 409
    assert answer.state == "superseded"
    assert scene.spy.executed("write_thing") == 0


@pytest.mark.parametrize("client", [*ERAS, "python-2.3-asked"])
async def test_a_call_that_waits_and_is_allowed_by_now_runs_once_when_repeated(scene: Scene, client: str) -> None:
    """What waited is put away, so that nobody approves it and runs it again."""
    record = await scene.leave_pending("write_thing", WRITE)
    await loosen(scene.proxy, layer("ask", write_thing="allow"))
    answer = await scene.call("write_thing", WRITE, client)
    decided = await scene.proxy.decide(record, "approve")

    assert answer.text == "write_thing done: letter"
    assert (await scene.proxy.interruption(record["id"]))["state"] == "superseded"
    assert decided.status_code == 409
    assert scene.spy.executed("write_thing") == 1


async def test_a_call_that_ran_and_was_not_fetched_is_not_run_again_when_policy_allows_it(scene: Scene) -> None:
    rule = {"id": "at-once", "tools": "*__write_thing", "action": "ask", "execute": "on_decision"}
    await loosen(scene.proxy, {"version": 1, "default": "ask", "rules": [rule]})
    record = await scene.leave_pending("write_thing", WRITE)
    await scene.proxy.approve(record)
    await scene.proxy.until_state(record["id"], "executed")
    await loosen(scene.proxy, layer("ask", write_thing="allow", echo="allow"))
    answer = await scene.call("write_thing", WRITE)

    assert answer.text == "write_thing done: letter"
    assert scene.spy.executed("write_thing") == 1


async def test_a_rule_that_runs_calls_on_decision_works_from_the_reload_on(scene: Scene) -> None:
    """No such rule was there at the start; and a call parked before a later reload still runs, judged anew."""
    rule = {"id": "at-once", "tools": "*__write_thing", "action": "ask", "execute": "on_decision"}
    await loosen(scene.proxy, {"version": 1, "default": "ask", "rules": [rule]})
    first = await scene.leave_pending("write_thing", WRITE)
    scene.proxy.set_policy({"version": 1, "default": "ask", "rules": [rule, *ASK_BUT_HIDE["rules"]]})
    await in_force(scene.proxy, rules=2)
    await scene.proxy.approve(first)

    await scene.proxy.until_state(first["id"], "executed")
    assert scene.spy.executed("write_thing") == 1


async def test_a_task_that_waits_across_a_reload_ends_as_policy_says_now(scene: Scene) -> None:
    async with scene.agent("python-2.3-tasks") as agent:

        async def turned() -> None:
            record = (await scene.proxy.pending())[0]
            scene.proxy.set_policy(layer("ask", write_thing="deny"))
            await in_force(scene.proxy, rules=1)
            assert (await scene.proxy.decide(record, "approve")).status_code == 409

        answer, _ = await together(agent.call("write_thing", WRITE), turned())

    assert answer.is_error
    assert scene.spy.executed("write_thing") == 0


@pytest.mark.parametrize("client", ERAS)
async def test_each_call_under_fifty_reloads_is_judged_by_one_policy_or_the_other(scene: Scene, client: str) -> None:
    proxy = scene.proxy
    # Two rules that only agree in one policy: half of one and half of the other would allow, or hide.
    policies = [
        layer("ask", read_thing="allow", echo="deny"),
        layer("ask", read_thing="deny", echo="deny", slow="deny"),
    ]
    found: Counter[str] = Counter()
    done = anyio.Event()

    async def reload() -> None:
        for turn in range(50):
            await loosen(proxy, policies[turn % 2])
        done.set()

    async def call() -> None:
        async with connected(CLIENTS[client], url=proxy.server_url("things"), token=AGENT_TOKEN) as agent:
            while not done.is_set():
                answer = await agent.call("read_thing", WRITE)
                found["ran" if answer.text == "read_thing done: letter" else answer.text] += 1

    await loosen(proxy, policies[1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reload)
        for _ in range(2):
            tasks.start_soon(call)

    kinds = {"ran" if text == "ran" else "refused" if "olicy" in text else text for text in found}
    assert kinds == {"ran", "refused"}, found
    assert found["ran"] == scene.spy.executed("read_thing")
    assert [row["action"] for row in await rows(proxy)].count("reload") == 51


async def test_a_hangup_makes_a_wrap_with_a_file_read_it_and_go_on(scene: Scene) -> None:
    """Without the signal nothing is read, and the session outlives it."""
    async with ears(scene, "stdio") as client:
        await client.tools()
        record = SpyRecord(scene.folder / "wrapped.jsonl")
        wrap = parent(record.pids()[0])
        os.kill(wrap, signal.SIGHUP)
        scene.proxy.set_policy(ASK_BUT_HIDE)
        os.kill(wrap, signal.SIGHUP)
        await until(lambda: client.heard, "the news")

        assert "crash" not in await client.tools()


@pytest.mark.parametrize("action", ["kill", "raise"])
async def test_a_reload_that_cannot_be_recorded_does_not_happen(scene: Scene, action: str) -> None:
    """Killed there, the proxy starts with what is on disk, and only then does it count."""
    proxy = scene.proxy
    proxy.close()
    await proxy.start({"HOLDSHORT_FAULT": f"policy.reload:1:{action}"})
    before = (await view(proxy))["digest"]
    proxy.set_policy(ASK_BUT_HIDE)
    if action == "kill":
        await proxy.process.until_exit()
        proxy.close()
        await proxy.start()
        after = await in_force(proxy, rules=1)
    else:
        told = await refused(proxy, "unrecorded")
        assert told["digest"] == before
        after = await until_async(lambda: _one_rule(proxy), "the reload, tried again", within=20)

    found = await rows(proxy)
    assert found[-1]["detail"]["digest"] == after["digest"] != before
    assert found[-1]["action"] == ("start" if action == "kill" else "reload")


async def _one_rule(proxy: ProxyKit) -> dict[str, Any] | None:
    found = await view(proxy)
    return found if sum(len(each["rules"]) for each in found["layers"]) == 1 else None


async def test_a_wrap_without_a_file_ends_at_a_hangup(scene: Scene) -> None:
    command = scene.proxy.wrap(SpyRecord(scene.folder / "bare.jsonl").command("--stdio"))
    process = await anyio.open_process(command, stdin=-1)
    try:
        record = SpyRecord(scene.folder / "bare.jsonl")
        assert process.stdin is not None
        hello = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "bare", "version": "1"},
            },
        }
        await process.stdin.send(json.dumps(hello).encode() + b"\n")
        await until(record.pids, "the wrapped server")
        process.send_signal(signal.SIGHUP)
        with anyio.fail_after(15):
            await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()
