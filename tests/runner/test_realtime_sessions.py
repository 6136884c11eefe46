"""Realtime sessions from beginning to end: stopped, killed, gone on with, and with a proxy that comes and goes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from holdshort.runner import (
    Agent,
    ApprovalProxy,
    ModelBehaviorError,
    ProxyError,
    ProxyUnreachable,
    RunState,
    ShellTool,
    SQLiteRunStore,
    StateSuperseded,
    UserError,
    function_tool,
)
from holdshort.runner.data import CallData, CallKind
from holdshort.runner.realtime import RealtimeSession
from holdshort.runner.realtime.call import LiveCall, last_words, may_have_run
from kit.ports import free_port
from kit.process import kit_command, kit_environment, running, until
from kit.proxy import ProxyKit, serving
from kit.spy import SpyRecord
from runner.realtime_program import agent_in, ledger
from runner.realtime_room import READ, WRITE, Room, opened, run_id, thing, voice
from runner.stage import LAYER, Stage


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Stage]:
    """A stage of one test's own: its proxy may be stopped."""
    record, port = SpyRecord(tmp_path / "spy.jsonl"), free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    soon = {"id": "soon", "tools": "*__destroy_thing", "action": "ask", "expires_after": "1s"}
    slow = {"id": "slow", "tools": "*__slow", "action": "allow"}
    layer = {**LAYER, "rules": [*LAYER["rules"], soon, slow]}
    with running(record.command("--http", str(port))) as spy:
        await spy.until_answers(url)
        async with serving(tmp_path / "proxy", {"things": {"url": url}}, layer, hold="200ms") as proxy:
            yield Stage(tmp_path, proxy, record)


async def stopped(proxy: ProxyKit) -> None:
    """Stop a proxy in order."""
    await proxy.process.terminate()
    proxy.close()


async def ended(session: RealtimeSession) -> None:
    """Wait until a session's one call has its output."""

    def has() -> bool:
        calls = session.to_state().data.calls
        return len(calls) == 1 and not calls[0].is_open

    await until(has, "the end of the call")


# -- the proxy comes and goes


async def test_a_decision_is_heard_of_after_the_proxy_was_away(house: Stage) -> None:
    name = thing()
    async with opened(voice(house)) as room:
        room.call(WRITE, "c1", name=name)
        shown = await room.waits("c1")
        await stopped(house.proxy)
        await house.proxy.start()
        await house.proxy.approve(await house.proxy.interruption(shown.id))

        assert await room.output("c1") == f"write_thing done: {name}"
    assert len(room.told("tool_approval_required", "c1")) == 1
    assert house.spy.executed("write_thing", {"name": name}) == 1


@pytest.mark.parametrize(
    ("kind", "started", "problem", "expected"),
    [
        (CallKind.MCP, False, ProxyUnreachable("gone", sent=True), "OUTCOME UNKNOWN"),
        (CallKind.MCP, False, ProxyUnreachable("gone", sent=False), "NOT EXECUTED"),
        (CallKind.MCP, False, ProxyError("no answer of ours", reason="malformed", status=200), "OUTCOME UNKNOWN"),
        (CallKind.MCP, False, ProxyError("who are you", reason="unauthorized", status=401), "NOT EXECUTED"),
        (CallKind.MCP, False, ProxyError("another call", reason="call_id_reused"), "NOT EXECUTED"),
        (CallKind.MCP, False, UserError("no proxy"), "NOT EXECUTED"),
        (CallKind.MCP, False, RuntimeError("of a hook"), "OUTCOME UNKNOWN"),
        (CallKind.FUNCTION, True, RuntimeError("of a hook"), "OUTCOME UNKNOWN"),
        (CallKind.FUNCTION, False, ProxyUnreachable("gone", sent=True), "NOT EXECUTED"),
    ],
    ids=["lost", "unsent", "unreadable", "unknown-agent", "reused", "no-proxy", "hook", "begun", "unasked"],
)
def test_a_call_that_is_given_up_says_whether_it_may_have_run(
    kind: CallKind, started: bool, problem: Exception, expected: str
) -> None:
    item = {"type": "function_call", "call_id": "c1", "name": "it", "arguments": "{}"}
    call = CallData(
        call_id="c1", key="c1", kind=kind, name="it", server="s", tool="it", arguments="{}", agent="Voice", item=item
    )
    live = LiveCall(item, Agent("Voice"), call, started=started)
    live.repeated = may_have_run(live, call, problem)
    assert last_words(live, call).startswith(expected)


