"""The official suite against our fixture server, directly and through the proxy: the proxy may lose no check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from conformance.expectations import ABSENT, DIFFERENT, FRONT_OWNED
from conformance.runs import Route
from conformance.suite import REVISIONS, Check, Results

RunSuite = Callable[[Route, str], Awaitable[Results]]

pytestmark = pytest.mark.timeout(300)
through_the_proxy = pytest.mark.parametrize("route", ["http", "stdio"])
at_each_revision = pytest.mark.parametrize("revision", REVISIONS)


@at_each_revision
async def test_the_fixture_server_itself_passes(suite: RunSuite, revision: str) -> None:
    """Otherwise "as good as direct" would be a low bar."""
    results = await suite("direct", revision)

    failed = [check for check in results.worst().values() if check.status in ("FAILURE", "WARNING")]
    assert not failed, _table(failed, {})
    assert results.passed >= {"2025-11-25": 84, "2026-07-28": 196}[revision]


@at_each_revision
@through_the_proxy
async def test_the_proxy_loses_no_check(suite: RunSuite, route: Route, revision: str) -> None:
    """Every check that succeeds directly succeeds through the proxy."""
    direct = (await suite("direct", revision)).worst()
    proxied = (await suite(route, revision)).worst()

    lost = [
        check
        for key, check in direct.items()
        if check.status == "SUCCESS" and check.scenario not in FRONT_OWNED and _status(proxied, key) != "SUCCESS"
    ]
    assert not lost, _table(lost, proxied)


@at_each_revision
@through_the_proxy
async def test_our_own_edge_answers_as_it_must(suite: RunSuite, route: Route, revision: str) -> None:
    """What only the edge can answer has absolute expectations: a success, or what the table says and why."""
    seen = await _front_statuses(suite, route, revision)

    wrong = {
        key: status
        for key, status in seen.items()
        if status != "SUCCESS" and not ((expected := DIFFERENT.get(key)) and status in expected.statuses)
    }
    details = (await suite(route, revision)).of(FRONT_OWNED).worst().values()
    assert not wrong, _table([check for check in details if (check.scenario, check.id) in wrong], {}) + repr(wrong)


@at_each_revision
@through_the_proxy
async def test_every_exception_is_still_needed(suite: RunSuite, route: Route, revision: str) -> None:
    """What has become a success must leave the table."""
    seen = await _front_statuses(suite, route, revision)

    assert not [key for key in DIFFERENT if seen.get(key) == "SUCCESS"]


async def _front_statuses(suite: RunSuite, route: Route, revision: str) -> dict[tuple[str, str], str]:
    """The worst status of each check of our own edge; every check that the direct run made is in it."""
    direct = (await suite("direct", revision)).of(FRONT_OWNED).worst()
    proxied = (await suite(route, revision)).of(FRONT_OWNED).worst()
    judged = {key for results in (direct, proxied) for key, check in results.items() if check.status != "INFO"}
    found: dict[tuple[str, str], str] = {}
    for key in judged:
        status, name = _status(proxied, key), (key[0], key[1])
        if found.get(name, "SUCCESS") == "SUCCESS":
            found[name] = status
    return found


def _status(results: dict[tuple[str, str, str], Check], key: tuple[str, str, str]) -> str:
    found = results.get(key)
    return ABSENT if found is None else found.status


def _table(checks: list[Check], other: dict[tuple[str, str, str], Check]) -> str:
    """The checks with what each side said, for the failure message."""
    lines = [f"{len(checks)} checks:"]
    for check in checks:
        lines.append(f"  {check.scenario} / {check.id} ({check.name}): {check.status}: {check.detail}")
        if other:
            found = other.get(check.key)
            lines.append(f"      through the proxy: {_status(other, check.key)}: {found.detail if found else ''}")
    return "\n".join(lines)
