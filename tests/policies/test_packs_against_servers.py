"""Packs and the servers they are about: every tool that a server lists is named in its pack, and nothing else is.

A new version of a server with a new tool fails here, which is the point: somebody has to decide about the tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gate.upstream.harness import Notes
from holdshort.config import Config, ServerConfig, load_layer, pack_path
from holdshort.config.cases import load_cases
from holdshort.policy import Action, Call, Caller, CelCondition, Policy, ToolFacts, check_condition, compile_policy
from holdshort.server.survey import Survey, survey
from policies.servers import LIVE, Live

pytestmark = pytest.mark.timeout(240)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
by_server = pytest.mark.parametrize("live", LIVE, ids=[live.pack for live in LIVE])


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def surveys(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Survey]:
    """What each of the servers offers, asked once."""
    servers: list[ServerConfig] = []
    for live in LIVE:
        command = live.command(tmp_path_factory.mktemp(live.pack))
        servers.append(
            ServerConfig(live.label, "stdio", command=command[0], args=tuple(command[1:]), env=dict(live.env))
        )
    return await survey(Config(path=None, servers=tuple(servers), policy=compile_policy([])), Notes(), seconds=100)


def pack(name: str) -> Policy:
    return load_layer(pack_path(name), {})[0]


def named(policy: Policy, label: str) -> set[str]:
    """The tools that the pack names one by one."""
    patterns = (pattern for rule in policy.layers[0].rules for pattern in rule.tools)
    return {pattern.tool for pattern in patterns if pattern.server == label and pattern.tool != "*"}


def facts(found: Survey) -> list[ToolFacts]:
    assert found.error is None, found.error
    return [definition.facts for definition in found.definitions]


@by_server
async def test_a_pack_names_the_tools_that_the_server_lists(surveys: Mapping[str, Survey], live: Live) -> None:
    listed = {tool.name for tool in facts(surveys[live.label])}
    names = named(pack(live.pack), live.label)

    assert listed - names == set(), "the server has tools that nobody has decided about"
    assert live.elsewhere <= names
    if live.partial is None:
        assert names - listed == live.elsewhere, "the pack names tools that the server does not have"


@by_server
async def test_every_listed_tool_has_its_case(surveys: Mapping[str, Survey], live: Live) -> None:
    cases = load_cases(pack_path(live.pack).with_suffix(".cases.yaml"), {}).cases
    asked = {case.question.tool.name for case in cases if isinstance(case.question, Call)}

    assert {tool.name for tool in facts(surveys[live.label])} - asked == set()


@by_server
async def test_the_conditions_of_a_pack_fit_the_arguments_that_tools_take(
    surveys: Mapping[str, Survey], live: Live
) -> None:
    """An argument that a server renames would make a condition fail, and every call ask or be refused."""
    tools = {definition.facts.name: definition.raw for definition in surveys[live.label].definitions}
    checked = [
        (rule.id, pattern.tool, problem.message)
        for rule in pack(live.pack).layers[0].rules
        if isinstance(rule.when, CelCondition)
        for pattern in rule.tools
        if pattern.tool in tools
        for problem in check_condition(rule.when, tools[pattern.tool]["inputSchema"])
    ]

    assert checked == []


@by_server
async def test_what_runs_unasked_is_declared_read_only_or_was_looked_at(
    surveys: Mapping[str, Survey], live: Live
) -> None:
    """Decided with the server's own annotations and no arguments, as `tools/list` would be."""
    policy = pack(live.pack)
    allowed = {
        tool.name: tool
        for tool in facts(surveys[live.label])
        if policy.decide(Call(tool, {}, Caller("local"), NOW)).action is Action.ALLOW
    }

    assert {name for name, tool in allowed.items() if not tool.read_only} == live.allowed_writes


@by_server
async def test_the_packs_for_any_server_go_by_what_this_one_declares(surveys: Mapping[str, Survey], live: Live) -> None:
    read_only, destructive, strict = pack("read-only"), pack("deny-destructive"), pack("strict")
    for tool in facts(surveys[live.label]):
        call = Call(tool, {}, Caller("local"), NOW)
        distrusted = replace(call, tool=replace(tool, read_only=False, destructive=True))

        assert read_only.decide(call).action is (Action.ALLOW if tool.read_only else Action.DENY)
        assert read_only.decide(distrusted).action is Action.DENY
        assert strict.decide(call).action is Action.ASK
        if tool.destructive and not tool.read_only:
            assert destructive.decide(call).action is Action.DENY
