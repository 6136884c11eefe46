"""Every example of the runner does what its README says, by the commands of its README."""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.models import telling
from examples.terminals import EXAMPLES, Example, Terminal
from kit.missing import require
from kit.venvs import OPENAI_AGENTS, side_python

pytestmark = pytest.mark.timeout(120)

Open = Callable[[str], Example]

NOON = {"source_timezone": "Europe/Madrid", "time": "12:00", "target_timezone": "Asia/Tokyo"}
LIMA = {**NOON, "target_timezone": "America/Lima"}
NOON_CALL = {"call": "clock__convert_time", "arguments": NOON, "call_id": "call_1"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def example(tmp_path: Path) -> Open:
    """Opens a copy of an example."""
    return lambda name: Example(name, tmp_path)


async def post_unsigned(address: str, record: dict[str, str]) -> httpx2.Response:
    """A webhook of somebody who does not have the secret."""
    headers = {
        "webhook-id": "event-1",
        "webhook-timestamp": f"{time.time():.0f}",
        "webhook-signature": "v1,bm90IG9uZQ==",
    }
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.post(address, json={"type": "interruption", "data": record}, headers=headers)


async def test_08_a_person_at_the_terminal_lets_one_call_run_and_not_the_other(example: Open) -> None:
    terminal = example("08-runner-terminal")
    serve, run_agent = terminal.blocks
    turns = ([NOON_CALL, {"call": "clock__convert_time", "arguments": LIMA, "call_id": "call_2"}], [{"text": "19:00."}])

    async with telling(terminal, *turns) as model:
        with terminal.started(serve) as proxy:
            await proxy.until_answers(f"{terminal.base}/readyz")
            with terminal.typing(run_agent) as person:
                await person.until_said("Clock wants clock__convert_time")
                await person.until_said("Asia/Tokyo")
                await person.until_said("Let it run? [y/n] ")
                person.type("y\n")
                await person.until_said("America/Lima")
                await person.until_said("Let it run? [y/n] ")
                person.type("n\n")
                await person.until_said("Why not? ")
                person.type("nobody is there\n")
                await person.until_said("19:00.")
                person.read_to_end()
                assert person.wait() == 0
        told = await model.outputs()

    assert list(told) == ["call_1", "call_2"]
    assert '"timezone": "Asia/Tokyo"' in told["call_1"]
    assert "REJECTED" in told["call_2"]
    assert "nobody is there" in told["call_2"]


async def test_09_a_killed_agent_is_started_again_and_commits_once(example: Open) -> None:
    killed = example("09-runner-killed-between")
    serve, run_agent, kill_and_approve, run_again = killed.blocks
    status = {"call": "git__git_status", "arguments": {"repo_path": "repo"}, "call_id": "call_1"}
    commit = {
        "call": "git__git_commit",
        "arguments": {"repo_path": "repo", "message": "Say hello"},
        "call_id": "call_2",
    }

    async with telling(killed, [status], [commit], [{"text": "Committed."}], pick="history") as model:
        with killed.started(serve) as proxy:
            await proxy.until_answers(f"{killed.base}/readyz")
            with killed.started(run_agent) as agent:
                parked = await killed.asked(agent)
                pid = (await agent.until_said(r"in process (\d+)"))[1]
                await killed.at_a_terminal(kill_and_approve, "y\n", ID=parked, PID=pid)
                assert await agent.until_exit() != 0
            asked_before = len(await model.asked())
            said = await killed.run(run_again)
            log = await killed.run("holdshort log tail --json --interruption $ID --state-dir state", ID=parked)
        asked = await model.asked()

    assert "going on with run-" in said
    assert "Committed." in said
    assert said.splitlines()[-1].endswith(" Say hello")
    assert len([line for line in said.splitlines() if line.endswith("Say hello")]) == 1
    assert (asked_before, len(asked)) == (2, 3)
    assert [json.loads(line)["kind"] for line in log.splitlines()].count("intent") == 1
    assert not (killed.folder / "run.json").exists()


async def test_10_a_webhook_takes_a_run_on_in_an_app_that_was_started_since(example: Open) -> None:
    webhook = example("10-runner-webhook")
    serve, run_relay, run_app, ask, approve = webhook.blocks
    call = {"call": "clock__get_current_time", "arguments": {"timezone": "Asia/Tokyo"}, "call_id": "call_1"}
    app_address = f"http://127.0.0.1:{webhook.app_port}"

    async with telling(webhook, [call], [{"text": "It is late in Tokyo."}]) as model:
        with webhook.started(serve) as proxy, webhook.started(run_relay):
            await proxy.until_answers(f"{webhook.base}/readyz")
            with webhook.started(run_app) as app:
                await app.until_answers(app_address)
                answered = await webhook.run(ask)
                await app.kill9()
            [parked] = re.findall(
                r"^waiting: clock__get_current_time \(interruption (i-\S+)\)$", answered, re.MULTILINE
            )
            with webhook.started(run_app) as app:
                await app.until_answers(app_address)
                forged = await post_unsigned(f"{app_address}/webhook", {"id": parked, "state": "approved"})
                await webhook.at_a_terminal(approve, "y\n", ID=parked)
                await app.until_said(r"^It is late in Tokyo\.$")
        told = await model.outputs()
        asked = await model.asked()

    assert (forged.status_code, forged.text) == (400, "the event is refused: no matching signature found\n")
    assert len(asked) == 2
    assert '"timezone": "Asia/Tokyo"' in told["call_1"]


async def test_11_a_streamed_run_tells_of_its_pause_and_streams_on(example: Open) -> None:
    streaming = example("11-runner-streaming")
    serve, run_agent, approve = streaming.blocks

    async with telling(streaming, [NOON_CALL], [{"text": "It is 19:00 in Tokyo."}]) as model:
        with streaming.started(serve) as proxy:
            await proxy.until_answers(f"{streaming.base}/readyz")
            with streaming.started(run_agent) as agent:
                parked = await streaming.asked(agent)
                await streaming.at_a_terminal(approve, "y\n", ID=parked)
                assert await agent.until_exit() == 0, agent.told()
        asked = await model.asked()

    assert [line.split("]")[0].lstrip("[") for line in agent.stdout_lines if line.startswith("[")] == [
        "Clock has the turn",
        "tool_called",
        "waiting",
        "waiting",
        "Clock has the turn",
        "tool_output",
        "message_output_created",
        "done",
    ]
    assert f"/review/{parked}" in "\n".join(agent.stdout_lines)
    assert "It is 19:00 in Tokyo." in "\n".join(agent.stdout_lines)
    assert [body["stream"] for body in asked] == [True, True]


async def test_12_a_call_of_an_inner_agent_waits_outside_with_its_path(example: Open) -> None:
    nested = example("12-runner-nested-agent")
    serve, run_agent, approve = nested.blocks
    turns = (
        [{"call": "ask_clock", "arguments": {"input": "Noon in Madrid, in Tokyo?"}, "call_id": "call_1"}],
        [NOON_CALL],
        [{"text": "19:00"}],
        [{"text": "Aiko dials in at 19:00."}],
    )

    async with telling(nested, *turns) as model:
        with nested.started(serve) as proxy:
            await proxy.until_answers(f"{nested.base}/readyz")
            with nested.started(run_agent) as agent:
                parked = await nested.asked(agent)
                shown = await nested.at_a_terminal(approve, "y\n", ID=parked)
                assert await agent.until_exit() == 0, agent.told()
        told = await model.outputs()

    assert agent.said(r"^Planner > Clock wants clock__convert_time ")
    assert "(Planner > Clock)" in shown
    assert told == {"call_1": "19:00"}
    assert agent.stdout_lines[-2:] == ["Aiko dials in at 19:00.", "requests to the model: 4"]


async def test_13_all_kinds_of_tools_go_by_one_policy_and_one_log(example: Open) -> None:
    mixed = example("13-runner-mixed-tools")
    serve, run_agent, approve, look = mixed.blocks
    note = {"to": "ben@elsewhere.example", "text": "three files"}
    own_note = {"to": "ana@example.com", "text": "busy"}
    turns: tuple[list[dict[str, Any]], ...] = (
        [{"call": "transfer_to_operator", "arguments": {}, "call_id": "call_0"}],
        [
            {"call": "clock__get_current_time", "arguments": {"timezone": "UTC"}, "call_id": "call_1"},
            {"shell": ["ls *.yaml | wc -l"], "call_id": "call_2"},
            {"call": "send_note", "arguments": note, "call_id": "call_3"},
            {"call": "send_note", "arguments": own_note, "call_id": "call_4"},
            {"call": "forget_note", "arguments": {"to": "ana@example.com"}, "call_id": "call_5"},
        ],
        [{"text": "Sent."}],
    )

    async with telling(mixed, *turns) as model:
        with mixed.started(serve) as proxy:
            await proxy.until_answers(f"{mixed.base}/readyz")
            with mixed.started(run_agent) as agent:
                shell = (await agent.until_said(r"Operator wants shell .*interruption (i-\S+)\)"))[1]
                to_ben = (await agent.until_said(r"Operator wants function send_note .*interruption (i-\S+)\)"))[1]
                for parked in (shell, to_ben):
                    await mixed.at_a_terminal(approve, "y\n", ID=parked)
                assert await agent.until_exit() == 0, agent.told()
            log = await mixed.run(look)
        told = await model.outputs()

    assert (mixed.folder / "sent.txt").read_text().splitlines() == [
        "ana@example.com: busy",
        "ben@elsewhere.example: three files",
    ]
    assert '"timezone": "UTC"' in told["call_1"]
    assert told["call_2"][0]["stdout"].strip() == "2"
    assert (told["call_3"], told["call_4"]) == ("sent", "sent")
    assert "REFUSED BY POLICY" in told["call_5"]
    assert "shell" in log
    assert agent.said(r"^handoff_call_item Desk$")
    assert agent.stdout_lines[-1] == "Sent."


def ported(name: str) -> list[str]:
    """The lines of a script of the example, without its first, which says what it is."""
    return (EXAMPLES / "14-port-from-agents-sdk" / name).read_text().splitlines()[1:]


async def at_the_desk(person: Terminal) -> None:
    """Both scripts ask the same, and are answered the same."""
    await person.until_said("Desk wants convert_time ")
    await person.until_said("Let it run? [y/n] ")
    person.type("y\n")
    await person.until_said("Desk wants send_note ")
    await person.until_said("Let it run? [y/n] ")
    person.type("n\n")
    await person.until_said("Not sent.")
    person.read_to_end()
    assert person.wait() == 0


PORTED_TURNS = (
    [{"call": "convert_time", "arguments": NOON, "call_id": "call_1"}],
    [{"call": "send_note", "arguments": {"to": "Aiko", "text": "19:00"}, "call_id": "call_2"}],
    [{"text": "Not sent."}],
)


async def test_14_a_script_of_the_agents_sdk_is_ported_by_its_imports_and_the_server(example: Open) -> None:
    port = example("14-port-from-agents-sdk")
    compare, serve, run_agent, _ = port.blocks

    compared = await port.run(compare)
    async with telling(port, *PORTED_TURNS) as model:
        with port.started(serve) as proxy:
            await proxy.until_answers(f"{port.base}/readyz")
            with port.typing(run_agent) as person:
                await at_the_desk(person)
        told = await model.outputs()

    assert '"timezone": "Asia/Tokyo"' in told["call_1"]
    assert "The user says no." in told["call_2"]
    assert "require_approval" in compared
    gone, come = changed(ported("agents_sdk.py"), ported("agent.py"))
    about_the_server = re.compile(r"^(import|from) |MCPServerStdio|PARAMS|ApprovalProxy|URL|mcp_servers=|proxy=")
    assert [line for line in (*gone, *come) if not about_the_server.search(line)] == []
    assert (len(gone), len(come)) == (5, 5)


async def test_the_script_that_is_ported_is_one(example: Open, tmp_path: Path) -> None:
    """The text before runs too, on the OpenAI Agents SDK itself, and asks the same."""
    port = example("14-port-from-agents-sdk")
    python = require(lambda: side_python(OPENAI_AGENTS))
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "python").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (commands / "python").chmod(0o755)
    port.in_front_of(commands)
    port.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"  # it would send traces to OpenAI

    async with telling(port, *PORTED_TURNS) as model:
        with port.typing(port.blocks[3]) as person:
            await at_the_desk(person)
        told = await model.outputs()

    assert told["call_2"] == "The user says no."


async def test_examples_are_told_of_the_model_by_two_variables_alone(example: Open) -> None:
    """So a key is all that it takes to have the real one."""
    any_one = example("08-runner-terminal")
    before = dict(any_one.environ)

    async with telling(any_one) as model:
        set_for_it = {name: value for name, value in any_one.environ.items() if before.get(name) != value}

    assert set_for_it == {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": model.url}
    programs = [path.read_text() for path in EXAMPLES.glob("*-runner-*/*.py")]
    assert len(programs) >= 6
    assert [text for text in programs if re.search(r"OPENAI_|base_url|client=", text)] == []


def changed(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """The lines that are gone, and those that have come."""
    lines = [line for line in difflib.ndiff(before, after) if line[2:].strip()]
    return [line[2:] for line in lines if line[:2] == "- "], [line[2:] for line in lines if line[:2] == "+ "]
