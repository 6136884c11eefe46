"""Runs the official conformance suite and reads its checks, one status per (scenario, check).

The suite repeats a check id for every variant it tries; the worst of them counts, so a comparison cannot hide one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.node import NodeKit

__all__ = ["REVISIONS", "Check", "Results", "run_client_scenario", "run_server_suite"]

REVISIONS = ("2025-11-25", "2026-07-28")
WORST_FIRST = ("FAILURE", "WARNING", "SKIPPED", "SUCCESS", "INFO")
SUITE_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the suite looked at."""

    scenario: str
    id: str
    name: str
    status: str
    detail: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.scenario, self.id, self.name


@dataclass(frozen=True, slots=True)
class Results:
    """All checks of one run."""

    checks: tuple[Check, ...]
    output: str = field(repr=False)

    @property
    def passed(self) -> int:
        """How many checks succeeded, counted as the suite counts them."""
        return sum(check.status == "SUCCESS" for check in self.checks)

    @property
    def failed(self) -> int:
        return sum(check.status == "FAILURE" for check in self.checks)

    @property
    def scenarios(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check.scenario for check in self.checks))

    def worst(self) -> dict[tuple[str, str, str], Check]:
        """The worst check of each (scenario, id, name)."""
        found: dict[tuple[str, str, str], Check] = {}
        for check in self.checks:
            known = found.get(check.key)
            if known is None or WORST_FIRST.index(check.status) < WORST_FIRST.index(known.status):
                found[check.key] = check
        return found

    def of(self, scenarios: Iterable[str]) -> Results:
        """The checks of these scenarios only."""
        wanted = set(scenarios)
        return Results(tuple(check for check in self.checks if check.scenario in wanted), self.output)


def run_server_suite(node: NodeKit, url: str, revision: str, folder: Path) -> Results:
    """Run everything `revision` requires against the server at `url`; results are also left in `folder`."""
    command = [*node.conformance(), "server", "--url", url, "--requirements", revision, "-o", str(folder)]
    return _run(command, folder, "server")


def run_client_scenario(node: NodeKit, client: Sequence[str], scenario: str, revision: str, folder: Path) -> Results:
    """Run one client scenario: the suite is the server, and calls `client` with its URL as the last argument."""
    # `--force` because a scenario may be older or newer than the wire revision that we choose for it.
    command = [*node.conformance(), "client", "--command", shlex.join(client), "--scenario", scenario]
    command += ["--spec-version", revision, "--force", "--timeout", "60000", "-o", str(folder)]
    return _run(command, folder, "", scenario)


def _run(command: Sequence[str], folder: Path, prefix: str, scenario: str | None = None) -> Results:
    folder.mkdir(parents=True, exist_ok=True)
    # The suite talks to loopback only; a proxy of the machine must not get between.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SUITE_SECONDS, check=False)
    output = f"{done.stdout}\n{done.stderr}"
    checks: list[Check] = []
    for file in sorted(folder.rglob("checks.json")):
        # The folder is `server-<scenario>-<time>`; the time is an ISO one with dashes for its other marks.
        named = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", str(file.parent.relative_to(folder)))
        name = scenario or named.removeprefix(f"{prefix}-")
        checks.extend(_check(name, raw) for raw in json.loads(file.read_text()))
    if not checks:
        raise RuntimeError(f"the suite left no checks in {folder} (status {done.returncode}):\n{output[-4000:]}")
    return Results(tuple(checks), output)


def _check(scenario: str, raw: Mapping[str, Any]) -> Check:
    detail = raw.get("errorMessage") or json.dumps(raw.get("details"))[:400]
    return Check(scenario, str(raw["id"]), str(raw.get("name", "")), str(raw["status"]), str(detail))
