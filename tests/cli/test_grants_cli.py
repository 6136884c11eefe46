"""Standing grants from a terminal: made with an approval, listed, shown, revoked and proposed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import anyio
import pytest

from approvals.site import ANA, BEN, Site, serving_site
from holdshort.interruption import State
from holdshort.policy import Terms

COMMAND = [sys.executable, "-m", "holdshort"]
CALL = {"path": "/data/reports/a.txt", "force": True}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Desk:
    """A site, its announced state folder, and the command."""

    site: Site
    folder: Path

    async def run(self, *words: str, **environ: str) -> CompletedProcess[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDSHORT_")}
        env = {**kept, "HOLDSHORT_STATE_DIR": str(self.folder), "COLUMNS": "200", "NO_COLOR": "1", **environ}
        with anyio.fail_after(30):
            return await anyio.run_process([*COMMAND, *words], check=False, env=env, stdin=subprocess.DEVNULL)

    async def granted(self, **call: Any) -> str:
        """Approve a call with `--remember` and return the grant's id."""
        record = await self.site.park(arguments=CALL, **call)
        done = await self.run("approvals", "approve", record.id, "--yes", "--remember", "7d", "--json")
        assert done.returncode == 0, done.stderr
        grant: str = json.loads(done.stdout)["grant"]
        return grant


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    folder = tmp_path / "state"
    async with serving_site(folder) as site:
        (folder / "endpoint.json").write_text(json.dumps({"url": site.url, "pid": os.getpid()}))
        (folder / "approver-token").write_text(ANA + "\n")
        yield Desk(site, folder)


async def test_an_approval_is_remembered_after_saying_what_it_will_cover(desk: Desk) -> None:
    record = await desk.site.park(arguments={"path": "/data/reports/a\u200b.txt", "force": True})

    done = await desk.run(
        *("approvals", "approve", record.id, "--yes", "--remember", "7d", "--max-uses", "3"),
        *("--any", "path", "--when", "args.path.startsWith('/data/')"),
    )

    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "for 7d and 3 times at most, these calls of bot run unasked:" in said
    assert "    path = any value\n    force = true\n    when args.path.startsWith('/data/')\n" in said
    [grant] = (await desk.site.get("/v1/grants")).json()["grants"]
    assert f"remembered: {grant['id']}" in said
    assert grant["scope"] == {
        "arguments": {"path": {"any": True}, "force": {"in": [True]}},
        "when": "args.path.startsWith('/data/')",
    }
    assert grant["max_uses"] == 3


async def test_without_any_the_grant_is_exact_and_shows_what_cannot_be_seen(desk: Desk) -> None:
    record = await desk.site.park(arguments={"path": "a\u200b"})

    done = await desk.run("approvals", "approve", record.id, "--yes", "--remember", "1h")

    assert '    path = "a<U+200B>"' in done.stderr.decode()
    [grant] = (await desk.site.get("/v1/grants")).json()["grants"]
    assert grant["scope"]["arguments"] == {"path": {"in": ["a\u200b"]}}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--max-uses", "3"], 2, "give `--remember` too"),
        (["--any", "path"], 2, "give `--remember` too"),
        (["--remember", "7d", "--any", "pth"], 2, "the call has no such argument; it has `path`, `force`"),
        (["--remember", "7d", "--any", "path", "--any", "force"], 1, "as wide as the tool"),
        (["--remember", "never"], 1, "no length of time"),
        (["--remember", "7d", "--when", "args.path =="], 1, "/remember/when"),
    ],
)
async def test_a_wish_that_cannot_be_decides_nothing(desk: Desk, words: list[str], code: int, told: str) -> None:
    record = await desk.site.park(arguments=CALL)

    done = await desk.run("approvals", "approve", record.id, "--yes", *words)

    assert (done.returncode, done.stdout) == (code, b"")
    assert told in done.stderr.decode()
    assert (await desk.site.store.get(record.id)).state is State.PENDING


async def test_a_quorum_is_told_that_nothing_is_remembered_yet(desk: Desk) -> None:
    record = await desk.site.park(arguments=CALL, terms=Terms(required_approvals=2))
    words = ("approvals", "approve", record.id, "--yes", "--remember", "7d")

    first = await desk.run(*words)
    second = await desk.run(*words, HOLDSHORT_APPROVER_TOKEN=BEN)

    assert "not remembered yet: 2 approvers must ask for the same grant" in first.stderr.decode()
    assert "remembered: g-" in second.stderr.decode()


async def test_an_approval_that_completes_a_quorum_alone_says_that_it_is_not_remembered(desk: Desk) -> None:
    record = await desk.site.park(arguments=CALL, terms=Terms(required_approvals=2))
    await desk.site.decide(record, "approve", BEN)

    done = await desk.run("approvals", "approve", record.id, "--yes", "--remember", "7d")

    assert "not remembered: 2 approvers would have had to ask" in done.stderr.decode()


async def test_grants_are_listed_for_people_and_for_programs(desk: Desk) -> None:
    grant = await desk.granted(agent="bot [bold]x")

    people, programs = await desk.run("grants", "list"), await desk.run("grants", "list", "--json")

    assert grant in people.stdout.decode()
    assert "bot [bold]x" in people.stdout.decode()
    assert "0 of 10" in people.stdout.decode()
    assert [each["id"] for each in json.loads(programs.stdout)["grants"]] == [grant]
    nothing = await desk.run("grants", "list", "--state", "revoked")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, b"", b"no such grant\n")


async def test_a_grant_is_shown_by_the_end_of_its_id(desk: Desk) -> None:
    grant = await desk.granted()

    people, programs = await desk.run("grants", "show", grant[-6:]), await desk.run("grants", "show", grant, "--json")

    assert '  covers calls with\n    path = "/data/reports/a.txt"\n    force = true' in people.stdout.decode()
    assert json.loads(programs.stdout) == (await desk.site.get(f"/v1/grants/{grant}")).json()


async def test_a_grant_is_revoked_and_a_dry_run_changes_nothing(desk: Desk) -> None:
    grant = await desk.granted()

    dry = await desk.run("grants", "revoke", grant, "--dry-run")
    assert (dry.returncode, (await desk.site.store.grants.get(grant)).revoked_at) == (0, None)
    assert f"would be revoked: {grant}" in dry.stderr.decode()

    done = await desk.run("grants", "revoke", grant, "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "revoked")
    assert (await desk.site.store.grants.get(grant)).revoked_by == "ana"


async def test_a_grant_that_is_not_there_is_a_finding(desk: Desk) -> None:
    for words in (("show", "g-9"), ("revoke", "g-9")):
        done = await desk.run("grants", *words)
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"holdshort: there is no grant `g-9`\n")


async def test_what_could_be_granted_is_shown_with_the_calls_it_would_have_answered_for(desk: Desk) -> None:
    nothing = await desk.run("grants", "propose")
    paths = [f"/data/reports/{number}.txt" for number in range(6)]
    records = [await desk.site.park(arguments={"path": path, "force": True}) for path in paths]
    for record in records:
        await desk.site.decide(record, "approve")

    people, programs = await desk.run("grants", "propose"), await desk.run("grants", "propose", "--json")

    assert (nothing.returncode, nothing.stdout) == (0, b"")
    told = people.stdout.decode()
    assert "approved 6 times by ana; a grant for calls with" in told
    assert "    path = any value\n    force = true\n    when under(args['path'], '/data/reports')" in told
    assert all(record.id in told for record in records)
    assert len(json.loads(programs.stdout)["proposals"][0]["covers"]) == 6
