"""The suite as the server: a client that reaches it through the proxy does everything as well as it does directly.

What these scenarios observe through the proxy is our upstream side: its headers, its `_meta`, its reconnecting.
The sign-in scenarios are left out: the proxy has credentials of its own for upstreams and never passes the agent's on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from anyio import to_thread

from conformance.suite import Check, Results, run_client_scenario
from kit.missing import require
from kit.node import node_kit
from kit.process import kit_environment

SCENARIOS = {
    "2025-11-25": (
        "initialize",
        "tools_call",
        "elicitation-sep1034-client-defaults",
        "sse-retry",
        "json-schema-2020-12-preservation",
    ),
    "2026-07-28": (
        "tools_call",
        "request-metadata",
        "sep-2322-client-request-state",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
        "json-schema-2020-12-preservation",
    ),
}
EACH = [(revision, scenario) for revision, scenarios in SCENARIOS.items() for scenario in scenarios]

pytestmark = [pytest.mark.timeout(150), pytest.mark.parametrize(("revision", "scenario"), EACH)]


async def test_the_client_passes_through_the_proxy(revision: str, scenario: str, tmp_path: Path) -> None:
    """The server at the other end cannot tell the proxy from a good client."""
    proxied = await _run(scenario, revision, tmp_path / "proxied", "--through-proxy")

    if _bad(proxied):
        direct = await _run(scenario, revision, tmp_path / "direct")
        told = [f"{check.id}: {check.status}: {check.detail}" for check in _bad(proxied)]
        told.append(f"without the proxy: {[f'{check.id}: {check.status}' for check in _bad(direct)] or 'all well'}")
        pytest.fail("\n".join([scenario, *told, proxied.output[-3000:]]))
    assert proxied.passed > 0


def _bad(results: Results) -> list[Check]:
    return [check for check in results.worst().values() if check.status in ("FAILURE", "WARNING")]


async def _run(scenario: str, revision: str, folder: Path, *options: str) -> Results:
    node = require(node_kit)
    # `env` because the suite starts the command with its own environment and no folder of ours on the path.
    paths = os.pathsep.join([kit_environment()["PYTHONPATH"], *sys.path])
    client = ["env", f"PYTHONPATH={paths}", sys.executable, "-m", "conformance.client", *options]
    return await to_thread.run_sync(run_client_scenario, node, client, scenario, revision, folder)