async def test_a_call_that_comes_while_the_proxy_is_away_runs_once_it_is_back(house: Stage) -> None:
    name = thing()

    @function_tool
    def look_around(name: str) -> str:
        """Looks."""
        return name

    async with opened(voice(house, tools=[look_around])) as room:
        await stopped(house.proxy)
        room.call(READ, "c1", name=name)
        room.call("look_around", "c2", name="here")
        assert await room.output("c2") == "here"
        error = (await room.heard("error", "c1")).error
        assert isinstance(error, ProxyUnreachable)
        assert not error.sent

        await house.proxy.start()
        assert await room.output("c1") == f"read_thing done: {name}"
    assert len(room.told("error")) == 1
    assert house.spy.executed("read_thing", {"name": name}) == 1


async def test_an_allowed_call_whose_answer_is_lost_with_the_proxy_is_not_sent_again(house: Stage) -> None:
    never = str(house.folder / "never")
    async with opened(voice(house)) as room:
        room.call("things__slow", "c1", until=never)
        await house.spy.until_executed("slow")
        await house.proxy.kill9()
        await house.proxy.start()
        assert "OUTCOME UNKNOWN" in await room.output("c1")
    assert house.spy.executed("slow") == 1


async def test_a_call_that_nobody_decides_about_in_time_ends_as_expired(house: Stage) -> None:
    async with opened(voice(house)) as room:
        room.call("things__destroy_thing", "c1", name=thing())
        await room.waits("c1")
        end = await room.heard("tool_end", "c1")

    assert "EXPIRED" in end.output
    assert end.interruption.status == "expired"
    assert house.spy.executed("destroy_thing") == 0


async def test_an_agent_that_the_proxy_does_not_know_calls_nothing(house: Stage) -> None:
    agent: Agent[Any] = Agent("Voice", proxy=ApprovalProxy(house.proxy.base, token="nobody-knows-this-token-at-all"))
    async with opened(agent) as room:
        room.call(WRITE, "c1", name=thing())
        assert "NOT EXECUTED" in await room.output("c1")

    [error] = room.told("error")
    assert isinstance(error.error, ProxyError)
    assert error.error.status == 401


# -- the end


async def test_a_tool_that_runs_when_the_session_ends_is_unknown_at_the_proxy(stage: Stage, tmp_path: Path) -> None:
    agent = agent_in(stage.proxy.base, tmp_path)
    async with opened(agent) as room:
        room.call("write_long", "c1", name="a")
        room.call(WRITE, "c2", name=thing())
        shown, other = await room.waits("c1"), await room.waits("c2")
        await stage.proxy.approve(await stage.proxy.interruption(shown.id))
        await until(lambda: ledger(tmp_path), "the tool to begin")

    assert (await stage.proxy.interruption(shown.id))["state"] == "unknown"
    assert (await stage.proxy.interruption(other.id))["state"] == "pending"
    last = room.events[-1]
    assert (last.status, [each.id for each in last.interruptions]) == ("closed", [other.id])
    assert room.told("tool_end") == []

    async with opened(agent, state=room.session.to_state()) as again:
        assert "OUTCOME UNKNOWN" in await again.output("c1")
        assert (await again.waits("c2")).id == other.id
    assert ledger(tmp_path) == ["a"]


async def test_a_session_that_is_cancelled_from_outside_says_what_is_unknown(stage: Stage, tmp_path: Path) -> None:
    agent = agent_in(stage.proxy.base, tmp_path)
    waiting: list[Any] = []
    with anyio.CancelScope() as scope:
        async with RealtimeSession(agent, run_id=run_id()) as session:
            session.tool_called("c1", "write_long", '{"name": "a"}')
            async for event in session:
                if event.type == "tool_approval_required":
                    waiting.append(event.interruption)
                    await stage.proxy.approve(await stage.proxy.interruption(event.interruption.id))
                if event.type == "tool_start":
                    await until(lambda: ledger(tmp_path), "the tool to begin")
                    scope.cancel()

    assert scope.cancelled_caught
    [shown] = waiting
    assert (await stage.proxy.interruption(shown.id))["state"] == "unknown"


async def test_what_the_block_raises_comes_out_as_it_is(stage: Stage) -> None:
    session = RealtimeSession(voice(stage))

    async def block() -> None:
        async with session:
            session.tool_called("c1", READ, "{}")
            raise LookupError("of the program")

    with pytest.raises(LookupError, match="of the program"):
        await block()
    assert [event.type async for event in session][-1] == "session_ended"


