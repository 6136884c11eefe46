"""What a reload compares, and how files are watched; the stories are in `tests/flows/test_reloads.py`."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from holdshort.config import AgentConfig, ApproverConfig, Config, HoldConfig, LimitsConfig, Listen, ServerConfig
from holdshort.config.reading import stamp_of
from holdshort.policy import compile_policy
from holdshort.server.file_watch import FileWatch
from holdshort.server.reloading import changed_keys

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


async def test_who_asks_need_not_wait_for_a_change(tmp_path: Path) -> None:
    watch = FileWatch({tmp_path / "none.yaml": None})
    watch.ask()

    with anyio.fail_after(5):
        assert await watch.changed() is True
