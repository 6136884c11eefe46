"""A run that is killed anywhere, and gone on with by another process: each call runs once and is answered once."""

from __future__ import annotations

import anyio
import pytest

from runner.crash_nest import Tale
from runner.crash_troupe import Troupe, killed_once_at_each_moment

pytestmark = pytest.mark.timeout(240)

STEPS = (2, 3, 4)


async def test_killed_at_any_one_moment_a_run_ends_as_if_it_had_not_been(troupe: Troupe) -> None:
    await killed_once_at_each_moment(troupe, "mcp")


async def test_a_run_of_which_every_process_is_killed_a_step_further_ends_all_the_same(troupe: Troupe) -> None:
    async def killed(tale: Tale, step: int) -> None:
        await tale.to_the_end(lambda number: f"save ended {step}", most=40)

    tales = [(troupe.tale(plan, way), step) for plan in ("mcp", "function") for way in (False, True) for step in STEPS]
    async with anyio.create_task_group() as tasks:
        for tale, step in tales:
            tasks.start_soon(killed, tale, step)

    assert await troupe.wrong() == []
    for tale, _ in tales:
        assert sum(each.killed_at is not None for each in tale.ends) >= 4, tale.told()
