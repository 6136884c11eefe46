"""What every test can rely on."""

from __future__ import annotations

import pytest
import sniffio


@pytest.fixture(autouse=True)
def nobody_runs_in_this_thread() -> None:
    """A command that is run in process may start a loop of its own.

    While an async fixture of a session lives, anyio's plugin leaves a mark that a loop runs in this thread, though none
    does between two tests. Inside of a loop nobody needs the mark.
    """
    sniffio.current_async_library_cvar.set(None)