async def test_a_state_that_cannot_be_kept_ends_the_session(stage: Stage) -> None:
    name, saved = thing(), list[str]()

    def full(state: RunState) -> None:
        saved.append(state.to_string())
        if len(saved) > 1:
            raise OSError("the disk is full")

    session = RealtimeSession(voice(stage), on_state=full)

    async def block() -> None:
        async with session:
            session.tool_called("c1", READ, f'{{"name": "{name}"}}')
            await anyio.sleep_forever()

    with pytest.raises(OSError, match="the disk is full"):
        await block()
    events = [event async for event in session]
    assert [event.type for event in events] == ["session_ended"]
    assert [event.status for event in events if event.type == "session_ended"] == ["failed"]
    assert len(saved) == 2
    assert stage.spy.executed("read_thing", {"name": name}) == 0


async def test_a_session_that_is_not_open_refuses_calls(stage: Stage) -> None:
    session = RealtimeSession(voice(stage))
    with pytest.raises(UserError, match="not entered"):
        session.tool_called("c1", READ, "{}")
    async with session:
        await session.close()
        await session.close()
        with pytest.raises(UserError, match="closed"):
            session.tool_called("c1", READ, "{}")
    with pytest.raises(UserError, match="entered once"):
        async with session:
            raise AssertionError("entered")
    assert [event.type async for event in session] == ["session_ended"]


async def test_calls_are_refused_while_nobody_reads(stage: Stage) -> None:
    async with RealtimeSession(voice(stage), max_unread=2) as session:
        session.tool_called("c1", READ, "{}")
        await ended(session)
        with pytest.raises(UserError, match="2 events of this session are unread"):
            session.tool_called("c2", READ, "{}")
        assert [(await anext(session)).type for _ in range(2)] == ["tool_start", "tool_end"]


async def test_events_have_one_reader_at_a_time(stage: Stage) -> None:
    async with opened(voice(stage)) as room:
        room.call(READ, "c1", name=thing())
        await room.output("c1")
        with pytest.raises(UserError, match="read by another task"):
            await anext(room.session)
        room.call(READ, "c2", name=thing())
        await room.output("c2")


def test_tools_that_realtime_models_cannot_call_are_refused() -> None:
    shell = ShellTool(executor=lambda context, action: "")
    inner: Agent[Any] = Agent("Inner", tools=[shell])
    with pytest.raises(UserError, match="`shell`, which realtime models cannot call"):
        RealtimeSession(Agent("Voice", handoffs=[inner]))
    RealtimeSession(Agent("Voice", tools=[inner.as_tool()]))


# -- going on


async def test_an_end_that_was_not_read_is_told_by_the_session_that_goes_on(stage: Stage) -> None:
    name, agent = thing(), voice(stage)
    async with RealtimeSession(agent, run_id=run_id()) as session:
        session.tool_called("c1", READ, f'{{"name": "{name}"}}')
        await ended(session)
        state = session.to_state()

    async with opened(agent, state=await RunState.from_string(agent, state.to_string())) as again:
        end = await again.heard("tool_end", "c1")
        assert end.output == f"read_thing done: {name}"
        assert end.call_item["arguments"] == f'{{"name": "{name}"}}'
        await until(lambda: not again.session.to_state().data.calls, "the call to be history")

    async with opened(agent, state=again.session.to_state()) as third:
        with pytest.raises(ModelBehaviorError, match="used before"):
            third.call(READ, "c1", name=name)
    assert third.kinds() == [("session_ended", None)]
    assert stage.spy.executed("read_thing", {"name": name}) == 1


async def test_two_sessions_that_go_on_from_one_state_run_a_call_once(stage: Stage) -> None:
    name, agent = thing(), voice(stage)
    async with opened(agent) as room:
        room.call(WRITE, "c1", name=name)
        shown = await room.waits("c1")
    text = room.session.to_state().to_string()

    async def gone_on() -> Room:
        async with opened(agent, state=await RunState.from_string(agent, text)) as again:
            await again.waits("c1")
            arrived.append(again)
            await until(lambda: len(arrived) == 2, "the other session")
            await stage.proxy.approve(await stage.proxy.interruption(shown.id))
            outputs.append(await again.output("c1"))
        return again

    arrived, outputs = list[Room](), list[str]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gone_on)
        tasks.start_soon(gone_on)
    assert outputs == [f"write_thing done: {name}"] * 2
    assert stage.spy.executed("write_thing", {"name": name}) == 1


async def test_a_state_is_gone_on_from_by_the_agent_and_run_that_it_is_of(stage: Stage) -> None:
    agent = voice(stage)
    async with opened(agent) as room:
        room.call(WRITE, "c1", name=thing())
        await room.waits("c1")
    state = room.session.to_state()

    with pytest.raises(UserError, match="leave `run_id` out"):
        RealtimeSession(agent, state=state, run_id="another")
    with pytest.raises(UserError, match="began with agent"):
        RealtimeSession(agent.clone(name="Other"), state=state)
    with pytest.raises(UserError, match="no proxy"):
        async with RealtimeSession(agent.clone(proxy=None), state=state):
            raise AssertionError("entered")


