"""Files of cases: what they may say, and a place for everything that is wrong with one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdshort.config import ConfigErrors
from holdshort.config.cases import CaseFile, is_cases_file, load_cases
from holdshort.policy import Access, Action, Call, Kind
from holdshort.policy.cases import DEFAULT_NOW, Reason

TEAM = """\
rules:
  - {id: refunds, tools: "pay__refund", action: ask}
  - {id: reads, tools: "pay__get_*", action: allow}
"""


def load(folder: Path, text: str, name: str = "team.cases.yaml") -> CaseFile:
    (folder / "team.yaml").write_text(TEAM)
    (folder / name).write_text(text)
    return load_cases(folder / name, {})


def problems(folder: Path, text: str, name: str = "team.cases.yaml") -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, text, name)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_every_key_of_a_call_is_read(tmp_path: Path) -> None:
    text = """\
version: 1
cases:
  - note: a refund
    call: pay__refund
    args: {amount: 12345678901234567890123, ratio: 0.5, who: {name: "${HOME}", ids: [1, true, null]}}
    agent: ci
    groups: [bots]
    client: cursor
    client_version: 1.2
    now: 2026-02-01T10:00:00+02:00
    annotations: {readOnlyHint: true, title: Refund}
    pinned: false
    verdict: ask
    because: [refunds, "team.yaml:refunds"]
    terms: {approvers: [a, b], required_approvals: 2, expires_after: 30m, decisions: [approve], grants: false}
    errors: true
"""
    found = load(tmp_path, text)
    [case] = found.cases
    question = case.question

    assert isinstance(question, Call)
    assert question.arguments == {
        "amount": 12345678901234567890123,
        "ratio": 0.5,
        "who": {"name": "${HOME}", "ids": [1, True, None]},
    }
    assert (question.caller.agent, question.caller.groups) == ("ci", frozenset({"bots"}))
    assert (question.caller.client, question.caller.client_version) == ("cursor", "1.2")
    assert question.now == datetime(2026, 2, 1, 8, tzinfo=UTC)
    tool = question.tool
    assert (tool.read_only, tool.destructive, tool.title, tool.pinned) == (True, True, "Refund", False)
    assert case.because == (Reason("refunds"), Reason("refunds", "team.yaml"))
    assert case.terms == {
        "approvers": {frozenset({"a", "b"})},
        "required_approvals": 2,
        "expires_after": timedelta(minutes=30),
        "decisions": {"approve", "reject"},
        "grants": False,
    }
    assert (case.verdict, case.errors, case.note) == (Action.ASK, True, "a refund")
    assert case.place is not None
    assert case.place.line == 3


def test_what_a_case_leaves_out_has_careful_defaults(tmp_path: Path) -> None:
    [case] = load(tmp_path, "cases: [{call: pay__x, verdict: ask}]").cases
    question = case.question

    assert isinstance(question, Call)
    assert (question.caller.agent, question.now, question.arguments) == ("local", DEFAULT_NOW, {})
    assert (question.tool.read_only, question.tool.destructive, question.tool.pinned) == (False, True, True)
    assert (case.because, case.errors, case.terms) == (None, None, {})


@pytest.mark.parametrize(
    ("line", "kind", "name"),
    [
        ("resource: files__file:///etc/passwd", Kind.RESOURCE, "file:///etc/passwd"),
        ("prompt: files__sum__up", Kind.PROMPT, "sum__up"),
        ("server_request: files__sampling/createMessage", Kind.SERVER_REQUEST, "sampling/createMessage"),
    ],
)
def test_a_case_may_be_about_something_else_than_a_tool(tmp_path: Path, line: str, kind: Kind, name: str) -> None:
    [case] = load(tmp_path, f"cases:\n  - {line}\n    verdict: allow").cases

    assert isinstance(case.question, Access)
    assert (case.question.kind, case.question.server, case.question.name) == (kind, "files", name)


def test_every_problem_is_told_at_once_with_its_place_and_the_nearest_word(tmp_path: Path) -> None:
    text = """\
cases:
  - {cal: pay__refund, verdict: ask}
  - {call: refund, verdict: asks}
  - {call: pay__refund, resource: pay__x, verdict: ask}
  - {call: pay__refund, verdict: ask, because: [refund], now: noon, annotations: {readOnly: true}}
  - {resource: pay__x, verdict: ask, pinned: false}
  - {call: pay__refund, verdict: ask, terms: {approver: [a]}, args: [1]}
  - {call: pay__refund, verdict: ask, args: {n: 1e999}}
