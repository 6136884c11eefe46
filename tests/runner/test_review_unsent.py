"""What was certainly not begun is not unknown: it is begun when the run is gone on with."""

from __future__ import annotations

import socket
from typing import Any

import anyio
import anyio.to_thread
import pytest

from holdshort.runner import ApprovalProxy, ProxyUnreachable, RunConfig, Runner, RunState, function_tool
from kit.ports import free_port
from kit.proxy import AGENT_TOKEN
from kit.responses_script import Call, Script, Text, Turn
from runner.conftest import Open
from runner.deciding import decided_all
from runner.stage import Stage
from runner.test_loop import READ, thing


async def test_an_allowed_call_that_never_left_is_made_when_the_proxy_is_back(
    play: Open, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdshort.runner.kinds.mcp._PAUSES", ())
    name = thing()
    async with play([Turn(Call(READ, {"name": name}, "c1")), Turn(Text("done"))]) as one:
        agent = one.agent()
        saved: list[RunState] = []

        class Gone(Exception):
            pass

        def until_called(state: RunState) -> None:
            saved.append(state)
            if state.data.calls:
                raise Gone

        with pytest.raises(Gone):
            await Runner.run(agent, "Go.", client=one.client, on_state=until_called)
        away = ApprovalProxy(f"http://127.0.0.1:{free_port()}", token=AGENT_TOKEN)
        text = saved[-1].to_string()
        listed = await one.stage.approval_proxy().open()
        tools = await listed.tools()
        await listed.close()
        state = await RunState.from_string(agent, text, proxy=_Lists(away, tools))
        with pytest.raises(ProxyUnreachable) as raised:
            await one.run(agent, state)
        assert not raised.value.sent
        assert raised.value.state is not None
        later = await RunState.from_string(agent, raised.value.state.to_string())
        assert (await one.run(agent, later)).final_output == "done"
        assert stage.spy.executed("read_thing", {"name": name}) == 1


class _Lists(ApprovalProxy):
    """A proxy that went away after its tools were listed."""

    def __init__(self, away: ApprovalProxy, tools: Any) -> None:
        super().__init__(away.url, token=AGENT_TOKEN, ask_about=away.ask_about)
        self._listed = tools

    async def open(self) -> Any:
        link = await super().open()
        link._tools, link._read_at = self._listed, anyio.current_time()  # pyright: ignore[reportPrivateUsage]
        return link


async def test_a_function_that_could_not_be_asked_about_runs_when_the_proxy_is_back(play: Open) -> None:
    done: list[str] = []

    @function_tool
    def look_at(name: str) -> str:
        """Look."""
        done.append(name)
        return "fine"

    async with play([Turn(Call("look_at", {"name": "x"}, "c1")), Turn(Text("done"))]) as one:
        away = ApprovalProxy(f"http://127.0.0.1:{free_port()}", token=AGENT_TOKEN, ask_about="all")
        agent = one.agent(tools=[look_at], proxy=_Lists(away, []))
        with pytest.raises(ProxyUnreachable) as raised:
            await one.run(agent, "Go.")
        assert raised.value.state is not None
        agent.proxy = one.stage.approval_proxy(ask_about="all")
        later = await RunState.from_string(agent, raised.value.state.to_string())
        result = await one.run(agent, later)
        if result.interruptions:
            await decided_all(one)
            result = await one.again(agent, result)
        assert (result.final_output, done) == ("done", ["x"])


async def test_calls_whose_turn_never_came_are_made_after_a_hard_stop(play: Open) -> None:
    done: list[str] = []
    first = anyio.Event()

    @function_tool
    async def slow(name: str) -> str:
        """Take long."""
        done.append(name)
        if len(done) == 1:
            first.set()
            await anyio.sleep_forever()
        return "fine"

    calls = Turn(*[Call("slow", {"name": name}, name) for name in ("c1", "c2", "c3")])
    async with play(Script([calls, Turn(Text("done"))], pick="history")) as one:
        agent = one.agent(tools=[slow])
        config = RunConfig(max_parallel_tools=1)
        streamed = Runner.run_streamed(agent, "Go.", client=one.client, run_config=config)
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                with anyio.fail_after(10):
                    await first.wait()
                streamed.cancel()

            tasks.start_soon(stop)
            async for _ in streamed.stream_events():
                pass
        state = await RunState.from_string(agent, streamed.to_state().to_string())
        assert (await one.run(agent, state)).final_output == "done"
        assert done == ["c1", "c2", "c3"]
        outputs = one.last_outputs()
        assert "OUTCOME UNKNOWN" in outputs["c1"]
        assert (outputs["c2"], outputs["c3"]) == ("fine", "fine")


async def test_a_hard_stop_does_not_wait_for_a_proxy_that_says_nothing(play: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = ApprovalProxy(f"http://127.0.0.1:{mute.getsockname()[1]}", token=AGENT_TOKEN)
        async with play([Turn(Text("done"))]) as one:
            streamed = Runner.run_streamed(one.agent(proxy=silent), "Go.", client=one.client)
            async with anyio.create_task_group() as tasks:

                async def stop() -> None:
                    heard, _ = await anyio.to_thread.run_sync(mute.accept)
                    streamed.cancel()
                    with anyio.fail_after(10):
                        await ended.wait()
                    heard.close()

                ended = anyio.Event()
                tasks.start_soon(stop)
                async for _ in streamed.stream_events():
                    pass
                ended.set()
            assert streamed.cancelled
            assert one.model.asked == []
