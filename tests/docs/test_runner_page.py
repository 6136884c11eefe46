"""`docs/runner.md` has the names, options, errors and events of the code, and of the SDK that it compares with."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import subprocess
from dataclasses import fields
from typing import Any, get_args

import pytest

from docs.pages import ROOT, blocks, unfenced
from holdshort import runner
from holdshort.runner import Agent, ApprovalProxy, Changes, Interruption, RunOptions, StreamEvent, errors
from holdshort.runner.kinds import mcp
from holdshort.runner.realtime import RealtimeSessionEvent
from kit.missing import require
from kit.venvs import OPENAI_AGENTS, side_python

TEXT = (ROOT / "docs" / "runner.md").read_text()
EXAMPLE = ROOT / "examples" / "14-port-from-agents-sdk"
NAMED = re.compile(r"([A-Za-z_]+)(?:\.([A-Za-z_]+))?(?:\(([a-z_=, ]+)\))?")
"""`Name`, `Name.member` or `Name.member(argument=, argument=)`."""


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose heading's first cells are these."""
    _, found, rest = TEXT.partition(f"\n| {heading} |")
    assert found, f"there is no table that begins with | {heading} |"
    lines = rest.splitlines()[2:]
    rows = lines[: next((place for place, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]


def first_names(heading: str) -> list[str]:
    """The names in backticks in the first column."""
    return [name for row in table(heading) for name in re.findall(r"`([^`]+)`", row[0])]


def test_every_public_name_is_on_the_page() -> None:
    told = set(re.findall(r"\b[A-Za-z_]+\b", TEXT))

    assert sorted(set(runner.__all__) - told) == []


def test_the_fields_of_an_agent_are_the_ones_there_are() -> None:
    assert sorted(first_names("field of `Agent`")) == sorted(each.name for each in fields(Agent))


def test_the_arguments_of_a_proxy_are_the_ones_there_are() -> None:
    assert set(first_names("argument of `ApprovalProxy`")) | {"url"} == set(inspect.signature(ApprovalProxy).parameters)


def test_the_options_of_a_run_are_the_ones_there_are() -> None:
    assert sorted(first_names("option")) == sorted(RunOptions.__annotations__)


def test_events_have_these_types_and_classes() -> None:
    there = {kind.__dataclass_fields__["type"].default: kind.__name__ for kind in get_args(StreamEvent)}

    assert {row[0].strip("`"): row[1].strip("`") for row in table("`event.type`")} == there


def test_the_events_of_a_realtime_session_have_these_types() -> None:
    there = [kind.__dataclass_fields__["type"].default for kind in get_args(RealtimeSessionEvent)]

    assert sorted(first_names("event")) == sorted(there)


def test_programs_of_the_page_are_programs() -> None:
    programs = blocks(TEXT, "python")

    assert programs
    for program in programs:
        compile(program, "docs/runner.md", "exec")


def test_the_errors_are_the_ones_there_are_with_their_parents() -> None:
    told = {row[0].strip("`"): row[1].strip("` ") for row in table("error")}
    there = {name: getattr(errors, name).__mro__[1].__name__ for name in errors.__all__}

    assert told == there | {"RunnerError": ""}
    assert set(told) <= set(runner.__all__)


def test_the_keys_on_the_wire_are_those_that_are_sent() -> None:
    sent = set(re.findall(r'"(holdshort/[a-z_]+)": |\["(holdshort/[a-z_]+)"\] = ', inspect.getsource(mcp)))
    told = {name for name in first_names("key") if name.startswith("holdshort/")}

    assert told == {one or other for one, other in sent}
    assert told <= set(re.findall(r"`(holdshort/[a-z_]+)`", (ROOT / "docs" / "protocol.md").read_text()))


@pytest.mark.parametrize("kind", [Changes, Interruption], ids=lambda kind: kind.__name__)
def test_what_a_value_has_is_told(kind: Any) -> None:
    assert [each.name for each in fields(kind) if f"`{each.name}`" not in TEXT] == []


def test_the_table_beside_the_sdk_names_what_is_here() -> None:
    assert [name for name in same_names() if not is_there(runner, name)] == []


def test_the_table_beside_the_sdk_names_what_is_there() -> None:
    """Asked of `openai-agents` itself, in its own environment."""
    python = require(lambda: side_python(OPENAI_AGENTS))
    program = f"import agents, inspect, json, re\nfrom typing import Any\nNAMED = re.compile({NAMED.pattern!r})\n"
    program += f"{inspect.getsource(is_there)}\nnames = {same_names()!r}\n"
    program += "print(json.dumps([name for name in names if not is_there(agents, name)]))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(done.stdout) == []
    assert "`openai-agents` 0.24" in TEXT
    assert "openai-agents==0.24.0" in OPENAI_AGENTS


def same_names() -> list[str]:
    """What the table says is in both."""
    names = [name for row in table("| the same | different here | why") for name in re.findall(r"`([^`]+)`", row[1])]
    assert len(names) > 50
    return names


def is_there(package: Any, name: str) -> bool:
    """Whether a package has a name, its member, and the arguments of that."""
    found = NAMED.fullmatch(name)
    assert found is not None, name
    owner, member, arguments = found.groups()
    if not hasattr(package, owner):
        return False
    one: Any = getattr(package, owner)
    if member is not None:
        annotated = {key for kind in getattr(one, "__mro__", ()) for key in getattr(kind, "__annotations__", {})}
        if not hasattr(one, member) and member not in annotated:
            return False
        one = getattr(one, member, None)
    wanted = {each.strip(" =") for each in (arguments or "").split(",")} - {""}
    if not wanted:
        return True
    taken = inspect.signature(one).parameters
    options = set(package.RunOptions.__annotations__) if "options" in taken else set()
    return wanted <= {*taken, *options}


def test_the_lines_that_differ_in_a_ported_script_are_these() -> None:
    before, after = [(EXAMPLE / name).read_text().splitlines()[1:] for name in ("agents_sdk.py", "agent.py")]
    compared = difflib.unified_diff(before, after, lineterm="", n=0)
    changed = [line for line in compared if line[:2] not in ("--", "++", "@@") and line[1:].strip()]
    [told] = blocks(TEXT, "diff")

    assert told.splitlines() == changed


def test_every_part_is_linked_from_where_it_is_spoken_of() -> None:
    """The page's own anchors are checked with all links; here, that none is left that leads to no heading."""
    headings = re.findall(r"^## (.+)$", unfenced(TEXT), re.MULTILINE)

    assert len(headings) == len(set(headings))
    assert {"Who decides", "The state", "Waiting", "Errors", "Porting a script"} <= set(headings)
