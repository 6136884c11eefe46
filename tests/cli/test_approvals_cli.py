"""Deciding from a terminal: against a real proxy's endpoint, through the command's own process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import anyio
import pytest

from approvals.site import ANA, BEN, Site, serving_site
from holdshort.interruption import State
from holdshort.policy import Terms
from kit.process import until_async

COMMAND = [sys.executable, "-c", "from holdshort.cli.approvals import app; app(prog_name='holdshort approvals')"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Desk:
    """A site, its announced state folder, and the command."""

    site: Site
    folder: Path

    async def run(self, *words: str, **environ: str) -> CompletedProcess[bytes]:
        """Run the command without a terminal."""
        with anyio.fail_after(30):
            return await anyio.run_process(
                [*COMMAND, *words], check=False, env=self.environ(**environ), stdin=subprocess.DEVNULL
            )

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDSHORT_")}
        return {**kept, "HOLDSHORT_STATE_DIR": str(self.folder), "COLUMNS": "200", "NO_COLOR": "1", **more}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    folder = tmp_path / "state"
    async with serving_site(folder) as site:
        (folder / "endpoint.json").write_text(json.dumps({"url": site.url, "pid": os.getpid()}))
        (folder / "approver-token").write_text(ANA + "\n")
        yield Desk(site, folder)


def said(done: CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


async def test_waiting_calls_are_listed_for_people_and_for_programs(desk: Desk) -> None:
    record = await desk.site.park(agent="bot [bold]x", tool="dele\u200bte")
    await desk.site.decide(await desk.site.park(), "reject")

    people, programs, everything = (
        await desk.run("list"),
        await desk.run("list", "--json"),
        await desk.run("list", "--state", "all", "--json"),
    )

    assert people.returncode == 0
    assert record.id in people.stdout.decode()
    assert "bot [bold]x" in people.stdout.decode()
    assert "dele<U+200B>te" in people.stdout.decode()
    assert json.loads(programs.stdout)["interruptions"] == [record.public()]
    assert len(json.loads(everything.stdout)["interruptions"]) == 2


async def test_nothing_waiting_is_said_and_is_no_failure(desk: Desk) -> None:
    done = await desk.run("list")

    assert (done.returncode, done.stdout, said(done)) == (0, b"", "nothing waits\n")


async def test_a_call_is_shown_whole_and_nothing_in_it_reaches_the_terminal(desk: Desk) -> None:
    long = "x" * 5000 + "END"
    record = await desk.site.park(
        arguments={"path": "a\u202eb", "note": "\x1b[2Jgone", "long": long, "n": {"deep": [1, 2]}, "empty": ""}
    )

    done = await desk.run("show", record.id)
    text = done.stdout.decode()

    assert done.returncode == 0
    for words in ("a<U+202E>b", "<U+001B ESC>[2Jgone", "END", '"deep"', "empty is an empty text", record.fingerprint):
        assert words in text
    assert "WARNING      1 character that change the direction of text" in text
    assert "writes-ask in policies/team.yaml" in text
    assert "nobody checked this" in text
    assert not set(text) & set("\u202e\x1b")
    assert json.loads((await desk.run("show", record.id, "--json")).stdout) == record.public()


async def test_an_id_may_be_its_beginning_or_its_end_if_that_is_one_call(desk: Desk) -> None:
    first = await desk.site.park(id="i-aaaa-1111")
    await desk.site.park(id="i-aaaa-2222")

    assert json.loads((await desk.run("show", "1111", "--json")).stdout)["id"] == first.id
    assert json.loads((await desk.run("show", "i-aaaa-1", "--json")).stdout)["id"] == first.id
    several, none = await desk.run("show", "i-aaaa"), await desk.run("show", "i-x/../y")
    assert (several.returncode, none.returncode) == (2, 1)
    assert "means 2 calls: i-aaaa-1111, i-aaaa-2222" in said(several)
    assert "there is no call `i-x/../y`" in said(none)


async def test_approving_shows_the_call_and_sends_what_was_shown(desk: Desk) -> None:
    record = await desk.site.park(arguments={"path": "a\u202eb"})

    done = await desk.run("approve", record.id, "--yes", "-m", "fine")

    assert done.returncode == 0
    assert "a<U+202E>b" in said(done)
    assert record.fingerprint in said(done)
    assert f"approved: {record.id}" in said(done)
    assert (await desk.site.store.get(record.id)).decisions[0].message == "fine"


async def test_without_a_terminal_approving_wants_to_be_meant(desk: Desk) -> None:
    record = await desk.site.park()

    unmeant = await desk.run("approve", record.id)
    wrong = await desk.run("approve", record.id, "--fingerprint", "0" * 64)
    assert (await desk.site.store.get(record.id)).state is State.PENDING
    right = await desk.run("approve", record.id, "--fingerprint", record.fingerprint, "--json")

    assert (unmeant.returncode, wrong.returncode, right.returncode) == (2, 1, 0)
    assert "give `--yes` or `--fingerprint`" in said(unmeant)
    assert "not the call you mean" in said(wrong)
    assert json.loads(right.stdout)["state"] == "approved"


async def test_a_quorum_is_reported_as_what_it_is(desk: Desk) -> None:
    record = await desk.site.park(terms=Terms(required_approvals=2))

    done = await desk.run("approve", record.id, "--yes")

    assert done.returncode == 0
    assert "recorded; 2 approvals are needed" in said(done)


async def test_rejecting_and_responding(desk: Desk, tmp_path: Path) -> None:
    first, second = await desk.site.park(), await desk.site.park()
    answer = tmp_path / "answer.txt"
    answer.write_text("use the other tool")

    rejected = await desk.run("reject", first.id, "-m", "no")
    answered = await desk.run("respond", second.id, "--content", f"@{answer}")

    assert (rejected.returncode, answered.returncode) == (0, 0)
    assert (await desk.site.store.get(first.id)).decisions[0].message == "no"
    assert (await desk.site.store.get(second.id)).answer == "use the other tool"


async def test_editing_shows_the_difference_and_keeps_every_digit(desk: Desk) -> None:
    record = await desk.site.park(arguments={"path": "/data/a", "size": 12345678901234567890})

    done = await desk.run("edit", record.id, "--args", '{"path": "/data/b", "size": 12345678901234567891}', "--yes")

    assert done.returncode == 0, said(done)
    assert '-  "path": "/data/a"' in said(done)
    assert '+  "path": "/data/b"' in said(done)
    edited = await desk.site.store.get(record.id)
    assert (edited.state, edited.arguments["size"]) == (State.APPROVED, 12345678901234567891)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("{", 2, "not JSON"),
        ('{"path": "a", "path": "b"}', 2, "twice"),
        ("[]", 2, "JSON object"),
        ('{"path": 7}', 1, "/path"),
        ('{"path": "/etc/x"}', 1, "no-etc"),
        ("@/nowhere", 2, "cannot be read"),
    ],
)
async def test_an_edit_that_cannot_be_is_explained(desk: Desk, arguments: str, code: int, words: str) -> None:
    record = await desk.site.park()

    done = await desk.run("edit", record.id, "--yes", "--args", arguments)

    assert done.returncode == code
    assert words in said(done)
    assert (await desk.site.store.get(record.id)).state is State.PENDING


async def test_who_comes_second_is_told_who_was_first(desk: Desk) -> None:
    record = await desk.site.park()
    await desk.site.decide(record, "reject", BEN, message="too risky")

    done = await desk.run("approve", record.id, "--yes")

    assert done.returncode == 1
    assert "ben already rejected it: too risky" in said(done)


async def test_time_that_is_up_is_a_finding(desk: Desk) -> None:
    record = await desk.site.park(expires_after=timedelta(seconds=10))
    desk.site.clock.ahead = timedelta(seconds=11)

    done = await desk.run("approve", record.id, "--yes")

    assert (done.returncode, "expired" in said(done)) == (1, True)


async def test_an_unknown_outcome_is_settled(desk: Desk) -> None:
    record = await desk.site.park()
    await desk.site.decide(record, "approve")
    await desk.site.lose(record)

    done = await desk.run("resolve", record.id, "--did-not-run", "--note", "looked")

    assert (done.returncode, said(done)) == (0, f"failed: {record.id}\n")


async def test_a_login_link_is_printed_alone_on_stdout(desk: Desk) -> None:
    record = await desk.site.park()

    done = await desk.run("login", record.id)
    address, _, code = done.stdout.decode().strip().partition("#")

    assert address == f"{desk.site.url}/login?next=/review/{record.id}"
    assert (await desk.site.client.post("/login", json={"code": code})).json()["approver"] == "ana"


async def test_address_and_token_come_from_options_then_environment_then_state_folder(
    desk: Desk, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(BEN)
    record = await desk.site.park()
    nowhere = str(tmp_path / "nowhere")

    given = await desk.run(
        "approve",
        record.id,
        "--yes",
        "--url",
        desk.site.url + "/",
        "--token-file",
        str(token),
        HOLDSHORT_STATE_DIR=nowhere,
    )
    environ = await desk.run(
        "list", HOLDSHORT_URL=desk.site.url, HOLDSHORT_APPROVER_TOKEN=BEN, HOLDSHORT_STATE_DIR=nowhere
    )
    folder = await desk.run("list", "--state-dir", str(desk.folder), HOLDSHORT_STATE_DIR=nowhere)

    assert (given.returncode, environ.returncode, folder.returncode) == (0, 0, 0)
    assert (await desk.site.store.get(record.id)).decisions[0].by == "ben"


async def test_no_proxy_says_how_to_start_one(desk: Desk, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (desk.folder / "endpoint.json").write_text('{"url": "http://127.0.0.1:9", "pid": 1}')

    never, gone = await desk.run("list", HOLDSHORT_STATE_DIR=str(empty)), await desk.run("list")

    for done in (never, gone):
        assert done.returncode == 2
        assert "start one with `holdshort serve`" in said(done)
        assert "Traceback" not in said(done)


async def test_a_token_that_is_not_there_or_not_known_is_said(desk: Desk) -> None:
    unknown = await desk.run("list", HOLDSHORT_APPROVER_TOKEN="x" * 40)
    (desk.folder / "approver-token").unlink()
    missing = await desk.run("list")

    assert (unknown.returncode, missing.returncode) == (2, 2)
    assert "does not know this approver token" in said(unknown)
    assert "no approver token" in said(missing)


async def test_something_else_at_the_address_is_no_proxy(desk: Desk) -> None:
    done = await desk.run("list", "--url", f"{desk.site.url}/static/approvals.css#")

    assert done.returncode in (1, 2)
    assert "Traceback" not in said(done)
    bad = await desk.run("list", "--url", "localhost:1")
    assert (bad.returncode, "is not an address" in said(bad)) == (2, True)


async def test_watching_prints_what_waits_and_what_happens(desk: Desk) -> None:
    record = await desk.site.park()
    async with await anyio.open_process(
        [*COMMAND, "watch", "--json"], env=desk.environ(), stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        states: list[str] = []
        buffer = b""
        with anyio.fail_after(30):
            while len(states) < 3:
                buffer += await process.stdout.receive()
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    states.append(json.loads(line)["state"])
                    if len(states) == 1:
                        await desk.site.decide(record, "approve")
                        desk.site.app.state.streams.cut()
                        await desk.site.run(record)
        process.terminate()

    assert states == ["pending", "approved", "executed"] or states == ["pending", "executed", "executed"]


@contextmanager
def terminal(desk: Desk, *words: str) -> Generator[Screen]:
    """The command at a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=desk.environ())
    os.close(theirs)
    os.set_blocking(ours, False)
    try:
        yield Screen(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@dataclass
class Screen:
    """What a person sees, and their keyboard."""

    descriptor: int
    process: subprocess.Popen[bytes]
    text: str = ""

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    async def shows(self, words: str) -> None:
        """Wait until `words` are on the screen; what came before is forgotten."""

        async def there() -> bool:
            with suppress(BlockingIOError, OSError):
                self.text += os.read(self.descriptor, 65536).decode(errors="replace")
            return words in self.text

        try:
            await until_async(there, words)
        except TimeoutError as error:
            raise AssertionError(f"{error}; the screen has:\n{self.text}") from None
        self.text = self.text.partition(words)[2]

    async def ends(self) -> int:
        async def over() -> bool:
            return self.process.poll() is not None

        await until_async(over, "the command to end")
        code: int = self.process.wait()
        return code


async def test_at_a_terminal_calls_are_decided_with_keys(desk: Desk) -> None:
    first = await desk.site.park(arguments={"path": "/data/one\x1b[2J"})
    with terminal(desk, "watch") as screen:
        await screen.shows("/data/one<U+001B ESC>[2J")
        await screen.shows("[a]pprove")
        screen.type("a")
        await screen.shows("approve exactly this? [y/N]")
        screen.type("n")
        await screen.shows("not approved")
        assert (await desk.site.store.get(first.id)).state is State.PENDING
        screen.type("ay")
        await screen.shows("approved ")
        assert (await desk.site.store.get(first.id)).state is State.APPROVED

        second = await desk.site.park(arguments={"path": "/data/two"})
        await screen.shows("/data/two")
        await screen.shows("[q]uit")
        screen.type("r")
        await screen.shows("reason")
        screen.type("not today\n")
        await screen.shows("rejected ")
        assert (await desk.site.store.get(second.id)).decisions[0].message == "not today"

        third = await desk.site.park(arguments={"path": "/data/three"})
        await screen.shows("/data/three")
        await desk.site.decide(third, "reject", BEN)
        await screen.shows("rejected ")
        screen.type("q")
        assert await screen.ends() == 0


async def test_at_a_terminal_approving_asks_back(desk: Desk) -> None:
    record = await desk.site.park()
    with terminal(desk, "approve", record.id) as screen:
        await screen.shows("approve exactly this? [y/N]")
        screen.type("\n")
        await screen.shows("nothing was decided")
        assert await screen.ends() == 1
    with terminal(desk, "approve", record.id) as screen:
        await screen.shows("[y/N]")
        screen.type("y\n")
        await screen.shows("approved:")
        assert await screen.ends() == 0


async def test_at_a_terminal_an_edit_opens_the_editor(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await desk.site.park(arguments={"path": "/data/a\u200b"})
    editor = tmp_path / "editor"
    editor.write_text(
        f"#!/bin/sh\ngrep -q 'u200b' \"$1\" || exit 1\nprintf '%s' '{json.dumps({'path': '/data/b'})}' > \"$1\"\n"
    )
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    with terminal(desk, "edit", record.id) as screen:
        await screen.shows("/data/b")
        await screen.shows("edit exactly this? [y/N]")
        screen.type("y\n")
        await screen.shows("approved:")

    assert (await desk.site.store.get(record.id)).arguments == {"path": "/data/b"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom holdshort.cli.approvals import app\n"
        "heavy = {'httpx2', 'starlette', 'jinja2', 'pydantic', 'apsw'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