async def test_a_decision_that_a_state_brings_along_is_sent_first(stage: Stage) -> None:
    name, agent = thing(), voice(stage, approver=True)
    async with opened(agent) as room:
        room.call(WRITE, "c1", name=name)
        await room.waits("c1")
    state = room.session.to_state()
    state.approve(state.get_interruptions()[0])
    async with opened(agent, state=state) as again:
        assert await again.output("c1") == f"write_thing done: {name}"
    assert again.told("tool_approval_required") == []
    assert stage.spy.executed("write_thing", {"name": name}) == 1


# -- killed


def program(stage: Stage, folder: Path, run: str, *calls: str) -> Any:
    """A process with a session."""
    return running(
        kit_command("runner.realtime_program", stage.proxy.base, run, str(folder), *calls), env=kit_environment()
    )


async def test_calls_that_waited_are_found_again_after_a_kill_and_run_once(stage: Stage, tmp_path: Path) -> None:
    run = run_id()
    with program(stage, tmp_path, run, f"c1={WRITE}", f"c2={WRITE}") as process:
        for call_id in ("c1", "c2"):
            await process.until_said(f"tool_approval_required {call_id}")
        await process.kill9()
    records = {record["requested_by"]["call_id"]: record for record in await stage.proxy.interruptions(run_id=run)}
    await stage.proxy.approve(records["c1"])

    with program(stage, tmp_path, run) as process:
        await process.until_said("tool_end c1")
        await process.until_said("tool_approval_required c2")
        await process.kill9()
    assert stage.spy.executed("write_thing", {"name": f"{run}-c1"}) == 1

    agent = agent_in(stage.proxy.base, tmp_path)
    store = SQLiteRunStore(tmp_path / "runs.db")
    state = await store.load(agent, run)
    async with opened(agent, state=state, on_state=store.save) as room:
        assert (await room.waits("c2")).id == records["c2"]["id"]
        await stage.proxy.approve(records["c2"])
        assert await room.output("c2") == f"write_thing done: {run}-c2"
    store.close()

    assert sorted(record["state"] for record in await stage.proxy.interruptions(run_id=run)) == ["executed"] * 2
    for call_id in ("c1", "c2"):
        assert stage.spy.executed("write_thing", {"name": f"{run}-{call_id}"}) == 1


async def test_tools_that_a_kill_stopped_are_not_run_again(stage: Stage, tmp_path: Path) -> None:
    run = run_id()
    with program(stage, tmp_path, run, "c1=look_long", "c2=write_long") as process:
        await process.until_said("tool_approval_required c2")
        [record] = await stage.proxy.interruptions(run_id=run)
        await stage.proxy.approve(record)
        await until(lambda: len(ledger(tmp_path)) == 2, "both tools to begin")
        await process.kill9()

    agent = agent_in(stage.proxy.base, tmp_path)
    store = SQLiteRunStore(tmp_path / "runs.db")
    async with opened(agent, state=await store.load(agent, run), on_state=store.save) as room:
        for call_id in ("c1", "c2"):
            assert "OUTCOME UNKNOWN" in await room.output(call_id)
    store.close()
    assert sorted(ledger(tmp_path)) == [f"{run}-c1", f"{run}-c2"]
    assert (await stage.proxy.interruption(record["id"]))["state"] == "unknown"


async def test_of_two_processes_that_go_on_the_second_is_told_so(stage: Stage, tmp_path: Path) -> None:
    run = run_id()
    with program(stage, tmp_path, run, f"c1={WRITE}") as process:
        await process.until_said("tool_approval_required c1")
        await process.kill9()
    agent = agent_in(stage.proxy.base, tmp_path)
    store = SQLiteRunStore(tmp_path / "runs.db")
    one, two = await store.load(agent, run), await store.load(agent, run)
    tried = anyio.Event()
    saved = 0

    async def save_one(state: RunState) -> None:
        nonlocal saved
        saved += 1
        if saved > 1:
            await tried.wait()  # so that both are at the same point when the second comes
        await store.save(state)

    async with opened(agent, state=one, on_state=save_one) as room:
        with pytest.raises(StateSuperseded):
            async with RealtimeSession(agent, state=two, on_state=store.save):
                raise AssertionError("entered")
        tried.set()
        await room.waits("c1")
    store.close()