"""
    assert problems(tmp_path, text) == [
        "team.cases.yaml:2:6: case: unknown key `cal`; did you mean `call`?",
        "team.cases.yaml:3:12: call: expected `SERVER__NAME`, as in `github__delete_repo`, got `refund`",
        "team.cases.yaml:3:29: unknown verdict `asks`; did you mean `ask`?",
        "team.cases.yaml:4:25: a case is about one thing; it has `call` and `resource`",
        "team.cases.yaml:5:49: because: no rule is called `refund`; did you mean `refunds`?",
        "team.cases.yaml:5:63: now: `noon` is no time with a time zone, as in `2026-01-05T12:00:00Z`",
        "team.cases.yaml:5:83: annotations: unknown key `readOnly`; did you mean `readOnlyHint`?",
        "team.cases.yaml:6:33: unknown verdict `ask`; expected `allow`, `deny` or `hide`",
        "team.cases.yaml:6:38: `pinned` is about tools; this case is about a resource",
        "team.cases.yaml:7:47: terms: unknown key `approver`; did you mean `approvers`?",
        "team.cases.yaml:7:69: args: expected a map of the arguments, got a list",
        "team.cases.yaml:8:49: args: this number is too large for JSON",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cases: []", "the list is empty, so it tests nothing"),
        ("version: 1", "there are no `cases`"),
        ("cases: 3", "expected a list, got a number"),
        ("case: []", "unknown key `case`; did you mean `cases`?"),
        ("version: 2\ncases: [{call: a__b, verdict: ask}]", "this holdshort reads version 1"),
        ("policy: none.yaml\ncases: [{call: a__b, verdict: ask}]", "there is no file `none.yaml`"),
        ("policy: []\ncases: [{call: a__b, verdict: ask}]", "the list is empty"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in problem for problem in problems(tmp_path, text))


def test_without_a_policy_beside_it_the_key_is_asked_for(tmp_path: Path) -> None:
    found = problems(tmp_path, "cases: [{call: a__b, verdict: ask}]", "other.cases.yaml")

    assert "there is no `other.yaml` beside this file" in found[0]


def test_problems_of_the_policy_are_told_too(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("rules: [{id: a, action: alow}]")

    found = problems(tmp_path, "policy: bad.yaml\ncases: [{call: a__b, verdict: ask}]")

    assert found == ["bad.yaml:1:25: rule `a`: unknown action `alow`; did you mean `allow`?"]


def test_several_layers_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text("rules: [{id: none, tools: '*', action: deny}]")

    found = load(tmp_path, "policy: [org.yaml, team.yaml]\ncases: [{call: a__b, verdict: deny}]")

    assert [layer.name for layer in found.policy.layers] == ["org.yaml", "team.yaml"]


CONFIG = """\
mcpServers:
  pay: {command: x, trust_annotations: false, env: {KEY: "${KEY:-k}"}}
agents:
  - {name: ci, token: a-token-that-is-long-enough, groups: [bots]}
  - {name: dev, token: b-token-that-is-long-enough}
policy: team.yaml
"""


def test_a_whole_configuration_brings_its_agents_and_servers(tmp_path: Path) -> None:
    (tmp_path / "holdshort.yaml").write_text(CONFIG)
    case = "{call: pay__x, agent: ci, annotations: {readOnlyHint: true}, verdict: ask}"

    [case_read] = load(tmp_path, f"policy: holdshort.yaml\ncases: [{case}]").cases

    question = case_read.question
    assert isinstance(question, Call)
    assert question.caller.groups == {"bots"}
    assert not question.tool.read_only


def test_an_agent_or_a_server_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "holdshort.yaml").write_text(CONFIG)
    who = ("call: pya__x, agent: ci", "call: pay__x, agent: cii", "call: pay__x")
    cases = f"[{', '.join(f'{{{each}, verdict: ask}}' for each in who)}]"

    found = problems(tmp_path, f"policy: holdshort.yaml\ncases: {cases}")

    assert [problem.split(": ", 1)[1] for problem in found] == [
        "call: unknown server `pya`; did you mean `pay`?",
        "agent: unknown agent `cii`; did you mean `ci`?",
        "say which `agent` calls: `ci` or `dev`",
    ]


def test_the_name_tells_a_file_of_cases() -> None:
    assert is_cases_file(Path("a/team.cases.yaml"))
    assert not is_cases_file(Path("a/team.yaml"))
