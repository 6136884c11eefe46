"""`docs/policy-lab.md` shows what the commands really print, about the files that it shows."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from docs.pages import ROOT, blocks
from holdshort.cli import app
from holdshort.config import load_config
from holdshort.config.case_reader import CASE_KEYS, TERM_KEYS
from holdshort.gate.recording import Recorder
from holdshort.interruption import fingerprint
from holdshort.policy import Action, Call, Caller, ToolFacts, parse_tool_pattern
from holdshort.policy.facts import HINTS
from holdshort.policy.lint import CODES
from holdshort.policy.redaction import Redaction, parse_argument_path
from holdshort.store import EntryKind, NewEntry, open_store
from interruption.samples import parked

PAGE = (ROOT / "docs" / "policy-lab.md").read_text()
SHOWN = [block.split("\n", 1) for block in blocks(PAGE, "console")]


CALLS: list[tuple[str, bool, dict[str, Any]]] = [
    ("get_balance", True, {"account": "main"}),
    ("get_balance", True, {"account": "treasury"}),
    ("refund", False, {"amount": 50, "note": "late"}),
    ("get_balance", True, {"account": "treasury"}),
    ("refund", False, {"amount": 150, "note": "broken"}),
    ("refund", False, {"amount": 20000, "note": "chargeback"}),
    ("delete_account", False, {"account": "main"}),
]
"""What the proxy of the page recorded, a minute apart: tool, whether it is read-only, arguments."""


async def record(folder: Path) -> None:
    """Write what a proxy with the files of the page writes about `CALLS`."""
    environ = {name: f"a-long-value-for-{name}" for name in ("CI_TOKEN", "ANA_TOKEN", "BOB_TOKEN")}
    policy = load_config(folder / "holdshort.yaml", environ).policy
    redaction = Redaction(((parse_tool_pattern("*"), (parse_argument_path("note"),)),))
    recorder = Recorder(lambda: policy, timedelta(days=7), redaction=redaction)
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    async with open_store(folder / "state", clock=lambda: start, sweep=False) as store:
        for number, (tool, read_only, arguments) in enumerate(CALLS):
            facts = ToolFacts("pay", tool, read_only=read_only, destructive=not read_only)
            call = Call(facts, arguments, Caller("ci", frozenset({"bots"})), start + timedelta(minutes=number))
            verdict = policy.decide(call)
            if verdict.action is Action.ASK:
                asking = parked(number, arguments=arguments, because=verdict.because, terms=verdict.terms)
                mark = fingerprint("pay", tool, arguments)
                asking = replace(
                    asking,
                    server="pay",
                    tool=tool,
                    fingerprint=mark,
                    requested_fingerprint=mark,
                    requested_by=replace(asking.requested_by, agent="ci"),
                    created_at=call.now,
                    expires_at=call.now + verdict.terms.expires_after,
                )
                await store.park(asking, recording=recorder.call(call))
                continue
            entry = NewEntry(
                kind=EntryKind.VERDICT,
                at=call.now,
                server="pay",
                tool=tool,
                agent="ci",
                action=verdict.action,
                because=verdict.because,
                recording=recorder.call(call),
            )
            await store.record(entry)


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_a_command_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, output: str
) -> None:
    for text in blocks(PAGE, "yaml"):
        name = re.match(r"# (\S+\.yaml)\n", text)
        assert name is not None
        (tmp_path / name[1]).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDSHORT_STATE_DIR", str(tmp_path / "state"))
    if "policy replay" in command:
        anyio.run(record, tmp_path)

    words = shlex.split(command.removeprefix("$ holdshort "))
    done = CliRunner().invoke(app, words)

    assert done.stdout + done.stderr == output


def test_all_five_commands_are_shown() -> None:
    assert {command.split()[3] for command, _ in SHOWN} == {"check", "test", "lint", "explain", "replay"}


def test_the_table_of_codes_is_the_one_of_the_code() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)

    assert rows == [(code, severity, words) for code, (severity, words) in CODES.items()]


def test_every_key_of_a_case_is_explained() -> None:
    told = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*) \|$", PAGE, re.MULTILINE))))

    assert {*CASE_KEYS, *TERM_KEYS, *HINTS} <= told
