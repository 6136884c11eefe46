"""What servers offer is found out by really asking them, and none of them can spoil it for the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from gate.scripted import scripted, tool
from gate.upstream.harness import Notes, http_server
from holdshort.config import Config, load_config
from holdshort.server.survey import Survey, survey
from kit.process import alive
from kit.spy import SpyRecord

ALL_SPY_TOOLS = ["read_thing", "write_thing", "destroy_thing", "slow", "echo", "crash", "progress"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def config_of(folder: Path, **servers: Any) -> Config:
    limits = servers.pop("limits", {})
    (folder / "holdshort.yaml").write_text(json.dumps({"mcpServers": servers, "limits": limits}))
    return load_config(folder / "holdshort.yaml", {})


def names(found: Survey) -> list[str]:
    return [each["name"] for each in found.tools]


@pytest.mark.parametrize("eras", ["legacy", "modern", "legacy,modern"])
async def test_a_command_is_asked_in_its_era_and_stopped(tmp_path: Path, eras: str) -> None:
    spy = SpyRecord(tmp_path / "spy.jsonl")
    command, *arguments = spy.command("--eras", eras)

    found = await survey(config_of(tmp_path, s={"command": command, "args": arguments}), Notes())

    assert names(found["s"]) == ALL_SPY_TOOLS
    assert found["s"].error is None
    assert found["s"].definitions[0].facts.read_only
    assert [pid for pid in spy.pids() if alive(pid)] == []
    assert len(spy.pids()) > 0


@pytest.mark.parametrize("eras", [{"legacy"}, {"modern"}], ids="-".join)
async def test_every_page_of_a_hosted_server_is_read(tmp_path: Path, eras: set[str]) -> None:
    tools = [tool(f"t{number}") for number in range(7)]
    async with scripted(eras=eras, tools=tools, page=3) as server:
        found = await survey(config_of(tmp_path, s=server.config()), Notes())

    assert names(found["s"]) == [f"t{number}" for number in range(7)]
    assert found["s"].protocol == ("2025-11-25" if eras == {"legacy"} else "2026-07-28")


async def test_a_server_of_the_2024_transport_is_asked(tmp_path: Path) -> None:
    async with http_server("sdk_http.py", "--sse") as port:
        url = f"http://127.0.0.1:{port}/sse"
        found = await survey(config_of(tmp_path, s={"type": "sse", "url": url}), Notes())

    assert names(found["s"]) == ["echo", "steps", "wait", "ask"]
    assert found["s"].name == "sdk"


async def test_what_a_server_says_of_itself_is_kept(tmp_path: Path) -> None:
    async with scripted(eras={"legacy"}, label="tickets", instructions="Search first.") as server:
        found = await survey(config_of(tmp_path, s=server.config()), Notes())

    assert (found["s"].name, found["s"].version, found["s"].instructions) == ("tickets", "1", "Search first.")


async def test_hints_of_a_server_that_is_not_trusted_do_not_count(tmp_path: Path) -> None:
    async with scripted(tools=[tool("read", read_only=True)]) as server:
        config = config_of(tmp_path, s={**server.config(), "trust_annotations": False})
        found = await survey(config, Notes())

    assert not found["s"].definitions[0].facts.read_only


async def test_one_that_fails_is_an_entry_and_the_others_are_asked(tmp_path: Path) -> None:
    async with scripted() as good, scripted(deaf=True) as deaf:
        config = config_of(
            tmp_path,
            none={"command": "/no/such/command"},
            deaf=deaf.config(),
            dies={"command": "/bin/sh", "args": ["-c", "exit 3"]},
            good=good.config(),
        )
        told: list[str] = []
        found = await survey(config, Notes(), seconds=1, on_done=lambda one: told.append(one.server))

    assert list(found) == ["none", "deaf", "dies", "good"]
    assert sorted(told) == sorted(found)
    assert names(found["good"]) == ["read", "write", "destroy"]
    assert {label: one.error is None for label, one in found.items()} == {
        "none": False,
        "deaf": False,
        "dies": False,
        "good": True,
    }
    assert "was not found" in str(found["none"].error)
    assert "within 1 seconds" in str(found["deaf"].error)


async def test_servers_are_asked_at_the_same_time(tmp_path: Path) -> None:
    async with scripted(deaf=True) as first, scripted(deaf=True) as second, scripted(deaf=True) as third:
        config = config_of(tmp_path, a=first.config(), b=second.config(), c=third.config())
        with anyio.fail_after(6):
            found = await survey(config, Notes(), seconds=2.5)

    assert all(one.error for one in found.values())


async def test_only_the_named_servers_are_asked(tmp_path: Path) -> None:
    async with scripted() as asked, scripted() as left_alone:
        config = config_of(tmp_path, a=asked.config(), b=left_alone.config())
        found = await survey(config, Notes(), ["a"])

        assert list(found) == ["a"]
        assert left_alone.received == []


async def test_a_child_that_never_answers_is_stopped(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    hangs = {"command": "/bin/sh", "args": ["-c", f"echo $$ > {pid_file}; exec sleep 600"]}

    found = await survey(config_of(tmp_path, s=hangs), Notes(), seconds=1)

    assert found["s"].error is not None
    assert not alive(int(pid_file.read_text()))


async def test_the_limits_of_lists_hold_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    async with scripted(tools=[tool("ok"), tool("not a name")]) as server:
        found = await survey(config_of(tmp_path, s=server.config()), Notes())

    assert names(found["s"]) == ["ok"]
    assert list(found["s"].left_out.values()) == [("not a name",)]


async def test_a_server_without_tools_has_none(tmp_path: Path) -> None:
    async with scripted(tools=[]) as server:
        found = await survey(config_of(tmp_path, s=server.config()), Notes())

    assert (found["s"].tools, found["s"].error) == ([], None)
