"""Print what the suite says: passed and failed, directly and through the proxy.

PYTHONPATH=tests python -m conformance.report [--lost]
"""

from __future__ import annotations

import argparse

import anyio
from rich.console import Console
from rich.table import Table

from conformance.expectations import FRONT_OWNED
from conformance.runs import ROUTES, Route, run_route
from conformance.suite import REVISIONS, Results
from kit.node import node_kit

__all__ = ["main"]


async def collect() -> dict[tuple[str, Route], Results | str]:
    """Every route at every revision; a run that failed altogether is its message."""
    node = node_kit()
    found: dict[tuple[str, Route], Results | str] = {}
    for revision in REVISIONS:
        for route in ROUTES:
            try:
                found[revision, route] = await run_route(node, route, revision)
            except (RuntimeError, TimeoutError) as problem:
                found[revision, route] = str(problem)
    return found


def main() -> None:
    """Run everything and print the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--lost", action="store_true", help="also list every check that only the direct run passes")
    chosen = words.parse_args()
    found = anyio.run(collect)
    console = Console(width=200)
    table = Table("revision", "route", "passed", "failed", "lost, forwarded", "lost, at our edge", title="conformance")
    for (revision, route), results in found.items():
        direct = found[revision, "direct"]
        if isinstance(results, str) or isinstance(direct, str):
            table.add_row(revision, route, "did not run")
            console.print(results if isinstance(results, str) else "", markup=False)
            continue
        mine = results.worst()
        lost = [
            check
            for key, check in direct.worst().items()
            if check.status == "SUCCESS" and (key not in mine or mine[key].status != "SUCCESS")
        ]
        edge = [check for check in lost if check.scenario in FRONT_OWNED]
        counts = (results.passed, results.failed, len(lost) - len(edge), len(edge))
        table.add_row(revision, route, *map(str, counts))
        for check in lost if chosen.lost else ():
            said = mine.get(check.key)
            told = f"{said.status}: {said.detail}" if said else "absent"
            console.print(f"{revision} {route}: {check.scenario} / {check.id}: {told}", markup=False)
    console.print(table)


if __name__ == "__main__":
    main()
