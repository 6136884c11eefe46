"""What the page about approvals says is run and compared."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import anyio
import pytest

from approvals.site import ANA, BOT, Site
from holdshort.approvals.problems import STATUS_OF
from holdshort.cli.approvals import app
from kit.missing import Missing, require

DOCS = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text()
EXAMPLES = re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)


def _bash() -> str:
    if shutil.which("curl") is None or (bash := shutil.which("bash")) is None:
        raise Missing("no curl or no bash on this machine: `apt-get install curl bash`")
    return bash


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_an_example_works_as_written(site: Site, example: str) -> None:
    bash = require(_bash)
    record = await site.park()
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "URL": site.url,
        "TOKEN": ANA,
        "AGENT_TOKEN": BOT,
        "ID": record.id,
        "FINGERPRINT": record.fingerprint,
    }

    with anyio.fail_after(30):
        done = await anyio.run_process(
            [bash, "-euo", "pipefail", "-c", example], env=environ, check=False, stdin=subprocess.DEVNULL
        )

    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    if "events" in example:
        assert f'"id":"{record.id}"' in output
    else:
        json.loads(output)
    state = (await site.store.get(record.id)).state.value
    for word, wanted in [
        ("approve", "approved"),
        ("edit", "approved"),
        ("reject", "rejected"),
        ("respond", "answered"),
    ]:
        if f'"decision": "{word}"' in example:
            assert state == wanted


def test_there_are_examples_of_every_decision() -> None:
    assert {word for word in ("approve", "edit", "reject", "respond") if f'"decision": "{word}"' in DOCS} == {
        "approve",
        "edit",
        "reject",
        "respond",
    }


def test_every_error_code_is_in_the_table_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", DOCS, re.MULTILINE)
    told = {code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}

    assert told == dict(STATUS_OF)


def test_every_command_is_in_the_table() -> None:
    told = set(re.findall(r"^\| `holdshort approvals (\w+)", DOCS, re.MULTILINE))

    assert told == {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback is not None
    }
