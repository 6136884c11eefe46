"""`docs/protocol.md` has the numbers, names and codes of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.pages import ROOT
from holdshort.config import LimitsConfig
from holdshort.gate import answers
from holdshort.gate.answers import interruption_meta
from holdshort.gate.catalog import FRESH_SECONDS
from holdshort.gate.execution import CANCEL_GRACE_SECONDS, INPUT_SECONDS
from holdshort.gate.front.post import HTTP_STATUS
from holdshort.gate.front.sessions import MAX_SESSIONS, SESSION_IDLE_SECONDS, SESSIONS_PER_AGENT
from holdshort.gate.hold import HEARTBEAT_SECONDS, PATIENT_SECONDS, UNKNOWN_CLIENT_SECONDS, HoldBudgets
from holdshort.gate.legs import MAX_LEGS
from holdshort.gate.meta import INTERRUPTION_KEY, PARK_KEY
from holdshort.gate.methods import HANDSHAKE_VERSIONS, MODERN_VERSIONS, TASKS_EXTENSION
from holdshort.gate.seal import LEG_LIFETIME
from holdshort.gate.session import MAX_QUESTIONS
from holdshort.gate.tasks import POLL_MILLISECONDS
from holdshort.gate.uses import USES
from holdshort.policy import REQUEST_METHODS
from interruption.samples import parked
from kit.clients import CLIENTS

PAGE = " ".join((ROOT / "docs" / "protocol.md").read_text().split())
ROWS = re.findall(r"^\| (.*) \|$", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE)


def table(first_cell: str) -> list[list[str]]:
    """The rows of the table whose heading begins so."""
    cells = [row.split(" | ") for row in ROWS]
    start = next(place for place, row in enumerate(cells) if row[0] == first_cell)
    width = len(cells[start])
    rows: list[list[str]] = []
    for row in cells[start + 1 :]:
        if len(row) != width or row[0] in ("path", "era", "message", "client", "key", "code"):
            break
        rows.append(row)
    return rows


def test_the_eras_have_their_revisions() -> None:
    assert {row[0]: row[1] for row in table("era")} == {
        "handshake": ", ".join(HANDSHAKE_VERSIONS),
        "stateless": ", ".join(MODERN_VERSIONS),
    }


@pytest.mark.parametrize("row", table("client"), ids=lambda row: row[0])
def test_a_client_is_held_as_long_as_the_page_says(row: list[str]) -> None:
    names = [name.replace("*", "-1") for name in re.findall(r"`([^`]+)`", row[1])] or ["some-program"]

    assert {f"{HoldBudgets().seconds(name):g} s" for name in names} == {row[2]}


def test_every_patient_client_is_in_the_table() -> None:
    from holdshort.gate import hold

    told = {name for row in table("client") for name in re.findall(r"`([^`]+)`", row[1])} - {"mcp"}

    assert told == set(getattr(hold, "_PATIENT_CLIENTS"))  # noqa: B009
    assert (PATIENT_SECONDS, UNKNOWN_CLIENT_SECONDS) == (45, 4)


def test_the_client_libraries_of_the_table_are_those_of_the_tests() -> None:
    libraries = {"Python SDK": "python", "TypeScript": "typescript", "OpenAI Agents SDK": "openai"}
    for row in table("client"):
        for words, prefix in libraries.items():
            version = re.search(r"(?:SDK|client) (\d+\.\d+)", row[0])
            if row[0].startswith(words) and version is not None:
                assert any(name.startswith(f"{prefix}-{version[1]}") for name in CLIENTS), row[0]


def test_every_key_of_ours_is_told() -> None:
    told = {row[0].strip("`"): row[2] for row in table("key")}
    source = "".join(path.read_text() for path in (ROOT / "proxy" / "holdshort" / "gate").rglob("*.py"))
    read = set(re.findall(r'"(holdshort/[a-z_]+)"', source))

    assert set(told) == read == {INTERRUPTION_KEY, PARK_KEY, *read}
    assert set(re.findall(r"`(\w+)`", told[INTERRUPTION_KEY])) == interruption_meta(parked()).keys()


def test_the_error_codes_are_those_of_the_code() -> None:
    rows = {int(row[0].strip("`")): int(row[1]) for row in table("code")}
    ours = {
        answers.METHOD_NOT_FOUND,
        answers.INVALID_PARAMS,
        answers.INTERNAL_ERROR,
        answers.UPSTREAM_ERROR,
        answers.POLICY_REFUSED,
        answers.RESOURCE_NOT_FOUND,
        *codes_in("front/http.py", "front/body.py"),
    }

    assert ours <= set(rows)
    for code, status in rows.items():
        if code != -31_001:
            assert status == HTTP_STATUS.get(code, 200), code


def test_every_use_that_is_judged_and_every_request_of_a_server_is_told() -> None:
    told = {name for row in table("message") for name in re.findall(r"`([a-z]+/[A-Za-z/_]+)`", row[0])}

    assert told == USES | set(REQUEST_METHODS) | {
        "resources/list",
        "resources/templates/list",
        "prompts/list",
        "subscriptions/listen",
        "notifications/resources/updated",
    }


def codes_in(*files: str) -> set[int]:
    gate = ROOT / "proxy" / "holdshort" / "gate"
    texts = [(gate / Path(file)).read_text() for file in files]
    return {int(code) for text in texts for code in re.findall(r"-3[12]_?\d{3}\b", text)}


@pytest.mark.parametrize(
    "sentence",
    [
        f"every {HEARTBEAT_SECONDS:g} seconds if the request has a `progressToken`",
        f"an SSE comment every {LimitsConfig().keepalive:g}",
        f"the extension `{TASKS_EXTENSION}`",
        f"polled every {POLL_MILLISECONDS // 1000} seconds",
        f"at most {MAX_LEGS} legs",
        f"good once and for {LEG_LIFETIME.total_seconds() / 60:g} minutes",
        f"has {CANCEL_GRACE_SECONDS:g} seconds to answer",
        f"the client has {INPUT_SECONDS / 60:g} minutes",
        f"{MAX_SESSIONS} sessions, {SESSIONS_PER_AGENT} of one agent",
        f"ended after {SESSION_IDLE_SECONDS / 60:g} idle minutes",
        f"{MAX_QUESTIONS} open questions of servers to one client",
        f"believed for {FRESH_SECONDS:g} seconds",
    ],
)
def test_the_page_has_the_numbers_of_the_code(sentence: str) -> None:
    assert sentence in PAGE
