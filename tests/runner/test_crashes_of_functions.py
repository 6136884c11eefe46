"""The same for tools of the agent's own process, which nobody else runs: at most once, and what is in doubt is said."""

from __future__ import annotations

import pytest

from runner.crash_troupe import Troupe, killed_once_at_each_moment

pytestmark = pytest.mark.timeout(240)


async def test_killed_at_any_one_moment_a_run_of_functions_ends_and_says_what_is_unknown(troupe: Troupe) -> None:
    await killed_once_at_each_moment(troupe, "function")
