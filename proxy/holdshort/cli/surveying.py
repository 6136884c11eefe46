"""Asking the configured servers for their tools from a command, with a line about each on standard error."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdshort.config import Config
    from holdshort.server.survey import Survey

__all__ = ["ask_servers"]


def ask_servers(
    config: "Config", labels: Sequence[str] | None = None, *, seconds: float = 30
) -> "Mapping[str, Survey]":
    """Start or connect to the servers called `labels` (None: all), list their tools, and leave them again."""
    import anyio

    from holdshort.approvals.inert import plain
    from holdshort.server.logs import make_log
    from holdshort.server.survey import survey

    def say(found: "Survey") -> None:
        if found.error is not None:
            words = f"it {found.error}"
        else:
            words = f"{len(found.definitions)} tools" if len(found.definitions) != 1 else "1 tool"
            words += "".join(f"; left out, because {why}: {', '.join(names)}" for why, names in found.left_out.items())
        # Names that no proxy would list may hold anything, and so may what a server calls an error.
        print(f"server `{found.server}`: {plain(' '.join(words.split()))}", file=sys.stderr)

    # What a server writes is no answer; its entry says what went wrong with it.
    log = make_log(level=logging.ERROR)

    async def ask() -> "Mapping[str, Survey]":
        return await survey(config, log, labels, seconds, on_done=say)

    return anyio.run(ask)
