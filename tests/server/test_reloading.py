"""What a reload compares, and how files are watched; the stories are in `tests/flows/test_reloads.py`."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from holdshort.config import (
    AgentConfig,
    ApproverConfig,
    Config,
    HoldConfig,
    LimitsConfig,
    Listen,
    ServerConfig,
    load_config,
)
from holdshort.config.reading import Reading, stamp_of
from holdshort.policy import Policy, compile_policy
from holdshort.server import reloading
from holdshort.server.clock import utc_now
from holdshort.server.file_watch import FileWatch
from holdshort.server.in_force import InForce
from holdshort.server.reloading import Reloader, changed_keys
from holdshort.store import open_store
from holdshort.store.faults import arm, disarm
from kit.process import until


class Silent:
    """A log that nobody reads."""

    def debug(self, event: str, /, **facts: Any) -> None:
        pass

    info = warning = error = debug


FILES = ServerConfig("files", "stdio", command="files", env={"KEY": "secret-one"})
RUNNING = Config(
    path=Path("holdshort.yaml"),
    servers=(FILES, ServerConfig("web", "http", url="https://web.example/mcp")),
    policy=compile_policy([]),
    agents=(AgentConfig("bot", "token-one"),),
    approvers=(ApproverConfig("ana", "token-two"),),
)


@pytest.mark.parametrize(
    ("found", "keys"),
    [
        (RUNNING, ()),
        (replace(RUNNING, servers=RUNNING.servers[::-1]), ()),
        (replace(RUNNING, notes=(), files={Path("x"): None}, loosens=frozenset({"0" * 12})), ()),
        (replace(RUNNING, limits=LimitsConfig(pending_expiry=5)), ()),
        (replace(RUNNING, limits=LimitsConfig(json_depth=5, keepalive=1)), ("limits.json_depth", "limits.keepalive")),
        (replace(RUNNING, servers=(FILES,)), ("mcpServers.web",)),
        (
            replace(RUNNING, servers=(replace(FILES, env={"KEY": "secret-two"}), *RUNNING.servers[1:])),
            ("mcpServers.files",),
        ),
        (replace(RUNNING, agents=(AgentConfig("bot", "token-three"),)), ("agents.bot",)),
        (replace(RUNNING, approvers=()), ("approvers.ana",)),
        (replace(RUNNING, listen=Listen(port=1), hold=HoldConfig(1)), ("listen", "hold")),
        (
            replace(RUNNING, approvals_listen=Listen(port=2), public_url="https://x.example"),
            ("approvals.listen", "approvals.public_url"),
        ),
    ],
)
def test_what_changed_beside_policy_is_named_by_key_and_never_by_value(found: Config, keys: tuple[str, ...]) -> None:
    assert changed_keys(RUNNING, found) == keys


async def test_a_change_is_taken_up_when_the_file_rests(tmp_path: Path) -> None:
    """While it is written, nobody reads it."""
    file = tmp_path / "policy.yaml"
    file.write_text("old")
    watch = FileWatch({file: stamp_of(file)})
    writing = True
    written = 0

    async def write() -> None:
        nonlocal written
        while writing:
            written += 1
            file.write_text("new" * written)
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        with anyio.move_on_after(1.5):
            await watch.changed()
            pytest.fail("it was taken up in the middle")
        writing = False
        with anyio.fail_after(5):
            assert await watch.changed() is False
    assert written > 10


async def test_a_change_between_reading_and_the_first_look_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("old")
    read = stamp_of(file)
    file.write_text("new")

    with anyio.fail_after(5):
        assert await FileWatch({file: read}).changed() is False


async def test_a_file_that_comes_and_one_that_goes_are_changes(tmp_path: Path) -> None:
    here, missing = tmp_path / "here.yaml", tmp_path / "missing.yaml"
    here.write_text("here")
    watch = FileWatch({here: stamp_of(here), missing: None})
    missing.write_text("come")
    with anyio.fail_after(5):
        await watch.changed()
    watch.was_read({})
    here.unlink()
    with anyio.fail_after(5):
        assert await watch.changed() is False


async def test_a_named_pipe_is_looked_at_without_waiting_for_a_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "policy.yaml"
    os.mkfifo(pipe)

    with anyio.fail_after(5):
        assert await anyio.to_thread.run_sync(stamp_of, pipe, abandon_on_cancel=True) is not None


def test_a_file_without_an_end_is_refused_and_not_read_into_memory() -> None:
    reading = Reading({})

    assert reading.document(Path("/dev/zero"), "policy.yaml") is None
    assert "it has more than" in reading.problems[0].message


ASK_X: dict[str, Any] = {"version": 1, "rules": [{"id": "x", "tools": "s__x", "action": "ask"}]}
ALLOW_X: dict[str, Any] = {"version": 1, "rules": [{"id": "x", "tools": "s__x", "action": "allow"}]}


@asynccontextmanager
async def reloads(folder: Path) -> AsyncGenerator[tuple[InForce, Callable[[dict[str, Any]], Awaitable[str]]]]:
    """What is in force, and how to write a layer and hear what became of it: `reload`, or why it was refused."""
    file, path = folder / "policy.yaml", folder / "holdshort.yaml"
    file.write_text(json.dumps(ASK_X))
    path.write_text(json.dumps({"version": 1, "mcpServers": {"s": {"command": "s"}}, "policy": ["policy.yaml"]}))

    def again(running: Config) -> Config:
        return load_config(path, {}, running=running)

    async def after(_: Policy, __: Policy) -> None:
        pass

    config = load_config(path, {})
    in_force = InForce(config.policy, utc_now())
    async with open_store(folder / "s", clock=utc_now, sweep=False) as store, anyio.create_task_group() as tasks:
        reloader = Reloader(config, again, in_force, store, utc_now, Silent(), after=after)
        tasks.start_soon(reloader.run)

        async def put(layer: dict[str, Any]) -> str:
            before = in_force.policy(), in_force.refusal
            file.write_text(json.dumps(layer))
            reloader.reload()
            await until(lambda: (in_force.policy(), in_force.refusal) != before, "the reload")
            return "reload" if in_force.refusal is None else in_force.refusal.problems[0]

        yield in_force, put
        tasks.cancel_scope.cancel()


async def test_one_line_permits_one_change(tmp_path: Path) -> None:
    """A way back to the policy that it names does not make it count once more."""
    async with reloads(tmp_path) as (in_force, put):
        line = {"loosens": in_force.policy().digest[:12]}
        assert "add this line" in await put(ALLOW_X)
        assert await put({**ALLOW_X, **line}) == "reload"
        assert await put({**ASK_X, **line}) == "reload"
        asking = in_force.policy()

        told = await put({**ALLOW_X, **line})
        assert "take it out" in told
        assert in_force.policy() is asking
        assert "add this line" in await put(ALLOW_X)
        assert await put({**ALLOW_X, **line}) == "reload"


@pytest.mark.parametrize("action", ["raise", "enospc", "eio"])
@pytest.mark.parametrize("point", ["policy.reload", "audit.append"])
async def test_a_policy_that_cannot_be_recorded_does_not_come_into_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, action: str
) -> None:
    monkeypatch.setattr(reloading, "_TRY_AGAIN_SECONDS", 0.2)
    async with reloads(tmp_path) as (in_force, put):
        before = in_force.policy()
        arm(f"{point}:1:{action}")
        told = await put({**ASK_X, "default": "deny"})
        while_it_failed = in_force.policy()
        disarm()
        await until(lambda: in_force.policy() is not before, "the next attempt")

        assert "cannot be recorded" in told
        assert while_it_failed is before
        assert in_force.refusal is None


async def test_files_that_cannot_be_read_in_time_keep_neither_policy_nor_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "_READ_SECONDS", 0.2)
    pipe, file = tmp_path / "policy.yaml", tmp_path / "other.yaml"
    async with reloads(tmp_path) as (in_force, put):
        before = in_force.policy()
        pipe.rename(file)
        os.mkfifo(pipe)
        config = json.loads((tmp_path / "holdshort.yaml").read_text())
        (tmp_path / "holdshort.yaml").unlink()
        os.mkfifo(tmp_path / "holdshort.yaml")
        await until(lambda: in_force.refusal is not None, "the files to be given up")
        told = in_force.refusal.problems if in_force.refusal is not None else ()
        # Whoever still reads the pipe is let go.
        os.close(os.open(tmp_path / "holdshort.yaml", os.O_RDWR | os.O_NONBLOCK))
        (tmp_path / "holdshort.yaml").unlink()
        pipe.unlink()
        (tmp_path / "holdshort.yaml").write_text(json.dumps(config))

        assert told == ("the files cannot be read within 0.2 seconds",)
        assert in_force.policy() is before
        assert await put({**ASK_X, "default": "deny"}) == "reload"


async def test_who_asks_need_not_wait_for_a_change(tmp_path: Path) -> None:
    watch = FileWatch({tmp_path / "none.yaml": None})
    watch.ask()

    with anyio.fail_after(5):
        assert await watch.changed() is True
